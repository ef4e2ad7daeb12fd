"""More pictures, better matches: the precision of the neighbours in ever larger parts of a catalogue, and its picture.

The picture is SVG written here: one curve with its spread is a few lines, and a plotting library 30 MB of dependencies.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from django.utils.html import escape
from django.utils.translation import gettext

from .evaluation import Labels
from .neighbours import Catalogue, CatalogueError, Positions, nearest, take_rows

SMALLEST = 100
LEAST_PRODUCTS = 20


@dataclass(frozen=True, slots=True)
class Growth:
    """What was found in parts of ``products`` products: means over the draws, and how far these are apart.

    ``precision`` is precision@k, ``spread`` its standard deviation over the draws, ``best_possible`` what a perfect
    ranking would have, ``recall_at_1`` precision@1; ``queries`` is how many products asked in all draws together.
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
    on_progress: Callable[[int], object] | None = None,
) -> list[Growth]:
    """Return what the neighbours among ``sizes`` labelled products are like, each size drawn ``draws`` times.

    A draw is one random order of the products; each size takes that many from its beginning, so the parts of a draw
    lie in each other. In each part its products ask, ``sample`` of them at most, as in ``evaluate``: those that are
    alone with their labels do not. The whole catalogue is taken once where all of it asks. ``on_progress`` is called
    with the number of queries just answered; ``count_queries`` says how many there will be. Raises ``CatalogueError``
    where nobody in a part has anybody to find.
    """
    random = np.random.default_rng(seed)
    figures: dict[int, list[tuple[int, float, float, float]]] = {size: [] for size in sizes}
    for draw in range(draws):
        order = random.permutation(len(labels.positions))
        for size in sizes:
            if not _is_repeated(draw, size, len(order), sample):
                asking = np.searchsorted(np.sort(order[:size]), order[: min(size, sample)])
                part = _part(catalogue, labels, np.sort(order[:size]))
                figures[size].append(_measure(*part, np.sort(asking), k, on_progress))
    return [_summary(size, found) for size, found in figures.items()]


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
    ends = np.append(labels.starts[1:], len(labels.codes))
    codes = [labels.codes[labels.starts[place] : ends[place]] for place in chosen]
    lengths = np.array([len(one) for one in codes])
    return part, Labels(np.arange(len(chosen)), np.concatenate(codes), np.cumsum(lengths) - lengths)


def _measure(
    catalogue: Catalogue, labels: Labels, queries: Positions, k: int, on_progress: Callable[[int], object] | None
) -> tuple[int, float, float, float]:
    """Return how many asked, and the means of precision@k, of the best possible one, and of precision@1."""
    products = len(catalogue.owners)
    counted = min(k, products - 1)
    found: list[tuple[float, float, float]] = []
    for block in nearest(catalogue, k=counted, queries=queries, on_progress=on_progress):
        for query, positions, _ in zip(*block, strict=True):
            shared = labels.shared_with(int(query), products)
            others = int(shared.sum()) - 1
            if others:
                hits = shared[positions]
                found.append((float(hits.mean()), min(others, counted) / counted, float(hits[0])))
    if not found:
        raise CatalogueError(
            f"In a part of {products:,} products no two that were asked share a label; take larger --sizes."
        )
    precision, best, first = np.mean(found, axis=0).tolist()
    return len(found), precision, best, first


def _summary(size: int, found: Sequence[tuple[int, float, float, float]]) -> Growth:
    queries, precisions, best, first = zip(*found, strict=True)
    return Growth(
        products=size,
        draws=len(found),
        precision=float(np.mean(precisions)),
        spread=float(np.std(precisions)),
        best_possible=float(np.mean(best)),
        recall_at_1=float(np.mean(first)),
        queries=sum(queries),
    )


WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 56, 32, 60, 56
CURVE, IDEAL, GRID, INK = "#0067a5", "#8a8a8a", "#dddddd", "#333333"


def draw_growth(growth: Sequence[Growth], *, k: int, title: str) -> str:
    """Return the curve of precision@k over the number of products as SVG, on a logarithmic axis, from 0 to 1."""
    low, high = math.log(growth[0].products), math.log(growth[-1].products)

    def x(products: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log(products) - low) / (high - low)

    def y(share: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(max(share, 0.0), 1.0)

    def path(points: Sequence[tuple[int, float]]) -> str:
        return " ".join(f"{x(products):.1f},{y(share):.1f}" for products, share in points)

    def text(at: float, down: float, words: str, anchor: str = "middle", **attributes: str) -> str:
        given = "".join(f' {name.replace("_", "-")}="{escape(value)}"' for name, value in attributes.items())
        return f'<text x="{at:.1f}" y="{down:.1f}" text-anchor="{anchor}"{given}>{escape(words)}</text>'

    precision = gettext("precision@%(k)d") % {"k": k}
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}" role="img" aria-label="{escape(title)}">'
    )
    parts = [
        head,
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        text(LEFT, 24, title, "start", font_size="15"),
    ]
    for tenth in range(0, 11, 2):
        parts.append(f'<path d="M{LEFT} {y(tenth / 10):.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>')
        parts.append(text(LEFT - 8, y(tenth / 10) + 4, f"{tenth / 10:.1f}", "end"))
    written = math.inf
    for one in reversed(growth):  # the last is the whole catalogue, which must be there
        parts.append(f'<path d="M{x(one.products):.1f} {y(0):.1f}v5" stroke="{INK}"/>')
        words = f"{one.products:,}"
        if x(one.products) + 4 * len(words) + 6 < written:
            parts.append(text(x(one.products), y(0) + 20, words))
            written = x(one.products) - 4 * len(words)
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, gettext("products in the catalogue")))
    above = [(one.products, one.precision + one.spread) for one in growth]
    below = [(one.products, one.precision - one.spread) for one in reversed(growth)]
    middle = [(one.products, one.precision) for one in growth]
    best = [(one.products, one.best_possible) for one in growth]
    parts += [
        f'<polygon points="{path([*above, *below])}" fill="{CURVE}" fill-opacity="0.2"/>',
        f'<polyline points="{path(best)}" fill="none" stroke="{IDEAL}" stroke-width="1.5" stroke-dasharray="5 4"/>',
        f'<polyline points="{path(middle)}" fill="none" stroke="{CURVE}" stroke-width="2.5"/>',
    ]
    for one in growth:
        parts.append(f'<circle cx="{x(one.products):.1f}" cy="{y(one.precision):.1f}" r="4" fill="{CURVE}"/>')
        parts.append(text(x(one.products), y(one.precision + one.spread) - 10, f"{one.precision:.3f}", fill=CURVE))
    key = gettext("%(precision)s, mean and standard deviation over the draws") % {"precision": precision}
    parts += [
        f'<path d="M{LEFT} 40h24" stroke="{CURVE}" stroke-width="2.5"/>',
        text(LEFT + 30, 44, key, "start"),
        f'<path d="M{WIDTH - 240} 40h24" stroke="{IDEAL}" stroke-width="1.5" stroke-dasharray="5 4"/>',
        text(WIDTH - 210, 44, gettext("best possible with these labels"), "start"),
    ]
    return "\n".join([*parts, "</svg>", ""])
