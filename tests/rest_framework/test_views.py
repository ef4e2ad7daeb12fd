"""The API by real requests: the ready-made endpoints on rugs, and a shop's own ViewSet of shirts."""

import os
import re
import subprocess
import sys
from datetime import datetime

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.utils import timezone, translation
from rest_framework.exceptions import NotFound
from rest_framework.filters import BaseFilterBackend
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.test import APIRequestFactory
from rest_framework.viewsets import ReadOnlyModelViewSet

from similar_products.embedding import embed
from similar_products.encoders import ColorHistogramEncoder
from similar_products.rest_framework import photos, views
from similar_products.rest_framework.views import SimilarProductsMixin
from tests import api
from tests.api import ShirtViewSet
from tests.catalogues import CATALOGUES, ENCODER, Item, Picture, at_angle
from tests.drawn_pictures import picture_bytes, picture_file
from tests.models import Lamp, Rug, RugPhoto, RugPhotoLook, Shirt
from tests.rest_framework.answers import names, photo, similar

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes")]

NOT_FOUND = {"detail": "Not found.", "code": "not_found"}


# Similar products.


def test_similar__is_rank_product_similarity_and_word(client, rugs, bands):
    answer = client.get(similar(rugs[0], "?limit=3"))
    assert answer.status_code == 200
    body = answer.json()
    first = body["results"][0]
    assert re.fullmatch("[0-9a-f]{32}", body.pop("request_id"))
    assert {name: body[name] for name in body if name != "results"} == {
        "encoder": ENCODER,
        "count": 3,
        "fallback": False,
        "state": "ready",
    }
    # Both pictures of the anchor count.
    assert first["similarity"] == round(first["similarity"], 4) == pytest.approx(np.cos(0.2) / 2**0.5, abs=1e-3)
    assert first == {
        "rank": 1,
        "similarity": first["similarity"],
        "word": "similar",
        "word_display": "similar",
        "matched_image": "http://testserver/media/rug%202-1.png",
        "fallback": False,
        "product": {
            "pk": rugs[2].pk,
            "name": "rug 2",
            "url": None,
            "picture": "http://testserver/media/rug%202-1.png",
        },
    }
    assert names(answer) == ["rug 2", "rug 3", "rug 4"]
    assert "embedding" not in answer.content.decode()


def test_similar__two_queries(client, rugs, shirts, django_assert_num_queries):
    for address in (similar(rugs[0]), f"/own/shirts/{shirts[0].pk}/similar/", similar(rugs[0], "fragment/")):
        with django_assert_num_queries(2):
            assert client.get(address + "?limit=4").status_code == 200
        with django_assert_num_queries(3):  # ranked() makes sure that there are no more
            assert client.get(address + "?limit=9").status_code == 200


@pytest.mark.parametrize("tail", ["", "fragment/"])
def test_similar__hidden_is_404_exactly_like_missing(client, staff, rugs, tail):
    hidden = client.get(similar(rugs[1], tail))
    for missing in ("0", "999999999", "99999999999999999999999", "x", "%00", "1%00", "\uff11", "-1"):
        answer = client.get(f"/api/products/{missing}/similar/{tail}")
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)
        assert (answer.content, answer.headers.items()) == (hidden.content, hidden.headers.items())
    assert staff.get(similar(rugs[1], tail)).status_code == 200
    assert "rug 1" not in client.get(similar(rugs[0], tail)).content.decode()
    assert "rug 1" in staff.get(similar(rugs[0], tail)).content.decode()


def test_similar__state(client, rugs, django_assert_num_queries):
    made = {
        "no_picture": Rug.objects.create(name="bare"),
        "pending": Rug.objects.create(name="new"),
        "failed": Rug.objects.create(name="bad"),
    }
    RugPhoto.objects.create(rug=made["pending"], image="new.png")  # without its companion
    photo = RugPhoto.objects.create(rug=made["failed"], image="bad.png")
    RugPhotoLook.objects.bulk_create(
        [RugPhotoLook(photo=photo, embedding_source=f"{ENCODER}|bad.png", embedding_error="corrupt")]
    )
    for state, rug in made.items():
        with django_assert_num_queries(1):
            answer = client.get(similar(rug))
        assert (answer.status_code, answer.json()["state"], answer.json()["results"]) == (200, state, [])
    RugPhotoLook.objects.filter(photo=photo).update(embedding_source="older|bad.png", embedding_error="")
    assert client.get(similar(made["failed"])).json()["state"] == "pending"


