"""Rows in, vectors in the database out: the work behind the command, the signals and a shop's own code."""

import logging
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import psycopg
from django.core.cache import cache
from django.core.files.storage import Storage
from django.db import connections, models, router
from django.db.models import Count, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.utils import timezone
from pgvector import Vector
from pgvector.psycopg.vector import register_vector_info
from psycopg import sql
from psycopg.types import TypeInfo

from ..encoders import Encoder, EncoderError, get_encoder
from ..models import VisuallySimilarModel
from ..pictures.gate import TRANSIENT_CODES, ImageRejected, Pixels, load_stored_pixels
from ..search.placement import SOURCE_SEPARATOR, dimensions_of, get_placement, holder_of, picture_field
from .reconnecting import with_reconnect

logger = logging.getLogger(__name__)

ROWS_PER_TRANSACTION = 16
"""A live index takes 2.5-3 ms a row, and a batch holds its row locks as long: a save may wait for 50 ms."""


RETRY_DELAYS = (1.0, 4.0, 16.0)
"""Seconds before each further pass over the rows that a storage, another process or a change kept from us."""
MAX_REMEMBERED = 10_000
"""Rows remembered for a further pass; more than these stay pending for the next run, and memory constant."""
VERIFY_TOLERANCE = 1e-4
"""Cosine distance up to which a picture counts as unchanged; batches and single pictures differ by 1e-6."""


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
    verify: bool = False,
    retry_delays: Sequence[float] = RETRY_DELAYS,
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int], object] | None = None,
) -> EmbedReport:
    """Embed the picture of every row of ``queryset``, or of the first ``limit``, whatever its state.

    Pictures are decoded ahead in threads, encoded in batches in another, and written by the calling thread
    on its own connection, so that it works inside a transaction as well. Memory does not grow with the
    number of rows. Any number of processes share the work: each row is claimed by a session advisory lock,
    which no save waits for. A vector is written only if the row still has the picture and the source that
    were read. A picture that cannot be used marks its row as failed and stops nobody else. What a storage, a
    change or another process kept from us is tried again after each of ``retry_delays`` (seconds), then left
    pending.

    ``verify`` writes only where the vector differs from the stored one. ``should_stop`` is asked between
    batches; what is under way is finished then. ``on_progress`` is called with the number of rows just done.

    Raises ``EncoderError`` where the encoder cannot work or does not fit the model's dimensions.
    """
    encoder = get_encoder()
    holder = holder_of(queryset.model)
    if holder is None:
        raise TypeError(f"embed() takes rows derived from VisuallySimilarModel, not {queryset.model._meta.label}.")
    if queryset.query.is_sliced:
        raise TypeError("embed() takes a queryset that is not sliced; use limit= for the first rows.")
    check_dimensions(holder, encoder)
    using: str = queryset._db or router.db_for_write(queryset.model)  # type: ignore[attr-defined]
    run = _Run(
        rows=_Rows(queryset.using(using), holder, using),
        writer=_Writer(holder, using, encoder.name, verify=verify),
        encoder=encoder,
        batch_size=batch_size or encoder.batch_size,
        should_stop=should_stop,
        on_progress=on_progress or (lambda done: None),
    )
    run.make_pass(queryset.using(using), limit)
    for delay in retry_delays:
        if not run.again or should_stop():
            break
        _sleep(delay, should_stop)
        run.make_further_pass(queryset.using(using))
    return run.finish()


def _sleep(seconds: float, should_stop: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not should_stop() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.25))


