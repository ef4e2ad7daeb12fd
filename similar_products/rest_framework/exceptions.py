"""Errors as DRF's, each with a stable code: ``{"detail": sentence, "code": code}``, and ``errors`` by parameter."""

import logging
from typing import Any

from django.db import DataError
from django.utils.translation import gettext_lazy
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from ..encoders import EncoderError
from ..encoders.photo import TooManyPhotos
from ..pictures.decoder import ImageRejected

logger = logging.getLogger(__name__)

STATUS_OF_CODE = {
    "too_large_bytes": status.HTTP_413_REQUEST_ENTITY_TOO_LARGE,
    "too_many_pixels": status.HTTP_413_REQUEST_ENTITY_TOO_LARGE,
    "unsupported_format": status.HTTP_415_UNSUPPORTED_MEDIA_TYPE,
    "url_search_off": status.HTTP_403_FORBIDDEN,
    "decoder_unavailable": status.HTTP_503_SERVICE_UNAVAILABLE,
}
"""Of a picture that was refused; every other code is a 400."""
OWN_CODES = ("exactly_one", "region_needs_photo", "unknown_parameter")
"""Of requests that are wrong as a whole; every other mistake in a parameter is ``invalid``."""
RETRY_SECONDS = {"decoder_unavailable": 10, "encoder_unavailable": 60}


class PhotoRefused(APIException):
    """A photo that cannot be searched for, with the gate's own code and sentence."""

    def __init__(self, rejected: ImageRejected) -> None:
        super().__init__(str(rejected), rejected.code)
        self.status_code = STATUS_OF_CODE.get(rejected.code, status.HTTP_400_BAD_REQUEST)
        self.wait = RETRY_SECONDS.get(rejected.code)


class BodyTooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = gettext_lazy("The request is larger than a photo of 10 MB.")
    default_code = "too_large_bytes"


class LengthRequired(APIException):
    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_detail = gettext_lazy("The request has a body without Content-Length; send its length.")
    default_code = "length_required"


class KeyGone(APIException):
    status_code = status.HTTP_410_GONE
    default_detail = gettext_lazy("This key is not valid any more; send the photo again.")
    default_code = "key_gone"


class Busy(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = gettext_lazy("Too many photos at once; try again in a moment.")
    default_code = "busy"
    wait = 1


class EncoderUnavailable(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = gettext_lazy("Photos cannot be searched for at present.")
    default_code = "encoder_unavailable"
    wait = RETRY_SECONDS["encoder_unavailable"]


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer ``error`` in the shape of this module; ``None`` for what is no answer but a fault.

    A value that PostgreSQL cannot take, which a shop's filter has let through, is a mistake of the request.
    """
    if isinstance(error, ImageRejected):
        error = PhotoRefused(error)
    elif isinstance(error, TooManyPhotos):
        error = Busy()
    elif isinstance(error, EncoderError):
        logger.error("A photo could not be encoded.", exc_info=error)
        error = EncoderUnavailable()
    elif isinstance(error, DataError):
        logger.info("The database refused a parameter: %s", error)
        error = ParseError(gettext_lazy("A parameter has a value that cannot be looked for."), "invalid")
    response = drf_exception_handler(error, context)
    if response is None:
        return None
    if isinstance(error, ValidationError):
        response.data = _of_parameters(error)
    elif "code" not in response.data:
        detail = response.data["detail"]
        response.data = {"detail": str(detail), "code": getattr(detail, "code", "error")}
    return response


def _of_parameters(error: ValidationError) -> dict[str, Any]:
    errors = error.detail if isinstance(error.detail, dict) else {"non_field_errors": error.detail}
    name, first = next(iter(errors.items()))
    while isinstance(first, list | dict):
        first = next(iter(first.values() if isinstance(first, dict) else first))
    code = first.code if first.code in OWN_CODES else "invalid"
    detail = str(first) if name == "non_field_errors" else f"{name}: {first}"
    return {"detail": detail, "code": code, "errors": errors}
