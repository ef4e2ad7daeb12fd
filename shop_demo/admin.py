from django.contrib import admin

from similar_products.admin import SimilarProductsAdminMixin
from similar_products.merchandising.admin import PinsAndHidesInline

from .models import Category, Product


@admin.register(Category)
class CategoryAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "slug")
    search_fields = ("name",)
    prepopulated_fields = {"slug": ("name",)}  # noqa: RUF012  Django declares it so


@admin.register(Product)
class ProductAdmin(SimilarProductsAdminMixin, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "category", "price", "stock", "color", "pattern")
    list_filter = ("category", "color", "pattern")
    list_select_related = ("category",)
    search_fields = ("name", "category__name")
    inlines = (PinsAndHidesInline,)
    similar_products_category = "category"
