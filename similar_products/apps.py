from django.apps import AppConfig


class SimilarProductsConfig(AppConfig):
    name = "similar_products"
    verbose_name = "Similar products"

    def ready(self) -> None:
        from . import checks, signals

        checks.register_all()
        signals.connect()
