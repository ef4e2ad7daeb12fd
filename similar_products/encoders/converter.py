"""The process that converts a model, started by ``conversion``: it imports TensorFlow so that nobody else has to."""

import importlib
import json
import os
import pickle
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
import numpy as np
from numpy.typing import NDArray

from ..pictures.gate import Pixels
from .base import EncoderError, first_line
from .conversion import Convertible, file_name, refusal_file, slug
from .litert import LiteRTModel, find_interpreter_class
from .model import SCALINGS

MIN_COSINE = 0.9999
"""Least cosine between the vectors of TensorFlow and of LiteRT. The identity stays, so they must be the same."""
TEST_PICTURES = 8


class NotConvertible(Exception):
    """LiteRT cannot run the model, or gives other vectors; the sentence says which."""


def main() -> None:
    """Do the job on standard input and answer in lines of JSON: steps, and at last the result or the error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries and the shop's own code print is no answer
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        django.setup()  # layers that the shop registers are then known to Keras
    job = pickle.load(sys.stdin.buffer)  # noqa: S301  from the process that started this one

    def answer(kind: str, text: str) -> None:
        answers.write(f"{json.dumps([kind, text])}\n")

    work = write_quantized if "samples" in job else write_converted
    try:
        answer("result", str(work(**job, on_step=lambda step: answer("step", step))))
    except EncoderError as error:
        answer("error", str(error))
    except (MemoryError, OSError) as error:  # of the machine and not of the model: nothing is kept of it
        answer("error", f"The model cannot be converted now: {type(error).__name__}: {first_line(error)}")


def write_converted(encoder: Convertible, folder: Path, on_step: Callable[[str], object]) -> str:
    """Convert the encoder's model into ``folder``, or write there why LiteRT cannot run it; return the file's name."""
    key = encoder.conversion_key
    find_interpreter_class()  # without one nothing is learned of the model
    on_step("reading it with TensorFlow")
    model = encoder.read()
    encoder.use(model)
    pixels = _test_pixels(encoder.image_size)
    expected = _unit(encoder.features(pixels))
    partial = folder / f".{slug(key)}.{os.getpid()}.partial"
    try:
        on_step("converting it")
        content = _convert(model.function, encoder.image_size)
        partial.write_bytes(content)
        on_step("comparing its vectors")
        encoder.use(LiteRTModel(partial))
        cosine = float((_unit(encoder.features(pixels)) * expected).sum(axis=1).min())
        if not cosine >= MIN_COSINE:
            raise NotConvertible(f"its vectors have a cosine of {cosine:.6f} to TensorFlow's.")
    except (NotConvertible, EncoderError) as error:
        partial.write_text(str(error), encoding="utf-8")
        return partial.replace(refusal_file(folder, key)).name
    else:
        new = partial.replace(folder / file_name(key, content))
        for old in set(folder.glob(f"{slug(key)}.*.tflite")) - {new}:  # a damaged one
            old.unlink(missing_ok=True)
        return new.name
    finally:
        partial.unlink(missing_ok=True)


def write_quantized(encoder: Convertible, file: Path, samples: Path, on_step: Callable[[str], object]) -> float:
    """Write the encoder's model to ``file`` in 8 bits; return the mean cosine of its vectors to those of the model."""
    on_step("reading it with TensorFlow")
    model, pixels = encoder.read(), np.load(samples)
    encoder.use(model)
    expected = _unit(
        np.concatenate([encoder.features(pixels[start : start + 4]) for start in range(0, len(pixels), 4)])
    )
    scale, function = SCALINGS[encoder.scaling], model.function
    # Whatever the pictures are, the range of pixels is 0 to 255, so that a pixel is its own value in 8 bits.
    pixels[0, 0, 0], pixels[0, 0, 1] = 0, 255

    def set_up(converter: Any) -> None:
        tensorflow = importlib.import_module("tensorflow")
        converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([picture[np.newaxis].astype(np.float32)] for picture in pixels)
        converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tensorflow.uint8

    on_step("measuring the range of its results and converting it")
    try:
        file.write_bytes(_convert(lambda pictures: function(scale(pictures)), encoder.image_size, set_up))
    except NotConvertible as error:
        raise EncoderError(f"The model {encoder.source} cannot be quantised: {error}") from error
    on_step("comparing its vectors")
    encoder.use(LiteRTModel(file))
    found = _unit(encoder.features(pixels))
    return float((found * expected).sum(axis=1).mean())


def _convert(function: Callable[[Any], Any], size: int, set_up: Callable[[Any], None] = lambda _: None) -> bytes:
    """Return the ``.tflite`` file of a function of a picture; raise ``NotConvertible``."""
    tensorflow = importlib.import_module("tensorflow")
    shape = tensorflow.TensorSpec([1, size, size, 3], tensorflow.float32, name="pictures")
    traced = tensorflow.function(function, input_signature=[shape], autograph=False).get_concrete_function()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converter's are for its own developers
            # Without the object that the variables belong to it takes them as constants, which a model's weights are.
            converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([traced])
            set_up(converter)
            return bytes(converter.convert())
    except (MemoryError, OSError):
        raise
    except Exception as error:  # the converter raises what its many parts raise
        raise NotConvertible(f"the converter says: {first_line(error)}") from error


def _test_pixels(size: int) -> Pixels:
    """Return noise of several coarsenesses: pictures in which every model sees something."""
    random = np.random.default_rng(7)
    pictures = []
    for number in range(TEST_PICTURES):
        cells = min(2 ** (number + 1), size)
        coarse = random.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        places = np.arange(size) * cells // size
        pictures.append(coarse[places][:, places])
    return np.stack(pictures)


def _unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(norms, 1e-12), dtype=np.float32)


if __name__ == "__main__":
    main()
