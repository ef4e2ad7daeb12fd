"""How long a product's save takes while embed_products runs on a live index in another process.

The waits are given beside those of the same saves with nothing else running, in one run.
"""

import os
import random
import subprocess
import sys

import numpy as np

from benchmarks import bench


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--products", type=int, default=2_000, help="Products in the shop (2000).")
    arguments = parser.parse_args()
    pictures = [path.resolve() for path in bench.pictures_below(arguments.folder)]
    with bench.shop(arguments.model):
        from django.db import connection

        from shop_demo.models import Category, Product

        category = Category.objects.create(name="all", slug="all")
        Product.objects.bulk_create(
            Product(name=str(number), category=category, price=1, image=str(pictures[number % len(pictures)]))
            for number in range(arguments.products)
        )
        bench.run_django("embed_products", "shop_demo.Product", media="/")
        keys = list(Product.objects.values_list("pk", flat=True))
        choice = random.Random(0)

        def save() -> float:
            product = Product.objects.get(pk=choice.choice(keys))
            product.price = choice.randint(1, 99)
            return bench.seconds(product.save) * 1000

        alone = [save() for _ in range(500)]
        Product.objects.update(embedding_source="")
        process = subprocess.Popen(
            [sys.executable, "-m", "django", "embed_products", "shop_demo.Product"],
            env={
                **os.environ,
                "BENCHMARK_DATABASE_NAME": connection.settings_dict["NAME"],
                "BENCHMARK_MEDIA_ROOT": "/",
            },
        )
        during = []
        while process.poll() is None:
            during.append(save())
    rows = [
        (
            name,
            f"{len(waits):,}",
            f"{np.median(waits):.1f} ms",
            f"{np.percentile(waits, 99):.1f} ms",
            f"{max(waits):.1f} ms",
        )
        for name, waits in [("nothing", alone), ("embed_products", during)]
    ]
    print(bench.table(rows, ("running beside", "saves", "median", "p99", "longest")))


if __name__ == "__main__":
    main()
