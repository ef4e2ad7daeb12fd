import signal
import threading
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import TypeAlias

from django.apps import apps
from django.core.management.base import CommandError
from django.db import router

from ...catalogue.neighbours import CatalogueError
from ...embedding.companions import create_companions, missing_companions
from ...embedding.index_build import index_after_load
from ...embedding.run import check_dimensions, embed
from ...embedding.states import count_states
from ...embedding.writer import EmbedReport
from ...encoders import get_encoder
from ...models import VisuallySimilarModel, get_holders
from ...query import SimilarQuerySet, all_rows
from ...search.placement import holder_of
from ..arguments import add_database, positive
from ..base import CatalogueCommand, join_labels

Rows: TypeAlias = SimilarQuerySet[VisuallySimilarModel]
Pending: TypeAlias = dict[type[VisuallySimilarModel], Rows]


class Command(CatalogueCommand):
    help = (
        "Embed the pictures that are pending: new, replaced, or embedded by another encoder. Can be run again "
        "at any time, by several processes at once. Ctrl-C or SIGTERM finishes the batch."
    )
    exit_1 = "a picture failed in this run"
    interrupted = "Interrupted. What is embedded stays; run the command again to go on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        text = "Models to embed; all of them when none is named."
        parser.add_argument("models", nargs="*", metavar="app.Model", help=text)
        add_database(parser)
        parser.add_argument("--all", action="store_true", dest="everything", help="Embed ready rows again too.")
        text = "Read all pictures again and write where one was replaced under its old name."
        parser.add_argument("--verify", action="store_true", help=text)
        parser.add_argument("--status", action="store_true", help="Count by state and error code, and do nothing.")
        parser.add_argument("--retry-failed", action="store_true", help="Try failed pictures again too.")
        parser.add_argument("--limit", type=positive, metavar="N", help="Maximum number of pictures to embed.")
        text = "Number of rows claimed and written at once (32; more on many cores)."
        parser.add_argument("--batch-size", type=positive, metavar="N", help=text)
        text = "Number of threads that decode and encode (one for each processor core)."
        parser.add_argument("--threads", type=positive, metavar="N", help=text)
        parser.add_argument("--dry-run", action="store_true", help="Count what would be done, and do nothing.")

    def handle(
        self,
        *,
        models: Sequence[str],
        everything: bool,
        verify: bool,
        status: bool,
        retry_failed: bool,
        limit: int | None,
        batch_size: int | None,
        threads: int | None,
        dry_run: bool,
        **options: object,
    ) -> None:
        encoder, holders = get_encoder(), _find_holders(models)
        for holder in holders:
            check_dimensions(holder, encoder)
        self.say(f"Encoder: {encoder.name}")
        if status:
            for holder in holders:
                self.stdout.write(_status(holder, self._using(holder)))
            return
        pending = {
            holder: _rows(holder, self._using(holder), everything=everything or verify, retry_failed=retry_failed)
            for holder in holders
        }
        if dry_run:
            self._count(pending, limit)
        else:
            self.prepare(encoder)
            self._embed(pending, partial(embed, batch_size=batch_size, threads=threads, verify=verify), limit)

    def _using(self, holder: type[VisuallySimilarModel]) -> str:
        return self.database or router.db_for_write(holder)

    def _count(self, pending: Pending, limit: int | None) -> None:
        for holder, rows in pending.items():
            missing = missing_companions(holder, self._using(holder))
            count = rows.count() + (0 if missing is None else missing.count())
            if limit is not None:
                count = min(count, limit)
                limit -= count
            self.stdout.write(f"{holder._meta.label}: {count:,} to embed.")

    def _embed(self, pending: Pending, embed_rows: Callable[..., EmbedReport], limit: int | None) -> None:
        total = EmbedReport()
        with stop_on_signals() as should_stop:
            for holder, rows in pending.items():
                create_companions(holder, self._using(holder))
                left = None if limit is None else max(limit - total.done, 0)
                if not should_stop():
                    count, started = rows.count() if left is None else min(rows.count(), left), time.monotonic()
                    with self._loading(holder, count) as advance:
                        report = embed_rows(rows, limit=left, should_stop=should_stop, on_progress=advance)
                    total.add(report)
                    self.say(f"{holder._meta.label}: {_summary(report, time.monotonic() - started)}.")
            if should_stop():
                raise KeyboardInterrupt
        if failed := total.failed.total():
            raise CommandError(
                f"{failed:,} of {total.done:,} pictures could not be embedded: {_codes(total.failed)}. "
                "The log names each."
            )

    @contextmanager
    def _loading(self, holder: type[VisuallySimilarModel], count: int) -> Iterator[Callable[[int], object]]:
        """Show the progress of loading ``count`` rows, and build the index after a first fill."""
        label, using = holder._meta.label, self._using(holder)
        with (
            index_after_load(holder, using, count, say=lambda sentence: self.say(f"{label}: {sentence}")),
            self.progress(label, count, "pictures") as advance,
        ):
            yield advance


def _summary(report: EmbedReport, seconds: float) -> str:
    parts = [f"{report.embedded:,} embedded"]
    if report.unchanged:
        parts.append(f"{report.unchanged:,} unchanged")
    if report.failed:
        parts.append(f"{report.failed.total():,} failed ({_codes(report.failed)})")
    if report.outdated:
        parts.append(f"{report.outdated:,} changed meanwhile")
    if report.locked:
        parts.append(f"{report.locked:,} left to other processes")
    rate = f" in {seconds:,.1f} s ({report.done / seconds:,.0f} a second)" if report.done else ""
    return ", ".join(parts) + rate


def _find_holders(labels: Sequence[str]) -> list[type[VisuallySimilarModel]]:
    """Return the models with vectors that the labels name, each once; all of them for no label."""
    known = get_holders()
    valid = join_labels(known)
    holders: dict[type[VisuallySimilarModel], None] = {}
    for label in labels:
        try:
            holder = holder_of(apps.get_model(label))
        except (LookupError, ValueError):
            holder = None
        if holder is None:
            raise CatalogueError(f"{label!r} is no model with vectors; valid are {valid}.")
        holders[holder] = None
    return list(holders) or known


def _rows(holder: type[VisuallySimilarModel], using: str, *, everything: bool, retry_failed: bool) -> Rows:
    rows: Rows = all_rows(holder, using)
    if everything:
        return rows.with_picture()
    return rows.pending() | rows.failed() if retry_failed else rows.pending()


def _status(holder: type[VisuallySimilarModel], using: str) -> str:
    counts = count_states(holder, using)
    codes = f" ({_codes(Counter(counts['codes']))})" if counts["codes"] else ""
    return (
        f"{holder._meta.label}: {counts['ready']:,} ready, {counts['pending']:,} pending, "
        f"{counts['failed']:,} failed{codes}."
    )


def _codes(failed: Counter[str]) -> str:
    return ", ".join(f"{code} {count:,}" for code, count in failed.most_common())


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C or SIGTERM has asked to stop; the second one interrupts at once."""
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield lambda: False
        return
    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
