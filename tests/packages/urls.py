from django.contrib import admin
from django.urls import include, path
from guardian.admin import GuardedModelAdmin
from import_export.admin import ImportExportModelAdmin
from reversion.admin import VersionAdmin

from similar_products.admin import SimilarProductsAdminMixin
from tests.packages.shop.models import Pan

ADMINS = {"versioned": VersionAdmin, "guarded": GuardedModelAdmin, "exported": ImportExportModelAdmin}


def site(name: str, base: type) -> admin.AdminSite:
    own = admin.AdminSite(name=name)
    own.register(Pan, type("PanAdmin", (SimilarProductsAdminMixin, base), {}))
    return own


urlpatterns = [
    path("api/", include("similar_products.rest_framework.urls")),
    *(path(f"{name}/", site(name, base).urls) for name, base in {"plain": admin.ModelAdmin, **ADMINS}.items()),
]
