"""A shop's own Keras model, cut at a layer, on small models made here; and models of other dimensions, all the way."""

import hashlib
import json
import os
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from PIL import ImageColor

from similar_products.checks import check_models
from similar_products.encoders import EncoderError, KerasEncoder, TFHubEncoder, get_encoder
from similar_products.encoders.model import SCALINGS
from similar_products.pictures.gate import Pixels
from tests.encoders.processes import ROOT, run_python
from tests.encoders.small_models import by_tensorflow, converted, random_pixels
from tests.saved_models import save_feature_model, save_keras_model, save_quietly

pytestmark = pytest.mark.slow

CUT = {"layer": "classes", "take": "input", "image_size": 32, "scaling": "-1..1"}


@pytest.fixture(scope="session")
def keras():
    """Keras as the encoder imports it: without a word, and without a warning that would be an error here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras")


@pytest.fixture(scope="session")
def model(keras, tmp_path_factory) -> Path:
    return save_keras_model(tmp_path_factory.mktemp("model") / "shop.keras", dimensions=256, size=32)


def expected(pixels: Pixels, dimensions: int = 256) -> np.ndarray:
    """Return what the small model makes of pictures in -1..1, worked out by hand."""
    side = pixels.shape[1] // 4
    cells = (pixels / 127.5 - 1).reshape(-1, 4, side, 4, side, 3).mean(axis=(2, 4)).reshape(-1, 48)
    vectors = cells @ np.random.default_rng(dimensions).uniform(-1, 1, (48, dimensions))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def save(keras, file: Path, build) -> Path:
    """Save the model of 32 pixels and three colours that ``build`` makes of its input."""
    pictures = keras.Input((32, 32, 3), name="pictures")
    save_quietly(keras.Model(pictures, build(pictures)), file)
    return file


def refusal(model: Path | str, **options) -> str:
    with pytest.raises(EncoderError) as caught:
        by_tensorflow(KerasEncoder(model, **{**CUT, **options})).encode(random_pixels(1))
    return str(caught.value)


# What it computes.


@pytest.mark.parametrize(("layer", "take"), [("classes", "input"), ("vector", "output"), ("dropout", "input")])
def test_keras__is_cut_at_the_input_or_output_of_a_layer(model, layer, take):
    encoder = converted(KerasEncoder(model, **{**CUT, "layer": layer, "take": take}))
    pixels = random_pixels(5)
    vectors = encoder.encode(pixels)
    assert (vectors.shape, vectors.dtype, encoder.dimensions, encoder.image_size) == ((5, 256), np.float32, 256, 32)
    assert vectors == pytest.approx(expected(pixels), abs=1e-5)


def test_keras__takes_the_output_unless_told_otherwise(model):
    encoder = by_tensorflow(KerasEncoder(model, layer="classes", image_size=32, scaling="-1..1"))
    assert encoder.encode(random_pixels(1)).shape == (1, 5)


def test_keras__batch_and_single_agree(model):
    encoder, pixels = converted(KerasEncoder(model, **CUT)), random_pixels(9)
    singly = np.concatenate([encoder.encode(pixels[row : row + 1]) for row in range(9)])
    assert encoder.encode(pixels) == pytest.approx(singly, abs=1e-5)


def test_keras__model_that_scales_pictures_itself_is_given_0_to_255(keras, tmp_path):
    file = save_keras_model(tmp_path / "own.keras", dimensions=256, size=32, preprocess=True)
    pixels = random_pixels(2)
    assert converted(KerasEncoder(file, **{**CUT, "scaling": "0..255"})).encode(pixels) == pytest.approx(
        expected(pixels), abs=1e-5
    )


def test_keras__of_the_second_version(keras, tmp_path):
    file = tmp_path / "shop.keras"
    save_keras_model(file, dimensions=256, size=32, library="tf_keras", preprocess=True)
    pixels = random_pixels(5)
    vectors = converted(KerasEncoder(file, **{**CUT, "scaling": "0..255"})).encode(pixels)
    assert vectors == pytest.approx(expected(pixels), abs=1e-5)


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_keras__sequential_model(keras, tmp_path, library):
    layers = (found := pytest.importorskip(library)).layers
    model = found.Sequential(
        [
            found.Input((32, 32, 3)),
            layers.GlobalAveragePooling2D(name="mean"),
            layers.Dense(5, name="classes"),
        ]
    )
    save_quietly(model, file := tmp_path / "shop.keras")
    vectors = converted(KerasEncoder(file, **CUT)).encode(pixels := random_pixels(2))
    mean = pixels.mean(axis=(1, 2)) / 127.5 - 1
    assert vectors == pytest.approx(mean / np.linalg.norm(mean, axis=1, keepdims=True), abs=1e-5)


def test_keras__map_with_pooling_is_its_mean(model):
    pixels = random_pixels(3)
    vectors = converted(KerasEncoder(model, **{**CUT, "layer": "grid", "take": "output"}, pooling="average")).encode(
        pixels
    )
    mean = pixels.mean(axis=(1, 2)) / 127.5 - 1
    assert vectors == pytest.approx(mean / np.linalg.norm(mean, axis=1, keepdims=True), abs=1e-5)


def test_keras__dimensions_that_only_a_picture_tells(keras, tmp_path):
    """The sides are open, so that the number of cells is too; with the size declared it is one number after all."""
    layers, pictures = keras.layers, keras.Input((None, None, 3))
    save_quietly(
        keras.Model(pictures, layers.Flatten(name="flat")(layers.AveragePooling2D(8)(pictures))),
        file := tmp_path / "open.keras",
    )
    encoder = converted(KerasEncoder(file, **{**CUT, "layer": "flat", "take": "output"}))
    assert encoder.encode(random_pixels(2)).shape == (2, 48)
    assert encoder.dimensions == 48


def test_keras__picture_without_features_gives_a_row_of_nan(model):
    pixels = random_pixels(2)
    pixels[0] = 0
    vectors = converted(KerasEncoder(model, **{**CUT, "scaling": "0..1"})).encode(pixels)
    assert np.isnan(vectors[0]).all()
    assert np.linalg.norm(vectors[1]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("scaling", "mode"), [("-1..1", "tf"), ("caffe", "caffe"), ("torch", "torch")])
def test_scaling__is_that_of_keras_applications(keras, scaling, mode):
    pixels = random_pixels(2).astype(np.float32)
    by_keras = keras.applications.imagenet_utils.preprocess_input(pixels.copy(), mode=mode)
    assert SCALINGS[scaling](pixels) == pytest.approx(by_keras, abs=2e-4)


def test_scaling__of_the_others_is_their_name():
    white = np.full((1, 2, 2, 3), 255, np.float32)
    assert SCALINGS["0..1"](white).max() == 1
    assert SCALINGS["0..255"](white).max() == 255
    assert set(SCALINGS) == {"0..1", "-1..1", "0..255", "caffe", "torch"}


def test_scaling__of_a_saved_model_is_declared_too(tmp_path):
    folder = save_feature_model(tmp_path / "model", dimensions=8, size=32)
    pixels = random_pixels(1)
    plain, scaled = converted(TFHubEncoder(folder)), TFHubEncoder(folder, scaling="0..255")
    assert scaled.features(pixels) == pytest.approx(plain.features(pixels) * 255, rel=1e-4)
    assert plain.name.endswith("-fit1")
    assert scaled.name == plain.name.replace("-fit1", "-0..255-fit1")


# Packages that are missing.


@pytest.mark.parametrize("missing", ["tensorflow", "keras"])
def test_keras__missing_package_names_the_remedy(model, missing):
    code = f"""
