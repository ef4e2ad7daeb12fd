"""Parameters, bodies and what an answer leaves out."""

import json

import pytest
from django.core.files.storage import default_storage
from django.utils import translation
from rest_framework.serializers import ModelSerializer

from similar_products.rest_framework import views
from tests.api import ShirtViewSet
from tests.models import Shirt
from tests.rest_framework.answers import names, photo, similar

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes")]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=1", ["rug 2"]),
        ("limit=", ["rug 2", "rug 3", "rug 4", "rug 5"]),
        ("min_similarity=0.66", ["rug 2", "rug 3"]),
        ("diversity=0.0", ["rug 2", "rug 3", "rug 4", "rug 5"]),
        ("exclude={2}&exclude={3}", ["rug 4", "rug 5"]),
        ("exclude={2},{4},&exclude={5}", ["rug 3"]),
    ],
)
def test_similar__options(client, rugs, query, expected):
    query = query.format(*(rug.pk for rug in rugs))
    assert names(client.get(similar(rugs[0], f"?{query}"))) == expected


@pytest.mark.parametrize(
    ("query", "parameter", "sentence"),
    [
        ("limit=0", "limit", "Ensure this value is greater than or equal to 1."),
        ("limit=101", "limit", "Ensure this value is less than or equal to 100."),
        ("limit=many", "limit", "A valid integer is required."),
        ("min_similarity=1.1", "min_similarity", "Ensure this value is less than or equal to 1.0."),
        ("min_similarity=nan", "min_similarity", "A valid number is required."),
        ("diversity=-0.1", "diversity", "Ensure this value is greater than or equal to 0.0."),
        ("diversity=inf", "diversity", "A valid number is required."),
        ("exclude=x", "exclude", "'x' is not the key of a product."),
        ("exclude=99999999999999999999", "exclude", "'99999999999999999999' is not the key of a product."),
        ("exclude=1%00", "exclude", "'1\\x00' is not the key of a product."),
        ("exclude=" + ",".join(map(str, range(501))), "exclude", "Maximum number of products to exclude: 500."),
    ],
)
@pytest.mark.parametrize("tail", ["", "fragment/"])
def test_similar__bad_parameter_is_400_and_says_which(client, rugs, query, parameter, sentence, tail):
    answer = client.get(similar(rugs[0], f"{tail}?{query}"))
    assert answer.status_code == 400
    assert answer.json() == {
        "detail": f"{parameter}: {sentence}",
        "code": "invalid",
        "errors": {parameter: [sentence]},
    }


def test_similar__sentences_are_translated(client, rugs):
    with translation.override("de"):
        detail = client.get(similar(rugs[0], "?limit=0"), HTTP_ACCEPT_LANGUAGE="de").json()["detail"]
    assert detail.startswith("limit: Stelle sicher")


ONE_OF = "Send exactly one of image, image_url and key."


@pytest.mark.parametrize(
    ("body", "code", "detail"),
    [
        ({}, "exactly_one", ONE_OF),
        ({"key": "a", "image_url": "https://example.com/a.jpg"}, "exactly_one", ONE_OF),
        (
            {"image": "photo"},
            "invalid",
            "image: The submitted data was not a file. Check the encoding type on the form.",
        ),
        ({"key": None}, "invalid", "key: This field may not be null."),
        ({"key": "a\0"}, "invalid", "key: Null characters are not allowed."),
        ({"key": "x" * 65}, "invalid", "key: Ensure this field has no more than 64 characters."),
        ({"key": "a", "region": "0,0,1,1"}, "region_needs_photo", "A key stands for a photo and its region"),
        ({"key": "a", "region": "1,1,1,1"}, "invalid", "region: Give x,y,width,height in fractions of the picture"),
        ({"key": "a", "region": "a,b"}, "invalid", "region: Give x,y,width,height in fractions of the picture"),
        ({"key": "a", "region": "nan,0,1,1"}, "invalid", "region: Give x,y,width,height in fractions of the picture"),
        ({"key": "a", "limit": 3}, "unknown_parameter", "Unknown: limit. The body has image, image_url or key"),
        ([], "invalid", "Invalid data. Expected a dictionary, but got list."),
        ("text", "invalid", "Invalid data. Expected a dictionary, but got str."),
        (None, "invalid", "No data provided"),
    ],
)
def test_search__bad_body_is_400_with_a_code(client, body, code, detail):
    answer = client.post("/own/shirts/search/", json.dumps(body), content_type="application/json")
    assert answer.status_code == 400
    assert answer.json()["code"] == code
    assert answer.json()["detail"].startswith(detail)


def test_search__bad_option_is_said_before_the_photo_is_read(client, monkeypatch):
    monkeypatch.setattr(views, "embed_photo", None)
    answer = client.post("/own/shirts/search/?limit=0", {"image": photo("red")})
    assert answer.json()["detail"] == "limit: Ensure this value is greater than or equal to 1."


def test_search__name_that_cannot_be_written_is_escaped(client):
    answer = client.generic(
        "POST", "/api/products/search/", rb'{"\ud800": 1, "key": "x"}', content_type="application/json"
    )
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(r"Unknown: \ud800. ")


class EverythingSerializer(ModelSerializer):
    class Meta:
        model = Shirt
        fields = "__all__"


def test_own__vectors_never_leave(client, shirts, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(ShirtViewSet, "serializer_class", EverythingSerializer)
    with django_assert_num_queries(2):
        answer = client.get(f"/own/shirts/{shirts[0].pk}/similar/?limit=5")
    assert set(answer.json()["results"][0]["product"]) == {"id", "name", "color", "price", "image"}


def test_api__picture_without_an_address_is_null(client, rugs, monkeypatch):
    def fail(self, name):
        raise ValueError("no address")

    monkeypatch.setattr(type(default_storage._wrapped), "url", fail)
    product = client.get(similar(rugs[0])).json()["results"][0]["product"]
    assert product["picture"] is None
