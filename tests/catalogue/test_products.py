"""Rows and names of pictures asked for page by page, and pictures read in their order."""

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.db.models import QuerySet

from similar_products.catalogue import products
from similar_products.catalogue.neighbours import read_catalogue
from similar_products.catalogue.products import picture_names, read_pictures, read_products, ready_keys
from tests.catalogues import ENCODER, at_angle
from tests.drawn_pictures import picture_file
from tests.models import Shirt

pytestmark = pytest.mark.django_db


@pytest.fixture
def shirts(monkeypatch) -> list[Shirt]:
    """Five shirts with a vector, and pages of two."""
    monkeypatch.setattr(products, "KEYS_PER_QUERY", 2)
    rows = [Shirt(name=str(number), image=f"{number}.png", embedding=at_angle(number)) for number in range(5)]
    for row in rows:
        row.embedding_source = f"{ENCODER}|{row.image.name}"
    return QuerySet(Shirt).bulk_create(rows)


def test_pages__do_not_show(shirts, django_assert_num_queries):
    keys = [shirt.pk for shirt in shirts]
    assert ready_keys(Shirt.objects.all(), using="default") == keys
    with django_assert_num_queries(3):
        assert list(read_products(Shirt.objects.all(), keys)) == keys
    catalogue = read_catalogue(Shirt.objects.all(), encoder_name=ENCODER, using="default")
    shirts[3].delete()
    with django_assert_num_queries(3):
        names = list(picture_names(catalogue, Shirt, np.arange(5), "default"))
    assert names == [(row, f"{row}.png") for row in (0, 1, 2, 4)]


def test_read_pictures__gives_pixels_or_the_code_in_order():
    name = default_storage.save("p.png", picture_file("red"))
    done: list[int] = []
    found = read_pictures(
        default_storage,
        [name, "", "gone.png", name],
        32,
        lambda picture: picture if isinstance(picture, str) else picture.shape,
        on_progress=done.append,
    )
    assert found == [(32, 32, 3), "missing_file", "missing_file", (32, 32, 3)]
    assert done == [1, 1, 1, 1]
