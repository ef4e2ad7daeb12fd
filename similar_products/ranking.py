"""The rules of what is shown: they act on the nearest few, after the LIMIT, in the same round trip."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from numbers import Integral, Real
from typing import Any, TypeVar, cast

import numpy as np
from django.apps import apps
from django.db import models
from django.db.models import F, Func, Q, Subquery, TextField, Value
from django.db.models.functions import Cast, Coalesce
from numpy.typing import NDArray

from .bands import get_bands
from .conf import get_settings
from .encoders import get_encoder
from .targets import Comparison

POOL_FACTOR = 4
"""Candidates for each product wanted, where some may have to give way to others."""
MIN_POOL = 32
MERCHANDISING = "similar_products_merchandising"
"""The label of the optional app with the pins and hides; it is asked for by name, and by nothing else."""

PRIVATE_NAMES = ("_key", "_distances", "_encoder", "_pins", "_place")
"""What rows carry until they are chosen."""

ModelT = TypeVar("ModelT", bound=models.Model)


class DistancesTo(Func):
    """The distances of a row's vector to those of a subquery of (key, vector), as the text of JSON by key.

    The subquery depends on nothing and is worked out once, into an array. ``OFFSET 0`` keeps PostgreSQL from fetching
    and casting the row's own vector once for each of the others.
    """

    output_field = TextField()

    def __init__(self, own: Any, others: Any, type_name: str) -> None:
        super().__init__(
            own,
            others,
            # Nothing but the name of a type is put into it.
            template="(SELECT json_object_agg(other.key, (own.vector <=> other.vector)::real)::text "  # noqa: S608
            f"FROM (SELECT %(expressions)s AS pool(vector, key))) AS other(key text, vector {type_name}))",
            arg_joiner=" AS vector OFFSET 0) AS own CROSS JOIN unnest(ARRAY(SELECT ROW(pool.key, pool.vector) FROM ",
        )


def is_nearest_first(query: Any) -> bool:
    """Return whether ``query`` is one of ``similar_to`` in the order that came with it."""
    return hasattr(query, "comparison") and query.order_by == ("distance", "pk") and query.standard_ordering


def in_full(queryset: "models.QuerySet[ModelT]") -> "models.QuerySet[ModelT]":
    """Return the same, sliced or not, in an order that the index does not have: every row is compared."""
    found: Any = queryset._chain()  # type: ignore[attr-defined]
    found.query.clear_ordering(force=True, clear_default=True)
    found.query.add_ordering(F("distance") + Value(0.0), "pk")
    return cast("models.QuerySet[ModelT]", found)


def ranked(
    queryset: "models.QuerySet[ModelT]",
    k: int,
    *,
    min_similarity: float = 0.0,
    near_duplicates: bool | None = None,
    variants: bool = False,
    exclude: Iterable[Any] | models.Model | None = (),
    diversity: float = 0.0,
    merchandising: bool = True,
    at: datetime | None = None,
) -> list[ModelT]:
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
    comparison: Comparison | None = getattr(queryset.query, "comparison", None)
    _check(queryset, comparison, k, min_similarity, diversity)
    if comparison is None:
        return []
    if near_duplicates is None:
        near_duplicates = get_settings().bands is None
    eligible = _without_shown(queryset, exclude)
    if not variants:
        eligible = _without_variants(eligible, comparison)
    rules = rules_for(queryset.model, comparison.products, at) if merchandising else None
    if rules is not None:
        eligible = rules.without_hidden(eligible)
    eligible.query.comparison = replace(comparison, tops_up=False)  # done below, where it is known what is missing
    found = eligible if rules is None else rules.without_pinned(eligible)
    is_pooled = diversity > 0 or (not near_duplicates and get_bands(get_encoder().name) is not None)
    size = max(POOL_FACTOR * k, MIN_POOL) if is_pooled else k
    others = found[:size] if is_pooled else None
    pool = _pool(found, comparison, size, others)
    pinned: list[Any] = []
    if rules is not None and (not pool or pool[0]._pins):
        # Without a row there is none to tell the keys. What the top-up below finds beside the first pool is in no
        # pinned product's distances, and counts as no near-duplicate of it.
        wanted = rules.only_pinned(in_full(eligible), pool[0]._pins if pool else None)
        by_key = {row.pk: row for row in _pool(wanted, comparison, None, others)}
        pinned = sorted(by_key.values(), key=lambda row: (row._place, row.distance, row.pk))
    free = k - sum(row._place <= k for row in pinned)
    options = {"min_similarity": float(min_similarity), "diversity": float(diversity)}
    chosen = _choose(pool, pinned, k, **options, near_duplicates=near_duplicates)
    if len(chosen) < free and len(pool) < size and not comparison.is_exact:
        found = in_full(found)
        pool = _pool(found, comparison, size, found[:size] if is_pooled else None)
        chosen = _choose(pool, pinned, k, **options, near_duplicates=near_duplicates)
    return _in_place(chosen, pinned, k)


def rules_for(
    model: type[models.Model], products: "Sequence[Any] | models.QuerySet[Any]" = (), at: datetime | None = None
) -> Any:
    """Return the pins and hides for lists of ``model`` beside ``products``, or ``None`` without the app for them."""
    app: Any = apps.app_configs.get(MERCHANDISING)
    return None if app is None else app.rules_for(model, products, at)


def without_hidden(products: "models.QuerySet[ModelT]", target: Sequence[Any] = ()) -> "models.QuerySet[ModelT]":
    """Return ``products`` without what is hidden now: everywhere, or beside the products of ``target``, their keys."""
    rules = rules_for(products.model, target)
    return products if rules is None else cast("models.QuerySet[ModelT]", rules.without_hidden(products))


def _pool(found: Any, comparison: Comparison, size: int | None, others: Any) -> list[Any]:
    """Return the first ``size`` rows; where there are ``others``, a queryset, with the distances to each of them."""
    if others is not None:
        vector = comparison.cast(comparison.placement.from_product("embedding"))
        key = Cast("pk", TextField())
        pool = Subquery(others.annotate(_vector=vector, _key=key).values("_vector", "_key"))
        type_name = "vector" if comparison.is_exact else "halfvec"
        found = found.annotate(_key=key, _distances=DistancesTo(vector, pool, type_name))
    return list(found.annotate(_encoder=comparison.encoder)[:size])


def _check(queryset: Any, comparison: Any, k: Any, min_similarity: Any, diversity: Any) -> None:
    is_similar = is_nearest_first(queryset.query) and not queryset.query.is_sliced and queryset._fields is None
    if not is_similar and not queryset.query.is_empty():
        raise TypeError(
            "ranked() takes the queryset of similar_to() as it came, filtered or not, but neither sliced nor in "
            "another order nor as values()."
        )
    if isinstance(k, bool) or not isinstance(k, Integral) or k < 1:
        raise ValueError(f"k is {k!r}; valid are whole numbers from 1.")
    for name, value in (("min_similarity", min_similarity), ("diversity", diversity)):
        if isinstance(value, bool) or not isinstance(value, Real | Decimal) or not 0 <= float(value) <= 1:
            raise ValueError(f"{name} is {value!r}; valid are numbers from 0 to 1.")


def _without_shown(queryset: Any, exclude: Any) -> Any:
    if isinstance(exclude, models.QuerySet):
        return queryset.exclude(pk__in=exclude.values("pk"))
    shown = [exclude] if isinstance(exclude, models.Model) else list(exclude or ())
    return queryset.exclude(pk__in=[getattr(each, "pk", each) for each in shown]) if shown else queryset.all()


def _without_variants(found: Any, comparison: Comparison) -> Any:
    """Return ``found`` without what shares a parent, or another field's value, with a product of the target."""
    model = found.model
    name = get_settings().product(model).variants
    field: Any = model._meta.get_field(name) if name else None
    if field is None or (not isinstance(comparison.products, models.QuerySet) and not comparison.products):
        return found
    keys = comparison.products
    keys = keys.values("pk") if isinstance(keys, models.QuerySet) else list(keys)
    targets = model._base_manager.filter(pk__in=keys).order_by()
    if field.is_relation and field.related_model is not None and issubclass(model, field.related_model):
        # A tree of one level: the family is named by the parent, which belongs to it.
        family = targets.values(family=Coalesce(F(f"{name}__pk"), F("pk")))
        return found.exclude(pk__in=family).exclude(**{f"{name}__pk__in": family})
    shared = targets.filter(**{f"{name}__isnull": False}).values(name)
    if not field.is_relation and field.empty_strings_allowed:
        shared = shared.exclude(**{name: ""})
    return found.exclude(Q(**{f"{name}__in": shared}))


