"""Precision@10 by category, all products as queries, through the app alone.

The pictures are imported with import_products, embedded with embed_products, and each product's ten nearest
come from similar_to; precision is the share of the ten that have the category of the product.
"""

import time

from benchmarks import bench


def main() -> None:
    arguments = bench.parser(__doc__).parse_args()
    with bench.shop(arguments.model):
        from django.core.management import call_command

        from shop_demo.models import Product

        call_command("import_products", str(arguments.folder))
        call_command("embed_products", "shop_demo.Product")
        nothing = bench.seconds(lambda: bench.run_django("embed_products", "shop_demo.Product"))
        products = list(Product.objects.ready())
        hits = wanted = 0
        started = time.perf_counter()
        for product in products:
            near = [row.category_id for row in Product.objects.similar_to(product)[:10]]
            hits += sum(category == product.category_id for category in near)
            wanted += 10
        each = (time.perf_counter() - started) / len(products)
        print(f"products              {len(products):,}")
        print(f"precision@10          {hits / wanted:.4f}")
        print(f"similar_to(p)[:10]    {each * 1000:.1f} ms on average")
        print(f"embed_products again  {nothing:.1f} s, in a process of its own")


if __name__ == "__main__":
    main()
