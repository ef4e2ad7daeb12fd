"""The shop of the packages with a schema of its own for each tenant, by django-tenants."""

from tests.packages.settings import *  # noqa: F403
from tests.packages.settings import DATABASES

DATABASES = {
    "default": {**DATABASES["default"], "ENGINE": "django_tenants.postgresql_backend"}
}  # over ORIGINAL_BACKEND
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
SHARED_APPS = [
    "django_tenants",
    "tests.packages.tenants",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.postgres",
    "similar_products",
]
TENANT_APPS = ["django.contrib.contenttypes", "tests.packages.crockery"]
INSTALLED_APPS = [*SHARED_APPS, "tests.packages.crockery"]
ORIGINAL_BACKEND = "shop_demo.embedded_postgres"
TENANT_MODEL = "tenants.Client"
TENANT_DOMAIN_MODEL = "tenants.Domain"
MIDDLEWARE = []
ROOT_URLCONF = "tests.packages.tenants.urls"
SIMILAR_PRODUCTS = {
    "ENCODER": {"BACKEND": "similar_products.encoders.ColorHistogramEncoder"},
    "REFUSE_BLANK": False,
}
