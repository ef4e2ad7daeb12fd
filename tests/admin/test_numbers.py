"""Numbers that machines read are digits, whatever way of writing numbers a shop chooses for people."""

from html.parser import HTMLParser

import pytest
from django.template import Context, Template
from django.test.signals import template_rendered
from django.utils import translation

from shop_demo.models import Category, Product
from similar_products.admin import catalogue
from similar_products.catalogue.growth import Growth, draw_growth
from similar_products.catalogue.map import Legend, Point, render_map
from tests.catalogues import ENCODER, at_angle
from tests.drawn_pictures import picture_file
from tests.merchandising.made_rules import pin
from tests.test_templates import TEMPLATES

FIRST, NUMBER = 1_234, 1_010
TRANSLATED = {"alt", "aria-label", "content", "lang", "placeholder", "title"} | {
    f"data-{name}" for name in ("busy", "failed", "filter-title", "inline-formset", "too-large")
}


class Machine(HTMLParser):
    """Collects what machines read: attributes, apart from texts for people and secrets, and scripts in the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.read: list[tuple[str, str]] = []
        self.is_in_script = False
        self.feed(html)

    def handle_starttag(self, tag, attributes) -> None:
        found = dict(attributes)
        self.is_in_script = tag == "script"
        is_text = found.get("name") == "csrfmiddlewaretoken" or found.get("type") == "submit"
        self.read += [
            (name, value or "")
            for name, value in attributes
            if name not in TRANSLATED and not (is_text and name == "value") and "/i18n/" not in str(value)
        ]

    def handle_data(self, data: str) -> None:
        if self.is_in_script:
            self.read.append(("script", data))

    def handle_endtag(self, tag: str) -> None:
        self.is_in_script = False


def admin_page(tail):
    return lambda client: client.get(f"/admin/shop_demo/product/{tail}").content.decode()


def shop_page(tail):
    return lambda client: client.get(f"/{tail}").content.decode()


def photo_page(client):
    answer = client.post(f"/admin/shop_demo/product/{FIRST}/similar-products/", {"photo": picture_file("red", "lime")})
    return answer.content.decode()


def preview_page(client):
    address = f"/admin/similar_products_merchandising/rule/preview/shop_demo/product/{FIRST}/"
    return client.get(address).content.decode()


def fragment(client):
    return client.get(f"/api/products/{FIRST}/similar/fragment/").content.decode()


def tag(client):
    source = "{% load similar_products %}{% similar_products product %}"
    return Template(source).render(Context({"product": Product.objects.get(pk=FIRST)}))


def map_page(client):
    legend = [Legend(f"group {number}", "#0067a5", 1_234) for number in range(1_234)]
    return render_map("Map", [Point("a", "b", 1_233, 1_234, 1_234, b"", b"")], (1_234, 1_234), legend)


def growth_picture(client):
    sizes = (1_000, 1_234, 10_000)
    return draw_growth([Growth(size, 5, 0.87, 0.01, 0.9, 0.5, 5_000) for size in sizes], k=10, title="Growth")


# Each page, and something on it that must not be written otherwise.
PAGES = {
    "list": (admin_page(""), ("value", str(FIRST))),
    "change page": (admin_page(f"{FIRST}/change/"), ("data-max-bytes", "10485760")),
    "photo": (photo_page, ("data-max-bytes", "10485760")),
    "coverage": (admin_page("similar-products/"), ("width", "100")),
    "duplicates": (
        admin_page("similar-products/?look=duplicates&page=1001"),
        ("href", "?look=duplicates&page=1002#similar-products-findings"),
    ),
    "categories": (
        admin_page("similar-products/?look=categories&page=1002"),
        ("href", "?look=categories&page=1001#similar-products-findings"),
    ),
    "preview": (preview_page, ("href", f"/admin/shop_demo/product/{FIRST}/change/")),
    "fragment": (fragment, ("href", f"/products/{FIRST + 1}/")),
    "tag": (tag, ("href", f"/products/{FIRST + 1}/")),
    "the shop's product": (shop_page(f"products/{FIRST}/"), ("href", f"/search/?product={FIRST}")),
    "the shop's search": (shop_page("search/"), ("data-max-bytes", "10485760")),
    "map": (map_page, ("data-group", "1233")),
    "growth": (growth_picture, ("fill-opacity", "0.2")),
}


@pytest.fixture
def shop(settings, tmp_path, bands, monkeypatch):
    """A thousand products in a row, of keys with a thousand in them, on catalogue pages of one product each."""
    settings.MEDIA_ROOT = tmp_path
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "API": {"MODEL": "shop_demo.Product"}}
    monkeypatch.setattr(catalogue, "BLOCK", 1)
    category = Category.objects.create(name="Mugs", slug="mugs")
    Product.objects.bulk_create(
        Product(
            pk=FIRST + number,
            name=f"mug {number}",
            category=category,
            price=1_234,
            stock=1_234,
            image=f"{number}.png",
            embedding=at_angle(number / NUMBER),
            embedding_source=f"{ENCODER}|{number}.png",
        )
        for number in range(NUMBER)
    )
    pin(Product(pk=FIRST), Product(pk=FIRST + 1_000), place=2)


@pytest.mark.django_db
@pytest.mark.usefixtures("fresh_indexes", "shop")
def test_pages__numbers_for_machines_are_written_in_one_way(client, admin_user, settings):
    client.force_login(admin_user)
    read, rendered = {}, set()
    template_rendered.connect(note := lambda template, **_: rendered.add(template.name))
    for code, has_separators in (("en", False), ("en", True), ("de", True), ("fr", True)):
        settings.LANGUAGE_CODE, settings.USE_THOUSAND_SEPARATOR = code, has_separators
        with translation.override(code):
            read[code, has_separators] = {page: Machine(render(client)).read for page, (render, _) in PAGES.items()}
    template_rendered.disconnect(note)
    assert {*TEMPLATES} <= rendered
    plain = read.pop(("en", False))
    assert [page for page, (_, expected) in PAGES.items() if expected not in plain[page]] == []
    others = [
        (page, *each) for found in read.values() for page in PAGES for each in found[page] if each not in plain[page]
    ]
    assert others == []


@pytest.mark.parametrize(("code", "thousand", "similarity"), [("en", "1,010", "1.000"), ("de", "1.010", "1,000")])
@pytest.mark.django_db
@pytest.mark.usefixtures("fresh_indexes", "shop")
def test_pages__numbers_for_people_are_written_as_they_write_them(
    client, admin_user, settings, code, thousand, similarity
):
    settings.LANGUAGE_CODE, settings.USE_THOUSAND_SEPARATOR = code, True
    client.force_login(admin_user)
    assert f">{thousand}<" in admin_page("similar-products/")(client)
    assert f">{similarity}<" in admin_page(f"{FIRST}/change/")(client)
