"""What the tests of the API share."""

import json

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from rest_framework.test import APIClient

from tests.catalogues import CATALOGUES, ENCODER, Item, Picture, add_shirt, along, at_angle
from tests.models import Rug, Shirt
from tests.rest_framework.answers import colored_shirt


@pytest.fixture(autouse=True)
def _api(settings):
    settings.ROOT_URLCONF = "tests.api"
    cache.clear()


@pytest.fixture
def client() -> APIClient:
    return APIClient()


@pytest.fixture
def staff() -> APIClient:
    client = APIClient()
    client.force_authenticate(User.objects.create(username="staff", is_staff=True))
    return client


@pytest.fixture
def change(settings):
    """Return a function that changes keys of the app's settings."""

    def do(**keys):
        settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, **keys}

    return do


@pytest.fixture
def bands(change, tmp_path) -> None:
    path = tmp_path / "bands.json"
    path.write_text(json.dumps({ENCODER: {"near_duplicate": 0.999, "very_similar": 0.9, "similar": 0.5}}))
    change(BANDS=path)


@pytest.fixture
def rugs() -> list[Rug]:
    """Six rugs at 0, 0.1 ... 0.5 radians, of which the second is hidden; each has a picture far from all, too."""
    items = [Item(f"rug {number}", [Picture(along(number + 2)), Picture(at_angle(number / 10))]) for number in range(6)]
    CATALOGUES["companions of pictures"].fill(items)
    Rug.objects.filter(name="rug 1").update(published=False)
    return [item.row for item in items]


@pytest.fixture
def shirts() -> list[Shirt]:
    return [add_shirt(f"shirt {number}", number / 10) for number in range(9)]


@pytest.fixture
def colors() -> list[Shirt]:
    return [colored_shirt(*pair) for pair in (("red", "blue"), ("red", "lime"), ("black", "white"), ("blue", "yellow"))]


@pytest.fixture
def rates(settings):
    def do(**rates):
        settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": rates}

    return do
