"""Vectors written in binary, each only where its row is still as it was read."""

import logging
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import psycopg
from django.core.cache import cache
from django.db import OperationalError, connections, models
from django.utils import timezone
from pgvector import Vector
from pgvector.psycopg.vector import register_vector_info
from psycopg import sql
from psycopg.types import TypeInfo

from ..encoders import EncoderError
from ..pictures.gate import TRANSIENT_CODES
from ..search.placement import SOURCE_SEPARATOR, Placement
from .caches import forget_results
from .reconnecting import IN_THE_WAY, sqlstate_of, with_reconnect
from .rows import Row
from .schemas import quoted_table
from .states import last_embedded_key

logger = logging.getLogger(__name__)

ROWS_PER_TRANSACTION = 16
"""A live index takes 2.5-3 ms a row, and a batch holds its row locks as long: a save may wait for 50 ms."""
VERIFY_TOLERANCE = 1e-4
"""Cosine distance up to which a picture counts as unchanged; batches and single pictures differ by 1e-6."""

UPDATE = """
    UPDATE {table} SET {embedding} = new.embedding, {source} = %(encoder)s || new.image, {error} = new.error
    FROM unnest(
        %(pks)s::{key_type}[], %(images)s::text[], %(sources)s::text[], %(vectors)b::vector[], %(errors)s::text[]
    ) AS new(pk, image, source, embedding, error)
    WHERE {table}.{key} = new.pk AND {table}.{source} = new.source AND {same_picture} AND {differs}
    RETURNING {table}.{key}, to_regclass(%(table)s)::oid::bigint
"""
SAME_PICTURE = "{table}.{image} = new.image"
SAME_RELATED_PICTURE = (
    "EXISTS (SELECT FROM ({pictures}) AS now(pk, image) WHERE now.pk = new.pk AND now.image = new.image)"
)
DIFFERS = "({table}.{embedding} <=> new.embedding <= {tolerance}) IS NOT TRUE"


class Result(NamedTuple):
    """What the picture of a row has come to: a vector, or the code of an error."""

    row: Row
    vector: Vector | None
    error: str


@dataclass(slots=True)
class EmbedReport:
    """What became of the rows of one ``embed``.

    ``failed`` counts by error code. ``outdated`` rows changed or were deleted while they were embedded, and
    ``locked`` ones are being embedded by another process: nothing was written. ``unchanged`` ones were found by
    ``verify`` to have the right vector.
    """

    embedded: int = 0
    unchanged: int = 0
    outdated: int = 0
    locked: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        return self.embedded + self.unchanged + self.outdated + self.locked + self.failed.total()

    def add(self, other: "EmbedReport") -> None:
        self.embedded += other.embedded
        self.unchanged += other.unchanged
        self.outdated += other.outdated
        self.locked += other.locked
        self.failed += other.failed


