"""A merchandiser pins a product in the demo's admin, and a visitor sees it first: a real browser, a real server."""

import pytest

from similar_products.merchandising.models import Rule
from similar_products.visibility import visible_and_similar

pytest_plugins = ("tests.browser", "tests.shop")
pytestmark = pytest.mark.django_db(transaction=True)

SHOWN = ".similar-products .card__name"


@pytest.fixture
def signed_in(page, live_server, admin_user):
    page.goto(f"{live_server.url}/admin/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("password")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Site administration").wait_for()
    return page


def test_pin__made_in_the_admin_is_first_on_the_shops_page(signed_in, live_server, products):
    from playwright.sync_api import expect

    page, product = signed_in, products[0]
    last = list(visible_and_similar(product)[:5])[-1]
    page.goto(f"{live_server.url}{product.get_absolute_url()}")
    assert page.locator(SHOWN).all_inner_texts()[-1] == last.name

    page.goto(f"{live_server.url}/admin/shop_demo/product/{product.pk}/change/")
    page.get_by_text("Add another Pin or hide").click()
    row = page.locator("tr.dynamic-similar_products_merchandising-rule-content_type-product_key").first
    row.locator(".field-other_key .select2-selection").click()
    page.locator(".select2-search__field").fill(last.name)
    page.locator(".select2-results__option", has_text=last.name).click()
    row.get_by_role("spinbutton").fill("1")
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.locator(".messagelist .success")).to_be_visible()
    (rule,) = Rule.objects.all()
    assert (rule.product, rule.other, rule.place) == (product, last, 1)

    page.get_by_role("link", name="Preview the list").click()
    first = page.locator(".preview-list").first.locator("li").first
    expect(first).to_contain_text(last.name)
    expect(first).to_contain_text("pinned")
    expect(page.locator(".preview-pinned")).to_have_count(1)

    page.goto(f"{live_server.url}{product.get_absolute_url()}")
    expect(page.locator(SHOWN).first).to_have_text(last.name)
