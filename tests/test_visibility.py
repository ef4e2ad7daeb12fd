"""One place says what may be shown, and a hidden product is neither anchor nor neighbour."""

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.template import Context, RequestContext, Template

from similar_products.search.ranking import ranked
from similar_products.visibility import only_visible, visible_and_similar, visible_products
from tests.catalogues import CATALOGUES, Item, Picture, at_angle
from tests.models import Lamp, Rug, Shirt

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes")]

TAG = "{% load similar_products %}{% similar_products product as found %}{{ found }}"


@pytest.fixture
def rugs() -> list[Rug]:
    items = [Item(f"rug {number}", [Picture(at_angle(number / 10))]) for number in range(4)]
    CATALOGUES["companions of pictures"].fill(items)
    Rug.objects.filter(name="rug 1").update(published=False)
    return [item.row for item in items]


def request_of(rf, user):
    request = rf.get("/")
    request.user = user
    return request


def test_visible_products__default_is_the_default_manager():
    Lamp.embeddings.bulk_create([Lamp(code="a"), Lamp(code="b", published=False)])
    assert [lamp.code for lamp in visible_products(Lamp)] == ["a"]
    assert visible_products(Shirt).count() == 0


def test_visible_products__function_of_the_shop_narrows_it(rugs, rf):
    assert [rug.name for rug in visible_products(Rug).order_by("name")] == ["rug 0", "rug 2", "rug 3"]
    assert visible_products(Rug, request_of(rf, User(is_staff=True))).count() == 4
    assert visible_products(Rug, request_of(rf, AnonymousUser())).count() == 3


def test_only_visible__narrows_any_queryset(rugs, rf):
    some = Rug.objects.filter(name__in=["rug 0", "rug 1"])
    assert [rug.name for rug in only_visible(some)] == ["rug 0"]
    assert only_visible(some, request_of(rf, User(is_staff=True))).count() == 2
    assert only_visible(Shirt.objects.all()).count() == 0


def test_visible_and_similar__hidden_product_is_no_neighbour(rugs, django_assert_num_queries):
    with django_assert_num_queries(1):
        found = list(visible_and_similar(rugs[0])[:2])
    assert [rug.name for rug in found] == ["rug 2", "rug 3"]


def test_visible_and_similar__hidden_product_is_no_anchor(rugs, rf):
    assert not visible_and_similar(rugs[1]).exists()
    assert visible_and_similar(rugs[1], request_of(rf, User(is_staff=True))).count() == 3
    assert ranked(visible_and_similar(rugs[1]), 3) == []


def test_visible_and_similar__deleted_product_is_no_anchor(rugs):
    pk = rugs[0].pk
    rugs[0].delete()
    assert not visible_and_similar(Rug(pk=pk)).exists()


def test_tag__shows_what_the_request_may_see(rugs, rf):
    assert "rug 1" not in Template(TAG).render(Context({"product": rugs[0]}))
    shown = Template(TAG).render(RequestContext(request_of(rf, AnonymousUser()), {"product": rugs[0]}))
    assert "rug 1" not in shown
    assert "rug 2" in shown
    staff = RequestContext(
        request_of(rf, User(is_staff=True)), {"product": rugs[0], "request": request_of(rf, User(is_staff=True))}
    )
    assert "rug 1" in Template(TAG).render(staff)


def test_tag__of_a_hidden_product_is_empty(rugs):
    assert Template(TAG).render(Context({"product": rugs[1]})) == "[]"


def nothing(products, request):
    return None


def sliced(products, request):
    return products[:3]


def combined(products, request):
    return products.union(products)


def of_another_model(products, request):
    return Shirt.objects.all()


@pytest.mark.parametrize(
    ("function", "returned"),
    [(nothing, "None"), (sliced, "QuerySet"), (combined, "QuerySet"), (of_another_model, "SimilarQuerySet")],
)
def test_visible_products__function_that_returns_something_else_is_named(settings, function, returned):
    path = f"tests.test_visibility.{function.__name__}"
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "PRODUCTS": {"tests.Rug": {"VISIBLE": path}}}
    message = rf"{path} returned {returned}; VISIBLE must return a queryset of tests.Rug, neither sliced nor combined."
    with pytest.raises(TypeError, match=message):
        visible_products(Rug)
