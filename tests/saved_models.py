"""Small SavedModels with the interface of a TF-Hub feature vector."""

from pathlib import Path


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
            cells = tf.reshape(tf.image.resize(pixels, (4, 4), method="area"), (-1, 48))
            return cells @ self.weights

    model = Features()
    serve = tf.function(lambda inputs: {name: model.compute(inputs) for name in outputs}, input_signature=[spec])
    if is_callable:
        model.__class__.__call__ = tf.function(model.compute, input_signature=[spec])
    tf.saved_model.save(model, str(folder), signatures={"serving_default": serve} if outputs else {})
    return folder
