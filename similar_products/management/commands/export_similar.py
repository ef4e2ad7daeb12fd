import os
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from django.core.management.base import CommandError
from django.db.models import QuerySet
from numpy.typing import NDArray

from ...catalogue.exports import FORMATS, TEXT_FORMATS, load_parquet, similar_pairs, write_parquet
from ...catalogue.neighbours import Catalogue, CatalogueError
from ..arguments import (
    filter_by,
    share,
    whole_file,
    writable_file,
)
from ..base import (
    INTERRUPTED,
    CatalogueCommand,
    add_neighbours,
    add_output,
    add_where,
    read_embedded,
)

K = 20
"""Neighbours of each product: as many as the 2019 original took."""


class Command(CatalogueCommand):
    help = (
        "Write the nearest of every product, compared exactly and without the index, as JSON in the form of the 2019 "
        'original ([{"similarity": 0.9876, "master_pi": KEY, "similar_pi": KEY}, ...]), JSON Lines, CSV or Parquet. '
        "Only products that an anonymous visitor may see are compared and written."
    )

    def add_options(self, parser: ArgumentParser) -> None:
        add_output(parser)
        parser.add_argument("--format", choices=FORMATS, help="Format (by the file's ending; json on standard output).")
        add_neighbours(parser, K)
        parser.add_argument(
            "--min-similarity", type=share, default=0.0, metavar="S", help="Leave out what is less similar, 0 to 1 (0)."
        )
        add_where(parser, of="the neighbours")
        add_where(parser, "--of", of="the products whose neighbours are written")

    def run(
        self,
        *,
        output: Path | None,
        format: str | None,  # noqa: A002  the option's name
        k: int,
        min_similarity: float,
        where: Sequence[tuple[str, Any]],
        of: Sequence[tuple[str, Any]],
    ) -> None:
        path = None if output is None else writable_file(output)
        kind = _format(path, format)
        products = self.get_products()
        asking, answering = filter_by(products, of, "--of"), filter_by(products, where, "--where")
        catalogue = read_embedded(products)

        queries = np.flatnonzero(mark_owners(catalogue, asking)) if of else np.arange(len(catalogue.owners))
        answers = mark_owners(catalogue, answering) if where else None
        with self.progress("neighbours", len(queries), "products") as advance:
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
        if path is not None:
            self.say(f"The nearest {k:,} of {len(queries):,} products are in {path}.")

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


def mark_owners(catalogue: Catalogue, products: "QuerySet[Any]") -> NDArray[np.bool_]:
    """Return for each product of the catalogue whether it is among ``products``, bool ``[n]``."""
    keys = set(products.order_by().values_list("pk", flat=True).iterator())
    return np.array([owner in keys for owner in catalogue.owners.tolist()])


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
