"""The scan of ``similar_to``: pgvector's settings for it, and its rows put right as they come from the database."""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from django.db import models
from django.db.models import F, FloatField, Func, Q, TextField, Value
from django.db.models.expressions import Col
from django.db.models.sql import Query
from django.db.models.sql.compiler import SQLCompiler
from django.db.models.sql.constants import GET_ITERATOR_CHUNK_SIZE, MULTI
from django.db.models.sql.datastructures import Join

from ..conf import listed
from .expressions import Condition, Written
from .targets import Comparison

ModelT = TypeVar("ModelT", bound=models.Model)
QueryT = TypeVar("QueryT", bound=Query)
RowTuple: TypeAlias = tuple[Any, ...]

SCAN_SETTINGS = {"iterative_scan": "relaxed_order", "max_scan_tuples": str(2**31 - 1), "scan_mem_multiplier": "1000"}
"""pgvector's, the limits at the maximum it allows."""

DISTANCE = "_similar_distance"
"""The alias that rows are ordered by: ``distance`` is there for the shop."""
RESULT_NAMES = ("distance", "similarity", "likeness", "pinned", "matched_image")
"""What a result carries; a field or an annotation of that name would be written over."""
FIRST_BLOCK = 128
"""Rows of the first block of the list that pages with an offset are taken from."""
INDEX_SORTS_TIES = 170_000
"""The first version of PostgreSQL that sorts rows at one distance by the key and keeps the index for it."""


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


class Similarity(Written):
    """The cosine similarity, 0..1, by the distance at a path; what points the other way is not alike, and no less."""

    output_field = FloatField()

    def __init__(self, distance: str) -> None:
        super().__init__("greatest(0::float8, least(1::float8, 1 - {distance}))", distance=distance)


def similarity_at(distance: float) -> float:
    """Return the cosine similarity, 0..1, at a distance that was fetched, as ``Similarity`` does in SQL."""
    return min(max(1.0 - distance, 0.0), 1.0)


class SimilarQuery(Query):
    """A query of ``similar_to``, which carries the comparison through clones and pickles."""

    comparison: Comparison | None = None

    def add_annotation(self, annotation: Any, alias: str, *args: Any, **kwargs: Any) -> None:
        before = self.annotations.get(alias)
        super().add_annotation(annotation, alias, *args, **kwargs)
        if alias in RESULT_NAMES and self.annotations[alias] is not before:
            raise TypeError(f"similar_to() gives each result {alias!r}; give your own annotation another name.")

    def add_extra(self, select: Any, *args: Any) -> None:
        if taken := [name for name in RESULT_NAMES if name in (select or ())]:
            raise TypeError(f"similar_to() gives each result {listed(taken)}; give your own column another name.")
        super().add_extra(select, *args)

    def get_compiler(self, using: Any = None, connection: Any = None, elide_empty: bool = True) -> Any:
        compiler: Any = super().get_compiler(using, connection, elide_empty)
        compiler.__class__ = derive(SimilarCompiler, compiler.__class__)
        return compiler

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


def repeats_rows(query: Any) -> bool:
    """Return whether a join of the query may give a product several rows."""
    relations: list[Any] = [
        join.join_field
        for alias, join in query.alias_map.items()
        if query.alias_refcount[alias] and isinstance(join, Join)
    ]
    return any(relation.one_to_many or relation.many_to_many for relation in relations)


def comparison_of(query: Query) -> Comparison | None:
    """Return what the rows of ``query`` are compared with, or ``None`` where it is not one of ``similar_to``."""
    # Whatever its class, which a shop's packages may have exchanged since, as django-tree-queries does.
    return getattr(query, "comparison", None)


def is_nearest_first(query: Query) -> bool:
    """Return whether ``query`` is one of ``similar_to`` in the order that came with it."""
    is_ordered = query.order_by == (DISTANCE, "pk") and query.standard_ordering
    return is_ordered and comparison_of(query) is not None and not query.combinator


