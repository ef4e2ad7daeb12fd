"""What every encoder with a trained model has in common: its identity, the scaling of pixels, and who computes it."""

import hashlib
import os
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..conf import MAX_DIMENSIONS, listed
from ..pictures.gate import Pixels
from . import conversion
from .base import Encoder, EncoderError, first_line
from .litert import LiteRTModel
from .tensorflow import TensorFlowModel

PREPROCESSING = "fit1"
"""Names the way from file to tensor: upright sRGB, centre-filled square. Part of every identity."""
BATCH_SIZE = 4
"""Pictures per call. LiteRT takes them one by one. TensorFlow made 133 pictures a second in calls of 4 on two cores and
60 in calls of 32, whose intermediate results are hundreds of megabytes."""
DEFAULT_IMAGE_SIZE = 224
MAX_IMAGE_SIZE = 1_024
"""Four pictures of this side take 50 MB as floats, before the model has done anything."""

CAFFE_MEAN = np.array([123.68, 116.779, 103.939], np.float32)
TORCH_MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
TORCH_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32) * 255
"""Of red, green and blue in ImageNet, as keras.applications.imagenet_utils has them, in 0..255."""

SCALINGS: dict[str, Callable[[Any], Any]] = {
    "0..1": lambda pixels: pixels / np.float32(255),
    "-1..1": lambda pixels: pixels / np.float32(127.5) - np.float32(1),
    "0..255": lambda pixels: pixels,
    "caffe": lambda pixels: (pixels - CAFFE_MEAN)[..., ::-1],
    "torch": lambda pixels: (pixels - TORCH_MEAN) / TORCH_DEVIATION,
}
"""What a model was trained on, by name: float32 of 0..255 in RGB in, what the model takes out; arrays or tensors."""

Model: TypeAlias = LiteRTModel | TensorFlowModel

_lock = threading.Lock()


