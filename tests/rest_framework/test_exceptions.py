"""Errors: their statuses, codes and sentences."""

import pytest
from rest_framework.filters import BaseFilterBackend

from similar_products.encoders import ColorHistogramEncoder, EncoderError
from similar_products.pictures.decoder import ImageRejected
from similar_products.rest_framework import views
from similar_products.search import photo as shared_photos
from tests.api import ShirtViewSet
from tests.drawn_pictures import picture_bytes
from tests.models import Shirt
from tests.rest_framework.answers import odd, photo, similar

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes")]


def test_errors__of_methods_and_formats(client, rugs):
    answer = client.post(similar(rugs[0]))
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    answer = client.get(similar(rugs[0]), HTTP_ACCEPT="image/png")
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    assert client.get("/api/products/search/").status_code == 405
    assert client.options("/api/products/search/").status_code == 200


def test_errors__faults_are_faults(client, rugs, monkeypatch):
    monkeypatch.setattr(views, "ranked", None)
    client.raise_request_exception = False
    assert client.get(similar(rugs[0])).status_code == 500


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 400, "empty_file"),
        (b"no picture", 415, "unsupported_format"),
        (picture_bytes("red", "blue", format="TIFF"), 415, "unsupported_format"),
        (picture_bytes("red", "blue", size=(400, 300))[:400], 400, "truncated"),
        (picture_bytes("red", size=(6_000, 6_000)), 413, "too_many_pixels"),
    ],
)
def test_search__bad_photo_is_refused_by_the_gates_code(client, data, status, code):
    answer = client.post("/own/shirts/search/", odd(data))
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) == {"detail", "code"}


def test_search__encoder_that_cannot_work_is_503(client, monkeypatch, caplog):
    def fail(self, pixels):
        raise EncoderError("no model")

    monkeypatch.setattr(ColorHistogramEncoder, "features", fail)
    answer = client.post("/own/shirts/search/", {"image": photo("red", "blue")})
    assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (503, "encoder_unavailable", "60")
    assert "no model" not in answer.content.decode()
    assert "no model" in caplog.text


def test_search__decoder_that_cannot_start_is_503(client, monkeypatch):
    def fail(*args, **kwargs):
        raise ImageRejected("decoder_unavailable", "It cannot be started.")

    monkeypatch.setattr(shared_photos, "load_pixels", fail)
    answer = client.post("/own/shirts/search/", {"image": photo("red", "blue")})
    assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (503, "decoder_unavailable", "10")


def test_own__value_that_the_database_refuses_is_400(client, shirts, monkeypatch):
    class Raw(BaseFilterBackend):
        def filter_queryset(self, request, queryset, view):
            return queryset.extra(where=["price < %s::int"], params=[request.query_params.get("p", "5")])

    monkeypatch.setattr(ShirtViewSet, "filter_backends", (Raw,))
    answer = client.get(f"/own/shirts/{shirts[0].pk}/similar/?p=99999999999999")
    assert answer.status_code == 404  # the anchor is filtered without the parameter, and costs 10
    Shirt.objects.update(price=1)
    answer = client.get(f"/own/shirts/{shirts[0].pk}/similar/?p=99999999999999")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
