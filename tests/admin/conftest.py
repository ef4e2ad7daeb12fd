import pytest

from tests.drawn_pictures import picture_file
from tests.models import Shirt


@pytest.fixture(autouse=True)
def _media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def change(settings):
    """Return a function that changes keys of ``SIMILAR_PRODUCTS``."""

    def set_keys(**keys):
        settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, **keys}

    return set_keys


@pytest.fixture
def colored():
    """Three shirts whose pictures are there, and pending."""
    Shirt.objects.bulk_create(
        [
            Shirt(name=name, image=picture_file(*colors))
            for name, colors in {"a": ("red", "lime"), "b": ("red", "blue"), "c": ("lime", "blue")}.items()
        ]
    )
    return list(Shirt.objects.order_by("name"))