def annotate(queryset: "models.QuerySet[ModelT]", **columns: Any) -> "models.QuerySet[ModelT]":
    """Return ``queryset`` with ``columns`` beside those it has.

    They are named again, since django-model-utils hands to its objects only those of the last ``annotate``.
    """
    are_rows = queryset._fields is None  # type: ignore[attr-defined]  # of values() Django takes a name once
    again = {name: F(name) for name in queryset.query.annotation_select if are_rows}
    return cast("models.QuerySet[ModelT]", queryset.annotate(**again, **columns))


def in_full(queryset: "models.QuerySet[ModelT]") -> "models.QuerySet[ModelT]":
    """Return the same, sliced or not, in an order that the index does not have: every row is compared."""
    found: models.QuerySet[ModelT] = queryset._chain()  # type: ignore[attr-defined]
    _order_in_full(found.query)
    return found


def _order_in_full(query: Query) -> None:
    query.clear_ordering(force=True, clear_default=True)
    query.add_ordering(F(DISTANCE) + Value(0.0), "pk")


class SimilarCompiler(SQLCompiler):
    """Puts the rows of ``similar_to`` right before anything makes objects of them, whatever that is.

    Each has its similarity. A slice comes in order whatever its length, each product once, and k of them: relaxed scans
    hand rows over in nearly ascending order, and PostgreSQL, which takes it for ascending, sorts each 32 of them by the
    key only. A slice that comes short is asked for once more, of all rows: an HNSW scan that lands among hundreds of
    entries of one vector does not leave them again. Of 30,000 products one that had 800 copies found those and none
    else, and one whose 800 former versions were not yet vacuumed found nothing at all.
    """

    query: SimilarQuery
    _is_for_rows = False

    def get_select(self, with_col_aliases: bool = False) -> Any:
        select, klass_info, annotations = super().get_select(with_col_aliases)
        has_both = {"distance", "similarity"} <= (annotations or {}).keys()
        is_compared = self.query.distinct or "similarity" in repr(self.query.order_by)  # rows are, by this column
        if self._is_for_rows and has_both and not is_compared:
            # Follows from the distance, which PostgreSQL would work out a second time.
            place = annotations["similarity"]
            select[place] = (select[place][0], ("NULL::float8", ()), select[place][2])
        return select, klass_info, annotations

    def get_order_by(self) -> Any:
        order_by = super().get_order_by()
        connection: Any = self.connection
        is_by_index = is_nearest_first(self.query) and self.query.is_sliced
        if not is_by_index or connection.pg_version >= INDEX_SORTS_TIES:
            return order_by
        # Rows are sorted here by both; which of two at the same distance a subquery has does not matter.
        is_sorted = self._key is not None and "distance" in (self.annotation_col_map or {})
        return order_by[:1] if is_sorted or self.query.subquery else order_by

    def execute_sql(
        self, result_type: Any = MULTI, chunked_fetch: bool = False, chunk_size: int = GET_ITERATOR_CHUNK_SIZE
    ) -> Any:
        if result_type != MULTI or self.query.explain_info:
            return super().execute_sql(result_type, chunked_fetch, chunk_size)
        self._is_for_rows = True
        chunks: Any = super().execute_sql
        if not (is_nearest_first(self.query) and self.query.is_sliced):
            return map(self._with_similarities, chunks(MULTI, chunked_fetch, chunk_size))
        if self.query.low_mark and not self.query.is_empty():
            self.setup_query()  # which says what is selected
            if self._is_cut_here:
                return [self._rows_from_the_first()]
        rows = [row for chunk in chunks(MULTI) for row in self._with_similarities(chunk)]
        rows = self._sorted(rows)
        return [rows if self.query.low_mark else self._complete(rows)]

    def _with_similarities(self, rows: Iterable[RowTuple]) -> list[RowTuple]:
        columns = self.annotation_col_map or {}
        if not {"distance", "similarity"} <= columns.keys():
            return list(rows)
        distance, place = columns["distance"], columns["similarity"]
        return [(*row[:place], similarity_at(row[distance]), *row[place + 1 :]) for row in rows]

    @property
    def _is_cut_here(self) -> bool:
        """Whether a slice with an offset is cut here: rows are products, known by their keys, and not all compared.

        What numbers the rows must have all of them.
        """
        is_numbered = any(column.contains_over_clause for column in self.query.annotation_select.values())
        if self._key is None or is_numbered:
            return False
        if repeats_rows(self.query):
            return bool(self.query.default_cols)
        return not cast("Comparison", self.query.comparison).is_exact

    @property
    def _key(self) -> int | None:
        """The place of the primary key among the columns; ``None`` where it is not selected."""
        key, table = self.query.get_meta().pk, self.query.get_initial_alias()
        return next(
            (
                place
                for place, (column, _, _) in enumerate(self.select or ())
                if isinstance(column, Col) and column.target is key and column.alias == table
            ),
            None,
        )

    def _sorted(self, rows: list[RowTuple]) -> list[RowTuple]:
        columns = [(self.annotation_col_map or {}).get("distance"), self._key]
        places = [place for place in columns if place is not None]
        return sorted(rows, key=itemgetter(*places)) if columns[0] is not None else rows

    def _complete(self, rows: list[RowTuple]) -> list[RowTuple]:
        """Return the rows of a slice without an offset, each product once and as many as there are."""
        key, stop = self._key, self.query.high_mark
        comparison = cast("Comparison", self.query.comparison)
        if key is None:
            return rows
        if self.query.default_cols and len({row[key] for row in rows}) < len(rows):
            # A filter over a to-many relation after similar_to gives one row for each match, Django's way. Where a
            # slice of products ends cannot be told from a slice of rows.
            products = {row[key]: row for row in reversed(self._rows_of(self._everything()))}
            return self._sorted(list(products.values()))[:stop]
        if comparison.tops_up and not comparison.is_exact and stop is not None and len(rows) < stop:
            everything = self._everything()
            everything.set_limits(high=stop)
            return self._rows_of(everything)
        return rows

    def _everything(self) -> Query:
        query: Query = self.query.clone()
        query.clear_limits()
        _order_in_full(query)
        return query

    def _rows_from_the_first(self) -> list[RowTuple]:
        """Return the rows of a slice with an offset: of the first page, and then of one list without what that has.

        Where a scan ends decides in part what it finds, so with an OFFSET a product was on two pages and another on
        none. The list is made of blocks, each the nearest of what no block before it has, and as long as all of these.
        """
        first, stop, key = self.query.low_mark, self.query.high_mark, cast("int", self._key)
        size = self._first_page_size
        first_page = {row[key] for row in self._nearest(size)} if size else set()
        rows: list[RowTuple] = []
        limit = FIRST_BLOCK
        while stop is None or len(rows) < stop:
            found = self._nearest(limit, rows)
            rows += found
            if len(found) < limit:
                break
            limit = len(rows)
        others = [row for row in rows if row[key] not in first_page]
        return others[first - size : None if stop is None else stop - size]

    @property
    def _first_page_size(self) -> int:
        """The length of the page that came first; 0 where it cannot be told, and lies within what came before."""
        first, stop = self.query.low_mark, self.query.high_mark
        size = 0 if stop is None else stop - first
        if size and first % size == 0:
            return size
        return first if 2 * size > first else 0  # the last page, shorter than the others, of a list of two pages

    def _nearest(self, limit: int, others: Sequence[RowTuple] = ()) -> list[RowTuple]:
        """Return the first ``limit`` rows, but for ``others``."""
        query = self.query.clone()
        query.clear_limits()
        query.set_limits(high=limit)
        if others:
            keys = Value([row[cast("int", self._key)] for row in others])
            query.add_q(Q(Condition("{key} <> ALL({keys})", key="pk", keys=keys)))
        return self._rows_of(query)

    def _rows_of(self, query: Query) -> list[RowTuple]:
        compiler = query.get_compiler(connection=self.connection)
        return list(chain.from_iterable(compiler.execute_sql()))
