"""Peak memory and time of evaluate_similarity for a small and larger catalogues: memory must not grow.

The vectors are random, since only their number counts, and each size is measured in a process of its own. Precision,
R@1 and mAP are computed over the whole ranking of every product.
"""

import sys
import time

from benchmarks import bench

DIMENSIONS = 1280
ROWS_PER_INSERT = 500


def main() -> None:
    parser = bench.parser(__doc__, pictures=False)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 20_000], help="Catalogues (5000 20000).")
    arguments = parser.parse_args()
    measured = []
    with bench.shop(arguments.model):
        from shop_demo.models import Product
        from similar_products.embedding.index_build import drop_index

        drop_index(Product, "default")  # exact figures need none, and filling it takes longer than they do
        for size in arguments.sizes:
            fill(size)
            started = time.perf_counter()
            usage = bench.run_django(
                "evaluate_similarity", "shop_demo.Product", "--by", "category", "--sample", "1", "--json"
            )
            kilobytes = usage.ru_maxrss // (1024 if sys.platform == "darwin" else 1)
            measured.append((size, kilobytes / 1024, time.perf_counter() - started))
    rows = [
        (f"{size:,} products", f"{peak:,.0f} MB", f"{peak / measured[0][1]:.3f}", f"{seconds:,.0f} s")
        for size, peak, seconds in measured
    ]
    print(bench.table(rows, ("catalogue", "peak memory", "of the first", "time")))


def fill(size: int) -> None:
    """Put ``size`` products with random vectors of the encoder in the settings into the empty shop."""
    import numpy as np

    from shop_demo.models import Category, Product
    from similar_products.encoders import get_encoder

    Product.objects.all().delete()
    categories = [Category.objects.get_or_create_named(f"category {number}") for number in range(10)]
    random = np.random.default_rng(size)
    for start in range(0, size, ROWS_PER_INSERT):
        vectors = random.normal(size=(min(ROWS_PER_INSERT, size - start), DIMENSIONS))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        made = Product.objects.bulk_create(
            Product(name=str(start + number), category=categories[number % 10], price=1, image="one.jpg")
            for number in range(len(vectors))
        )
        for product, vector in zip(made, vectors, strict=True):
            product.embedding, product.embedding_source = vector, f"{get_encoder().name}|one.jpg"
        Product._base_manager.bulk_update(made, ["embedding", "embedding_source"])


if __name__ == "__main__":
    main()
