"""Uploaded photos: what is refused, and before what is read."""

import pytest
from django.core.files.uploadedfile import InMemoryUploadedFile, SimpleUploadedFile
from django.test import RequestFactory

from similar_products.pictures import uploads
from similar_products.pictures.gate import ImageRejected
from similar_products.pictures.uploads import PhotoInMemory, length_of, read_photo, refuse_length

MEGABYTE = 1024 * 1024


def posted(*contents: bytes, name: str = "photo"):
    """Return a request with those files whose upload handler is ours."""
    files = [SimpleUploadedFile(f"{number}.jpg", content) for number, content in enumerate(contents)]
    request = RequestFactory().post("/", {name: files, "q": "dress"})
    request.upload_handlers = [PhotoInMemory(request)]
    return request


def rejected(function, request) -> tuple[str, str]:
    with pytest.raises(ImageRejected) as caught:
        function(request)
    return caught.value.code, str(caught.value)


def test_photo__of_10_mb_is_kept_in_memory(settings):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10
    request = posted(b"x" * 10 * MEGABYTE)
    photo = read_photo(request)
    assert isinstance(photo, InMemoryUploadedFile)
    assert photo.size == len(photo.read()) == 10 * MEGABYTE
    assert request.POST["q"] == "dress"


def test_photo__of_one_byte_more_is_refused():
    assert rejected(read_photo, posted(b"x" * (10 * MEGABYTE + 1))) == (
        "too_large_bytes",
        "The photo has more than 10 MB; choose a smaller one.",
    )


def test_photo__without_a_byte_is_left_to_the_gate():
    assert read_photo(posted(b"")).size == 0


def test_second_file__is_refused():
    assert rejected(read_photo, posted(b"x", b"y")) == ("one_file", "Send one file only.")


def test_form__without_a_photo_is_refused():
    assert rejected(read_photo, posted()) == ("no_photo", "Choose a photo first.")
    assert rejected(read_photo, posted(b"x", name="picture")) == ("no_photo", "Choose a photo first.")


def test_form__that_cannot_be_read_is_refused():
    request = RequestFactory().post("/", b"junk", content_type="multipart/form-data; boundary=")
    assert rejected(read_photo, request) == ("no_photo", "The form cannot be read.")


@pytest.mark.parametrize("length", ["", "x", None])
def test_length__that_is_not_sent_is_refused(length):
    request = RequestFactory().post("/", b"x", content_type="text/plain")
    request.META["CONTENT_LENGTH"] = length
    assert rejected(length_of, request) == (
        "length_required",
        "The request has a body without Content-Length; send its length.",
    )


def test_length__over_the_limit_is_refused_unread(monkeypatch):
    request = posted(b"x" * 100)
    monkeypatch.setattr(uploads, "MAX_FORM_BYTES", length_of(request))
    refuse_length(request)
    monkeypatch.setattr(uploads, "MAX_FORM_BYTES", length_of(request) - 1)
    assert rejected(refuse_length, request)[0] == "too_large_bytes"
    assert not hasattr(request, "_files")
