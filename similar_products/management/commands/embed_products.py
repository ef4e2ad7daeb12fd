import signal
import sys
import threading
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import connections, router
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ...embedding.companions import create_companions, missing_companions
from ...embedding.hnsw import index_after_load
from ...embedding.run import check_dimensions, embed
from ...embedding.states import count_states
from ...embedding.writer import EmbedReport
from ...encoders import EncoderError, get_encoder
from ...models import VisuallySimilarModel, get_holders
from ...query import SimilarQuerySet
from ...search.placement import holder_of
from ..arguments import positive

FAILED = 1
CANNOT_RUN = 2
INTERRUPTED = 3


class Command(BaseCommand):
    help = (
        "Embed the pictures that are pending: new, replaced, or embedded by another encoder. Can be run again "
        "at any time, by several processes at once. Ctrl-C or SIGTERM finishes the batch. Exit code 0; 1 when a "
        "picture failed in this run; 2 when the command could not run; 3 when it was interrupted."
    )
    requires_system_checks = ()  # what can be wrong is said below, in a sentence and with exit code 2

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "models", nargs="*", metavar="app.Model", help="Models to embed; all of them when none is named."
        )
        parser.add_argument("--all", action="store_true", dest="everything", help="Embed ready rows again too.")
        parser.add_argument(
            "--verify",
            action="store_true",
            help="Read all pictures again and write where one was replaced under its old name.",
        )
        parser.add_argument("--status", action="store_true", help="Count by state and error code, and do nothing.")
        parser.add_argument("--retry-failed", action="store_true", help="Try failed pictures again too.")
        parser.add_argument("--limit", type=positive, help="Stop after this many pictures.")
        parser.add_argument("--batch-size", type=positive, help="Pictures encoded at once (the encoder's own: 32).")
        parser.add_argument("--dry-run", action="store_true", help="Count what would be done, and do nothing.")
        parser.add_argument("--database", choices=tuple(connections), help="Alias of the database (the router's).")

    def handle(
        self,
        *,
        models: list[str],
        everything: bool,
        verify: bool,
        status: bool,
        retry_failed: bool,
        limit: int | None,
        batch_size: int | None,
        dry_run: bool,
        database: str | None,
        verbosity: int,
        **options: Any,
    ) -> None:
        try:
            encoder = get_encoder()
            holders = _holders(models)
            for holder in holders:
                check_dimensions(holder, encoder)
            if verbosity > 0:
                self.stdout.write(f"Encoder: {encoder.name}")
            if status:
                for holder in holders:
                    self.stdout.write(_status(holder, database or router.db_for_write(holder)))
                return
            total = EmbedReport()
            with stop_on_signals() as should_stop:
                for holder in holders:
                    using = database or router.db_for_write(holder)
                    queryset = _queryset(holder, using, everything=everything or verify, retry_failed=retry_failed)
                    missing = missing_companions(holder, using) if dry_run else None
                    if not dry_run:
                        create_companions(holder, using)
                    rows = queryset.count() + (missing.count() if missing is not None else 0)
                    left = None if limit is None else max(limit - total.done, 0)
                    rows = rows if left is None else min(rows, left)
                    if dry_run:
                        self.stdout.write(f"{holder._meta.label}: {rows:,} to embed.")
                    elif not should_stop():
                        work = partial(embed, queryset, limit=left, batch_size=batch_size, verify=verify)
                        total.add(self._embed(holder, using, rows, work, should_stop, verbosity))
                interrupted = should_stop()
        except (EncoderError, ImproperlyConfigured, FieldDoesNotExist) as error:
            raise CommandError(str(error), returncode=CANNOT_RUN) from error
        except KeyboardInterrupt:
            interrupted = True
        if interrupted:
            raise CommandError(
                "Interrupted. What is embedded stays; run the command again to go on.", returncode=INTERRUPTED
            )
        if failed := total.failed.total():
            raise CommandError(
                f"{failed:,} of {total.done:,} pictures could not be embedded: {_codes(total.failed)}. "
                "The log names each.",
                returncode=FAILED,
            )

    def _embed(
        self,
        holder: type[VisuallySimilarModel],
        database: str,
        rows: int,
        work: Callable[..., EmbedReport],
        should_stop: Callable[[], bool],
        verbosity: int,
    ) -> EmbedReport:
        label = holder._meta.label
        on_terminal = sys.stderr.isatty() and verbosity > 0
        started = time.monotonic()
        with (
            index_after_load(holder, database, rows, on_build=lambda: self._say_building(label, verbosity)),
            logging_redirect_tqdm() if on_terminal else nullcontext(),
            tqdm(total=rows, desc=label, unit=" pictures", disable=not on_terminal) as bar,
        ):
            report = work(on_progress=bar.update, should_stop=should_stop)
        seconds = time.monotonic() - started
        if verbosity > 0:
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
            self.stdout.write(f"{label}: {', '.join(parts)}{rate}.")
        return report

    def _say_building(self, label: str, verbosity: int) -> None:
        if verbosity > 0:
            self.stdout.write(f"{label}: building the vector index.")


def _holders(labels: list[str]) -> list[type[VisuallySimilarModel]]:
    """Return the models with vectors that the labels name; all of them for no label."""
    known = get_holders()
    if not known:
        raise CommandError(
            "No installed model is derived from VisuallySimilarModel; derive your product model from it, or a "
            "companion of it.",
            returncode=CANNOT_RUN,
        )
    holders: list[type[VisuallySimilarModel]] = []
    for label in labels:
        try:
            holder = holder_of(apps.get_model(label))
        except (LookupError, ValueError):
            holder = None
        if holder is None:
            valid = ", ".join(model._meta.label for model in known)
            raise CommandError(f"{label!r} is no model with vectors; valid are {valid}.", returncode=CANNOT_RUN)
        if holder not in holders:
            holders.append(holder)
    return holders or known


def _queryset(
    holder: type[VisuallySimilarModel], database: str, *, everything: bool, retry_failed: bool
) -> SimilarQuerySet[Any]:
    rows: SimilarQuerySet[Any] = holder._base_manager.using(database)  # type: ignore[assignment]
    if everything:
        return rows.with_picture()
    return rows.pending() | rows.failed() if retry_failed else rows.pending()


def _status(holder: type[VisuallySimilarModel], database: str) -> str:
    counts = count_states(holder, database)
    codes = f" ({_codes(Counter(counts['codes']))})" if counts["codes"] else ""
    return (
        f"{holder._meta.label}: {counts['ready']:,} ready, {counts['pending']:,} pending, "
        f"{counts['failed']:,} failed{codes}."
    )


def _codes(failed: Counter[str]) -> str:
    return ", ".join(f"{code} {count:,}" for code, count in failed.most_common())


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a wish, which what is yielded tells; the second interrupts at once."""
    received: list[int] = []

    def receive(number: int, frame: Any) -> None:
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
