import json
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from numpy.typing import NDArray

from ..conf import get_settings
from ..pictures.gate import Pixels

logger = logging.getLogger(__name__)

Vectors = NDArray[np.float32]

MIN_NORM = 1e-6
"""Below it a vector has no direction: pgvector would store it, rank it first as NaN and lose it in HNSW."""
LONGEST_REASON = 300
"""Maximum length of another library's message in a sentence of ours: Keras puts whole models into some."""


class EncoderError(Exception):
    """The encoder cannot work at all; the sentence says what to do about it."""


class Encoder(ABC):
    """Pixels in, unit vectors out. A subclass gives the attributes and ``features``.

    ``features`` is called by several threads at once, each time with up to ``batch_size`` pictures. ``name`` is the
    identity of model and preprocessing together. It is stored with every vector, and only vectors of the same name are
    compared. It must be known without opening the model and must not contain ``|``. ``dimensions`` is ``None`` where
    only the opened model can tell.
    """

    batch_size: int = 32

    @property
    @abstractmethod
    def name(self) -> str:
        """Return the identity of model and preprocessing."""

    @property
    @abstractmethod
    def dimensions(self) -> int | None:
        """Return the length of a vector, or ``None`` before the model is opened."""

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Return the side, in pixels, of the squares that ``encode`` takes."""

    @abstractmethod
    def features(self, pixels: Pixels) -> NDArray[np.floating[Any]]:
        """Return ``[n, dimensions]`` of any norm for uint8 ``[n, image_size, image_size, 3]``."""

    @property
    def needs_preparing(self) -> bool:
        """Return whether ``prepare`` has something to do before the first picture."""
        return False

    def prepare(self, on_step: Callable[[str], object]) -> str:
        """Do what takes long and is done once on a machine, such as a conversion; tell each step to ``on_step``.

        Return a sentence on what a user should know of the outcome, if anything. Commands and ``load_model`` call it; a
        web process that answers a request does not. Raises ``EncoderError``.
        """
        return ""

    def encode(self, pixels: Pixels) -> Vectors:
        """Return float32 ``[n, dimensions]`` with rows of norm 1.

        ``pixels`` is uint8 ``[n, image_size, image_size, 3]`` in sRGB. A picture in which the model sees
        nothing (norm under 1e-6, NaN or infinite) gives a row of NaN, so that the others of the batch count.
        Raises ``EncoderError`` where the model cannot be used.
        """
        features = np.asarray(self.features(pixels), dtype=np.float64)
        if features.ndim != 2 or len(features) != len(pixels):
            raise EncoderError(
                f"The encoder {self.name} gave an array of shape {features.shape} for {len(pixels)} "
                "pictures; it must give one vector for each picture."
            )
        norms = np.linalg.norm(features, axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(norms >= MIN_NORM, features / norms, np.nan).astype(np.float32)


_encoders: dict[str, Encoder] = {}
_lock = threading.Lock()


def get_encoder() -> Encoder:
    """Return the encoder that the settings name: one instance per process, its model not opened yet.

    Raises ``ImproperlyConfigured`` where the settings name none that can be made.
    """
    settings = get_settings()
    key = json.dumps([settings.encoder_backend, settings.encoder_options], sort_keys=True, default=repr)
    with _lock:
        if key not in _encoders:
            _encoders[key] = _make(settings.encoder_backend, dict(settings.encoder_options))
        return _encoders[key]


def _make(backend: str, options: dict[str, Any]) -> Encoder:
    try:
        encoder_class = import_string(backend)
    except ImportError as error:
        raise ImproperlyConfigured(
            f"SIMILAR_PRODUCTS['ENCODER']['BACKEND'] is {backend!r}, which cannot be imported: {error}"
        ) from error
    try:
        encoder = encoder_class(**options)
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"SIMILAR_PRODUCTS['ENCODER']['OPTIONS'] do not fit {backend}: {error}") from error
    if not isinstance(encoder, Encoder):
        raise ImproperlyConfigured(f"{backend} is not a subclass of similar_products.encoders.Encoder.")
    return encoder


def load_model() -> None:
    """Open the model now, so that the first search does not wait for it: for a server's hook and a build's last step.

    A model that has to be converted first is, which needs TensorFlow and takes about ten seconds.
    """
    encoder = get_encoder()
    if encoder.needs_preparing:
        logger.info("Preparing the model of %s, which is done once on a machine.", encoder.name)
        if note := encoder.prepare(logger.info):
            logger.warning(note)
    encoder.encode(np.zeros((1, encoder.image_size, encoder.image_size, 3), np.uint8))


def first_line(error: Exception | str) -> str:
    """Return what another library's error or message says, short enough for a sentence of ours, with a full stop."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if len(text) > LONGEST_REASON:
        text = f"{text[:LONGEST_REASON]}…"
    return text if text.endswith(".") else f"{text}."