@pytest.mark.parametrize("placement", CATALOGUES)
def test_similar__in_every_placement(client, change, placement):
    catalogue = CATALOGUES[placement]
    items = [
        *(Item(f"item {number}", [Picture(at_angle(number / 10))]) for number in range(4)),
        Item("stale", [Picture(at_angle(0.0), is_stale=True)]),
    ]
    catalogue.fill(items)
    change(API={"MODEL": catalogue.model._meta.label})
    answer = client.get(similar(items[0].row))
    assert names(answer) == ["item 1", "item 2", "item 3"]
    result = answer.json()["results"][0]
    assert result["product"]["picture"].startswith("http://testserver/media/item%201")
    assert result["matched_image"] == (result["product"]["picture"] if catalogue.several else None)
    assert result["word"] is result["word_display"] is None
    assert client.get(similar(items[4].row)).json()["state"] == "pending"


def test_similar__of_another_encoder_says_which(client):
    CATALOGUES["product"].fill([Item(name, [Picture(at_angle(0.1), encoder="older")]) for name in ("a", "b")])
    body = client.get(f"/own/shirts/{Shirt.objects.get(name='a').pk}/similar/").json()
    assert (body["encoder"], body["state"], body["count"]) == ("older", "pending", 1)


def test_similar__text_keys(client, change):
    change(API={"MODEL": "tests.Lamp"})
    Lamp.embeddings.bulk_create(
        Lamp(
            code=code,
            image=f"{number}.png",
            embedding=at_angle(number / 10),
            embedding_source=f"{ENCODER}|{number}.png",
            published=number != 2,
        )
        for number, code in enumerate(["a.b c", "ü", "hidden", "search"])
    )
    body = client.get("/api/products/a.b%20c/similar/").json()
    assert [result["product"]["pk"] for result in body["results"]] == ["ü", "search"]
    assert client.get("/api/products/search/similar/?exclude=%C3%BC").json()["count"] == 1
    assert client.get("/api/products/hidden/similar/").status_code == 404  # by the model's own manager
    assert client.get(f"/api/products/{'x' * 500}/similar/").status_code == 404
    assert client.get(f"/api/products/ü/similar/?exclude={'x' * 21}").status_code == 400


# The shop's own ViewSet.


def test_own__serializer_filters_and_lookup(client, shirts, monkeypatch):
    Shirt.objects.filter(name__in=["shirt 0", "shirt 3"]).update(price=99)
    Shirt.objects.filter(name="shirt 4").update(color="red")
    url = f"/own/shirts/{shirts[0].pk}/similar/"
    answer = client.get(url + "?max_price=50&limit=3")
    assert names(answer) == ["shirt 1", "shirt 2", "shirt 4"]  # though the shirt itself costs more
    assert answer.json()["results"][0]["product"] == {"id": shirts[1].pk, "name": "shirt 1", "color": "", "price": 10}
    assert names(client.get(url + "?color=red")) == ["shirt 4"]
    assert names(client.get(url + "?search=shirt+5")) == ["shirt 5"]
    assert names(client.get(url + "?ordering=-name&limit=2")) == ["shirt 1", "shirt 2"]
    bad = client.get(url + "?max_price=cheap")
    assert (bad.status_code, bad.json()["code"], bad.json()["errors"]) == (
        400,
        "invalid",
        {"max_price": ["Enter a number."]},
    )
    monkeypatch.setattr(ShirtViewSet, "lookup_field", "name")
    monkeypatch.setattr(ShirtViewSet, "lookup_url_kwarg", "pk")
    assert names(client.get("/own/shirts/shirt 0/similar/?limit=2")) == ["shirt 1", "shirt 2"]


class NoExpensive(BaseFilterBackend):
    """Who may see what: it reads no parameter."""

    def filter_queryset(self, request, queryset, view):
        return queryset.filter(price__lt=50, name__contains=request.query_params.get("part", ""))


