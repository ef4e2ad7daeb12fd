"""Altered copies of a picture as they occur in catalogues: recompressed, smaller, trimmed, brightened, cropped.

They are made of pixels that have passed the gate, and become bytes that pass it again.
"""

import io

import numpy as np
from PIL import Image

from ..pictures.gate import Pixels

JPEG_QUALITY = 60
TRIMMED = 0.04
"""Part of the side that is cut off on each edge."""
GAMMA = 0.9
"""Lifts the middle by 7 % and leaves white white. Multiplied by 1.1, pale furniture on a pale ground vanished in white:
the 5th percentile of 1,000 such copies was 0.825 instead of 0.995."""


def mild_copies(pixels: Pixels) -> dict[str, bytes]:
    """Return files of copies of uint8 ``[side, side, 3]`` by what was done to it, in which a person sees no other.

    "recompressed": as JPEG of quality 60; "halved": to half the side; "trimmed": 4 % off each edge; "brightened":
    in the middle tones.
    """
    image = Image.fromarray(pixels)
    side, margin = image.width, round(image.width * TRIMMED)
    brighter = np.rint(255 * (pixels / np.float32(255)) ** GAMMA).astype(np.uint8)
    return {
        "recompressed": file_of(image, "JPEG", quality=JPEG_QUALITY),
        "halved": file_of(image.resize((max(side // 2, 1),) * 2, Image.Resampling.LANCZOS), "PNG", compress_level=1),
        "trimmed": file_of(image.crop((margin, margin, side - margin, side - margin)), "PNG", compress_level=1),
        "brightened": file_of(Image.fromarray(brighter), "PNG", compress_level=1),
    }


def random_crop(pixels: Pixels, share: float, random: np.random.Generator) -> bytes:
    """Return the file of a square of ``share`` of the area of uint8 ``[side, side, 3]``, taken anywhere in it.

    One state of ``random`` takes the same place of a picture at every resolution.
    """
    side = len(pixels)
    cut = max(round(side * share**0.5), 1)
    top, left = (random.random(2) * (side - cut + 1)).astype(int)
    return file_of(Image.fromarray(pixels[top : top + cut, left : left + cut]), "PNG", compress_level=1)


def file_of(image: Image.Image, kind: str, **options: int) -> bytes:
    """Return the image as a file of this kind, with Pillow's options for it."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
