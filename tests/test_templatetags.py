import json
import logging

import pytest
from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.template import Context, Template, TemplateSyntaxError, engines
from django.utils.functional import SimpleLazyObject

from similar_products.templatetags.similar_products import product_picture, with_pictures
from tests.catalogues import CATALOGUES, ENCODER, Item, Picture, add_shirt, add_vase, at_angle
from tests.models import Order, Rug, Shirt, Vase

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes")]


@pytest.fixture
def shirts() -> list[Shirt]:
    return [add_shirt(f"shirt {number}", number / 10) for number in range(9)]


def render(source: str, **values) -> str:
    return Template("{% load similar_products %}" + source).render(Context(values))


def test_tag__renders_the_nearest_six(shirts):
    html = render("{% similar_products product %}", product=shirts[0])
    assert html.count("<li") == 6
    assert html.index("shirt 1") < html.index("shirt 2") < html.index("shirt 6")
    assert "shirt 7" not in html
    assert f'href="/shirts/{shirts[1].pk}/"' in html
    assert "shirts/shirt%201.png" in html


def test_tag__limit_may_be_a_variable(shirts):
    assert render("{% similar_products product limit=count %}", product=shirts[0], count=2).count("<li") == 2


def test_tag__escapes_names():
    first = add_shirt("a", 0.0)
    add_shirt("<script>", 0.1)
    html = render("{% similar_products product %}", product=first)
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_tag__is_one_query(shirts, django_assert_num_queries):
    with django_assert_num_queries(3):  # SAVEPOINT, the products, RELEASE: a test runs in a transaction
        render("{% similar_products product limit=3 %}", product=shirts[0])


@pytest.mark.django_db(transaction=True)
def test_tag__outside_a_transaction_is_one_query_alone(shirts, django_assert_num_queries):
    with django_assert_num_queries(1):
        html = render("{% similar_products product limit=3 %}", product=shirts[0])
    assert html.count("<li") == 3


def test_tag__as_name_gives_the_list(shirts):
    html = render(
        "{% similar_products product limit=2 as found %}{{ found|length }}:"
        "{% for row in found %}{{ row.name }} {{ row.distance|floatformat:3 }};{% endfor %}",
        product=shirts[0],
    )
    assert html == "2:shirt 1 0.005;shirt 2 0.020;"


def test_tag__companion(shirts):
    rows = [add_vase(f"vase {number}", number / 10) for number in range(3)]
    html = render("{% similar_products product %}", product=rows[0])
    assert html.index("vase 1") < html.index("vase 2")
    assert "/vases/vase%201.png" in html


def test_tag__no_similar_products_renders_nothing(caplog):
    caplog.set_level(logging.INFO)
    lonely = Shirt.objects.create(name="no picture")
    assert render("[{% similar_products product %}]", product=lonely).strip() in ("[]", "[\n]")
    assert "it has no current vector, is hidden, or there is nothing to compare with" in caplog.text


def test_product_picture__is_the_file_wherever_the_vectors_stand():
    assert product_picture(Shirt(image="a.png")).name == "a.png"
    assert product_picture(Vase(image="b.png")).name == "b.png"
    assert not product_picture(Shirt())


def test_product_picture__of_several_is_the_one_that_matched(django_assert_num_queries):
    items = [Item("a", [Picture(at_angle(0.0))]), Item("b", [Picture(at_angle(1.0)), Picture(at_angle(0.1))])]
    CATALOGUES["companions of pictures"].fill(items)
    html = render("{% similar_products product %}", product=items[0].row)
    assert "/b-1.png" in html
    with django_assert_num_queries(1):
        assert product_picture(items[1].row).name == "b-0.png"
    assert not product_picture(Rug.objects.create(name="no picture"))


def test_with_pictures__gives_each_product_with_its_picture(shirts, django_assert_num_queries):
    with django_assert_num_queries(0):
        pairs = with_pictures(shirts)
    assert pairs == [(shirt, product_picture(shirt)) for shirt in shirts]
    assert with_pictures([]) == []


def test_tag__takes_the_rules(shirts):
    source = (
        "{% similar_products product limit=9 min_similarity=0.95 diversity=0.1 exclude=shown near_duplicates=True "
        "variants=True as found %}{% for row in found %}{{ row.name }},{% endfor %}"
    )
    assert render(source, product=shirts[0], shown=[shirts[1]]) == "shirt 2,shirt 3,"


