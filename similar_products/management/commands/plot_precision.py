from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from ...catalogue.growth import MIN_PRODUCTS, Growth, count_queries, default_sizes, draw_growth, measure_growth
from ...catalogue.labels import read_labels
from ...catalogue.neighbours import CatalogueError
from ...encoders import get_encoder
from ..arguments import add_label, add_neighbours, add_output, add_sample, add_seed, positive
from ..base import CatalogueCommand, read_embedded
from ..output import table, writable_file

DRAWS = 5
SAMPLE = 5_000


class Command(CatalogueCommand):
    help = (
        "Plot how the similar products get better as a catalogue grows: precision@k by a label of the products (--by), "
        "as evaluate_similarity measures it, in random parts of ever more products, each within the next. Writes an "
        "SVG and prints the table."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_label(parser, is_required=True)
        add_output(parser, metavar="FILE.svg")
        add_neighbours(parser, 10)
        text = "Numbers of products (100 200 400 ... all)."
        parser.add_argument("--sizes", type=positive, nargs="+", metavar="N", help=text)
        text = f"Number of random parts of each size ({DRAWS})."
        parser.add_argument("--draws", type=positive, default=DRAWS, metavar="N", help=text)
        add_sample(parser, SAMPLE, "Maximum number of queries in a part")
        add_seed(parser)

    def handle(
        self,
        *,
        by: str,
        output: Path,
        k: int,
        sizes: Sequence[int] | None,
        draws: int,
        sample: int,
        seed: int,
        **options: object,
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
                catalogue, labels, sizes=steps, draws=draws, k=k, sample=sample, seed=seed, on_progress=advance
            )
        title = f"{label}, {by}: precision@{k}, {encoder}"
        self.write_output([draw_growth(growth, k=k, title=title)], path)
        self.say(f"{title}\n\n{table(_rows(growth, k))}\n\nWritten to {path}.")


def _rows(growth: Sequence[Growth], k: int) -> list[list[str]]:
    rows = [["products", f"precision@{k}", "spread", "best possible", "R@1", "draws", "queries"]]
    for one in growth:
        figures = (one.precision, one.spread, one.best_possible, one.recall_at_1)
        rows.append([f"{one.products:,}", *(f"{figure:.4f}" for figure in figures), str(one.draws), f"{one.queries:,}"])
    return rows
