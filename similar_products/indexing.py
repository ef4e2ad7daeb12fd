"""Rows in, vectors in the database out: the work behind the command, the signals and a shop's own code."""

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import psycopg
from django.core.files.storage import Storage
from django.db import connections, router
from django.db.models import QuerySet
from django.db.models.constants import LOOKUP_SEP
from pgvector import Vector
from pgvector.django import HnswIndex
from pgvector.psycopg.vector import register_vector_info
from psycopg import sql
from psycopg.types import TypeInfo

from .encoders import Encoder, EncoderError, get_encoder
from .images import TRANSIENT_CODES, ImageRejected, Pixels, load_stored_pixels
from .models import VisuallySimilarModel
from .query import SOURCE_SEPARATOR, dimensions_of, get_placement, holder_of, picture_field

logger = logging.getLogger(__name__)

FIRST_FILL_ROWS = 1_000
"""From here on building the index after the load (0.56 ms a row) beats feeding a live one (3 ms a row)."""
ROWS_PER_TRANSACTION = 16
"""A live index takes 2.5-3 ms a row, and a batch holds its row locks as long: a save may wait for 50 ms."""
BYTES_PER_INDEXED_ROW = 3_400
"""Below this much maintenance_work_mem for each row of 1280 dimensions a build takes three times as long."""


@dataclass(slots=True)
class EmbedReport:
    """What became of the rows of one ``embed``: ``embedded``, ``outdated`` (picture changed or row deleted
    meanwhile, nothing written), and ``failed`` counted by error code."""

    embedded: int = 0
    outdated: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        return self.embedded + self.outdated + self.failed.total()

    def add(self, other: "EmbedReport") -> None:
        self.embedded += other.embedded
        self.outdated += other.outdated
        self.failed += other.failed


class _Row(NamedTuple):
    pk: Any
    image: str
    source: str


class _Result(NamedTuple):
    row: _Row
    vector: Vector | None
    error: str


