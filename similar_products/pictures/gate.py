"""The gate for pictures: bytes of any origin in, upright sRGB pixels out, or ``ImageRejected``.

Every picture counts as hostile until it has passed. Nothing else in the app calls the decoder.
"""

import math
from collections.abc import Sequence
from typing import IO

import numpy as np
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.storage import Storage
from django.utils.formats import number_format
from django.utils.translation import gettext, gettext_lazy
from numpy.typing import NDArray

from ..conf import get_settings
from .decoder import ImageRejected, decode, too_many_pixels
from .limits import CATALOGUE, MAX_SIDE, PUBLIC, WHOLE, Limits, Region
from .process import decode_isolated

__all__ = [
    "TRANSIENT_CODES",
    "WHOLE",
    "ImageRejected",
    "Pixels",
    "Region",
    "load_pixels",
    "load_stored_pixels",
    "read_stored_file",
]

Pixels = NDArray[np.uint8]

TRANSIENT_CODES = frozenset({"storage_error", "decoder_unavailable"})
"""Failures that may pass without a change of the picture: they are not recorded, and the row stays pending."""
REGION_TOLERANCE = 1e-6
"""By how much a region may exceed the picture: 0.7 + 0.3 in decimals that a browser has rounded."""
BLANK_SPREAD = 10
"""Maximum difference between the lowest and the highest value of each channel of a blank picture.

Of 8,721 photos of shops and things the palest, white furniture on white, has 18 and the next 24; one colour saved
as JPEG of any quality has 0, as AVIF up to 4, as WebP of quality 60 and above up to 9.
"""

SENTENCES = {
    "bad_dimensions": gettext_lazy("The picture is too long, too narrow or empty."),
    "corrupt": gettext_lazy("The picture file is damaged."),
    "decode_timeout": gettext_lazy("The picture takes too long to decode."),
    "decoder_crashed": gettext_lazy("The picture made the decoder fail."),
    "decoder_unavailable": gettext_lazy("Photos cannot be processed at the moment; try again later."),
    "too_many_pixels": gettext_lazy(
        "The picture has more than %(megapixels)d megapixels or a side over %(side)s pixels."
    ),
    "truncated": gettext_lazy("The picture file ends too early."),
    "unsupported_format": gettext_lazy(
        "The file is not a picture that can be read; valid are JPEG, PNG, WebP, GIF and AVIF."
    ),
}
"""The decoder's rejections of a photo that anybody may have sent, by code, in the language of the page."""


def load_stored_pixels(storage: Storage, name: str, size: int) -> Pixels:
    """Return ``load_pixels`` of the file ``name`` in ``storage``."""
    return load_pixels(read_stored_file(storage, name), size)


def read_stored_file(storage: Storage, name: str) -> bytes:
    """Return the bytes of the file ``name`` in ``storage``, opened by its API alone, never by path.

    Of a file over the cap of the catalogue it is one byte more than the cap. Raises ``ImageRejected``.
    """
    if "\0" in name:  # which file systems answer with a ValueError, as a storage does to a wrong setting
        raise ImageRejected("missing_file", f"The name {name!r} cannot be a file in the storage.")
    try:
        with storage.open(name, "rb") as file:
            return _read(file, CATALOGUE.max_bytes)
    except FileNotFoundError:
        raise ImageRejected("missing_file", f"The storage has no file {name!r}.") from None
    except (SuspiciousFileOperation, IsADirectoryError) as error:
        raise ImageRejected("missing_file", f"The name {name!r} cannot be a file in the storage: {error}") from error
    except ImageRejected:
        raise
    except Exception as error:  # any library may stand behind a storage
        raise ImageRejected(
            "storage_error", f"The storage failed to read {name!r}: {type(error).__name__}: {error}"
        ) from error


