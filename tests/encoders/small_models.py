"""Pictures for the small models that the tests make, and encoders that TensorFlow computes in this process."""

from pathlib import Path
from typing import TypeVar

import numpy as np

from similar_products.encoders.conversion import get_folder
from similar_products.encoders.converter import write_converted
from similar_products.encoders.model import ModelEncoder
from similar_products.pictures.gate import Pixels

EncoderT = TypeVar("EncoderT", bound=ModelEncoder)


def random_pixels(count: int, size: int = 32) -> Pixels:
    return np.random.default_rng(7).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def by_tensorflow(encoder: EncoderT) -> EncoderT:
    """Return the encoder with its model as TensorFlow reads it, before any conversion."""
    encoder.use(encoder.read())
    return encoder


def converted(encoder: EncoderT) -> EncoderT:
    """Return the encoder with its model converted in this process, which has TensorFlow already."""
    folder: Path = get_folder()
    folder.mkdir(parents=True, exist_ok=True)
    if encoder.needs_preparing:
        write_converted(encoder, folder, lambda step: None)
    return encoder
