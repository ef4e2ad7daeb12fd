"""Models of every shape that the base class must serve."""

import uuid
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from similar_products.models import VisuallySimilarModel
from similar_products.query import SimilarManager


class Shirt(VisuallySimilarModel):
    """The quick start: the vector on the product, with a Meta and an ordering of its own."""

    name = models.CharField(max_length=50)
    color = models.CharField(max_length=20, blank=True)
    price = models.IntegerField(default=10)
    image = models.ImageField(upload_to="shirts", blank=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return f"/shirts/{self.pk}/"


class CheapShirt(Shirt):
    """A proxy."""

    class Meta:
        proxy = True


class PrintedShirt(Shirt):
    """A child table: its vectors stand in the parent's."""

    motif = models.CharField(max_length=50)


class Dated(models.Model):
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True
        indexes = (models.Index(fields=["created"]),)


class LimitedEditionScreenPrintedPosterOfMuseum(Dated, VisuallySimilarModel):
    """Another abstract base first, a long name, a UUID key and a picture name of its own."""

    similar_image = "scan"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    scan = models.FileField(upload_to="posters", null=True)


class PublishedManager(SimilarManager):
    def get_queryset(self):
        return super().get_queryset().filter(published=True)


class Lamp(VisuallySimilarModel):
    """A manager of the shop's own that hides rows, and a key that is text."""

    code = models.CharField(max_length=20, primary_key=True)
    published = models.BooleanField(default=True)
    image = models.ImageField(upload_to="lamps", blank=True)
    tags = ArrayField(models.CharField(max_length=20), default=list)

    objects: ClassVar = PublishedManager()


class Shelf(models.Model):
    """Reaches products over managers that Django makes."""


class Vase(models.Model):
    """A product model that is left as it is; its vectors stand on a one-to-one companion."""

    name = models.CharField(max_length=50)
    stock = models.IntegerField(default=1)
    image = models.ImageField(upload_to="vases", blank=True)
    shelf = models.ForeignKey(Shelf, on_delete=models.CASCADE, null=True, related_name="vases")
    shelves = models.ManyToManyField(Shelf, related_name="many_vases")

    objects = SimilarManager(through="look")

    class Meta:
        ordering = ("-name",)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return f"/vases/{self.pk}/"


class VaseLook(VisuallySimilarModel):
    similar_image = "vase__image"

    vase = models.OneToOneField(Vase, on_delete=models.CASCADE, related_name="look")


class Chair(models.Model):
    """Several pictures to a product, each with a vector of its own."""

    name = models.CharField(max_length=50)
    price = models.IntegerField(default=10)
    style = models.CharField(max_length=20, blank=True)
    published = models.BooleanField(default=True)
    shelves = models.ManyToManyField(Shelf, related_name="chairs")

    objects = SimilarManager(through="photos")

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class ChairPhoto(VisuallySimilarModel):
    chair = models.ForeignKey(Chair, on_delete=models.CASCADE, related_name="photos")
    image = models.ImageField(upload_to="chairs")
    caption = models.CharField(max_length=50, blank=True)


class Rug(models.Model):
    """A shop that nobody here wrote: models and managers as they are, a companion for each picture."""

    name = models.CharField(max_length=50)
    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True, related_name="children")
    published = models.BooleanField(default=True)

    def __str__(self) -> str:
        return self.name


class RugPhoto(models.Model):
    rug = models.ForeignKey(Rug, on_delete=models.CASCADE, related_name="photos")
    image = models.ImageField(upload_to="rugs")

    class Meta:
        ordering = ("-pk",)


class RugPhotoLook(VisuallySimilarModel):
    similar_image = "photo__image"

    photo = models.OneToOneField(RugPhoto, on_delete=models.CASCADE, related_name="look")


class Scan(models.Model):
    """A picture of a library, which products and pages share."""

    file = models.ImageField(upload_to="scans")


class Dish(VisuallySimilarModel):
    """The vector on the product, the picture behind a foreign key."""

    similar_image = "scan__file"

    name = models.CharField(max_length=50, blank=True)
    scan = models.ForeignKey(Scan, on_delete=models.SET_NULL, null=True, related_name="dishes")


class Page(models.Model):
    cover = models.ForeignKey(Scan, on_delete=models.SET_NULL, null=True, related_name="pages")


class PageLook(VisuallySimilarModel):
    """A companion, whose picture is two relations away."""

    similar_image = "page__cover__file"

    page = models.OneToOneField(Page, on_delete=models.CASCADE, related_name="look")


class Order(models.Model):
    """Reaches a product over a foreign key."""

    shirt = models.ForeignKey(Shirt, on_delete=models.CASCADE, related_name="orders")
    shirts = models.ManyToManyField(Shirt, related_name="baskets")