class Distinct(BaseFilterBackend):
    def filter_queryset(self, request, queryset, view):
        return queryset.filter(price=10).distinct()


def test_own__filter_that_says_who_may_see_what_is_for_the_anchor_too(client, shirts, monkeypatch):
    Shirt.objects.filter(name__in=["shirt 0", "shirt 3"]).update(price=99)
    monkeypatch.setattr(ShirtViewSet, "filter_backends", (NoExpensive,))
    assert client.get(f"/own/shirts/{shirts[0].pk}/similar/").json() == NOT_FOUND
    assert names(client.get(f"/own/shirts/{shirts[1].pk}/similar/?limit=3")) == ["shirt 2", "shirt 4", "shirt 5"]
    assert names(client.get(f"/own/shirts/{shirts[1].pk}/similar/?part=5")) == ["shirt 5"]


def test_own__distinct_filter(client, shirts, monkeypatch):
    Shirt.objects.filter(name="shirt 1").update(price=99)
    monkeypatch.setattr(ShirtViewSet, "filter_backends", (Distinct,))
    assert names(client.get(f"/own/shirts/{shirts[0].pk}/similar/?limit=2")) == ["shirt 2", "shirt 3"]


class OnlyFirst(BasePermission):
    def has_object_permission(self, request, view, obj) -> bool:
        return obj.name == "shirt 1"


def test_own__permissions(client, staff, shirts, monkeypatch):
    monkeypatch.setattr(ShirtViewSet, "permission_classes", [IsAuthenticated, OnlyFirst])
    anonymous = client.get(f"/own/shirts/{shirts[1].pk}/similar/")
    assert (anonymous.status_code, anonymous.json()["code"]) == (403, "not_authenticated")
    denied = staff.get(f"/own/shirts/{shirts[2].pk}/similar/")
    assert (denied.status_code, denied.json()["code"]) == (403, "permission_denied")
    assert staff.get(f"/own/shirts/{shirts[1].pk}/similar/").status_code == 200


def test_own__visible_applies(client, shirts, change):
    change(PRODUCTS={"tests.Shirt": {"VISIBLE": "tests.rest_framework.test_views.cheap"}})
    Shirt.objects.filter(name__in=["shirt 0", "shirt 3"]).update(price=99)
    assert client.get(f"/own/shirts/{shirts[0].pk}/similar/").json() == NOT_FOUND
    assert names(client.get(f"/own/shirts/{shirts[1].pk}/similar/?limit=3")) == ["shirt 2", "shirt 4", "shirt 5"]


def cheap(products, request):
    assert request is not None
    assert request.user is not None
    return products.filter(price__lt=50)


def test_own__other_actions_are_as_they_were(client, shirts):
    assert client.get("/own/shirts/").json()[0]["name"] == "shirt 0"
    assert client.get("/own/shirts/0/").json() == {"detail": "No Shirt matches the given query."}


def test_own__action_of_a_name_like_ours_stays_the_shops(client, rates):
    class Own(SimilarProductsMixin, ReadOnlyModelViewSet):
        queryset = Shirt.objects.all()

        def search(self, request):
            raise NotFound

    rates(similar_products="1/min", similar_products_search="1/min")
    view = Own.as_view({"get": "search"})
    for _ in range(3):
        answer = view(APIRequestFactory().get("/"))
        assert (answer.status_code, answer.data) == (404, {"detail": "Not found."})


# Fallback.


@pytest.fixture(params=["bestsellers", "some_of_all", "keys_of_all", "sliced"])
def fallback(request, change) -> str:
    products = {"tests.Rug": {"THROUGH": "photos__look", "VISIBLE": "tests.visibility.published"}}
    products["tests.Rug"]["FALLBACK"] = f"tests.rest_framework.test_views.{request.param}"
    products["tests.Shirt"] = {"FALLBACK": f"tests.rest_framework.test_views.{request.param}"}
    change(PRODUCTS=products)
    return request.param


bestsellers = api.bestsellers


def some_of_all(products, request, target) -> list:
    """Return everything, whatever may be shown, and some of it twice."""
    everything = list(products.model._base_manager.order_by("-name"))
    return [*everything, *everything]


def keys_of_all(products, request, target):
    return (row.pk for row in some_of_all(products, request, target))


