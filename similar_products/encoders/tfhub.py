import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .base import EncoderError, first_line
from .model import BATCH_SIZE, ModelEncoder, digest
from .tensorflow import TensorFlowModel, import_tensorflow

EMBEDDED_HANDLE = str(Path(__file__).parent / "mobilenet_v2_small" / "model.tflite")
"""The model in this package, the default: it needs no network. Its MODEL_CARD.md says what it was trained on."""
EMBEDDED_DIMENSIONS = 1280
EMBEDDED_IMAGE_SIZE = 128
OFFICIAL_HANDLE = "https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5"
"""Google's weights, larger and better on most pictures. Of as many dimensions, so that changing needs no migration."""
DOWNLOAD_TIMEOUT = 60.0
"""Seconds without a byte after which a download is given up; tensorflow_hub itself waits for ever."""

_MOBILENET_V2 = re.compile(r"mobilenet[_-]v2.*?(?P<width>\d{2,3})[_-](?P<size>\d{2,3})(?!\d)", re.IGNORECASE)


class TFHubEncoder(ModelEncoder):
    """An image feature vector model in the form of TF-Hub: ``[n, s, s, 3]`` in 0..1 in, ``[n, d]`` out.

    ``handle`` is a TF-Hub URL, the folder of a SavedModel or a ``.tflite`` file; without one it is the model in this
    package. All but a file are converted into one before the first use, which needs TensorFlow.
    ``image_size`` and ``dimensions`` are read from the handle (MobileNetV2's names carry them) or from the
    model; say them where neither tells. ``scaling`` is for a SavedModel of another form: what it was trained on, as
    in ``KerasEncoder``; the same weights fed 0..255 lost 0.22 of precision@10. A quantised file takes pixels as they
    are. ``name`` replaces the identity, which otherwise is the URL's path or a digest of the files.
    """

    advice = "Take the 'feature_vector' variant of the model."

    def __init__(
        self,
        handle: str | os.PathLike[str] = EMBEDDED_HANDLE,
        *,
        name: str = "",
        dimensions: int | None = None,
        image_size: int | None = None,
        scaling: str = "0..1",
        batch_size: int = BATCH_SIZE,
    ) -> None:
        self.handle = os.fspath(handle)
        if not self.handle:
            raise ValueError("handle is empty; give a TF-Hub URL, the folder of a SavedModel or a .tflite file.")
        super().__init__(
            self.handle,
            name=name,
            dimensions=dimensions,
            image_size=image_size,
            scaling=scaling,
            batch_size=batch_size,
        )
        if self._is_url and (known := _MOBILENET_V2.search(self.handle)):
            # The last layer of MobileNetV2 has 1280 channels and grows with a width above 1.0 only.
            width = int(known["width"])
            self._dimensions = dimensions or (1280 if width <= 100 else _divisible_by_8(1280 * width / 100))
            self._image_size = image_size or int(known["size"])
        if self._is_embedded:
            self._dimensions = dimensions or EMBEDDED_DIMENSIONS
            self._image_size = image_size or EMBEDDED_IMAGE_SIZE

    @property
    def _is_url(self) -> bool:
        return "://" in self.handle

    @property
    def _is_embedded(self) -> bool:
        return self.handle == EMBEDDED_HANDLE

    @property
    def tflite_file(self) -> Path | None:
        if self._is_url or not self.handle.endswith(".tflite"):
            return None
        if not (file := Path(self.handle)).is_file():
            raise EncoderError(f"There is no file {self.handle}; give the path of a .tflite file as the handle.")
        return file

    def _identity(self) -> str:
        if self._is_url:
            return self.handle.split("://", 1)[1].partition("?")[0].removeprefix("tfhub.dev/").strip("/")
        if file := self.tflite_file:
            return f"{'embedded' if self._is_embedded else 'tflite'}-{digest([('model.tflite', file)])}"
        folder = self._folder()
        files = sorted([folder / "saved_model.pb", *(folder / "variables").glob("variables.*")])
        return f"savedmodel-{digest((file.name, file) for file in files)}"

    def read(self) -> TensorFlowModel:
        if self.tflite_file:
            raise EncoderError(
                f"The model {self.handle} is a .tflite file, which TensorFlow does not read. Name the TF-Hub model or "
                "the SavedModel that it was made from."
            )
        model = self._read()
        signature = getattr(model, "signatures", {}).get("serving_default")
        compute = model if callable(model) else _by_signature(self.handle, signature)
        return TensorFlowModel(compute, image_size=_image_size(signature), origin=model)

    def _read(self) -> Any:
        """Return the SavedModel as TensorFlow reads it, fetched before where the handle is a URL."""
        folder = "" if self._is_url else str(self._folder())
        tensorflow_hub = import_tensorflow("tensorflow_hub", wanted_by="TFHubEncoder")
        path = folder or self._fetch(tensorflow_hub)
        try:
            return tensorflow_hub.load(path)
        except Exception as error:
            if self._is_url:
                raise EncoderError(
                    f"The copy of {self.handle} in the cache folder {path} is damaged or incomplete: "
                    f"{first_line(error)} Delete that folder and run again."
                ) from error
            raise EncoderError(
                f"The SavedModel in {self.handle} cannot be opened: {first_line(error)} Export or copy it anew."
            ) from error

    def _fetch(self, tensorflow_hub: Any) -> str:
        """Return the folder in the hub's cache, downloaded to it where it is not there yet."""
        waits = socket.getdefaulttimeout()
        # The hub offers no timeout of its own; the default, set for this moment, is the one way in.
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
        try:
            return str(tensorflow_hub.resolve(self.handle))
        except Exception as error:
            raise EncoderError(
                f"The model {self.handle} could not be fetched: {first_line(error)} Check the address and "
                "this machine's way to it, or give the folder of a SavedModel as the handle."
            ) from error
        finally:
            socket.setdefaulttimeout(waits)

    def _folder(self) -> Path:
        folder = Path(self.handle)
        if not folder.is_dir():
            raise EncoderError(
                f"There is no folder {self.handle}; the handle is a TF-Hub URL such as {OFFICIAL_HANDLE}, the folder "
                "of a SavedModel or a .tflite file."
            )
        if not (folder / "saved_model.pb").is_file():
            raise EncoderError(
                f"The folder {self.handle} has no file saved_model.pb, so it is no SavedModel or an incomplete one."
            )
        return folder


def _image_size(signature: Any) -> int | None:
    """Return the side of the pictures that a signature declares."""
    specs = [] if signature is None else signature.structured_input_signature[1].values()
    return next((spec.shape[1] for spec in specs if spec.shape.rank == 4 and spec.shape[1]), None)


def _by_signature(handle: str, signature: Any) -> Callable[[Any], Any]:
    """Return the signature of a SavedModel as a function of a tensor of pictures."""
    if signature is None:
        raise EncoderError(
            f"The SavedModel in {handle} is not callable and has no signature 'serving_default'. Export it with "
            "tf.saved_model.save or keras.Model.export."
        )
    names = list(signature.structured_input_signature[1])
    outputs = sorted(signature.structured_outputs)
    if len(names) != 1 or len(outputs) != 1:
        raise EncoderError(
            f"The signature 'serving_default' of {handle} has the inputs {names} and the outputs {outputs}; "
            "one of each is needed."
        )
    return lambda pictures: signature(**{names[0]: pictures})[outputs[0]]


def _divisible_by_8(value: float) -> int:
    return int(value + 4) // 8 * 8
