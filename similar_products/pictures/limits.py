"""How large a picture may be, in which formats: for what the shop has stored, and for what anybody may send."""

from typing import NamedTuple


class Limits(NamedTuple):
    """Which files are decoded: formats by Pillow's names and for people, bytes of the file, pixels of the picture."""

    formats: tuple[str, ...]
    format_names: str
    max_bytes: int
    max_pixels: int


# MPO is what Pillow calls many phones' JPEGs.
PUBLIC = Limits(
    ("JPEG", "MPO", "PNG", "WEBP", "GIF", "AVIF"), "JPEG, PNG, WebP, GIF and AVIF", 10 * 1024 * 1024, 25_000_000
)
"""For pictures that anybody may send."""
CATALOGUE = Limits(
    (*PUBLIC.formats, "BMP", "TIFF"), "JPEG, PNG, WebP, GIF, AVIF, BMP and TIFF", 64 * 1024 * 1024, 50_000_000
)
"""For pictures that the shop has stored."""


class Region(NamedTuple):
    """A part of the upright picture in fractions of its sides; ``x`` and ``y`` are its upper left corner."""

    x: float
    y: float
    width: float
    height: float


WHOLE = Region(0.0, 0.0, 1.0, 1.0)

MAX_SIDE = 16_384
"""Pixels. A 6-KB PNG of 49,000,000 x 1 pixels took Pillow 1.95 GB: a limit on the area alone is not enough."""
