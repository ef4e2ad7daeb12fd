import hashlib
import importlib
import os
import re
import socket
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..images import Pixels
from .base import Encoder, EncoderError

EMBEDDED_HANDLE = str(Path(__file__).parent / "mobilenet_v2_small")
"""The model in this package, the default: it needs no network. Its MODEL_CARD.md says what it was trained on."""
EMBEDDED_DIMENSIONS = 1280
EMBEDDED_IMAGE_SIZE = 128
OFFICIAL_HANDLE = "https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5"
"""Google's weights, larger and better on most pictures. Of as many dimensions, so that changing needs no migration."""
PREPROCESSING = "fit1"
"""Names the way from file to tensor: upright sRGB, centre-filled square, 0..1. Part of every identity."""
DOWNLOAD_TIMEOUT = 60.0
"""Seconds without a byte after which a download is given up; tensorflow_hub itself waits for ever."""

_MOBILENET_V2 = re.compile(r"mobilenet[_-]v2.*?(?P<width>\d{2,3})[_-](?P<size>\d{2,3})(?!\d)", re.IGNORECASE)

DEFAULT_IMAGE_SIZE = 224
PICTURES_PER_CALL = 4
"""Calls of 4 pictures in as many threads as there are cores made 133 pictures a second on two cores, one call of 32
made 60: its intermediate results are hundreds of megabytes, which the system maps and clears anew each time."""

_lock = threading.Lock()
_forked_with_tensorflow = False


class TFHubEncoder(Encoder):
    """An image feature vector model in the form of TF-Hub: ``[n, s, s, 3]`` in 0..1 in, ``[n, d]`` out.

    ``handle`` is a TF-Hub URL or the folder of a SavedModel; without one it is the model in this package.
    ``image_size`` and ``dimensions`` are read from the handle (MobileNetV2's names carry them) or from the
    model; say them where neither tells. ``name`` replaces the identity, which otherwise is the URL's path or a
    digest of the folder's files.
    """

    def __init__(
        self,
        handle: str | os.PathLike[str] = EMBEDDED_HANDLE,
        *,
        name: str = "",
        dimensions: int | None = None,
        image_size: int | None = None,
        batch_size: int = 32,
    ) -> None:
        self.handle = os.fspath(handle)
        if not self.handle:
            raise ValueError("handle is empty; give a TF-Hub URL or the folder of a SavedModel.")
        if "|" in name:
            raise ValueError(f"name is {name!r}; it must not contain '|'.")
        self.batch_size = batch_size
        self._name = name
        self._dimensions = dimensions
        self._image_size = image_size
        self._model: Any = None
        if self._is_url and (known := _MOBILENET_V2.search(self.handle)):
            # The last layer of MobileNetV2 has 1280 channels and grows with a width above 1.0 only.
            width = int(known["width"])
            self._dimensions = dimensions or (1280 if width <= 100 else _divisible_by_8(1280 * width / 100))
            self._image_size = image_size or int(known["size"])
        if self._is_embedded:
            self._dimensions = dimensions or EMBEDDED_DIMENSIONS
            self._image_size = image_size or EMBEDDED_IMAGE_SIZE
        # Taken now: opening the model may fill in the size, and the identity must not change with that.
        self._identity_suffix = "-".join([*([str(self._image_size)] if self._image_size else []), PREPROCESSING])

    @property
    def _is_url(self) -> bool:
        return "://" in self.handle

    @property
    def _is_embedded(self) -> bool:
        return self.handle == EMBEDDED_HANDLE

    @cached_property
    def name(self) -> str:
        if self._name:
            return self._name
        if self._is_url:
            model = self.handle.split("://", 1)[1].partition("?")[0].removeprefix("tfhub.dev/").strip("/")
        else:
            model = f"{'embedded' if self._is_embedded else 'savedmodel'}-{_digest(self._folder())}"
        return f"{model}-{self._identity_suffix}".replace("|", "-")

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
        # 0..1, as the modules ask for: the same weights fed 0..255 lost 0.22 of precision@10.
        scaled = pixels.astype(np.float32) / np.float32(255)
        chunks = [scaled[start : start + PICTURES_PER_CALL] for start in range(0, len(scaled), PICTURES_PER_CALL)]
        try:
            outputs = [model(chunks[0])] if len(chunks) == 1 else list(self._threads.map(model, chunks))
        except Exception as error:  # TensorFlow's own classes are not known here
            raise EncoderError(
                f"The model {self.handle} failed on a batch of shape {chunks[0].shape}: {_first_line(error)} "
                "Is it an image feature vector, and is image_size right?"
            ) from error
        features = np.concatenate([np.asarray(output, dtype=np.float32) for output in outputs])
        if features.ndim != 2:
            raise EncoderError(
                f"The model {self.handle} gives an output of shape {features.shape[1:]} for a picture; a "
                "feature vector has one dimension. Take the 'feature_vector' variant of the model."
            )
        if self._dimensions is None:
            self._dimensions = features.shape[1]
        if features.shape[1] != self._dimensions:
            raise EncoderError(
                f"The model {self.handle} gives vectors of {features.shape[1]} dimensions, not the "
                f"{self._dimensions} that its name or the option 'dimensions' promises: correct the option "
                "or take another handle."
            )
        return features

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="tensorflow")

    def _open(self) -> Any:
        """Return the callable model, opened at the first call of the process."""
        if _forked_with_tensorflow:
            raise EncoderError(
                "TensorFlow was used in this process's parent before it forked, and would hang here without "
                "an error. Embed after the fork only: leave out gunicorn's --preload, or set "
                "SIMILAR_PRODUCTS['EMBED_ON_SAVE'] to 'off' and run embed_products on its own."
            )
        with _lock:
            if self._model is None:
                self._model = self._load()
        return self._model

    def _load(self) -> Any:
        folder = "" if self._is_url else str(self._folder())
        tensorflow_hub = _import_tensorflow_hub()
        path = folder or self._fetch(tensorflow_hub)
        try:
            model = tensorflow_hub.load(path)
        except Exception as error:
            if self._is_url:
                raise EncoderError(
                    f"The copy of {self.handle} in the cache folder {path} is damaged or incomplete: "
                    f"{_first_line(error)} Delete that folder and run again."
                ) from error
            raise EncoderError(
                f"The SavedModel in {self.handle} cannot be opened: {_first_line(error)} Export or copy it anew."
            ) from error
        signature = getattr(model, "signatures", {}).get("serving_default")
        declared = _image_size(signature)
        if declared and self._image_size not in (None, declared):
            raise EncoderError(
                f"The model {self.handle} takes pictures of {declared} pixels, not the {self._image_size} that "
                "its name or the option 'image_size' says: correct the option or take another handle."
            )
        self._image_size = self._image_size or declared or DEFAULT_IMAGE_SIZE
        if callable(model):
            return model
        if signature is None:
            raise EncoderError(
                f"The SavedModel in {self.handle} can neither be called nor has it the signature "
                "'serving_default'. Export it with tf.saved_model.save or keras.Model.export."
            )
        return _by_signature(self.handle, signature)

    def _fetch(self, tensorflow_hub: Any) -> str:
        """Return the folder in the hub's cache, downloaded to it where it is not there yet."""
        waits = socket.getdefaulttimeout()
        # The hub offers no timeout of its own; the default, set for this moment, is the one way in.
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
        try:
            return str(tensorflow_hub.resolve(self.handle))
        except Exception as error:
            raise EncoderError(
                f"The model {self.handle} could not be fetched: {_first_line(error)} Check the address and "
                "this machine's way to it, or give the folder of a SavedModel as the handle."
            ) from error
        finally:
            socket.setdefaulttimeout(waits)

    def _folder(self) -> Path:
        folder = Path(self.handle)
        if not folder.is_dir():
            raise EncoderError(
                f"There is no folder {self.handle}; the handle is a TF-Hub URL such as {OFFICIAL_HANDLE} or "
                "the folder of a SavedModel."
            )
        if not (folder / "saved_model.pb").is_file():
            raise EncoderError(
                f"The folder {self.handle} has no file saved_model.pb, so it is no SavedModel or an incomplete one."
            )
        return folder