def test_tag__near_duplicates_of_each_other_give_way(settings, tmp_path):
    (tmp_path / "bands.json").write_text(
        json.dumps({ENCODER: {"near_duplicate": 0.99, "very_similar": 0.9, "similar": 0.5}})
    )
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "BANDS": tmp_path / "bands.json"}
    rows = [add_shirt(f"shirt {number}", angle) for number, angle in enumerate([0.0, 0.3, 0.3, 0.6])]
    html = render("{% similar_products product as found %}{{ found }}", product=rows[0])
    assert "shirt 1" in html
    assert "shirt 2" not in html
    assert "shirt 3" in html


def test_tag__template_can_be_named(shirts, settings, tmp_path):
    (tmp_path / "own.html").write_text("{% for row in similar_products %}{{ row.name }},{% endfor %}{{ shop }}")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [str(tmp_path)]}]
    html = render("{% similar_products product limit=2 template='own.html' %}", product=shirts[0], shop="Ours")
    assert html == "shirt 1,shirt 2,Ours"


def test_tag__default_template_can_be_overridden(shirts, settings, tmp_path):
    (tmp_path / "similar_products").mkdir()
    (tmp_path / "similar_products" / "similar_products.html").write_text("{{ similar_products|length }} own")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [str(tmp_path)]}]
    assert render("{% similar_products product limit=2 %}", product=shirts[0]) == "2 own"


def test_tag__does_not_leak_its_names(shirts):
    html = render("{% similar_products p limit=1 %}|{{ similar_products }}|{{ product }}", p=shirts[0])
    assert html.endswith("||")


def counted(request) -> dict:
    counted.calls += 1
    return {}


def test_tag__runs_no_context_processor_again(shirts, settings, rf):
    counted.calls = 0
    options = {"context_processors": ["tests.test_templatetags.counted"]}
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "OPTIONS": options}]
    source = "{% load similar_products %}{% similar_products product %}{% similar_products product %}"
    engines["django"].from_string(source).render({"product": shirts[0]}, rf.get("/"))
    assert counted.calls == 1


def test_tag__takes_a_lazy_product(shirts):
    lazy = SimpleLazyObject(lambda: shirts[0])
    assert "shirt 1" in render("{% similar_products product %}", product=lazy)


def test_tag__product_without_an_address_is_no_link(shirts, monkeypatch):
    monkeypatch.delattr(Shirt, "get_absolute_url")
    html = render("{% similar_products product %}", product=shirts[0])
    assert "<a" not in html
    assert "shirt 1" in html


def test_tag__picture_without_an_address_does_not_break_the_page(shirts, monkeypatch, caplog):
    def fail(self, name):
        raise ValueError("no address")

    monkeypatch.setattr(type(default_storage._wrapped), "url", fail)
    assert render("[{% similar_products product %}]", product=shirts[0]) == "[]"
    assert "could not be rendered" in caplog.text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% similar_products %}", "needs a product"),
        ("{% similar_products product 6 %}", "does not know '6'"),
        ("{% similar_products product count=6 %}", "does not know 'count'"),
    ],
)
def test_tag__mistakes_in_the_template_are_named(source, message):
    with pytest.raises(TemplateSyntaxError, match=message):
        render(source)


# It never breaks a page.


@pytest.mark.parametrize(
    "values",
    [{}, {"product": None}, {"product": "text"}, {"product": Order(pk=1)}, {"product": Shirt(pk=1), "limit": "x"}],
    ids=["missing", "None", "text", "no vectors", "bad limit"],
)
def test_tag__anything_wrong_gives_an_empty_list_and_a_record(values, caplog):
    values.setdefault("limit", 6)
    html = render("{% similar_products product limit=limit as found %}[{{ found|length }}]", **values)
    assert html == "[0]"
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info


def test_tag__raises_with_debug(settings):
    settings.DEBUG = True
    with pytest.raises(TypeError, match="takes a product, not NoneType"):
        render("{% similar_products product %}", product=None)


def test_tag__database_error_leaves_the_transaction_usable(shirts, caplog):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE tests_shirt RENAME COLUMN embedding TO lost")
    with transaction.atomic():
        assert render("{% similar_products product as found %}[{{ found|length }}]", product=shirts[0]) == "[0]"
        assert Shirt.objects.count() == 9
    assert "column tests_shirt.embedding does not exist" in caplog.text
