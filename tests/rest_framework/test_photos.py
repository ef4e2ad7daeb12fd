"""Photos by key and by URL, and how many at once."""

import io

import numpy as np
import pytest
from django.core.cache import cache
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

import similar_products.pictures.fetch
from similar_products.encoders import ColorHistogramEncoder
from similar_products.rest_framework import photos, views
from similar_products.search import photo as shared_photos
from tests.drawn_pictures import picture_bytes
from tests.models import Shirt
from tests.rest_framework.answers import names, odd, photo

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes")]


def test_search__key_stands_for_the_photo(client, colors, monkeypatch, django_assert_num_queries):
    first = client.post("/own/shirts/search/", {"image": photo("red", "lime")}).json()
    Shirt.objects.filter(name="red lime").update(price=99)
    monkeypatch.setattr(views, "embed_photo", None)
    with django_assert_num_queries(1):
        again = client.post("/own/shirts/search/?max_price=50&limit=2", {"key": first["key"]}, format="json")
    assert names(again)[0] == "red blue"
    assert again.json()["key"] == first["key"]
    assert names(client.post("/own/shirts/search/", {"key": first["key"]}))[0] == "red lime"  # as a form


def test_search__key_is_gone_with_its_time_and_its_encoder(client, colors, settings, monkeypatch):
    key = client.post("/own/shirts/search/", {"image": photo("red", "lime")}).json()["key"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ColorHistogramEncoder, "name", "another")
        other = client.post("/own/shirts/search/", {"key": key}, format="json")
    cache.delete(f"similar_products:search:{key}")
    for answer in (other, client.post("/own/shirts/search/", {"key": key}, format="json")):
        assert (answer.status_code, answer.json()) == (
            410,
            {"detail": "This key is not valid any more; send the photo again.", "code": "key_gone"},
        )
    monkeypatch.setattr(photos, "KEY_SECONDS", 0)
    key = client.post("/own/shirts/search/", {"image": photo("red", "lime")}).json()["key"]
    assert client.post("/own/shirts/search/", {"key": key}, format="json").status_code == 410


@pytest.mark.parametrize("key", ["a b", "\u20ac" * 22, "x" * 64, "\x7f" * 22])
def test_search__key_that_none_can_be_is_not_asked_of_the_cache(client, monkeypatch, key):
    monkeypatch.setattr(photos, "cache", None)
    answer = client.post("/api/products/search/", {"key": key}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (410, "key_gone")


def test_search__stores_nothing(client, colors, monkeypatch):
    monkeypatch.setattr("tempfile.NamedTemporaryFile", None)
    monkeypatch.setattr("django.core.files.uploadedfile.TemporaryUploadedFile.__init__", None)
    monkeypatch.setattr(type(default_storage._wrapped), "save", None)
    noise = np.random.default_rng(0).integers(0, 256, (1_200, 1_200, 3), dtype=np.uint8)
    data = colors_of(noise)
    assert len(data) > 4_000_000  # Django would put it into a folder
    answer = client.post("/own/shirts/search/", {"image": SimpleUploadedFile("photo.png", data)})
    assert answer.status_code == 200
    kept = cache.get(f"similar_products:search:{answer.json()['key']}")
    assert set(kept) == {"encoder", "vector"}
    assert len(kept["vector"]) == 4 * 1280


def colors_of(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_search__by_url_is_off(client):
    answer = client.post("/own/shirts/search/", {"image_url": "https://example.com/a.jpg"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (403, "url_search_off")


def test_search__by_url(client, colors, change, monkeypatch):
    change(FETCH_URLS=True)
    monkeypatch.setattr(
        similar_products.pictures.fetch,
        "_follow",
        lambda url, rules: picture_bytes("red", "lime", "black", size=(300, 99)),
    )
    body = {"image_url": "https://example.com/a.jpg", "region": "0,0,0.66,1"}
    assert names(client.post("/own/shirts/search/", body, format="json"))[0] == "red lime"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "ftp://example.com", "x", "http://[::1", "http://localhost:99999/"]
)
def test_search__url_that_must_not_be_fetched(client, change, url):
    change(FETCH_URLS=True)
    answer = client.post("/own/shirts/search/", {"image_url": url}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (400, "url_not_fetched")


def test_search__busy_is_503(client, colors, change):
    change(API={"MAX_INFERENCES": 1})
    with shared_photos._slots.occupy(1):
        answer = client.post("/own/shirts/search/", {"image": photo("red", "lime")})
    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert answer.json() == {"detail": "Too many photos at once; try again in a moment.", "code": "busy"}
    change(FETCH_URLS=True)
    with photos._fetches.occupy(1):
        answer = client.post("/own/shirts/search/", {"image_url": "https://example.com/a.jpg"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert client.post("/own/shirts/search/", {"image": photo("red", "lime")}).status_code == 200


def test_search__slot_is_free_again_after_a_bad_photo(client, change):
    change(API={"MAX_INFERENCES": 1})
    for _ in range(2):
        assert client.post("/own/shirts/search/", odd(b"x")).status_code == 415