def sliced(products, request, target):
    return products.model._base_manager.order_by("-name")[:9]


def test_fallback__fills_up_and_is_marked(client, rugs, fallback):
    for number in (6, 7):
        Rug.objects.create(name=f"rug {number}")
    Rug.objects.create(name="rug 8", published=False)
    answer = client.get(similar(rugs[0], f"?limit=5&min_similarity=0.66&exclude={rugs[5].pk}"))
    body = answer.json()
    assert names(answer) == ["rug 2", "rug 3", "rug 7", "rug 6", "rug 4"]
    assert [result["rank"] for result in body["results"]] == [1, 2, 3, 4, 5]
    assert [result["fallback"] for result in body["results"]] == [False, False, True, True, True]
    assert (body["count"], body["fallback"]) == (5, True)
    assert body["results"][2] == {
        "rank": 3,
        "similarity": None,
        "word": None,
        "word_display": None,
        "matched_image": None,
        "fallback": True,
        "product": {"pk": Rug.objects.get(name="rug 7").pk, "name": "rug 7", "url": None, "picture": None},
    }
    assert body["results"][4]["product"]["picture"] == "http://testserver/media/rug%204-0.png"


def test_fallback__costs_one_query_more_or_two(client, rugs, fallback, django_assert_max_num_queries):
    with django_assert_max_num_queries(4 if fallback == "bestsellers" else 5):
        assert client.get(similar(rugs[0])).json()["fallback"] is False  # nothing else is visible
    bare = Rug.objects.create(name="bare")
    with django_assert_max_num_queries(2 if fallback == "bestsellers" else 3):
        assert client.get(similar(bare)).json()["fallback"] is True
    with django_assert_max_num_queries(2):
        client.get(similar(rugs[0], "?limit=2"))


def test_fallback__for_a_pending_product_and_with_filters(client, shirts, fallback):
    Shirt.objects.filter(name__in=["shirt 7", "shirt 5"]).update(price=99)
    pending = Shirt.objects.create(name="shirt x", image="x.png")
    body = client.get(f"/own/shirts/{pending.pk}/similar/?limit=3&max_price=50").json()
    assert [result["product"]["name"] for result in body["results"]] == ["shirt 8", "shirt 6", "shirt 4"]
    assert body["state"] == "pending"
    html = client.get(similar(Rug.objects.create(name="bare"), "fragment/")).content.decode()
    assert "rug" not in html


# Search.


def test_search__by_photo(client, colors, django_assert_num_queries):
    with django_assert_num_queries(1):
        answer = client.post("/own/shirts/search/?limit=2", {"image": photo("red", "lime", size=(300, 200))})
    body = answer.json()
    assert names(answer)[0] == "red lime"
    assert set(body) == {"request_id", "encoder", "count", "fallback", "key", "results"}
    assert (body["encoder"], body["count"], body["fallback"]) == (ENCODER, 2, False)
    assert body["results"][0]["similarity"] == pytest.approx(1, abs=0.05)
    assert re.fullmatch("[A-Za-z0-9_-]{22}", body["key"])


def test_search__region_is_what_is_searched_for(client, colors):
    data = picture_bytes("red", "lime", "black", "white", size=(400, 100))
    for region, expected in (("0,0,0.5,1", "red lime"), ("0.5,0,0.5,1", "black white")):
        image = SimpleUploadedFile("photo.png", data)
        answer = client.post("/own/shirts/search/", {"image": image, "region": region})
        assert names(answer)[0] == expected


def test_search__photo_of_one_color_is_blank(client, change):
    change(REFUSE_BLANK=True)
    assert client.post("/own/shirts/search/", {"image": photo("red")}).json()["code"] == "blank"


def test_search__photo_in_which_the_encoder_sees_nothing_is_blank(client, monkeypatch):
    monkeypatch.setattr(ColorHistogramEncoder, "features", lambda self, pixels: np.zeros((len(pixels), 1280)))
    answer = client.post("/own/shirts/search/", {"image": photo("red", "blue")})
    assert (answer.status_code, answer.json()["code"]) == (400, "blank")