import sys, numpy
sys.modules[{missing!r}] = None
from similar_products.encoders import KerasEncoder
KerasEncoder({str(model)!r}, **{CUT!r}).read()
"""
    assert (
        f"EncoderError: KerasEncoder needs the package {missing}, which is not installed: run pip install "
        "'django-similar-products[tensorflow]'.\n"
    ) in run_python(code).stderr


def test_keras__that_computes_with_something_else_is_refused(model):
    code = f"""
import numpy
from similar_products.encoders import KerasEncoder
KerasEncoder({str(model)!r}, **{CUT!r}).read()
"""
    assert "EncoderError: Keras computes with 'jax' here, and KerasEncoder with TensorFlow: leave" in (
        run_python(code, KERAS_BACKEND="jax").stderr
    )


# Its identity.


def test_keras_name__comes_from_the_files_and_the_options_alone(model, tmp_path):
    name = KerasEncoder(model, **CUT).name
    assert re.fullmatch(r"keras-[0-9a-f]{16}-classes-input-32--1\.\.1-fit1", name)
    elsewhere = tmp_path / "renamed.keras"
    elsewhere.write_bytes(model.read_bytes())
    assert KerasEncoder(elsewhere, **CUT).name == name
    assert KerasEncoder(elsewhere, **CUT, dimensions=256, batch_size=8).name == name
    others = [
        {"layer": "vector"},
        {"take": "output"},
        {"image_size": 64},
        {"scaling": "0..1"},
        {"pooling": "average"},
    ]
    assert len({KerasEncoder(model, **{**CUT, **other}).name for other in others} | {name}) == 6
    elsewhere.write_bytes(model.read_bytes() + b"\0")
    assert KerasEncoder(elsewhere, **CUT).name != name
    assert KerasEncoder(model, **CUT, name="ours").name == "ours"


# Options that are wrong: found when the settings are read.


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"layer": ""}, "layer is ''; give the name of a layer as model.summary() shows it."),
        ({"layer": -1}, "layer is -1; give the name of a layer as model.summary() shows it."),
        ({"take": "inside"}, "take is 'inside'; valid are 'output', 'input'."),
        ({"pooling": "max"}, "pooling is 'max'; valid are '', 'average'."),
        ({"scaling": "0-1"}, "scaling is '0-1'; valid are '0..1', '-1..1', '0..255', 'caffe', 'torch'."),
        ({"image_size": 0}, "image_size is 0; valid are whole numbers from 1 to 1,024."),
        ({"image_size": "160"}, "image_size is '160'; valid are whole numbers from 1 to 1,024."),
        ({"image_size": None}, "image_size is None; give the side in pixels of the pictures the model was trained on."),
        ({"dimensions": 4001}, "dimensions is 4001; valid are whole numbers from 1 to 4,000."),
        ({"batch_size": True}, "batch_size is True; valid are whole numbers from 1."),
        ({"model": ""}, "model is empty; give a .keras file."),
        ({"name": "a|b"}, "name is 'a|b'; it must not contain '|'."),
        ({"layers": "a"}, "KerasEncoder.__init__() got an unexpected keyword argument 'layers'"),
    ],
)
def test_keras_options__mistakes_are_named(settings, options, sentence):
    settings.SIMILAR_PRODUCTS = {
        "ENCODER": {
            "BACKEND": "similar_products.encoders.KerasEncoder",
            "OPTIONS": {"model": "/models/shop.keras", **CUT, **options},
        }
    }
    with pytest.raises(ImproperlyConfigured) as caught:
        get_encoder()
    # Python 3.13 adds what may have been meant.
    assert str(caught.value).partition(". Did you mean")[0] == (
        f"SIMILAR_PRODUCTS['ENCODER']['OPTIONS'] do not fit similar_products.encoders.KerasEncoder: {sentence}"
    )


def test_keras_options__declared_dimensions_are_compared_with_the_field(settings):
    settings.SIMILAR_PRODUCTS = {
        "ENCODER": {
            "BACKEND": "similar_products.encoders.KerasEncoder",
            "OPTIONS": {"model": "/models/shop.keras", **CUT, "dimensions": 2048, "name": "shop"},
        }
    }
    messages = [message.msg for message in check_models(None) if message.id == "similar_products.E003"]
    assert "tests.Shirt.embedding has 1280 dimensions and the encoder shop gives 2048." in messages


# Files that are wrong.


def test_keras__missing_file(tmp_path):
    assert refusal(tmp_path / "no.keras") == f"There is no file {tmp_path}/no.keras; 'model' is a .keras file."


def test_keras__file_that_is_no_model(tmp_path):
    (file := tmp_path / "shop.keras").write_bytes(b"not a model")
    assert refusal(file) == f"The file {file} is no .keras file, or a damaged one. Save or copy it anew."


@pytest.mark.parametrize("members", [{}, {"config.json": "{}"}, {"config.json": "[1", "metadata.json": "{}"}])
def test_keras__zip_that_is_no_model(tmp_path, members):
    with zipfile.ZipFile(file := tmp_path / "shop.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert re.fullmatch(
        rf"The file {file} is no \.keras file, or a damaged one: .+\. Save or copy it anew\.", refusal(file)
    )


def test_keras__damaged_weights(model, tmp_path):
    with zipfile.ZipFile(model) as whole, zipfile.ZipFile(file := tmp_path / "shop.keras", "w") as archive:
        for name in whole.namelist():
            archive.writestr(name, whole.read(name)[:500] if name.endswith(".h5") else whole.read(name))
    assert re.fullmatch(
        rf"The Keras model {file} cannot be opened by keras 3[\d.]+: .+\. Save it anew with a version of Keras like "
        r"that\.",
        refusal(file),
    )


def test_keras__old_hdf5_format_is_refused(keras, tmp_path):
    file = save(keras, tmp_path / "shop.h5", keras.layers.Flatten())
    assert refusal(file) == (
        f"The file {file} is in Keras' old HDF5 format, which may run code when it is opened. Open it once where you "
        "trust it, with keras.models.load_model, and save it with model.save('NAME.keras')."
    )


def folder_refused(folder: Path) -> str:
    return (
        f"{folder} is a folder; 'model' is a .keras file. If the folder is a SavedModel whose output is the vector, "
        "give it to TFHubEncoder as its 'handle'; if not, save the model anew with model.save('NAME.keras')."
    )


def test_keras__folder_that_the_second_version_saved_is_refused(keras, tmp_path):
    folder = save_keras_model(tmp_path / "shop", dimensions=256, size=32, library="tf_keras")
    assert (folder / "keras_metadata.pb").is_file()
    assert refusal(folder) == folder_refused(folder)
    assert refusal(tmp_path) == folder_refused(tmp_path)


def test_keras__saved_model_without_layers_is_one_for_the_other_encoder(keras, model, tmp_path):
    folder = tmp_path / "exported"
    whole = keras.models.load_model(model)
    keras.Model(whole.input, whole.get_layer("vector").output).export(folder, verbose=False)
    assert refusal(folder) == folder_refused(folder)
    pixels = random_pixels(3)
    vectors = converted(TFHubEncoder(folder, scaling="-1..1")).encode(pixels)
    assert vectors == pytest.approx(expected(pixels), abs=1e-5)


# Code in a model's file.


def unopened(file: Path) -> str:
    return (
        rf"The Keras model {file} cannot be opened by \w+ [\d.]+: .+\. Save it anew with a version of Keras like that\."
    )


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_keras__lambda_is_refused_and_not_run(keras, tmp_path, library):
    found = pytest.importorskip(library)
    ran = tmp_path / "ran"
    layer = found.layers.Lambda(lambda x, path=str(ran): (Path(path).touch(), x)[1], output_shape=(32, 32, 3))
    file = tmp_path / "shop.keras"
    save(found, file, lambda pictures: found.layers.Flatten(name="classes")(layer(pictures)))
    ran.unlink(missing_ok=True)
    assert re.fullmatch(unopened(file), refusal(file))
    assert not ran.exists()


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_keras__custom_layer_is_found_where_the_shop_registers_it(keras, tmp_path, library):
    found = pytest.importorskip(library)

    class Doubled(found.layers.Layer):
        def call(self, inputs):
            return inputs * 2

    registered = found.saving.register_keras_serializable(f"shop_{library}")(Doubled)
    file = tmp_path / "shop.keras"
    save(found, file, lambda pictures: found.layers.Flatten(name="classes")(registered()(pictures)))
    assert by_tensorflow(KerasEncoder(file, **{**CUT, "take": "output"})).encode(random_pixels(1)).shape == (
        1,
        32 * 32 * 3,
    )
    found.saving.get_custom_objects().pop(f"shop_{library}>Doubled")
    Doubled.__module__, Doubled.__qualname__ = "nowhere", "Doubled"
    assert re.fullmatch(unopened(file), refusal(file, take="output"))


@pytest.mark.parametrize(
    "part",
    [
        {"module": "os", "class_name": "function", "config": "system"},
        {"module": "os", "class_name": "function", "config": "relu"},
        {"module": "builtins", "class_name": "function", "config": "relu", "registered_name": "exec"},
        {"module": "builtins", "class_name": "function", "config": "exec"},
        {"module": "keras.utils", "class_name": "get_file", "config": {"origin": "http://127.0.0.1/"}},
        {"module": "keras.config", "class_name": "enable_unsafe_deserialization", "config": {}},
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/tmp/other"}},
        {"class_name": "__lambda__", "config": {"value": "x"}},
        {"class_name": "TFOpLambda", "config": {"function": "io.write_file"}},
        {"class_name": "TFOpLambda", "config": "x"},
        {"class_name": "Popen", "config": {}},
    ],
)
@pytest.mark.parametrize("version", ["3.15.0", "2.15.0"])
def test_keras__hidden_ways_to_code_are_refused(model, tmp_path, part, version):
    with zipfile.ZipFile(model) as whole, zipfile.ZipFile(file := tmp_path / "shop.keras", "w") as archive:
        config = json.loads(whole.read("config.json"))
        config["config"]["layers"][3]["config"]["activation"] = part
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
    assert re.fullmatch(unopened(file), refusal(file))


# Layers and shapes that do not fit.


def test_keras__unknown_layer_lists_the_layers(model):
    assert refusal(model, layer="dense_1") == (
        f"The Keras model {model} has no layer 'dense_1'; it has: 'pictures', 'grid', 'cells', 'vector', 'dropout', "
        "'classes'."
    )


def test_keras__unknown_layer_of_a_deep_model_lists_the_last_layers(keras, tmp_path):
    def build(pictures):
        for number in range(40):
            pictures = keras.layers.ReLU(name=f"relu_{number}")(pictures)
        return pictures

    file = save(keras, tmp_path / "deep.keras", build)
    last = ", ".join(f"'relu_{number}'" for number in range(20, 40))
    assert refusal(file) == (f"The Keras model {file} has no layer 'classes'; the last 20 of its 41 layers: {last}.")


def test_keras__map_without_pooling(model):
    assert refusal(model, layer="grid", take="output") == (
        f"The output of the layer 'grid' of {model} is a map of shape 4 x 4 x 3 for a picture. Name a later layer, or "
        "set the option 'pooling' to 'average' for its mean over the picture."
    )


def test_keras__pooling_of_what_is_a_vector(model):
    assert refusal(model, pooling="average") == (
        f"The input of the layer 'classes' of {model} is of shape 256 for a picture, which is no map. Leave out the "
        "option 'pooling'."
    )


@pytest.mark.parametrize(("pooling", "meant"), [("", "vector"), ("average", "map")])
def test_keras__output_that_is_neither_map_nor_vector(keras, tmp_path, pooling, meant):
    file = save(keras, tmp_path / "rows.keras", keras.layers.Reshape((32, 96), name="classes"))
    assert refusal(file, take="output", pooling=pooling) == (
        f"The output of the layer 'classes' of {file} is of shape 32 x 96 for a picture, which is no {meant}. Name a "
        "layer whose input or output is one vector for each picture."
    )


def test_keras__layer_with_several_inputs(keras, tmp_path):
    def build(pictures):
        mean = keras.layers.GlobalAveragePooling2D()(pictures)
        return keras.layers.Concatenate(name="classes")([mean, keras.layers.GlobalMaxPooling2D()(pictures)])

    file = save(keras, tmp_path / "two.keras", build)
    assert refusal(file) == (
        f"The layer 'classes' of {file} has 2 inputs, and one vector is needed for a picture. Name another layer."
    )
    assert by_tensorflow(KerasEncoder(file, **{**CUT, "take": "output"})).encode(random_pixels(1)).shape == (1, 6)


def test_keras__layer_that_has_no_input(model):
    assert refusal(model, layer="pictures") == (
        f"The layer 'pictures' of {model} has 0 inputs, and one vector is needed for a picture. Name another layer."
    )


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_keras__layer_that_is_used_twice(keras, tmp_path, library):
    found = pytest.importorskip(library)

    def build(pictures):
        shared = found.layers.Dense(3, name="classes")
        mean = found.layers.GlobalAveragePooling2D()(pictures)
        return found.layers.Add(name="sum")([shared(mean), shared(shared(mean))])

    file = save(found, tmp_path / "shared.keras", build)
    assert refusal(file) == (
        f"The layer 'classes' of {file} is used 3 times, and one vector is needed for a picture. Name another layer."
    )
    assert by_tensorflow(KerasEncoder(file, **{**CUT, "layer": "sum", "take": "output"})).encode(
        random_pixels(1)
    ).shape == (1, 3)


def test_keras__model_within_the_model(keras, tmp_path):
    layers, inner = keras.layers, keras.Input((32, 32, 3))
    backbone = keras.Model(inner, layers.GlobalAveragePooling2D()(inner), name="backbone")
    file = save(keras, tmp_path / "nested.keras", lambda pictures: layers.Dense(5, name="classes")(backbone(pictures)))
    assert refusal(file, layer="backbone", take="output") == (
        f"The output of the layer 'backbone' of {file} is computed inside a model of its own. Take the 'input' of the "
        "layer that follows it."
    )
    assert by_tensorflow(KerasEncoder(file, **CUT)).encode(random_pixels(1)).shape == (1, 3)


def test_keras__more_dimensions_than_can_be_indexed(keras, tmp_path):
    file = save_keras_model(tmp_path / "wide.keras", dimensions=4001, size=32)
    assert refusal(file) == (
        f"The model {file} gives vectors of 4,001 dimensions, and pgvector indexes at most 4,000. Name a layer whose "
        "input or output is one vector for each picture."
    )


def test_keras__other_dimensions_than_declared(model):
    assert refusal(model, dimensions=2048) == (
        f"The model {model} gives vectors of 256 dimensions, not the 2048 that its name or the option 'dimensions' "
        "promises: correct the option or take another model."
    )


def test_keras__other_size_than_the_model_takes(model):
    assert refusal(model, image_size=160) == (
        f"The Keras model {model} takes pictures of 32 x 32 x 3, not the squares of 160 pixels that the option "
        "'image_size' says: correct the option or take another model."
    )


def test_keras__size_that_an_open_model_cannot_compute(keras, tmp_path):
    layers, pictures = keras.layers, keras.Input((None, None, 3))
    small = layers.Conv2D(4, 9)(layers.AveragePooling2D(4)(pictures))
    save_quietly(
        keras.Model(pictures, layers.GlobalAveragePooling2D(name="classes")(small)), file := tmp_path / "open.keras"
    )
    assert re.fullmatch(
        rf"The Keras model {file} cannot compute pictures of 32 pixels: .+\. Set the option 'image_size' to what it "
        r"was trained on\.",
        refusal(file, take="output"),
    )


@pytest.mark.parametrize(
    ("shape", "shown"), [((32, 32, 1), "32 x 32 x 1"), ((3, 32, 32), "3 x 32 x 32"), ((32,), "32")]
)
def test_keras__model_that_takes_no_picture(keras, tmp_path, shape, shown):
    taken = keras.Input(shape)
    save_quietly(keras.Model(taken, keras.layers.Flatten(name="classes")(taken)), file := tmp_path / "other.keras")
    assert refusal(file) == (
        f"The Keras model {file} takes the shape {shown}, which is no picture of height x width x 3 colours."
    )


def test_keras__model_with_two_inputs(keras, tmp_path):
    both = [keras.Input((32, 32, 3)), keras.Input((32, 32, 3))]
    save_quietly(keras.Model(both, keras.layers.Add(name="classes")(both)), file := tmp_path / "two.keras")
    assert refusal(file) == (
        f"The Keras model {file} has 2 inputs, and one is needed: a functional or sequential model that starts with "
        "keras.Input((SIZE, SIZE, 3))."
    )


def test_keras__sequential_model_that_never_saw_a_picture(keras, tmp_path):
    save_quietly(keras.Sequential([keras.layers.Flatten(name="classes")]), file := tmp_path / "unbuilt.keras")
    assert refusal(file).startswith(f"The Keras model {file} has 0 inputs, and one is needed")


# All the way: from a saved product to its neighbours, in a shop whose vectors have other dimensions.

SETTINGS = """
from tests.child_settings import *

