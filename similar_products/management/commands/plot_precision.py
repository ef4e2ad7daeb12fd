from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from ...catalogue.evaluation import SEED
from ...catalogue.growth import LEAST_PRODUCTS, Growth, count_queries, default_sizes, draw_growth, measure_growth
from ...catalogue.labels import read_labels
from ...catalogue.neighbours import CatalogueError
from ...encoders import get_encoder
from ..arguments import (
    add_catalogue_arguments,
    positive,
    products_of,
    progress,
    read_embedded,
    seed_number,
    sentences,
    table,
    writable_file,
    write_files,
)

DRAWS = 5
SAMPLE = 5_000


class Command(BaseCommand):
    help = (
        "Plot how the similar products get better as a catalogue grows: precision@k by a label of the products (--by), "
        "as evaluate_similarity measures it, in random parts of ever more products, each within the next. Writes an "
        "SVG and prints the table. Exit code 0; 2 when the command could not run; 3 when it was interrupted."
    )
    requires_system_checks = ()  # what can be wrong is said below, in a sentence and with exit code 2

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_catalogue_arguments(parser)
        parser.add_argument("--by", required=True, metavar="FIELD", help="Field or relation, as in category__name.")
        parser.add_argument("--output", type=Path, required=True, metavar="FILE.svg", help="The picture to write.")
        parser.add_argument("-k", type=positive, default=10, help="Neighbours that count (10).")
        parser.add_argument(
            "--sizes", type=positive, nargs="+", metavar="N", help="Numbers of products (100 200 400 ... all)."
        )
        parser.add_argument("--draws", type=positive, default=DRAWS, help=f"Times that each is drawn ({DRAWS}).")
        parser.add_argument(
            "--sample", type=positive, default=SAMPLE, help=f"Most products of a part that ask ({SAMPLE:,})."
        )
        parser.add_argument("--seed", type=seed_number, default=SEED, help=f"Another one draws other parts ({SEED}).")

    def handle(
        self,
        *,
        model: str,
        database: str | None,
        by: str,
        output: Path,
        k: int,
        sizes: Sequence[int] | None,
        draws: int,
        sample: int,
        seed: int,
        verbosity: int,
        **options: Any,
    ) -> None:
        with sentences():
            path = writable_file(output, ".svg")
            products = products_of(model, database)
            encoder, label = get_encoder().name, products.model._meta.label
            catalogue = read_embedded(products)
            labels = read_labels(products, by, catalogue)
            count = len(labels.positions)
            if count < LEAST_PRODUCTS:
                raise CatalogueError(
                    f"{label} has {count} products with a vector of the encoder {encoder} and a "
                    f"value in {by!r}; a curve needs {LEAST_PRODUCTS}."
                )
            steps = sorted(set(sizes)) if sizes else default_sizes(count)
            if len(steps) < 2 or steps[0] < 2 or steps[-1] > count:
                raise CatalogueError(
                    f"--sizes is {', '.join(f'{size:,}' for size in steps)}; a curve takes two different numbers or "
                    f"more from 2 to {count:,}, the products with a vector and a value in {by!r}."
                )
            total = count_queries(count, sizes=steps, draws=draws, sample=sample)
            with progress("queries", total, " products", verbosity=verbosity) as advance:
                growth = measure_growth(
                    catalogue,
                    labels,
                    sizes=steps,
                    draws=draws,
                    k=k,
                    sample=sample,
                    seed=seed,
                    on_progress=advance,
                )
            title = f"{label}, {by}: precision@{k}, {encoder}"
            write_files({path: draw_growth(growth, k=k, title=title).encode()})
        if verbosity > 0:
            self.stdout.write(f"{title}\n\n{table(_rows(growth, k))}\n\nWritten to {path}.")


def _rows(growth: Sequence[Growth], k: int) -> list[list[str]]:
    return [
        ["products", f"precision@{k}", "spread", "best possible", "R@1", "draws", "queries"],
        *(
            [
                f"{one.products:,}",
                f"{one.precision:.4f}",
                f"{one.spread:.4f}",
                f"{one.best_possible:.4f}",
                f"{one.recall_at_1:.4f}",
                str(one.draws),
                f"{one.queries:,}",
            ]
            for one in growth
        ),
    ]