def test_search__ready_made_is_narrowed_to_what_is_visible(client, staff, rugs):
    key = photos.remember(at_angle(0.1))
    post = {"path": "/api/products/search/", "data": {"key": key}, "format": "json"}
    assert sorted(names(client.post(**post))) == ["rug 0", "rug 2", "rug 3", "rug 4", "rug 5"]
    assert names(staff.post(**post))[0] == "rug 1"


# Status.


def test_status__is_for_staff(client, staff, rugs):
    anonymous = client.get("/api/products/status/")
    assert (anonymous.status_code, anonymous.json()["code"]) == (403, "not_authenticated")
    client.force_authenticate(User.objects.create(username="customer"))
    customer = client.get("/api/products/status/")
    assert (customer.status_code, customer.json()["code"]) == (403, "permission_denied")
    photo = RugPhoto.objects.create(rug=rugs[0], image="bad.png")
    RugPhoto.objects.create(rug=rugs[0], image="new.png")
    RugPhotoLook.objects.bulk_create(
        [RugPhotoLook(photo=photo, embedding_source=f"{ENCODER}|bad.png", embedding_error="corrupt")]
    )
    assert staff.get("/api/products/status/").json() == {
        "model": "tests.Rug",
        "encoder": ENCODER,
        "last_embedded": None,
        "ready": 12,
        "pending": 1,
        "failed": 1,
        "codes": {"corrupt": 1},
    }


def test_status__says_when_a_picture_was_last_embedded(staff, rugs):
    before = timezone.now()
    photo = RugPhoto.objects.create(rug=rugs[0], image=default_storage.save("new.png", picture_file("red", "blue")))
    RugPhotoLook.objects.bulk_create([RugPhotoLook(photo=photo)])
    assert embed(RugPhotoLook.objects.pending()).embedded == 1
    said = datetime.fromisoformat(staff.get("/api/products/status/").json()["last_embedded"])
    assert before <= said <= timezone.now()


# The fragment.


def test_fragment__is_what_the_tag_renders(client, rugs):
    answer = client.get(similar(rugs[0], "fragment/?limit=2"))
    assert answer["Content-Type"] == "text/html; charset=utf-8"
    html = answer.content.decode()
    assert html.startswith('<section class="similar-products"')
    assert html.index("rug 2") < html.index("rug 3")
    assert "rug 4" not in html
    assert client.get(similar(rugs[0], "fragment/"), HTTP_ACCEPT="text/html").status_code == 200


def test_fragment__is_kept_until_it_changes(client, rugs, change):
    url = similar(rugs[0], "fragment/?limit=2")
    answer = client.get(url)
    assert answer["Cache-Control"] == "private, max-age=60"
    assert answer["Vary"] == "Accept-Language, Cookie, Authorization"
    again = client.get(url, HTTP_IF_NONE_MATCH=answer["ETag"])
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", answer["ETag"])
    assert again["Cache-Control"] == answer["Cache-Control"]
    assert again["Vary"] == answer["Vary"]
    assert client.get(url, HTTP_IF_NONE_MATCH='"other"').status_code == 200
    with translation.override("de"):
        assert client.get(url, HTTP_IF_NONE_MATCH=answer["ETag"]).status_code == 200
    Rug.objects.filter(name="rug 2").update(name="carpet 2")
    assert b"carpet 2" in client.get(url, HTTP_IF_NONE_MATCH=answer["ETag"]).content
    Rug.objects.filter(name="carpet 2").update(published=False)
    assert b"rug 4" in client.get(url, HTTP_IF_NONE_MATCH=answer["ETag"]).content
    Rug.objects.filter(pk=rugs[0].pk).update(published=False)
    assert client.get(url, HTTP_IF_NONE_MATCH=answer["ETag"]).status_code == 404
    change(API={"MODEL": "tests.Rug", "FRAGMENT_MAX_AGE": 0})
    assert client.get(similar(rugs[3], "fragment/"))["Cache-Control"] == "private, max-age=0"


def test_fragment__of_a_pending_product_is_empty_and_known_from_a_failed_one(client, rugs):
    rug = Rug.objects.create(name="new")
    empty = client.get(similar(rug, "fragment/"))
    assert (empty.status_code, empty.content) == (200, b"")
    RugPhoto.objects.create(rug=rug, image="new.png")
    assert client.get(similar(rug, "fragment/"))["ETag"] != empty["ETag"]


