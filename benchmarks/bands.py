"""The bands of an encoder on catalogues of several kinds, what their words are worth, and the shipped middle of them.

Each folder is imported with import_products, embedded with embed_products and calibrated with calibrate_similarity; the
words are then held against the categories: the share of all pairs in a band that are of one category.
"""

import json
import tempfile
from itertools import pairwise
from pathlib import Path

from benchmarks import bench

WORDS = ("near-duplicate", "very similar", "similar", "weak")


def main() -> None:
    parser = bench.parser(__doc__, pictures=False)
    parser.add_argument("folders", type=Path, nargs="+", help="Folders, each with a folder of pictures per category.")
    parser.add_argument("--sample", type=int, default=1_000, help="Products of each that are copied (1000).")
    parser.add_argument(
        "--output", type=Path, help="Bands file to write the middle to, as similar_products/bands.json."
    )
    parser.add_argument("--name", action="append", default=[], help="Another name of the same encoder to write it for.")
    arguments = parser.parse_args()
    found, agreement = [], []
    with bench.shop(arguments.model), tempfile.TemporaryDirectory() as scratch:
        from django.core.management import call_command

        from shop_demo.models import Product
        from similar_products.encoders import get_encoder
        from similar_products.search.bands import NAMES, Bands, write_bands

        name = get_encoder().name
        for folder in arguments.folders:
            Product.objects.all().delete()
            call_command("import_products", str(folder))
            call_command("embed_products", "shop_demo.Product")
            path = Path(scratch) / "bands.json"
            call_command("calibrate_similarity", "shop_demo.Product", output=path, sample=arguments.sample)
            entry = json.loads(path.read_text())[name]
            found.append(entry)
            agreement.append(agree(Bands(*(entry[band] for band in NAMES))))
        labels = [folder.name for folder in arguments.folders]
        print(bench.table([(band, *(f"{entry[band]:.3f}" for entry in found)) for band in NAMES], ("from", *labels)))
        rows = [(word, *(shares[number] for shares in agreement)) for number, word in enumerate(WORDS)]
        print(bench.table(rows, ("pairs of one category", *labels)))
        middle = Bands(*(round(sum(entry[band] for entry in found) / len(found), 2) for band in NAMES))
        print(middle)
        if arguments.output:
            stands_on = "; ".join(
                f"{label}, {entry['measured'].partition(' products')[0]} photos, gave "
                + ", ".join(f"{entry[band]:.3f}" for band in NAMES)
                for label, entry in zip(labels, found, strict=True)
            )
            for one in (name, *arguments.name):
                write_bands(arguments.output, one, middle, measured=f"python -m benchmarks.bands: {stands_on}.")


def agree(bands) -> list[str]:
    """Return for each word the share of pairs in its band that have one category, and their number."""
    import numpy as np

    from shop_demo.models import Product
    from similar_products.catalogue.neighbours import rankings, read_catalogue
    from similar_products.encoders import get_encoder

    catalogue = read_catalogue(Product.objects.all(), encoder_name=get_encoder().name, using="default")
    category_of = dict(Product.objects.values_list("pk", "category"))
    categories = np.array([category_of[owner] for owner in catalogue.owners.tolist()])
    edges = (2.0, bands.near_duplicate, bands.very_similar, bands.similar, -2.0)
    pairs, same = np.zeros(len(WORDS), int), np.zeros(len(WORDS), int)
    for query, positions, similarities in rankings(catalogue):
        agrees = categories[positions] == categories[query]
        for number, (above, least) in enumerate(pairwise(edges)):
            is_in = (similarities < above) & (similarities >= least)
            pairs[number] += is_in.sum()
            same[number] += agrees[is_in].sum()
    return [f"{count / max(total, 1):.2f} of {total // 2:,}" for count, total in zip(same, pairs, strict=True)]


if __name__ == "__main__":
    main()
