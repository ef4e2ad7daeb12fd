"""How well vectors find pictures of the same class: for the monitor of a training and for the benchmark."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from similar_products.pictures.gate import load_pixels


def labelled_pictures(folder: Path) -> tuple[list[Path], NDArray[np.int64]]:
    """Return the pictures in the folders of ``folder`` and for each the number of its folder."""
    files = sorted(folder.glob("*/*.jpg"))
    classes = sorted({file.parent.name for file in files})
    return files, np.array([classes.index(file.parent.name) for file in files])


def pixels_of(files: list[Path], size: int) -> NDArray[np.uint8]:
    return np.stack([load_pixels(file.read_bytes(), size) for file in files])


def nearest(vectors: NDArray[np.float32], count: int = 10) -> NDArray[np.int64]:
    """Return for each of the unit vectors the rows of the ``count`` nearest others, nearest first."""
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, -np.inf)
    return np.argsort(-similarities, axis=1, kind="stable")[:, :count]


def precision(vectors: NDArray[np.float32], classes: NDArray[np.int64], count: int = 10) -> float:
    """Return the share of the ``count`` nearest that have the class of the picture asked for, over all pictures."""
    return float((classes[nearest(vectors, count)] == classes[:, None]).mean())
