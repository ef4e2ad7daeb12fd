"""Realistic vectors in any number: embeddings of random crops of real pictures, kept in ``.cache``."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from benchmarks import bench

CACHE = Path(".cache")


def crop_vectors(folders: list[Path], count: int) -> NDArray[np.float32]:
    """Return float32 ``[count, dimensions]``: each picture as it is, then random crops of 30 to 100 % of it."""
    from similar_products.encoders import get_encoder

    encoder: Any = get_encoder()
    pictures = [path for folder in folders for path in bench.pictures_below(folder)]
    key = hashlib.sha1("\n".join([encoder.name, str(count), *map(str, pictures)]).encode()).hexdigest()[:12]
    kept = CACHE / f"vectors-{key}.npy"
    if kept.exists():
        return np.load(kept)  # type: ignore[no-any-return]
    random = np.random.default_rng(1)
    vectors, squares = [], []
    for number in tqdm(range(count), desc="vectors of crops", unit=" crops", disable=None):
        squares.append(_crop(pictures[number % len(pictures)], encoder.image_size, number >= len(pictures), random))
        if len(squares) == encoder.batch_size or number == count - 1:
            vectors.append(encoder.encode(np.stack(squares)))
            squares = []
    result: NDArray[np.float32] = np.concatenate(vectors)
    CACHE.mkdir(exist_ok=True)
    np.save(kept, result)
    return result


def picture_vectors(pictures: list[bytes]) -> NDArray[np.float32]:
    """Return the vectors of picture files, float32 ``[pictures, dimensions]``; NaN where one cannot be used."""
    from similar_products.catalogue.vectors import encode_pictures
    from similar_products.encoders import get_encoder
    from similar_products.pictures.gate import load_pixels

    encoder: Any = get_encoder()
    digest = hashlib.sha1(encoder.name.encode())
    for data in pictures:
        digest.update(hashlib.sha1(data).digest())
    kept = CACHE / f"vectors-{digest.hexdigest()[:12]}.npy"
    if kept.exists():
        return np.load(kept)  # type: ignore[no-any-return]
    rows: dict[int, NDArray[np.float32]] = {}
    numbers = tqdm(range(len(pictures)), desc="vectors", unit=" pictures", disable=None)
    for number, found in encode_pictures(
        numbers, lambda number: [load_pixels(pictures[number], encoder.image_size)], encoder
    ):
        if len(found):
            rows[number] = found[0]
    missing = np.full(len(next(iter(rows.values()))), np.nan, np.float32)
    result = np.stack([rows.get(number, missing) for number in range(len(pictures))])
    CACHE.mkdir(exist_ok=True)
    np.save(kept, result)
    return result


def _crop(path: Path, size: int, is_part: bool, random: np.random.Generator) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        image.draft("RGB", (2 * size, 2 * size))
        picture = image.convert("RGB")
    scale = np.sqrt(random.uniform(0.3, 1.0)) if is_part else 1.0
    width, height = max(int(picture.width * scale), 1), max(int(picture.height * scale), 1)
    left = int(random.integers(0, picture.width - width + 1))
    top = int(random.integers(0, picture.height - height + 1))
    box = (left, top, left + width, top + height)
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box))


def fill(vectors: NDArray[np.float32], categories: list[str]) -> list[int]:
    """Make one product for each vector, with the index built after the load, and return their keys."""
    from django.db import connection

    from shop_demo.models import Category, Product
    from similar_products.embedding.index_build import build_index, drop_index
    from similar_products.encoders import get_encoder

    name = get_encoder().name
    rows = {
        category: Category.objects.create(name=category, slug=f"category-{number}")
        for number, category in enumerate(sorted(set(categories)))
    }
    drop_index(Product, "default")
    products = Product.objects.bulk_create(
        (
            Product(
                name=str(number),
                category=rows[category],
                price=number % 1000,
                stock=number % 50,
                image=f"{number}.jpg",
                embedding=vector,
                embedding_source=f"{name}|{number}.jpg",
            )
            for number, (vector, category) in enumerate(zip(vectors, categories, strict=True))
        ),
        batch_size=500,
    )
    build_index(Product, "default")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE shop_demo_product")
    return [product.pk for product in products]
