"""Feature vector models in one ``.tflite`` file, run by LiteRT without TensorFlow."""

import importlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..pictures.gate import Pixels
from .base import EncoderError, first_line
from .tensorflow import import_tensorflow

INSTALL = "pip install ai-edge-litert"
_ANNOUNCEMENT = b"Created TensorFlow Lite XNNPACK delegate"


class LiteRTModel:
    """A model that takes one picture and gives one vector; may be called by several threads, and after a fork.

    A call takes an interpreter that is idle or makes one, which takes 10 ms and about the memory that the model's
    weights and one picture need: there are as many as there were calls at once. Each computes in the calling thread,
    so that nothing of it is lost when a process forks. The file is read once: what replaces it later is another model.
    ``image_size`` is for a model whose file leaves the side open. Raises ``EncoderError`` where it is no such model.
    """

    def __init__(self, path: Path, image_size: int | None = None) -> None:
        self._path = path
        self._content = path.read_bytes()
        self._wanted_size = image_size
        self._idle: list[_Interpreter] = []
        with _without_announcement():  # it comes once per process
            first = self._take()
        self.image_size: int = first.shape[1]
        self.dimensions: int | None = first.dimensions
        self.takes_pixels: bool = first.takes_pixels
        """Whether the model takes uint8 pixels as they are, as quantised models do, and not scaled floats."""
        self._idle.append(first)

    def __call__(self, pictures: Pixels | NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``[n, d]`` for ``[n, s, s, 3]``: one picture after another, which is faster than a batch."""
        interpreter = self._take()
        try:
            return np.stack([interpreter.run(picture) for picture in pictures])
        finally:
            self._idle.append(interpreter)

    def _take(self) -> "_Interpreter":
        try:
            return self._idle.pop()
        except IndexError:
            return _Interpreter(self._path, self._content, self._wanted_size)


class _Interpreter:
    """LiteRT's interpreter of a file with one input and one output."""

    def __init__(self, path: Path, content: bytes, image_size: int | None) -> None:
        interpreter_class = find_interpreter_class()
        try:
            self._interpreter = interpreter_class(model_content=content, num_threads=1)
            self._read_details(path, image_size)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise EncoderError(
                f"The model {path} cannot be opened by LiteRT: {first_line(error)} Copy or convert it anew."
            ) from error
        output = self._interpreter.get_output_details()[0]
        self.dimensions = int(output["shape"][1]) if len(output["shape"]) == 2 else None
        self._output, self._output_scaling = output["index"], output["quantization"]

    def _read_details(self, path: Path, image_size: int | None) -> None:
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        shape = [int(side) for side in inputs[0]["shape_signature"]] if inputs else []
        if len(inputs) != 1 or len(outputs) != 1 or len(shape) != 4 or shape[3] != 3:
            raise EncoderError(
                f"The model {path} has {len(inputs)} inputs, the first of the shape {shape}, and {len(outputs)} "
                "outputs; an image feature vector has one input of height x width x 3 colours and one output."
            )
        if inputs[0]["dtype"] not in (np.float32, np.uint8):
            raise EncoderError(
                f"The model {path} takes {inputs[0]['dtype'].__name__}; valid are float32 and uint8 pictures."
            )
        if shape[1] < 0 and image_size is None:
            raise EncoderError(f"The model {path} leaves the side of its pictures open: set the option 'image_size'.")
        side = shape[1] if shape[1] > 0 else image_size or 0
        if shape[2] not in (-1, side):
            raise EncoderError(
                f"The model {path} takes pictures of {shape[1]} x {shape[2]} pixels, which is no square."
            )
        self.shape = [1, side, side, 3]
        self.takes_pixels = inputs[0]["dtype"] == np.uint8
        self._input = inputs[0]["index"]
        if list(inputs[0]["shape"]) != self.shape:
            self._interpreter.resize_tensor_input(self._input, self.shape)

    def run(self, picture: NDArray[Any]) -> NDArray[np.float32]:
        self._interpreter.set_tensor(self._input, picture[np.newaxis])
        self._interpreter.invoke()
        found = self._interpreter.get_tensor(self._output)[0]
        scale, zero = self._output_scaling
        return np.asarray((found.astype(np.float32) - zero) * scale if scale else found, dtype=np.float32)


def is_installed() -> bool:
    """Return whether this process can run a ``.tflite`` file; TensorFlow has an interpreter of its own."""
    return any(find_spec(package) for package in ("ai_edge_litert", "tensorflow"))


@cache
def find_interpreter_class() -> Any:
    """Return LiteRT's interpreter, or TensorFlow's own; raise ``EncoderError`` with the remedy where there is none."""
    try:
        return importlib.import_module("ai_edge_litert.interpreter").Interpreter
    except ImportError as missing:
        try:
            tensorflow = import_tensorflow("tensorflow", wanted_by="LiteRT's substitute")
            warnings.filterwarnings("ignore", message=r"\s*Warning: tf\.lite\.Interpreter is deprecated")
            return tensorflow.lite.Interpreter
        except (EncoderError, AttributeError):
            raise EncoderError(
                f"LiteRT, which runs the model, cannot be imported: {first_line(missing)} Run {INSTALL}; where it has "
                "no wheel, TensorFlow takes its place: pip install 'django-similar-products[tensorflow]'."
            ) from missing


@contextmanager
def _without_announcement() -> Iterator[None]:
    """Drop the line in which LiteRT announces XNNPACK on standard error; nothing in it switches the line off.

    The line comes from C++, so the file descriptor is turned to a file meanwhile; all else in it is written then.
    Where standard error is closed, or no file can be made, nothing is dropped.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile())
            kept = os.dup(2)
        except OSError:
            yield
            return
        stack.callback(os.close, kept)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            file.seek(0)
            with suppress(OSError):  # nobody reads standard error
                for line in file:
                    if _ANNOUNCEMENT not in line:
                        os.write(2, line)