class _Run:
    """The passes of one ``embed``, and what is left over between them."""

    def __init__(
        self,
        *,
        rows: "_Rows",
        writer: "_Writer",
        encoder: Encoder,
        batch_size: int,
        should_stop: Callable[[], bool],
        on_progress: Callable[[int], object],
    ) -> None:
        self.report = EmbedReport()
        self.again: dict[Any, str] = {}
        self._rows = rows
        self._writer = writer
        self._encoder = encoder
        self._batch_size = batch_size
        self._should_stop = should_stop
        self._on_progress = on_progress

    def make_further_pass(self, queryset: QuerySet[Any]) -> None:
        """Try what was left over, as far as the queryset still has it; others may have done the rest."""
        keys, self.again = list(self.again), {}
        for start in range(0, len(keys), 1_000):
            self.make_pass(self._rows.only(queryset, keys[start : start + 1_000]), None)

    def make_pass(self, queryset: QuerySet[Any], limit: int | None) -> None:
        batches = self._rows.claim(queryset, self._batch_size, limit, self._should_stop, self._leave_over)
        try:
            for results in _encoded(batches, self._writer.holder, self._encoder):
                report, outdated = self._writer.write(results)
                self._rows.release([result.row.pk for result in results])
                self._count(report)
                for result in results:
                    if result.error in TRANSIENT_CODES:
                        self._leave_over(result.row.pk, result.error)
                    elif result.row.pk in outdated:
                        self._leave_over(result.row.pk, "outdated")
        finally:
            self._rows.release_all()

    def finish(self) -> EmbedReport:
        for reason in self.again.values():
            self._count(_left_over(reason))
        return self.report

    def _leave_over(self, pk: Any, reason: str) -> None:
        if len(self.again) < MAX_REMEMBERED:
            self.again[pk] = reason
        else:
            self._count(_left_over(reason))

    def _count(self, report: EmbedReport) -> None:
        self.report.add(report)
        self._on_progress(report.done)


def _left_over(reason: str) -> EmbedReport:
    if reason in TRANSIENT_CODES:
        return EmbedReport(failed=Counter([reason]))
    return EmbedReport(outdated=1) if reason == "outdated" else EmbedReport(locked=1)


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


def count_states(holder: type[VisuallySimilarModel], using: str) -> dict[str, Any]:
    """Return how many rows are ``ready``, ``pending`` and ``failed``, and ``codes``: failed ones by error code.

    A product that lacks its companion row is pending.
    """
    rows: Any = holder._base_manager.using(using)
    missing = missing_companions(holder, using)
    codes = dict(rows.failed().values_list("embedding_error").annotate(Count("pk")).order_by("-pk__count"))
    return {
        "ready": rows.ready().count(),
        "pending": rows.pending().count() + (0 if missing is None else missing.count()),
        "failed": sum(codes.values()),
        "codes": codes,
    }


def last_embedded(holder: type[VisuallySimilarModel]) -> datetime | None:
    """Return when a picture of ``holder`` was last embedded, as far as Django's default cache remembers.

    No column says it: state is derived from what is there. ``None`` where the cache is another process's own, was
    emptied, or nothing was embedded yet.
    """
    when: datetime | None = cache.get(_when_key(holder))
    return when


def _remember_when(holder: type[VisuallySimilarModel]) -> None:
    try:
        cache.set(_when_key(holder), timezone.now(), None)
    except Exception:  # whatever stands behind the cache: the vectors are written
        logger.warning("The cache did not take when %s was embedded.", holder._meta.label, exc_info=True)


def _when_key(holder: type[VisuallySimilarModel]) -> str:
    return f"similar_products.last_embedded.{holder._meta.label_lower}"


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


def create_companions(holder: type[VisuallySimilarModel], using: str, *, picture_pk: Any = None) -> int:
    """Make the companion row of every product that lacks it, and return how many were made.

    With ``picture_pk`` only the products whose picture stands on the row of that key are looked at.
    """
    products = missing_companions(holder, using)
    if products is None:
        return 0
    first, *rest = holder.similar_image.split(LOOKUP_SEP)
    if picture_pk is not None:
        products = products.filter(**{LOOKUP_SEP.join([*rest[:-1], "pk"]): picture_pk})
    relation: Any = holder._meta.get_field(first)
    page, made = products.order_by("pk"), 0
    while found := list(page.values_list("pk", relation.target_field.attname)[:1_000]):
        rows = [holder(**{relation.attname: value}) for _, value in found]
        holder._base_manager.using(using).bulk_create(rows, ignore_conflicts=True)
        made += len(found)
        page = products.order_by("pk").filter(pk__gt=found[-1][0])
    return made


