"""The shop's rules for what is shown: they act on the nearest few, after the LIMIT, in the same round trip."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from numbers import Integral, Real
from typing import Any, TypedDict, TypeVar, Unpack, cast

import numpy as np
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce

from ..conf import get_settings, listed
from ..encoders import get_encoder
from .bands import get_bands
from .placement import EncoderOf
from .pool import fetch, pool_columns, similarities
from .rules import Rules, rules_for
from .scan import Row, SimilarQuery, annotate, comparison_of, in_full, is_nearest_first, turn_into
from .targets import Comparison

POOL_FACTOR = 4
"""Rows for each product wanted, where some may have to give way to others."""
MIN_POOL = 32

PRIVATE_NAMES = ("_key", "_distances", "_encoder", "_pins", "_place")
"""What rows carry until they are chosen."""

ModelT = TypeVar("ModelT", bound=models.Model)


class RankingOptions(TypedDict, total=False):
    """The options of ``ranked``, which says what each means."""

    min_similarity: float
    near_duplicates: bool | None
    variants: bool
    exclude: Iterable[Any] | models.Model | None
    diversity: float
    merchandising: bool
    at: datetime | None


DEFAULTS = RankingOptions(
    min_similarity=0.0, near_duplicates=None, variants=False, exclude=(), diversity=0.0, merchandising=True, at=None
)


def ranked(queryset: "models.QuerySet[ModelT]", k: int, **options: Unpack[RankingOptions]) -> list[ModelT]:
    """Return up to ``k`` products of a queryset of ``similar_to``, chosen by the shop's rules.

    It is one query, a second one where products are pinned, and another, of all rows, where the first gave too few.

    - ``min_similarity``, 0..1: less similar ones are left out.
    - ``near_duplicates``: false keeps of products that are near-duplicates of each other only the first, by the bands
      of the encoder; true keeps all. Unless said they are left out where the shop has calibrated the bands itself: by
      those we ship, measured on photos, a third of the right neighbours of a catalogue of drawings would have been.
    - ``variants``: products that share with the target what ``SIMILAR_PRODUCTS["PRODUCTS"]`` names as ``VARIANTS`` are
      left out, unless this is true.
    - ``exclude``: what is shown already: a product, or several as a queryset or a list of products or keys.
    - ``diversity``, 0..1: 0 keeps the order of similarity; more gives way to products that look like none chosen
      before (maximal marginal relevance, Carbonell and Goldstein 1998: (1 - d) * similarity to the target - d * the
      greatest similarity to a chosen one).
    - ``merchandising``: the pins and hides of ``similar_products.merchandising`` hold where that app is installed,
      unless this is false; those in force ``at`` a moment, now unless given. A pinned product must be in the queryset
      like any other, and is not left out by ``min_similarity``, near-duplicates or diversity.

    Near-duplicates and diversity choose among the nearest ``4 * k`` and at least 32. Each product carries ``distance``,
    ``similarity``, ``likeness``, the word for its similarity or '', and ``pinned``. Raises ``ValueError`` for a
    value out of range and ``TypeError`` for a queryset that is not of ``similar_to``.
    """
    wanted: RankingOptions = {**DEFAULTS, **options}
    _check(queryset, k, wanted)
    comparison = comparison_of(queryset.query)
    if comparison is None:
        return []
    products = _without_shown(queryset, wanted["exclude"])
    if not wanted["variants"]:
        products = _without_variants(products, comparison)
    rules = rules_for(queryset.model, comparison.products, wanted["at"]) if wanted["merchandising"] else None
    if wanted["near_duplicates"] is None:
        wanted["near_duplicates"] = get_settings().bands is None
    chosen, pinned = _choose(products, comparison, rules, k, wanted)
    return cast("list[ModelT]", _place(chosen, pinned, k))


def _check(queryset: "models.QuerySet[Any]", k: Any, wanted: RankingOptions) -> None:
    if unknown := wanted.keys() - DEFAULTS.keys():
        raise TypeError(f"ranked() has no option {listed(sorted(unknown))}; valid are {listed(DEFAULTS)}.")
    is_open = not queryset.query.is_sliced and queryset._fields is None  # type: ignore[attr-defined]
    if not (is_open and is_nearest_first(queryset.query)) and not queryset.query.is_empty():
        raise TypeError(
            "ranked() takes the queryset of similar_to() as it came, filtered or not, but neither sliced nor in "
            "another order nor as values()."
        )
    if isinstance(k, bool) or not isinstance(k, Integral) or k < 1:
        raise ValueError(f"k is {k!r}; valid are whole numbers from 1.")
    for name in ("min_similarity", "diversity"):
        value: Any = wanted[name]
        if isinstance(value, bool) or not isinstance(value, Real | Decimal) or not 0 <= float(value) <= 1:
            raise ValueError(f"{name} is {value!r}; valid are numbers from 0 to 1.")


def _without_shown(
    products: "models.QuerySet[ModelT]", exclude: Iterable[Any] | models.Model | None
) -> "models.QuerySet[ModelT]":
    if isinstance(exclude, models.QuerySet):
        return products.exclude(pk__in=exclude.values("pk"))
    shown = [exclude] if isinstance(exclude, models.Model) else list(exclude or ())
    return products.exclude(pk__in=[getattr(each, "pk", each) for each in shown]) if shown else products


def _without_variants(products: "models.QuerySet[ModelT]", comparison: Comparison) -> "models.QuerySet[ModelT]":
    """Return ``products`` without what shares a parent, or another field's value, with a product of the target."""
    model, keys = products.model, comparison.products
    name = get_settings().product(model).variants
    if not name or (not isinstance(keys, models.QuerySet) and not keys):
        return products
    field: Any = model._meta.get_field(name)
    keys = keys.values("pk") if isinstance(keys, models.QuerySet) else keys
    targets: models.QuerySet[Any] = models.QuerySet(model).filter(pk__in=keys).order_by()
    if field.is_relation and field.related_model is not None and issubclass(model, field.related_model):
        # A tree of one level: the family is named by the parent, which belongs to it.
        family = targets.values(family=Coalesce(F(f"{name}__pk"), F("pk")))
        return products.exclude(pk__in=family).exclude(**{f"{name}__pk__in": family})
    shared = targets.filter(**{f"{name}__isnull": False}).values(name)
    if not field.is_relation and field.empty_strings_allowed:
        shared = shared.exclude(**{name: ""})
    return products.exclude(Q(**{f"{name}__in": shared}))


