"""The TF-Hub encoder on small SavedModels made here, so that no test needs a network or a large model.

What TensorFlow reads is looked at before the conversion, which takes longer; test_converter.py converts.
"""

import hashlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from shop_demo.drawing import DrawnProduct
from similar_products.encoders import EncoderError, TFHubEncoder
from similar_products.encoders import tfhub as tfhub_module
from similar_products.encoders.tfhub import EMBEDDED_HANDLE, OFFICIAL_HANDLE
from tests.encoders.processes import run_python
from tests.encoders.small_models import by_tensorflow, converted, random_pixels
from tests.saved_models import save_feature_model


@pytest.fixture(scope="session")
def model_1280(tmp_path_factory) -> Path:
    return save_feature_model(tmp_path_factory.mktemp("model_1280"), dimensions=1280, size=32)


@pytest.fixture(scope="session")
def model_1792(tmp_path_factory) -> Path:
    return save_feature_model(tmp_path_factory.mktemp("model_1792"), dimensions=1792, size=48)


@pytest.mark.slow
@pytest.mark.parametrize(("fixture", "dimensions", "size"), [("model_1280", 1280, 32), ("model_1792", 1792, 48)])
def test_tfhub__encodes_to_unit_rows(request, fixture, dimensions, size):
    encoder = converted(TFHubEncoder(request.getfixturevalue(fixture)))
    assert encoder.image_size == size
    vectors = encoder.encode(random_pixels(3, size))
    assert vectors.shape == (3, dimensions)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert encoder.dimensions == dimensions


@pytest.mark.slow
def test_tfhub__feeds_zero_to_one(model_1280):
    """The small model gives the mean of each colour times fixed weights: 0..255 would show in the raw features."""
    white = np.full((1, 32, 32, 3), 255, np.uint8)
    features = converted(TFHubEncoder(model_1280)).features(white)
    assert np.abs(features).max() == pytest.approx(1.0, abs=0.05)


@pytest.mark.slow
def test_tfhub__batch_and_single_agree(model_1280):
    encoder = converted(TFHubEncoder(model_1280))
    pixels = random_pixels(5, 32)
    singly = np.concatenate([encoder.encode(pixels[row : row + 1]) for row in range(5)])
    assert encoder.encode(pixels) == pytest.approx(singly, abs=1e-5)


@pytest.mark.slow
def test_tfhub__picture_without_features_gives_a_row_of_nan(model_1280):
    pixels = random_pixels(2, 32)
    pixels[0] = 0
    vectors = converted(TFHubEncoder(model_1280)).encode(pixels)
    assert np.isnan(vectors[0]).all()
    assert np.linalg.norm(vectors[1]) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_tfhub__model_with_a_signature_only(tmp_path):
    save_feature_model(tmp_path, dimensions=1280, size=32, is_callable=False)
    assert by_tensorflow(TFHubEncoder(tmp_path)).encode(random_pixels(2, 32)).shape == (2, 1280)


@pytest.mark.parametrize(
    ("handle", "dimensions", "size"),
    [
        (OFFICIAL_HANDLE, 1280, 224),
        ("https://tfhub.dev/google/imagenet/mobilenet_v2_140_224/feature_vector/5", 1792, 224),
        ("https://tfhub.dev/google/imagenet/mobilenet_v2_130_224/feature_vector/5", 1664, 224),
        ("https://tfhub.dev/google/imagenet/mobilenet_v2_035_96/feature_vector/5", 1280, 96),
        ("https://www.kaggle.com/models/google/mobilenet-v2/TensorFlow2/140-224-feature-vector/2", 1792, 224),
    ],
)
def test_tfhub__known_handles_tell_dimensions_and_size_unopened(handle, dimensions, size):
    encoder = TFHubEncoder(handle)
    assert (encoder.dimensions, encoder.image_size) == (dimensions, size)


def test_tfhub_name__of_a_url_is_its_path_and_the_preprocessing():
    assert TFHubEncoder(OFFICIAL_HANDLE).name == "google/imagenet/mobilenet_v2_100_224/feature_vector/5-224-fit1"


