"""What Django's expressions lack for long statements: SQL written out, and parts that depend on no row."""

from functools import cache
from string import Formatter
from typing import Any, Self

from django.db.models import BooleanField
from django.db.models.expressions import BaseExpression, Combinable
from django.db.models.sql import Query


class Independent(BaseExpression, Combinable):
    """An expression that refers to nothing of the query it stands in: resolved once, compiled once for a connection.

    Django clones and resolves a ``Subquery`` anew for each filter, annotation and query around it, and compiles it for
    each place where it stands: with it, two thirds of the time of a page with similar products went there.
    ``expression`` may be the query of a queryset as well, a ``Subquery`` of which has one column.
    """

    def __init__(self, expression: Any) -> None:
        around = Query(None)
        around.alias_prefix = ""  # no query's own, so that no table is renamed to be told from those around
        self._expression = expression.resolve_expression(around)
        self._compiled: dict[str, tuple[str, tuple[Any, ...]]] = {}
        super().__init__(self._expression._output_field_or_none)
        self.empty_result_set_value = self._expression.empty_result_set_value

    def resolve_expression(self, *args: Any, **kwargs: Any) -> Self:
        return self

    def relabeled_clone(self, change_map: Any) -> Self:
        return self

    def copy(self) -> Self:
        return self

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """Return the SQL and its parameters; raises ``EmptyResultSet`` as the expression itself does."""
        if connection.alias not in self._compiled:
            sql, params = compiler.compile(self._expression)
            self._compiled[connection.alias] = sql, tuple(params)
        return self._compiled[connection.alias]


class Written(BaseExpression, Combinable):
    """SQL as it is written, with places for other expressions by their names: ``Written("{a} || {b}", a=..., b=...)``.

    A name may stand at several places. As elsewhere in Django, a text among the expressions is a path to a field.
    """

    def __init__(self, sql: str, *, output_field: Any = None, **parts: Any) -> None:
        super().__init__(output_field)
        self._sql = sql
        self._names = tuple(parts)
        # Which the stubs do not know.
        self._parts: list[Any] = self._parse_expressions(*parts.values())  # type: ignore[attr-defined]

    def get_source_expressions(self) -> list[Any]:
        return self._parts

    def set_source_expressions(self, exprs: Any) -> None:
        self._parts = exprs

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        parts = dict(zip(self._names, map(compiler.compile, self._parts), strict=True))
        parameters = tuple(parameter for name in _places(self._sql) for parameter in parts[name][1])
        return self._sql.format_map({name: sql for name, (sql, _) in parts.items()}), parameters


@cache
def _places(sql: str) -> tuple[str, ...]:
    return tuple(name for _, name, _, _ in Formatter().parse(sql) if name)


class Condition(Written):
    """Written SQL that is true or false for a row, with a selectivity that keeps the vector index.

    PostgreSQL's planner assumes that a plain ``=`` holds for 0.5 % of the rows, and NOT IN for half of them; it then
    prefers a scan of the whole table to the vector index (264 ms against 2). For this CASE it assumes 99.5 %.
    """

    output_field = BooleanField()

    def __init__(self, sql: str, **parts: Any) -> None:
        super().__init__(f"(CASE WHEN {sql} THEN 1 END IS NOT NULL)", **parts)
