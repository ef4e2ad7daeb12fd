"""The folder of converted models, and the process that converts: once, whole or not at all, by one of several."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from similar_products.encoders import EncoderError, TFHubEncoder, conversion, load_model
from similar_products.encoders.tfhub import EMBEDDED_HANDLE
from tests.encoders.processes import run_python
from tests.encoders.small_models import random_pixels
from tests.saved_models import save_feature_model

KEY = "google/imagenet/mobilenet_v2_100_224/feature_vector/5-224"


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "similar_products"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    pytest.importorskip("tensorflow")
    return save_feature_model(tmp_path_factory.mktemp("model"), dimensions=1280, size=32)


def put(folder: Path, content: bytes, key: str = KEY) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (file := folder / conversion.file_name(key, content)).write_bytes(content)
    return file


# The folder.


def test_folder__is_the_settings_or_in_the_users_cache(settings, folder, monkeypatch, tmp_path):
    assert conversion.get_folder() == folder
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert conversion.get_folder() == Path("~/.cache/similar_products").expanduser()
    settings.SIMILAR_PRODUCTS = {"MODEL_CACHE": str(tmp_path / "models")}
    assert conversion.get_folder() == tmp_path / "models"


def test_folder__of_a_user_without_a_home_is_named(monkeypatch):
    def unknown(number):
        raise KeyError(number)

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(EncoderError, match=r"this user has no home folder: set SIMILAR_PRODUCTS\['MODEL_CACHE'\]"):
        conversion.get_folder()


def test_find__takes_a_whole_file_alone(folder):
    assert conversion.find(KEY) is None
    file = put(folder, b"a model")
    assert conversion.find(KEY) == file
    assert conversion.find("another") is None
    for content in (b"a mode", b"b model", b""):
        file.write_bytes(content)
        assert conversion.find(KEY) is None


def test_names__of_any_identity_stay_in_the_folder_and_apart(folder):
    keys = ["../../etc/passwd", "a/b", "a_b", "a.b", "x" * 300, "ä ö", KEY]
    names = {conversion.file_name(key, b"") for key in keys}
    assert len(names) == len(keys)
    assert all("/" not in name and ".." not in name and len(name) < 200 for name in names)
    files = {key: put(folder, b"a model", key) for key in keys}
    assert {key: conversion.find(key) for key in keys} == files


def test_web_process__names_the_command_and_imports_no_tensorflow(model, folder):
    encoder = TFHubEncoder(model)
    assert encoder.needs_preparing
    with pytest.raises(EncoderError) as caught:
        encoder.encode(random_pixels(1))
    assert str(caught.value) == (
        f"The model {model} has not been converted on this machine yet: run python manage.py embed_products, which "
        f"does it first, or copy its converted file into {folder}."
    )


def test_copied_file__is_enough_without_tensorflow(folder):
    """A file that a build has made, under the name that it has for the handle; here the model in the package."""
    handle = "https://tfhub.dev/google/imagenet/mobilenet_v2_100_128/feature_vector/5"
    key = TFHubEncoder(handle).conversion_key
    put(folder, Path(EMBEDDED_HANDLE).read_bytes(), key)
    code = f"""
import sys
sys.modules["tensorflow"] = None
import numpy
from similar_products.encoders import TFHubEncoder
encoder = TFHubEncoder({handle!r})
print(encoder.needs_preparing, encoder.encode(numpy.ones((1, 128, 128, 3), numpy.uint8)).shape, encoder.name)
"""
    assert run_python(code).stdout == (
        "False (1, 1280) google/imagenet/mobilenet_v2_100_128/feature_vector/5-128-fit1\n"
    )


def test_file_of_litert__needs_no_preparing(folder):
    assert TFHubEncoder().prepare(print) == ""
    assert not folder.exists()


def test_folder_that_cannot_be_written__is_named(settings, tmp_path):
    (tmp_path / "file").touch()
    settings.SIMILAR_PRODUCTS = {"MODEL_CACHE": tmp_path / "file" / "models"}
    with pytest.raises(EncoderError, match=r"cannot be written to .+models: Not a directory\. Set SIMILAR_PRODUCTS\["):
        TFHubEncoder("https://tfhub.dev/google/x").prepare(print)


# The process.


@pytest.mark.slow
def test_conversion__leaves_one_whole_file_and_no_tensorflow_here(model, folder):
    code = f"""