class VectorWriter:
    """Writes results in binary by compare-and-set: ORM ``bulk_update`` does 1,200 rows/s, this 36,800."""

    def __init__(self, placement: Placement, using: str, encoder_name: str, *, verify: bool = False) -> None:
        if SOURCE_SEPARATOR in encoder_name:
            raise EncoderError(f"The encoder's name {encoder_name!r} contains {SOURCE_SEPARATOR!r}; give it another.")
        self.using = using
        self.encoder_name = encoder_name
        self.verify = verify
        self._placement = placement
        self._statement = self._compose()
        self._connection: psycopg.Connection[Any] | None = None
        self._vector_info: TypeInfo | None = None
        self._table: int | None = None

    def write(self, results: list[Result]) -> tuple[EmbedReport, dict[Hashable, str]]:
        """Write what can be recorded, and return the counts and why others were not: ``"outdated"``, ``"locked"``."""
        report = EmbedReport()
        left: dict[Hashable, str] = {}
        keep = [result for result in results if result.error not in TRANSIENT_CODES]
        keep.sort(key=lambda result: result.row.pk)  # one order for all writers: no deadlock
        for start in range(0, len(keep), ROWS_PER_TRANSACTION):
            chunk = keep[start : start + ROWS_PER_TRANSACTION]
            try:
                written = with_reconnect(self.using, partial(self._update, chunk))
            except OperationalError as error:
                if sqlstate_of(error) not in IN_THE_WAY or connections[self.using].in_atomic_block:
                    raise
                logger.warning("%d vectors wait for a later pass: %s", len(chunk), str(error).partition("\n")[0])
                left |= {result.row.pk: "locked" for result in chunk}
                continue
            for result in chunk:
                is_written = self._prepared(result.row.pk) in written
                if not is_written and self.verify:
                    report.unchanged += 1
                elif not is_written:
                    left[result.row.pk] = "outdated"
                elif result.error:
                    report.failed[result.error] += 1
                else:
                    report.embedded += 1
        if report.embedded:
            self._remember_when()
        if report.embedded or report.failed:
            forget_results(self._placement.holder, self.using)
        return report, left

    def _prepared(self, pk: Hashable) -> Hashable:
        key: Hashable = self._placement.holder._meta.pk.get_db_prep_value(pk, connections[self.using], prepared=False)
        return key

    def _update(self, chunk: list[Result]) -> set[Hashable]:
        connection = connections[self.using]
        connection.ensure_connection()
        raw: psycopg.Connection[Any] = connection.connection
        # psycopg's own cursor: Django's binds on the client, as text, at 324 microseconds a vector. What is
        # registered on the cursor leaves the connection as it was.
        with connection.wrap_database_errors, psycopg.Cursor(raw) as cursor:
            if self._connection is not raw:
                self._connection, self._vector_info = raw, TypeInfo.fetch(raw, "vector")
            register_vector_info(cursor, self._vector_info)  # type: ignore[arg-type]
            cursor.execute(
                self._statement,
                {
                    "pks": [self._prepared(result.row.pk) for result in chunk],
                    "images": [result.row.image for result in chunk],
                    "sources": [result.row.source for result in chunk],
                    "vectors": [result.vector for result in chunk],
                    "errors": [result.error for result in chunk],
                    "encoder": self.encoder_name + SOURCE_SEPARATOR,
                    "table": quoted_table(self._placement.holder, self.using),
                },
            )
            rows = cursor.fetchall()
            self._table = rows[0][1] if rows else self._table
            return {row[0] for row in rows}

    def _compose(self) -> sql.Composed:
        """Return the UPDATE of the model's table; with ``verify`` only of rows whose vector differs."""
        meta = self._placement.holder._meta
        key_type = meta.pk.rel_db_type(connections[self.using])
        parts: dict[str, sql.Composable] = {
            "table": self._quote(meta.db_table),
            "key": self._column(meta.pk.name),
            "key_type": sql.SQL(key_type or ""),
            "embedding": self._column("embedding"),
            "source": self._column("embedding_source"),
            "error": self._column("embedding_error"),
            "tolerance": sql.Literal(VERIFY_TOLERANCE),
        }
        parts["same_picture"] = self._same_picture(parts["table"])
        parts["differs"] = sql.SQL(DIFFERS if self.verify else "TRUE").format(**parts)
        return sql.SQL(UPDATE).format(**parts)

    def _same_picture(self, table: sql.Composable) -> sql.Composed:
        """Return the condition that a row leads to the picture that was read."""
        meta, image = self._placement.holder._meta, self._placement.holder_image
        if image in {field.name for field in meta.local_fields}:
            return sql.SQL(SAME_PICTURE).format(table=table, image=self._column(image))
        # Compiled by Django, which knows the way over the relations; without a condition it has no parameters.
        pictures = models.QuerySet(self._placement.holder).order_by().values_list("pk", image).query
        statement, _ = pictures.get_compiler(self.using).as_sql()
        return sql.SQL(SAME_RELATED_PICTURE).format(pictures=sql.SQL(statement))

    def _column(self, field: str) -> sql.SQL:
        column: str = self._placement.holder._meta.get_field(field).column
        return self._quote(column)

    def _quote(self, text: str) -> sql.SQL:
        # Django's way, which lets a table name carry a schema; psycopg reads a bare % as a parameter.
        return sql.SQL(connections[self.using].ops.quote_name(text).replace("%", "%%"))

    def _remember_when(self) -> None:
        try:
            cache.set(last_embedded_key(self.using, self._table), timezone.now(), None)
        except Exception:  # whatever stands behind the cache: the vectors are written
            label = self._placement.holder._meta.label
            logger.warning("The cache did not take when %s was embedded.", label, exc_info=True)
