"""Parsers that check the length of a body before they read it, and keep a photo in memory only."""

import json
from typing import Any

from django.http import UnreadablePostError
from django.http.multipartparser import MultiPartParser as DjangoMultiPartParser
from django.utils.translation import gettext, gettext_lazy
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, DataAndFiles

from ..pictures.uploads import FORM_ERRORS, PhotoInMemory, length_of, refuse_length
from .exceptions import SearchRefused

MAX_JSON_BYTES = 16 * 1024


class PhotoParser(BaseParser):
    """``multipart/form-data`` with one file at most."""

    media_type = "multipart/form-data"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> "DataAndFiles[Any, Any]":
        """Return the fields and the photo. Raises ``ImageRejected`` or ``ParseError``."""
        request = parser_context["request"]
        refuse_length(request)
        meta = {**request.META, "CONTENT_TYPE": media_type}
        try:
            # Not in the charset that the request names: Python has codecs that take minutes for a megabyte.
            return DataAndFiles(*DjangoMultiPartParser(meta, stream, [PhotoInMemory()], "utf-8").parse())
        except FORM_ERRORS as error:
            raise ParseError(gettext_lazy("The form cannot be read.")) from error


class SmallJSONParser(BaseParser):
    """``application/json`` of up to ``MAX_JSON_BYTES``."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """Return the values. Raises ``SearchRefused``, ``ImageRejected`` or ``ParseError``."""
        if length_of(parser_context["request"]) > MAX_JSON_BYTES:
            raise SearchRefused("too_large_bytes", gettext("The JSON body has more than 16 KB."))
        try:
            return json.loads(stream.read(MAX_JSON_BYTES))
        except (ValueError, RecursionError, UnreadablePostError) as error:
            raise ParseError(gettext_lazy("The body is not JSON.")) from error
