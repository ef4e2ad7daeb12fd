import os
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from django.core.management.base import BaseCommand, CommandError

from ...catalogue.exports import FORMATS, TEXT_FORMATS, load_parquet, similar_pairs, write_parquet
from ...catalogue.neighbours import CatalogueError
from ..arguments import (
    INTERRUPTED,
    add_catalogue_arguments,
    add_where_argument,
    matching,
    positive,
    products_of,
    progress,
    read_embedded,
    sentences,
    share,
    whole_file,
    writable_file,
)

K = 20
"""Neighbours of each product: as many as the 2019 original took."""


class Command(BaseCommand):
    help = (
        "Write the nearest of every product, compared exactly and without the index, as JSON in the form of the 2019 "
        'original ([{"similarity": 0.9876, "master_pi": KEY, "similar_pi": KEY}, ...]), JSON Lines, CSV or Parquet. '
        "Only products that an anonymous visitor may see are compared and written. Exit code 0; 2 when the command "
        "could not run; 3 when it was interrupted. A file is written whole or not at all."
    )
    requires_system_checks = ()  # what can be wrong is said below, in a sentence and with exit code 2

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_catalogue_arguments(parser)
        parser.add_argument("--output", type=Path, metavar="FILE", help="File to write (standard output).")
        parser.add_argument("--format", choices=FORMATS, help="(What the name of the file ends in, or else json.)")
        parser.add_argument("-k", type=positive, default=K, help=f"Neighbours of each product, at the most ({K}).")
        parser.add_argument(
            "--min-similarity", type=share, default=0.0, metavar="S", help="Leave out what is less similar, 0 to 1 (0)."
        )
        add_where_argument(
            parser, "--where", help="Condition on what is found, as stock__gt=0; may be given several times."
        )
        add_where_argument(
            parser, "--of", help="Condition on the products whose neighbours are sought; may be given several times."
        )

    def handle(
        self,
        *,
        model: str,
        database: str | None,
        output: Path | None,
        format: str | None,  # noqa: A002  the option's name
        k: int,
        min_similarity: float,
        where: Sequence[tuple[str, Any]],
        of: Sequence[tuple[str, Any]],
        verbosity: int,
        **options: Any,
    ) -> None:
        with sentences():
            path = None if output is None else writable_file(output)
            kind = _format(path, format)
            products = products_of(model, database)
            asking, answering = matching(products, of, "--of"), matching(products, where, "--where")
            catalogue = read_embedded(products)

            def are_in(chosen: Any) -> Any:
                keys = set(chosen.order_by().values_list("pk", flat=True).iterator())
                return np.array([owner in keys for owner in catalogue.owners.tolist()])

            queries = np.flatnonzero(are_in(asking)) if of else np.arange(len(catalogue.owners))
            answers = are_in(answering) if where else None
            with progress("neighbours", len(queries), " products", verbosity=verbosity) as advance:
                blocks = similar_pairs(
                    catalogue,
                    k=k,
                    queries=queries,
                    answers=answers,
                    min_similarity=min_similarity,
                    on_progress=advance,
                )
                if path is None:
                    self._print(TEXT_FORMATS[kind](blocks))
                else:
                    with whole_file(path) as partial:
                        if kind == "parquet":
                            write_parquet(blocks, catalogue.owners, partial)
                        else:
                            _write(TEXT_FORMATS[kind](blocks), partial)
        if path is not None and verbosity > 0:
            self.stdout.write(f"The nearest {k:,} of {len(queries):,} products are in {path}.")

    def _print(self, texts: Iterator[str]) -> None:
        try:
            for text in texts:
                self.stdout.write(text, ending="")
            self.stdout.flush()
        except KeyboardInterrupt:
            raise CommandError("Interrupted. What standard output got is not whole.", returncode=INTERRUPTED) from None
        except OSError as error:
            # Or Python would fail once more when it closes the stream at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stdout.fileno())
            if isinstance(error, BrokenPipeError):
                raise CatalogueError("What read standard output ended before the export did.") from None
            raise CatalogueError(f"Standard output cannot be written: {error.strerror}.") from error


def _write(texts: Iterator[str], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(texts)


def _format(path: Path | None, named: str | None) -> str:
    suffix = path.suffix.lower().removeprefix(".") if path else "json"
    kind = named or suffix
    if kind not in FORMATS:
        raise CatalogueError(
            f"{str(path)!r} ends in none of {', '.join(f'.{one}' for one in FORMATS)}; name the format with --format."
        )
    if kind == "parquet":
        if path is None:
            raise CatalogueError("Parquet is no text for standard output; name a file with --output FILE.parquet.")
        load_parquet()
    return kind
