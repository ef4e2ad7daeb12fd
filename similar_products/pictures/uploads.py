"""A photo sent to the admin: counted before it is read, and kept in memory."""

from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http import HttpRequest, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils.translation import gettext

from ..pictures.decoder import PUBLIC
from ..pictures.gate import ImageRejected

MAX_PHOTO_BYTES = PUBLIC.max_bytes
MAX_FORM_BYTES = MAX_PHOTO_BYTES + 16 * 1024
"""With the token beside the photo and what multipart itself takes."""


class InMemory(MemoryFileUploadHandler):
    """Django's own, for whatever fits into a form: its others would put a photo of 2.5 MB and more into a folder."""

    def handle_raw_input(self, *args: Any, **kwargs: Any) -> None:
        super().handle_raw_input(*args, **kwargs)
        self.activated = True


def refuse_length(request: HttpRequest) -> None:
    """Raise ``ImageRejected`` for a body that is said to be too long, or of which nothing is said; read none of it."""
    try:
        length = int(request.headers.get("content-length") or "")
    except ValueError:
        raise ImageRejected("unknown_length", gettext("The photo was sent without its length.")) from None
    if length > MAX_FORM_BYTES:
        raise too_large()


def keep_in_memory(request: HttpRequest) -> None:
    """Have the files of ``request`` kept in memory, unless somebody has read them already."""
    if not hasattr(request, "_files"):
        request.upload_handlers = [InMemory(request)]


def photo_of(request: HttpRequest) -> Any:
    """Return the photo of the form; raise ``ImageRejected`` where there is none, or more than one."""
    try:
        photos = request.FILES.getlist("photo")
    except (MultiPartParserError, SuspiciousOperation, UnreadablePostError) as error:
        raise ImageRejected("no_photo", gettext("The form cannot be read.")) from error
    if len(photos) != 1:
        raise ImageRejected("no_photo", gettext("Choose a photo first."))
    if (photos[0].size or 0) > MAX_PHOTO_BYTES:
        raise too_large()
    return photos[0]


def too_large() -> ImageRejected:
    return ImageRejected(
        "too_large_bytes",
        gettext("The photo has more than %(megabytes)d MB; choose a smaller one.")
        % {"megabytes": MAX_PHOTO_BYTES // 1024 // 1024},
    )
