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

from ..pictures.ahead import in_batches
from ..pictures.gate import Pixels
from .base import EncoderError, Vectors, first_line
from .conversion import Convertible, file_name, refusal_file, slug
from .litert import LiteRTModel, find_interpreter_class
from .model import SCALINGS
from .tensorflow import TensorFlowModel

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

    work = write_quantized if "pixels" in job else write_converted
    try:
        answer("result", str(work(**job, on_step=lambda step: answer("step", step))))
    except EncoderError as error:
        answer("error", str(error))
    except (MemoryError, OSError) as error:  # of the machine and not of the model: nothing is kept of it
        answer("error", f"The model cannot be converted now: {type(error).__name__}: {first_line(error)}")


def write_converted(encoder: Convertible, folder: Path, on_step: Callable[[str], object]) -> None:
    """Convert the encoder's model into ``folder``, or write there why LiteRT cannot run it."""
    key = encoder.conversion_key
    find_interpreter_class()  # without one nothing is learned of the model
    model = _read(encoder, on_step)
    pixels = _test_pixels(encoder.image_size)
    expected = encoder.encode(pixels)
    partial = folder / f".{slug(key)}.{os.getpid()}.partial"
    try:
        on_step("converting it")
        content = _convert(model.function, encoder.image_size)
        partial.write_bytes(content)
        on_step("comparing its vectors")
        encoder.use(LiteRTModel(partial))
        cosine = _cosines(encoder.encode(pixels), expected).min()
        if cosine < MIN_COSINE:
            raise NotConvertible(f"its vectors have a cosine of {cosine:.6f} to TensorFlow's.")
    except (NotConvertible, EncoderError) as error:
        partial.write_text(str(error), encoding="utf-8")
        partial.replace(refusal_file(folder, key))
    else:
        new = partial.replace(folder / file_name(key, content))
        for old in set(folder.glob(f"{slug(key)}.*.tflite")) - {new}:  # a damaged one
            old.unlink(missing_ok=True)
    finally:
        partial.unlink(missing_ok=True)


def write_quantized(encoder: Convertible, file: Path, pixels: Pixels, on_step: Callable[[str], object]) -> float:
    """Write the encoder's model to ``file`` in 8 bits; return the mean cosine of its vectors to those of the model."""
    # Whatever the pictures are, the range of pixels is 0 to 255, so that a pixel is its own value in 8 bits.
    pixels[0, 0, 0], pixels[0, 0, 1] = 0, 255
    model = _read(encoder, on_step)
    expected = np.concatenate([encoder.encode(np.stack(batch)) for batch in in_batches(pixels, encoder.batch_size)])
    scale, function = SCALINGS[encoder.scaling], model.function

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
    return float(_cosines(encoder.encode(pixels), expected).mean())


def _read(encoder: Convertible, on_step: Callable[[str], object]) -> TensorFlowModel:
    """Return the model as TensorFlow reads it, which the encoder uses from now on."""
    on_step("reading it with TensorFlow")
    model = encoder.read()
    encoder.check_unchanged()
    encoder.use(model)
    return model


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


def _cosines(found: Vectors, expected: Vectors) -> Vectors:
    """Return the cosine of each vector to its twin; 0 where a model sees nothing in the picture."""
    cosines: Vectors = np.nan_to_num((found * expected).sum(axis=1))
    return cosines


if __name__ == "__main__":
    main()
