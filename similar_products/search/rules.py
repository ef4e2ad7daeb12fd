"""What ``similar_products.merchandising`` says of a list, where that optional app is installed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar, cast

from django.apps import apps
from django.db import models

from .expressions import Condition, Written

ModelT = TypeVar("ModelT", bound=models.Model)

MERCHANDISING = "similar_products_merchandising"
"""The label of the app with the pins and hides; it is asked for by name, and by nothing else."""


class Rules(Protocol):
    """The pins and hides of one list, as expressions in its own query."""

    may_pin: bool
    """Whether the list stands beside products, in whose lists others may be pinned."""

    @property
    def is_not_hidden(self) -> Condition:
        """The condition that a product is not hidden here."""

    @property
    def is_free(self) -> Condition:
        """The condition that a product is neither hidden nor pinned here."""

    @property
    def pins(self) -> Written:
        """The keys of the pinned products, an array of texts."""

    def only_pinned(self, products: "models.QuerySet[ModelT]", keys: Sequence[str] | None) -> "models.QuerySet[ModelT]":
        """Return the pinned ones of ``products``, each with its ``_place``; ``keys`` are theirs where known."""


class RulesApp(Protocol):
    """The configuration of the app with the rules."""

    def rules_for(
        self, model: type[models.Model], products: "Sequence[Any] | models.QuerySet[Any]", at: datetime | None
    ) -> Rules:
        """Return the rules in force ``at`` a moment, or now, for lists of ``model`` beside ``products``."""


def rules_for(
    model: type[models.Model], products: "Sequence[Any] | models.QuerySet[Any]" = (), at: datetime | None = None
) -> Rules | None:
    """Return the pins and hides for lists of ``model`` beside ``products``, or ``None`` without the app for them."""
    app = cast("RulesApp | None", apps.app_configs.get(MERCHANDISING))
    return None if app is None else app.rules_for(model, products, at)


def without_hidden(products: "models.QuerySet[ModelT]", target: Sequence[Any] = ()) -> "models.QuerySet[ModelT]":
    """Return ``products`` without what is hidden now: everywhere, or beside the products of ``target``, their keys."""
    rules = rules_for(products.model, target)
    return products if rules is None else products.filter(rules.is_not_hidden)
