"""Bodies of requests: forms, JSON, and their lengths."""

import json
from contextlib import closing
from http.client import HTTPConnection

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tests.rest_framework.answers import photo

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes")]


def test_search__one_file_only(client):
    two = client.post("/own/shirts/search/", {"image": [photo("red"), photo("blue")]})
    assert (two.status_code, two.json()["code"]) == (400, "one_file")
    other = client.post("/own/shirts/search/", {"picture": photo("red")})
    assert (other.status_code, other.json()["code"]) == (400, "unknown_parameter")


def test_search__too_large_is_413_unread(client):
    large = client.post("/own/shirts/search/", {"image": SimpleUploadedFile("photo.png", bytes(11 * 1024 * 1024))})
    assert (large.status_code, large.json()["code"]) == (413, "too_large_bytes")
    over = client.post("/own/shirts/search/", {"image": SimpleUploadedFile("photo.png", bytes(10 * 1024 * 1024 + 1))})
    assert (over.status_code, over.json()["code"]) == (413, "too_large_bytes")
    body = json.dumps({"key": "x" * 20_000})
    text = client.post("/own/shirts/search/", body, content_type="application/json")
    assert (text.status_code, text.json()["code"]) == (413, "too_large_bytes")


def test_search__other_content_is_415(client):
    answer = client.post("/own/shirts/search/", "key=a", content_type="application/x-www-form-urlencoded")
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("body", [b"--x\r\n", b"no form at all", b"--x\r\nContent-Disposition: form-data\r\n\r\n"])
def test_search__broken_form_is_400(client, body):
    answer = client.post("/own/shirts/search/", body, content_type="multipart/form-data; boundary=x")
    assert answer.status_code == 400
    bare = client.post("/own/shirts/search/", body, content_type="multipart/form-data")
    assert (bare.status_code, bare.json()["code"]) == (400, "parse_error")


def test_search__too_many_fields_are_400(client):
    answer = client.post("/own/shirts/search/", {f"field {number}": "x" for number in range(1_100)})
    assert (answer.status_code, answer.json()["code"]) == (400, "parse_error")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 16_000, b"NaN", b'{"key": NaN}', b'{"key": 1e999}'])
def test_search__broken_json_is_no_fault(client, body):
    answer = client.post("/own/shirts/search/", body, content_type="application/json")
    assert answer.status_code in (400, 410)
    assert set(answer.json()) >= {"detail", "code"}


def test_search__charset_of_the_request_is_not_used(client):
    """Decoding punycode takes time that grows with the square of its length, and any codec could be named."""
    body = b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\n\xc3\xbc\r\n--x--\r\n'
    answer = client.generic(
        "POST", "/api/products/search/", body, content_type="multipart/form-data; boundary=x; charset=utf-16"
    )
    assert (answer.status_code, answer.json()["code"]) == (410, "key_gone")


FORM = "Content-Type: multipart/form-data; boundary=x"


def send(address: str, *headers: str, body: bytes = b"") -> tuple[int, dict]:
    """Send these headers and bytes and no others; return status and answer as soon as they are there."""
    connection = HTTPConnection(address.removeprefix("http://"), timeout=60)
    connection.putrequest("POST", "/api/products/search/")
    for header in headers:
        connection.putheader(*header.split(": "))
    connection.endheaders()
    connection.send(body)
    with closing(connection), connection.getresponse() as answer:
        return answer.status, json.load(answer)


@pytest.mark.django_db(transaction=True)
def test_live__body_over_the_cap_is_refused_before_it_arrives(live_server):
    status, body = send(live_server.url, FORM, "Content-Length: 11000000")  # and not a byte of it
    assert (status, body["code"]) == (413, "too_large_bytes")
    status, body = send(live_server.url, "Content-Type: application/json", "Content-Length: 20000")
    assert (status, body["code"]) == (413, "too_large_bytes")


@pytest.mark.django_db(transaction=True)
def test_live__body_without_a_length_is_411(live_server):
    chunks = b"5\r\n--x\r\n\r\n0\r\n\r\n"
    status, body = send(live_server.url, FORM, "Transfer-Encoding: chunked", body=chunks)
    assert (status, body["code"]) == (411, "length_required")


@pytest.mark.django_db(transaction=True)
def test_live__what_follows_the_length_is_not_read(live_server):
    headers = ("Content-Type: application/json", "Content-Length: 2")
    status, body = send(live_server.url, *headers, body=b'{}{"key": "a"}')
    assert (status, body["code"]) == (400, "exactly_one")
