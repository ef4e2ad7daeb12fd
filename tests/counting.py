"""Histograms for the tests: two that count, across processes and by batch, and one whose vectors follow its name."""

import os

from similar_products.encoders import ColorHistogramEncoder, Encoder
from similar_products.pictures.gate import Pixels


class CountingEncoder(ColorHistogramEncoder):
    """The histogram; each batch adds its length to the file of ``COUNTED_PICTURES`` as one line."""

    batch_size = 16

    def features(self, pixels: Pixels):
        if name := os.environ.get("COUNTED_PICTURES"):
            descriptor = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(descriptor, f"{len(pixels)}\n".encode())
            os.close(descriptor)
        return super().features(pixels)


class NamedEncoder(ColorHistogramEncoder):
    """The histogram under a name of one's own; each name gives other vectors."""

    name = ""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def features(self, pixels: Pixels):
        return super().features(pixels if self.name == "old" else 255 - pixels)


class Watched(Encoder):
    """The histogram, with a record of its batches."""

    name = "watched"
    dimensions = 1280
    image_size = 32
    batches: list[int] = []  # noqa: RUF012  set anew by the fixture

    def features(self, pixels: Pixels):
        type(self).batches.append(len(pixels))
        return ColorHistogramEncoder().features(pixels)
