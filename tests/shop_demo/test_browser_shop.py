"""The shop as a visitor walks through it: a real browser, a real server, drawn products and the colours of them."""

import re

import pytest

from shop_demo.models import Product

pytest_plugins = ("tests.browser", "tests.shop")
pytestmark = pytest.mark.django_db(transaction=True)

PHONE = {"width": 360, "height": 640}


@pytest.fixture
def expect():
    return pytest.importorskip("playwright.sync_api").expect


@pytest.fixture
def shop(products, live_server, page):
    page.goto(f"{live_server.url}/")
    return page


def heading(page):
    return page.get_by_role("heading", level=1)


def strip(page, title):
    return page.get_by_role("region", name=title, exact=True).get_by_role("listitem")


def neighbours(product):
    return [each.name for each in Product.objects.similar_to(product).ranked(6)]


def test_visitor__browses_to_a_product_sees_its_neighbours_and_opens_one(shop, expect, products):
    product = products[4]
    navigation = shop.get_by_role("navigation", name="Categories")
    navigation.get_by_role("link", name=product.category.name).click()
    expect(heading(shop)).to_have_text(product.category.name)
    expect(navigation.locator("[aria-current=page]")).to_have_text(product.category.name)
    shop.get_by_role("link", name=product.name).click()
    expect(heading(shop)).to_have_text(product.name)
    expect(shop.get_by_alt_text(product.name)).to_have_js_property("naturalWidth", 480)

    similar = strip(shop, "Visually similar")
    expected = neighbours(product)
    assert similar.locator(".card__name").all_inner_texts() == expected
    assert len(expected) == 5
    first = Product.objects.get(name=expected[0])
    expect(similar.first).to_contain_text(f"€{first.price}")
    expect(similar.first.locator("img")).to_have_js_property("naturalWidth", 480)
    similar.first.get_by_role("link").click()
    expect(heading(shop)).to_have_text(first.name)
    assert strip(shop, "Visually similar").locator(".card__name").all_inner_texts() == neighbours(first)


def test_visitor__finds_what_is_cheaper_and_in_stock(shop, expect, products):
    shop.get_by_role("link", name=products[3].name).click()
    cheaper = strip(shop, "Like this, but cheaper and in stock")
    expect(cheaper).to_have_count(2)
    assert set(cheaper.locator(".price").all_inner_texts()) == {"€10.00", "€30.00"}  # 20 is sold out
    cheaper.get_by_role("link", name=products[0].name).click()
    expect(heading(shop)).to_have_text(products[0].name)
    expect(shop.get_by_role("region", name="Like this, but cheaper")).to_have_count(0)


def test_visitor__finds_by_words_narrows_down_and_sorts(shop, expect, products):
    names = shop.locator(".card__name")
    shop.get_by_label("In stock only").check()
    shop.get_by_label("Sort by").select_option("Price, highest first")
    shop.get_by_role("button", name="Show").click()
    expect(names).to_have_text([products[number].name for number in (5, 4, 3, 2, 0)])
    expect(shop.get_by_label("In stock only")).to_be_checked()
    words = f"{products[2].category.name.lower()} {products[2].color}"
    shop.get_by_role("search").get_by_role("searchbox").fill(words)
    shop.keyboard.press("Enter")
    expect(heading(shop)).to_have_text(f"Results for “{words}”")
    expect(names).to_have_text([products[2].name])
    shop.get_by_role("search").get_by_role("searchbox").fill("rhubarb")
    shop.get_by_role("button", name="Find products").click()
    expect(shop.get_by_text("No product fits.")).to_be_visible()
    shop.get_by_role("link", name="See all products").click()
    expect(names).to_have_count(6)


def test_visitor__turns_the_pages(shop, expect, products, monkeypatch):
    monkeypatch.setattr("shop_demo.views.PRODUCTS_PER_PAGE", 4)
    shop.reload()
    in_order = sorted(product.name for product in products)
    names = shop.locator(".card__name")
    expect(names).to_have_text(in_order[:4])
    shop.get_by_role("link", name="Next").click()
    expect(names).to_have_text(in_order[4:])
    expect(shop.get_by_role("navigation", name="Pages").locator("[aria-current=page]")).to_have_text("2")
    shop.get_by_role("link", name="Previous").click()
    expect(names).to_have_text(in_order[:4])


