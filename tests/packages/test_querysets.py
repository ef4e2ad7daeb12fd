"""Rows of ``similar_to`` through querysets and iterables of other packages: each with its similarity, in order, all."""

import pytest

from similar_products.query import ranked, similar_to
from tests.drawn_pictures import picture_file
from tests.packages.shop.models import (
    Bowl,
    Cup,
    Glass,
    Jug,
    Kettle,
    LargeBowl,
    LargeJug,
    LargePot,
    Mug,
    Pan,
    Pot,
    Tray,
)

pytestmark = pytest.mark.django_db(transaction=True)

COLORS = ("red", "crimson", "blue", "navy", "green", "orange")
KINDS = {
    Pot: LargePot,
    Bowl: LargeBowl,
    Jug: LargeJug,
    Mug: Mug,
    Cup: Cup,
    Glass: Glass,
    Tray: Tray,
    Kettle: Kettle,
    Pan: Pan,
}


@pytest.fixture(params=KINDS, ids=lambda model: model.__name__)
def products(request):
    """Gives the rows of a model, every second one of its child where it has one, with vectors."""
    for place, color in enumerate(COLORS):
        model = KINDS[request.param] if place % 2 else request.param
        add = Cup.add_root if model is Cup else model.objects.create
        add(name=color, image=picture_file(color))
    return request.param.objects.order_by("pk")


def children(rows) -> set[type]:
    return {type(row) for row in rows}


@pytest.mark.parametrize(
    "narrow",
    [
        lambda found: found[:4],
        lambda found: found[2:4],
        lambda found: found,
        lambda found: found[:4].iterator(chunk_size=2),
        lambda found: found.filter(name__gt="c")[:3] if found.model is not Tray else found[:3],
        lambda found: ranked(found, 3),
        lambda found: ranked(found, 3, diversity=0.3),
    ],
    ids=["slice", "offset", "all", "iterator", "filtered", "ranked", "diverse"],
)
def test_similar_to__rows_have_their_similarity_and_are_in_order(products, narrow):
    rows = list(narrow(similar_to(products, products[0])))
    distances = [row.distance for row in rows]
    assert len(rows) >= 2
    assert distances == sorted(distances)
    assert [row.similarity for row in rows] == pytest.approx([1 - distance for distance in distances])
    assert len({row.pk for row in rows}) == len(rows)


@pytest.mark.parametrize("products", [Pot, Jug], indirect=True)
def test_similar_to__rows_of_django_polymorphic_are_of_their_own_class(products):
    child = KINDS[products.model]
    similar = similar_to(products, products[0])
    assert children(similar[:4]) == {products.model, child}
    assert children(similar.instance_of(child)[:2]) == {child}
    plain = similar.non_polymorphic()[:4]
    assert children(plain) == {products.model}
    assert all(0 <= row.similarity <= 1 for row in plain)


@pytest.mark.parametrize("products", [Bowl], indirect=True)
def test_similar_to__rows_of_django_model_utils_are_of_their_own_class(products):
    first = products[0]
    for similar in (similar_to(products.select_subclasses(), first), similar_to(products, first).select_subclasses()):
        assert children(similar[:4]) == {Bowl, LargeBowl}
        assert all(0 <= row.similarity <= 1 for row in [*similar[:4], *ranked(similar, 3)])


@pytest.mark.parametrize("products", [Glass], indirect=True)
def test_similar_to__rows_of_django_tree_queries_have_their_tree(products):
    similar = similar_to(products.with_tree_fields(), products[0])[:4]
    assert [row.tree_depth for row in similar] == [0] * 4
    assert all(0 <= row.similarity <= 1 for row in similar)


def test_similar_to__of_a_translated_picture_is_the_same_in_every_language():
    """django-modeltranslation reads another column for each; the vector is of the one that the database calls image."""
    from django.utils.translation import override

    first, second = (Pan.objects.create(name=color, image=picture_file(color)) for color in ("red", "blue"))
    for language in ("en", "de"):
        with override(language):
            assert list(Pan.objects.similar_to(first)) == [second]
            assert Pan.objects.ready().count() == 2