import sys, numpy
from similar_products.encoders import TFHubEncoder
encoder, steps = TFHubEncoder({str(model)!r}), []
name = encoder.name
encoder.prepare(steps.append)
pixels = numpy.random.default_rng(7).integers(0, 256, (1, 32, 32, 3), numpy.uint8)
print(len(steps), encoder.encode(pixels).shape, encoder.name == name, encoder.needs_preparing)
print({{"tensorflow", "tensorflow_hub"}} & set(sys.modules))
"""
    found = run_python(code)
    assert (found.stdout, found.stderr) == ("3 (1, 1280) True False\nset()\n", "")
    (file,) = folder.glob("*.tflite")
    assert file.name == conversion.file_name(TFHubEncoder(model).conversion_key, file.read_bytes())
    assert {path.suffix for path in folder.iterdir()} == {".tflite", ".lock"}


@pytest.mark.slow
def test_conversion__is_done_by_one_of_several_processes(model, folder):
    code = f"""
from similar_products.encoders import TFHubEncoder
TFHubEncoder({str(model)!r}).prepare(print)
"""
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda number: run_python(code), range(3)))
    assert sorted(len(one.stdout.splitlines()) for one in found) == [0, 0, 3], [one.stderr for one in found]
    assert len(list(folder.glob("*.tflite"))) == 1


@pytest.mark.slow
def test_load_model__converts_first_and_again_where_the_file_is_damaged(model, folder, settings):
    settings.SIMILAR_PRODUCTS = {
        "ENCODER": {"BACKEND": "similar_products.encoders.TFHubEncoder", "OPTIONS": {"handle": str(model)}}
    }
    damaged = put(folder, b"a model", TFHubEncoder(model).conversion_key)
    damaged.write_bytes(b"a mod")
    load_model()
    (file,) = folder.glob("*.tflite")
    assert file != damaged
    assert np.linalg.norm(TFHubEncoder(model).encode(random_pixels(2)), axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_conversion__that_fails_is_the_same_sentence_here(tmp_path, folder):
    (tmp_path / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(EncoderError, match=f"The SavedModel in {tmp_path} cannot be opened: .+ Export or copy it anew"):
        TFHubEncoder(tmp_path).prepare(lambda step: None)
    assert {path.suffix for path in folder.iterdir()} == {".lock"}


def test_conversion__that_is_asked_for_by_itself_does_not_wait_for_itself(monkeypatch):
    """As where ``load_model`` is called in an app's ``ready``, which the process that converts runs as well."""
    monkeypatch.setenv("SIMILAR_PRODUCTS_CONVERTS", "1")
    with pytest.raises(EncoderError, match="called while apps are set up: call it in the server's hook after that"):
        TFHubEncoder("https://tfhub.dev/google/x").prepare(print)


def test_process_that_dies__is_one_sentence(monkeypatch, folder):
    """As where memory ends: nothing is written, and the exit code is named."""
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.no_such_settings")
    with pytest.raises(EncoderError) as caught:
        TFHubEncoder("https://tfhub.dev/google/x").prepare(print)
    assert str(caught.value) == (
        "The process that converts the model https://tfhub.dev/google/x ended with the exit code 1: "
        "ModuleNotFoundError: No module named 'tests.no_such_settings'."
    )
    assert {path.suffix for path in folder.iterdir()} == {".lock"}


def test_process_that_is_killed__is_one_sentence(monkeypatch):
    def kill(step: str) -> None:
        os.kill(started[0].pid, signal.SIGKILL)

    started = remember_processes(monkeypatch)
    with pytest.raises(EncoderError, match="was killed by signal 9, probably because memory ended: run"):
        TFHubEncoder("https://tfhub.dev/google/x").prepare(kill)


class Unpicklable(TFHubEncoder):
    def __init__(self) -> None:
        super().__init__("https://tfhub.dev/google/x")
        self.scale = lambda pixels: pixels


def test_encoder_that_cannot_be_pickled__is_one_sentence():
    with pytest.raises(EncoderError, match=r"cannot be given to the process that converts: .+ Define its class"):
        Unpicklable().prepare(print)


def remember_processes(monkeypatch) -> "list[subprocess.Popen[bytes]]":
    """Return the list to which each process that is started is added."""
    started: list[subprocess.Popen[bytes]] = []

    class Remembered(subprocess.Popen):
        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(conversion.subprocess, "Popen", Remembered)
    return started


def test_process__is_killed_with_an_interrupt(monkeypatch):
    """``on_step`` is where Ctrl-C arrives: the process does not go on alone."""

    def interrupt(step: str) -> None:
        raise KeyboardInterrupt

    started = remember_processes(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        TFHubEncoder("https://tfhub.dev/google/x").prepare(interrupt)
    (process,) = started
    assert process.poll() == -9
    assert sys.executable in process.args
