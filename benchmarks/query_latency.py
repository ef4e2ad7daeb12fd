"""similar_to(p)[:12] against the same SQL by hand and against the naive way, interleaved, in one run.

By hand: the statement compiled before the clock starts, executed by a cursor, rows fetched. Naive: the
product's vector fetched, passed back as text, the vectors of the results loaded.
"""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bench
from benchmarks.vectors import crop_vectors, fill

K = 12


def ours(key: Any) -> list[Any]:
    from shop_demo.models import Product

    return list(Product.objects.similar_to(Product(pk=key))[:K])


def by_hand(key: Any) -> Callable[[], list[Any]]:
    """Return what executes the statement of ``ours``, compiled already."""
    from django.db import connection

    from shop_demo.models import Product

    statement, parameters = Product.objects.similar_to(Product(pk=key))[:K].query.sql_with_params()

    def execute() -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            rows: list[Any] = cursor.fetchall()
            return rows

    return execute


def naive(key: Any) -> list[Any]:
    from pgvector import HalfVector
    from pgvector.django import CosineDistance

    from shop_demo.models import Product
    from similar_products.search.hnsw_index import half

    vector = Product.objects.defer(None).get(pk=key).embedding
    distance = CosineDistance(half("embedding", len(vector)), HalfVector(vector))
    found = Product.objects.defer(None).exclude(pk=key).annotate(distance=distance).order_by("distance")[:K]
    return list(found)


def main() -> None:
    parser = bench.parser(__doc__, pictures=False)
    parser.add_argument("folders", nargs="+", type=Path, help="Folders with pictures.")
    parser.add_argument("--rows", type=int, default=30_000, help="Products in the shop (30000).")
    parser.add_argument("--queries", type=int, default=500, help="Queries of each kind (500).")
    arguments = parser.parse_args()
    with bench.shop(arguments.model):
        vectors = crop_vectors(arguments.folders, arguments.rows)
        keys = fill(vectors, [str(number % 10) for number in range(len(vectors))])
        position = {key: number for number, key in enumerate(keys)}
        chosen = random.Random(0).sample(keys, arguments.queries)
        times: dict[str, list[float]] = {"ours": [], "by hand": [], "naive": []}
        recall = []
        for key in chosen[:50]:  # warm
            ours(key), by_hand(key)(), naive(key)
        for key in chosen:
            prepared = by_hand(key)
            times["by hand"].append(bench.seconds(prepared))
            times["naive"].append(bench.seconds(partial(naive, key)))
            times["ours"].append(bench.seconds(partial(ours, key)))
        for key in chosen[:200]:
            distances = 1 - vectors @ vectors[position[key]]
            distances[position[key]] = np.inf
            exact = set(np.argsort(distances)[:K])
            recall.append(len(exact & {position[row.pk] for row in ours(key)}) / K)
    middle = {name: float(np.median(values)) * 1000 for name, values in times.items()}
    rows = [
        (
            label,
            f"{middle[name]:.2f} ms",
            f"{np.percentile(times[name], 95) * 1000:.2f} ms",
            f"{middle[name] / middle['ours']:.2f}",
        )
        for label, name in [
            ("similar_to(p)[:12]", "ours"),
            ("the same SQL by hand", "by hand"),
            ("the naive way", "naive"),
        ]
    ]
    print(f"{arguments.rows:,} products, {arguments.queries} queries of each kind, recall@{K} {np.mean(recall):.4f}\n")
    print(bench.table(rows, ("query", "median", "p95", "of ours")))


if __name__ == "__main__":
    main()
