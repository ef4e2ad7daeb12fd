"""axe-core against every page of the demo shop and its states, in light and dark, at desktop and phone width."""

import pytest

from shop_demo.models import Product
from tests.accessibility import violations

pytest_plugins = ("tests.browser", "tests.shop")
pytestmark = pytest.mark.django_db(transaction=True)

SCHEMES = ("light", "dark")
WIDTHS = (1280, 360)
DESTROYED = "<p style='color: #999'>Pale</p><img src='data:,'><input><a href='/'></a>"


def violations_everywhere(page):
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            found += [f"{scheme}, {width} px: {line}" for line in violations(page)]
    return found


@pytest.fixture
def shop(products, live_server, page):
    """Return a function that opens a path of the shop."""
    return lambda path: page.goto(live_server.url + path) and page


@pytest.fixture
def search(shop, photo_of_two):
    page = shop("/search/")
    photo = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": photo_of_two}
    page.get_by_label("Choose a photo").set_input_files(photo)
    page.locator("#results > li").first.wait_for()
    return page


@pytest.mark.parametrize("path", ["/", "/?q=nothing&in_stock=on", "/?page=2", "/search/", "/products/0/"])
def test_page__has_no_violation(shop, path, monkeypatch):
    monkeypatch.setattr("shop_demo.views.PRODUCTS_PER_PAGE", 2)
    assert violations_everywhere(shop(path)) == []


@pytest.mark.parametrize("number", [0, 1, 3], ids=["plain", "sold out", "with both strips"])
def test_product__has_no_violation(shop, products, number):
    assert violations_everywhere(shop(products[number].get_absolute_url())) == []


def test_category_and_product_without_picture_have_no_violation(shop, products):
    Product.objects.filter(pk=products[0].pk).update(image="", embedding=None, embedding_source="")
    for path in (products[0].category.get_absolute_url(), products[0].get_absolute_url()):
        page = shop(path)
        assert page.get_by_text("No picture").is_visible()
        assert violations_everywhere(page) == []


def test_error__has_no_violation(shop, monkeypatch):
    monkeypatch.setattr("shop_demo.views.ORDERS", {})
    page = shop("/")
    assert page.get_by_text("Something went wrong").is_visible()
    assert violations_everywhere(page) == []


def test_search__results_of_a_region_have_no_violation(search):
    search.locator("summary").click()
    with search.expect_response("**/search/**"):
        search.get_by_label("From left").fill("50")
        search.get_by_label("From left").blur()
    search.locator("#results:not([aria-busy]) > li").first.wait_for()
    assert search.locator("#region").is_visible()
    assert violations_everywhere(search) == []


def test_search__without_results_has_no_violation(search):
    search.get_by_label("Price from €").fill("1000")
    search.get_by_label("Price from €").blur()
    search.get_by_text("Nothing in the shop matches these filters.").wait_for()
    assert violations_everywhere(search) == []


def test_search__that_is_under_way_has_no_violation(search):
    search.route("**/search/**", lambda route: None)
    search.get_by_label("In stock only").check()
    search.get_by_role("progressbar").wait_for()
    assert violations_everywhere(search) == []


def test_search__that_failed_has_no_violation(search):
    search.route("**/search/**", lambda route: route.abort())
    search.get_by_label("In stock only").check()
    search.get_by_role("button", name="Try again").wait_for()
    assert violations_everywhere(search) == []


def test_search__by_address_has_no_violation(shop, settings):
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "FETCH_URLS": True}
    page = shop("/search/")
    assert page.get_by_label("Address of a picture").is_visible()
    assert violations_everywhere(page) == []


def test_violations__are_found_and_named(page):
    page.set_content(f"<html lang='en'><title>1</title><main><h1>1</h1>{DESTROYED}</main>")
    assert [line.split(":")[0] for line in violations(page)] == [
        "color-contrast (serious)",
        "image-alt (critical)",
        "label (critical)",
        "link-name (serious)",
    ]
    assert violations(page, include="h1") == []
    (line,) = violations(page, include="img")
    assert '<img src="data:,">' in line
    with pytest.raises(AssertionError, match="nothing that matches #gone"):
        violations(page, include="#gone")
