"""Which product is kept, and what is reported on the way."""

import pytest

from similar_products.catalogue.duplicates import find_duplicates, keeper_order
from similar_products.catalogue.neighbours import read_catalogue
from tests.catalogues import ENCODER, at_angle
from tests.copied_pictures import add_shirt, drawn, file_of
from tests.models import Shirt, Vase

pytestmark = pytest.mark.django_db


def test_keeper_order__without_a_value_comes_last_and_each_comes_once():
    shelves = [Vase.objects.create(name=str(number)) for number in range(3)]
    from tests.models import Shelf

    for vase, count in zip(shelves, (0, 1, 2), strict=True):
        for _ in range(count):
            Shelf.objects.create().vases.add(vase)
    keys = [vase.pk for vase in shelves]
    assert keeper_order(Vase.objects.all(), ["-shelf"])[-1] == keys[0]
    assert keeper_order(Vase.objects.all(), ["shelf"])[-1] == keys[0]
    Shelf.objects.create().many_vases.set(shelves)
    Shelf.objects.create().many_vases.set(shelves)
    assert sorted(keeper_order(Vase.objects.all(), ["shelves"])) == keys


def test_find_duplicates__counts_the_pictures_it_has_read():
    for number in range(3):
        add_shirt(str(number), file_of(drawn(number)), at_angle(number))
    products = Shirt.objects.all()
    catalogue = read_catalogue(products, encoder_name=ENCODER, using="default")
    done: list[int] = []
    order = keeper_order(products, [])
    assert find_duplicates(
        catalogue, products, near_duplicate=1, order=order, using="default", on_progress=done.append
    ) == []  # fmt: skip
    assert done == [1, 1, 1]
