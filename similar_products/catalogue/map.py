"""A catalogue as a map: alike products beside each other, by t-SNE; as places on a grid and as a page of HTML."""

import base64
import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from django.template.loader import render_to_string
from django.utils.translation import gettext, ngettext
from numpy.typing import NDArray

from .neighbours import CatalogueError
from .sheets import Legend, plain

COLORS = (
    "#f3c300",
    "#875692",
    "#f38400",
    "#a1caf1",
    "#be0032",
    "#c2b280",
    "#008856",
    "#e68fac",
    "#0067a5",
    "#f99379",
    "#8db600",
    "#654522",
)
"""The twelve of Kelly's 22 colours of maximum contrast (1965) that differ most, in his order, without white and black;
any two of them and the grey are 31 apart in CIE L*a*b*, where 2.3 can just be seen. His order puts first what people
who do not tell red from green can tell apart."""
REST_COLOR = "#8a8a8a"

DIMENSIONS = 50
"""What t-SNE is given: the vectors' principal components, as scikit-learn recommends, four times as fast."""
PERPLEXITY = 30.0
FILLED = 0.5
"""Share of the places of the grid that are taken: gaps between groups remain visible."""
ASPECT = 4 / 3

INSTALL = "pip install 'django-similar-products[catalogue]'"


def lay_out(vectors: NDArray[np.float32], *, seed: int) -> NDArray[np.float64]:
    """Return where t-SNE puts each of the unit vectors ``[n, dimensions]``: float64 ``[n, 2]``.

    It takes 10 s for 2,000 vectors on one core, and about in proportion for more. Raises ``CatalogueError`` without
    scikit-learn.
    """
    try:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise CatalogueError(f"A map needs scikit-learn, which cannot be imported ({error}): {INSTALL}.") from error
    count = len(vectors)
    if count < 3 or np.ptp(vectors, axis=0).max() < 1e-6:  # too few, or all alike: t-SNE has nothing to work with
        return np.column_stack([np.arange(count), np.zeros(count)]).astype(np.float64)
    # One thread: on two cores with other work to do, 2,000 products took 118 s with two threads and 10 with one.
    with threadpool_limits(limits=1):
        components = min(DIMENSIONS, count, vectors.shape[1])
        reduced = PCA(components, random_state=seed, svd_solver="randomized").fit_transform(vectors)
        perplexity = min(PERPLEXITY, (count - 1) / 3)
        # Of unit vectors the squared Euclidean distance is twice the cosine distance.
        found = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    return np.asarray(found, np.float64)


def snap_to_grid(points: NDArray[np.float64]) -> tuple[NDArray[np.int64], tuple[int, int]]:
    """Return the free place of a grid nearest to each point, int64 ``[n, 2]``, and its columns and rows.

    No two share a place. Points nearer to the middle are placed first, so that crowded ones move outwards.
    """
    count = len(points)
    rows = max(round(math.sqrt(count / FILLED / ASPECT)), 1)
    columns = math.ceil(count / FILLED / rows)
    lowest, extent = points.min(axis=0), np.ptp(points, axis=0)
    shape = np.array([columns, rows])
    scaled = (points - lowest) / np.where(extent > 0, extent, 1) * (shape - 1)
    scaled[:, extent <= 0] = (shape[extent <= 0] - 1) / 2
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2).astype(np.float64)
    places = np.empty((count, 2), np.int64)
    for number in np.argsort(((scaled - (shape - 1) / 2) ** 2).sum(axis=1), kind="stable"):
        cell = int(((grid - scaled[number]) ** 2).sum(axis=1).argmin())
        places[number] = grid[cell]
        grid[cell] = np.inf
    used = places.min(axis=0)
    places -= used  # empty columns and rows at the edges are left out
    return places, (int(places[:, 0].max()) + 1, int(places[:, 1].max()) + 1)


def color_groups(labels: Sequence[str]) -> tuple[list[int], list[Legend]]:
    """Return the number of the group of each label, and the groups: the commonest in colours, the rest in grey.

    Products without a label, '', are among the rest.
    """
    counts = Counter(label for label in labels if label)
    commonest = sorted(counts, key=lambda label: (-counts[label], label))[: len(COLORS)]
    group_of = {label: number for number, label in enumerate(commonest)}
    groups = [group_of.get(label, len(commonest)) for label in labels]
    legend = [Legend(plain(label), COLORS[number], counts[label]) for number, label in enumerate(commonest)]
    if rest := groups.count(len(commonest)):
        # Several names, or none: the page says which it is for each product.
        others = len(counts) - len(commonest)
        text = (
            ngettext("%(number)d other", "%(number)d others", others) % {"number": others}
            if others
            else gettext("no value")
        )
        legend.append(Legend(text, REST_COLOR, rest))
    return groups, legend


class Point(NamedTuple):
    """A product on the page: its pictures are WebP files."""

    name: str
    label: str
    group: int
    column: int
    row: int
    small: bytes
    large: bytes


def render_map(title: str, points: Sequence[Point], shape: tuple[int, int], legend: Sequence[Legend]) -> str:
    """Return the page as HTML that holds all it shows; it requests nothing, and its policy forbids that."""
    products = [
        {
            **point._asdict(),
            "name": plain(point.name),
            "label": plain(point.label),
            "small": base64.b64encode(point.small).decode(),
            "large": base64.b64encode(point.large).decode(),
        }
        for point in points
    ]
    columns, rows = shape
    data = {"columns": columns, "rows": rows, "products": products, "colors": [entry.color for entry in legend]}
    context = {"title": title, "data": data, "legend": legend}
    return render_to_string("similar_products/map.html", context)