def load_pixels(
    source: bytes | IO[bytes], size: int, *, public: bool = False, region: Sequence[float] = WHOLE
) -> Pixels:
    """Return the picture upright, in sRGB, centre-filled to a square: uint8 ``[size, size, 3]``, not writable.

    Transparency is laid on white, 16-bit is scaled, CMYK and LAB go through their ICC profile. Filling the
    square from the centre (``ImageOps.fit``) gave the best precision@10 of the ways measured: 0.71 against
    0.68 padded and 0.67 stretched.

    ``public`` is for a picture that anybody may have sent: smaller limits, the formats of the web only, and always a
    decoder process. Pictures of the catalogue use one if ``SIMILAR_PRODUCTS["ISOLATE_DECODER"]`` says so; the pixels
    are the same. ``region`` is the part of the picture that counts, as ``get_region`` takes it. Raises
    ``ImageRejected`` for whatever is wrong with the picture, and ``ValueError`` for a region that is not valid.
    """
    part = get_region(region)
    limits = PUBLIC if public else CATALOGUE
    data = source if isinstance(source, bytes) else _read(source, limits.max_bytes)
    if not data:
        raise ImageRejected("empty_file", gettext("The picture file is empty."))
    if len(data) > limits.max_bytes:
        sentence = gettext("The picture file has more than %(megabytes)d MB.")
        raise ImageRejected("too_large_bytes", sentence % {"megabytes": limits.max_bytes // 1024 // 1024})
    pixels = np.frombuffer(_decode(data, size, limits, part), np.uint8).reshape(size, size, 3)
    if get_settings().refuse_blank and _is_blank(pixels):
        sentence = gettext("The picture has one colour only, as a placeholder for a missing photo has.")
        raise ImageRejected("blank", sentence)
    return pixels


def _decode(data: bytes, size: int, limits: Limits, region: Region) -> bytes:
    if limits is PUBLIC:
        try:
            return decode_isolated(data, size, limits, region)
        except ImageRejected as rejected:
            raise ImageRejected(rejected.code, _sentence(rejected.code)) from rejected
    if get_settings().isolate_decoder:
        return decode_isolated(data, size, limits, region)
    try:
        return decode(data, size, limits, region)
    except MemoryError as error:
        raise too_many_pixels(limits) from error


def _sentence(code: str) -> str:
    """Return a rejection for the sender of the photo, in the language of the page and without internal details.

    The decoder knows nothing of languages; its own sentence, with the details, is the exception's cause.
    """
    return str(SENTENCES.get(code, SENTENCES["corrupt"])) % {
        "megapixels": PUBLIC.max_pixels // 1_000_000,
        "side": number_format(MAX_SIDE, force_grouping=True),
    }


def get_region(values: Sequence[float]) -> Region:
    """Return the region ``(x, y, width, height)`` of the upright picture, in fractions of its sides.

    Raises ``ValueError`` with a sentence where it has no area or exceeds the picture.
    """
    if len(values) == len(WHOLE) and all(math.isfinite(value) for value in values):
        region = Region(*values)
        x, y, width, height = region
        if min(x, y) >= 0 and min(width, height) > 0 and max(x + width, y + height) <= 1 + REGION_TOLERANCE:
            return region
    raise ValueError(
        f"The region is {', '.join(f'{value:g}' for value in values)}; valid are x, y, width and height in fractions "
        "of the picture: not negative, with an area, and inside."
    )


def _read(file: IO[bytes], max_bytes: int) -> bytes:
    chunks, length = [], 0
    while length <= max_bytes:
        chunk = file.read(max_bytes + 1 - length)  # a network file may return less than was asked for
        if not chunk:
            break
        chunks.append(chunk)
        length += len(chunk)
    return b"".join(chunks)


def _is_blank(pixels: Pixels) -> bool:
    # Every eighth pixel is enough for nearly all pictures; all pixels take 2 ms.
    return all((np.ptp(part, axis=(0, 1)) <= BLANK_SPREAD).all() for part in (pixels[::8, ::8], pixels))
