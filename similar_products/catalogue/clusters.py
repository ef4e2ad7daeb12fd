"""Groups of products that look alike, each with the product that stands for it, by scikit-learn's k-means.

k-means puts every product into a group, needs a number that a person can choose, and takes 20,000 products of 1280
dimensions into 200 groups in minutes. HDBSCAN, which finds the number itself, compares all pairs and holds all vectors,
and leaves what lies in no dense place without a group: of photos of clothes that is nearly everything.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .neighbours import (
    QUERIES_PER_BLOCK,
    Catalogue,
    CatalogueError,
    Positions,
    Progress,
    Vectors,
    ignore_progress,
    product_vectors,
    split,
)

TIE = 1e-6
"""Similarities this near are equal up to rounding, and the first product stands for the group."""
LEARNT_FROM = 20_000
"""Maximum number of products that the centres are learnt from, drawn at random: 100 MB of 1280 dimensions."""
STARTS = 3
"""Number of runs from different first centres, of which the tightest is taken."""
INSTALL = "pip install 'django-similar-products[catalogue]'"


@dataclass(frozen=True, slots=True)
class Clusters:
    """Products in groups, the greatest group first.

    ``labels``: int64 ``[products]``, the group of each; ``medoids``: int64 ``[groups]``, the position of the product
    with the greatest mean similarity to the others of its group; ``similarities``: float32 ``[products]``, of each to
    its medoid, in -1..1.
    """

    labels: Positions
    medoids: Positions
    similarities: Vectors


def usual_number(products: int) -> int:
    """Return the square root of half the number of products, a rule of thumb, but at least 2."""
    return max(round(math.sqrt(products / 2)), 2)


def cluster(catalogue: Catalogue, *, groups: int, seed: int, on_progress: Progress = ignore_progress) -> Clusters:
    """Return the products of ``catalogue`` in ``groups`` groups, or fewer where fewer look different.

    One seed gives the same groups of the same vectors. Of several pictures of a product their mean counts. Beside the
    20,000 products that it learns from it holds two numbers for each. ``on_progress`` is called with the number of
    products just looked at, ``count_steps`` in all. Raises ``CatalogueError`` without scikit-learn and with more groups
    than products.
    """
    _, limits, convergence_warning = load_scikit_learn()
    count = len(catalogue.owners)
    if groups > count:
        raise CatalogueError(f"There are {count:,} products for {groups:,} groups; ask for fewer groups with --groups.")
    # One thread: several add up in an order of their own each time, and one seed would give other groups each time.
    with limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", convergence_warning)  # fewer pictures than groups: some stay empty
        model = _fit(catalogue, groups, seed, on_progress)
        labels, sums = np.empty(count, np.int64), np.zeros((groups, model.cluster_centers_.shape[1]))
        for part, vectors in _blocks(catalogue):
            labels[part] = model.predict(vectors)
            np.add.at(sums, labels[part], vectors)
            on_progress(len(part))
    medoids, similarities = _medoids(catalogue, labels, sums), np.empty(count, np.float32)
    stands_for = product_vectors(catalogue, medoids)
    for part, vectors in _blocks(catalogue):
        similarities[part] = np.einsum("ij,ij->i", vectors, stands_for[labels[part]])
    sizes = np.bincount(labels, minlength=groups)
    order = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
    new_label = np.empty(groups, np.int64)
    new_label[order] = np.arange(len(order))
    return Clusters(new_label[labels], medoids[order], similarities)


def _fit(catalogue: Catalogue, groups: int, seed: int, on_progress: Progress) -> Any:
    """Return the tightest of several models of k-means."""
    k_means, _, _ = load_scikit_learn()
    chance, count = np.random.default_rng(seed), len(catalogue.owners)
    sample = product_vectors(catalogue, np.sort(chance.choice(count, _sample(count, groups), replace=False)))
    models = []
    for start in chance.integers(2**31, size=STARTS):
        models.append(k_means(groups, n_init=1, random_state=int(start)).fit(sample))
        on_progress(len(sample))
    return min(models, key=lambda model: float(model.inertia_))


def _medoids(catalogue: Catalogue, labels: Positions, sums: NDArray[np.float64]) -> Positions:
    """Return the position of the product with the greatest mean similarity to the others of each group, 0 for none."""
    best, medoids = np.full(len(sums), -np.inf), np.zeros(len(sums), np.int64)
    for part, vectors in _blocks(catalogue):
        # Of unit vectors the mean similarity to all of a group is that to their sum, but for its length.
        closeness = np.einsum("ij,ij->i", vectors, sums[labels[part]])
        for position, group, value in zip(part.tolist(), labels[part].tolist(), closeness.tolist(), strict=True):
            if value > best[group] + TIE:
                best[group], medoids[group] = value, position
    return medoids


def count_steps(products: int, groups: int) -> int:
    """Return how many products ``cluster`` looks at: those it learns from once for each start, then all."""
    return STARTS * _sample(products, groups) + products


def _sample(products: int, groups: int) -> int:
    return min(products, max(LEARNT_FROM, groups))


def load_scikit_learn() -> tuple[Any, Any, type[Warning]]:
    """Return what is needed of scikit-learn; raise ``CatalogueError`` where it is not installed."""
    try:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise CatalogueError(f"Clusters need scikit-learn, which cannot be imported ({error}): {INSTALL}.") from error
    return KMeans, threadpool_limits, ConvergenceWarning


def _blocks(catalogue: Catalogue) -> Iterator[tuple[Positions, Vectors]]:
    for part in split(np.arange(len(catalogue.owners)), QUERIES_PER_BLOCK):
        yield part, product_vectors(catalogue, part)
