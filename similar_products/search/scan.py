"""The scan of the vector index: its settings, and pages in order and in full whatever the index hands over."""

from collections.abc import Iterable, Iterator
from functools import cache
from operator import attrgetter
from typing import Any, Protocol, TypeVar, cast

from django.db import models
from django.db.models import F, Func, TextField, Value
from django.db.models.query import ModelIterable
from django.db.models.sql import Query

from .targets import Comparison

ModelT = TypeVar("ModelT", bound=models.Model)
QueryT = TypeVar("QueryT", bound=Query)

SCAN_SETTINGS = {"iterative_scan": "relaxed_order", "max_scan_tuples": str(2**31 - 1), "scan_mem_multiplier": "1000"}
"""pgvector's, the limits at the maximum it allows."""


class Row(Protocol):
    """A row of ``similar_to``, with what it carries until ``ranked`` chooses it, and what it is given then."""

    pk: Any
    distance: float
    similarity: float
    likeness: str
    pinned: bool
    _encoder: str
    _key: str
    _distances: str | None
    _pins: list[str]
    _place: int


class ScanSettings(Func):
    """pgvector's settings for this one statement, so that k rows come whatever the filter.

    Without iterative scans a filter that matches 10 % of the rows gets 4 of 12 rows. Even with them pgvector gives up
    after 20,000 rows or ``work_mem``, whichever comes first: of 30,000 products 20,211 could be reached, and 30,000 of
    30,000 without these limits. An uncorrelated subquery is run before the index scan, needs no transaction and no
    extra round trip, and its settings end with the statement; where a transaction is open they end with that.
    """

    output_field = TextField()

    def __init__(self, ef_search: int) -> None:
        settings = {**SCAN_SETTINGS, "ef_search": str(ef_search)}
        calls = " || ".join(f"set_config('hnsw.{name}', '{value}', true)" for name, value in settings.items())
        super().__init__(template=f"(SELECT {calls})")


class SimilarQuery(Query):
    """A query of ``similar_to``, which carries the comparison through clones and pickles."""

    comparison: Comparison | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # A class that derive() made has no name to be found by; its base has.
        return _make_empty, (self.__class__.__bases__[-1],), self.__getstate__()


def _make_empty(base: Any) -> SimilarQuery:
    query_class: Any = derive(SimilarQuery, base)
    query: SimilarQuery = query_class.__new__(query_class)
    return query


@cache
def derive(mixin: Any, base: Any) -> Any:
    """Return the class of ``mixin`` over ``base``, of which a shop or a backend may have its own."""
    if issubclass(base, mixin):
        return base
    return mixin if issubclass(mixin, base) else type(f"{mixin.__name__}Of{base.__name__}", (mixin, base), {})


def turn_into(query: Query, mixin: type[QueryT]) -> QueryT:
    """Give ``query`` the class ``mixin`` beside its own, in place, and return it."""
    query.__class__ = derive(mixin, query.__class__)  # type: ignore[arg-type]
    return query  # type: ignore[return-value]  # by the line before


def comparison_of(query: Query) -> Comparison | None:
    """Return what the rows of ``query`` are compared with, or ``None`` where it is not one of ``similar_to``."""
    # Whatever its class, which a shop's packages may have exchanged since, as django-tree-queries does.
    return getattr(query, "comparison", None)


def is_nearest_first(query: Query) -> bool:
    """Return whether ``query`` is one of ``similar_to`` in the order that came with it."""
    is_ordered = query.order_by == ("distance", "pk") and query.standard_ordering
    return is_ordered and comparison_of(query) is not None and not query.combinator


def in_full(queryset: "models.QuerySet[ModelT]") -> "models.QuerySet[ModelT]":
    """Return the same, sliced or not, in an order that the index does not have: every row is compared."""
    found: models.QuerySet[ModelT] = queryset._chain()  # type: ignore[attr-defined]
    found.query.clear_ordering(force=True, clear_default=True)
    found.query.add_ordering(F("distance") + Value(0.0), "pk")
    return found


class NearestFirst(ModelIterable):  # type: ignore[type-arg]  # generic in the stubs alone
    """Rows of ``similar_to``: each with its ``similarity``, a page in order whatever its length, and k of them.

    Each product comes once. Relaxed scans hand rows over in nearly ascending order, and PostgreSQL, which takes it for
    ascending, sorts each 32 of them by the key only. And a page that comes short is asked for once more, of all rows:
    an HNSW scan that lands among hundreds of entries of one vector does not leave them again. Of 30,000 products one
    that had 800 copies found those and none else, and one whose 800 former versions were not yet vacuumed found
    nothing at all.
    """

    def __iter__(self) -> Iterator[Any]:
        queryset = self.queryset
        rows = cast("Iterable[Row]", super().__iter__())
        if is_nearest_first(queryset.query) and queryset.query.is_sliced:
            rows = _complete(queryset, sorted(rows, key=_distance))
        for row in rows:
            # Cosine similarity; what points the other way is not alike at all, and no less.
            row.similarity = min(max(1.0 - row.distance, 0.0), 1.0)
            yield row


_distance = attrgetter("distance")


def _complete(queryset: "models.QuerySet[Any]", rows: list[Row]) -> list[Row]:
    """Return the rows of a slice, each product once and as many as there are."""
    first, stop = queryset.query.low_mark, queryset.query.high_mark
    comparison = cast("Comparison", comparison_of(queryset.query))
    if len({row.pk for row in rows}) < len(rows):
        # A filter over a to-many relation after similar_to gives one row for each match, Django's way. Where a
        # slice of products begins and ends cannot be told from a slice of rows.
        everything = in_full(queryset)
        everything.query.clear_limits()
        products = {row.pk: row for row in reversed(_all_rows(everything))}
        return sorted(products.values(), key=_distance)[first:stop]
    is_short = stop is not None and len(rows) < stop - first
    if is_short and comparison.tops_up and not comparison.is_exact:
        return _all_rows(in_full(queryset))
    return rows


def _all_rows(queryset: "models.QuerySet[Any]") -> list[Row]:
    return list(ModelIterable(queryset))
