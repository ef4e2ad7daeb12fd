import json
from pathlib import Path

import pytest

from tests.catalogues import CATALOGUES, ENCODER, Catalogue, Item, Picture, along, at_angle


@pytest.fixture(params=CATALOGUES)
def catalogue(request) -> Catalogue:
    return CATALOGUES[request.param]


@pytest.fixture
def items(catalogue) -> list[Item]:
    """Twelve products at 0, 0.1 ... 1.1 radians; where there are several pictures, each has one far from all."""
    made = [
        Item(
            f"item {number:02}",
            [Picture(at_angle(number / 10)), *([Picture(along(number + 2))] if catalogue.several else [])],
        )
        for number in range(12)
    ]
    catalogue.fill(made)
    return made


@pytest.fixture
def bands(settings, tmp_path) -> Path:
    """Near-duplicates are up to 0.14 radians apart, very similar ones 0.45, similar ones 1.05."""
    path = tmp_path / "bands.json"
    path.write_text(json.dumps({ENCODER: {"near_duplicate": 0.99, "very_similar": 0.9, "similar": 0.5}}))
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "BANDS": path}
    return path
