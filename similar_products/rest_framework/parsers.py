"""Parsers that stop reading at their cap, and keep a photo in memory and nowhere else."""

import io
import json
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadedfile import InMemoryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, UnreadablePostError
from django.http.multipartparser import MultiPartParser as DjangoMultiPartParser
from django.http.multipartparser import MultiPartParserError
from django.utils.translation import gettext_lazy
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, DataAndFiles

from ..pictures.decoder import PUBLIC
from .exceptions import BodyTooLarge, LengthRequired

MAX_PHOTO_BYTES = PUBLIC.max_bytes
MAX_FORM_BYTES = MAX_PHOTO_BYTES + 16 * 1024
"""With the fields beside the photo and what multipart itself takes."""
MAX_JSON_BYTES = 16 * 1024


class PhotoInMemory(FileUploadHandler):
    """Takes one file of up to ``MAX_PHOTO_BYTES``; Django's own would put one of 2.5 MB and more into a folder."""

    def __init__(self) -> None:
        super().__init__()
        self._photo: io.BytesIO | None = None

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        if self._photo is not None:
            raise ParseError(gettext_lazy("Send one file only."), "one_file")
        super().new_file(*args, **kwargs)
        self._photo = io.BytesIO()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if start + len(raw_data) > MAX_PHOTO_BYTES:
            raise BodyTooLarge
        assert self._photo is not None  # noqa: S101  new_file() came first
        self._photo.write(raw_data)

    def file_complete(self, file_size: int) -> InMemoryUploadedFile:
        assert self._photo is not None  # noqa: S101
        self._photo.seek(0)
        return InMemoryUploadedFile(self._photo, self.field_name, "photo", None, file_size, self.charset)


class PhotoParser(BaseParser):
    """``multipart/form-data`` with one file at most."""

    media_type = "multipart/form-data"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> "DataAndFiles[Any, Any]":
        """Return the fields and the photo. Raises what is in ``exceptions``, or ``ParseError``."""
        request = parser_context["request"]
        refuse_length(request, MAX_FORM_BYTES)
        meta = {**request.META, "CONTENT_TYPE": media_type}
        try:
            # Not by the charset that the request names: Python has codecs that take minutes for a megabyte.
            return DataAndFiles(*DjangoMultiPartParser(meta, stream, [PhotoInMemory()], "utf-8").parse())
        except (MultiPartParserError, SuspiciousOperation, UnreadablePostError) as error:
            raise ParseError(gettext_lazy("The form cannot be read.")) from error


class SmallJSONParser(BaseParser):
    """``application/json``, read up to ``MAX_JSON_BYTES``."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """Return the values. Raises what is in ``exceptions``, or ``ParseError``."""
        refuse_length(parser_context["request"], MAX_JSON_BYTES)
        try:
            data = stream.read(MAX_JSON_BYTES + 1)
            if len(data) > MAX_JSON_BYTES:
                raise BodyTooLarge
            return json.loads(data)
        except (ValueError, RecursionError, UnreadablePostError) as error:
            raise ParseError(gettext_lazy("The body is not JSON.")) from error


def refuse_length(request: HttpRequest, most: int) -> None:
    """Raise ``BodyTooLarge`` for a body that is said to have more than ``most`` bytes, before any of it is read."""
    try:
        length = int(request.headers.get("content-length") or 0)
    except ValueError:
        length = 0
    if length > most:
        raise BodyTooLarge


def refuse_chunked(request: HttpRequest) -> None:
    """Raise ``LengthRequired`` for a body without a length, which Django takes for no body at all."""
    if request.headers.get("transfer-encoding") and not request.headers.get("content-length"):
        raise LengthRequired
