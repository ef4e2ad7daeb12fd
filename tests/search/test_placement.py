"""Where vectors stand, and what is said of a declaration that leads nowhere."""

import pytest
from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.db.models import OuterRef, Subquery
from django.test.utils import isolate_apps

from similar_products.models import VisuallySimilarModel
from similar_products.search.placement import first_picture, get_placement, picture_of
from tests.catalogues import CATALOGUES, Item, Picture, at_angle
from tests.models import Rug, Shirt, Vase

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes")]


def names(rows) -> list[str]:
    return [row.name for row in rows]


@pytest.mark.parametrize(
    ("through", "message"),
    [("shelf", "leads to tests.Shelf, which is not derived from"), ("nothing", "no field named 'nothing'")],
)
def test_placement__wrong_relation_is_named(through, message):
    with pytest.raises((TypeError, FieldDoesNotExist), match=message):
        get_placement(Vase, through)


@pytest.mark.parametrize("through", ["name", "orders__id"])
def test_placement__through_a_field_that_is_no_relation_is_refused(through):
    with pytest.raises(TypeError, match=r"which is no relation to a model that leads back again. Name foreign keys,"):
        get_placement(Shirt, through)


@isolate_apps("tests")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("picture", r"tests.Tile has no field 'picture'; it has no file field at all"),
        ("name", r"tests.Tile.name is no ImageField or FileField"),
        ("name__image", r"tests.Tile.name is no foreign key or one-to-one relation"),
    ],
)
def test_picture_field__that_leads_nowhere_is_named(path, message):
    class Tile(VisuallySimilarModel):
        similar_image = path
        name = models.CharField(max_length=10)

        class Meta:
            app_label = "tests"

    with pytest.raises(FieldDoesNotExist, match=message):
        get_placement(Tile)


def test_placement__is_worked_out_once_and_follows_the_settings(settings):
    assert get_placement(Rug) is get_placement(Rug, "photos__look")
    assert get_placement(Rug).several
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "PRODUCTS": {}}
    with pytest.raises(TypeError, match=r"tests.Rug, which is not derived from VisuallySimilarModel"):
        get_placement(Rug)


def test_first_picture__is_the_same_in_a_query_and_in_a_subquery():
    catalogue = CATALOGUES["companions of pictures"]
    items = [Item("a", [Picture(at_angle(0.1)), Picture(at_angle(0.2))]), Item("b")]
    catalogue.fill(items)
    names = Subquery(first_picture(get_placement(Rug), OuterRef("pk")))
    assert list(Rug.objects.annotate(first=names).order_by("name").values_list("first", flat=True)) == ["a-0.png", None]
    assert [getattr(picture_of(item.row), "name", None) for item in items] == ["a-0.png", None]