def _import_tensorflow_hub() -> Any:
    # TensorFlow greets on standard error with lines nobody asked for; whoever wants them sets the variable.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pkg_resources announces its own end
            importlib.import_module("tensorflow")
            tensorflow_hub = importlib.import_module("tensorflow_hub")
    except ModuleNotFoundError as error:
        if error.name == "pkg_resources":
            raise EncoderError(
                "tensorflow-hub needs pkg_resources, which setuptools 81 removed: run pip install 'setuptools<81'."
            ) from error
        raise EncoderError(
            f"TFHubEncoder needs the package {error.name}, which is not installed: run "
            "pip install 'django-similar-products[tensorflow]'."
        ) from error
    except Exception as error:  # a broken installation raises whatever it likes
        raise EncoderError(
            f"TensorFlow is installed, but cannot be imported: {type(error).__name__}: {_first_line(error)} Install it "
            "anew with pip install --force-reinstall 'django-similar-products[tensorflow]'."
        ) from error
    os.register_at_fork(after_in_child=_mark_forked)
    return tensorflow_hub


def _mark_forked() -> None:
    global _forked_with_tensorflow
    _forked_with_tensorflow = True


def _image_size(signature: Any) -> int | None:
    if signature is None:
        return None
    for spec in signature.structured_input_signature[1].values():
        shape = spec.shape.as_list() if spec.shape.rank == 4 else [None, None]
        if shape[1]:
            return int(shape[1])
    return None


def _by_signature(handle: str, signature: Any) -> Any:
    names = list(signature.structured_input_signature[1])
    outputs = sorted(signature.structured_outputs)
    if len(names) != 1 or len(outputs) != 1:
        raise EncoderError(
            f"The signature 'serving_default' of {handle} has the inputs {names} and the outputs {outputs}; "
            "one of each is needed."
        )
    tensorflow = importlib.import_module("tensorflow")
    return lambda pixels: signature(**{names[0]: tensorflow.constant(pixels)})[outputs[0]]


def _digest(folder: Path) -> str:
    """Return 16 hexadecimal digits that change with any byte of the model's graph or variables."""
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted([folder / "saved_model.pb", *(folder / "variables").glob("variables.*")]):
        digest.update(file.name.encode())
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "blake2b").digest())
    return digest.hexdigest()


def _divisible_by_8(value: float) -> int:
    return int(value + 4) // 8 * 8


def _first_line(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return text if text.endswith(".") else f"{text}."
