"""The admin as the people of a shop use it: a real browser, the demo shop's own admin, drawn products."""

import re

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile

from shop_demo.drawing import DrawnProduct
from shop_demo.models import Category, Product
from similar_products.embedding import embed
from tests.accessibility import violations

pytest_plugins = ("tests.browser",)
pytestmark = pytest.mark.django_db(transaction=True)

NUMBERS = (0, 1, 5, 6, 8, 9)


@pytest.fixture(scope="module")
def drawn():
    return [(product := DrawnProduct(number), product.picture()) for number in NUMBERS]


@pytest.fixture
def products(settings, tmp_path, drawn):
    """Six products; the picture of the last one is damaged and has failed."""
    settings.MEDIA_ROOT = tmp_path
    settings.ALLOWED_HOSTS = ["localhost"]
    products = [
        Product(
            name=each.name,
            category=Category.objects.get_or_create_named(each.category),
            price=10 * number,
            stock=5,
            image=ContentFile(picture, name=f"{number}.jpg"),
        )
        for number, (each, picture) in enumerate(drawn, 1)
    ]
    Product.objects.bulk_create(products)
    (tmp_path / products[-1].image.name).write_bytes(drawn[-1][1][:200])
    embed(Product.objects.pending(), retry_delays=())
    assert Product.objects.failed().get() == products[-1]
    return products


@pytest.fixture
def office(products, live_server, page):
    """The list of products in the admin, to somebody who has logged in, under a policy without inline scripts."""
    from playwright.sync_api import expect

    User.objects.create_superuser("boss", password="secret")
    page.expect = expect
    page.goto(f"{live_server.url}/admin/shop_demo/product/")
    page.get_by_label("Username:").fill("boss")
    page.get_by_label("Password:").fill("secret")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Select product to change")).to_be_visible()
    return page


def test_failed_picture__is_found_mended_retried_and_ready(office, products, drawn, tmp_path):
    office.locator("#changelist-filter").get_by_role("link", name="failed", exact=True).click()
    rows = office.locator("#result_list tbody tr")
    office.expect(rows).to_have_count(1)
    office.expect(rows).to_contain_text(products[-1].name)
    office.expect(rows.locator(".similar-products-state--failed")).to_have_text(re.compile("^failed: "))
    (tmp_path / products[-1].image.name).write_bytes(drawn[-1][1])
    rows.get_by_role("checkbox").check()
    office.get_by_label("Action:").select_option("Retry failed pictures of selected products")
    office.locator("button[name=index]").click()  # "Go" or "Run", as Django's version has it
    office.expect(office.locator(".messagelist")).to_contain_text("1 picture is ready, 0 failed, 0 are pending.")
    office.locator("#changelist-filter").get_by_role("link", name="ready", exact=True).click()
    office.expect(office.locator("#result_list .similar-products-state--ready")).to_have_count(len(products))


def test_photo__is_tried_on_the_change_page_and_leaves_the_form_alone(office, products, drawn):
    office.get_by_role("link", name=products[0].name, exact=True).click()
    office.get_by_label("Name:", exact=True).fill("typed and not saved")
    file = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": drawn[0][1]}
    office.get_by_label("Try a test photo:").set_input_files(file)
    office.get_by_role("button", name="Find by this photo").click()
    found = office.get_by_role("status")
    office.expect(found).to_contain_text(f"{products[0].name} itself is number 1, with a similarity of 1.000.")
    office.expect(found.get_by_role("link").first).to_have_text(products[0].name)
    office.expect(office.get_by_label("Name:", exact=True)).to_have_value("typed and not saved")
    office.get_by_label("Try a test photo:").set_input_files({**file, "buffer": b"no picture"})
    office.get_by_role("button", name="Find by this photo").click()
    office.expect(found).to_have_text(re.compile("What the photo finds.*JPEG, PNG, WebP, GIF and AVIF", re.DOTALL))
    office.get_by_label("Try a test photo:").set_input_files({**file, "buffer": b"\0" * (10 * 1024 * 1024 + 1)})
    office.get_by_role("button", name="Find by this photo").click()
    office.expect(found).to_have_text("The photo has more than 10 MB; choose a smaller one.")


def test_photo__server_that_does_not_answer_is_said(office, products, drawn):
    office.get_by_role("link", name=products[0].name, exact=True).click()
    office.route("**/similar-products/", lambda route: route.abort())
    office.get_by_label("Try a test photo:").set_input_files(
        {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": drawn[0][1]}
    )
    office.get_by_role("button", name="Find by this photo").click()
    office.expect(office.get_by_role("status")).to_have_text("The photo could not be sent; try again.")


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_pages__have_no_serious_barrier(office, products, drawn, color_scheme):
    office.emulate_media(color_scheme=color_scheme)
    assert violations(office, include=".similar-products-state") == []
    assert violations(office, include=".object-tools") == []
    office.get_by_role("link", name=products[0].name, exact=True).click()
    file = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": drawn[0][1]}
    office.get_by_label("Try a test photo:").set_input_files(file)
    office.get_by_role("button", name="Find by this photo").click()
    office.expect(office.get_by_role("status")).to_contain_text("itself is number 1")
    assert violations(office, include="section.similar-products") == []
    office.go_back()
    office.get_by_role("link", name="Visual catalogue").click()
    assert violations(office, include="#content-main") == []
    for look in ("Find near-duplicate listings", "Find products in the wrong category"):
        office.get_by_role("link", name=look).click()
        office.locator("#similar-products-findings").wait_for()
        assert violations(office, include="#content-main") == []


THEME = """
@layer reset {
  * { margin: 0; padding: 0; border: 0 solid; font: inherit; list-style: none }
  a { color: inherit; text-decoration: inherit }
  button { background: transparent; color: inherit }
  ::file-selector-button { background: transparent; color: inherit }
}
body { background: PAPER; color: INK }
"""


@pytest.mark.parametrize(("paper", "ink"), [("#fff", "#4b5563"), ("#111827", "#d1d5db")])
def test_pages__can_be_read_in_a_theme_that_has_no_colour_of_the_admins(office, products, paper, ink):
    """Whatever the browser prefers: a theme may have a switch of its own for light and dark."""
    theme = THEME.replace("PAPER", paper).replace("INK", ink)
    office.route("**/admin/css/**", lambda route: route.fulfill(body=theme, content_type="text/css"))
    office.reload()

    def styles(selector, name):
        return office.locator(selector).evaluate_all(f"all => all.map(one => getComputedStyle(one).{name})")

    assert violations(office, include=".similar-products-state") == []
    assert len({*styles(".similar-products-state", "backgroundColor")}) == 2  # ready and failed
    assert {*styles(".similar-products-state", "borderTopWidth")} == {"1px"}
    assert styles(".similar-products-link", "listStyleType") == ["none"]
    office.get_by_role("link", name=products[0].name, exact=True).click()
    office.locator("section.similar-products").wait_for()
    assert violations(office, include="section.similar-products") == []
    assert {*styles(".similar-products__card", "borderTopWidth")} == {"1px"}
    assert styles(".similar-products .button", "borderTopWidth") == ["1px"]
    assert {*styles(".similar-products__name a", "textDecorationLine")} == {"underline"}
    assert styles("section.similar-products h2", "fontWeight") == ["700"]
    office.go_back()
    office.get_by_role("link", name="Visual catalogue").click()
    office.locator("#similar-products-looks").wait_for()
    assert violations(office, include="#content-main") == []
    assert "0px" not in styles("#content-main td", "paddingTop")
