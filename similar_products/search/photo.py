"""A photo that anybody may have sent becomes a vector, in memory alone; the photo is not stored."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

import numpy as np
from django.utils.translation import gettext
from numpy.typing import NDArray

from ..conf import get_settings
from ..encoders import get_encoder
from ..pictures.gate import WHOLE, ImageRejected, load_pixels


class TooManyPhotos(Exception):
    """This process encodes as many photos as ``MAX_INFERENCES`` allows already; the sentence says so."""


class Slots:
    """Limits the number of photos that this process takes at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = 0

    @contextmanager
    def occupy(self, number: int) -> Iterator[None]:
        """Occupy one of ``number`` slots. Raises ``TooManyPhotos`` where none is free: waiting would keep a thread."""
        with self._lock:
            if self._taken >= number:
                raise TooManyPhotos(gettext("Too many photos at once; try again in a moment."))
            self._taken += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken -= 1


_slots = Slots()


def embed_photo(photo: bytes | IO[bytes], region: Sequence[float] = WHOLE) -> NDArray[np.float32]:
    """Return the unit vector of ``region`` of a photo that anybody may have sent.

    The first call of a process opens the model. Raises ``TooManyPhotos``, ``ImageRejected`` and ``EncoderError``.
    """
    with _slots.occupy(get_settings().api.max_inferences):
        encoder = get_encoder()
        pixels = load_pixels(photo, encoder.image_size, public=True, region=region)
        vector: NDArray[np.float32] = encoder.encode(pixels[np.newaxis])[0]
    if not np.isfinite(vector).all():
        raise ImageRejected("blank", gettext("There is nothing to be seen in the photo."))
    return vector
