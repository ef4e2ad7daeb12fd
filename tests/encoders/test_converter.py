"""What the process that converts does, done in this one: vectors that stay the same, models that LiteRT cannot run."""

import re
from pathlib import Path

import numpy as np
import pytest

from similar_products.encoders import EncoderError, KerasEncoder, TFHubEncoder
from similar_products.encoders.conversion import find, find_refusal, get_folder, quantize
from similar_products.encoders.converter import MIN_COSINE, _test_pixels, write_converted, write_quantized
from similar_products.encoders.model import SCALINGS
from tests.encoders.small_models import by_tensorflow, converted, random_pixels
from tests.saved_models import save_feature_model, save_keras_model

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _folder(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    pytest.importorskip("tensorflow")
    return save_feature_model(tmp_path_factory.mktemp("model"), dimensions=1280, size=32)


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left * right).sum(axis=1)


@pytest.mark.parametrize("options", [{}, {"scaling": "torch"}, {"name": "ours"}], ids=str)
def test_converted__gives_the_vectors_of_tensorflow_under_the_same_name(model, options):
    pixels = random_pixels(5)
    before = by_tensorflow(TFHubEncoder(model, **options))
    after = converted(TFHubEncoder(model, **options))
    fresh = TFHubEncoder(model, **options)
    assert fresh.name == after.name == before.name
    assert cosines(fresh.encode(pixels), before.encode(pixels)).min() >= MIN_COSINE
    assert (fresh.image_size, fresh.dimensions) == (32, 1280)


def test_converted__size_that_the_model_leaves_open_is_the_options(tmp_path):
    folder = save_feature_model(tmp_path / "open", dimensions=8, size=None)
    encoder = converted(TFHubEncoder(folder, image_size=48))
    assert TFHubEncoder(folder, image_size=48).encode(random_pixels(1, 48)).shape == (1, 8)
    assert encoder.conversion_key != TFHubEncoder(folder, image_size=64).conversion_key
    assert TFHubEncoder(folder, image_size=64).needs_preparing


def save_inverse(folder: Path) -> Path:
    """Save a model with a matrix's inverse, one of the operations that LiteRT does not have."""
    import tensorflow

    class Inverse(tensorflow.Module):
        @tensorflow.function(input_signature=[tensorflow.TensorSpec([None, 32, 32, 3], tensorflow.float32)])
        def __call__(self, pictures):
            squares = pictures[:, :8, :8, 0] + 9 * tensorflow.eye(8)
            return tensorflow.reshape(tensorflow.linalg.inv(squares), (-1, 64))

    tensorflow.saved_model.save(Inverse(), str(folder))
    return folder


def test_model_that_litert_cannot_run__is_left_to_tensorflow(tmp_path):
    folder = save_inverse(tmp_path / "inverse")
    encoder = converted(TFHubEncoder(folder))
    assert find(encoder.conversion_key) is None
    assert find_refusal(encoder.conversion_key).startswith("the converter says: ")
    fresh = TFHubEncoder(folder)
    assert not fresh.needs_preparing
    assert fresh.encode(random_pixels(2)).shape == (2, 64)
    assert re.fullmatch(
        r"LiteRT cannot run the model: the converter says: .+\. TensorFlow does, with 600 MB in each process that .+\.",
        fresh.prepare(print),
    )


@pytest.mark.parametrize("error", [MemoryError("no more"), OSError(28, "No space left on device")])
def test_machine_that_cannot_convert_now__says_nothing_of_the_model(model, monkeypatch, error):
    def fail(function, size):
        raise error

    monkeypatch.setattr("similar_products.encoders.converter._convert", fail)
    with pytest.raises(type(error)):
        converted(TFHubEncoder(model))
    assert list(get_folder().iterdir()) == []


def test_model_whose_vectors_would_change__is_left_to_tensorflow(model, monkeypatch):
    monkeypatch.setattr("similar_products.encoders.converter.MIN_COSINE", 1.1)
    encoder = converted(TFHubEncoder(model))
    assert find(encoder.conversion_key) is None
    assert find_refusal(encoder.conversion_key).startswith("its vectors have a cosine of 1.0")
    (file,) = get_folder().iterdir()
    assert re.fullmatch(r".+\.refused-by-[\d.]+\.txt", file.name)
    monkeypatch.setattr("similar_products.encoders.conversion.version", lambda package: "99.0")
    assert TFHubEncoder(model).needs_preparing, "another version of TensorFlow is asked again"


def test_test_pictures__show_something_in_every_size():
    for size in (16, 32, 224):
        pixels = _test_pixels(size)
        assert (pixels.shape, pixels.dtype) == ((8, size, size, 3), np.uint8)
        assert (np.ptp(pixels, axis=(1, 2)) > 10).all()


# 8 bits.


def quantized(encoder, file: Path, pixels: np.ndarray) -> float:
    return write_quantized(encoder, file, pixels.copy(), lambda step: None)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_quantized__takes_pixels_as_they_are_whatever_the_scaling(model, tmp_path, scaling):
    pixels = random_pixels(20)
    file = tmp_path / "small.tflite"
    cosine = quantized(TFHubEncoder(model, scaling=scaling), file, pixels)
    assert cosine > 0.98
    encoder = TFHubEncoder(file)
    assert (
        cosines(encoder.encode(pixels), by_tensorflow(TFHubEncoder(model, scaling=scaling)).encode(pixels)).min() > 0.95
    )
    assert encoder._open().takes_pixels
    assert encoder.name not in {TFHubEncoder(model).name, TFHubEncoder(model, scaling=scaling).name}


def test_quantized__by_a_process_of_its_own(tmp_path):
    file = save_keras_model(tmp_path / "shop.keras", dimensions=256, size=32)
    encoder = KerasEncoder(file, layer="classes", take="input", image_size=32, scaling="-1..1")
    steps: list[str] = []
    assert quantize(encoder, random_pixels(20), tmp_path / "small.tflite", steps.append) > 0.98
    assert len(steps) == 3
    assert TFHubEncoder(tmp_path / "small.tflite").encode(random_pixels(1)).shape == (1, 256)


def test_quantized__model_that_litert_cannot_run_is_named(tmp_path):
    folder = save_inverse(tmp_path / "inverse")
    with pytest.raises(EncoderError) as caught:
        quantized(TFHubEncoder(folder), tmp_path / "small.tflite", random_pixels(4))
    assert re.fullmatch(f"The model {folder} cannot be quantised: the converter says: [^\n]+[^.]\\.", str(caught.value))
    assert not (tmp_path / "small.tflite").exists()


def test_converted__model_that_was_replaced_since_its_name_was_known_leaves_nothing(tmp_path):
    """Or the new model's file would be kept under the old one's name."""
    encoder = TFHubEncoder(save_feature_model(tmp_path / "model", dimensions=8, size=32))
    assert encoder.name
    save_feature_model(tmp_path / "model", dimensions=16, size=32)
    get_folder().mkdir(parents=True)
    with pytest.raises(EncoderError, match="was replaced since this process started: restart the process"):
        write_converted(encoder, get_folder(), lambda step: None)
    assert list(get_folder().iterdir()) == []


def test_converted__bad_model_leaves_nothing(tmp_path):
    folder = save_feature_model(tmp_path / "map", dimensions=8, size=32, as_map=True)
    get_folder().mkdir(parents=True)
    with pytest.raises(EncoderError, match="a feature vector has one dimension"):
        write_converted(TFHubEncoder(folder), get_folder(), lambda step: None)
    assert list(get_folder().iterdir()) == []
