"""Peak memory of an embed_products process for a small and a larger catalogue: it must not grow."""

import sys

from benchmarks import bench


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 3_000], help="Catalogues to compare (500 3000).")
    arguments = parser.parse_args()
    pictures = [path.resolve() for path in bench.pictures_below(arguments.folder)]
    peaks = []
    with bench.shop(arguments.model):
        from shop_demo.models import Category, Product

        category = Category.objects.create(name="all", slug="all")
        for size in arguments.sizes:
            Product.objects.all().delete()
            Product.objects.bulk_create(
                Product(name=str(number), category=category, price=1, image=str(pictures[number % len(pictures)]))
                for number in range(size)
            )
            usage = bench.run_django("embed_products", "shop_demo.Product", media="/")
            kilobytes = usage.ru_maxrss // (1024 if sys.platform == "darwin" else 1)
            peaks.append(kilobytes / 1024)
    rows = [
        (f"{size:,} pictures", f"{peak:,.0f} MB", f"{peak / peaks[0]:.3f}")
        for size, peak in zip(arguments.sizes, peaks, strict=True)
    ]
    print(bench.table(rows, ("catalogue", "peak memory", "of the first")))


if __name__ == "__main__":
    main()
