"""More pictures, better matches: the precision of the neighbours in ever larger parts of a catalogue, and its picture.

The picture is an SVG from a template: a plotting library would be 30 MB of dependencies for one curve.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from django.template.loader import render_to_string
from django.utils.translation import gettext
from numpy.typing import NDArray

from .evaluation import score
from .labels import Labels
from .neighbours import (
    Catalogue,
    CatalogueError,
    Positions,
    Progress,
    ignore_progress,
    nearest,
    single,
    take_rows,
)

SMALLEST = 100
MIN_PRODUCTS = 20


@dataclass(frozen=True, slots=True)
class Growth:
    """What was found in parts of ``products`` products: means over the draws, and their spread.

    ``precision`` is precision@k, ``spread`` its standard deviation over the draws, ``best_possible`` what a perfect
    ranking would have, ``recall_at_1`` precision@1; ``queries`` is the number of queries in all draws together.
    """

    products: int
    draws: int
    precision: float
    spread: float
    best_possible: float
    recall_at_1: float
    queries: int


def default_sizes(products: int) -> list[int]:
    """Return 100, 200, 400 and so on, and last the number of products; below 200 they begin lower."""
    size = SMALLEST
    while size * 2 > products:
        size //= 2
    sizes = []
    while size < products:
        sizes.append(size)
        size *= 2
    return [*sizes, products]


def measure_growth(
    catalogue: Catalogue,
    labels: Labels,
    *,
    sizes: Sequence[int],
    draws: int,
    k: int,
    sample: int,
    seed: int,
    on_progress: Progress = ignore_progress,
) -> list[Growth]:
    """Return what the neighbours among ``sizes`` labelled products are like, each size drawn ``draws`` times.

    A draw is one random order of the products; each size takes that many from its beginning, so the parts of a draw
    contain each other. The queries are the products of a part, at most ``sample`` of them, as in ``evaluate`` without
    those that are alone with their labels. The whole catalogue is drawn once where all its products are queries.
    ``on_progress`` is called with the number of queries just answered; ``count_queries`` says how many there will be.
    Raises ``CatalogueError`` where no query of a part shares a label with another product.
    """
    random = np.random.default_rng(seed)
    scores: dict[int, list[NDArray[np.float64]]] = {size: [] for size in sizes}
    for draw in range(draws):
        order = random.permutation(len(labels.positions))
        for size in sizes:
            if not _is_repeated(draw, size, len(order), sample):
                chosen = np.sort(order[:size])
                asking = np.sort(np.searchsorted(chosen, order[: min(size, sample)]))
                scores[size].append(_scores(*_part(catalogue, labels, chosen), asking, k, on_progress))
    return [_summary(size, of_draws) for size, of_draws in scores.items()]


def count_queries(products: int, *, sizes: Sequence[int], draws: int, sample: int) -> int:
    """Return how many queries ``measure_growth`` makes among ``products`` labelled products."""
    return sum(
        min(size, sample) for draw in range(draws) for size in sizes if not _is_repeated(draw, size, products, sample)
    )


def _is_repeated(draw: int, size: int, products: int, sample: int) -> bool:
    return draw > 0 and size == products <= sample


def _part(catalogue: Catalogue, labels: Labels, chosen: Positions) -> tuple[Catalogue, Labels]:
    """Return catalogue and labels of the labelled products at the ascending places ``chosen`` of ``labels``."""
    is_in = np.zeros(len(catalogue.owners), bool)
    is_in[labels.positions[chosen]] = True
    part = take_rows(catalogue, np.flatnonzero(is_in[catalogue.owners_of_rows()]))
    codes = [labels.codes[labels.starts[place] : labels.starts[place + 1]] for place in chosen]
    starts = np.cumsum([0, *map(len, codes)])
    return part, Labels(np.arange(len(chosen)), np.concatenate(codes), starts)


def _scores(
    catalogue: Catalogue, labels: Labels, queries: Positions, k: int, on_progress: Progress
) -> NDArray[np.float64]:
    """Return ``score`` of each query that is not alone with its labels: ``[n, 4]``."""
    products = len(catalogue.owners)
    found = [
        one
        for ranking in single(nearest(catalogue, k=min(k, products - 1), queries=queries, on_progress=on_progress))
        if (one := score(labels, ranking, k=k, products=products)) is not None
    ]
    if not found:
        raise CatalogueError(
            f"In a part of {products:,} products no query shares a label with another product; choose larger --sizes."
        )
    return np.array(found)


def _summary(size: int, scores: Sequence[NDArray[np.float64]]) -> Growth:
    means = np.array([of_draw.mean(axis=0) for of_draw in scores])
    precision, best_possible, recall_at_1, _ = means.mean(axis=0).tolist()
    return Growth(
        products=size,
        draws=len(scores),
        precision=precision,
        spread=float(means[:, 0].std()),
        best_possible=best_possible,
        recall_at_1=recall_at_1,
        queries=sum(map(len, scores)),
    )


WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 56, WIDTH - 32, 60, HEIGHT - 56
"""Of the picture, and the edges of the curve's field in it."""
DIGIT = 8
"""Width of a digit, and a little more."""


def draw_growth(growth: Sequence[Growth], *, k: int, title: str) -> str:
    """Return the curve of precision@k over the number of products as SVG, on a logarithmic axis, from 0 to 1."""
    low, high = math.log(growth[0].products), math.log(growth[-1].products)

    def y(share: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * min(max(share, 0.0), 1.0), 1)

    points = []
    free = math.inf
    for one in reversed(growth):  # the last is the whole catalogue, whose number must be there
        x = LEFT + (RIGHT - LEFT) * (math.log(one.products) - low) / (high - low)
        number = f"{one.products:,}"
        half = len(number) * DIGIT / 2
        number, free = (number, x - half) if x + half + 6 < free else ("", free)
        point = {"x": round(x, 1), "y": y(one.precision), "best": y(one.best_possible), "number": number}
        band = {"high": y(one.precision + one.spread), "low": y(one.precision - one.spread)}
        points.append({**point, **band, "precision": f"{one.precision:.3f}"})
    precision = gettext("precision@%(k)d") % {"k": k}
    context = {
        "title": title,
        "width": WIDTH,
        "height": HEIGHT,
        "lines": [(f"{tenth / 10:.1f}", y(tenth / 10), y(tenth / 10) + 4) for tenth in range(0, 11, 2)],
        "points": points[::-1],
        "key": gettext("%(precision)s, mean and standard deviation over the draws") % {"precision": precision},
        "best_possible": gettext("best possible with these labels"),
        "axis": gettext("products in the catalogue"),
    }
    return render_to_string("similar_products/growth.html", context)
