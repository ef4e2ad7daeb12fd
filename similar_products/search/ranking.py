"""The rules of what is shown: they act on the nearest few, after the LIMIT, in the same round trip."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import cache
from numbers import Integral, Real
from typing import Any, TypeVar, cast

import numpy as np
from django.apps import apps
from django.db import models
from django.db.models import F, Q, TextField, Value
from django.db.models.functions import Coalesce
from django.db.models.sql import Query
from django.db.models.sql.compiler import SQLCompiler
from numpy.typing import NDArray

from ..conf import get_settings
from ..encoders import get_encoder
from .bands import get_bands
from .expressions import Written
from .placement import EncoderOf
from .targets import Comparison, Normalized

POOL_FACTOR = 4
"""Candidates for each product wanted, where some may have to give way to others."""
MIN_POOL = 32
MERCHANDISING = "similar_products_merchandising"
"""The label of the optional app with the pins and hides; it is asked for by name, and by nothing else."""

COMPARED = ("_key", "_distances", "distance")
"""The columns that the pool's distances are worked out from."""

PRIVATE_NAMES = ("_key", "_distances", "_encoder", "_pins", "_place")
"""What rows carry until they are chosen."""

ModelT = TypeVar("ModelT", bound=models.Model)


TEXT = TextField()
AFTER_LIMIT = "CASE WHEN clock_timestamp() IS NOT NULL THEN {vector} END"
"""A vector worked out for the rows of the LIMIT alone.

PostgreSQL puts off to after sort and LIMIT what is volatile; else it would fetch and cast a second vector of every row
that it compares.
"""


class PoolQuery(Query):
    """A query whose rows carry as ``_distances`` those of their vector to the vectors of a pool.

    ``pool`` is the query of these, of the columns ``_key`` and ``_distances``; without it, the query's own first
    ``pool_size`` rows, of which ``is_one_way`` leaves out those nearer to the target than the row itself.
    """

    pool: Query | None = None
    pool_size = 0
    is_one_way = False

    def get_compiler(self, using: Any = None, connection: Any = None, elide_empty: bool = True) -> Any:
        compiler = super().get_compiler(using, connection, elide_empty)
        compiler.__class__ = _derived(PoolCompiler, compiler.__class__)
        return compiler


class PoolCompiler(SQLCompiler):
    """Puts the statement into a WITH, and the distances in place of the vector that it selects as ``_distances``.

    Rows are found, and vectors fetched, once for both sides of the comparison. The distances are the text of JSON by
    key. PostgreSQL reads a WITH in the order in which it was filled.
    """

    def as_sql(self, with_limits: bool = True, with_col_aliases: bool = False) -> Any:
        own, parameters = super().as_sql(with_limits, with_col_aliases)
        query = cast("PoolQuery", self.query)
        # By place: columns of two tables may have one name, and so may an annotation and what Django would call them.
        names = [alias if alias in COMPARED else f"c{place}" for place, (_, _, alias) in enumerate(self.select)]
        tables, pool = f"_similar_own({', '.join(names)}) AS MATERIALIZED ({own})", "_similar_own"
        if query.pool is not None:
            others, other_parameters = query.pool.get_compiler(connection=self.connection).as_sql()
            tables, pool = f"{tables}, _similar_pool(_key, _distances) AS MATERIALIZED ({others})", "_similar_pool"
            parameters = (*parameters, *other_parameters)
        # Nothing but names given here and a number is put into it.
        distances = (
            "SELECT json_object_agg(other._key, (own._distances <=> other._distances)::real)::text "  # noqa: S608
            f"FROM (SELECT * FROM {pool} LIMIT {query.pool_size:d}) AS other"
        )
        if query.is_one_way:
            distances += " WHERE other.distance >= own.distance"
        columns = [f"({distances})" if name == "_distances" else f"own.{name}" for name in names]
        return f"WITH {tables} SELECT {', '.join(columns)} FROM _similar_own AS own", parameters  # noqa: S608


