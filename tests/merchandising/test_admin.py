"""Pins and hides in the admin: on a product's page, in the list of all rules, and previewed."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.core.files.storage import FileSystemStorage
from django.urls import path
from django.utils import translation

from shop_demo.urls import urlpatterns as shop_urls
from similar_products.merchandising.admin import PinsAndHidesInline, RuleAdmin
from similar_products.merchandising.models import Rule
from similar_products.search.bands import WORDS, Bands, write_bands
from similar_products.search.ranking import ranked
from tests.catalogues import CATALOGUES, ENCODER
from tests.merchandising.made_rules import NEW_YEAR, fill, hide, numbers, of_lamps, pin
from tests.models import CheapShirt, Lamp, PrintedShirt, Rug, Shelf, Shirt, Vase

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes")]


class ProductAdmin(admin.ModelAdmin):
    fields = ("name",)
    search_fields = ("name",)
    inlines = (PinsAndHidesInline,)


class LampAdmin(ProductAdmin):
    fields = ("code",)
    search_fields = ("code",)


site = admin.AdminSite()
site.register(Rule, RuleAdmin)
site.register([CheapShirt, Vase, Rug, PrintedShirt], ProductAdmin)
site.register(Lamp, LampAdmin)
site.register(Shelf)
# The shop's own page for what is not found leads to its other pages.
urlpatterns = [path("admin/", site.urls), *(each for each in shop_urls if str(each.pattern) != "admin/")]

PREFIX = "similar_products_merchandising-rule-content_type-product_key"


@pytest.fixture(autouse=True)
def _urls(settings):
    settings.ROOT_URLCONF = __name__


@pytest.fixture
def vases() -> list[Vase]:
    return [item.row for item in fill(CATALOGUES["companion"], 6)]


@pytest.fixture
def may(client, django_user_model):
    """Return a function that logs in somebody of the staff who has these permissions."""

    def login(*names: str):
        user = django_user_model.objects.create_user("anna", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        assert user.user_permissions.count() == len(names)
        client.force_login(user)
        return client

    return login


def change_page(product, tail: str = "change/") -> str:
    return f"/admin/tests/{product._meta.model_name}/{admin.utils.quote(product.pk)}/{tail}"


def form(*rows: dict, before: int = 0, **values) -> dict:
    """Return what the browser sends for these rules of a product."""
    data = {f"{PREFIX}-TOTAL_FORMS": len(rows), f"{PREFIX}-INITIAL_FORMS": before, "name": "item 00", **values}
    for number, row in enumerate(rows):
        empty = {"action": "pin", "other_key": "", "place": ""}
        times = {f"{name}_{part}": "" for name in ("start", "end") for part in (0, 1)}
        for name, value in {**empty, **times, **row}.items():
            data[f"{PREFIX}-{number}-{name}"] = value
    return data


def errors(answer) -> list[str]:
    assert answer.status_code == 200
    found = re.findall(r'<ul class="errorlist[^"]*"[^>]*>(.*?)</ul>', answer.content.decode(), re.DOTALL)
    return re.findall("<li>(.*?)</li>", "".join(found), re.DOTALL)


# On the page of a product.


def test_inline__a_pin_is_saved_and_shown_first(admin_client, vases):
    page = admin_client.get(change_page(vases[0])).content.decode()
    assert "Pins and hides" in page
    assert 'data-ajax--url="/admin/similar_products_merchandising/rule/products/tests/vase/"' in page
    row = {"other_key": vases[5].pk, "place": 1, "start_0": "2026-01-01", "start_1": "00:00", "end_0": "2030-01-01"}
    answer = admin_client.post(change_page(vases[0]), form({**row, "end_1": "12:30"}))
    assert answer.status_code == 302
    (rule,) = Rule.objects.all()
    assert (rule.product, rule.other, rule.action, rule.place) == (vases[0], vases[5], "pin", 1)
    assert (rule.start, rule.end) == (NEW_YEAR, datetime(2030, 1, 1, 12, 30, tzinfo=UTC))
    assert numbers(ranked(Vase.objects.similar_to(vases[0]), 2, at=NEW_YEAR)) == [-5, 1]
    page = admin_client.get(change_page(vases[0])).content.decode()
    assert re.search(rf'<option value="{vases[5].pk}" selected>\s*item 05\s*</option>', page)


def test_inline__shows_the_rules_of_its_product_alone(admin_client, vases):
    pin(vases[1], vases[5], 1)
    hide(Shirt(pk=vases[0].pk))
    hide(vases[0], vases[3])
    hide(vases[4], vases[0])
    page = admin_client.get(change_page(vases[0])).content.decode()
    assert f'name="{PREFIX}-INITIAL_FORMS" value="1"' in page
    assert re.findall(r"selected>\s*(item \d+)\s*</option>", page) == ["item 03"]


def test_inline__on_the_page_for_a_new_product(admin_client, vases):
    answer = admin_client.post(
        "/admin/tests/vase/add/",
        form({"other_key": vases[1].pk, "place": 2}, {"action": "everywhere"}, name="new"),
    )
    assert answer.status_code == 302
    new = Vase.objects.get(name="new")
    assert [(rule.product, rule.action) for rule in Rule.objects.order_by("pk")] == [(new, "pin"), (new, "everywhere")]


@pytest.mark.parametrize(
    ("rows", "sentences"),
    [
        ([{"other_key": 1}], ["Give the place of the pinned product, 1 for the first."]),
        ([{"place": 1}], ["Choose the product to pin."]),
        ([{"other_key": 0, "place": 1}], ["A product does not stand in its own list; choose another product."]),
        ([{"other_key": 1, "place": 0}], ["Ensure this value is greater than or equal to 1."]),
        ([{"other_key": "4x", "place": 1}], ["There is no product with the key 4x; choose one from the list."]),
        ([{"other_key": "-9", "place": 1}], ["There is no product with the key -9; choose one from the list."]),
        ([{"action": "hide"}], ["Choose the product not to show together with this one."]),
        (
            [{"action": "everywhere", "other_key": 1}],
            ["This product itself is hidden everywhere: leave the other product empty."],
        ),
        (
            [{"other_key": 1, "place": 1, "start_0": "2026-01-02", "start_1": "0:0", "end_0": "2026-01-01"}],
            ["The end is not after the start; choose a later end."],
        ),
        (
            [{"other_key": 1, "place": 1}, {"other_key": 2, "place": 1}],
            ["Place 1 is given to item 01 and item 02 at the same time: choose another place or time for one of them."],
        ),
        (
            [{"other_key": 1, "place": 1}, {"other_key": 1, "place": 2}],
            ["item 01 is pinned twice at the same time: delete one of its pins, or change its time."],
        ),
    ],
)
def test_inline__what_is_wrong_is_said_in_one_sentence(admin_client, vases, rows, sentences):
    given = [
        {
            **row,
            **({"other_key": vases[row["other_key"]].pk} if isinstance(row.get("other_key"), int) else {}),
            **({"end_1": "0:0"} if "end_0" in row else {}),
        }
        for row in rows
    ]
    assert errors(admin_client.post(change_page(vases[0]), form(*given))) == sentences
    assert not Rule.objects.exists()


def test_inline__one_place_at_two_times_is_fine(admin_client, vases):
    rows = [
        {"other_key": vases[1].pk, "place": 1, "end_0": "2026-01-01", "end_1": "0:0"},
        {"other_key": vases[2].pk, "place": 1, "start_0": "2026-01-01", "start_1": "0:0"},
    ]
    assert admin_client.post(change_page(vases[0]), form(*rows)).status_code == 302
    similar = Vase.objects.similar_to(vases[0])
    assert numbers(ranked(similar, 1, at=NEW_YEAR - timedelta(seconds=1))) == [-1]
    assert numbers(ranked(similar, 1, at=NEW_YEAR)) == [-2]


def test_inline__two_pins_change_places(admin_client, vases):
    rules = [pin(vases[0], vases[1], 1), pin(vases[0], vases[2], 2)]
    rows = [{"id": rule.pk, "other_key": rule.other_key, "place": 3 - rule.place} for rule in rules]
    assert admin_client.post(change_page(vases[0]), form(*rows, before=2)).status_code == 302
    assert numbers(ranked(Vase.objects.similar_to(vases[0]), 2)) == [-2, -1]


def test_inline__a_deleted_pin_gives_its_place_away(admin_client, vases):
    old = pin(vases[0], vases[1], 1)
    rows = [
        {"id": old.pk, "other_key": old.other_key, "place": 1, "DELETE": "on"},
        {"other_key": vases[2].pk, "place": 1},
    ]
    assert admin_client.post(change_page(vases[0]), form(*rows, before=1)).status_code == 302
    assert [rule.other for rule in Rule.objects.all()] == [vases[2]]


def test_inline__a_product_that_is_gone_is_shown_by_its_key(admin_client, vases):
    gone = pin(vases[0], Vase(pk=vases[5].pk + 1), 1)
    page = admin_client.get(change_page(vases[0])).content.decode()
    assert re.search(rf"selected>\s*{gone.other_key}\s*</option>", page)


def test_inline__a_choice_that_cannot_be_kept_stays_on_the_page(admin_client, vases):
    answer = admin_client.post(change_page(vases[0]), form({"other_key": vases[4].pk}))
    assert re.search(r"selected>\s*item 04\s*</option>", answer.content.decode())


def test_inline__of_a_child_and_of_a_proxy_are_the_parents(admin_client):
    made = PrintedShirt.objects.create(name="a", motif="cat")
    other = Shirt.objects.create(name="b")
    answer = admin_client.post(change_page(made), form({"other_key": other.pk, "place": 1}, name="a"))
    assert answer.status_code == 302
    assert Rule.objects.get().content_type.model_class() is Shirt
    for model in (PrintedShirt, CheapShirt):
        page = admin_client.get(change_page(model.objects.get(name="a"))).content.decode()
        assert re.search(r"selected>\s*b\s*</option>", page)


def test_inline__keys_that_are_text(admin_client):
    lamps = of_lamps()
    data = form({"other_key": lamps[4].pk, "place": 1}, code=lamps[0].pk)
    assert admin_client.post(change_page(lamps[0]), data).status_code == 302
    assert [row.pk for row in ranked(Lamp.objects.similar_to(lamps[0]), 1)] == ["a/4"]
    page = admin_client.get(change_page(lamps[0])).content.decode()
    (address,) = re.findall(r'<a href="([^"]*/preview/[^"]*)"', page)
    assert "pinned</span>" in admin_client.get(address).content.decode()


@pytest.mark.parametrize("where", ["change page", "list", "preview"])
def test_pages__cost_the_same_however_many_rules_there_are(admin_client, vases, where, django_assert_max_num_queries):
    address = {
        "change page": change_page(vases[0]),
        "list": "/admin/similar_products_merchandising/rule/",
        "preview": f"/admin/similar_products_merchandising/rule/preview/tests/vase/{vases[0].pk}/",
    }[where]
    pin(vases[0], vases[1], 1)
    hide(vases[0], vases[2])
    admin_client.get(address)  # the content types are remembered from now on

    def queries() -> list[str]:
        with django_assert_max_num_queries(20) as captured:
            assert admin_client.get(address).status_code == 200
        return [query["sql"] for query in captured.captured_queries]

    few = queries()
    pin(vases[0], vases[3], 2)
    pin(vases[0], vases[4], 3)
    hide(vases[0], vases[5])
    many = queries()
    assert len(many) == len(few)
    assert not any('"embedding",' in sql.partition(" FROM ")[0] for sql in many)


# Who may.


def test_permissions__without_any_there_is_nothing(may, vases):
    client = may("view_vase", "change_vase")
    assert "Pins and hides" not in client.get(change_page(vases[0])).content.decode()
    stem = "/admin/similar_products_merchandising/rule"
    assert client.get(f"{stem}/preview/tests/vase/{vases[0].pk}/").status_code == 403
    assert client.get(f"{stem}/products/tests/vase/").status_code == 403
    client.post(change_page(vases[0]), form({"other_key": vases[1].pk, "place": 1}))
    assert not Rule.objects.exists()


def test_permissions__of_the_rules_alone_show_no_product(may, vases):
    client = may("view_rule", "change_rule")
    stem = "/admin/similar_products_merchandising/rule"
    assert client.get(f"{stem}/preview/tests/vase/{vases[0].pk}/").status_code == 403
    assert client.get(f"{stem}/products/tests/vase/").status_code == 403


def test_permissions__to_look_only(may, vases):
    pin(vases[0], vases[3], 1)
    client = may("view_vase", "change_vase", "view_rule")
    page = client.get(change_page(vases[0])).content.decode()
    assert "item 03" in page
    assert "admin-autocomplete" not in page
    client.post(change_page(vases[0]), form({"other_key": vases[1].pk, "place": 2}))
    assert Rule.objects.count() == 1


def test_permissions__to_add_only(may, vases):
    old = pin(vases[0], vases[3], 1)
    client = may("view_vase", "change_vase", "add_rule")
    client.post(
        change_page(vases[0]),
        form({"id": old.pk, "other_key": vases[1].pk, "place": 9}, {"other_key": vases[2].pk, "place": 2}, before=1),
    )
    assert [rule.other for rule in Rule.objects.order_by("pk")][:1] == [vases[3]]


def test_permissions__to_add_only_are_enough_to_search(may, vases):
    client = may("view_vase", "change_vase", "add_rule")
    answer = client.get("/admin/similar_products_merchandising/rule/products/tests/vase/?term=04")
    assert [each["text"] for each in answer.json()["results"]] == ["item 04"]


def test_permissions__preview_asks_for_the_very_product(admin_client, vases, monkeypatch):
    monkeypatch.setattr(ProductAdmin, "has_view_permission", lambda self, request, obj=None: obj != vases[0])
    stem = "/admin/similar_products_merchandising/rule/preview/tests/vase"
    assert admin_client.get(f"{stem}/{vases[0].pk}/").status_code == 403
    assert admin_client.get(f"{stem}/{vases[1].pk}/").status_code == 200


# The select.


def test_products__are_those_that_their_own_admin_finds(admin_client, vases):
    answer = admin_client.get("/admin/similar_products_merchandising/rule/products/tests/vase/?term=04")
    assert answer.json() == {"results": [{"id": str(vases[4].pk), "text": "item 04"}], "pagination": {"more": False}}


def test_products__without_an_order_of_their_own(admin_client):
    for number in range(30):
        Rug.objects.create(name=f"rug {number}")
    answer = admin_client.get("/admin/similar_products_merchandising/rule/products/tests/rug/?page=2").json()
    assert [each["text"] for each in answer["results"]] == [f"rug {number}" for number in range(20, 30)]


@pytest.mark.parametrize("model", ["tests/order", "tests/shelf", "none/such"])
def test_products__of_another_model_are_not_found(admin_client, model):
    assert admin_client.get(f"/admin/similar_products_merchandising/rule/products/{model}/").status_code == 404


# The preview.


def preview(client, product, tail: str = "") -> list[list[str]]:
    """Return the names in both lists; those that are marked as pinned end with an asterisk."""
    page = client.get(
        f"/admin/similar_products_merchandising/rule/preview/tests/{product._meta.model_name}/{product.pk}/{tail}"
    )
    assert page.status_code == 200
    lists = re.findall("<ol>(.*?)</ol>", page.content.decode(), re.DOTALL)
    return [
        [
            re.search(r"item \d\d", entry)[0] + ("*" if 'preview-pinned">' in entry else "")
            for entry in re.findall("<li>(.*?)</li>", each, re.DOTALL)
        ]
        for each in lists
    ]


def test_preview__with_and_without(admin_client, vases):
    pin(vases[0], vases[5], 1)
    hide(vases[2], vases[0])
    hide(vases[3])
    assert preview(admin_client, vases[0]) == [
        ["item 05*", "item 01", "item 04"],
        ["item 01", "item 02", "item 03", "item 04", "item 05"],
    ]


def test_preview__of_another_time(admin_client, vases):
    pin(vases[0], vases[5], 1, start=NEW_YEAR, end=NEW_YEAR + timedelta(hours=1))
    assert preview(admin_client, vases[0])[0][0] == "item 01"
    assert preview(admin_client, vases[0], "?at=2026-01-01T00:30")[0][0] == "item 05*"
    assert preview(admin_client, vases[0], "?at=2026-01-01T01:00")[0][0] == "item 01"


def test_preview__of_a_time_that_is_none_says_so(admin_client, vases):
    address = f"/admin/similar_products_merchandising/rule/preview/tests/vase/{vases[0].pk}/?at=soon"
    assert errors(admin_client.get(address)) == ["Enter a valid date/time."]


def test_preview__says_what_came_of_each_rule(admin_client, vases):
    pin(vases[0], vases[5], 1)
    pin(vases[0], vases[4], 2)
    hide(vases[4])
    hide(vases[0], vases[1])
    address = f"/admin/similar_products_merchandising/rule/preview/tests/vase/{vases[0].pk}/"
    page = admin_client.get(address).content.decode().partition("<h2>Rules in force")[2]
    entries = [re.sub(r"\s+|<[^>]+>", " ", each) for each in re.findall("<li>(.*?)</li>", page, re.DOTALL)]
    assert "item 05, place 1" in entries[0]
    assert "not among" not in entries[0]
    assert "item 04, place 2" in entries[1]
    assert "not among the first 12" in entries[1]
    assert "never show together: item 01" in entries[2]


def test_preview__is_a_visitors(admin_client):
    rugs = [item.row for item in fill(CATALOGUES["companions of pictures"], 4)]
    pin(rugs[0], rugs[3], 1)
    Rug.objects.filter(pk=rugs[3].pk).update(published=False)
    assert preview(admin_client, rugs[0])[0] == ["item 01", "item 02"]


def by_host(products, request):
    """A shop's rule that cannot do without the request."""
    return products.filter(name__lt="item 04") if request.get_host() and request.user.is_anonymous else products


