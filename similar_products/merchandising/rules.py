"""What the rules in force come to for one list, as expressions in its own query."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from django.apps import apps
from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import models
from django.db.models import Case, F, OuterRef, Q, Subquery, TextField, Value, When
from django.db.models.functions import Cast, Now
from django.db.models.lookups import IsNull
from django.db.models.signals import post_delete

from ..placement import get_placement
from .models import Rule, key_of, root_of


class PinsAndHides:
    """The rules of a list of products of ``model`` beside the products that it is shown with.

    ``products``: their keys, or a queryset of them; none where the list belongs to a photo. ``at``: the moment whose
    rules count, ``None`` for now by the database's clock. Nothing here makes a query of its own.
    """

    def __init__(
        self, model: type[models.Model], products: "Sequence[Any] | models.QuerySet[Any]", at: datetime | None
    ) -> None:
        self._model = model
        rules = Rule.objects.of(model).in_force(Now() if at is None else at)
        shown: Any = (
            products.values(_rule_key=Cast("pk", TextField()))
            if isinstance(products, models.QuerySet)
            else [str(key) for key in self._valid(products)]
        )
        everywhere = Q(action=Rule.Action.HIDE_EVERYWHERE)
        pair = Q(action=Rule.Action.HIDE)
        self._pins = rules.filter(action=Rule.Action.PIN, product_key__in=shown)
        self._hidden = rules.filter(
            everywhere | (pair & Q(product_key__in=shown)) | (pair & Q(other_key__in=shown))
        ).values(
            _hidden=Case(
                When(pair & Q(product_key__in=shown), then=F("other_key")),
                default=F("product_key"),
            )
        )

    def without_hidden(self, products: Any) -> Any:
        """Return ``products`` without what is hidden here."""
        return _none_of(products, self._hidden)

    def without_pinned(self, products: Any) -> Any:
        """Return ``products`` without the pinned ones, whose keys each row carries as ``_pins``, texts."""
        keys = self._pins.values("other_key")
        return _none_of(products, keys).annotate(_pins=ArraySubquery(keys))

    def only_pinned(self, products: Any, keys: Sequence[str] | None) -> Any:
        """Return the pinned ones of ``products``, each with its ``_place``.

        ``keys`` are those of ``_pins`` where they are known: by them rows are found in the index of the primary key,
        and without them by looking at each row.
        """
        place = self._pins.filter(other_key=OuterRef("_rule_key")).order_by("place").values("place")[:1]
        products = products.alias(_rule_key=Cast("pk", TextField()))
        if keys is None:
            products = products.filter(_rule_key__in=self._pins.values("other_key"))
        else:
            products = products.filter(pk__in=list(self._valid(keys)))
        return products.annotate(_place=Subquery(place))

    def _valid(self, keys: Sequence[Any]) -> Any:
        for key in keys:
            try:
                yield key_of(self._model, key)
            except ValueError:
                continue  # of a time when the model's keys were of another type


def _none_of(products: Any, keys: Any) -> Any:
    """Return ``products`` without those whose key as text is one of ``keys``.

    As a CASE, which PostgreSQL takes for true on 99.5 % of the rows; a plain NOT IN, which it takes for true on half
    of them, makes the vector index look twice as dear.
    """
    products = products.alias(_rule_key=Cast("pk", TextField()))
    return products.filter(IsNull(Case(When(~Q(_rule_key__in=keys), then=Value(1))), False))


def connect() -> None:
    """Have a product's rules go with it, for every model whose vectors can be found by its declarations alone.

    Signals are sent by the very class that is deleted, so each proxy is connected by itself. Connected to all models,
    they would keep Django from deleting rows of any model without loading them first.
    """
    placements = {}
    for model in apps.get_models():
        # What is wrong with a declaration or a setting is for the checks to say.
        with suppress(TypeError, FieldDoesNotExist, ImproperlyConfigured):
            placements[model] = get_placement(model)
    pictures = {placement.holder for placement in placements.values() if placement.through}
    for model in placements:
        if model not in pictures and root_of(model) is model._meta.concrete_model:
            uid = f"similar_products.merchandising {model._meta.label}"
            post_delete.connect(delete_rules, sender=model, dispatch_uid=uid)


def delete_rules(sender: type[models.Model], instance: models.Model, using: str, **kwargs: Any) -> None:
    """Delete the rules that speak of a product that is gone; another one may be given its key."""
    key = str(instance.pk)
    Rule.objects.using(using).of(sender).filter(Q(product_key=key) | Q(other_key=key)).delete()
