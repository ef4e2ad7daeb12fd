"""What every encoder that TensorFlow computes has in common. Nothing here imports TensorFlow before a picture comes."""

import hashlib
import importlib
import os
import threading
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..conf import MAX_DIMENSIONS, listed
from ..pictures.gate import Pixels
from .base import Encoder, EncoderError

PREPROCESSING = "fit1"
"""Names the way from file to tensor: upright sRGB, centre-filled square. Part of every identity."""
PICTURES_PER_CALL = 4
"""Calls of 4 pictures in as many threads as there are cores made 133 pictures a second on two cores, one call of 32
made 60: its intermediate results are hundreds of megabytes, which the system maps and clears anew each time."""
DEFAULT_IMAGE_SIZE = 224
MAX_IMAGE_SIZE = 1_024
"""A batch of 32 takes 400 MB at this side, before the model has done anything."""
LONGEST_REASON = 300
"""Maximum length of another library's message in a sentence of ours: Keras puts whole models into some."""

CAFFE_MEAN = np.array([123.68, 116.779, 103.939], np.float32)
TORCH_MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
TORCH_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32) * 255
"""Of red, green and blue in ImageNet, as keras.applications.imagenet_utils has them, in 0..255."""

SCALINGS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "0..1": lambda pixels: pixels / np.float32(255),
    "-1..1": lambda pixels: pixels / np.float32(127.5) - np.float32(1),
    "0..255": lambda pixels: pixels,
    "caffe": lambda pixels: (pixels - CAFFE_MEAN)[..., ::-1],
    "torch": lambda pixels: (pixels - TORCH_MEAN) / TORCH_DEVIATION,
}
"""What a model was trained on, by name: float32 of 0..255 in RGB in, what the model takes out."""

Model: TypeAlias = Callable[[NDArray[np.float32]], Any]
"""What turns scaled pictures into a tensor ``[n, dimensions]``."""

_lock = threading.Lock()
_forked_with_tensorflow = False


class TensorFlowEncoder(Encoder):
    """An image model that TensorFlow computes: opened at its first use, once per process, never across a fork.

    ``source`` says in messages which model is meant. A subclass gives ``_identity``, what the model is by its files
    or its address, and ``_load``, which opens it and sets ``_image_size`` where that was not known.
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
        self.batch_size = batch_size
        self._name = name
        self._dimensions = dimensions
        self._image_size = image_size
        self._scaling = scaling
        self._model: Model | None = None

    @abstractmethod
    def _identity(self) -> str:
        """Return text that changes with the model; found without opening it."""

    @abstractmethod
    def _load(self) -> Model:
        """Return the model, opened; raise ``EncoderError`` where it cannot."""

    @cached_property
    def _preprocessing(self) -> str:
        """Return the part of the identity that says how pictures are prepared; 0..1 goes without saying."""
        size = [str(self._image_size)] if self._image_size else []
        return "-".join([*size, *([] if self._scaling == "0..1" else [self._scaling]), PREPROCESSING])

    @cached_property
    def name(self) -> str:
        return self._name or f"{self._identity()}-{self._preprocessing}".replace("|", "-")

    @property
    def dimensions(self) -> int | None:
        return self._dimensions

    @property
    def image_size(self) -> int:
        if self._image_size is None:
            self._open()
        return self._image_size or DEFAULT_IMAGE_SIZE

    def features(self, pixels: Pixels) -> NDArray[np.float32]:
        model = self._open()
        scaled = SCALINGS[self._scaling](pixels.astype(np.float32))
        chunks = [scaled[start : start + PICTURES_PER_CALL] for start in range(0, len(scaled), PICTURES_PER_CALL)]
        try:
            outputs = [model(chunks[0])] if len(chunks) == 1 else list(self._threads.map(model, chunks))
            features = np.concatenate([np.asarray(output, dtype=np.float32) for output in outputs])
        except Exception as error:  # TensorFlow's own classes are not known here
            raise EncoderError(
                f"The model {self.source} failed on a batch of shape {chunks[0].shape}: {first_line(error)} "
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

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="tensorflow")

    def _open(self) -> Model:
        """Return the callable model, opened at the first call of the process."""
        if _forked_with_tensorflow:
            raise EncoderError(
                "TensorFlow was used in this process's parent before it forked, and would hang here without "
                "an error. Embed after the fork only: leave out gunicorn's --preload, or set "
                "SIMILAR_PRODUCTS['EMBED_ON_SAVE'] to 'off' and run embed_products on its own."
            )
        with _lock:
            if self._model is None:
                _ = self._preprocessing  # taken now: the opened model may tell its size, and the name must not change
                self._model = self._load()
        return self._model


def import_tensorflow(package: str, *, wanted_by: str) -> Any:
    """Return a package that runs on TensorFlow, imported; raise ``EncoderError`` with the remedy where it cannot be."""
    # TensorFlow writes notices to standard error at its start; a value that is set already stays.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pkg_resources announces its own end
            importlib.import_module("tensorflow")
            found = importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name == "pkg_resources":
            raise EncoderError(
                "tensorflow-hub needs pkg_resources, which setuptools 81 removed: run pip install 'setuptools<81'."
            ) from error
        raise EncoderError(
            f"{wanted_by} needs the package {error.name}, which is not installed: run "
            "pip install 'django-similar-products[tensorflow]'."
        ) from error
    except Exception as error:  # a broken installation raises whatever it likes
        raise EncoderError(
            f"TensorFlow is installed, but cannot be imported: {type(error).__name__}: {first_line(error)} Install it "
            "anew with pip install --force-reinstall 'django-similar-products[tensorflow]'."
        ) from error
    os.register_at_fork(after_in_child=_mark_forked)
    return found


def _mark_forked() -> None:
    global _forked_with_tensorflow
    _forked_with_tensorflow = True


def digest(files: Iterable[tuple[str, Path]]) -> str:
    """Return 16 hexadecimal digits that change with any byte of the files or of the names they are given."""
    found = hashlib.blake2b(digest_size=8)
    for name, file in files:
        found.update(name.encode())
        with file.open("rb") as opened:
            found.update(hashlib.file_digest(opened, "blake2b").digest())
    return found.hexdigest()


def first_line(error: Exception) -> str:
    """Return what another library's error says, short enough for a sentence of ours, with a full stop."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if len(text) > LONGEST_REASON:
        text = f"{text[:LONGEST_REASON]}…"
    return text if text.endswith(".") else f"{text}."
