"""The vector of a photo waits in the cache under a key; the photo is kept nowhere."""

import re
import secrets
from typing import Any

import numpy as np
from django.core.cache import cache
from numpy.typing import NDArray

from ..conf import get_settings
from ..encoders import get_encoder
from ..encoders.photo import Slots
from .exceptions import KeyGone

KEY_SECONDS = 600
"""For so long a key can be used instead of the photo."""
_KEY = re.compile(r"[A-Za-z0-9_-]{22}")
_CACHE_NAME = "similar_products:search:{}"


_fetches = Slots()


def fetch_photo(url: str) -> bytes:
    """Return the picture at ``url``. Raises ``TooManyPhotos`` and ``ImageRejected``; see ``pictures.fetch``."""
    from ..pictures.fetch import fetch_picture  # here: its packages are optional

    with _fetches.occupy(get_settings().api.max_inferences):
        return fetch_picture(url)


def remember(vector: NDArray[np.float32]) -> str:
    """Return a random key under which ``vector`` can be had for ``KEY_SECONDS``."""
    key = secrets.token_urlsafe(16)
    cache.set(_CACHE_NAME.format(key), {"encoder": get_encoder().name, "vector": vector.tobytes()}, KEY_SECONDS)
    return key


def recall(key: str) -> NDArray[np.float32]:
    """Return the vector under ``key``. Raises ``KeyGone`` where there is none of the encoder in the settings."""
    if not _KEY.fullmatch(key):  # some caches raise for other characters
        raise KeyGone
    kept: Any = cache.get(_CACHE_NAME.format(key))
    if kept is None or kept["encoder"] != get_encoder().name:
        raise KeyGone
    return np.frombuffer(kept["vector"], np.float32)
