"""What the teacher says of many pictures, made once and kept on disk in files of one recipe each."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tqdm import tqdm

from similar_products.encoders import TFHubEncoder

from .pictures import RECIPES, VIEWS, Photos, make, seeds

PER_FILE = 2048
BATCH = 64
HELD_OUT = 32
"""Crops at the end of each file that are never trained on; the photos they are from are."""
SHARED_BY_VIEWS = 0.6
"""How much of a drawing's target is the mean of all views of its shape. The teacher sees a drawing's pattern before its
shape; the mean over patterns is what they have in common, found without a label."""
MIDDLE_SIDE, LAST_SIDE = 8, 4
"""The sides of the student's own two maps at its full size, to which the teacher's of 14 and 7 are brought."""


class Targets(NamedTuple):
    pictures: NDArray[np.uint8]
    """``[n, size, size, 3]``, as the student sees them."""
    vectors: NDArray[np.float16]
    """``[n, dimensions]``, what the teacher said of the same pictures at its own size."""
    middle: NDArray[np.float16]
    """``[n, 8, 8, 96]``, what it made of each place at a sixteenth of the side, each channel of spread 1 and mean 0."""
    last: NDArray[np.float16]
    """``[n, 4, 4, 320]``, the same before its last layer, of which the vector is the mean over places."""
    recipes: NDArray[np.str_]
    """``[n]``, the recipe of each; drawings come in runs of ``VIEWS`` of the same shape."""
    is_held_out: NDArray[np.bool_]


def prepare(folder: Path, images: Path, teacher: Path, *, size: int, seed: int, until: float) -> list[Path]:
    """Return the files of targets in ``folder``, made where they are missing.

    Each file follows from the seed, the recipe and its number alone, so a run that was stopped goes on with the next.
    ``until`` is the time of ``time.monotonic`` after which no further file is begun.
    """
    folder.mkdir(parents=True, exist_ok=True)
    most = max(recipe.crops for recipe in RECIPES.values()) // PER_FILE
    wanted = [  # a file of every recipe before the second of any
        (folder / f"{name.replace('/', '-')}-{size}-{seed}-{number:03}.npz", name, number)
        for number in range(most)
        for name, recipe in RECIPES.items()
        if number < recipe.crops // PER_FILE
    ]
    missing = [each for each in wanted if not each[0].is_file()]
    if missing and time.monotonic() < until:
        encoder = TFHubEncoder(teacher)
        model = encoder.read()
        encoder.use(model)
        look = _with_maps(model.function, encoder.image_size)
        photos = Photos(images)
        with tqdm(total=len(missing) * PER_FILE, desc="Teacher", unit=" pictures", disable=None) as progress:
            for file, name, number in missing:
                if time.monotonic() > until:
                    break
                chosen = seeds(name, number, PER_FILE, seed)
                seen = []
                for large, small in _batches(name, chosen, photos, encoder.image_size, size):
                    seen.append((small, *look(large)))
                    progress.update(len(small))
                pictures, vectors, middle, last = (np.concatenate(arrays) for arrays in zip(*seen, strict=True))
                _save(file, pictures=pictures, vectors=vectors, middle=middle, last=last)
    return [file for file, _, _ in wanted if file.is_file()]


def load(files: list[Path]) -> Targets:
    """Return all targets, with the vectors of drawings drawn towards the mean of their views."""
    names = {name.replace("/", "-"): name for name in RECIPES}
    recipes = [names[file.name.rsplit("-", 3)[0]] for file in files]
    arrays: dict[str, NDArray[np.generic]] = {}
    for name in ("pictures", "vectors", "middle", "last"):
        parts = []
        for file in files:
            with np.load(file) as opened:
                parts.append(opened[name])
        arrays[name] = np.concatenate(parts)
    for start, recipe in zip(range(0, len(files) * PER_FILE, PER_FILE), recipes, strict=True):
        if recipe == "drawn":
            _share_views(arrays["vectors"][start : start + PER_FILE])
    for name in ("middle", "last"):
        _standardise(arrays[name])
    return Targets(
        **arrays,
        recipes=np.repeat(recipes, PER_FILE),
        is_held_out=np.tile(np.arange(PER_FILE) >= PER_FILE - HELD_OUT, len(files)),
    )


def _with_maps(
    model: Callable[[tf.Tensor], tf.Tensor], size: int
) -> Callable[[NDArray[np.uint8]], tuple[NDArray[np.float16], ...]]:
    """Return a function from pictures to the teacher's vectors and two of the maps they come from.

    In batches of 64 at once: with oneDNN faster than small ones in threads.
    """
    called = tf.function(lambda x: model(tf.cast(x, tf.float32) / 255))
    frozen = convert_variables_to_constants_v2(
        called.get_concrete_function(tf.TensorSpec([None, size, size, 3], tf.uint8))
    )
    operations = [each for each in frozen.graph.get_operations() if each.outputs and len(each.outputs[0].shape) == 4]
    middle = [each for each in operations if each.type == "AddV2" and each.outputs[0].shape[1] == size // 16][-1]
    last = [each for each in operations if each.type == "BiasAdd" and each.outputs[0].shape[1] == size // 32][-2]
    pruned = frozen.prune(frozen.inputs[0], [frozen.outputs[0], middle.outputs[0], last.outputs[0]])

    @tf.function
    def look(pictures: tf.Tensor) -> list[tf.Tensor]:
        vectors, *maps = pruned(pictures)
        sides = (MIDDLE_SIDE, LAST_SIDE)
        maps = [tf.image.resize(x, [side, side], antialias=True) for x, side in zip(maps, sides, strict=True)]
        return [tf.cast(x, tf.float16) for x in (vectors, *maps)]

    return lambda pictures: tuple(np.asarray(x) for x in look(tf.constant(pictures)))


def _standardise(maps: NDArray[np.float16]) -> None:
    """Give each channel mean 0 and spread 1, in place and by a part of the pictures."""
    sample = maps[:: max(1, len(maps) // 2048)].astype(np.float32)
    mean, spread = sample.mean(axis=(0, 1, 2)), sample.std(axis=(0, 1, 2)) + 1e-3
    for start in range(0, len(maps), 1024):
        maps[start : start + 1024] = (maps[start : start + 1024] - mean) / spread


def _share_views(vectors: NDArray[np.float16]) -> None:
    for start in range(0, len(vectors), VIEWS):
        views = vectors[start : start + VIEWS].astype(np.float32)
        vectors[start : start + VIEWS] = SHARED_BY_VIEWS * views.mean(axis=0) + (1 - SHARED_BY_VIEWS) * views


def _batches(
    recipe: str, chosen: list[int], photos: Photos, side: int, size: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    def both(number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        picture = make(recipe, chosen[number], number, photos)
        return np.asarray(picture.resize((side, side))), np.asarray(picture.resize((size, size)))

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        # One batch ahead: drawn and cut while the teacher looks at the one before.
        starts = range(0, len(chosen), BATCH)
        ahead = [threads.submit(both, number) for number in range(min(BATCH, len(chosen)))]
        for start in starts:
            ready, following = ahead, range(start + BATCH, min(start + 2 * BATCH, len(chosen)))
            ahead = [threads.submit(both, number) for number in following]
            pairs = [future.result() for future in ready]
            yield np.stack([large for large, _ in pairs]), np.stack([small for _, small in pairs])


def _save(file: Path, **arrays: NDArray[np.generic]) -> None:
    unfinished = file.with_suffix(".part")
    with unfinished.open("wb") as opened:
        np.savez(opened, **arrays)
    unfinished.replace(file)