class _Rows:
    """Claims rows in batches by primary key: no snapshot is held open, no row lock is held during inference."""

    def __init__(self, queryset: QuerySet[Any], holder: type[VisuallySimilarModel], using: str) -> None:
        self._image = get_placement(queryset.model).holder_image
        self._using = using
        self._table = holder._meta.db_table
        self._key = holder._meta.pk.name  # of the table with the vectors, whatever child the queryset is of
        self._held: set[Any] = set()

    def claim(
        self,
        queryset: QuerySet[Any],
        batch_size: int,
        limit: int | None,
        should_stop: Callable[[], bool],
        on_locked: Callable[[Any, str], object],
    ) -> Iterator[list[_Row]]:
        """Yield batches of rows that no other process has; those that one has are handed to ``on_locked``."""
        queryset = queryset.filter(**{f"{self._image}__gt": ""}).order_by(self._key)
        page, left = queryset, limit
        while (left is None or left > 0) and not should_stop():
            wanted = batch_size if left is None else min(batch_size, left)
            keys, rows = with_reconnect(self._using, partial(self._claim_page, queryset, page, wanted))
            for pk in keys:
                if pk not in self._held:
                    on_locked(pk, "locked")
            taken = {row.pk for row in rows}
            self.release([pk for pk in keys if pk not in taken])
            if rows:
                yield rows
            if len(keys) < wanted:
                return
            page = queryset.filter(**{f"{self._key}__gt": keys[-1]})
            left = None if left is None else left - len(rows)

    def only(self, queryset: QuerySet[Any], keys: list[Any]) -> QuerySet[Any]:
        return queryset.filter(**{f"{self._key}__in": keys})

    def _claim_page(self, queryset: QuerySet[Any], page: QuerySet[Any], wanted: int) -> tuple[list[Any], list[_Row]]:
        keys = list(page.values_list(self._key, flat=True)[:wanted])
        if not keys:
            return [], []
        with connections[self._using].cursor() as cursor:
            cursor.execute(
                "SELECT position FROM unnest(%s::text[]) WITH ORDINALITY AS keys(key, position) "
                "WHERE pg_try_advisory_lock(hashtextextended(key, 0))",
                [[self._lock_name(pk) for pk in keys]],
            )
            claimed = [keys[position - 1] for (position,) in cursor.fetchall()]
        self._held.update(claimed)
        # Read only now: what another process has just finished has left the queryset.
        columns = self.only(queryset, claimed).values_list(self._key, self._image, "embedding_source")
        return keys, [_Row(*values) for values in columns]

    def release(self, keys: Sequence[Any]) -> None:
        """Let other processes have the rows again."""
        with_reconnect(self._using, partial(self._release, self._held.intersection(keys)))

    def release_all(self) -> None:
        """Let go of what is still held after an error or a stop."""
        if self._held:
            self._release(set(self._held))

    def _release(self, keys: set[Any]) -> None:
        if not keys:
            return
        with connections[self._using].cursor() as cursor:
            # A lock that went away with its connection is not held any more, which PostgreSQL notes and no more.
            cursor.execute(
                "SELECT pg_advisory_unlock(hashtextextended(key, 0)) FROM unnest(%s::text[]) AS keys(key)",
                [[self._lock_name(pk) for pk in keys]],
            )
        self._held -= keys

    def _lock_name(self, pk: Any) -> str:
        return f"similar_products row {self._table} {pk}"


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

    def __init__(
        self, holder: type[VisuallySimilarModel], using: str, encoder_name: str, *, verify: bool = False
    ) -> None:
        if SOURCE_SEPARATOR in encoder_name:
            raise EncoderError(f"The encoder's name {encoder_name!r} contains {SOURCE_SEPARATOR!r}; give it another.")
        self.holder = holder
        self.using = using
        self.encoder_name = encoder_name
        self.verify = verify
        self._statement = self._compose(connections[using])
        self._connection: Any = None
        self._vector_info: TypeInfo | None = None

    def write(self, results: list[_Result]) -> tuple[EmbedReport, set[Any]]:
        """Write what can be recorded, and return the counts and the keys of rows that had changed meanwhile."""
        report, outdated = EmbedReport(), set()
        keep = [result for result in results if result.error not in TRANSIENT_CODES]
        keep.sort(key=lambda result: result.row.pk)  # one order for all writers: no deadlock
        for start in range(0, len(keep), ROWS_PER_TRANSACTION):
            chunk = keep[start : start + ROWS_PER_TRANSACTION]
            written = with_reconnect(self.using, partial(self._update, chunk))
            for result in chunk:
                is_written = self._prepared(result.row.pk) in written
                if not is_written and self.verify:
                    report.unchanged += 1
                elif not is_written:
                    outdated.add(result.row.pk)
                elif result.error:
                    report.failed[result.error] += 1
                else:
                    report.embedded += 1
        if report.embedded:
            _remember_when(self.holder)
        return report, outdated

    def _prepared(self, pk: Any) -> Any:
        key: Any = self.holder._meta.pk
        return key.get_db_prep_value(pk, connections[self.using], prepared=False)

    def _update(self, chunk: list[_Result]) -> set[Any]:
        connection = connections[self.using]
        connection.ensure_connection()
        raw: Any = connection.connection
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
                },
            )
            return {row[0] for row in cursor.fetchall()}

    def _compose(self, connection: Any) -> sql.Composed:
        meta: Any = self.holder._meta

        def name(text: str) -> sql.SQL:
            # Django's way, which lets a table name carry a schema; psycopg reads a bare % as a parameter.
            return sql.SQL(connection.ops.quote_name(text).replace("%", "%%"))

        table, embedding = name(meta.db_table), name(meta.get_field("embedding").column)
        image = get_placement(self.holder).holder_image
        if LOOKUP_SEP in image or image not in {field.name for field in meta.local_fields}:
            # Compiled by Django, which knows the way over the relations; without a condition it has no parameters.
            pictures = models.QuerySet(self.holder).order_by().values_list("pk", image).query
            statement, _ = pictures.get_compiler(self.using).as_sql()
            same_picture = sql.SQL(
                "EXISTS (SELECT FROM ({pictures}) AS now(pk, image) WHERE now.pk = new.pk AND now.image = new.image)"
            ).format(pictures=sql.SQL(statement))
        else:
            same_picture = sql.SQL("{table}.{image} = new.image").format(
                table=table, image=name(meta.get_field(image).column)
            )
        differs: sql.Composable = sql.SQL("")
        if self.verify:
            differs = sql.SQL("AND ({table}.{embedding} <=> new.embedding <= {tolerance}) IS NOT TRUE").format(
                table=table, embedding=embedding, tolerance=sql.Literal(VERIFY_TOLERANCE)
            )
        return sql.SQL(
            "UPDATE {table} SET {embedding} = new.embedding, {source} = %(encoder)s || new.image, {error} = new.error "
            "FROM unnest(%(pks)s::{key_type}[], %(images)s::text[], %(sources)s::text[], %(vectors)b::vector[], "
            "%(errors)s::text[]) AS new(pk, image, source, embedding, error) "
            "WHERE {table}.{key} = new.pk AND {table}.{source} = new.source AND {same_picture} {differs} "
            "RETURNING {table}.{key}"
        ).format(
            table=table,
            key=name(meta.pk.column),
            key_type=sql.SQL(meta.pk.rel_db_type(connection)),
            embedding=embedding,
            source=name(meta.get_field("embedding_source").column),
            error=name(meta.get_field("embedding_error").column),
            same_picture=same_picture,
            differs=differs,
        )
