"""What find_duplicates finds of copies planted among the pictures of a folder: 50 each recompressed, resized, mirrored
and with a border.

The copies are of pictures drawn by chance, each of another one, and stand in the catalogue as products of their own.
First the folder is searched without them: what is found there are its own duplicates, listed for people to judge. Every
pair that is found among all and is not a planted one counts against precision, its own duplicates included, but for
those of the same bytes.
"""

import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from benchmarks import bench
from benchmarks.vectors import picture_vectors

KINDS = ("recompressed", "resized", "mirrored", "bordered")
SEED = 11


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--pictures", type=int, default=3_000, help="Of the folder, drawn by chance (3000).")
    parser.add_argument("--copies", type=int, default=50, help="Of each kind (50).")
    arguments = parser.parse_args()
    random = np.random.default_rng(SEED)
    paths = bench.pictures_below(arguments.folder)
    base = [paths[number] for number in np.sort(random.permutation(len(paths))[: arguments.pictures])]
    sources = random.permutation(len(base))[: len(KINDS) * arguments.copies]
    with bench.shop(arguments.model):
        pictures = [path.read_bytes() for path in base]
        kinds = [KINDS[number % len(KINDS)] for number in range(len(sources))]
        copies = [copy_of(pictures[source], kind, random) for source, kind in zip(sources, kinds, strict=True)]
        vectors = picture_vectors([*pictures, *copies])
        keys = fill(pictures, vectors[: len(pictures)])
        own = found()
        copy_keys = fill(copies, vectors[len(pictures) :], first=len(pictures))
        planted = {
            frozenset((keys[source], copy)): kind for source, copy, kind in zip(sources, copy_keys, kinds, strict=True)
        }
        pairs = found()
    hits = Counter(planted[pair] for pair in pairs if pair in planted)
    words = {kind: Counter(word for pair, word in pairs.items() if planted.get(pair) == kind) for kind in KINDS}
    others = [pair for pair, word in pairs.items() if pair not in planted and word != "same file"]
    print(
        f"{len(pictures):,} pictures of {arguments.folder.name} alone: {len(own):,} pairs, "
        f"{dict(Counter(own.values()))}"
    )
    rows = [
        (kind, f"{kinds.count(kind)}", f"{hits[kind]}", f"{hits[kind] / kinds.count(kind):.3f}", _said(words[kind]))
        for kind in KINDS
    ]
    total = sum(hits.values())
    rows.append(("all", f"{len(planted)}", f"{total}", f"{total / len(planted):.3f}", ""))
    print(bench.table(rows, ("planted", "copies", "found", "recall", "said to be")))
    print(
        f"precision {total / (total + len(others)):.4f}: {len(others)} other pairs, "
        f"{dict(Counter(pairs[pair] for pair in others))}"
    )
    name_of = dict(zip(keys, base, strict=True)) | {
        copy: f"{kind} copy of {base[source]}" for copy, kind, source in zip(copy_keys, kinds, sources, strict=True)
    }
    for title, listed in (
        ("its own", own),
        ("other", others),
        ("missed", [pair for pair in planted if pair not in pairs]),
    ):
        for pair in listed:
            print(f"{title}: {' and '.join(str(name_of[key]) for key in sorted(pair))}")


def copy_of(data: bytes, kind: str, random: np.random.Generator) -> bytes:
    """Return a file of the picture as one meets it again: the strength is drawn for each."""
    with Image.open(io.BytesIO(data)) as file:
        picture = ImageOps.exif_transpose(file).convert("RGB")
    if kind == "recompressed":
        return jpeg(picture, int(random.integers(20, 61)))
    if kind == "resized":
        share = random.uniform(0.25, 0.75)
        size = (max(round(picture.width * share), 1), max(round(picture.height * share), 1))
        return jpeg(picture.resize(size, Image.Resampling.LANCZOS), 90)
    if kind == "mirrored":
        return jpeg(ImageOps.mirror(picture), 90)
    width = max(round(random.uniform(0.03, 0.15) * min(picture.size)), 1)
    drawn = tuple(int(level) for level in random.integers(0, 256, 3))
    color = [(255, 255, 255), (0, 0, 0), (128, 128, 128), drawn][int(random.integers(4))]
    return jpeg(ImageOps.expand(picture, width, color), 90)


def jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def fill(pictures: list[bytes], vectors: np.ndarray, *, first: int = 0) -> list[int]:
    """Make a product of each picture, with its vector where it has one, and return their keys."""
    from django.conf import settings
    from django.db.models import QuerySet

    from shop_demo.models import Category, Product
    from similar_products.encoders import get_encoder

    category = Category.objects.get_or_create_named("pictures")
    media = Path(settings.MEDIA_ROOT)
    rows = []
    for number, (data, vector) in enumerate(zip(pictures, vectors, strict=True), first):
        (media / f"{number}.jpg").write_bytes(data)
        source = f"{get_encoder().name}|{number}.jpg"
        rows.append(
            Product(name=str(number), category=category, price=1, stock=1, image=f"{number}.jpg")
            if np.isnan(vector).any()
            else Product(
                name=str(number),
                category=category,
                price=1,
                stock=1,
                image=f"{number}.jpg",
                embedding=vector,
                embedding_source=source,
            )
        )
    return [row.pk for row in QuerySet[Product](Product).bulk_create(rows, batch_size=500)]


def found() -> dict[frozenset[int], str]:
    """Return the pairs of keeper and duplicate that the command finds, each with its kind."""
    from django.core.management import CommandError, call_command

    out = io.StringIO()
    try:
        call_command("find_duplicates", "shop_demo.Product", "--json", stdout=out)
    except CommandError as error:
        if error.returncode != 1:
            raise
    return {
        frozenset((group["keep"], one["product"])): one["kind"]
        for group in json.loads(out.getvalue())["groups"]
        for one in group["duplicates"]
    }


def _said(words: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in words.most_common())


if __name__ == "__main__":
    main()
