"""What the rules in force come to for one list, as expressions in its own query."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, cast

from django.apps import apps
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import models
from django.db.models import IntegerField, Q, Subquery, TextField, Value
from django.db.models.functions import Cast, Now
from django.db.models.signals import post_delete

from ..search.expressions import Condition, Independent, Written
from ..search.placement import get_placement, root_of
from ..search.rules import Rules
from ..search.scan import annotate
from .models import Rule, valid_keys

TEXT = TextField()
TEXTS = ArrayField(TEXT)

# Written out, since each page with similar products asks it: Django built and compiled these queries in 2 ms a list.
# ``shown`` are the keys of the products that the list is shown with, ``rules`` those in force.
PINNED = "(SELECT other_key FROM {rules} AS rule WHERE action = 'pin' AND product_key = ANY({shown}))"
PLACE = (
    "(SELECT min(place) FROM {rules} AS _similar_rule "  # not the name of a table that the key may come from
    "WHERE action = 'pin' AND product_key = ANY({shown}) AND other_key = {key}::text)"
)
HIDDEN = (
    "(SELECT product_key FROM {rules} AS rule WHERE action = 'everywhere' "
    # A pair is not shown together either way.
    "OR (action = 'hide' AND other_key = ANY({shown})) "
    "UNION ALL SELECT other_key FROM {rules} AS rule WHERE action = 'hide' AND product_key = ANY({shown}))"
)
HIDDEN_OR_PINNED = (
    "(SELECT product_key FROM {rules} AS rule WHERE action = 'everywhere' "
    "OR (action = 'hide' AND other_key = ANY({shown})) "
    # A pin stands in the lists of its own product alone.
    "UNION ALL SELECT other_key FROM {rules} AS rule WHERE action IN ('hide', 'pin') AND product_key = ANY({shown}))"
)

ModelT = TypeVar("ModelT", bound=models.Model)


class PinsAndHides(Rules):
    """The rules of a list of products of ``model`` beside the products that it is shown with.

    ``products``: their keys, or a queryset of them; none where the list belongs to a photo. ``at``: the moment whose
    rules count, ``None`` for now by the database's clock. Nothing here makes a query of its own.
    """

    def __init__(
        self, model: type[models.Model], products: "Sequence[Any] | models.QuerySet[Any]", at: datetime | None
    ) -> None:
        self._model = model
        root = root_of(model)
        self._parts: dict[str, Any] = {
            "rules": _rules_now(root) if at is None else _rules(root, at),
            "shown": Written("ARRAY{keys}", keys=Subquery(products.values(_rule_key=Cast("pk", TEXT))))
            if isinstance(products, models.QuerySet)
            else Value([str(key) for key in valid_keys(model, products)], TEXTS),
        }
        self.may_pin = isinstance(products, models.QuerySet) or bool(products)
        self._pinned = Independent(Written(PINNED, **self._parts, output_field=TEXT))

    @property
    def is_not_hidden(self) -> Condition:
        return self._is_none_of(HIDDEN)

    @property
    def is_free(self) -> Condition:
        return self._is_none_of(HIDDEN_OR_PINNED)

    @property
    def pins(self) -> Written:
        return Written("ARRAY{keys}", keys=self._pinned, output_field=TEXTS)

    def only_pinned(self, products: "models.QuerySet[ModelT]", keys: Sequence[str] | None) -> "models.QuerySet[ModelT]":
        # By keys rows are found in the index of the primary key, and without them by looking at each row.
        pinned: models.QuerySet[Any]
        if keys is None:
            pinned = products.filter(Condition("{key}::text IN {keys}", key="pk", keys=self._pinned))
        else:
            pinned = products.filter(pk__in=list(valid_keys(self._model, keys)))
        place = Written(PLACE, **self._parts, key="pk", output_field=IntegerField())
        return cast("models.QuerySet[ModelT]", annotate(pinned, _place=place))

    def _is_none_of(self, keys: str) -> Condition:
        subquery = Independent(Written(keys, **self._parts, output_field=TEXT))
        return Condition("NOT ({key}::text IN {keys})", key="pk", keys=subquery)


def _rules(root: type[models.Model], at: Any) -> Independent:
    rules = Rule.objects.of(root).in_force(at)
    return Independent(rules.values("action", "product_key", "other_key", "place").query)


@cache
def _rules_now(root: type[models.Model]) -> Independent:
    return _rules(root, Now())


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
