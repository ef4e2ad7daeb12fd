import importlib
import json
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..conf import listed
from .base import EncoderError
from .tensorflow import TensorFlowEncoder, digest, first_line, import_tensorflow, saved_model_files

TAKES = ("output", "input")
POOLINGS = ("", "average")
LISTED_LAYERS = 20
"""So many of a model's layers, the last ones, are named in a message: vectors are taken near the end."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_METADATA = "keras_metadata.pb"
"""Keras 2 writes it beside saved_model.pb; without it nobody knows where one layer ends and the next begins."""

_FORBIDDEN = frozenset({"__lambda__", "FlaxLayer", "JaxLayer", "Lambda", "TFSMLayer", "TorchModuleWrapper"})
"""What carries code, or a path to a model that does. Keras 2 runs a Lambda of a SavedModel whatever safe_mode says."""
_VALUES = frozenset(
    {"TensorShape", "TypeSpec", "__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"}
    | {"__tuple__"}
)
"""What stands for data in a configuration."""
_NAMESPACES = ("layers", "models", "initializers", "regularizers", "constraints", "activations")
_ROOTS = ("", "dtype_policies", "mixed_precision", "ops", "quantizers", "random", *_NAMESPACES)
_INTERNAL = ("src.applications.", "src.dtype_policies.", "src.engine.", "src.layers.", "src.models.", "src.ops.")
"""Where Keras' own classes are found: the public names, and the modules that it writes of some."""
_OPERATIONS = frozenset({"SlicingOpLambda", "TFOpLambda"})
_ARITHMETIC = re.compile(
    r"(__operators__|image|linalg|math|nn)\.\w+|cast|clip_by_value|concat|convert_to_tensor|expand_dims|identity|pad"
    r"|reshape|reverse|slice|split|squeeze|stack|stop_gradient|strided_slice|tile|transpose"
)
"""How Keras 2 writes TensorFlow's own operations, and those that only compute: others write files or load libraries."""


