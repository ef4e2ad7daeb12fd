"""Search by a photo of a part: how often a crop of a catalogue picture finds its product first, and among the first 10.

The crops, of 60 and of 30 % of the area, are taken anywhere in the picture at its own resolution and aspect, seeded,
and saved anew as JPEG of quality 85. Each goes to the endpoint as a photo, through the view and the decoder process.
First the encoder given answers, then the model in the package, with the same crops. With ``--model`` less than 95 %
of the crops of 60 % finding their product first ends the benchmark with exit code 1.
"""

import io
import sys
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from benchmarks import bench

SHARES = (0.6, 0.3)
MIN_FIRST = 0.95
"""Of the crops of 60 %, with the encoder given."""
JPEG_QUALITY = 85
LIMIT = 10
SEED = 1


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--tries", type=int, default=300, help="Pictures to take crops of (300).")
    arguments = parser.parse_args()
    if arguments.tries < 1:
        parser.error("--tries is at least 1.")
    with bench.shop(arguments.model):
        from django.conf import settings
        from django.core.management import call_command
        from django.test import override_settings

        from shop_demo.models import Product
        from similar_products.encoders import get_encoder

        call_command("import_products", str(arguments.folder))
        products = list(Product.objects.order_by("category__name", "name", "pk"))
        order = np.random.default_rng(SEED).permutation(len(products))[: arguments.tries]
        asked = [products[number] for number in order]
        embedded = {**settings.SIMILAR_PRODUCTS, "ENCODER": {"BACKEND": "similar_products.encoders.TFHubEncoder"}}
        lines: list[tuple[str, ...]] = []
        first: list[float] = []
        for given in (settings.SIMILAR_PRODUCTS, embedded):
            with override_settings(SIMILAR_PRODUCTS=given):
                name = get_encoder().name
                if any(line[0] == name for line in lines):
                    continue
                call_command("embed_products", "shop_demo.Product")
                for share in SHARES:
                    found = search(asked, share)
                    first.append(found.count(1) / len(asked))
                    among = sum(rank is not None for rank in found) / len(asked)
                    lines.append((name, f"{share:.0%}", f"{first[-1]:.3f}", f"{among:.3f}"))
    print(f"\n{len(products):,} products, {len(asked):,} crops of each size\n")
    print(bench.table(lines, ("encoder", "of the area", "first", f"among {LIMIT}")))
    if arguments.model and first[0] < MIN_FIRST:
        sys.exit(f"{first[0]:.3f} of the crops of 60 % found their product first, less than {MIN_FIRST}.")


def search(products: list[Any], share: float) -> list[int | None]:
    """Return the rank at which a crop of each product's picture finds it, ``None`` for none of the first ``LIMIT``."""
    from django.test import Client

    client = Client(SERVER_NAME="127.0.0.1")
    ranks: list[int | None] = []
    refused: list[str] = []
    for number, product in enumerate(tqdm(products, desc=f"crops of {share:.0%}", unit=" crops", disable=None)):
        photo = io.BytesIO(crop(product.image, share, np.random.default_rng([SEED, number])))
        photo.name = "photo.jpg"
        # Each from an address of its own, so that no throttle answers.
        address = f"10.0.{number // 250 % 250}.{number % 250 + 1}"
        response = client.post(f"/api/products/search/?limit={LIMIT}", {"image": photo}, REMOTE_ADDR=address)
        if response.status_code == 200:
            results = response.json()["results"]
            ranks.append(next((row["rank"] for row in results if row["product"]["id"] == product.pk), None))
        elif response.status_code == 400 and response.json()["code"] == "blank":
            ranks.append(None)
            refused.append(product.name)
        else:
            sys.exit(f"The crop of {product.name} was answered {response.status_code}: {response.content.decode()}")
    if refused:
        print(f"{len(refused)} crops of {share:.0%} were refused as blank, and count as not found: {refused}")
    return ranks


def crop(file: Any, share: float, random: np.random.Generator) -> bytes:
    """Return a JPEG of ``share`` of the area of a picture, taken anywhere in it."""
    with file.open("rb") as stream, Image.open(stream) as image:
        picture = ImageOps.exif_transpose(image).convert("RGB")
    width, height = (max(round(side * share**0.5), 1) for side in picture.size)
    left, top = (
        int(random.integers(0, whole - part + 1)) for whole, part in zip(picture.size, (width, height), strict=True)
    )
    buffer = io.BytesIO()
    picture.crop((left, top, left + width, top + height)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