def test_preview__is_asked_for_with_the_request(admin_client, vases, settings):
    visible = {"tests.Vase": {"THROUGH": "look", "VISIBLE": f"{__name__}.by_host"}}
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "PRODUCTS": visible}
    assert preview(admin_client, vases[0])[0] == ["item 01", "item 02", "item 03"]


def test_preview__encoder_that_cannot_be_made_is_said(admin_client, vases, settings, tmp_path):
    write_bands(tmp_path / "bands.json", "another", Bands(0.9, 0.8, 0.7))
    settings.SIMILAR_PRODUCTS = {
        **settings.SIMILAR_PRODUCTS,
        "BANDS": tmp_path / "bands.json",
        "ENCODER": {"BACKEND": "no.such.Encoder"},
    }
    answer = admin_client.get(f"/admin/similar_products_merchandising/rule/preview/tests/vase/{vases[0].pk}/")
    assert answer.status_code == 200
    assert "which cannot be imported" in answer.content.decode()


def test_preview__word_in_the_language_of_the_page_and_a_storage_without_urls(
    admin_client, vases, settings, tmp_path, monkeypatch
):
    real = FileSystemStorage.url

    def url(storage, name):
        if name.startswith("item"):
            raise NotImplementedError
        return real(storage, name)

    monkeypatch.setattr(FileSystemStorage, "url", url)
    write_bands(tmp_path / "bands.json", ENCODER, Bands(0.99999, 0.9, 0.1))
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "BANDS": tmp_path / "bands.json"}
    settings.LANGUAGE_CODE = "de"
    address = f"/admin/similar_products_merchandising/rule/preview/tests/vase/{vases[0].pk}/"
    page = admin_client.get(address).content.decode()
    assert f", {override_de(WORDS['very similar'])}</small>" in page
    assert "very similar" not in page
    assert "<img" not in page.partition('class="preview-lists"')[2]