def test_visitor__searches_with_a_region_of_a_products_picture(shop, expect, products):
    shop.get_by_role("link", name=products[5].name).click()
    with shop.expect_response("**/api/products/search/**") as whole:
        shop.get_by_role("link", name="Find a part of this picture").click()
    assert whole.value.json()["results"][0]["product"]["name"] == products[5].name
    expect(shop.locator("#results > li")).to_have_count(6)
    expect(shop.locator("#results .card__name").first).to_have_text(products[5].name)
    box = shop.get_by_alt_text("The photo you search with").bounding_box()
    with shop.expect_response("**/api/products/search/**") as of_a_part:
        shop.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
        shop.mouse.down()
        shop.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.8 * box["height"])
        shop.mouse.up()
    assert [shop.locator(f"#region-{side}").input_value() for side in "xywh"] == ["30", "30", "40", "50"]
    assert of_a_part.value.json()["results"][0]["similarity"] < whole.value.json()["results"][0]["similarity"]


def test_visitor__is_told_that_a_products_picture_cannot_be_loaded(shop, expect, products, live_server):
    shop.route("**/media/**", lambda route: route.abort())
    shop.goto(f"{live_server.url}/search/?product={products[0].pk}")
    expect(shop.get_by_role("alert")).to_contain_text("The picture of this product could not be loaded.")
    expect(shop.get_by_role("button", name="Try again")).to_be_hidden()
    expect(shop.get_by_role("progressbar")).to_be_hidden()


def test_visitor__meets_the_shops_own_page_where_there_is_none(shop, expect, live_server):
    answer = shop.goto(f"{live_server.url}/products/0/")
    assert answer.status == 404
    expect(heading(shop)).to_have_text("This page is not here")
    shop.get_by_role("main").get_by_role("link", name="See all products").click()
    expect(shop.locator(".card")).to_have_count(6)


def test_keyboard__skips_to_the_content_and_opens_a_product(shop, expect, products):
    first = shop.locator(".card a").first
    name = first.inner_text()
    shop.keyboard.press("Tab")
    expect(shop.get_by_role("link", name="Skip to content")).to_be_focused()
    expect(shop.get_by_role("link", name="Skip to content")).to_be_in_viewport(ratio=1)
    shop.keyboard.press("Enter")
    shop.keyboard.press("Tab")
    expect(shop.get_by_role("link", name="Show us a photo")).to_be_focused()
    reached = []
    while name not in reached:
        shop.keyboard.press("Tab")
        focused = shop.locator(":focus")
        outlines = (
            "each => [each, '::after'].map((part) => getComputedStyle(each, part === each ? null : part).outline)"
        )
        assert any("solid 3px" in outline for outline in focused.evaluate(outlines)), focused.inner_text()
        reached.append(focused.inner_text() or focused.get_attribute("name"))
    categories = ["All", *sorted(product.category.name for product in products)]
    assert reached == [*categories, "in_stock", reached[len(categories) + 1], "Show", name]
    shop.keyboard.press("Enter")
    expect(heading(shop)).to_have_text(name)


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_width__nothing_is_wider_than_the_screen(shop, products, live_server, width):
    shop.set_viewport_size({"width": width, "height": 640})
    for path in ("/", "/?q=nothing", products[0].get_absolute_url(), "/search/", "/products/0/"):
        shop.goto(live_server.url + path)
        assert shop.evaluate("document.documentElement.scrollWidth") <= width, path


def test_width__phone_shows_two_products_in_a_row_and_large_targets(shop, products):
    shop.set_viewport_size(PHONE)
    tops = [card.bounding_box()["y"] for card in shop.locator(".card").all()]
    assert tops[0] == tops[1] < tops[2] == tops[3]
    for each in shop.locator("main a, button, select, .check, [type=search]").all():
        assert each.bounding_box()["height"] >= 24, each.inner_text()


def test_colors__follow_the_system(shop):
    def lightness():
        color = shop.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", color)))

    shop.emulate_media(color_scheme="light")
    light = lightness()
    shop.emulate_media(color_scheme="dark")
    assert light > 3 * 200 > 3 * 60 > lightness()


def test_motion__only_where_the_visitor_allows_it(shop):
    transition = "getComputedStyle(document.querySelector('.card__picture')).transitionDuration"
    assert shop.evaluate(transition) == "0s"
    shop.emulate_media(reduced_motion="no-preference")
    assert shop.evaluate(transition) == "0.2s"


def test_pictures__keep_their_place_before_they_are_there(shop, products, live_server):
    """Nothing moves when a picture comes: its place is as large without it."""
    for path in ("/", products[0].get_absolute_url()):
        shop.goto(live_server.url + path)
        shop.wait_for_load_state("networkidle")
        places = "[...document.querySelectorAll('main img')].map((each) => each.getBoundingClientRect().toJSON())"
        there = shop.evaluate(places)
        shop.route("**/media/**", lambda route: route.abort())
        shop.reload()
        assert shop.evaluate(places) == there
        shop.unroute("**/media/**")
