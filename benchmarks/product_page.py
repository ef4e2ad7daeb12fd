"""Server time of the demo shop's pages: requests through Django's handler with all middleware, DEBUG off.

The shop is drawn and embedded as ``manage.py demo`` does it; each request opens another product.
"""

import random
from functools import partial
from typing import Any

import numpy as np

from benchmarks import bench


def main() -> None:
    parser = bench.parser(__doc__, pictures=False)
    parser.add_argument("--products", type=int, default=260, help="Products in the shop (260, as the demo has).")
    parser.add_argument("--requests", type=int, default=300, help="Requests of each page (300).")
    arguments = parser.parse_args()
    with bench.shop(arguments.model):
        from django.core.management import call_command
        from django.test import Client

        from shop_demo.models import Category, Product

        call_command("seed_shop", products=arguments.products, verbosity=0)
        call_command("embed_products", verbosity=0)
        client = Client(SERVER_NAME="localhost")

        dice = random.Random(0)
        products = dice.choices(list(Product.objects.all()), k=arguments.requests)
        categories = dice.choices(list(Category.objects.all()), k=arguments.requests)
        pages: dict[str, list[str]] = {
            "product": [product.get_absolute_url() for product in products],
            "home": ["/"] * arguments.requests,
            "category": [category.get_absolute_url() for category in categories],
            "search by photo": ["/search/"] * arguments.requests,
        }
        rows = []
        for name, paths in pages.items():
            for path in paths[:20]:  # warm
                visit(client, path)
            times = [bench.seconds(partial(visit, client, path)) * 1000 for path in paths]
            rows.append((name, f"{np.median(times):.1f} ms", f"{np.percentile(times, 95):.1f} ms"))
    print(f"{arguments.products:,} products, {arguments.requests:,} requests of each page\n")
    print(bench.table(rows, ("page", "median", "95 % below")))


def visit(client: Any, path: str) -> None:
    status = client.get(path).status_code
    assert status == 200, f"{path} answers {status}"


if __name__ == "__main__":
    main()
