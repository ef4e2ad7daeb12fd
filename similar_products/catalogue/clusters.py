"""Groups of products that look alike, each with the product that stands for it, by scikit-learn's k-means.

k-means puts every product into a group, needs a number that a person can choose, and takes 20,000 products of 1280
dimensions into 200 groups in minutes. HDBSCAN, which finds the number itself, compares all pairs and holds all vectors,
and leaves what lies in no dense place without a group: of photos of clothes that is nearly everything.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .neighbours import QUERIES_PER_BLOCK, Catalogue, CatalogueError, Positions, product_vectors

TIE = 1e-6
"""Two as near as that are equal, as rounding goes, and the first stands for the group."""
LEARNT_FROM = 20_000
"""Products that the centres are learnt from, drawn by chance where there are more: 100 MB of 1280 dimensions."""
STARTS = 3
"""Of so many runs from other first centres the tightest is taken."""
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
    similarities: NDArray[np.float32]


def usual_number(products: int) -> int:
    """Return the square root of half the number of products, a rule of thumb, and two at least."""
    return max(round(math.sqrt(products / 2)), 2)


def cluster(
    catalogue: Catalogue, *, groups: int, seed: int, on_progress: Callable[[int], object] | None = None
) -> Clusters:
    """Return the products of ``catalogue`` in ``groups`` groups, or fewer where fewer look different.

    One seed gives the same groups of the same vectors. Of several pictures of a product their mean counts. Beside the
    20,000 products that it learns from it holds two numbers for each. ``on_progress`` is called with the number of
    products just looked at, ``work`` in all. Raises ``CatalogueError`` without scikit-learn and with more groups than
    products.
    """
    k_means, limits, convergence_warning = load_scikit_learn()
    count = len(catalogue.owners)
    if groups > count:
        raise CatalogueError(f"{groups:,} groups are more than the {count:,} products; ask for fewer with --groups.")
    chance = np.random.default_rng(seed)
    learnt_from = np.sort(chance.choice(count, _sample(count, groups), replace=False))
    labels, best = np.empty(count, np.int64), np.full(groups, -np.inf)
    medoids, similarities = np.zeros(groups, np.int64), np.empty(count, np.float32)
    # One thread: several add up in an order of their own each time, and one seed would give other groups each time.
    with limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", convergence_warning)  # fewer pictures than groups: some stay empty
        sample = product_vectors(catalogue, learnt_from)
        model: Any = None
        for start in chance.integers(2**31, size=STARTS):
            tried = k_means(groups, n_init=1, random_state=int(start)).fit(sample)
            if model is None or tried.inertia_ < model.inertia_:
                model = tried
            if on_progress:
                on_progress(len(sample))
        sums = np.zeros((groups, model.cluster_centers_.shape[1]))
        for part, vectors in _blocks(catalogue):
            labels[part] = model.predict(vectors)
            np.add.at(sums, labels[part], vectors)
            if on_progress:
                on_progress(len(part))
    for part, vectors in _blocks(catalogue):
        # Of unit vectors the mean similarity to all of a group is that to their sum, but for its length.
        closeness = np.einsum("ij,ij->i", vectors, sums[labels[part]])
        for position, group, value in zip(part.tolist(), labels[part].tolist(), closeness.tolist(), strict=True):
            if value > best[group] + TIE:
                best[group], medoids[group] = value, position
    stands_for = product_vectors(catalogue, medoids)
    for part, vectors in _blocks(catalogue):
        similarities[part] = np.einsum("ij,ij->i", vectors, stands_for[labels[part]])
    sizes = np.bincount(labels, minlength=groups)
    order = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
    new_label = np.empty(groups, np.int64)
    new_label[order] = np.arange(len(order))
    return Clusters(new_label[labels], medoids[order], similarities)


def work(products: int, groups: int) -> int:
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


def _blocks(catalogue: Catalogue) -> Iterator[tuple[Positions, NDArray[np.float32]]]:
    for start in range(0, len(catalogue.owners), QUERIES_PER_BLOCK):
        part = np.arange(start, min(start + QUERIES_PER_BLOCK, len(catalogue.owners)))
        yield part, product_vectors(catalogue, part)