INSTALLED_APPS = [*INSTALLED_APPS, "tall_shop"]
MEDIA_ROOT = {media!r}
SIMILAR_PRODUCTS = {{"ENCODER": {encoder!r}, "REFUSE_BLANK": False}}
"""

MODELS = """
from django.db import models
from pgvector.django import VectorField
from similar_products.models import VisuallySimilarModel

class Tapestry(VisuallySimilarModel):
    name = models.CharField(max_length=20)
    image = models.ImageField(upload_to="tapestries")
    embedding = VectorField(dimensions={dimensions}, null=True, blank=True, editable=False, serialize=False)
"""

ENCODERS = """
from similar_products.encoders import KerasEncoder

class Colors(KerasEncoder):
    def __init__(self):
        super().__init__({model!r}, layer="cells", image_size=32, scaling="0..1")
"""

SCRIPT = """
import json, sys
import django
django.setup()
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import connection
from PIL import ImageColor
from similar_products.search.hnsw_index import index_name
from similar_products.encoders import load_model
from tall_shop.models import Tapestry
from tests.drawn_pictures import picture_bytes
load_model()
with connection.schema_editor() as editor:
    editor.create_model(Tapestry)
try:
    for pair in {colors!r}:
        picture = ContentFile(picture_bytes(*pair), "picture.png")
        Tapestry.objects.create(name="-".join(pair), image=picture)
    ready = Tapestry.objects.ready().count()
    Tapestry.objects.update(embedding=None, embedding_source="")
    call_command("embed_products", "tall_shop.Tapestry", verbosity=0)
    found = list(Tapestry.objects.similar_to(Tapestry.objects.get(name="red-navy"))[:3])
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute("SET enable_sort = off")
    plan = Tapestry.objects.similar_to(found[0])[:3].explain()
    if {compare!r}:
        call_command("evaluate_similarity", "tall_shop.Tapestry", "--compare", {compare!r}, "--json", verbosity=0)
    assert "tensorflow" not in sys.modules
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT vector_dims(embedding), split_part(embedding_source, '|', 1) FROM "
                       + Tapestry._meta.db_table)
        print(json.dumps([ready, [one.name for one in found], index_name(Tapestry) in plan, cursor.fetchall()]))
