"""How good the neighbours of a catalogue are: by labels that it has, or by finding again what is known to be there.

Precision@k is the share of the k nearest that share a label with the product; R@1 that of the nearest alone; mAP the
mean over products of the average precision of the whole ranking. Each product asks once and is left out of its answer.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from django.core.exceptions import FieldError
from django.core.files.storage import Storage
from django.db.models import QuerySet
from numpy.typing import NDArray

from ..encoders import Encoder
from ..pictures.gate import Pixels, load_pixels, load_stored_pixels
from ..query import similar_to
from ..search.placement import get_placement, picture_field
from .copies import random_crop
from .encoding import encode_pictures
from .neighbours import (
    Catalogue,
    CatalogueError,
    Positions,
    Ranking,
    VectorFile,
    nearest,
    nearest_rows,
    nearest_to,
    rankings,
    similarity,
    take_rows,
    with_vectors,
)

CROP_SHARE = 0.6
"""Part of the area of a picture that must find it."""
SEED = 20_190_304
NAMES_PER_QUERY = 1_000
TIE = 1e-6
"""Similarities this near are equal: of two products with one picture either may come first."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Pictures of the products: ``ready`` with a vector of the encoder, ``pending``, ``failed``; and all of them."""

    pictures: int
    ready: int
    pending: int
    failed: int


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """How the neighbours agree with labels.

    ``best_possible_precision`` is what a perfect ranking would have, less than 1 where a label has fewer than k other
    products. ``without_label`` products take no part; those ``alone`` with their label do not ask.
    """

    precision: float
    best_possible_precision: float
    recall_at_1: float
    mean_average_precision: float
    queries: int
    without_label: int
    alone: int


@dataclass(frozen=True, slots=True)
class SelfFigures:
    """The share of queries, "pictures" or "crops", that find their own product first, and among the first k."""

    queries_are: str
    queries: int
    found_first: float
    found: float


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """How many products have another at or above ``similarity``."""

    similarity: float
    products: int
    share: float


@dataclass(frozen=True, slots=True)
class IndexFigures:
    """The share of the truly nearest ``k`` that ``similar_to`` gives, over ``queries`` products."""

    k: int
    queries: int
    recall: float


