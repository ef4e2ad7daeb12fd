"""The cache keeps the vector of a photo under a key; nothing keeps the photo."""

import re
import secrets
from typing import TypedDict

import numpy as np
from django.core.cache import cache
from django.utils.translation import gettext
from numpy.typing import NDArray

from ..conf import get_settings
from ..encoders import get_encoder
from ..pictures.fetch import fetch_picture
from ..search.photo import Slots
from .exceptions import SearchRefused

KEY_SECONDS = 600
"""How long a key can be used instead of the photo."""
_KEY = re.compile(r"[A-Za-z0-9_-]{22}")
_CACHE_NAME = "similar_products:search:{}"
_fetches = Slots()


class Entry(TypedDict):
    """What the cache keeps."""

    encoder: str
    vector: bytes


def fetch_photo(url: str) -> bytes:
    """Return the picture at ``url``. Raises ``TooManyPhotos`` and ``ImageRejected``; see ``pictures.fetch``."""
    with _fetches.occupy(get_settings().api.max_inferences):
        return fetch_picture(url)


def remember(vector: NDArray[np.float32]) -> str:
    """Return a random key under which ``vector`` can be had for ``KEY_SECONDS``."""
    key = secrets.token_urlsafe(16)
    cache.set(_CACHE_NAME.format(key), Entry(encoder=get_encoder().name, vector=vector.tobytes()), KEY_SECONDS)
    return key


def recall(key: str) -> NDArray[np.float32]:
    """Return the vector under ``key``. Raises ``SearchRefused`` where there is none of the encoder in the settings."""
    # Some caches raise for other characters.
    kept: Entry | None = cache.get(_CACHE_NAME.format(key)) if _KEY.fullmatch(key) else None
    if kept is None or kept["encoder"] != get_encoder().name:
        raise SearchRefused("key_gone", gettext("This key is not valid any more; send the photo again."))
    return np.frombuffer(kept["vector"], np.float32)
