"""Pictures encoded in batches and in their order, whatever of them can be used."""

import numpy as np
import pytest

from similar_products.catalogue.vectors import BATCHES_AHEAD, encode_pictures
from similar_products.encoders import ColorHistogramEncoder
from similar_products.pictures.cores import count_cores
from similar_products.pictures.gate import ImageRejected


class SmallBatches(ColorHistogramEncoder):
    """Encodes three pictures at a time, and says how many it was given."""

    batch_size = 3

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        batches.append(len(pixels))
        return super().encode(pixels)


batches: list[int] = []


def pictures_of(number: int) -> list[np.ndarray]:
    """Return as many pictures as the number says; of 4 none can be loaded."""
    if number == 4:
        raise ImageRejected("corrupt", "It cannot be read.")
    random = np.random.default_rng(number)
    return [random.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(number)]


def test_encode_pictures__gives_each_item_its_rows_in_order():
    batches.clear()
    encoder = SmallBatches()
    found = list(encode_pictures(iter([1, 4, 0, 5, 2]), pictures_of, encoder))
    assert [(number, len(vectors)) for number, vectors in found] == [(1, 1), (4, 0), (0, 0), (5, 5), (2, 2)]
    for number, vectors in found:
        if len(vectors):
            np.testing.assert_allclose(vectors, encoder.encode(np.stack(pictures_of(number))), atol=1e-6)
    assert max(batches[:4]) <= 3


def test_encode_pictures__takes_a_bounded_number_ahead():
    taken: list[int] = []

    def items():
        for number in range(1_000):
            taken.append(number)
            yield 1

    found = encode_pictures(items(), pictures_of, SmallBatches())
    next(found)
    assert len(taken) <= (max(BATCHES_AHEAD, 2 * count_cores()) + 2) * 3
    found.close()


def test_encode_pictures__raises_what_loading_raises():
    def fail(number: int) -> list[np.ndarray]:
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        list(encode_pictures([1], fail, SmallBatches()))