class ModelEncoder(Encoder):
    """An image model, opened at its first use and once per process.

    LiteRT computes it: a ``.tflite`` file as it is, any other model once it has been converted (``prepare``).
    TensorFlow computes what cannot be converted. ``source`` says in messages which model is meant. A subclass gives
    ``_identity``, what the model is by its files or its address, and ``read``.
    """

    advice = "Name a model whose output is one vector for each picture."
    """What to do about an output that is no vector."""

    def __init__(
        self,
        source: str,
        *,
        name: str,
        dimensions: int | None,
        image_size: int | None,
        scaling: str,
        batch_size: int,
    ) -> None:
        if "|" in name:
            raise ValueError(f"name is {name!r}; it must not contain '|'.")
        if scaling not in SCALINGS:
            raise ValueError(f"scaling is {scaling!r}; valid are {listed(SCALINGS)}.")
        for option, value, most in (
            ("dimensions", dimensions, MAX_DIMENSIONS),
            ("image_size", image_size, MAX_IMAGE_SIZE),
            ("batch_size", batch_size, None),
        ):
            is_number = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (is_number and 1 <= value <= (most or value)):
                up_to = f" to {most:,}" if most else ""
                raise ValueError(f"{option} is {value!r}; valid are whole numbers from 1{up_to}.")
        self.source = source
        self.scaling = scaling
        self.batch_size = batch_size
        self._name = name
        self._dimensions = dimensions
        self._image_size = image_size
        self._model: Model | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None}  # the process that converts opens its own

    @abstractmethod
    def _identity(self) -> str:
        """Return text that changes with the model; found without opening it."""

    @abstractmethod
    def read(self) -> TensorFlowModel:
        """Return the model as TensorFlow reads it; raise ``EncoderError`` where it cannot."""

    @property
    def tflite_file(self) -> Path | None:
        """Return the model's file where it is one that LiteRT runs as it is."""
        return None

    @cached_property
    def identity(self) -> str:
        """Return what the model was when this process first asked."""
        return self._identity()

    def check_unchanged(self) -> None:
        """Raise ``EncoderError`` where the model is another one than its name in this process says."""
        if self._identity() != self.identity:
            raise EncoderError(f"The model {self.source} was replaced since this process started: restart the process.")

    @property
    def conversion_key(self) -> str:
        """Return the name under which the converted model is kept."""
        return "-".join([self.identity, *([str(self._image_size)] if self._image_size else [])])

    @property
    def _preprocessing(self) -> str:
        """Return the part of the identity that says how pictures are prepared; 0..1 goes without saying."""
        size = [str(self._image_size)] if self._image_size else []
        return "-".join([*size, *([] if self.scaling == "0..1" else [self.scaling]), PREPROCESSING])

    @cached_property
    def name(self) -> str:
        return self._name or f"{self.identity}-{self._preprocessing}".replace("|", "-")

    @property
    def dimensions(self) -> int | None:
        return self._dimensions

    @property
    def image_size(self) -> int:
        return self._image_size or self._open().image_size or DEFAULT_IMAGE_SIZE

    @property
    def needs_preparing(self) -> bool:
        return self.tflite_file is None and not conversion.is_known(self.conversion_key)

    @property
    def refusal(self) -> str:
        """Return why LiteRT cannot run the model; '' where it can, or nobody has tried."""
        return "" if self.tflite_file else conversion.find_refusal(self.conversion_key)

    def prepare(self, on_step: Callable[[str], object]) -> str:
        """Convert the model in a process of its own, unless it is a file already; see ``conversion.convert``."""
        if self.tflite_file is None:
            conversion.convert(self, on_step)
        if reason := self.refusal:
            return f"LiteRT cannot run the model: {reason} TensorFlow does, with 600 MB in each process that embeds."
        return ""

    def use(self, model: Model) -> None:
        """Compute with ``model`` from now on; raise ``EncoderError`` where it takes another size than promised."""
        if model.image_size and self._image_size not in (None, model.image_size):
            raise EncoderError(
                f"The model {self.source} takes pictures of {model.image_size} pixels, not the {self._image_size} that "
                "its name or the option 'image_size' says: correct the option or take another model."
            )
        if model.dimensions is not None:
            self._confirm_dimensions(model.dimensions)
        self._model = model

    def features(self, pixels: Pixels) -> NDArray[np.float32]:
        model = self._open()
        given: Any = pixels if model.takes_pixels else SCALINGS[self.scaling](pixels.astype(np.float32))
        try:
            features: NDArray[np.float32] = model(given)
        except EncoderError:
            raise
        except Exception as error:  # TensorFlow's own classes are not known here
            raise EncoderError(
                f"The model {self.source} failed on a batch of shape {given.shape}: {first_line(error)} "
                "Is it an image feature vector, and is image_size right?"
            ) from error
        if features.ndim != 2:
            raise EncoderError(
                f"The model {self.source} gives an output of shape {features.shape[1:]} for a picture; a "
                f"feature vector has one dimension. {self.advice}"
            )
        self._confirm_dimensions(features.shape[1])
        return features

    def _confirm_dimensions(self, found: int) -> None:
        """Take the dimensions that the opened model has, or raise ``EncoderError`` where others were promised."""
        if found > MAX_DIMENSIONS:
            raise EncoderError(
                f"The model {self.source} gives vectors of {found:,} dimensions, and pgvector indexes at most "
                f"{MAX_DIMENSIONS:,}. {self.advice}"
            )
        if self._dimensions is None:
            self._dimensions = found
        if found != self._dimensions:
            raise EncoderError(
                f"The model {self.source} gives vectors of {found} dimensions, not the "
                f"{self._dimensions} that its name or the option 'dimensions' promises: correct the option "
                "or take another model."
            )

    def _open(self) -> Model:
        """Return the model, opened at the first call of the process."""
        with _lock:
            if self._model is not None:
                return self._model
            model = self._find()
            self.check_unchanged()
            self.use(model)
            return model

    def _find(self) -> Model:
        file = self.tflite_file or conversion.find(self.conversion_key)
        if file is not None:
            return LiteRTModel(file, self._image_size)
        if self.refusal:
            return self.read()
        raise EncoderError(
            f"The model {self.source} has not been converted on this machine yet: run python manage.py embed_products, "
            f"which does it first, or copy its converted file into {conversion.get_folder()}."
        )


def digest(files: Iterable[tuple[str, Path]]) -> str:
    """Return 16 hexadecimal digits that change with any byte of the files or of the names they are given."""
    found = hashlib.blake2b(digest_size=8)
    for name, file in files:
        found.update(name.encode())
        with file.open("rb") as opened:
            found.update(hashlib.file_digest(opened, "blake2b").digest())
    return found.hexdigest()


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
