"""Small SavedModels with the interface of a TF-Hub feature vector, and small Keras models with named layers."""

import importlib
import warnings
from pathlib import Path
from typing import Any


def save_feature_model(
    folder: Path,
    *,
    dimensions: int,
    size: int | None,
    is_callable: bool = True,
    as_map: bool = False,
    channels: int = 3,
    outputs: tuple[str, ...] = ("features",),
) -> Path:
    """Save a model that maps the colours of a grid of cells to ``dimensions`` numbers by fixed weights."""
    import numpy as np
    import tensorflow as tf

    weights = np.random.default_rng(dimensions).uniform(-1, 1, (48, dimensions)).astype(np.float32)
    weights /= np.abs(weights.sum(axis=0)).max()

    spec = tf.TensorSpec([None, size, size, channels], tf.float32, name="inputs")

    class Features(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(weights)

        def compute(self, pixels):
            pixels = tf.ensure_shape(pixels, spec.shape)
            if as_map:
                return pixels
            grid = tf.nn.avg_pool2d(pixels, size // 4, size // 4, "VALID") if size else tf.image.resize(pixels, (4, 4))
            return tf.reshape(grid, (-1, 48)) @ self.weights

    model = Features()
    serve = tf.function(lambda inputs: {name: model.compute(inputs) for name in outputs}, input_signature=[spec])
    if is_callable:
        model.__class__.__call__ = tf.function(model.compute, input_signature=[spec])
    tf.saved_model.save(model, str(folder), signatures={"serving_default": serve} if outputs else {})
    return folder


def save_keras_model(
    file: Path, *, dimensions: int, size: int | None, library: str = "keras", preprocess: bool = False
) -> Path:
    """Save a classifier of five classes that is cut at its vector: the colours of a grid of cells by fixed weights.

    Its layers are grid, cells, vector (its output is the vector), dropout and classes (its input is the vector). The
    ``library`` is ``keras`` or ``tf_keras``, which is Keras 2; without a suffix the second writes a SavedModel. With
    ``preprocess`` the model itself turns 0..255 into -1..1, by operations that are no layers.
    """
    import numpy as np

    keras = importlib.import_module(library)
    layers = keras.layers
    weights = np.random.default_rng(dimensions).uniform(-1, 1, (48, dimensions)).astype(np.float32)
    vector = layers.Dense(dimensions, use_bias=False, name="vector")
    pictures = keras.Input((size, size, 3), name="pictures")
    scaled = pictures / 127.5 - 1.0 if preprocess else pictures
    grid = layers.AveragePooling2D(pool_size=(size or 32) // 4, name="grid")(scaled)
    cells = layers.Reshape((48,), name="cells")(grid)
    classes = layers.Dense(5, activation="softmax", kernel_regularizer="l2", name="classes")
    model = keras.Model(pictures, classes(layers.Dropout(0.5, name="dropout")(vector(cells))))
    vector.set_weights([weights])
    save_quietly(model, file)
    return file


def save_quietly(model: Any, file: Path) -> None:
    """Save a model of either Keras, whatever it has to say about its own formats."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(str(file))
