"""The teacher's vectors of many pictures, made once and kept on disk in files that each hold some of every kind."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from similar_products.encoders import TFHubEncoder

from .pictures import VIEWS, Photos, make, plan

PER_FILE = 2048
BATCH = 64
SHARED_BY_VIEWS = 0.6
"""How much of a drawing's target is the mean of all views of its shape. The teacher sees a drawing's pattern before its
shape; the mean over patterns is what they have in common, found without a label."""


class Targets(NamedTuple):
    pictures: NDArray[np.uint8]
    """``[n, size, size, 3]``, as the student sees them."""
    vectors: NDArray[np.float16]
    """``[n, dimensions]``, what the teacher said of the same pictures at its own size."""
    recipes: NDArray[np.str_]
    """``[n]``, the recipe of each; drawings come in runs of ``VIEWS`` of the same shape."""


def prepare(folder: Path, images: Path, teacher: Path, *, size: int, count: int, seed: int, until: float) -> list[Path]:
    """Return the files of targets in ``folder``, made where they are missing.

    Each file follows from the seed and its number alone, so a run that was stopped goes on with the next file.
    ``until`` is the time of ``time.monotonic`` after which no further file is begun.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{size}-{seed}-{number:04}.npz" for number in range(-(-count // PER_FILE))]
    missing = [file for file in files if not file.is_file()]
    if missing and time.monotonic() < until:
        encoder = TFHubEncoder(teacher)
        side = encoder.image_size
        model = encoder._open()  # in batches of 64 at once: with oneDNN faster than the encoder's threads
        photos = Photos(images)
        with tqdm(total=len(missing) * PER_FILE, desc="Teacher", unit=" pictures", disable=None) as progress:
            for file in missing:
                if time.monotonic() > until:
                    break
                number = files.index(file)
                chosen = plan(PER_FILE, np.random.default_rng([seed, number]))
                pictures, vectors = [], []
                for large, small in _batches(chosen, photos, side, size):
                    vectors.append(np.asarray(model(large.astype(np.float32) / 255), np.float16))
                    pictures.append(small)
                    progress.update(len(small))
                _save(
                    file,
                    pictures=np.concatenate(pictures),
                    vectors=np.concatenate(vectors),
                    recipes=np.array([recipe for recipe, _ in chosen]),
                )
    return [file for file in files if file.is_file()]


def load(files: list[Path]) -> Targets:
    """Return all targets, with the vectors of drawings drawn towards the mean of their views."""
    parts = []
    for file in files:
        with np.load(file) as opened:
            part = Targets(opened["pictures"], opened["vectors"].astype(np.float32), opened["recipes"])
        _share_views(part)
        parts.append(part)
    return Targets(
        np.concatenate([part.pictures for part in parts]),
        np.concatenate([part.vectors for part in parts]).astype(np.float16),
        np.concatenate([part.recipes for part in parts]),
    )


def _share_views(part: Targets) -> None:
    rows = np.flatnonzero(part.recipes == "drawn")
    for start in range(0, len(rows), VIEWS):
        views = rows[start : start + VIEWS]
        mean = part.vectors[views].mean(axis=0)
        part.vectors[views] = SHARED_BY_VIEWS * mean + (1 - SHARED_BY_VIEWS) * part.vectors[views]


def _batches(
    chosen: list[tuple[str, int]], photos: Photos, side: int, size: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    def both(number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        picture = make(*chosen[number], number, photos)
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
