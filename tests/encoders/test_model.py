"""What encoders with a trained model have in common, on the model in the package and on none."""

import pickle
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from similar_products.encoders import EncoderError, TFHubEncoder
from similar_products.encoders.model import SCALINGS, ModelEncoder, digest
from similar_products.encoders.tfhub import EMBEDDED_HANDLE
from tests.encoders.small_models import random_pixels


class Function:
    """A model of pictures of 32 pixels that is a function."""

    image_size, dimensions, takes_pixels = 32, None, False

    def __init__(self, function) -> None:
        self.function = function

    def __call__(self, pictures):
        return self.function(pictures)


class FunctionEncoder(ModelEncoder):
    def _identity(self) -> str:
        return "function"

    def read(self):
        raise NotImplementedError


def computing(function, *, scaling="0..1", dimensions=None, image_size=None) -> FunctionEncoder:
    encoder = FunctionEncoder(
        "made here", name="", dimensions=dimensions, image_size=image_size, scaling=scaling, batch_size=4
    )
    encoder.use(Function(function))
    return encoder


@pytest.mark.parametrize("scaling", SCALINGS)
def test_features__are_of_scaled_pictures(scaling):
    pixels = random_pixels(2)
    encoder = computing(lambda pictures: pictures.reshape(len(pictures), -1), scaling=scaling, dimensions=32 * 32 * 3)
    expected = SCALINGS[scaling](pixels.astype(np.float32)).reshape(2, -1)
    assert encoder.features(pixels) == pytest.approx(expected)


def test_features__of_another_shape_are_refused():
    with pytest.raises(EncoderError, match=r"gives an output of shape \(32, 32, 3\) for a picture; a feature vector"):
        computing(lambda pictures: pictures).features(random_pixels(1))


def test_features__that_cannot_be_computed_are_one_sentence():
    with pytest.raises(EncoderError, match=r"failed on a batch of shape \(1, 32, 32, 3\): division by zero\. Is it"):
        computing(lambda pictures: 1 / 0).features(random_pixels(1))


def test_features__of_other_dimensions_than_promised():
    with pytest.raises(EncoderError, match="gives vectors of 9 dimensions, not the 8 that its name or the option"):
        computing(lambda pictures: np.ones((len(pictures), 9), np.float32), dimensions=8).features(random_pixels(1))


def test_features__of_more_dimensions_than_can_be_indexed():
    with pytest.raises(EncoderError, match="gives vectors of 4,001 dimensions, and pgvector indexes at most 4,000"):
        computing(lambda pictures: np.ones((len(pictures), 4_001), np.float32)).features(random_pixels(1))


def test_use__of_a_model_of_another_size_is_refused():
    with pytest.raises(EncoderError, match="takes pictures of 32 pixels, not the 64 that its name or the option"):
        computing(lambda pictures: pictures, image_size=64)


def test_model__is_opened_once_by_any_number_of_threads(monkeypatch):
    opened, found = [], []
    find = TFHubEncoder._find
    monkeypatch.setattr(TFHubEncoder, "_find", lambda self: opened.append(1) or find(self))
    encoder, pixels = TFHubEncoder(), random_pixels(2, 128)
    threads = [threading.Thread(target=lambda: found.append(encoder.encode(pixels))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [1]
    assert len(found) == 4
    assert all(np.array_equal(vectors, found[0]) for vectors in found)


def test_encoder__goes_to_another_process_without_its_model():
    encoder = TFHubEncoder()
    vectors = encoder.encode(random_pixels(1, 128))
    copy = pickle.loads(pickle.dumps(encoder))
    assert (copy._model, copy.name) == (None, encoder.name)
    assert np.array_equal(copy.encode(random_pixels(1, 128)), vectors)


def test_model__that_was_replaced_since_its_name_was_known_is_refused(tmp_path):
    file = Path(shutil.copy(EMBEDDED_HANDLE, tmp_path / "shop.tflite"))
    encoder = TFHubEncoder(file)
    name = encoder.name
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(EncoderError, match=f"The model {file} was replaced since this process started: restart the"):
        encoder.encode(random_pixels(1, 128))
    assert encoder.name == name


def test_digest__changes_with_names_and_bytes(tmp_path):
    (file := tmp_path / "file").write_bytes(b"one")
    before = digest([("name", file)])
    assert digest([("other", file)]) != before
    file.write_bytes(b"two")
    assert digest([("name", file)]) != before
