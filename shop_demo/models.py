from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import OuterRef, Subquery
from django.urls import reverse
from django.utils.text import slugify

from similar_products.models import VisuallySimilarModel


class CategoryManager(models.Manager["Category"]):
    def get_or_create_named(self, name: str) -> "Category":
        """Return the category of that name; a new one gets a slug that no other has."""
        if category := self.filter(name=name).first():
            return category
        stem = slug = slugify(name, allow_unicode=True)[:90] or "category"
        number = 1
        while self.filter(slug=slug).exists():
            number += 1
            slug = f"{stem}-{number}"
        return self.create(name=name, slug=slug)

    def with_cover(self) -> "models.QuerySet[Category]":
        """Annotate each category with ``cover``, the name of the file that shows its first product, or ``None``."""
        first = Product.objects.filter(category=OuterRef("pk")).exclude(image="").order_by("name")
        return self.annotate(cover=Subquery(first.values("image")[:1]))


class Category(models.Model):
    name = models.CharField(max_length=100, unique=True)
    slug = models.SlugField(max_length=100, unique=True, allow_unicode=True)

    objects = CategoryManager()

    class Meta:
        ordering = ("name",)
        verbose_name_plural = "categories"

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("category", args=[self.slug])

    @property
    def cover_url(self) -> str:
        """The address of the picture that ``with_cover`` has found, or ''."""
        cover: str | None = getattr(self, "cover", None)
        return str(Product._meta.get_field("image").storage.url(cover)) if cover else ""


class Product(VisuallySimilarModel):
    name = models.CharField(max_length=200)
    category = models.ForeignKey(Category, on_delete=models.PROTECT, related_name="products")
    price = models.DecimalField(max_digits=8, decimal_places=2, validators=[MinValueValidator(0)])
    stock = models.PositiveIntegerField(default=0)
    color = models.CharField(max_length=50, blank=True)
    pattern = models.CharField(max_length=50, blank=True)
    image = models.ImageField(upload_to="products")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name", "pk")
        indexes = (models.Index(fields=["price"]), models.Index(fields=["stock"]))
        constraints = (models.UniqueConstraint(fields=["category", "name"], name="product_once_in_category"),)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("product", args=[self.pk])
