"""Pins and hides in the admin: on a product's page, in the list of all rules, and previewed."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.core.files.storage import FileSystemStorage
from django.utils import translation

from similar_products.merchandising.admin import PinsAndHidesInline, RuleAdmin
from similar_products.merchandising.models import Rule
from similar_products.search.bands import WORDS, Bands, write_bands
from similar_products.search.ranking import ranked
from tests.catalogues import CATALOGUES, ENCODER
from tests.merchandising.admin_pages import PREFIX, ProductAdmin, change_page, errors, form, site
from tests.merchandising.made_rules import NEW_YEAR, fill, hide, numbers, of_lamps, pin
from tests.models import CheapShirt, Lamp, PrintedShirt, Rug, Shelf, Shirt, Vase

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes", "rules_urls")]


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


def test_inline__a_product_that_is_gone_is_shown_by_its_key(admin_client, vases):
    gone = pin(vases[0], Vase(pk=vases[5].pk + 1), 1)
    page = admin_client.get(change_page(vases[0])).content.decode()
    assert re.search(rf"selected>\s*{gone.other_key}\s*</option>", page)


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
