"""A shop on many packages that others have: they bring managers, querysets, iterables and tools for every column."""

from shop_demo.settings import *  # noqa: F403
from shop_demo.settings import BASE_DIR

DEBUG = False
INSTALLED_APPS = [
    "modeltranslation",
    "polymorphic",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "similar_products",
    "tests.packages.shop",
    "auditlog",
    "cachalot",
    "cacheops",
    "graphene_django",
    "guardian",
    "import_export",
    "mptt",
    "parler",
    "reversion",
    "simple_history",
    "tree_queries",
    "treebeard",
]
ROOT_URLCONF = "tests.packages.urls"
LANGUAGES = [("en", "English"), ("de", "German")]
LANGUAGE_CODE = "en"
PARLER_LANGUAGES = {None: ({"code": "en"}, {"code": "de"})}
ANONYMOUS_USER_NAME = None
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
CACHALOT_ENABLED = CACHEOPS_ENABLED = False  # but in the processes of their tests
CACHEOPS_REDIS = "redis://127.0.0.1:1/0"
CACHEOPS = {"packages_shop.pan": {"ops": "all", "timeout": 60}}
SIMILAR_PRODUCTS = {
    "ENCODER": {"BACKEND": "similar_products.encoders.ColorHistogramEncoder"},
    "REFUSE_BLANK": False,
    "API": {"MODEL": "packages_shop.Pan"},
    "PRODUCTS": {"packages_shop.Jug": {"THROUGH": "look"}},
}
MEDIA_ROOT = BASE_DIR / ".test-media"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
