"""The demo shop's settings with a second app of odd models, and an encoder that needs no model."""

from shop_demo.settings import *  # noqa: F403
from shop_demo.settings import BASE_DIR, INSTALLED_APPS

DEBUG = False
INSTALLED_APPS = [*INSTALLED_APPS, "drf_spectacular", "tests"]
REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
SIMILAR_PRODUCTS = {
    "ENCODER": {"BACKEND": "similar_products.encoders.ColorHistogramEncoder"},
    "REFUSE_BLANK": False,  # many tests draw pictures of one colour
    "API": {"MODEL": "tests.Rug"},
    "PRODUCTS": {
        "tests.Chair": {"VARIANTS": "style"},
        "tests.Rug": {"THROUGH": "photos__look", "VARIANTS": "parent", "VISIBLE": "tests.visibility.published"},
    },
}
MEDIA_ROOT = BASE_DIR / ".test-media"  # emptied by conftest at the end of a run
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
