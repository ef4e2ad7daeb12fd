"""Copies and crops of a picture."""

import numpy as np
import pytest

from similar_products.catalogue.copies import mild_copies, random_crop
from similar_products.pictures.gate import load_pixels
from tests.drawn_pictures import picture_bytes


def pixels_of(*colors: str) -> np.ndarray:
    return load_pixels(picture_bytes(*colors, size=(200, 200)), 128)


def test_mild_copies__are_other_files_of_the_same_picture():
    pixels = pixels_of("tomato", "navy", "gold")
    copies = {what: load_pixels(data, 128) for what, data in mild_copies(pixels).items()}
    assert sorted(copies) == ["brightened", "halved", "recompressed", "trimmed"]
    for what, copy in copies.items():
        assert not np.array_equal(copy, pixels), what
        assert np.abs(copy.astype(int) - pixels).mean() < 12, what
    brighter = load_pixels(mild_copies(pixels_of("white", "gray"))["brightened"], 128)
    assert brighter[0, 0].tolist() == [255, 255, 255]
    assert 128 < brighter[0, -1, 0] < 150


def test_random_crop__takes_its_share_from_the_same_place_at_every_size():
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(256, axis=0).repeat(3, axis=2)
    crops = [load_pixels(random_crop(ramp[::step, ::step], 0.25, np.random.default_rng(7)), 64) for step in (1, 2)]
    starts = [int(crop[0, 0, 0]) for crop in crops]
    assert abs(starts[0] - starts[1]) <= 4
    assert np.ptp(crops[0][0, :, 0]) == pytest.approx(126, abs=4)
