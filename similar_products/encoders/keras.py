import importlib
import json
import os
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

from ..conf import listed
from .base import EncoderError, first_line
from .model import BATCH_SIZE, ModelEncoder, digest
from .tensorflow import TensorFlowModel, import_tensorflow

TAKES = ("output", "input")
POOLINGS = ("", "average")
LISTED_LAYERS = 20
"""Maximum number of layers, the model's last ones, that a message names: vectors are taken near the end."""

_HDF5 = b"\x89HDF\r\n\x1a\n"


class KerasEncoder(ModelEncoder):
    """A Keras model of the shop's own, cut at the layer whose output or input is the vector.

    ``model`` is a ``.keras`` file. ``layer`` is the name of the layer, ``take`` "output" or "input": the input of the
    classifier is the vector before it. ``image_size`` is the side in pixels of the squares that the model was trained
    on, and ``scaling`` what their values were turned into:
    "0..1", "-1..1", "0..255" (also where the model has a ``Rescaling`` layer of its own), "caffe" or "torch" as in
    ``keras.applications``. ``pooling="average"`` takes the mean over the picture where the layer gives a map.
    ``dimensions`` lets a check compare the model with the field unopened. ``name`` replaces the identity, which
    otherwise is a digest of the file with these options.

    Keras opens the file in its safe mode, which refuses a ``Lambda``; the old HDF5 format is refused here. The model is
    converted before the first use, which needs TensorFlow; where it cannot be, TensorFlow computes it.
    """

    advice = "Name a layer whose input or output is one vector for each picture."

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        layer: str,
        image_size: int,
        scaling: str,
        take: str = "output",
        pooling: str = "",
        name: str = "",
        dimensions: int | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        self.model = os.fspath(model)
        if not self.model:
            raise ValueError("model is empty; give a .keras file.")
        if not layer or not isinstance(layer, str):
            raise ValueError(f"layer is {layer!r}; give the name of a layer as model.summary() shows it.")
        if take not in TAKES:
            raise ValueError(f"take is {take!r}; valid are {listed(TAKES)}.")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling is {pooling!r}; valid are {listed(POOLINGS)}.")
        if image_size is None:
            raise ValueError("image_size is None; give the side in pixels of the pictures the model was trained on.")
        super().__init__(
            self.model,
            name=name,
            dimensions=dimensions,
            image_size=image_size,
            scaling=scaling,
            batch_size=batch_size,
        )
        self._layer, self._take, self._pooling = layer, take, pooling

    def _identity(self) -> str:
        cut = "-".join(filter(None, (self._layer, self._take, self._pooling)))
        return f"keras-{digest([('model.keras', self._file())])}-{cut}"

    def _file(self) -> Path:
        """Return the path of the model's file; raise ``EncoderError`` where it is none of Keras' own format."""
        path = Path(self.model)
        if path.is_dir():
            raise EncoderError(
                f"{self.model} is a folder; 'model' is a .keras file. If the folder is a SavedModel whose output is "
                "the vector, give it to TFHubEncoder as its 'handle'; if not, save the model anew with "
                "model.save('NAME.keras')."
            )
        if not path.is_file():
            raise EncoderError(f"There is no file {self.model}; 'model' is a .keras file.")
        with path.open("rb") as opened:
            is_hdf5 = opened.read(len(_HDF5)) == _HDF5
        if is_hdf5:
            raise EncoderError(
                f"The file {self.model} is in Keras' old HDF5 format, which may run code when it is opened. Open it "
                "once where you trust it, with keras.models.load_model, and save it with model.save('NAME.keras')."
            )
        if not zipfile.is_zipfile(path):
            raise EncoderError(f"The file {self.model} is no .keras file, or a damaged one. Save or copy it anew.")
        return path

    def read(self) -> TensorFlowModel:
        library = self._import("tf_keras" if self._keras_version().startswith("2.") else "keras")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about optimizers and formats, which do not matter here
                opened = library.models.load_model(self.model, compile=False, safe_mode=True)
        except Exception as error:
            raise EncoderError(
                f"The Keras model {self.model} cannot be opened by {library.__name__} {library.__version__}: "
                f"{first_line(error)} Save it anew with a version of Keras like that."
            ) from error
        return self._cut(opened, library)

    def _keras_version(self) -> str:
        try:
            with zipfile.ZipFile(self._file()) as archive:
                return str(json.loads(archive.read("metadata.json"))["keras_version"])
        except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise EncoderError(
                f"The file {self.model} is no .keras file, or a damaged one: {first_line(error)} Save or copy it anew."
            ) from error

    def _import(self, package: str) -> Any:
        """Return the Keras that wrote the model: version 3, or the second, which lives on as tf_keras."""
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # comes before ~/.keras/keras.json
        loaded = sys.modules.get("keras")
        backend = loaded.backend.backend() if loaded and package == "keras" else os.environ["KERAS_BACKEND"]
        if package == "keras" and backend != "tensorflow":
            raise EncoderError(
                f"Keras computes with {backend!r} here, and KerasEncoder with TensorFlow: leave KERAS_BACKEND unset, "
                "or set it to 'tensorflow', for every process that embeds."
            )
        return import_tensorflow(package, wanted_by="KerasEncoder")

    def _cut(self, model: Any, library: Any) -> TensorFlowModel:
        picture, vector = self._picture_of(model), self._vector_of(model)
        rank = len(vector.shape)
        where = f"The {self._take} of the layer {self._layer!r} of {self.model}"
        if rank == 4 and not self._pooling:
            raise EncoderError(
                f"{where} is a map of shape {_shape(vector)} for a picture. Name a later layer, or set the option "
                "'pooling' to 'average' for its mean over the picture."
            )
        if rank != (4 if self._pooling else 2):
            meant = "map" if self._pooling else "vector"
            remedy = "Leave out the option 'pooling'." if self._pooling and rank == 2 else self.advice
            raise EncoderError(f"{where} is of shape {_shape(vector)} for a picture, which is no {meant}. {remedy}")
        if vector.shape[-1] is not None:
            self._confirm_dimensions(int(vector.shape[-1]))
        try:
            cut = library.Model(picture, vector)
        except Exception as error:
            raise EncoderError(
                f"{where} is computed inside a model of its own. Take the 'input' of the layer that follows it."
            ) from error
        return self._trace(cut)

    def _trace(self, cut: Any) -> TensorFlowModel:
        """Return the cut model as a TensorFlow function, pooled where that is wanted."""
        tensorflow = importlib.import_module("tensorflow")

        def compute(pixels: Any) -> Any:
            computed = cut(pixels, training=False)
            return tensorflow.reduce_mean(computed, axis=(1, 2)) if self._pooling else computed

        shape = tensorflow.TensorSpec([None, self.image_size, self.image_size, 3], tensorflow.float32)
        try:
            # Traced now and once: threads then share a graph, and Keras' Python no longer runs for each call.
            traced = tensorflow.function(compute, [shape], autograph=False).get_concrete_function()
        except Exception as error:
            raise EncoderError(
                f"The Keras model {self.model} cannot compute pictures of {self.image_size} pixels: "
                f"{first_line(error)} Set the option 'image_size' to what it was trained on."
            ) from error
        return TensorFlowModel(traced, image_size=self.image_size, origin=cut)

    def _picture_of(self, model: Any) -> Any:
        """Return the model's one input, which must be a square of ``image_size`` in three colours."""
        try:
            inputs = list(model.inputs)
        except (AttributeError, TypeError, ValueError):
            inputs = []
        if len(inputs) != 1:
            raise EncoderError(
                f"The Keras model {self.model} has {len(inputs)} inputs, and one is needed: a functional or "
                "sequential model that starts with keras.Input((SIZE, SIZE, 3))."
            )
        shape = list(inputs[0].shape)
        if len(shape) != 4 or shape[3] not in (None, 3):
            raise EncoderError(
                f"The Keras model {self.model} takes the shape {_shape(inputs[0])}, which is no picture of "
                "height x width x 3 colours."
            )
        if any(side not in (None, self.image_size) for side in shape[1:3]):
            raise EncoderError(
                f"The Keras model {self.model} takes pictures of {_shape(inputs[0])}, not the squares of "
                f"{self.image_size} pixels that the option 'image_size' says: correct the option or take another model."
            )
        return inputs[0]

    def _vector_of(self, model: Any) -> Any:
        names = [layer.name for layer in model.layers]
        if self._layer not in names:
            count = f"the last {LISTED_LAYERS} of its {len(names)} layers" if len(names) > LISTED_LAYERS else "it has"
            raise EncoderError(
                f"The Keras model {self.model} has no layer {self._layer!r}; {count}: {listed(names[-LISTED_LAYERS:])}."
            )
        uses = next(
            (
                len(layer.get("inbound_nodes", ()))
                for layer in model.get_config()["layers"]
                if layer.get("name") == self._layer
            ),
            1,
        )
        found = None if uses > 1 else getattr(model.get_layer(self._layer), self._take)
        tensors = [found] if hasattr(found, "shape") else list(found or ())
        if len(tensors) != 1:
            several = f"is used {uses} times" if uses > 1 else f"has {len(tensors)} {self._take}s"
            raise EncoderError(
                f"The layer {self._layer!r} of {self.model} {several}, and one vector is needed for a picture. Name "
                "another layer."
            )
        return tensors[0]


def _shape(tensor: Any) -> str:
    """Return the shape of one picture's tensor, as in 7 x 7 x 1280, with ? where only a picture tells."""
    return " x ".join("?" if side is None else str(side) for side in tensor.shape[1:]) or "nothing"