# The browsable API.


def test_browsable__pages_render(client, rugs, shirts):
    for address in (similar(rugs[0]), f"/own/shirts/{shirts[0].pk}/similar/?max_price=50"):
        answer = client.get(address, HTTP_ACCEPT="text/html")
        assert (answer.status_code, answer["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert "similarity" in answer.content.decode()


@pytest.mark.parametrize("address", ["/api/products/search/", "/own/shirts/search/"])
def test_browsable__search_has_a_form(client, shirts, address):
    html = client.get(address, HTTP_ACCEPT="text/html").content.decode()
    for name in ("image", "image_url", "key", "region"):
        assert f'name="{name}"' in html
    assert 'type="file"' in html
    posted = client.post(address, {"image": photo("red", "lime"), "csrfmiddlewaretoken": "x"}, HTTP_ACCEPT="text/html")
    assert posted.status_code == 200, posted.content


def test_browsable__form_fields_left_empty(client, shirts):
    body = {"image": photo("red", "lime"), "image_url": "", "key": "", "region": ""}
    assert client.post("/own/shirts/search/", body).status_code == 200


# Settings.


def test_api__serializer_and_filters_of_the_settings(client, colors, change):
    change(API={"MODEL": "tests.Shirt", "SERIALIZER": "tests.api.ShirtSerializer", "FILTERSET": ["color", "price"]})
    Shirt.objects.filter(name="red blue").update(price=5)
    answer = client.get(similar(colors[1], "?price=5"))
    assert names(answer) == ["red blue"]
    assert set(answer.json()["results"][0]["product"]) == {"id", "name", "color", "price"}
    change(API={"MODEL": "tests.Shirt", "FILTERSET": "tests.api.ShirtFilter"})
    answer = client.get(similar(colors[1], "?max_price=5"))
    assert names(answer) == ["red blue"]
    assert answer.json()["results"][0]["product"]["url"] == f"http://testserver/shirts/{colors[0].pk}/"


@pytest.mark.parametrize("label", ["", "shop", "tests.Missing", "auth.User", "tests.Shelf"])
def test_api__model_that_is_none_is_named(change, label):
    change(API={"MODEL": label})
    with pytest.raises(
        ImproperlyConfigured, match=f"\\['MODEL'\\] is '{label}'; valid is the label of a product model"
    ):
        views.get_api_model()


# What it costs a process.

SIMILAR_ALONE = """
import sys
import django
django.setup()
from django.conf import settings
from django.test import Client
from django.test.utils import setup_test_environment
setup_test_environment()
settings.ROOT_URLCONF = "tests.api"
settings.SIMILAR_PRODUCTS = {"API": {"MODEL": "tests.Shirt"}}  # the encoder is the default
from tests.models import Shirt
pk = Shirt.objects.get(name="shirt 0").pk
for address in (f"/api/products/{pk}/similar/", f"/api/products/{pk}/similar/fragment/", f"/own/shirts/{pk}/similar/"):
    assert Client().get(address).status_code == 200
assert "similar_products.encoders.tfhub" in sys.modules
print([name for name in ("tensorflow", "tensorflow_hub", "keras") if name in sys.modules])
"""


@pytest.mark.django_db(transaction=True)
def test_similar__never_imports_tensorflow(shirts):
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.child_settings",
        "TEST_DATABASE_NAME": connection.settings_dict["NAME"],
    }
    command = [sys.executable, "-c", SIMILAR_ALONE]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_import__without_the_optional_packages():
    script = """
import sys
sys.modules.update(drf_spectacular=None, django_filters=None)
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"])
django.setup()
from similar_products.rest_framework import views
print(views.SimilarProductsMixin.similar.kwargs["schema"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("None\n", "")


def test_fragment__other_conditions_than_if_none_match_are_not_looked_at(client, rugs):
    address = similar(rugs[0], "fragment/")
    assert client.get(address, HTTP_IF_UNMODIFIED_SINCE="Mon, 01 Jan 2001 00:00:00 GMT").status_code == 200
    assert client.get(address, HTTP_IF_MATCH='"other"').status_code == 200
