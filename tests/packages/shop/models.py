"""One product model for each package."""

from auditlog.registry import auditlog
from django.db import models
from model_utils import FieldTracker
from model_utils.managers import InheritanceManager, InheritanceQuerySet
from mptt.managers import TreeManager
from mptt.models import MPTTModel, TreeForeignKey
from mptt.querysets import TreeQuerySet
from parler.managers import TranslatableManager, TranslatableQuerySet
from parler.models import TranslatableModel, TranslatedFields
from polymorphic.managers import PolymorphicManager, PolymorphicQuerySet
from polymorphic.models import PolymorphicModel
from simple_history.models import HistoricalRecords
from tree_queries.models import TreeNode
from tree_queries.query import TreeQuerySet as TreeQueriesQuerySet
from treebeard.mp_tree import MP_Node, MP_NodeManager, MP_NodeQuerySet

from similar_products.models import DERIVED_FIELDS, VisuallySimilarModel
from similar_products.query import SimilarManager, SimilarQuerySet


class PotQuerySet(PolymorphicQuerySet, SimilarQuerySet):
    pass


class PotManager(PolymorphicManager.from_queryset(PotQuerySet), SimilarManager):
    pass


class Pot(PolymorphicModel, VisuallySimilarModel):
    """django-polymorphic, which fetches the children of each page of rows by queries of its own."""

    name = models.CharField(max_length=50)
    image = models.ImageField(upload_to="packages")

    objects = PotManager()
    embeddings = PotManager()


class LargePot(Pot):
    litres = models.IntegerField(default=9)


class BowlQuerySet(InheritanceQuerySet, SimilarQuerySet):
    pass


class BowlManager(InheritanceManager.from_queryset(BowlQuerySet), SimilarManager):
    pass


class Bowl(VisuallySimilarModel):
    """django-model-utils, whose iterable gives the child of each row."""

    name = models.CharField(max_length=50)
    image = models.ImageField(upload_to="packages")

    objects = BowlManager()


class LargeBowl(Bowl):
    litres = models.IntegerField(default=9)


class MugQuerySet(TreeQuerySet, SimilarQuerySet):
    pass


class MugManager(TreeManager.from_queryset(MugQuerySet), SimilarManager):
    pass


class Mug(MPTTModel, VisuallySimilarModel):
    name = models.CharField(max_length=50)
    image = models.ImageField(upload_to="packages")
    parent = TreeForeignKey("self", on_delete=models.CASCADE, null=True, blank=True)

    objects = MugManager()


class CupQuerySet(MP_NodeQuerySet, SimilarQuerySet):
    pass


class CupManager(MP_NodeManager.from_queryset(CupQuerySet), SimilarManager):
    pass


class Cup(MP_Node, VisuallySimilarModel):
    name = models.CharField(max_length=50)
    image = models.ImageField(upload_to="packages")

    objects = CupManager()


class GlassQuerySet(TreeQueriesQuerySet, SimilarQuerySet):
    pass


class Glass(TreeNode, VisuallySimilarModel):
    name = models.CharField(max_length=50)
    image = models.ImageField(upload_to="packages")

    objects = SimilarManager.from_queryset(GlassQuerySet)()


class TrayQuerySet(TranslatableQuerySet, SimilarQuerySet):
    pass


class TrayManager(TranslatableManager.from_queryset(TrayQuerySet), SimilarManager):
    pass


class Tray(TranslatableModel, VisuallySimilarModel):
    image = models.ImageField(upload_to="packages")

    objects = TrayManager()

    translations = TranslatedFields(name=models.CharField(max_length=50))


class Jug(PolymorphicModel):
    """As Pot, with its vector on a companion."""

    name = models.CharField(max_length=50)
    image = models.ImageField(upload_to="packages")


class LargeJug(Jug):
    litres = models.IntegerField(default=9)


class JugLook(VisuallySimilarModel):
    similar_image = "jug__image"

    jug = models.OneToOneField(Jug, on_delete=models.CASCADE, related_name="look")


class Kettle(VisuallySimilarModel):
    """The quick start, logged, kept and tracked."""

    name = models.CharField(max_length=50)
    price = models.IntegerField(default=10)
    image = models.ImageField(upload_to="packages", blank=True)

    history = HistoricalRecords(excluded_fields=DERIVED_FIELDS)
    tracker = FieldTracker()

    def __str__(self) -> str:
        return self.name


auditlog.register(Kettle)


class Pan(VisuallySimilarModel):
    """Its name and its picture are translated by django-modeltranslation."""

    name = models.CharField(max_length=50)
    image = models.ImageField(upload_to="packages", blank=True)

    def __str__(self) -> str:
        return self.name
