"""The tests' settings for a process started by a test, of a shop that has no pins and hides."""

from tests.child_settings import *  # noqa: F403
from tests.child_settings import INSTALLED_APPS, SIMILAR_PRODUCTS

SIMPLE_ADMIN = "django.contrib.admin.apps.SimpleAdminConfig"
"""It does not look for the demo's admin, which has the inline that a shop takes out together with the app."""
INSTALLED_APPS = [
    SIMPLE_ADMIN if name == "django.contrib.admin" else name
    for name in INSTALLED_APPS
    if name != "similar_products.merchandising"
]
SIMILAR_PRODUCTS = {**SIMILAR_PRODUCTS, "API": {"MODEL": "shop_demo.Product"}}