@dataclass(frozen=True, slots=True)
class Change:
    """The mean share of the k nearest that are others under the second encoder, and of lists with any other."""

    neighbours: float
    lists: float


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of the products of a catalogue, any number to each.

    ``positions``: int64 ``[labelled]``, ascending; ``codes``: int64, the labels of one after the other; ``starts``:
    int64 ``[labelled]``, where each one's begin in ``codes``.
    """

    positions: Positions
    codes: Positions
    starts: Positions

    def shared_with(self, product: int, products: int) -> NDArray[np.bool_]:
        """Return bool ``[products]``: who has a label of the product at this position."""
        place = int(np.searchsorted(self.positions, product))
        own = self.codes[self.starts[place] : self.starts[place + 1] if place + 1 < len(self.starts) else None]
        marks = np.zeros(int(self.codes.max()) + 1, bool)
        marks[own] = True
        shared = np.zeros(products, bool)
        shared[self.positions] = np.logical_or.reduceat(marks[self.codes], self.starts)
        return shared


def count_coverage(products: QuerySet[Any], catalogue: Catalogue, *, using: str) -> Coverage:
    """Return how many pictures of ``products`` the encoder in the settings has dealt with, and how."""
    placement = get_placement(products.model)
    holders: Any = placement.holder._base_manager.using(using)
    pictures = products.order_by().filter(**{f"{placement.product_image}__gt": ""}).values("pk").count()
    failed = holders.failed().filter(**{f"{placement.owner}__in": products.order_by().values("pk")}).count()
    ready = len(catalogue.keys)
    # What lacks its companion row is pending too.
    return Coverage(pictures=pictures, ready=ready, pending=max(pictures - ready - failed, 0), failed=failed)


def read_labels(products: QuerySet[Any], field: str, catalogue: Catalogue) -> Labels:
    """Return what the path ``field`` leads to from each product, in one query.

    Null and empty text are no label. A relation to many rows and an array give several. Raises ``CatalogueError``
    where the path leads nowhere, or no two products share a label.
    """
    label = products.model._meta.label
    try:
        rows = products.order_by().values_list("pk", field)
    except (FieldError, ValueError) as error:  # a ValueError: of what no name has, as a space
        raise CatalogueError(f"{label} cannot be evaluated by {field!r}: {error}") from error
    position_of = {owner: position for position, owner in enumerate(catalogue.owners.tolist())}
    code_of: dict[Any, int] = defaultdict(lambda: len(code_of))
    found: list[tuple[int, int]] = []
    for owner, value in rows.iterator(chunk_size=2_000):
        position = position_of.get(owner)
        if position is not None:
            found += [(position, code_of[one]) for one in _labels_in(value)]
    if not found:
        raise CatalogueError(
            f"No product of {label} with a vector has a value in {field!r}; name a field that they have."
        )
    pairs = np.unique(np.array(found, np.int64), axis=0)
    if len(np.unique(pairs[:, 1])) == len(pairs):
        raise CatalogueError(f"No two products of {label} share a value in {field!r}; name a field that they share.")
    positions, starts = np.unique(pairs[:, 0], return_index=True)
    return Labels(positions, pairs[:, 1], starts.astype(np.int64))


def _labels_in(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    if isinstance(value, list | tuple | set):
        return [one for part in value for one in _labels_in(part)]
    try:
        hash(value)
    except TypeError:  # JSON
        return [repr(value)]
    return [value]


@dataclass(slots=True)
class _LabelSums:
    labels: Labels
    k: int
    products: int
    is_labelled: NDArray[np.bool_]
    precision: float = 0.0
    best: float = 0.0
    first: int = 0
    average_precision: float = 0.0
    queries: int = 0
    alone: int = 0

    def add(self, ranking: Ranking) -> None:
        if not self.is_labelled[ranking.query]:
            return
        shared = self.labels.shared_with(ranking.query, self.products)
        hits = shared[ranking.positions[self.is_labelled[ranking.positions]]]
        places = np.flatnonzero(hits)
        if not len(places):
            self.alone += 1
            return
        k = min(self.k, len(hits))
        self.queries += 1
        self.first += bool(hits[0])
        self.precision += hits[:k].sum() / k
        self.best += min(len(places), k) / k
        self.average_precision += float(np.mean(np.arange(1, len(places) + 1) / (places + 1)))

    def figures(self) -> LabelFigures:
        count = max(self.queries, 1)
        return LabelFigures(
            precision=float(self.precision / count),
            best_possible_precision=self.best / count,
            recall_at_1=self.first / count,
            mean_average_precision=self.average_precision / count,
            queries=self.queries,
            without_label=self.products - len(self.labels.positions),
            alone=self.alone,
        )


@dataclass(frozen=True, slots=True)
class NeighbourFigures:
    """What ``evaluate`` found for one encoder."""

    labels: LabelFigures | None
    near_duplicates: NearDuplicates | None


def evaluate(
    catalogues: Sequence[Catalogue],
    *,
    k: int,
    labels: Labels | None = None,
    thresholds: Sequence[float | None],
    on_progress: Callable[[int], object] | None = None,
) -> tuple[list[NeighbourFigures], Change | None]:
    """Return the figures of each catalogue, and the change from the first to the second where there are two.

    They hold the same products. ``thresholds`` has for each the similarity from which two are near-duplicates.
    Constant memory; ``on_progress`` is called with the number of products just done.
    """
    products = len(catalogues[0].owners)
    is_labelled = np.zeros(products, bool)
    if labels is not None:
        is_labelled[labels.positions] = True
    sums = [_LabelSums(labels, k, products, is_labelled) if labels else None for _ in catalogues]
    near = [0 for _ in catalogues]
    others = changed = 0
    answers = [
        _answers(catalogue, k, whole=labels is not None, on_progress=None if number else on_progress)
        for number, catalogue in enumerate(catalogues)
    ]
    for found in zip(*answers, strict=True):
        for number, ranking in enumerate(found):
            threshold = thresholds[number]
            near[number] += bool(threshold is not None and ranking.similarities[:1].sum() >= threshold - TIE)
            if one := sums[number]:
                one.add(ranking)
        if len(found) > 1:
            new = len(np.setdiff1d(found[1].positions[:k], found[0].positions[:k]))
            others, changed = others + new, changed + bool(new)
    figures = [
        NeighbourFigures(
            labels=one.figures() if one else None,
            near_duplicates=None if threshold is None else NearDuplicates(threshold, count, count / products),
        )
        for one, threshold, count in zip(sums, thresholds, near, strict=True)
    ]
    listed = products * min(k, products - 1)
    return figures, Change(others / listed, changed / products) if len(catalogues) > 1 else None


def _answers(
    catalogue: Catalogue, k: int, *, whole: bool, on_progress: Callable[[int], object] | None
) -> Iterator[Ranking]:
    if whole:
        yield from rankings(catalogue, on_progress=on_progress)
        return
    for block in nearest(catalogue, k=k, on_progress=on_progress):
        for query, positions, similarities in zip(*block, strict=True):
            exist = positions >= 0
            yield Ranking(int(query), positions[exist], similarities[exist])


def find_by_pictures(
    catalogue: Catalogue, *, k: int, on_progress: Callable[[int], object] | None = None
) -> SelfFigures:
    """Return how often a picture finds its product by another of the product's pictures.

    Every picture of a product that has several asks once; each product answers by its best picture.
    """
    lengths = np.diff(catalogue.starts)
    owners = catalogue.owners_of_rows()
    queries = np.flatnonzero(lengths[owners] > 1)
    blocks = nearest_rows(catalogue, k=k, queries=queries, exclude_own=False, per_product=True, on_progress=on_progress)
    places = [
        _place(owners[query], positions, similarities)
        for block in blocks
        for query, positions, similarities in zip(*block, strict=True)
    ]
    return _self_figures("pictures", places)


def find_by_crops(
    catalogue: Catalogue,
    encoder: Encoder,
    model: type[Any],
    *,
    k: int,
    queries: Positions,
    using: str,
    on_progress: Callable[[int], object] | None = None,
) -> SelfFigures:
    """Return how often a crop of a product's picture, encoded now, finds the product.

    ``queries`` are positions of products. Crops are seeded by position, so two encoders see the same ones.
    Pictures and crops that cannot be used do not count. Raises ``CatalogueError`` where none can, and
    ``EncoderError``.
    """
    storage, size = picture_field(get_placement(model).holder).storage, encoder.image_size
    names = picture_names(catalogue, model, catalogue.starts[queries], using)
    owners = catalogue.owners_of_rows()
    asked: list[int] = []
    vectors = VectorFile()
    for (row, _), rows in encode_pictures(names, partial(_load_crop, storage, size), encoder):
        if len(rows) and np.isfinite(rows).all():
            asked.append(int(owners[row]))
            vectors.append(rows)
        if on_progress:
            on_progress(1)
    if not asked:
        raise CatalogueError(
            "Not one crop of a picture could be encoded; embed_products --verify says what is wrong with the files."
        )
    places = [
        _place(asked[query], positions, similarities)
        for block in nearest_to(catalogue, vectors, k=k)
        for query, positions, similarities in zip(*block, strict=True)
    ]
    return _self_figures("crops", places)


def _load_crop(storage: Storage, size: int, item: tuple[int, str]) -> list[Pixels]:
    row, name = item
    # Twice the side, so that a crop has as many pixels as the encoder takes.
    pixels = load_stored_pixels(storage, name, 2 * size)
    return [load_pixels(random_crop(pixels, CROP_SHARE, np.random.default_rng([SEED, row])), size)]


def _place(own: int, positions: Positions, similarities: NDArray[np.float32]) -> int | None:
    """Return how many products answer better than the own one; ``None`` where it is not among them."""
    here = np.flatnonzero(positions == own)
    return int((similarities > similarities[here[0]] + TIE).sum()) if len(here) else None


def _self_figures(queries_are: str, places: Sequence[int | None]) -> SelfFigures:
    count = max(len(places), 1)
    return SelfFigures(
        queries_are=queries_are,
        queries=len(places),
        found_first=sum(place == 0 for place in places) / count,
        found=sum(place is not None for place in places) / count,
    )


def encode_catalogue(
    catalogue: Catalogue,
    encoder: Encoder,
    model: type[Any],
    *,
    using: str,
    on_progress: Callable[[int], object] | None = None,
) -> tuple[Catalogue, Catalogue]:
    """Return the catalogue twice, with its own vectors and with those of ``encoder``, computed now and never stored.

    What the encoder cannot use is left out of both. Raises ``CatalogueError`` where fewer than two products remain.
    """
    storage, size = picture_field(get_placement(model).holder).storage, encoder.image_size
    vectors, kept = VectorFile(), []
    names = picture_names(catalogue, model, np.arange(len(catalogue.keys)), using)
    for (row, _), found in encode_pictures(names, lambda item: [load_stored_pixels(storage, item[1], size)], encoder):
        if len(found) and np.isfinite(found).all():
            kept.append(row)
            vectors.append(found)
        if on_progress:
            on_progress(1)
    rows = np.array(kept, np.int64)
    second = with_vectors(catalogue, rows, vectors)
    if len(second.owners) < 2:
        raise CatalogueError(
            f"The encoder {encoder.name} could use the pictures of {len(second.owners)} products; two are needed."
        )
    return (catalogue if len(rows) == len(catalogue.keys) else take_rows(catalogue, rows)), second


def picture_names(catalogue: Catalogue, model: type[Any], rows: Positions, using: str) -> Iterator[tuple[int, str]]:
    """Yield the rows with the names of their pictures, asked for page by page; what is gone meanwhile is left out."""
    placement = get_placement(model)
    for start in range(0, len(rows), NAMES_PER_QUERY):
        page = rows[start : start + NAMES_PER_QUERY]
        keys = catalogue.keys[page].tolist()
        holders = placement.holder._base_manager.using(using).filter(pk__in=keys)
        names = dict(holders.values_list("pk", placement.holder_image))
        yield from ((int(row), names[key]) for row, key in zip(page, keys, strict=True) if names.get(key))


def measure_index(
    products: QuerySet[Any],
    catalogue: Catalogue,
    *,
    k: int,
    queries: Positions,
    on_progress: Callable[[int], object] | None = None,
) -> IndexFigures:
    """Return which share of the k truly nearest ``similar_to`` gives for the products at the positions ``queries``.

    What is as near as the k-th counts as found, so that one of two equal pictures is as good as the other.
    """
    wanted = found = asked = 0
    owners = catalogue.owners
    targets = {row.pk: row for row in products.filter(pk__in=owners[queries].tolist())}
    for block in nearest(catalogue, k=k, queries=queries):
        for query, positions, similarities in zip(*block, strict=True):
            target = targets.get(owners[query])
            exist = positions >= 0
            if target is None or not exist.any():
                continue
            truly, least = owners[positions[exist]].tolist(), similarities[exist].min()
            for row in similar_to(products, target)[:k]:
                place = np.flatnonzero(owners == row.pk)
                is_near = row.pk in truly or (
                    len(place) > 0 and similarity(catalogue, int(query), int(place[0])) >= least - TIE
                )
                found += is_near
            wanted, asked = wanted + len(truly), asked + 1
            if on_progress:
                on_progress(1)
    return IndexFigures(k=k, queries=asked, recall=found / wanted if wanted else 1.0)


def sample_of(count: int, size: int, *, seed: int = SEED) -> Positions:
    """Return ``size`` of the positions below ``count``, or all of them: seeded, ascending."""
    if size >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, size, replace=False))
