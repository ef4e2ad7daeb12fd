"""The training itself: steps against the clock, a running average of the weights, checkpoints to go on from."""

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from .model import Shape, build_student, with_maps
from .pictures import RECIPES
from .targets import Targets

BATCH = 64
PEAK_RATE = 2e-3
WARM_UP_STEPS = 300
WEIGHT_DECAY = 0.03
SIMILARITY_WEIGHT = 5.0
"""The squared differences of similarities are about a hundredth of 1 - cosine; this makes them count."""
AVERAGE_DECAY = 0.998
MAPS_WEIGHT = 0.5
"""The squared error of either map is 1 for a guess of the mean, as the cosine loss is."""
SIZES = ((0.7, 0.75), (0.85, 0.875), (1.0, 1.0))
"""Up to which part of the time, and what part of the full side the pictures have then: small ones take less time."""
CHECKPOINT_SECONDS = 600
CHECKPOINT = "checkpoint.npz"
LOG_STEPS = 50
LOSSES = ("cosine_loss", "similarity_loss", "middle_loss", "last_loss")


class Trainer:
    """A student, the average of its weights, and how far it has come."""

    def __init__(self, shape: Shape, targets: Targets, folder: Path, *, seconds: float, seed: int) -> None:
        keras.utils.set_random_seed(seed)
        self.shape = shape
        self.targets = targets
        self.folder = folder
        self.seconds = seconds
        self.seed = seed
        self.step = 0
        self.elapsed = 0.0
        self._mean = _mean_direction(targets.vectors)
        self._up_to = _chances(targets).cumsum()
        dimensions = targets.vectors.shape[1]
        self.student = build_student(shape, dimensions)
        self.pupil = with_maps(self.student, [targets.middle.shape[-1], targets.last.shape[-1]])
        self.average = build_student(shape, dimensions)
        self.average.set_weights(self.student.get_weights())
        self.optimizer = keras.optimizers.AdamW(PEAK_RATE, weight_decay=WEIGHT_DECAY)
        self.optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        self.optimizer.build(self.pupil.trainable_variables)
        self._stop = False

    def train(self, monitor: Callable[[keras.Model], dict[str, float]]) -> bool:
        """Train until the time is up and return True, or until an interrupt and return False.

        The clock counts, not the steps: so it ends on time and annealed on any machine.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._interrupted)
        before, begun = self.elapsed, time.monotonic()
        saved = time.monotonic()
        losses: list[tuple[float, ...]] = []
        # A moving bar on a terminal; in a pipe only the line of each report.
        with tqdm(total=round(self.seconds), initial=round(before), unit=" s", disable=None, desc="Training") as bar:
            while self.elapsed < self.seconds and not self._stop:
                rate = self._rate()
                self.optimizer.learning_rate.assign(rate)
                losses.append(self._learn(self._chosen()))
                self.step += 1
                self.elapsed = before + time.monotonic() - begun
                bar.update(round(self.elapsed) - bar.n)
                if self.step % LOG_STEPS == 0:
                    means = dict(zip(LOSSES, np.mean(np.array(losses), axis=0).tolist(), strict=True))
                    losses.clear()
                    self._log(rate=rate, **means)
                    bar.set_postfix(step=self.step, cosine=f"{1 - means['cosine_loss']:.3f}")
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.save()
                    saved = time.monotonic()
                    self._report(monitor)
        self.save()
        if not self._stop:
            self._report(monitor)
        return not self._stop

    def save(self) -> None:
        state = {f"pupil{i}": value for i, value in enumerate(self.pupil.get_weights())}
        state |= {f"average{i}": value for i, value in enumerate(self.average.get_weights())}
        state |= {f"optimizer{i}": np.asarray(variable) for i, variable in enumerate(self.optimizer.variables)}
        unfinished = self._checkpoint.with_suffix(".part")
        with unfinished.open("wb") as file:
            np.savez(file, step=self.step, elapsed=self.elapsed, **state)
        unfinished.replace(self._checkpoint)

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one."""
        if not self._checkpoint.is_file():
            return False
        with np.load(self._checkpoint) as state:
            self.step, self.elapsed = int(state["step"]), float(state["elapsed"])
            for name, model in (("pupil", self.pupil), ("average", self.average)):
                model.set_weights([state[f"{name}{i}"] for i in range(len(model.weights))])
            for i, variable in enumerate(self.optimizer.variables):
                variable.assign(state[f"optimizer{i}"])
        return True

    @property
    def _checkpoint(self) -> Path:
        return self.folder / CHECKPOINT

    def _rate(self) -> float:
        left = max(0.0, 1 - self.elapsed / self.seconds)
        return float(PEAK_RATE * min(1, (self.step + 1) / WARM_UP_STEPS) * (0.5 - 0.5 * np.cos(np.pi * left)))

    def _chosen(self) -> NDArray[np.int64]:
        """Return the rows for this step, which follow from the seed and the step alone."""
        dice = np.random.default_rng([self.seed, self.step])
        return np.sort(np.searchsorted(self._up_to[:-1], dice.random(BATCH)))

    def _learn(self, rows: NDArray[np.int64]) -> tuple[float, ...]:
        losses = self._step(
            tf.constant(self.targets.pictures[rows]),
            tf.constant(self._directions(rows)),
            tf.constant(self.targets.middle[rows]),
            tf.constant(self.targets.last[rows]),
            tf.constant(min(AVERAGE_DECAY, (self.step + 1) / (self.step + 10)), tf.float32),
            self._size(),
        )
        return tuple(losses.numpy().tolist())

    def _size(self) -> int:
        """Return the side of the pictures at this time, a multiple of 16 as the strides ask for."""
        done = self.elapsed / self.seconds
        share = next((share for until, share in SIZES if done < until), 1.0)
        return round(self.shape.size * share / 16) * 16

    @tf.function
    def _step(
        self,
        pictures: tf.Tensor,
        directions: tf.Tensor,
        middle: tf.Tensor,
        last: tf.Tensor,
        decay: tf.Tensor,
        size: int,
    ) -> tf.Tensor:
        is_mirrored = tf.random.uniform([tf.shape(pictures)[0], 1, 1, 1]) < 0.5
        with tf.GradientTape() as tape:
            vectors, *guesses = self.pupil(_varied(pictures, is_mirrored, size), training=True)
            found = tf.math.l2_normalize(vectors, axis=1)
            cosine_loss = 1 - tf.reduce_mean(tf.reduce_sum(found * directions, axis=1))
            difference = tf.matmul(found, found, transpose_b=True) - tf.matmul(directions, directions, transpose_b=True)
            similarity_loss = tf.reduce_mean(difference**2)
            maps_losses = [
                tf.reduce_mean((guess - _as_seen(truth, is_mirrored, guess.shape[1])) ** 2)
                for guess, truth in zip(guesses, (middle, last), strict=True)
            ]
            loss = cosine_loss + SIMILARITY_WEIGHT * similarity_loss + MAPS_WEIGHT * tf.add_n(maps_losses)
        variables = self.pupil.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        for mean, value in zip(self.average.weights, self.student.weights, strict=True):
            mean.assign(decay * mean + (1 - decay) * value)
        return tf.stack([cosine_loss, similarity_loss, *maps_losses])

    def _directions(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return _unit(_unit(self.targets.vectors[rows].astype(np.float32)) - self._mean)

    def _report(self, monitor: Callable[[keras.Model], dict[str, float]]) -> None:
        rows = np.flatnonzero(self.targets.is_held_out)
        found = _unit(_predicted(self.average, self.targets.pictures[rows]))
        cosine = float((found * self._directions(rows)).sum(axis=1).mean())
        self._log(held_out_cosine=cosine, **monitor(self.average))

    def _log(self, **values: float) -> None:
        line = {"step": self.step, "samples": self.step * BATCH, "minutes": round(self.elapsed / 60, 2)}
        line |= {name: round(value, 5) for name, value in values.items()}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        if "held_out_cosine" in values:
            tqdm.write(json.dumps(line), file=sys.stderr)

    def _interrupted(self, *_: object) -> None:
        self._stop = True


def averaged_student(shape: Shape, folder: Path) -> keras.Model:
    """Return the averaged student of the checkpoint in ``folder``."""
    if not (folder / CHECKPOINT).is_file():
        raise SystemExit(f"There is no {CHECKPOINT} in {folder}.")
    with np.load(folder / CHECKPOINT) as state:
        count = sum(name.startswith("average") for name in state)
        weights = [state[f"average{i}"] for i in range(count)]
    student = build_student(shape, len(weights[-1]))  # the last are the biases of the vectors
    student.set_weights(weights)
    return student


def predictor(model: keras.Model) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Return a function from uint8 pictures to the model's unit vectors."""
    return lambda pictures: _unit(_predicted(model, pictures))


def _predicted(model: keras.Model, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    batches = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
    return np.concatenate([np.asarray(model(batch.astype(np.float32) / 255, training=False)) for batch in batches])


def _varied(pictures: tf.Tensor, is_mirrored: tf.Tensor, side: int) -> tf.Tensor:
    """Return the pictures in 0..1 and of that side, some of them mirrored, all moved and lit a little otherwise.

    Little enough that the teacher would say nearly the same; more would ask for a wrong answer.
    """
    x = tf.cast(pictures, tf.float32) / 255
    count, size = tf.shape(x)[0], x.shape[1]
    x = tf.where(is_mirrored, tf.reverse(x, [2]), x)
    x = tf.pad(x, [[0, 0], [4, 4], [4, 4], [0, 0]], "REFLECT")
    offset = tf.random.uniform([2], 0, 9, tf.int32)
    x = x[:, offset[0] : offset[0] + size, offset[1] : offset[1] + size]
    x = tf.ensure_shape(x, [None, size, size, 3])
    if side != size:
        x = tf.image.resize(x, [side, side])
    gain = 1 + tf.random.normal([count, 1, 1, 1], stddev=0.08) + tf.random.normal([count, 1, 1, 3], stddev=0.02)
    return tf.clip_by_value((x - 0.5) * gain + 0.5 + tf.random.normal([count, 1, 1, 1], stddev=0.04), 0, 1)


def _as_seen(maps: tf.Tensor, is_mirrored: tf.Tensor, side: int) -> tf.Tensor:
    """Return the teacher's maps mirrored with their pictures and of the side of the student's."""
    maps = tf.cast(maps, tf.float32)
    maps = tf.where(is_mirrored, tf.reverse(maps, [2]), maps)
    return maps if maps.shape[1] == side else tf.image.resize(maps, [side, side], antialias=True)


def _chances(targets: Targets) -> NDArray[np.float64]:
    """Return how likely each picture is to be chosen: each recipe has its share of the samples."""
    names, places, counts = np.unique(targets.recipes, return_inverse=True, return_counts=True)
    shares = (np.array([RECIPES[name].share for name in names]) / counts)[places]
    shares[targets.is_held_out] = 0
    return shares / shares.sum()


def _mean_direction(vectors: NDArray[np.float16]) -> NDArray[np.float32]:
    total = np.zeros(vectors.shape[1], np.float64)
    for start in range(0, len(vectors), 8192):
        total += _unit(vectors[start : start + 8192].astype(np.float32)).sum(axis=0)
    return (total / len(vectors)).astype(np.float32)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
