"""Bands that descend, whatever was measured."""

import pytest

from similar_products.catalogue.calibration import separate_bands


@pytest.mark.parametrize(
    ("given", "bands", "notes"),
    [
        ((0.92, 0.74, 0.66), (0.92, 0.74, 0.66), 0),
        ((0.92, 0.919, 0.66), (0.92, 0.91, 0.66), 1),
        ((0.92, 0.74, 0.8), (0.92, 0.74, 0.73), 1),
        ((1.0000001, 0.74, -0.3), (1.0, 0.74, 0.01), 1),
        ((0.5, 0.6, 0.7), (0.5, 0.49, 0.48), 2),
        ((-1.0, -1.0, -1.0), (0.03, 0.02, 0.01), 3),
    ],
)
def test_separate_bands__descends_and_says_what_gave_way(given, bands, notes):
    found, said = separate_bands(*given)
    assert (found.near_duplicate, found.very_similar, found.similar) == pytest.approx(bands)
    assert len(said) == notes


def test_separate_bands__names_the_figure_that_gave_way():
    (note,) = separate_bands(0.92, 0.74, 0.8)[1]
    assert note == (
        "similar was measured as 0.800 and set to 0.730, so that the bands descend from 1 to 0; the catalogue is too "
        "small or its products are too much alike for this figure."
    )
