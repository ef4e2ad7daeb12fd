"""Drawn pictures, copies of them, and shirts that show them."""

import io
from collections.abc import Callable

import numpy as np
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db.models import QuerySet
from PIL import Image, ImageDraw, ImageOps

from tests.catalogues import ENCODER
from tests.models import Shirt


def drawn(seed: int, size: tuple[int, int] = (320, 320)) -> Image.Image:
    """Return a picture of twenty shapes; another seed gives another."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(int(level) for level in random.integers(150, 256, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(20):
        x, y, width, height = (random.uniform(0, 1, 4) * [*size, *size] * [0.8, 0.8, 0.4, 0.4]).tolist()
        color = tuple(int(level) for level in random.integers(0, 256, 3))
        (draw.ellipse if random.random() < 0.5 else draw.rectangle)((x, y, x + width + 4, y + height + 4), fill=color)
    return image


def file_of(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "recompressed": lambda image: file_of(image, "JPEG", quality=25),
    "resized": lambda image: file_of(image.resize((image.width // 3, image.height // 3))),
    "mirrored": lambda image: file_of(ImageOps.mirror(image)),
    "mirrored and recompressed": lambda image: file_of(ImageOps.mirror(image), "JPEG", quality=40),
    "white border": lambda image: file_of(ImageOps.expand(image, 25, "white")),
    "black border": lambda image: file_of(ImageOps.expand(image, 40, "black"), "JPEG", quality=85),
    "bars": lambda image: file_of(ImageOps.pad(image, (image.width, image.width * 4 // 3), color="grey")),
    "border and mirrored": lambda image: file_of(ImageOps.mirror(ImageOps.expand(image, 30, "teal"))),
}


def store(data: bytes) -> str:
    return default_storage.save("d.png", ContentFile(data))


def add_shirt(name: str, data: bytes, vector: np.ndarray, **values) -> Shirt:
    image = store(data)
    row = Shirt(name=name, image=image, embedding=vector, embedding_source=f"{ENCODER}|{image}", **values)
    return QuerySet[Shirt](Shirt).bulk_create([row])[0]
