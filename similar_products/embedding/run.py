"""Rows in, vectors in the database out: the work behind the command, the signals and a shop's own code."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from django.db import router
from django.db.models import Model, QuerySet
from pgvector import Vector

from ..encoders import Encoder, EncoderError, get_encoder
from ..encoders.base import Vectors
from ..models import VisuallySimilarModel
from ..pictures.ahead import in_batches, map_ahead
from ..pictures.cores import count_cores
from ..pictures.gate import TRANSIENT_CODES, ImageRejected, Pixels, load_stored_pixels
from ..search.placement import Placement, dimensions_of, get_placement, holder_of
from .rows import ClaimedRows, Row
from .writer import EmbedReport, Result, VectorWriter

logger = logging.getLogger(__name__)

BATCH_SIZE = 32
"""Rows that are claimed at once, and written at once in two transactions; more where there are many threads."""
RETRY_DELAYS = (1.0, 4.0, 16.0)
"""Seconds before each further pass over the rows that a storage, another process or a change kept from us."""
MAX_REMEMBERED = 10_000
"""Rows remembered for a further pass; more than these stay pending for the next run, and memory constant."""


def embed(
    queryset: QuerySet[Model],
    *,
    batch_size: int | None = None,
    limit: int | None = None,
    threads: int | None = None,
    verify: bool = False,
    retry_delays: Sequence[float] = RETRY_DELAYS,
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int], object] | None = None,
) -> EmbedReport:
    """Embed the picture of every row of ``queryset``, or of the first ``limit``, whatever its state.

    Pictures are decoded and encoded in ``threads``, one for each core unless given, and their vectors written by the
    calling thread on its own connection, ``batch_size`` at once, so that it works inside a transaction as well. A
    process that is killed loses the work on two batches. Memory does not grow with the number of rows. Any number of
    processes share the work: each row is claimed by a session advisory lock, which no save waits for. A vector is
    written only if the row still has the picture and the source that were read. A picture that cannot be used marks
    its row as failed and stops nobody else. What a storage, a change or another process kept from us is tried again
    after each of ``retry_delays`` (seconds), then left pending.

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
    placement, threads = get_placement(queryset.model), threads or count_cores()
    run = _Run(
        rows=ClaimedRows(placement, using),
        writer=VectorWriter(placement, using, encoder.name, verify=verify),
        encode=PictureEncoder(placement, encoder),
        threads=threads,
        batch_size=batch_size or max(BATCH_SIZE, 2 * threads * encoder.batch_size),
        should_stop=should_stop,
        on_progress=on_progress or (lambda done: None),
    )
    # The same rows, whatever columns the shop's own queryset reads by the names of fields.
    rows: QuerySet[Model] = QuerySet(queryset.model, query=queryset.query.chain(), using=using)
    return run.make_passes(rows, limit, retry_delays)


def _sleep(seconds: float, should_stop: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not should_stop() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.25))


