"""Pictures for the small models that the tests make."""

import numpy as np

from similar_products.pictures.gate import Pixels


def random_pixels(count: int, size: int = 32) -> Pixels:
    return np.random.default_rng(7).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
