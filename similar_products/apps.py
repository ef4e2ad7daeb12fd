from django.apps import AppConfig
from django.utils.translation import gettext_lazy


class SimilarProductsConfig(AppConfig):
    name = "similar_products"
    verbose_name = gettext_lazy("Similar products")

    def ready(self) -> None:
        from . import checks, signals

        checks.register_all()
        signals.connect()
