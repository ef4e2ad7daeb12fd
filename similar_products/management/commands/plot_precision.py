from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from ...catalogue.growth import MIN_PRODUCTS, Growth, count_queries, default_sizes, draw_growth, measure_growth
from ...catalogue.labels import read_labels
from ...catalogue.neighbours import CatalogueError
from ...encoders import get_encoder
from ..arguments import (
    positive,
    table,
    writable_file,
    write_files,
)
from ..base import (
    CatalogueCommand,
    add_neighbours,
    add_output,
    add_seed,
    read_embedded,
)

DRAWS = 5
SAMPLE = 5_000


class Command(CatalogueCommand):
    help = (
        "Plot how the similar products get better as a catalogue grows: precision@k by a label of the products (--by), "
        "as evaluate_similarity measures it, in random parts of ever more products, each within the next. Writes an "
        "SVG and prints the table."
    )

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument("--by", required=True, metavar="FIELD", help="Field or relation, as in category__name.")
        add_output(parser, metavar="FILE.svg", is_required=True)
        add_neighbours(parser, 10)
        parser.add_argument(
            "--sizes", type=positive, nargs="+", metavar="N", help="Numbers of products (100 200 400 ... all)."
        )
        parser.add_argument(
            "--draws", type=positive, default=DRAWS, help=f"Number of random parts of each size ({DRAWS})."
        )
        parser.add_argument(
            "--sample", type=positive, default=SAMPLE, help=f"Maximum number of queries in a part ({SAMPLE:,})."
        )
        add_seed(parser)

    def run(
        self,
        *,
        by: str,
        output: Path,
        k: int,
        sizes: Sequence[int] | None,
        draws: int,
        sample: int,
        seed: int,
    ) -> None:
        path = writable_file(output, ".svg")
        products = self.get_products()
        encoder, label = get_encoder().name, products.model._meta.label
        catalogue = read_embedded(products)
        labels = read_labels(products, by, catalogue)
        count = len(labels.positions)
        if count < MIN_PRODUCTS:
            raise CatalogueError(
                f"{label} has {count} products with a vector of the encoder {encoder} and a "
                f"value in {by!r}; a curve needs {MIN_PRODUCTS}."
            )
        steps = sorted(set(sizes)) if sizes else default_sizes(count)
        if len(steps) < 2 or steps[0] < 2 or steps[-1] > count:
            raise CatalogueError(
                f"--sizes is {', '.join(f'{size:,}' for size in steps)}; a curve takes two different numbers or "
                f"more from 2 to {count:,}, the products with a vector and a value in {by!r}."
            )
        total = count_queries(count, sizes=steps, draws=draws, sample=sample)
        with self.progress("queries", total, "products") as advance:
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
        self.say(f"{title}\n\n{table(_rows(growth, k))}\n\nWritten to {path}.")


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