@pytest.mark.slow
def test_tfhub_name__of_a_folder_comes_from_its_files(model_1280, model_1792, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in model_1280.rglob("*"):
        if file.is_file():
            (copy / file.relative_to(model_1280)).parent.mkdir(exist_ok=True)
            (copy / file.relative_to(model_1280)).write_bytes(file.read_bytes())
    assert TFHubEncoder(copy).name == TFHubEncoder(model_1280).name != TFHubEncoder(model_1792).name
    variables = copy / "variables" / "variables.data-00000-of-00001"
    variables.write_bytes(variables.read_bytes()[:-1] + b"?")
    assert TFHubEncoder(copy).name != TFHubEncoder(model_1280).name


@pytest.mark.slow
def test_tfhub_name__is_the_same_before_and_after_opening(model_1280):
    opened = converted(TFHubEncoder(model_1280))
    opened.encode(random_pixels(1, 32))
    assert opened.name == TFHubEncoder(model_1280).name


def test_tfhub_name__can_be_given_but_not_with_the_separator():
    assert TFHubEncoder(name="ours").name == "ours"
    with pytest.raises(ValueError, match="must not contain"):
        TFHubEncoder(name="a|b")


@pytest.mark.slow
def test_tfhub__missing_folder(tmp_path):
    with pytest.raises(EncoderError, match="There is no folder .*nothing; the handle is a TF-Hub URL"):
        by_tensorflow(TFHubEncoder(tmp_path / "nothing")).encode(random_pixels(1, 32))


@pytest.mark.slow
def test_tfhub__folder_that_is_no_saved_model(tmp_path):
    with pytest.raises(EncoderError, match=r"has no file saved_model\.pb"):
        by_tensorflow(TFHubEncoder(tmp_path)).encode(random_pixels(1, 32))


def test_tfhub__empty_handle_is_refused():
    with pytest.raises(ValueError, match="handle is empty"):
        TFHubEncoder("")


@pytest.mark.slow
def test_tfhub__damaged_folder(model_1280, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes((model_1280 / "saved_model.pb").read_bytes()[:100])
    with pytest.raises(EncoderError, match="cannot be opened: .* Export or copy it anew"):
        by_tensorflow(TFHubEncoder(tmp_path)).encode(random_pixels(1, 32))


@pytest.mark.slow
@pytest.mark.network
def test_tfhub__unreachable_hub(monkeypatch, tmp_path):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    handle = "http://127.0.0.1:9/mobilenet_v2_100_224/feature_vector/5"
    with pytest.raises(EncoderError, match="could not be fetched: .* or give the folder of a SavedModel"):
        by_tensorflow(TFHubEncoder(handle)).encode(random_pixels(1, 224))
    assert list(tmp_path.glob("*/saved_model.pb")) == []


def cached_copy(cache: Path, handle: str) -> Path:
    return cache / hashlib.sha1(handle.encode()).hexdigest()


@pytest.mark.slow
def test_tfhub__handle_is_loaded_through_the_cache_of_tensorflow_hub(monkeypatch, tmp_path):
    handle = "https://tfhub.dev/google/imagenet/mobilenet_v2_100_32/feature_vector/5"
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    save_feature_model(cached_copy(tmp_path, handle), dimensions=1280, size=32)
    assert by_tensorflow(TFHubEncoder(handle)).encode(random_pixels(2, 32)).shape == (2, 1280)


@pytest.mark.slow
def test_tfhub__partial_download_in_the_cache(monkeypatch, tmp_path):
    handle = "https://tfhub.dev/google/imagenet/mobilenet_v2_100_32/feature_vector/5"
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    copy = cached_copy(tmp_path, handle)
    (copy / "variables").mkdir(parents=True)
    with pytest.raises(EncoderError, match=f"{copy} is damaged or incomplete: .* Delete that folder and run again"):
        by_tensorflow(TFHubEncoder(handle)).encode(random_pixels(1, 32))


@pytest.mark.slow
def test_tfhub__other_dimensions_than_promised(model_1280):
    with pytest.raises(EncoderError, match="gives vectors of 1280 dimensions, not the 1792"):
        by_tensorflow(TFHubEncoder(model_1280, dimensions=1792)).encode(random_pixels(1, 32))


@pytest.mark.slow
def test_tfhub__wrong_image_size(model_1280):
    with pytest.raises(EncoderError, match="takes pictures of 32 pixels, not the 20"):
        by_tensorflow(TFHubEncoder(model_1280, image_size=20))


@pytest.mark.slow
def test_tfhub__model_that_fails_on_pictures(tmp_path):
    save_feature_model(tmp_path, dimensions=8, size=None, channels=4)
    with pytest.raises(EncoderError, match=r"failed on a batch of shape \(1, 224, 224, 3\): .* Is it an image"):
        by_tensorflow(TFHubEncoder(tmp_path)).encode(random_pixels(1, 224))


@pytest.mark.slow
def test_tfhub__output_that_is_no_vector(tmp_path):
    save_feature_model(tmp_path, dimensions=8, size=32, as_map=True)
    with pytest.raises(EncoderError, match="a feature vector has one dimension"):
        by_tensorflow(TFHubEncoder(tmp_path)).encode(random_pixels(1, 32))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "remedy"),
    [
        ("tensorflow", "run pip install 'django-similar-products[tensorflow]'"),
        ("tensorflow_hub", "run pip install 'django-similar-products[tensorflow]'"),
        ("pkg_resources", "run pip install 'setuptools<81'"),
    ],
)
def test_tfhub__missing_package_names_the_remedy(model_1280, missing, remedy):
    code = f"""
import sys
sys.modules[{missing!r}] = None
from similar_products.encoders import TFHubEncoder
TFHubEncoder({str(model_1280)!r}).read()
"""
    assert f"EncoderError: {'tensorflow-hub needs' if missing == 'pkg_resources' else 'TFHubEncoder needs'}" in (
        result := run_python(code).stderr
    )
    assert remedy in result


