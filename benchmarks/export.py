"""Time and peak memory of export_similar for catalogues of several sizes: memory must not grow with them.

The vectors are random, since only their number counts, and each size is exported in a process of its own.
"""

import sys
import tempfile
import time
from pathlib import Path

from benchmarks import bench
from benchmarks.evaluate_memory import fill


def main() -> None:
    parser = bench.parser(__doc__, pictures=False)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2_500, 10_000], help="Catalogues (2500 10000).")
    parser.add_argument("--format", default="json", help="json, jsonl, csv or parquet (json).")
    parser.add_argument("-k", type=int, default=20, help="Neighbours of each product (20).")
    arguments = parser.parse_args()
    measured = []
    with bench.shop(arguments.model), tempfile.TemporaryDirectory() as folder:
        from shop_demo.models import Product
        from similar_products.embedding.index_build import drop_index

        drop_index(Product, "default")  # an exact export needs none, and filling it takes longer than that
        path = Path(folder) / f"similar.{arguments.format}"
        for size in arguments.sizes:
            fill(size)
            started = time.perf_counter()
            usage = bench.run_django(
                "export_similar", "shop_demo.Product", "-k", str(arguments.k), "--output", str(path)
            )
            kilobytes = usage.ru_maxrss // (1024 if sys.platform == "darwin" else 1)
            megabytes = path.stat().st_size / 1024 / 1024
            measured.append((size, kilobytes / 1024, time.perf_counter() - started, megabytes))
    rows = [
        (
            f"{size:,} products",
            f"{seconds:,.1f} s",
            f"{peak:,.0f} MB",
            f"{peak / measured[0][1]:.3f}",
            f"{file:,.1f} MB",
        )
        for size, peak, seconds, file in measured
    ]
    print(bench.table(rows, ("catalogue", "time", "peak memory", "of the first", "file")))


if __name__ == "__main__":
    main()