finally:
    with connection.schema_editor() as editor:
        editor.delete_model(Tapestry)
"""


COLORS = [("red", "navy"), ("red", "blue"), ("white", "green"), ("black", "gold")]


def run_shop(folder: Path, encoder: dict, dimensions: int, compare: str = "", **environment: str) -> list[str]:
    """Return the lines that a shop of its own, in a process of its own, prints."""
    (folder / "tall_settings.py").write_text(SETTINGS.format(media=str(folder / "media"), encoder=encoder))
    app = folder / "tall_shop"
    app.mkdir()
    (app / "__init__.py").write_text("")
    (app / "models.py").write_text(MODELS.format(dimensions=dimensions))
    (app / "encoders.py").write_text(ENCODERS.format(model=encoder["OPTIONS"].get("model", "")))
    done = run_python(
        SCRIPT.format(compare=compare, colors=COLORS),
        DJANGO_SETTINGS_MODULE="tall_settings",
        PYTHONPATH=os.pathsep.join([str(folder), str(ROOT)]),
        TEST_DATABASE_NAME=connection.settings_dict["NAME"],
        **environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()


def nearest(dimensions: int) -> list[str]:
    """Return the products as the small model must order them by their likeness to the first, worked out by hand."""
    halves = np.array([[ImageColor.getrgb(color) for color in pair] for pair in COLORS], np.uint8)
    vectors = expected(np.repeat(np.repeat(halves, 16, axis=1)[:, np.newaxis], 32, axis=1), dimensions)
    order = np.argsort(-(vectors[1:] @ vectors[0]))
    return ["-".join(COLORS[1 + row]) for row in order]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("dimensions", [256, 4000])
def test_shop__with_a_keras_model_finds_what_is_similar(tmp_path, dimensions):
    file = save_keras_model(tmp_path / "shop.keras", dimensions=dimensions, size=32)
    encoder = {
        "BACKEND": "similar_products.encoders.KerasEncoder",
        "OPTIONS": {"model": str(file), **CUT, "dimensions": dimensions},
    }
    *report, line = run_shop(tmp_path, encoder, dimensions, compare="tall_shop.encoders.Colors")
    name = KerasEncoder(file, **CUT).name
    assert json.loads(line) == [4, nearest(dimensions), True, [[dimensions, name]]]
    names = [one["encoder"] for one in json.loads("".join(report))["encoders"]]
    assert names == [name, KerasEncoder(file, layer="cells", image_size=32, scaling="0..1").name]


@pytest.mark.django_db(transaction=True)
def test_shop__with_mobilenet_v2_140_224_finds_what_is_similar(tmp_path):
    """A small model of its shapes, where tensorflow_hub keeps the real one after its download."""
    handle = "https://tfhub.dev/google/imagenet/mobilenet_v2_140_224/feature_vector/5"
    cache = tmp_path / "cache"
    save_feature_model(cache / hashlib.sha1(handle.encode()).hexdigest(), dimensions=1792, size=224)
    encoder = {"BACKEND": "similar_products.encoders.TFHubEncoder", "OPTIONS": {"handle": handle}}
    (line,) = run_shop(tmp_path, encoder, 1792, TFHUB_CACHE_DIR=str(cache))
    ready, found, uses_index, stored = json.loads(line)
    assert found[0] == "red-blue"
    name = "google/imagenet/mobilenet_v2_140_224/feature_vector/5-224-fit1"
    assert (ready, uses_index, stored) == (4, True, [[1792, name]])
