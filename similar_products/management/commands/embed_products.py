import signal
import threading
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError
from django.db import router
from tqdm.contrib.logging import logging_redirect_tqdm

from ...embedding.companions import create_companions, missing_companions
from ...embedding.index import index_after_load
from ...embedding.run import check_dimensions, embed
from ...embedding.states import count_states
from ...embedding.writer import EmbedReport
from ...encoders import get_encoder
from ...models import VisuallySimilarModel, get_holders
from ...query import SimilarQuerySet
from ...search.placement import holder_of
from ..arguments import positive
from ..base import CANNOT_RUN, FOUND, NO_MODEL, CatalogueCommand


class Command(CatalogueCommand):
    help = (
        "Embed the pictures that are pending: new, replaced, or embedded by another encoder. Can be run again "
        "at any time, by several processes at once. Ctrl-C or SIGTERM finishes the batch."
    )
    exit_1 = "a picture failed in this run"
    interrupted = "Interrupted. What is embedded stays; run the command again to go on."

    def add_models(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "models", nargs="*", metavar="app.Model", help="Models to embed; all of them when none is named."
        )

    def add_options(self, parser: ArgumentParser) -> None:
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

    def run(
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
    ) -> None:
        encoder = get_encoder()
        holders = _holders(models)
        for holder in holders:
            check_dimensions(holder, encoder)
        self.say(f"Encoder: {encoder.name}")
        pending = {
            holder: _rows(holder, self._using(holder), everything=everything or verify, retry_failed=retry_failed)
            for holder in holders
        }
        if status:
            for holder in holders:
                self.stdout.write(_status(holder, self._using(holder)))
        elif dry_run:
            for holder, rows in pending.items():
                missing = missing_companions(holder, self._using(holder))
                count = rows.count() + (0 if missing is None else missing.count())
                count = count if limit is None else min(count, limit)
                limit = None if limit is None else limit - count
                self.stdout.write(f"{holder._meta.label}: {count:,} to embed.")
        else:
            self._embed_all(pending, limit=limit, batch_size=batch_size, verify=verify)

    def _using(self, holder: type[VisuallySimilarModel]) -> str:
        return self.database or router.db_for_write(holder)

    def _embed_all(
        self,
        pending: "dict[type[VisuallySimilarModel], SimilarQuerySet[Any]]",
        *,
        limit: int | None,
        batch_size: int | None,
        verify: bool,
    ) -> None:
        total = EmbedReport()
        with stop_on_signals() as should_stop:
            for holder, rows in pending.items():
                create_companions(holder, self._using(holder))
                left = None if limit is None else max(limit - total.done, 0)
                if not should_stop():
                    work = partial(embed, rows, limit=left, batch_size=batch_size, verify=verify)
                    total.add(
                        self._embed(
                            holder, rows.count() if left is None else min(rows.count(), left), work, should_stop
                        )
                    )
            is_interrupted = should_stop()
        if is_interrupted:
            raise KeyboardInterrupt
        if failed := total.failed.total():
            raise CommandError(
                f"{failed:,} of {total.done:,} pictures could not be embedded: {_codes(total.failed)}. "
                "The log names each.",
                returncode=FOUND,
            )

    def _embed(
        self,
        holder: type[VisuallySimilarModel],
        count: int,
        work: Callable[..., EmbedReport],
        should_stop: Callable[[], bool],
    ) -> EmbedReport:
        label, started = holder._meta.label, time.monotonic()

        def announce_index() -> None:
            self.say(f"{label}: building the vector index.")

        with (
            index_after_load(holder, self._using(holder), count, on_build=announce_index),
            logging_redirect_tqdm(),
            self.progress(label, count, "pictures") as advance,
        ):
            report = work(on_progress=advance, should_stop=should_stop)
        self.say(f"{label}: {_summary(report, time.monotonic() - started)}.")
        return report


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


def _holders(labels: list[str]) -> list[type[VisuallySimilarModel]]:
    """Return the models with vectors that the labels name; all of them for no label."""
    known = get_holders()
    if not known:
        raise CommandError(NO_MODEL, returncode=CANNOT_RUN)
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


def _rows(
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