def embed(
    queryset: QuerySet[Any],
    *,
    batch_size: int | None = None,
    limit: int | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> EmbedReport:
    """Embed the picture of every row of ``queryset``, or of the first ``limit``, whatever its state.

    Pictures are decoded ahead in threads, encoded in batches in another, and written by the calling thread
    on its own connection, so that it works inside a transaction as well. Memory does not grow with the
    number of rows. A vector is written only if the row still has the picture and the source that were read.
    A picture that cannot be used marks its row as failed and stops nobody else; one whose storage failed
    stays pending. ``on_progress`` is called with the number of rows just done.

    Raises ``EncoderError`` where the encoder cannot work or does not fit the model's dimensions.
    """
    encoder = get_encoder()
    holder = holder_of(queryset.model)
    if holder is None:
        raise TypeError(f"embed() takes rows derived from VisuallySimilarModel, not {queryset.model._meta.label}.")
    using: str = queryset._db or router.db_for_write(queryset.model)  # type: ignore[attr-defined]
    writer = _Writer(holder, using=using, encoder_name=encoder.name)
    check_dimensions(holder, encoder)
    report = EmbedReport()
    batch_size = batch_size or encoder.batch_size
    for results in _encoded(_rows(queryset.using(writer.using), batch_size, limit), holder, encoder):
        written = writer.write(results)
        report.add(written)
        if on_progress:
            on_progress(written.done)
    return report


def check_dimensions(holder: type[VisuallySimilarModel], encoder: Encoder) -> None:
    """Raise ``EncoderError`` where ``encoder`` is known to give vectors that ``holder`` cannot keep."""
    wanted = dimensions_of(holder)
    if encoder.dimensions is not None and encoder.dimensions != wanted:
        raise EncoderError(
            f"{holder._meta.label}.embedding has {wanted} dimensions and the encoder {encoder.name} gives "
            f"{encoder.dimensions}. Declare embedding = VectorField(dimensions={encoder.dimensions}, null=True, "
            "blank=True, editable=False, serialize=False) on the model and run makemigrations and migrate, "
            "or choose another encoder."
        )


def missing_companions(holder: type[VisuallySimilarModel], using: str) -> QuerySet[Any] | None:
    """Return the products with a picture that lack their row of ``holder``.

    ``None`` where ``holder`` is no companion: it has the picture itself, or hangs on it by a foreign key.
    """
    relation, _, rest = holder.similar_image.partition(LOOKUP_SEP)
    field: Any = holder._meta.get_field(relation)
    if not rest or not field.one_to_one:
        return None
    products: QuerySet[Any] = field.related_model._base_manager.using(using)
    return products.filter(**{f"{rest}__gt": "", f"{field.related_query_name()}__isnull": True})


def create_companions(holder: type[VisuallySimilarModel], using: str, *, pk: Any = None) -> int:
    """Make the companion row of every product that lacks it, and return how many were made.

    With ``pk`` only the product of that key is looked at.
    """
    products = missing_companions(holder, using)
    if products is None:
        return 0
    if pk is not None:
        products = products.filter(pk=pk)
    relation: Any = holder._meta.get_field(holder.similar_image.partition(LOOKUP_SEP)[0])
    made = 0
    while keys := list(products.order_by("pk").values_list("pk", flat=True)[:1_000]):
        holder._base_manager.using(using).bulk_create(
            [holder(**{relation.attname: key}) for key in keys], ignore_conflicts=True
        )
        made += len(keys)
    return made


def has_index(holder: type[VisuallySimilarModel], using: str) -> bool:
    """Return whether the model's HNSW index exists in the database and is valid."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)",
            [connections[using].ops.quote_name(get_index(holder).name)],
        )
        row = cursor.fetchone()
    return bool(row and row[0])


def get_index(holder: type[VisuallySimilarModel]) -> HnswIndex:
    """Return the HNSW index that the base class attached to ``holder``."""
    return next(index for index in holder._meta.indexes if isinstance(index, HnswIndex))


def build_index(holder: type[VisuallySimilarModel], using: str) -> None:
    """Build the model's HNSW index anew beside the running shop, with memory enough to hold its graph."""
    connection = connections[using]
    rows = holder._base_manager.using(using).filter(embedding__isnull=False).count()
    kilobytes = min(rows * BYTES_PER_INDEXED_ROW // 1024, 1024 * 1024)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('maintenance_work_mem', greatest(setting::bigint, %s)::text, false) "
            "FROM pg_settings WHERE name = 'maintenance_work_mem'",
            [kilobytes],
        )
        try:
            drop_index(holder, using)
            with connection.schema_editor(atomic=False) as editor:
                editor.add_index(holder, get_index(holder), concurrently=True)  # type: ignore[call-arg]
        finally:
            cursor.execute("RESET maintenance_work_mem")


def drop_index(holder: type[VisuallySimilarModel], using: str) -> None:
    """Drop the model's HNSW index, valid or half-built, without making the shop wait."""
    connection = connections[using]
    with connection.cursor() as cursor:
        name = connection.ops.quote_name(get_index(holder).name)
        cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


@contextmanager
def index_after_load(
    holder: type[VisuallySimilarModel], using: str, rows: int, *, on_build: Callable[[], object] | None = None
) -> Iterator[None]:
    """Take the HNSW index away while a first fill of ``rows`` rows is loaded, build it after and ANALYZE.

    Does nothing where it would not pay or would be seen: few rows, vectors already there, a transaction
    open, or another process at it. An index found missing or invalid (a first fill that was killed) is
    built at the end in any case. ``on_build`` is called before the building begins.
    """
    connection = connections[using]
    if connection.in_atomic_block:  # DROP and CREATE INDEX CONCURRENTLY need to stand alone
        yield
        return
    with _index_lock(holder, using) as is_ours:
        is_first_fill = (
            is_ours
            and rows >= FIRST_FILL_ROWS
            and not holder._base_manager.using(using).filter(embedding__isnull=False).exists()
        )
        if is_first_fill:
            drop_index(holder, using)
        try:
            yield
        finally:
            if is_ours and not has_index(holder, using):
                if on_build:
                    on_build()
                build_index(holder, using)
            if is_first_fill:
                with connection.cursor() as cursor:
                    cursor.execute(f"ANALYZE {connection.ops.quote_name(holder._meta.db_table)}")


@contextmanager
def _index_lock(holder: type[VisuallySimilarModel], using: str) -> Iterator[bool]:
    """Hold a session lock on the model's index, and yield whether it was free."""
    key = ["similar_products index " + holder._meta.db_table]
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", key)
        is_ours = bool(cursor.fetchone()[0])
        try:
            yield is_ours
        finally:
            if is_ours:
                cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", key)


def _rows(queryset: QuerySet[Any], batch_size: int, limit: int | None) -> Iterator[list[_Row]]:
    """Yield the rows in batches by primary key: no snapshot is held open, and rows that leave the queryset
    because they were embedded move nothing."""
    image = get_placement(queryset.model).holder_image
    queryset = queryset.filter(**{f"{image}__gt": ""}).order_by("pk")
    page, left = queryset, limit
    while left is None or left > 0:
        wanted = batch_size if left is None else min(batch_size, left)
        rows = [_Row(*values) for values in page.values_list("pk", image, "embedding_source")[:wanted]]
        if rows:
            yield rows
        if len(rows) < wanted:
            return
        page = queryset.filter(pk__gt=rows[-1].pk)
        left = None if left is None else left - wanted


def _encoded(
    batches: Iterator[list[_Row]], holder: type[VisuallySimilarModel], encoder: Encoder
) -> Iterator[list[_Result]]:
    """Yield the results batch by batch; while one is written the next is encoded and more are decoded."""
    storage = picture_field(holder).storage
    dimensions = dimensions_of(holder)
    decoders = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode")
    encoding = ThreadPoolExecutor(1, thread_name_prefix="encode")
    waiting: deque[Future[list[_Result]]] = deque()
    try:
        for rows in batches:
            size = encoder.image_size  # asked for only now: it may open the model
            pictures = [decoders.submit(_decode, storage, row, size) for row in rows]
            waiting.append(encoding.submit(_encode, holder, encoder, dimensions, rows, pictures))
            if len(waiting) > 2:  # one being encoded, one being decoded, one being written
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        encoding.shutdown(cancel_futures=True)
        decoders.shutdown(cancel_futures=True)


def _decode(storage: Storage, row: _Row, size: int) -> Pixels | ImageRejected:
    try:
        return load_stored_pixels(storage, row.image, size)
    except ImageRejected as rejected:
        return rejected


def _encode(
    holder: type[VisuallySimilarModel],
    encoder: Encoder,
    dimensions: int,
    rows: list[_Row],
    pictures: Sequence["Future[Pixels | ImageRejected]"],
) -> list[_Result]:
    results: list[_Result] = []
    good_rows: list[_Row] = []
    pixels: list[Pixels] = []
    for row, picture in zip(rows, pictures, strict=True):
        decoded = picture.result()
        if isinstance(decoded, ImageRejected):
            _log_failure(holder, row, decoded.code, str(decoded))
            results.append(_Result(row, None, decoded.code))
        else:
            good_rows.append(row)
            pixels.append(decoded)
    if good_rows:
        vectors = encoder.encode(np.stack(pixels))
        if vectors.shape[1] != dimensions:
            check_dimensions(holder, encoder)
            raise EncoderError(
                f"{holder._meta.label}.embedding has {dimensions} dimensions and the encoder {encoder.name} "
                f"gave {vectors.shape[1]}: declare the field with that number, or choose another encoder."
            )
        for row, vector in zip(good_rows, vectors, strict=True):
            if np.isfinite(vector).all():
                results.append(_Result(row, Vector(vector), ""))
            else:
                _log_failure(holder, row, "bad_vector", "The encoder sees nothing in the picture.")
                results.append(_Result(row, None, "bad_vector"))
    return results


def _log_failure(holder: type[VisuallySimilarModel], row: _Row, code: str, reason: str) -> None:
    logger.warning("%s %s: %s not embedded: %s (%s)", holder._meta.label, row.pk, row.image, reason, code)


class _Writer:
    """Writes results in binary by compare-and-set: ORM ``bulk_update`` does 1,200 rows/s, this 36,800."""

    def __init__(self, holder: type[VisuallySimilarModel], using: str, encoder_name: str) -> None:
        self.holder = holder
        self.using = using
        self.encoder_name = encoder_name
        self._statement = self._compose(connections[using])
        self._vector_info: TypeInfo | None = None

    def write(self, results: list[_Result]) -> EmbedReport:
        report = EmbedReport()
        keep = [result for result in results if result.error not in TRANSIENT_CODES]
        report.failed.update(result.error for result in results if result.error in TRANSIENT_CODES)
        keep.sort(key=lambda result: result.row.pk)  # one order for all writers: no deadlock
        for start in range(0, len(keep), ROWS_PER_TRANSACTION):
            chunk = keep[start : start + ROWS_PER_TRANSACTION]
            written = self._update(chunk)
            report.outdated += len(chunk) - len(written)
            for result in chunk:
                if result.row.pk in written and result.error:
                    report.failed[result.error] += 1
                elif result.row.pk in written:
                    report.embedded += 1
        return report

    def _update(self, chunk: list[_Result]) -> set[Any]:
        connection = connections[self.using]
        connection.ensure_connection()
        raw: Any = connection.connection
        # psycopg's own cursor: Django's binds on the client, as text, at 324 microseconds a vector. What is
        # registered on the cursor leaves the connection as it was.
        with psycopg.Cursor(raw) as cursor:
            if self._vector_info is None:
                self._vector_info = TypeInfo.fetch(raw, "vector")
            register_vector_info(cursor, self._vector_info)  # type: ignore[arg-type]
            cursor.execute(
                self._statement,
                {
                    "pks": [result.row.pk for result in chunk],
                    "images": [result.row.image for result in chunk],
                    "sources": [result.row.source for result in chunk],
                    "vectors": [result.vector for result in chunk],
                    "errors": [result.error for result in chunk],
                    "encoder": self.encoder_name + SOURCE_SEPARATOR,
                },
            )
            return {row[0] for row in cursor.fetchall()}

    def _compose(self, connection: Any) -> sql.Composed:
        meta: Any = self.holder._meta
        image = get_placement(self.holder).holder_image
        if LOOKUP_SEP in image or image not in {field.name for field in meta.local_fields}:
            # Compiled by Django, which knows the way over the relations; it has no parameters.
            pictures, _ = self.holder._base_manager.order_by().values_list("pk", image).query.sql_with_params()
            same_picture = sql.SQL(
                "EXISTS (SELECT FROM ({pictures}) AS now(pk, image) WHERE now.pk = new.pk AND now.image = new.image)"
            ).format(pictures=sql.SQL(pictures))
        else:
            same_picture = sql.SQL("{table}.{image} = new.image").format(
                table=sql.Identifier(meta.db_table), image=sql.Identifier(meta.get_field(image).column)
            )
        return sql.SQL(
            "UPDATE {table} SET {embedding} = new.embedding, {source} = %(encoder)s || new.image, {error} = new.error "
            "FROM unnest(%(pks)s::{key_type}[], %(images)s::text[], %(sources)s::text[], %(vectors)b::vector[], "
            "%(errors)s::text[]) AS new(pk, image, source, embedding, error) "
            "WHERE {table}.{key} = new.pk AND {table}.{source} = new.source AND {same_picture} RETURNING {table}.{key}"
        ).format(
            table=sql.Identifier(meta.db_table),
            key=sql.Identifier(meta.pk.column),
            key_type=sql.SQL(meta.pk.rel_db_type(connection)),
            embedding=sql.Identifier(meta.get_field("embedding").column),
            source=sql.Identifier(meta.get_field("embedding_source").column),
            error=sql.Identifier(meta.get_field("embedding_error").column),
            same_picture=same_picture,
        )