def _choose(
    products: "models.QuerySet[Any]", comparison: Comparison, rules: Rules | None, k: int, wanted: RankingOptions
) -> tuple[list[Row], list[Row]]:
    """Return the rows of ``products`` that are chosen, and those that are pinned."""
    is_one_way = not wanted["diversity"]
    is_pooled = not is_one_way or (not wanted["near_duplicates"] and get_bands(get_encoder().name) is not None)
    size = max(POOL_FACTOR * k, MIN_POOL) if is_pooled else k
    carried = {"_encoder": EncoderOf(comparison.path("embedding_source"))}
    products = annotate(products, **carried, **(pool_columns(comparison) if is_pooled else {}))
    # A short page is completed here, where it is known what is missing.
    turn_into(products.query, SimilarQuery).comparison = replace(comparison, tops_up=False)
    free = products if rules is None else annotate(products.filter(rules.is_free), _pins=rules.pins)
    nearest = free[:size]
    pool = fetch(nearest, is_one_way=is_one_way)
    pinned = _pin(products, rules, pool, nearest)
    chosen = _select(pool, pinned, k, wanted)
    missing = k - sum(row._place <= k for row in pinned) - len(chosen)
    if missing > 0 and len(pool) < size and not comparison.is_exact:
        nearest = in_full(free)[:size]
        pool = fetch(nearest, is_one_way=is_one_way)
        if pinned and is_pooled:  # for their distances to these
            pinned = _pin(products, rules, pool, nearest)
        chosen = _select(pool, pinned, k, wanted)
    return chosen, pinned


def _pin(
    products: "models.QuerySet[Any]", rules: Rules | None, pool: list[Row], nearest: "models.QuerySet[Any]"
) -> list[Row]:
    """Return the pinned ones of ``products``, each once, by their places, with the distances to ``nearest``."""
    # Without a row there is none to tell the keys.
    if rules is None or not rules.may_pin or (pool and not pool[0]._pins):
        return []
    keys = pool[0]._pins if pool else None
    pinned = fetch(rules.only_pinned(in_full(products.filter(rules.is_not_hidden)), keys), nearest)
    by_key = {row.pk: row for row in pinned}
    return sorted(by_key.values(), key=lambda row: (row._place, row.distance, row.pk))


def _select(pool: list[Row], pinned: list[Row], k: int, wanted: RankingOptions) -> list[Row]:
    """Return up to ``k`` rows of ``pool``, the next best one after the other; pinned ones count as chosen before."""
    diversity, min_similarity = float(wanted["diversity"]), float(wanted["min_similarity"])
    alike = [row for row in pool if row.similarity >= min_similarity]
    if not alike or not hasattr(alike[0], "_distances"):
        return alike[:k]
    bands = None if wanted["near_duplicates"] else get_bands(alike[0]._encoder)
    keys = [row._key for row in alike]
    relevance = np.array([row.similarity for row in alike])
    nearest_chosen = np.full(len(alike), -np.inf)
    is_open = np.ones(len(alike), dtype=bool)
    chosen: list[Row] = []
    added = [row for row in pinned if row._place <= k]
    while True:
        for row in added:
            to_row = similarities(row, keys)
            nearest_chosen = np.maximum(nearest_chosen, to_row)
            if bands is not None:
                is_open &= to_row < bands.near_duplicate
        if len(chosen) == k or not is_open.any():
            return chosen
        score = (1 - diversity) * relevance - (diversity * nearest_chosen if added else 0.0)
        best = int(np.argmax(np.where(is_open, score, -np.inf)))
        is_open[best] = False
        added = [alike[best]]
        chosen += added


def _place(chosen: list[Row], pinned: list[Row], k: int) -> list[Row]:
    """Return up to ``k`` rows as they are shown: each pinned one at its place, or before it where the others end."""
    others, waiting = iter(chosen), list(pinned)
    shown: list[Row] = []
    while len(shown) < k:
        is_due = bool(waiting) and waiting[0]._place <= len(shown) + 1
        row = None if is_due else next(others, None)
        is_pinned = row is None
        if row is None:
            if not waiting:
                break
            row = waiting.pop(0)
        row.pinned = is_pinned
        shown.append(row)
    bands = get_bands(shown[0]._encoder) if shown else None
    for row in shown:
        row.likeness = "" if bands is None else bands.word(row.similarity)
        for name in PRIVATE_NAMES:
            row.__dict__.pop(name, None)
    return shown