@dataclass(slots=True)
class _Run:
    """The passes of one ``embed``, and what is left over between them."""

    rows: ClaimedRows
    writer: VectorWriter
    encode: "PictureEncoder"
    threads: int
    batch_size: int
    should_stop: Callable[[], bool]
    on_progress: Callable[[int], object]
    report: EmbedReport = field(default_factory=EmbedReport)
    again: dict[Hashable, str] = field(default_factory=dict)

    def make_passes(self, queryset: QuerySet[Model], limit: int | None, retry_delays: Sequence[float]) -> EmbedReport:
        self.make_pass(queryset, limit)
        for delay in retry_delays:
            if not self.again or self.should_stop():
                break
            _sleep(delay, self.should_stop)
            self.make_further_pass(queryset)
        return self.finish()

    def make_further_pass(self, queryset: QuerySet[Model]) -> None:
        """Try what was left over, as far as the queryset still has it; others may have done the rest."""
        keys, self.again = list(self.again), {}
        for start in range(0, len(keys), 1_000):
            self.make_pass(self.rows.only(queryset, keys[start : start + 1_000]), None)

    def make_pass(self, queryset: QuerySet[Model], limit: int | None) -> None:
        batches = self.rows.claim(queryset, self.batch_size, limit, self.should_stop, self._leave_over)
        try:
            with closing(self.encode(chain.from_iterable(batches), self.batch_size, self.threads)) as encoded:
                for results in in_batches(encoded, self.batch_size):
                    self._write(results)
        finally:
            self.rows.release_all()

    def _write(self, results: list[Result]) -> None:
        report, left = self.writer.write(results)
        self.rows.release([result.row.pk for result in results])
        self._count(report)
        for result in results:
            if result.error in TRANSIENT_CODES:
                self._leave_over(result.row.pk, result.error)
            elif result.row.pk in left:
                self._leave_over(result.row.pk, left[result.row.pk])

    def finish(self) -> EmbedReport:
        for reason in self.again.values():
            self._count(_left_over(reason))
        return self.report

    def _leave_over(self, pk: Hashable, reason: str) -> None:
        if len(self.again) < MAX_REMEMBERED:
            self.again[pk] = reason
        else:
            self._count(_left_over(reason))

    def _count(self, report: EmbedReport) -> None:
        self.report.add(report)
        self.on_progress(report.done)


def _left_over(reason: str) -> EmbedReport:
    if reason in TRANSIENT_CODES:
        return EmbedReport(failed=Counter([reason]))
    return EmbedReport(outdated=1) if reason == "outdated" else EmbedReport(locked=1)


class PictureEncoder:
    """Makes vectors of the pictures of rows: each thread decodes a few and encodes them, while others are written."""

    def __init__(self, placement: Placement, encoder: Encoder) -> None:
        self._holder: type[VisuallySimilarModel] = placement.holder
        self._encoder = encoder
        self._storage = placement.picture_field.storage

    def __call__(self, rows: Iterable[Row], batch_size: int, threads: int) -> Generator[Result, None, None]:
        """Yield the results in the order of the rows; a batch of them is under way while the caller has another.

        A single row is decoded and encoded in the calling thread.
        """
        size = min(self._encoder.batch_size, max(batch_size // (2 * threads), 1))
        ahead = batch_size // size - 1
        with closing(map_ahead(self.encode, in_batches(rows, size), ahead=ahead, threads=threads)) as encoded:
            for results in encoded:
                yield from results

    def encode(self, rows: Sequence[Row]) -> list[Result]:
        """Return the vector, or the code of the error, of each row."""
        size = self._encoder.image_size
        outcomes = [self._decode(row, size) for row in rows]
        vectors = iter(self._vectors([pixels for pixels in outcomes if not isinstance(pixels, ImageRejected)]))
        results: list[Result] = []
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, ImageRejected):
                results.append(self._failed(row, outcome.code, str(outcome)))
            elif np.isfinite(vector := next(vectors)).all():
                results.append(Result(row, Vector(vector), ""))
            else:
                results.append(self._failed(row, "bad_vector", "The encoder sees nothing in the picture."))
        return results

    def _decode(self, row: Row, size: int) -> Pixels | ImageRejected:
        try:
            return load_stored_pixels(self._storage, row.image, size)
        except ImageRejected as rejected:
            return rejected

    def _vectors(self, pictures: list[Pixels]) -> Vectors:
        dimensions = dimensions_of(self._holder)
        if not pictures:
            return np.empty((0, dimensions), np.float32)
        vectors = self._encoder.encode(np.stack(pictures))
        if vectors.shape[1] != dimensions:
            check_dimensions(self._holder, self._encoder)
            raise EncoderError(
                f"{self._holder._meta.label}.embedding has {dimensions} dimensions and the encoder "
                f"{self._encoder.name} gave {vectors.shape[1]}: declare the field with that number, or choose another "
                "encoder."
            )
        return vectors

    def _failed(self, row: Row, code: str, reason: str) -> Result:
        label = self._holder._meta.label
        logger.warning("%s %s: %s not embedded: %s (%s)", label, row.pk, row.image, reason, code)
        return Result(row, None, code)


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
