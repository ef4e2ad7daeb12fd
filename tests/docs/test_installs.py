"""The extra [tensorflow] alone in a fresh environment: it converts, and takes LiteRT's place where that has no wheel.

The base install alone is what the README's lines for a shop take: test_readme.py.
"""

import os
import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MODEL = """
import tensorflow as tf

class Mean(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 3], tf.float32)])
    def __call__(self, pictures):
        return tf.reshape(tf.nn.avg_pool2d(pictures, 8, 8, "VALID"), (-1, 48))

tf.saved_model.save(Mean(), "model")
"""
ENCODE = """
import sys
from django.conf import settings
settings.configure()
import numpy
from similar_products.encoders import TFHubEncoder
for encoder in (TFHubEncoder("model"), TFHubEncoder()):
    encoder.prepare(lambda step: None)
    size = encoder.image_size
    pixels = numpy.random.default_rng(7).integers(0, 256, (2, size, size, 3), numpy.uint8)
    print(encoder.encode(pixels).shape)
print("ai_edge_litert" in sys.modules, "tensorflow" in sys.modules)
"""


@pytest.mark.network
@pytest.mark.slow
def test_tensorflow_alone__converts_and_takes_the_place_of_litert(tmp_path):
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DJANGO", "PYTHON", "SIMILAR"))},
        "PIP_NO_COMPILE": "1",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [environment / "bin" / "python", *arguments],
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("-m", "pip", "install", "--quiet", f"{ROOT}[tensorflow]", "psycopg[binary]")
    run("-c", MODEL)
    assert run("-c", ENCODE).splitlines() == ["(2, 48)", "(2, 1280)", "True False"]
    run("-m", "pip", "uninstall", "--quiet", "--yes", "ai-edge-litert")
    for file in (tmp_path / "cache" / "similar_products").glob("*.tflite"):
        file.unlink()
    assert run("-c", ENCODE).splitlines() == ["(2, 48)", "(2, 1280)", "False True"]
