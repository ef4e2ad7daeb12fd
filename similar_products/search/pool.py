"""The nearest few compared with each other, after the LIMIT and in the statement that finds them."""

import json
from typing import Any, cast

import numpy as np
from django.db import models
from django.db.models import TextField
from django.db.models.sql import Query
from django.db.models.sql.compiler import SQLCompiler
from numpy.typing import NDArray

from .expressions import Written
from .scan import Row, derive, turn_into
from .targets import Comparison, normalized

COMPARED = ("_key", "_distances", "distance")
"""The columns that the pool's distances are worked out from."""

# PostgreSQL evaluates volatile expressions after sort and LIMIT, and clock_timestamp() makes this one volatile. Else it
# would fetch and cast a second vector of every row that it compares, not of the rows of the LIMIT alone.
AFTER_LIMIT = "CASE WHEN clock_timestamp() IS NOT NULL THEN {vector} END"


class PoolQuery(Query):
    """A query whose rows carry as ``_distances`` those of their vector to the vectors of a pool.

    ``pool`` is the query of these, of the columns ``_key`` and ``_distances``; without it, the query's own first
    ``pool_size`` rows, of which ``is_one_way`` leaves out those nearer to the target than the row itself.
    """

    pool: Query | None = None
    pool_size: int | None = None
    is_one_way = False

    def get_compiler(self, using: Any = None, connection: Any = None, elide_empty: bool = True) -> Any:
        compiler: Any = super().get_compiler(using, connection, elide_empty)
        compiler.__class__ = derive(PoolCompiler, compiler.__class__)
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


def pool_columns(comparison: Comparison) -> dict[str, Written]:
    """Return the annotations that ``fetch`` compares rows by: their key and their vector."""
    vector = comparison.cast(comparison.path("embedding"))
    if comparison.is_exact:
        # The vector in full precision is kept outside the table's rows; what a function returns is not.
        vector = normalized(vector)
    return {
        "_key": Written("{key}::text", key="pk", output_field=TextField()),
        # As a text, since it is the distances that stand there in the end.
        "_distances": Written(AFTER_LIMIT, vector=vector, output_field=TextField()),
    }


def fetch(
    rows: "models.QuerySet[Any]", pool: "models.QuerySet[Any] | None" = None, *, is_one_way: bool = False
) -> list[Row]:
    """Return ``rows``; those with ``pool_columns`` have the distances to the rows of the slice ``pool`` or their own.

    ``is_one_way``: a row gives way to nearer ones alone, and has no distances to these.
    """
    if "_distances" in rows.query.annotations:
        rows = rows.all()
        query = turn_into(rows.query, PoolQuery)
        query.pool = None if pool is None else pool.values("_key", "_distances").query
        query.pool_size = (rows if pool is None else pool).query.high_mark
        query.is_one_way = is_one_way
    return list(rows)


def similarities(row: Row, keys: list[str]) -> NDArray[np.float64]:
    """Return the cosine similarities of a row to those of ``keys`` by the distances it carries, float64 ``[n]``."""
    distances = json.loads(row._distances or "{}")
    return np.array([1 - distances.get(key, 1.0) for key in keys])
