"""LiteRT: the model in the package and small ones made here; threads, forks, silence and files that are wrong."""

import re
import threading
from pathlib import Path

import numpy as np
import pytest

from similar_products.encoders import EncoderError
from similar_products.encoders.litert import LiteRTModel
from similar_products.encoders.tfhub import EMBEDDED_HANDLE
from tests.encoders.processes import run_python

EMBEDDED = Path(EMBEDDED_HANDLE)


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(7).random((count, 128, 128, 3), np.float32)


def test_model__tells_size_and_dimensions():
    model = LiteRTModel(EMBEDDED)
    assert (model.image_size, model.dimensions, model.takes_pixels) == (128, 1280, False)


def test_model__gives_a_picture_the_same_vector_alone_and_among_others():
    model, given = LiteRTModel(EMBEDDED), pictures(3)
    vectors = model(given)
    assert (vectors.shape, vectors.dtype) == ((3, 1280), np.float32)
    assert np.array_equal(np.concatenate([model(given[row : row + 1]) for row in range(3)]), vectors)


def test_model__has_as_many_interpreters_as_there_were_calls_at_once():
    model, given = LiteRTModel(EMBEDDED), pictures(4)
    expected, found = model(given), []
    assert len(model._idle) == 1
    both_run = threading.Barrier(2)

    def call() -> None:
        interpreter = model._take()
        both_run.wait(30)
        model._idle.append(interpreter)
        found.append(model(given))

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(model._idle) == 2
    assert all(np.array_equal(vectors, expected) for vectors in found)


def test_model__stays_the_same_where_its_file_is_replaced(tmp_path):
    (file := tmp_path / "shop.tflite").write_bytes(EMBEDDED.read_bytes())
    model, given = LiteRTModel(file), pictures(1)
    expected = model(given)
    file.write_bytes(b"another")
    taken = model._take()
    assert np.array_equal(model(given), expected)
    model._idle.append(taken)


def test_model__works_in_a_process_forked_while_threads_compute():
    """In the parent other threads compute all the time; each child computes at once with what it has inherited."""
    code = """
import os, signal, threading, numpy
from pathlib import Path
from similar_products.encoders.litert import LiteRTModel
from similar_products.encoders.tfhub import EMBEDDED_HANDLE
model, pictures = LiteRTModel(Path(EMBEDDED_HANDLE)), numpy.ones((1, 128, 128, 3), numpy.float32)
expected, done = model(pictures), threading.Event()

def compute():
    while not done.is_set():
        model(pictures)

threads = [threading.Thread(target=compute) for _ in range(3)]
for thread in threads:
    thread.start()
codes = set()
for _ in range(30):
    child = os.fork()
    if not child:
        signal.alarm(60)  # where it hangs
        same = all(numpy.array_equal(model(pictures), expected) for _ in range(3))
        os._exit(0 if same else 3)
    codes.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
done.set()
for thread in threads:
    thread.join()
print(codes)
"""
    found = run_python(code)
    assert found.stdout == "{0}\n", found.stderr


def test_model__is_silent_and_imports_no_tensorflow():
    code = """
import sys, numpy
from similar_products.encoders import TFHubEncoder
TFHubEncoder().encode(numpy.ones((1, 128, 128, 3), numpy.uint8))
print("tensorflow" in sys.modules)
"""
    found = run_python(code)
    assert (found.stdout, found.stderr) == ("False\n", "")


def test_model__keeps_what_others_write_to_standard_error_meanwhile():
    code = """
import os
from similar_products.encoders import litert
with litert._without_announcement():
    os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\\n")
    os.write(2, b"something else\\n")
litert.tempfile.TemporaryFile = lambda: open("/no/such/folder/file")
with litert._without_announcement():
    os.write(2, b"no folder\\n")
os.close(2)
with litert._without_announcement():
    print("closed")
"""
    found = run_python(code)
    assert (found.stdout, found.stderr) == ("closed\n", "something else\nno folder\n")


@pytest.mark.slow
def test_without_litert__tensorflow_takes_its_place():
    code = """
import sys, warnings
warnings.simplefilter("error")
sys.modules["ai_edge_litert"] = None
from similar_products.encoders import TFHubEncoder
import numpy
vectors = TFHubEncoder().encode(numpy.random.default_rng(7).integers(0, 256, (2, 128, 128, 3), numpy.uint8))
print(vectors.shape, "tensorflow" in sys.modules)
"""
    found = run_python(code)
    assert found.stdout == "(2, 1280) True\n", found.stderr


def test_without_litert_and_tensorflow__the_sentence_names_both():
    code = """
import sys
sys.modules["ai_edge_litert"] = sys.modules["tensorflow"] = None
from similar_products.encoders import TFHubEncoder
import numpy
TFHubEncoder().encode(numpy.ones((1, 128, 128, 3), numpy.uint8))
"""
    assert re.search(
        r"EncoderError: LiteRT, which runs the model, cannot be imported: .+\. Run pip install ai-edge-litert; where "
        r"it has no wheel, TensorFlow takes its place: pip install 'django-similar-products\[tensorflow\]'\.\n",
        run_python(code).stderr,
    )


@pytest.mark.parametrize("content", [b"", b"not a model" * 9, EMBEDDED.read_bytes()[:100_000]], ids=len)
def test_file_that_is_no_model__is_one_sentence(tmp_path, content):
    (file := tmp_path / "bad.tflite").write_bytes(content)
    with pytest.raises(EncoderError, match=f"The model {file} cannot be opened by LiteRT: .+ Copy or convert it anew"):
        LiteRTModel(file)


# Models of other forms.


def save_tflite(file: Path, function, shape, dtype: str = "float32") -> Path:
    tensorflow = pytest.importorskip("tensorflow")
    spec = [tensorflow.TensorSpec(shape, dtype)]
    traced = tensorflow.function(function, input_signature=spec).get_concrete_function()
    file.write_bytes(tensorflow.lite.TFLiteConverter.from_concrete_functions([traced]).convert())
    return file


def mean(pictures):
    import tensorflow

    return tensorflow.reduce_mean(pictures, axis=(1, 2))


@pytest.mark.slow
def test_model_that_leaves_the_size_open__is_told_it(tmp_path):
    file = save_tflite(tmp_path / "open.tflite", mean, [1, None, None, 3])
    with pytest.raises(EncoderError, match="leaves the side of its pictures open: set the option 'image_size'"):
        LiteRTModel(file)
    given = np.random.default_rng(7).random((2, 16, 16, 3), np.float32)
    assert LiteRTModel(file, 16)(given) == pytest.approx(given.mean(axis=(1, 2)), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "dtype", "sentence"),
    [
        ([1, 32, 16, 3], "float32", "takes pictures of 32 x 16 pixels, which is no square"),
        ([1, 32, 32, 1], "float32", r"the first of the shape \[1, 32, 32, 1\], and 1 outputs; an image feature"),
        ([1, 32, 32, 3], "int32", "takes int32; valid are float32 and uint8 pictures"),
    ],
)
def test_model_that_takes_no_picture__is_named(tmp_path, shape, dtype, sentence):
    import tensorflow

    file = save_tflite(
        tmp_path / "other.tflite",
        lambda given: tensorflow.reduce_sum(tensorflow.cast(given, "float32"), axis=(1, 2)),
        shape,
        dtype,
    )
    with pytest.raises(EncoderError, match=sentence):
        LiteRTModel(file)
