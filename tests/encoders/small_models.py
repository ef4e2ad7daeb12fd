import numpy as np

from similar_products.pictures.gate import Pixels


def random_pixels(count: int, size: int) -> Pixels:
    return np.random.default_rng(7).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
