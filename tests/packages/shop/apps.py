from django.apps import AppConfig


class PackagesShopConfig(AppConfig):
    name = "tests.packages.shop"
    label = "packages_shop"
    default_auto_field = "django.db.models.BigAutoField"
