from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from django.db.models import Model, QuerySet
from numpy.typing import NDArray

from ...catalogue.exports import FORMATS, TEXT_FORMATS, load_parquet, similar_pairs, write_parquet
from ...catalogue.neighbours import Catalogue, CatalogueError
from ..arguments import Condition, add_neighbours, add_output, add_where, filter_by, share
from ..base import CatalogueCommand, read_embedded
from ..output import whole_file, writable_file

K = 20
"""Neighbours of each product: as many as the 2019 original took."""


class Command(CatalogueCommand):
    help = (
        "Write the nearest of every product, compared exactly and without the index, as JSON in the form of the 2019 "
        'original ([{"similarity": 0.9876, "master_pi": KEY, "similar_pi": KEY}, ...]), JSON Lines, CSV or Parquet. '
        "Only products that an anonymous visitor may see are compared and written."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_output(parser, default="standard output")
        parser.add_argument("--format", choices=FORMATS, help="Format (by the file's ending; json on standard output).")
        add_neighbours(parser, K)
        text = "Minimum similarity of a neighbour, from 0 to 1 (0)."
        parser.add_argument("--min-similarity", type=share, default=0.0, metavar="S", help=text)
        add_where(parser, of="the neighbours")
        add_where(parser, "--of", of="the products whose neighbours are written")

    def handle(
        self,
        *,
        output: Path | None,
        format: str | None,  # noqa: A002  the option's name
        k: int,
        min_similarity: float,
        where: Sequence[Condition],
        of: Sequence[Condition],
        **options: object,
    ) -> None:
        path = output and writable_file(output)
        kind = _format(path, format)
        products = self.get_products()
        asking, answering = filter_by(products, of, "--of"), filter_by(products, where, "--where")
        catalogue = read_embedded(products)
        queries = np.flatnonzero(_mark_owners(catalogue, asking)) if of else np.arange(len(catalogue.owners))
        answers = _mark_owners(catalogue, answering) if where else None
        with self.progress("neighbours", len(queries), "products") as advance:
            blocks = similar_pairs(
                catalogue, k=k, queries=queries, answers=answers, min_similarity=min_similarity, on_progress=advance
            )
            if kind == "parquet" and path is not None:
                with whole_file(path) as partial:
                    write_parquet(blocks, catalogue.owners, partial)
            else:
                self.write_output(TEXT_FORMATS[kind](blocks), path)
        if path is not None:
            self.say(f"The nearest {k:,} of {len(queries):,} products are in {path}.")


def _mark_owners(catalogue: Catalogue, products: QuerySet[Model]) -> NDArray[np.bool_]:
    """Return for each product of the catalogue whether it is among ``products``, bool ``[products]``."""
    keys = set(products.order_by().values_list("pk", flat=True).iterator())
    return np.array([owner in keys for owner in catalogue.owners.tolist()])


def _format(path: Path | None, named: str | None) -> str:
    kind = named or (path.suffix.lower().removeprefix(".") if path else "json")
    if kind not in FORMATS:
        raise CatalogueError(
            f"{str(path)!r} ends in none of {', '.join(f'.{one}' for one in FORMATS)}; name the format with --format."
        )
    if kind == "parquet":
        if path is None:
            raise CatalogueError("Parquet is no text for standard output; name a file with --output FILE.parquet.")
        load_parquet()
    return kind
