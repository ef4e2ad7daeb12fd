"""The search page of the demo shop and the endpoints behind it, as a client without JavaScript sees them."""

import pytest
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client

from shop_demo import settings as shop_settings
from shop_demo.drawing import DrawnProduct
from shop_demo.models import Category, Product
from tests.shop_demo.elements import Elements, queries_of

pytestmark = pytest.mark.django_db

SEARCH = "/api/products/search/"


@pytest.fixture(autouse=True)
def _shop(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "API": shop_settings.SIMILAR_PRODUCTS["API"]}
    cache.clear()


@pytest.fixture(scope="module")
def pictures():
    return [DrawnProduct(number).picture() for number in range(4)]


@pytest.fixture
def products(pictures):
    """Four products in two categories, at 10, 20, 30 and 40; the last one is sold out."""
    products = [
        Product(
            name=f"Product {number}",
            category=Category.objects.get_or_create_named(("Mugs", "Bags")[number % 2]),
            price=10 + 10 * number,
            stock=3 - number,
            image=ContentFile(picture, name=f"{number}.jpg"),
        )
        for number, picture in enumerate(pictures)
    ]
    Product.objects.bulk_create(products)
    call_command("embed_products", "shop_demo.Product", verbosity=0)
    return products


def search(client, picture, query="", **fields):
    return client.post(f"{SEARCH}{query}", {"image": SimpleUploadedFile("photo.jpg", picture), **fields})


def names(response):
    assert response.status_code == 200, response.content
    return {result["product"]["name"] for result in response.json()["results"]}


class TestPage:
    def test_page__offers_the_categories_and_the_endpoint(self, client, products):
        response = client.get("/search/")
        assert response.status_code == 200
        assert [each["value"] for each in Elements(response).named("option")] == ["", "bags", "mugs"]
        (tool,) = [each for each in Elements(response).named("div") if each.get("id") == "visual-search"]
        assert (tool["data-url"], tool["data-max-bytes"]) == (SEARCH, str(10 * 1024 * 1024))
        assert "never stored" in response.content.decode()

    def test_page__every_control_has_a_label(self, client):
        """Each input and select lies within a label or is named by one."""
        page = client.get("/search/").content.decode()
        outside = "".join(part.split("</label>")[-1] for part in page.split("<label"))
        assert "<select" not in outside
        assert "<input" not in outside

    def test_page__runs_no_inline_script_and_loads_nothing_from_other_hosts(self, client):
        response = client.get("/search/")
        elements = Elements(response)
        assert elements.named("script") == [{"type": "module", "src": "/static/shop_demo/visual_search.js"}]
        for _, attributes in elements.found:
            assert not [name for name in attributes if name.startswith("on") or name == "style"]
            assert not attributes.get("src", "").startswith(("http", "//"))

    def test_page__takes_the_picture_of_a_product(self, client, products):
        def picture(query):
            (tool,) = [each for each in Elements(client.get(f"/search/{query}")).named("div") if "data-url" in each]
            return tool.get("data-picture")

        assert picture(f"?product={products[1].pk}") == products[1].image.url
        Product.objects.filter(pk=products[2].pk).update(image="")
        for query in (
            "",
            "?product=",
            f"?product={products[2].pk}",
            "?product=0",
            "?product=x",
            f"?product={'9' * 30}",
        ):
            assert picture(query) is None

    def test_page__one_query(self, client, products):
        assert len(queries_of(client, "/search/")) == 1

    def test_page__without_javascript_says_so(self, client):
        page = client.get("/search/").content.decode()
        assert "needs JavaScript" in page.split("<noscript>")[1].split("</noscript>")[0]

    @pytest.mark.parametrize("fetch_urls", [False, True])
    def test_page__address_only_where_the_shop_fetches(self, client, settings, fetch_urls):
        settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "FETCH_URLS": fetch_urls}
        response = client.get("/search/")
        assert any(each.get("type") == "url" for each in Elements(response).named("input")) == fetch_urls
        assert ("SHOP_DEMO_FETCH_URLS=1" in response.content.decode()) != fetch_urls

    def test_settings__addresses_are_off(self):
        assert shop_settings.SIMILAR_PRODUCTS["FETCH_URLS"] is False

    def test_header__leads_to_the_page(self, client):
        assert {"href": "/search/"} in Elements(client.get("/")).named("a")
        (link,) = [each for each in Elements(client.get("/search/")).named("a") if each.get("href") == "/search/"]
        assert link["aria-current"] == "page"


class TestSearch:
    def test_search__product_on_the_photo_is_first(self, client, products, pictures):
        answer = search(client, pictures[1]).json()
        assert answer["count"] == 4
        assert answer["results"][0]["product"] == {
            "id": products[1].pk,
            "name": "Product 1",
            "url": products[1].get_absolute_url(),
            "image": f"http://testserver{products[1].image.url}",
            "price": "20.00",
            "stock": 2,
        }

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("", {0, 1, 2, 3}),
            ("category=mugs", {0, 2}),
            ("category=nothing", set()),
            ("min_price=20", {1, 2, 3}),
            ("max_price=20", {0, 1}),
            ("min_price=15&max_price=35", {1, 2}),
            ("in_stock=true", {0, 1, 2}),
            ("in_stock=false", {3}),
            ("category=bags&in_stock=true&max_price=40", {1}),
        ],
    )
    def test_search__narrowed_down_by_the_key(self, client, products, pictures, query, expected):
        key = search(client, pictures[0], "?limit=1").json()["key"]
        response = client.post(f"{SEARCH}?{query}", {"key": key}, content_type="application/json")
        assert names(response) == {f"Product {number}" for number in expected}

    def test_search__price_that_is_none_is_refused(self, client, products, pictures):
        response = search(client, pictures[0], "?max_price=cheap")
        assert (response.status_code, response.json()["code"]) == (400, "invalid")

    def test_search__logged_in_needs_the_token_of_the_page(self, admin_user, products, pictures):
        client = Client(enforce_csrf_checks=True)
        client.force_login(admin_user)
        assert search(client, pictures[0]).json()["code"] == "permission_denied"
        client.get("/search/")
        token = client.cookies["csrftoken"].value
        photo = SimpleUploadedFile("photo.jpg", pictures[0])
        response = client.post(SEARCH, {"image": photo}, headers={"X-CSRFToken": token})
        assert response.status_code == 200

    def test_search__anonymous_needs_no_token(self, products, pictures):
        assert search(Client(enforce_csrf_checks=True), pictures[0]).status_code == 200


class TestOtherEndpoints:
    def test_similar__narrowed_down(self, client, products):
        response = client.get(f"/api/products/{products[0].pk}/similar/?in_stock=true")
        assert names(response) == {"Product 1", "Product 2"}

    def test_fragment__has_the_products(self, client, products):
        response = client.get(f"/api/products/{products[0].pk}/similar/fragment/")
        assert response.content.decode().count("similar-products__item") == 3

    def test_status__is_for_staff(self, client, admin_client, products):
        assert client.get("/api/products/status/").status_code in (401, 403)
        assert admin_client.get("/api/products/status/").json()["ready"] == 4
