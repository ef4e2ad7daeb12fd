import pytest

from tests.catalogues import CATALOGUES, Catalogue, Item, Picture, along, at_angle


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
