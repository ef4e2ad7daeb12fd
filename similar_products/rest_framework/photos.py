"""A photo becomes a vector in memory, and the vector waits in the cache under a key; the photo is kept nowhere."""

import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from django.core.cache import cache
from django.utils.translation import gettext
from numpy.typing import NDArray

from ..conf import get_settings
from ..encoders import get_encoder
from ..images import WHOLE, ImageRejected, load_pixels
from .exceptions import Busy, KeyGone

KEY_SECONDS = 600
"""For so long a key can be used instead of the photo."""
_KEY = re.compile(r"[A-Za-z0-9_-]{22}")
_CACHE_NAME = "similar_products:search:{}"


class _Slots:
    """Counts the photos that this process has at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = 0

    @contextmanager
    def one_of(self, number: int) -> Iterator[None]:
        """Hold one of ``number`` slots. Raises ``Busy`` at once where there is none: who waits keeps a thread."""
        with self._lock:
            if self._taken >= number:
                raise Busy
            self._taken += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken -= 1


_slots = _Slots()
_fetches = _Slots()


def embed_photo(photo: bytes | IO[bytes], region: Sequence[float] = WHOLE) -> NDArray[np.float32]:
    """Return the unit vector of ``region`` of a photo that anybody may have sent.

    The first call of a process opens the model. Raises ``Busy``, ``ImageRejected`` and ``EncoderError``.
    """
    with _slots.one_of(get_settings().api.max_inferences):
        encoder = get_encoder()
        pixels = load_pixels(photo, encoder.image_size, public=True, region=region)
        vector: NDArray[np.float32] = encoder.encode(pixels[np.newaxis])[0]
    if not np.isfinite(vector).all():
        raise ImageRejected("blank", gettext("There is nothing to be seen in the photo."))
    return vector


def fetch_photo(url: str) -> bytes:
    """Return the picture at ``url``. Raises ``Busy`` and ``ImageRejected``; see ``similar_products.fetch``."""
    from ..fetch import fetch_picture  # here: its packages are optional

    with _fetches.one_of(get_settings().api.max_inferences):
        return fetch_picture(url)


def load_model() -> None:
    """Open the model, so that not the first search waits for it: for a server's hook after its fork."""
    encoder = get_encoder()
    encoder.encode(np.zeros((1, encoder.image_size, encoder.image_size, 3), np.uint8))


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
