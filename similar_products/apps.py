from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy


class SimilarProductsConfig(AppConfig):
    name = "similar_products"
    verbose_name = gettext_lazy("Similar products")

    def ready(self) -> None:
        from . import checks, migrating, signals, spreadsheets

        checks.register_all()
        signals.connect()
        migrating.connect(self)
        if apps.is_installed("import_export"):
            spreadsheets.leave_out_derived_columns()