def override_de(text) -> str:
    with translation.override("de"):
        return str(text)


def test_preview__of_a_model_without_vectors_says_why(admin_client):
    shelf = Shelf.objects.create()
    address = f"/admin/similar_products_merchandising/rule/preview/tests/shelf/{shelf.pk}/"
    assert "which is not derived from VisuallySimilarModel" in admin_client.get(address).content.decode()


@pytest.mark.parametrize("key", ["0", "x", "_2F"])
def test_preview__of_no_product_is_404(admin_client, key):
    address = f"/admin/similar_products_merchandising/rule/preview/tests/vase/{key}/"
    assert admin_client.get(address).status_code == 404


# The list of all rules.


def test_list__names_the_products_of_every_model(admin_client, vases):
    shirts = [Shirt.objects.create(name=name) for name in ("red", "blue")]
    pin(vases[0], vases[4], 1)
    hide(*shirts, end=NEW_YEAR)
    page = admin_client.get("/admin/similar_products_merchandising/rule/").content.decode()
    for name in ("item 00", "item 04", "red", "blue"):
        assert f">{name}<" in page
    assert page.count("icon-yes") == 1
    assert page.count("icon-no") == 1
    assert "Add pin or hide" not in page
    found = admin_client.get(f"/admin/similar_products_merchandising/rule/?q={shirts[0].pk}&action__exact=hide")
    assert ">blue<" in found.content.decode()
    assert admin_client.get("/admin/similar_products_merchandising/rule/add/").status_code == 403


