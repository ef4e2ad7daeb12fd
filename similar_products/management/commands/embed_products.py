import sys
import time
from argparse import ArgumentParser
from contextlib import nullcontext
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ...encoders import EncoderError, get_encoder
from ...indexing import EmbedReport, check_dimensions, create_companions, embed, index_after_load, missing_companions
from ...models import VisuallySimilarModel, get_holders
from ...query import SimilarQuerySet, holder_of

FAILED = 1
CANNOT_RUN = 2
INTERRUPTED = 3


class Command(BaseCommand):
    help = (
        "Embed the pictures that are pending: new, replaced, or embedded by another encoder. Can be run again "
        "at any time. Exit code 0; 1 when a picture failed in this run; 2 when the command could not run; "
        "3 when it was interrupted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "models", nargs="*", metavar="app.Model", help="Models to embed; all of them when none is named."
        )
        parser.add_argument("--all", action="store_true", dest="everything", help="Embed ready rows again too.")
        parser.add_argument("--retry-failed", action="store_true", help="Try failed pictures again too.")
        parser.add_argument("--limit", type=_positive, help="Stop after this many pictures.")
        parser.add_argument("--batch-size", type=_positive, help="Pictures encoded at once (the encoder's own: 32).")
        parser.add_argument("--dry-run", action="store_true", help="Count what would be done, and do nothing.")
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, help="Alias of the database (default).")

    def handle(
        self,
        *,
        models: list[str],
        everything: bool,
        retry_failed: bool,
        limit: int | None,
        batch_size: int | None,
        dry_run: bool,
        database: str,
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
            total = EmbedReport()
            for holder in holders:
                missing = missing_companions(holder, database) if dry_run else None
                if not dry_run:
                    create_companions(holder, database)
                queryset = _queryset(holder, database, everything=everything, retry_failed=retry_failed)
                rows = queryset.count() + (missing.count() if missing is not None else 0)
                left = None if limit is None else max(limit - total.done, 0)
                rows = rows if left is None else min(rows, left)
                if dry_run:
                    self.stdout.write(f"{holder._meta.label}: {rows:,} to embed.")
                else:
                    total.add(self._embed(holder, queryset, rows, left, batch_size, verbosity))
        except (EncoderError, ImproperlyConfigured) as error:
            raise CommandError(str(error), returncode=CANNOT_RUN) from error
        except KeyboardInterrupt:
            raise CommandError(
                "Interrupted. What is embedded stays; run the command again to go on.", returncode=INTERRUPTED
            ) from None
        if failed := total.failed.total():
            raise CommandError(
                f"{failed:,} of {total.done:,} pictures could not be embedded: {_codes(total)}. The log names each.",
                returncode=FAILED,
            )

    def _embed(
        self,
        holder: type[VisuallySimilarModel],
        queryset: SimilarQuerySet[Any],
        rows: int,
        limit: int | None,
        batch_size: int | None,
        verbosity: int,
    ) -> EmbedReport:
        label = holder._meta.label
        on_terminal = sys.stderr.isatty() and verbosity > 0
        started = time.monotonic()
        with (
            index_after_load(holder, queryset.db, rows, on_build=lambda: self._say_building(label, verbosity)),
            logging_redirect_tqdm() if on_terminal else nullcontext(),
            tqdm(total=rows, desc=label, unit=" pictures", disable=not on_terminal) as bar,
        ):
            report = embed(queryset, batch_size=batch_size, limit=limit, on_progress=bar.update)
        seconds = time.monotonic() - started
        if verbosity > 0:
            failed = f", {report.failed.total():,} failed ({_codes(report)})" if report.failed else ""
            outdated = f", {report.outdated:,} changed meanwhile" if report.outdated else ""
            rate = f" in {seconds:,.1f} s ({report.done / seconds:,.0f} a second)" if report.done else ""
            self.stdout.write(f"{label}: {report.embedded:,} embedded{failed}{outdated}{rate}.")
        return report

    def _say_building(self, label: str, verbosity: int) -> None:
        if verbosity > 0:
            self.stdout.write(f"{label}: building the vector index.")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(text)
    return int(text)


_positive.__name__ = "positive whole number"  # argparse names the type in its message


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


def _codes(report: EmbedReport) -> str:
    return ", ".join(f"{code} {count:,}" for code, count in report.failed.most_common())
