"""A photo drawn for the tests of pictures, and how far the gate's pixels are from it."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from similar_products.pictures.gate import ImageRejected, load_pixels

SIZE = 32
SHARED = Path(__file__).parents[3] / "shared"
"""Beside the repository: what is too large for it."""


def saved(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def photo() -> Image.Image:
    """Return a picture of smooth colours, 96 x 64, whose four corners differ."""
    rows, columns = np.mgrid[0:64, 0:96]
    return Image.fromarray(np.stack([columns * 2, rows * 3, 255 - columns], axis=-1).astype(np.uint8))


def difference(data: bytes, expected: Image.Image | None = None) -> float:
    """Return the largest difference of any colour value to the plain picture, in 0..255."""
    plain = load_pixels(saved(expected or photo(), "PNG"), SIZE).astype(int)
    return float(np.abs(load_pixels(data, SIZE).astype(int) - plain).max())


def mean_difference(data: bytes) -> float:
    plain = load_pixels(saved(photo(), "PNG"), SIZE).astype(int)
    return float(np.abs(load_pixels(data, SIZE).astype(int) - plain).mean())


def rejected(data, *, public: bool = False) -> str:
    with pytest.raises(ImageRejected) as caught:
        load_pixels(data, SIZE, public=public)
    assert str(caught.value).endswith(".")
    return caught.value.code


def png_header(width: int, height: int) -> bytes:
    png = saved(Image.new("1", (1, 1)), "PNG")
    chunk = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[33:]
