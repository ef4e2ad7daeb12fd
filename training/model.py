"""The student: blocks of MobileNetV2, narrow where pictures are large and wide where they are small."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

BATCH_NORM_MOMENTUM = 0.95
"""Keras' own MobileNetV2 has 0.999: its averages lag thousands of steps behind, much of a training this short."""

MIDDLE_STAGE = 4
"""The last one at a sixteenth of the picture's side, as the teacher's middle map is."""
MIDDLE, LAST = "middle", "last"
"""Names of the layers whose maps learn from the teacher's maps of the same places."""


class Stage(NamedTuple):
    """Blocks of one width: the first has the stride, the others add their input to their output."""

    expansion: int
    channels: int
    blocks: int
    stride: int


class Shape(NamedTuple):
    size: int
    stem_channels: int
    stages: Sequence[Stage]
    last_channels: int


STUDENT = Shape(
    size=128,
    stem_channels=16,
    stages=(
        Stage(1, 8, 1, 1),
        Stage(4, 16, 2, 2),
        Stage(4, 24, 3, 2),
        Stage(6, 40, 3, 2),
        Stage(6, 56, 3, 1),
        Stage(6, 96, 3, 2),
        Stage(6, 160, 1, 1),
    ),
    last_channels=640,
)


def build_student(shape: Shape, dimensions: int, *, folded: bool = False) -> keras.Model:
    """Return a model from float pictures in 0..1, ``[n, height, width, 3]``, to vectors ``[n, dimensions]``.

    The last layer is linear, since the targets are the teacher's vectors less their mean and so of both signs.
    ``folded`` gives the form to export, in which each convolution has a bias in place of the normalisation after it.
    """

    def convolved(x: keras.KerasTensor, channels: int, *, kernel: int = 1, stride: int = 1) -> keras.KerasTensor:
        return normalised(layers.Conv2D(channels, kernel, stride, padding="same", use_bias=folded)(x))

    def normalised(x: keras.KerasTensor) -> keras.KerasTensor:
        return x if folded else layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)(x)

    def block(x: keras.KerasTensor, expansion: int, channels: int, stride: int, name: str | None) -> keras.KerasTensor:
        width = x.shape[-1]
        y = layers.ReLU(6.0)(convolved(x, width * expansion)) if expansion > 1 else x
        y = normalised(layers.DepthwiseConv2D(3, stride, padding="same", use_bias=folded)(y))
        y = convolved(layers.ReLU(6.0)(y), channels)
        return layers.Add(name=name)([x, y]) if stride == 1 and width == channels else y

    side = shape.size if folded else None  # trained on pictures of several sizes
    pictures = keras.Input((side, side, 3))
    x = layers.Rescaling(2.0, offset=-1.0)(pictures)
    x = layers.ReLU(6.0)(convolved(x, shape.stem_channels, kernel=3, stride=2))
    for place, stage in enumerate(shape.stages):
        for number in range(stage.blocks):
            name = MIDDLE if place == MIDDLE_STAGE and number == stage.blocks - 1 else None
            x = block(x, stage.expansion, stage.channels, stage.stride if number == 0 else 1, name)
    x = layers.ReLU(6.0, name=LAST)(convolved(x, shape.last_channels))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(pictures, layers.Dense(dimensions)(x))


def with_maps(student: keras.Model, channels: Sequence[int]) -> keras.Model:
    """Return a model from pictures to the student's vectors and its guesses at the teacher's two maps.

    ``channels`` are those of the teacher's middle and last map. The guesses are one linear layer each on the student's
    own map; they teach it what is where in the picture, and stay behind when it is exported.
    """
    guesses = [
        layers.Conv2D(count, 1, name=f"{name}_guess")(student.get_layer(name).output)
        for name, count in zip((MIDDLE, LAST), channels, strict=True)
    ]
    return keras.Model(student.input, [student.output, *guesses])


def fold(student: keras.Model, shape: Shape) -> keras.Model:
    """Return the same function with every normalisation worked into the convolution before it."""
    folded = build_student(shape, student.output_shape[-1], folded=True)
    kinds = (layers.Conv2D, layers.DepthwiseConv2D)
    convolutions = [layer for layer in student.layers if isinstance(layer, kinds)]
    norms = [layer for layer in student.layers if isinstance(layer, layers.BatchNormalization)]
    targets = [layer for layer in folded.layers if isinstance(layer, kinds)]
    for convolution, norm, target in zip(convolutions, norms, targets, strict=True):
        gamma, beta, mean, variance = norm.get_weights()
        factor = gamma / np.sqrt(variance + norm.epsilon)
        kernel = convolution.get_weights()[0]
        # A kernel ends in the channel it gives, a depthwise one in the channel and a 1.
        by_channel = factor[:, None] if isinstance(convolution, layers.DepthwiseConv2D) else factor
        target.set_weights([kernel * by_channel, beta - mean * factor])
    folded.layers[-1].set_weights(student.layers[-1].get_weights())
    return folded