class KerasEncoder(TensorFlowEncoder):
    """A Keras model of the shop's own, cut at the layer whose output or input is the vector.

    ``model`` is a ``.keras`` file, or the folder of a SavedModel that Keras 2 saved. ``layer`` is the name of the
    layer, ``take`` "output" or "input": the input of the classifier is the vector before it. ``image_size`` is the
    side of the squares the model was trained on, in pixels, and ``scaling`` what their values were turned into:
    "0..1", "-1..1", "0..255" (also where the model has a ``Rescaling`` layer of its own), "caffe" or "torch" as in
    ``keras.applications``. ``pooling="average"`` takes the mean over the picture where the layer gives a map.
    ``dimensions`` lets a check compare the model with the field unopened. ``name`` replaces the identity, which
    otherwise is a digest of the files with these options.

    A model with code of its own (a ``Lambda``, a custom layer) is refused, and so is the old HDF5 format.
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
        batch_size: int = 32,
    ) -> None:
        self.model = os.fspath(model)
        if not self.model:
            raise ValueError("model is empty; give a .keras file or the folder of a SavedModel that Keras saved.")
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
        self._side = image_size
        self._layer, self._take, self._pooling = layer, take, pooling

    @property
    def image_size(self) -> int:
        return self._side

    def _identity(self) -> str:
        cut = "-".join(filter(None, (self._layer, self._take, self._pooling)))
        return f"keras-{digest(self._files())}-{cut}"

    def _files(self) -> list[tuple[str, Path]]:
        """Return the files that vectors depend on, each with a name that does not change when it is moved."""
        path = Path(self.model)
        if path.is_dir():
            if not (path / "saved_model.pb").is_file():
                raise EncoderError(
                    f"The folder {self.model} has no file saved_model.pb, so it is no SavedModel or an incomplete one."
                )
            if not (path / _METADATA).is_file():
                raise EncoderError(
                    f"The SavedModel in {self.model} has no file {_METADATA}, so its layers have no names any more. If "
                    "its output is the vector, give the folder to TFHubEncoder as its 'handle'; if not, save the "
                    "model anew with model.save('NAME.keras')."
                )
            return [(file.name, file) for file in [*saved_model_files(path), path / _METADATA]]
        if not path.is_file():
            raise EncoderError(
                f"There is no file {self.model}; 'model' is a .keras file or the folder of a SavedModel that Keras "
                "saved."
            )
        with path.open("rb") as opened:
            is_hdf5 = opened.read(len(_HDF5)) == _HDF5
        if is_hdf5:
            raise EncoderError(
                f"The file {self.model} is in Keras' old HDF5 format, which may run code when it is opened. Open it "
                "once where you trust it, with keras.models.load_model, and save it with model.save('NAME.keras')."
            )
        if not zipfile.is_zipfile(path):
            raise EncoderError(f"The file {self.model} is no .keras file, or a damaged one. Save or copy it anew.")
        return [("model.keras", path)]

    def _load(self) -> Callable[[NDArray[np.float32]], Any]:
        self._files()
        is_folder = Path(self.model).is_dir()
        saved = {} if is_folder else self._read()
        library = self._import("tf_keras" if is_folder or saved["keras_version"].startswith("2.") else "keras")
        for part in self._parts_of_folder() if is_folder else [saved["config"]]:
            self._refuse_code(part, library)
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

    def _read(self) -> dict[str, Any]:
        """Return ``config`` and ``keras_version`` as the file has them."""
        try:
            with zipfile.ZipFile(self.model) as archive:
                config = json.loads(archive.read("config.json"))
                version = json.loads(archive.read("metadata.json"))["keras_version"]
            return {"config": dict(config), "keras_version": str(version)}
        except Exception as error:
            raise EncoderError(
                f"The file {self.model} is no .keras file, or a damaged one: {first_line(error)} Save or copy it anew."
            ) from error

    def _parts_of_folder(self) -> Iterator[Any]:
        """Yield what Keras 2 wrote of each layer of a SavedModel."""
        try:
            messages: Any = importlib.import_module("tf_keras.protobuf.saved_metadata_pb2")
            nodes = messages.SavedMetadata.FromString((Path(self.model) / _METADATA).read_bytes()).nodes
            # Metrics are for training, and are not loaded.
            yield from (json.loads(node.metadata) for node in nodes if node.identifier != "_tf_keras_metric")
        except Exception as error:
            raise EncoderError(
                f"The file {_METADATA} in {self.model} is damaged: {first_line(error)} Save or copy the folder anew."
            ) from error

    def _refuse_code(self, config: Any, library: Any) -> None:
        for part in _classes(config):
            name = part["class_name"]
            if _is_known(part, library):
                continue
            what = "code of its own" if name in _FORBIDDEN else "which is not part of Keras"
            raise EncoderError(
                f"The Keras model {self.model} contains {_shown(part)!r}, {what}; a model's file is never allowed to "
                "bring code. Cut the model where that code is known, with keras.Model(model.inputs, VECTOR)"
                ".export(FOLDER), and give the folder to TFHubEncoder as its 'handle'."
            )

    def _cut(self, model: Any, library: Any) -> Callable[[NDArray[np.float32]], Any]:
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
        tensorflow = importlib.import_module("tensorflow")
        try:
            cut = library.Model(picture, vector)
        except Exception as error:
            raise EncoderError(
                f"{where} is computed inside a model of its own. Take the 'input' of the layer that follows it."
            ) from error

        def compute(pixels: Any) -> Any:
            computed = cut(pixels, training=False)
            return tensorflow.reduce_mean(computed, axis=(1, 2)) if self._pooling else computed

        shape = tensorflow.TensorSpec([None, self._side, self._side, 3], tensorflow.float32)
        try:
            # Traced now and once: threads then share a graph, and Keras' Python no longer runs for each call.
            traced = tensorflow.function(compute, [shape], autograph=False).get_concrete_function()
        except Exception as error:
            raise EncoderError(
                f"The Keras model {self.model} cannot compute pictures of {self._side} pixels: {first_line(error)} "
                "Set the option 'image_size' to what it was trained on."
            ) from error
        return lambda pixels: traced(tensorflow.constant(pixels))

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
        if any(side not in (None, self._side) for side in shape[1:3]):
            raise EncoderError(
                f"The Keras model {self.model} takes pictures of {_shape(inputs[0])}, not the squares of {self._side} "
                "pixels that the option 'image_size' says: correct the option or take another model."
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


def _classes(config: Any) -> Iterator[dict[str, Any]]:
    """Yield each entry of a model's configuration that names a class or function to be made."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str) and config["class_name"] not in _VALUES:
            yield config
        for key, value in config.items():
            if key not in ("compile_config", "training_config"):  # for training, and not loaded
                yield from _classes(value)
    elif isinstance(config, list):
        for value in config:
            yield from _classes(value)


def _is_known(part: dict[str, Any], library: Any) -> bool:
    name, module = part["class_name"], part.get("module")
    if name in _FORBIDDEN:
        return False
    if name in _OPERATIONS:
        return _ARITHMETIC.fullmatch(_function(part)) is not None
    root, _, rest = str(module).partition(".")
    is_of_keras = root in ("keras", "tf_keras") and (rest in _ROOTS or f"{rest}.".startswith(_INTERNAL))
    if name == "function":  # Keras 2 looks for the registered name in the module, Keras 3 for the other
        found, named = part.get("config"), part.get("registered_name")
        return (
            (is_of_keras or module in (None, "builtins"))
            and named in (None, "function", found)
            and any(hasattr(getattr(library, space), str(found)) for space in _NAMESPACES[2:])
        )
    if module is None:  # Keras 2 writes the name alone
        return name == "Functional" or any(hasattr(getattr(library, space), name) for space in _NAMESPACES)
    return is_of_keras


def _function(part: dict[str, Any]) -> str:
    """Return the name of the TensorFlow function that an operation of Keras 2 stands for."""
    config = part.get("config")
    return str(config.get("function")) if isinstance(config, dict) else ""


def _shown(part: dict[str, Any]) -> str:
    name = part["class_name"]
    if name in _OPERATIONS:
        return f"tensorflow.{_function(part)}"
    return ".".join(
        str(word) for word in (part.get("module"), part.get("config") if name == "function" else name) if word
    )


def _shape(tensor: Any) -> str:
    """Return the shape of one picture's tensor, as in 7 x 7 x 1280, with ? where only a picture tells."""
    return " x ".join("?" if side is None else str(side) for side in tensor.shape[1:]) or "nothing"
