from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.db import models
from django.utils.translation import gettext_lazy

if TYPE_CHECKING:
    from .rules import PinsAndHides


class MerchandisingConfig(AppConfig):
    name = "similar_products.merchandising"
    label = "similar_products_merchandising"
    verbose_name = gettext_lazy("Similar products")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from .rules import connect

        connect()

    def rules_for(
        self, model: type[models.Model], products: "Sequence[Any] | models.QuerySet[Any]", at: datetime | None
    ) -> "PinsAndHides":
        """Return the rules in force; ``search.rules`` asks the app registry for this app by its label."""
        from .rules import PinsAndHides

        return PinsAndHides(model, products, at)
