"""The four placements of the vectors compared: an update of a price, a similar query, a page of a list.

The same products in each, with one picture on the product or its companion and two where products have several. The
price is an indexed column, as in a shop that filters by it: PostgreSQL then enters an updated row into every index of
its table anew, and where the vector stands on the product, into the vector index.
"""

import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bench
from benchmarks.vectors import crop_vectors

K = 12
PAGE = 30
PRICES = {"product": "price", "companion": "stock", "pictures": "price", "companions of pictures": "parent_id"}
"""A whole number on each product model of the tests; the last has none but the key of its parent."""


def fill(placement: str, vectors: np.ndarray, rows: int) -> list[Any]:
    """Make the products, with the vector index built after the load and an index on the price; return their keys."""
    from django.db import connection

    from similar_products.embedding.index_build import build_index, drop_index
    from tests.catalogues import CATALOGUES, Item, Picture

    catalogue = CATALOGUES[placement]
    from similar_products.encoders import get_encoder

    name = get_encoder().name
    drop_index(catalogue.holder, "default")
    step = 2 if catalogue.several else 1
    items = [
        Item(f"{number}", [Picture(vectors[step * number + each], name) for each in range(step)])
        for number in range(rows)
    ]
    catalogue.fill(items)
    build_index(catalogue.holder, "default")
    table = catalogue.model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE INDEX ON {table} ({PRICES[placement]})")
        cursor.execute("VACUUM ANALYZE")
    return [item.row.pk for item in items]


def works(placement: str, keys: list[Any]) -> dict[str, Callable[[Any], object]]:
    """Return what is measured, each taking the key of a product."""
    from tests.catalogues import CATALOGUES

    catalogue = CATALOGUES[placement]
    model, price = catalogue.model, PRICES[placement]
    products = model._default_manager

    def update(key: Any) -> None:
        products.filter(pk=key).update(**{price: random.choice(keys)})

    return {
        "price update": update,
        "similar query": lambda key: list(catalogue.similar_to(model(pk=key))[:K]),
        "list page": lambda key: list(products.filter(pk__gte=key).order_by("pk")[:PAGE]),
    }


def main() -> None:
    parser = bench.parser(__doc__, pictures=False)
    parser.add_argument("folders", nargs="+", type=Path, help="Folders with pictures.")
    parser.add_argument("--rows", type=int, default=5_000, help="Products in each placement (5000).")
    parser.add_argument("--times", type=int, default=300, help="Measurements of each kind (300).")
    parser.add_argument("--crops", type=int, default=30_000, help="Vectors to choose from (30000).")
    arguments = parser.parse_args()
    os.environ["BENCHMARK_PLACEMENTS"] = "1"
    random.seed(0)
    with bench.shop(arguments.model):
        from tests.catalogues import CATALOGUES

        vectors = crop_vectors(arguments.folders, arguments.crops)
        keys = {placement: fill(placement, vectors, arguments.rows) for placement in CATALOGUES}
        measured: dict[tuple[str, str], list[float]] = {}
        kinds: list[str] = []
        for number in range(arguments.times + 20):
            for placement in CATALOGUES:
                for kind, work in works(placement, keys[placement]).items():
                    key = random.choice(keys[placement][:-PAGE])
                    took = bench.seconds(partial(work, key)) * 1000
                    if number >= 20:  # warm
                        measured.setdefault((placement, kind), []).append(took)
                    kinds = [*kinds, kind] if kind not in kinds else kinds
        lines = [
            (placement, *(f"{np.median(measured[placement, kind]):.2f} ms" for kind in kinds))
            for placement in CATALOGUES
        ]
    print(f"{arguments.rows:,} products in each placement, medians of {arguments.times}, interleaved\n")
    print(bench.table(lines, ("the vector stands on", *kinds)))


if __name__ == "__main__":
    main()