def _choose(
    pool: list[Any], pinned: list[Any], k: int, *, min_similarity: float, diversity: float, near_duplicates: bool
) -> list[Any]:
    """Return up to ``k`` rows of ``pool``, the next best one after the other; pinned ones count as chosen before."""
    alike = [row for row in pool if row.similarity >= min_similarity]
    if not alike or not hasattr(alike[0], "_distances"):
        return alike[:k]
    bands = None if near_duplicates else get_bands(alike[0]._encoder)
    similarities = _similarities(alike, alike)
    relevance = np.array([row.similarity for row in alike])
    nearest_chosen = np.full(len(alike), -np.inf)
    is_open = np.ones(len(alike), dtype=bool)
    chosen: list[int] = []
    first = _similarities([row for row in pinned if row._place <= k], alike)
    for to_pinned in first:
        nearest_chosen = np.maximum(nearest_chosen, to_pinned)
        if bands is not None:
            is_open &= to_pinned < bands.near_duplicate
    while len(chosen) < k and is_open.any():
        score = (1 - diversity) * relevance - (diversity * nearest_chosen if chosen or len(first) else 0.0)
        best = int(np.argmax(np.where(is_open, score, -np.inf)))
        chosen.append(best)
        nearest_chosen = np.maximum(nearest_chosen, similarities[best])
        is_open[best] = False
        if bands is not None:
            is_open &= similarities[best] < bands.near_duplicate
    return [alike[number] for number in chosen]


def _similarities(rows: list[Any], others: list[Any]) -> NDArray[np.float64]:
    """Return the cosine similarities of rows to others by the distances that the rows carry, float64 ``[n, m]``."""
    similarities = np.zeros((len(rows), len(others)))
    keys = [row._key for row in others]
    for number, row in enumerate(rows):
        distances = json.loads(row._distances or "{}")
        similarities[number] = [1 - distances.get(key, 1.0) for key in keys]
    return similarities


def _in_place(chosen: list[Any], pinned: list[Any], k: int) -> list[Any]:
    """Return up to ``k`` rows as they are shown: each pinned one at its place, or before it where the others end."""
    others, waiting = iter(chosen), list(pinned)
    shown: list[Any] = []
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
