"""``VisuallySimilarModel``, the base class that gives a model its vector."""

from collections.abc import Collection, Iterable
from typing import Any, ClassVar

from django.apps import apps
from django.core.checks import CheckMessage, Error
from django.db import connections, models
from django.db.models.lookups import GreaterThan, LessThan
from django.db.models.signals import class_prepared
from django.dispatch import receiver
from pgvector.django import VectorField

from .query import SimilarManager, reset_derived
from .search.hnsw_index import index_name, make_index, name_stem
from .search.placement import DERIVED_FIELDS


class VisuallySimilarModel(models.Model):
    """Adds the embedding of a picture, kept up to date, and ``similar_to`` on the manager.

    ``similar_image`` names the picture: a file field of the model itself, or a path over foreign keys such as
    ``"product__image"`` for a companion. The three columns are derived: they are not loaded unless named and
    never written by ``save()``. Override ``embedding`` for another number of dimensions.
    """

    similar_image: ClassVar[str] = "image"

    embedding = VectorField(dimensions=1280, null=True, blank=True, editable=False, serialize=False)
    embedding_source = models.TextField(blank=True, default="", editable=False, serialize=False)
    embedding_error = models.TextField(blank=True, default="", editable=False, serialize=False)

    objects = SimilarManager()
    # The base manager, under a name of its own: a shop's own filtering `objects` must not become it.
    embeddings = SimilarManager()

    class Meta:
        abstract = True
        base_manager_name = "embeddings"

    # The derived columns of a saved instance, from the first line of a save to the last: set to their defaults, so that
    # Django takes none for deferred, which would turn the save into one with update_fields; then forgotten, so that
    # what receivers of pre_save read is what the database has; the defaults again for the row that an INSERT makes
    # (new, a clone, deleted meanwhile), and kept out of every UPDATE; then forgotten again, for post_save.

    def save(self, *args: Any, **kwargs: Any) -> None:
        reset_derived(self)
        try:
            super().save(*args, **kwargs)
        finally:
            self._forget_stored()

    def save_base(self, *args: Any, **kwargs: Any) -> None:
        self._forget_stored()
        super().save_base(*args, **kwargs)

    def _save_table(self, *args: Any, **kwargs: Any) -> Any:
        reset_derived(self)
        is_updated = super()._save_table(*args, **kwargs)  # type: ignore[misc]
        self._forget_derived()
        return is_updated

    def _do_update(
        self, base_qs: Any, using: Any, pk_val: Any, values: Iterable[Any], *args: Any, **kwargs: Any
    ) -> Any:
        # The one place that every UPDATE of a save passes. Deferring the columns instead would make Django
        # turn each save into update_fields, which fails on a row that was deleted meanwhile.
        kept = [value for value in values if value[0].name not in DERIVED_FIELDS]
        return super()._do_update(base_qs, using, pk_val, kept, *args, **kwargs)

    def refresh_from_db(self, using: Any = None, fields: Any = None, from_queryset: Any = None) -> None:
        if fields is None:
            self._forget_derived()
        super().refresh_from_db(using=using, fields=fields, from_queryset=from_queryset)

    def _forget_stored(self) -> None:
        if not self._state.adding and self.pk is not None:
            self._forget_derived()

    def _forget_derived(self) -> None:
        for name in DERIVED_FIELDS:
            self.__dict__.pop(name, None)  # read anew when asked for

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        super().clean_fields(exclude={*(exclude or ()), *DERIVED_FIELDS})

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        super().validate_constraints(exclude={*(exclude or ()), *DERIVED_FIELDS})

    @classmethod
    def check(cls, **kwargs: Any) -> list[CheckMessage]:
        messages: list[CheckMessage] = super().check(**kwargs)
        if not apps.is_installed("similar_products"):  # and so none of the app's own checks is registered
            sentence = f"{cls._meta.label} has vectors, but similar_products is not installed: nothing is embedded."
            missing = [name for name in ("django.contrib.postgres", "similar_products") if not apps.is_installed(name)]
            hint = f"INSTALLED_APPS += {missing}"
            messages.append(Error(sentence, hint=hint, obj=cls, id="similar_products.E025"))
        return messages


@receiver(class_prepared)
def add_index_and_constraint(sender: type[models.Model], **kwargs: Any) -> None:
    """Attach index and CHECK to each concrete model, from its own ``embedding`` field.

    An abstract Meta cannot do it: a shop's own ``class Meta`` drops it silently, long model names break the
    31 characters of an index name, and it cannot know a dimension that the shop overrides.
    """
    meta: Any = sender._meta
    if not issubclass(sender, VisuallySimilarModel) or meta.abstract or meta.proxy:
        return
    if not meta.base_manager_name:  # lost where another abstract base stands first
        meta.base_manager_name = "embeddings"
        meta.__dict__.pop("base_manager", None)
        meta.original_attrs["base_manager_name"] = "embeddings"
    field = meta.get_field("embedding")
    if field.model is not sender or not isinstance(field, VectorField) or field.dimensions is None:
        return  # a child's vectors stand in its parent's table; a wrong field is reported by a check
    if not any(index.name == index_name(sender) for index in meta.indexes):
        meta.indexes = [*meta.indexes, make_index(sender, field.dimensions)]
        meta.original_attrs["indexes"] = meta.indexes
    norm = models.Func(models.F("embedding"), function="vector_norm", output_field=models.FloatField())
    meta.constraints = [
        *meta.constraints,
        models.CheckConstraint(
            condition=models.Q(GreaterThan(norm, 0.999)) & models.Q(LessThan(norm, 1.001)),
            name=f"{name_stem(sender)}_norm",
        ),
    ]
    meta.original_attrs["constraints"] = meta.constraints


def get_holders() -> list[type[VisuallySimilarModel]]:
    """Return every installed model whose own table has vectors: no proxies, no children of another."""
    return [
        model
        for model in apps.get_models()
        if issubclass(model, VisuallySimilarModel) and model._meta.get_field("embedding").model is model
    ]


def database_problem(alias: str) -> str:
    """Return the sentence about a database that can have no vectors, or '' where it is PostgreSQL."""
    connection = connections[alias]
    if connection.vendor == "postgresql":
        return ""
    return f"The database {alias!r} is {connection.display_name}; vectors need PostgreSQL with pgvector."
