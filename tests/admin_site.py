"""A shop's admin over all four placements, with the least that a shop would write."""

from django.contrib import admin
from django.urls import path

from shop_demo.urls import urlpatterns as shop_urlpatterns
from similar_products.admin import PictureStateInlineMixin, SimilarProductsAdminMixin
from tests.models import Chair, ChairPhoto, Lamp, Rug, RugPhoto, Shirt, Vase

site = admin.AdminSite()


@admin.register(Shirt, site=site)
class ShirtAdmin(SimilarProductsAdminMixin, admin.ModelAdmin):
    list_display = ("name", "color")
    similar_products_category = "color"


@admin.register(Vase, site=site)
class VaseAdmin(SimilarProductsAdminMixin, admin.ModelAdmin):
    list_display = ("name", "stock")
    list_select_related = ("look",)
    similar_products_category = "shelf"


class ChairPhotoInline(PictureStateInlineMixin, admin.TabularInline):
    model = ChairPhoto
    fields = ("image",)
    extra = 1


@admin.register(Chair, site=site)
class ChairAdmin(SimilarProductsAdminMixin, admin.ModelAdmin):
    inlines = (ChairPhotoInline,)
    similar_products_category = "shelves"


class RugPhotoInline(PictureStateInlineMixin, admin.StackedInline):
    model = RugPhoto
    extra = 0


@admin.register(Rug, site=site)
class RugAdmin(SimilarProductsAdminMixin, admin.ModelAdmin):
    inlines = (RugPhotoInline,)


@admin.register(Lamp, site=site)
class LampAdmin(SimilarProductsAdminMixin, admin.ModelAdmin):
    """Has actions, a list filter's place and a limit of its own."""

    actions = ("publish",)
    similar_products_limit = 2

    @admin.action(description="Publish")
    def publish(self, request, queryset) -> None:
        queryset.update(published=True)


urlpatterns = [
    path("admin/", site.urls),
    *(each for each in shop_urlpatterns if getattr(each, "app_name", "") != "admin"),
]
