"""The student as the SavedModel that is shipped: one function and its weights, nothing of the training."""

import shutil
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from .model import Shape, fold


def export(student: keras.Model, shape: Shape, folder: Path) -> None:
    """Write ``student`` to ``folder`` in the form of TF-Hub: ``[n, s, s, 3]`` in 0..1 in, ``[n, d]`` out."""
    folded = fold(student, shape)
    pictures = np.random.default_rng(0).random((4, shape.size, shape.size, 3), np.float32)
    expected, found = (np.asarray(model(pictures, training=False)) for model in (student, folded))
    if np.abs(expected - found).max() > 1e-3 * np.abs(expected).max():
        raise RuntimeError("The folded model does not give what the student gives.")

    module = tf.Module()
    # Plain variables without Keras' own objects: nothing of Keras is needed to load it.
    module.weights = [tf.Variable(weight, trainable=False) for weight in folded.get_weights()]
    places = {id(variable.value): number for number, variable in enumerate(folded.weights)}

    def features(pictures: tf.Tensor) -> tf.Tensor:
        return _forward(folded, [module.weights[number] for number in places.values()], pictures)

    signature = [tf.TensorSpec([None, shape.size, shape.size, 3], tf.float32, name="pictures")]
    module.__call__ = tf.function(features, input_signature=signature)
    options = tf.saved_model.SaveOptions(save_debug_info=False, experimental_custom_gradients=False)
    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    tf.saved_model.save(module, str(new), signatures=module.__call__, options=options)
    for name in ("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (new / name).replace(folder / name)
    shutil.rmtree(new)


def _forward(model: keras.Model, weights: list[tf.Variable], pictures: tf.Tensor) -> tf.Tensor:
    outputs, _ = model.stateless_call(weights, [], pictures, training=False)
    return outputs