@pytest.mark.slow
def test_tfhub_signature__with_several_outputs_is_named(tmp_path):
    save_feature_model(tmp_path, dimensions=8, size=32, is_callable=False, outputs=("first", "second"))
    with pytest.raises(EncoderError, match=r"the outputs \['first', 'second'\]; one of each is needed"):
        by_tensorflow(TFHubEncoder(tmp_path)).encode(random_pixels(1, 32))


@pytest.mark.slow
def test_tfhub__model_that_cannot_be_called(tmp_path):
    save_feature_model(tmp_path, dimensions=8, size=32, is_callable=False, outputs=())
    with pytest.raises(EncoderError, match="is not callable and has no signature 'serving_default'"):
        by_tensorflow(TFHubEncoder(tmp_path)).encode(random_pixels(1, 32))


@pytest.mark.slow
def test_tfhub_image_size__defaults_to_224_where_nothing_tells(tmp_path):
    save_feature_model(tmp_path, dimensions=8, size=None)
    assert by_tensorflow(TFHubEncoder(tmp_path)).image_size == 224


@pytest.mark.slow
def test_embedded__is_the_default_and_gives_unit_vectors_without_a_network(tmp_path):
    """In a process of its own, in which every connection and every download fails."""
    code = """
import socket, numpy
def refuse(*arguments, **options): raise OSError("there is no network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from similar_products.encoders import TFHubEncoder
encoder = TFHubEncoder()
pixels = numpy.random.default_rng(7).integers(0, 256, (5, encoder.image_size, encoder.image_size, 3), dtype="uint8")
vectors = encoder.encode(pixels)
print(vectors.shape, vectors.dtype, bool(abs(numpy.linalg.norm(vectors, axis=1) - 1).max() < 1e-5))
"""
    assert run_python(code, TFHUB_CACHE_DIR=str(tmp_path)).stdout == "(5, 1280) float32 True\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_embedded__tells_name_dimensions_and_size_without_tensorflow():
    code = """
import sys
from similar_products.encoders import TFHubEncoder
encoder = TFHubEncoder()
print(encoder.dimensions, encoder.image_size, encoder.name, "tensorflow" in sys.modules)
"""
    assert re.fullmatch(r"1280 128 embedded-[0-9a-f]{16}-128-fit1 False\n", run_python(code).stdout)


def test_embedded__has_as_many_dimensions_as_the_official_model():
    assert TFHubEncoder().dimensions == TFHubEncoder(OFFICIAL_HANDLE).dimensions


def test_embedded_name__follows_from_the_bytes_of_its_file_alone(monkeypatch, tmp_path):
    name, copy = TFHubEncoder().name, Path(shutil.copy(EMBEDDED_HANDLE, tmp_path / "copy.tflite"))
    monkeypatch.setattr(tfhub_module, "EMBEDDED_HANDLE", str(copy))
    assert TFHubEncoder(copy).name == name
    content = bytearray(copy.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    assert TFHubEncoder(copy).name != name


def test_embedded__pictures_are_near_to_themselves_in_another_light():
    """The weights are trained: a drawing and the same one darker are nearer than two different drawings."""
    pictures = [
        np.asarray(DrawnProduct(number).artwork.photograph().resize((128, 128)), np.uint8) for number in range(10)
    ]
    pixels = np.stack([*pictures, *(picture // 10 * 9 for picture in pictures)])
    vectors = TFHubEncoder().encode(pixels)
    assert ((vectors[:10] @ vectors[10:].T).argmax(axis=1) == np.arange(10)).all()


def test_embedded__is_at_most_4_megabytes_and_has_a_card():
    folder = Path(EMBEDDED_HANDLE).parent
    assert Path(EMBEDDED_HANDLE).stat().st_size <= 4_000_000
    assert {file.name for file in folder.iterdir()} == {"MODEL_CARD.md", "model.tflite"}
    card = (folder / "MODEL_CARD.md").read_text()
    for heading in ("## Data", "## Method", "## Figures", "## Limits"):
        assert f"\n{heading}\n" in card


# Files that LiteRT runs as they are.


def test_tflite__is_a_handle(tmp_path):
    file = Path(shutil.copy(EMBEDDED_HANDLE, tmp_path / "shop.tflite"))
    encoder, pixels = TFHubEncoder(file), random_pixels(2, 128)
    assert not encoder.needs_preparing
    assert re.fullmatch(r"tflite-[0-9a-f]{16}-fit1", encoder.name)
    assert np.array_equal(encoder.encode(pixels), TFHubEncoder().encode(pixels))
    assert (encoder.image_size, encoder.dimensions) == (128, 1280)


def test_tflite__missing_file(tmp_path):
    with pytest.raises(EncoderError, match=r"There is no file .*no\.tflite; give the path of a \.tflite file"):
        TFHubEncoder(tmp_path / "no.tflite").encode(random_pixels(1, 32))


@pytest.mark.slow
def test_tflite__cannot_be_read_by_tensorflow():
    with pytest.raises(EncoderError, match="which TensorFlow does not read"):
        TFHubEncoder().read()