def test_list__one_rule_is_changed(admin_client, vases):
    rule = pin(vases[0], vases[4], 1)
    other = pin(vases[0], vases[3], 2)
    address = f"/admin/similar_products_merchandising/rule/{rule.pk}/change/"
    page = admin_client.get(address).content.decode()
    assert f'<a href="/admin/tests/vase/{vases[0].pk}/change/">item 00</a>' in page
    assert re.search(r"selected>\s*item 04\s*</option>", page)
    data = {"action": "pin", "other_key": vases[4].pk, "place": 2}
    data |= {f"{name}_{part}": "" for name in ("start", "end") for part in (0, 1)}
    assert errors(admin_client.post(address, data)) == [
        "Place 2 is given to item 04 and item 03 at the same time: choose another place or time for one of them."
    ]
    other.delete()
    assert admin_client.post(address, data).status_code == 302
    rule.refresh_from_db()
    assert rule.place == 2


def test_list__rule_of_a_model_that_only_a_proxy_is_registered_for(admin_client):
    shirts = [Shirt.objects.create(name=name) for name in ("red", "blue")]
    rule = hide(*shirts)
    page = admin_client.get(f"/admin/similar_products_merchandising/rule/{rule.pk}/change/").content.decode()
    assert "/rule/products/tests/cheapshirt/" in page
    assert f'<a href="/admin/tests/cheapshirt/{shirts[0].pk}/change/">red</a>' in page


def test_list__rule_of_a_model_that_has_no_admin(admin_client):
    from tests.models import Chair

    chairs = [Chair.objects.create(name=name) for name in ("red", "blue")]
    rule = hide(*chairs)
    page = admin_client.get(f"/admin/similar_products_merchandising/rule/{rule.pk}/change/").content.decode()
    assert "red" in page
    assert f'value="{chairs[1].pk}"' in page


# Checks.


def inline_errors(a_site, product_admin) -> list[str]:
    a_site.register(Vase, product_admin)
    return [error.id for error in a_site.get_model_admin(Vase).check()]


def test_checks__say_what_the_inline_needs():
    class WithoutSearch(admin.ModelAdmin):
        inlines = (PinsAndHidesInline,)

    with_rules = admin.AdminSite()
    with_rules.register(Rule, RuleAdmin)
    assert inline_errors(with_rules, WithoutSearch) == ["similar_products_merchandising.E002"]
    assert inline_errors(admin.AdminSite(), ProductAdmin) == ["similar_products_merchandising.E001"]
    assert site.get_model_admin(Vase).check() == []
    assert site.get_model_admin(Rule).check() == []