@cache
def _derived(mixin: Any, base: Any) -> Any:
    """Return the class of ``mixin`` over ``base``, of which a shop or a backend may have its own."""
    return type(f"{mixin.__name__}Of{base.__name__}", (mixin, base), {})


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
    is_pooled = diversity > 0 or (not near_duplicates and get_bands(get_encoder().name) is not None)
    carried = _carried(comparison, is_pooled=is_pooled)
    if rules is None:
        found: Any = eligible.annotate(**carried)
    else:
        found = eligible.filter(rules.is_free).annotate(**carried, _pins=rules.pins)
    found.query.comparison = replace(comparison, tops_up=False)  # done below, where it is known what is missing
    size = max(POOL_FACTOR * k, MIN_POOL) if is_pooled else k
    first = found[:size]
    pool = _rows(first, is_one_way=not diversity)
    pinned: list[Any] = []
    if rules is not None and rules.may_pin and (not pool or pool[0]._pins):
        # Without a row there is none to tell the keys.
        wanted = in_full(eligible.filter(rules.is_not_hidden).annotate(**carried))
        wanted = rules.only_pinned(wanted, pool[0]._pins if pool else None)
        pinned = _in_order(_rows(wanted, pool=first))
    free = k - sum(row._place <= k for row in pinned)
    options = {"min_similarity": float(min_similarity), "diversity": float(diversity)}
    chosen = _choose(pool, pinned, k, **options, near_duplicates=near_duplicates)
    if len(chosen) < free and len(pool) < size and not comparison.is_exact:
        first = in_full(found)[:size]
        pool = _rows(first, is_one_way=not diversity)
        if pinned and is_pooled:
            pinned = _in_order(_rows(wanted, pool=first))  # for their distances to these
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
    return products if rules is None else products.filter(rules.is_not_hidden)


def _carried(comparison: Comparison, *, is_pooled: bool) -> dict[str, Any]:
    """Return what each row carries until it is chosen; in a pool its key and its vector, which PoolQuery compares."""
    carried: dict[str, Any] = {"_encoder": EncoderOf(comparison.path("embedding_source"))}
    if is_pooled:
        vector = comparison.cast(comparison.path("embedding"))
        # The vector in full precision is kept outside the table's rows; what a function returns is not.
        vector = Normalized(vector) if comparison.is_exact else vector
        carried |= {
            "_key": Written("{key}::text", key="pk", output_field=TEXT),
            # As a text, since it is the distances that stand there in the end.
            "_distances": Written(AFTER_LIMIT, vector=vector, output_field=TEXT),
        }
    return carried


def _rows(found: Any, *, pool: Any = None, is_one_way: bool = False) -> list[Any]:
    """Return the rows of ``found``; where they carry vectors, with the distances to those of ``pool``, a slice.

    Without ``pool`` it is ``found`` itself. ``is_one_way``: a row gives way to nearer ones alone, and has no distances
    to these.
    """
    if "_distances" in found.query.annotations:
        found = found._chain()
        found.query = found.query.chain(_derived(PoolQuery, found.query.__class__))
        if pool is not None:
            found.query.pool = pool.values("_key", "_distances").query
        found.query.pool_size = (found if pool is None else pool).query.high_mark
        found.query.is_one_way = is_one_way
    return list(found)


def _in_order(pinned: Iterable[Any]) -> list[Any]:
    """Return the pinned products, each once, by their places."""
    by_key = {row.pk: row for row in pinned}
    return sorted(by_key.values(), key=lambda row: (row._place, row.distance, row.pk))


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
    return queryset.exclude(pk__in=[getattr(each, "pk", each) for each in shown]) if shown else queryset


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
    keys = [row._key for row in alike]
    relevance = np.array([row.similarity for row in alike])
    nearest_chosen = np.full(len(alike), -np.inf)
    is_open = np.ones(len(alike), dtype=bool)
    chosen: list[int] = []
    added = [row for row in pinned if row._place <= k]
    while True:
        for row in added:
            similarities = _similarities(row, keys)
            nearest_chosen = np.maximum(nearest_chosen, similarities)
            if bands is not None:
                is_open &= similarities < bands.near_duplicate
        if len(chosen) == k or not is_open.any():
            break
        score = (1 - diversity) * relevance - (diversity * nearest_chosen if added else 0.0)
        best = int(np.argmax(np.where(is_open, score, -np.inf)))
        chosen.append(best)
        is_open[best] = False
        added = [alike[best]]
    return [alike[number] for number in chosen]


def _similarities(row: Any, keys: list[str]) -> NDArray[np.float64]:
    """Return the cosine similarities of a row to those of ``keys`` by the distances it carries, float64 ``[n]``."""
    distances = json.loads(row._distances or "{}")
    return np.array([1 - distances.get(key, 1.0) for key in keys])


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
