"""Errors as DRF's, each with a stable code: ``{"detail": sentence, "code": code}``, and ``errors`` by parameter."""

import logging
from typing import Any

from django.db import DataError
from django.utils.translation import gettext, gettext_lazy
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from ..encoders import EncoderError
from ..pictures.decoder import ImageRejected
from ..search.photo import TooManyPhotos

logger = logging.getLogger(__name__)

STATUS_OF_CODE = {
    "url_search_off": status.HTTP_403_FORBIDDEN,
    "key_gone": status.HTTP_410_GONE,
    "length_required": status.HTTP_411_LENGTH_REQUIRED,
    "too_large_bytes": status.HTTP_413_REQUEST_ENTITY_TOO_LARGE,
    "too_many_pixels": status.HTTP_413_REQUEST_ENTITY_TOO_LARGE,
    "unsupported_format": status.HTTP_415_UNSUPPORTED_MEDIA_TYPE,
    "busy": status.HTTP_503_SERVICE_UNAVAILABLE,
    "decoder_unavailable": status.HTTP_503_SERVICE_UNAVAILABLE,
    "encoder_unavailable": status.HTTP_503_SERVICE_UNAVAILABLE,
}
"""Of a search that is refused; every other code is a 400."""
RETRY_SECONDS = {"busy": 1, "decoder_unavailable": 10, "encoder_unavailable": 60}
OWN_CODES = ("exactly_one", "region_needs_photo", "unknown_parameter")
"""Of requests that are wrong as a whole; every other mistake in a parameter is ``invalid``."""


class SearchRefused(APIException):
    """A search that is not made, with a stable code and a sentence for people."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence, code)
        self.status_code = STATUS_OF_CODE.get(code, status.HTTP_400_BAD_REQUEST)
        self.wait = RETRY_SECONDS.get(code)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer ``error`` in the shape of this module; return ``None`` for a fault of the server.

    A value that PostgreSQL cannot take, which a shop's filter has let through, is a mistake of the request.
    """
    if isinstance(error, ImageRejected):
        error = SearchRefused(error.code, str(error))
    elif isinstance(error, TooManyPhotos):
        error = SearchRefused("busy", str(error))
    elif isinstance(error, EncoderError):
        logger.error("A photo could not be encoded.", exc_info=error)
        error = SearchRefused("encoder_unavailable", gettext("Search by photo is not available at present."))
    elif isinstance(error, DataError):
        logger.info("The database refused a parameter: %s", error)
        error = ParseError(gettext_lazy("A parameter has a value that cannot be searched for."), "invalid")
    response = drf_exception_handler(error, context)
    if response is None:
        return None
    if isinstance(error, ValidationError):
        response.data = _describe_parameters(error)
    elif "code" not in response.data:
        detail = response.data["detail"]
        response.data = {"detail": str(detail), "code": getattr(detail, "code", "error")}
    return response


def _describe_parameters(error: ValidationError) -> dict[str, Any]:
    errors = error.detail if isinstance(error.detail, dict) else {"non_field_errors": error.detail}
    name, first = next(iter(errors.items()))
    while isinstance(first, list | dict):
        first = next(iter(first.values() if isinstance(first, dict) else first))
    code = first.code if first.code in OWN_CODES else "invalid"
    detail = str(first) if name == "non_field_errors" else f"{name}: {first}"
    return {"detail": detail, "code": code, "errors": errors}
