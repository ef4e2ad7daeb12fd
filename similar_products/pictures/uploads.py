"""An uploaded photo: refused by its length before it is read, and kept in memory only."""

import io
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadedfile import InMemoryUploadedFile, UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils.translation import gettext

from .decoder import ImageRejected
from .limits import PUBLIC

MAX_PHOTO_BYTES = PUBLIC.max_bytes
MAX_FORM_BYTES = MAX_PHOTO_BYTES + 16 * 1024
"""For the photo, the fields beside it and what multipart itself takes."""
FORM_ERRORS = (MultiPartParserError, SuspiciousOperation, UnreadablePostError)
"""What Django raises for a form that cannot be read."""


class PhotoInMemory(FileUploadHandler):
    """Takes one file of up to ``MAX_PHOTO_BYTES``; Django's own handlers write files over 2.5 MB to a folder."""

    _photo: io.BytesIO | None = None

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        if self._photo is not None:
            raise ImageRejected("one_file", gettext("Send one file only."))
        super().new_file(*args, **kwargs)
        self._photo = io.BytesIO()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if start + len(raw_data) > MAX_PHOTO_BYTES:
            raise too_large()
        assert self._photo is not None  # noqa: S101  new_file() came first
        self._photo.write(raw_data)

    def file_complete(self, file_size: int) -> InMemoryUploadedFile:
        assert self._photo is not None  # noqa: S101
        self._photo.seek(0)
        return InMemoryUploadedFile(self._photo, self.field_name, "photo", None, file_size, self.charset)


def length_of(request: HttpRequest) -> int:
    """Return the length of the body; raise ``ImageRejected`` where it is not sent: Django then reads no body."""
    try:
        return int(request.headers.get("content-length") or "")
    except ValueError:
        sentence = gettext("The request has a body without Content-Length; send its length.")
        raise ImageRejected("length_required", sentence) from None


def refuse_length(request: HttpRequest) -> None:
    """Raise ``ImageRejected`` for a form that is too long or of unknown length, before any of it is read."""
    if length_of(request) > MAX_FORM_BYTES:
        raise too_large()


def read_photo(request: HttpRequest) -> "UploadedFile[Any]":
    """Return the file ``photo`` of the form; raise ``ImageRejected`` where there is none, or more than one."""
    try:
        photos = request.FILES.getlist("photo")
    except FORM_ERRORS as error:
        raise ImageRejected("no_photo", gettext("The form cannot be read.")) from error
    if len(photos) != 1:
        raise ImageRejected("no_photo", gettext("Choose a photo first."))
    return photos[0]


def too_large() -> ImageRejected:
    sentence = gettext("The photo has more than %(megabytes)d MB; choose a smaller one.")
    return ImageRejected("too_large_bytes", sentence % {"megabytes": MAX_PHOTO_BYTES // 1024 // 1024})
