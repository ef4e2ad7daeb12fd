import numpy as np
import pytest

from similar_products.encoders import ColorHistogramEncoder
from tests.encoders.small_models import random_pixels


@pytest.mark.parametrize("dimensions", [8, 40, 300, 1280, 1792])
def test_histogram__is_a_unit_vector_of_any_length(dimensions):
    vectors = ColorHistogramEncoder(dimensions=dimensions).encode(random_pixels(4, 32))
    assert vectors.shape == (4, dimensions)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_histogram__like_colors_in_like_places_are_near():
    red, dark_red, blue = (
        np.full((1, 32, 32, 3), color, np.uint8) for color in [(250, 0, 0), (200, 20, 20), (0, 0, 250)]
    )
    vectors = ColorHistogramEncoder().encode(np.concatenate([red, dark_red, blue]))
    assert vectors[0] @ vectors[1] > 0.99
    assert vectors[0] @ vectors[2] < 0.01


def test_histogram__black_picture_has_a_vector():
    assert np.isfinite(ColorHistogramEncoder().encode(np.zeros((1, 32, 32, 3), np.uint8))).all()


def test_histogram__too_few_dimensions_are_refused():
    with pytest.raises(ValueError, match="at least 8"):
        ColorHistogramEncoder(dimensions=7)
