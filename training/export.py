"""The student as the file that is shipped: its weights in 16 bits for LiteRT, nothing of the training."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from .model import Shape, fold


def export(student: keras.Model, shape: Shape, file: Path) -> None:
    """Write ``student`` to a ``.tflite`` file: ``[1, s, s, 3]`` in 0..1 in, ``[1, d]`` out."""
    folded = fold(student, shape)
    pictures = np.random.default_rng(0).random((4, shape.size, shape.size, 3), np.float32)
    expected, found = (np.asarray(model(pictures, training=False)) for model in (student, folded))
    if np.abs(expected - found).max() > 1e-3 * np.abs(expected).max():
        raise RuntimeError("The folded model does not give what the student gives.")

    spec = tf.TensorSpec([1, shape.size, shape.size, 3], tf.float32, name="pictures")
    features = tf.function(lambda pictures: folded(pictures, training=False), input_signature=[spec])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([features.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    content = converter.convert()
    file.parent.mkdir(parents=True, exist_ok=True)
    (partial := file.with_suffix(".partial")).write_bytes(content)
    partial.replace(file)
