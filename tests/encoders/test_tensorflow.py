"""Models that TensorFlow computes itself, because LiteRT cannot: never across a fork."""

import pytest

from tests.encoders.processes import run_python
from tests.saved_models import save_feature_model

pytestmark = pytest.mark.slow


def test_model__after_a_fork_raises_instead_of_hanging(tmp_path):
    model = save_feature_model(tmp_path / "model", dimensions=1280, size=32)
    code = f"""
import os, sys, numpy
from similar_products.encoders import EncoderError, TFHubEncoder
encoder, pixels = TFHubEncoder({str(model)!r}), numpy.ones((1, 32, 32, 3), "uint8")
name = encoder.name
print({{"tensorflow", "keras"}} & set(sys.modules))
encoder.use(encoder.read())
encoder.encode(pixels)
child = os.fork()
if not child:
    try:
        TFHubEncoder({str(model)!r}).read()  # not even opened, which may hang as well
        os._exit(6)
    except EncoderError as error:
        assert "before it forked" in str(error)
    try:
        encoder.encode(pixels)
    except EncoderError as error:
        os._exit(7 if "before it forked" in str(error) else 8)
    os._exit(9)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), encoder.encode(pixels).shape, encoder.name == name)
"""
    done = run_python(code)
    assert done.stdout == "set()\n7 (1, 1280) True\n", done.stderr


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            "ImportError('libcudart.so.12 is missing')",
            "TensorFlow is installed, but cannot be imported: ImportError: lib",
        ),
        ("ModuleNotFoundError('x', name='wrapt')", "The test needs the package wrapt, which is not installed: run pip"),
    ],
)
def test_import__of_a_broken_installation_names_the_remedy(error, sentence):
    code = f"""
import importlib
from similar_products.encoders import tensorflow

def fail(name):
    raise {error}

importlib.import_module = fail
tensorflow.import_tensorflow("tensorflow", wanted_by="The test")
"""
    assert sentence in run_python(code).stderr
