"""The quality of a catalogue's neighbours: by the labels of its products, or by finding a known product again.

Precision@k is the share of the k nearest that share a label with the product; R@1 that of the nearest alone; mAP the
mean over products of the average precision of the whole ranking. Each product is a query once, left out of
its own result.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from django.db.models import Model, QuerySet
from numpy.typing import NDArray

from ..embedding.states import count_pictures, pictures_with_states
from ..encoders import Encoder, get_encoder
from ..pictures.gate import Pixels
from ..query import similar_to
from .copies import random_crop
from .labels import Labels
from .neighbours import (
    Catalogue,
    CatalogueError,
    Positions,
    Progress,
    Ranking,
    VectorFile,
    ignore_progress,
    nearest,
    nearest_rows,
    nearest_to,
    rankings,
    similarity,
    single,
    take_rows,
    with_vectors,
)
from .vectors import encode_rows

CROP_SHARE = 0.6
"""Share of the area of a picture in the crop that must find it."""
SEED = 20_190_304
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
    products. ``without_label`` products are left out; those ``alone`` with their label are no queries.
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


def count_coverage(products: QuerySet[Model], *, using: str) -> Coverage:
    """Return how many pictures of ``products`` the encoder in the settings has dealt with, and how."""
    pictures = pictures_with_states(products.model, get_encoder().name).using(using)
    counts = count_pictures(pictures.filter(pk__in=products.order_by().values("pk")))
    ready, pending, failed = counts["ready"], counts["pending"], counts["failed"]
    return Coverage(pictures=ready + pending + failed, ready=ready, pending=pending, failed=failed)


def score(labels: Labels, ranking: Ranking, *, k: int, products: int) -> NDArray[np.float64] | None:
    """Return the precision@k of a labelled product, the best possible one, precision@1 and the average precision.

    ``ranking`` holds labelled products. ``None`` where the product is alone with its labels.
    """
    shared = labels.shared_with(ranking.query, products)
    others = int(shared.sum()) - 1
    if not others:
        return None
    hits = shared[ranking.positions]
    k = min(k, len(hits))
    places = np.flatnonzero(hits)
    average_precision = (np.arange(1, len(places) + 1) / (places + 1)).sum() / others
    return np.array([hits[:k].sum() / k, min(others, k) / k, hits[0], average_precision])


@dataclass(frozen=True, slots=True)
class NeighbourFigures:
    """What ``evaluate`` found for one encoder."""

    labels: LabelFigures | None
    near_duplicates: NearDuplicates | None


@dataclass(slots=True)
class _Tally:
    """What has been counted of the answers of one catalogue."""

    labels: Labels | None
    is_labelled: NDArray[np.bool_]
    k: int
    threshold: float | None
    scores: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    queries: int = 0
    alone: int = 0
    near_duplicates: int = 0

    def add(self, ranking: Ranking) -> None:
        if self.threshold is not None:
            self.near_duplicates += bool(ranking.similarities[:1].sum() >= self.threshold - TIE)
        if self.labels is None or not self.is_labelled[ranking.query]:
            return
        positions = ranking.positions[self.is_labelled[ranking.positions]]
        found = score(self.labels, ranking._replace(positions=positions), k=self.k, products=len(self.is_labelled))
        if found is None:
            self.alone += 1
        else:
            self.queries += 1
            self.scores += found

    def figures(self) -> NeighbourFigures:
        products = len(self.is_labelled)
        labels = near_duplicates = None
        if self.labels is not None:
            without_label = products - len(self.labels.positions)
            precision, best, first, average = (self.scores / max(self.queries, 1)).tolist()
            labels = LabelFigures(precision, best, first, average, self.queries, without_label, self.alone)
        if self.threshold is not None:
            near_duplicates = NearDuplicates(self.threshold, self.near_duplicates, self.near_duplicates / products)
        return NeighbourFigures(labels, near_duplicates)


def evaluate(
    catalogues: Sequence[Catalogue],
    *,
    k: int,
    labels: Labels | None = None,
    thresholds: Sequence[float | None],
    on_progress: Progress = ignore_progress,
) -> tuple[list[NeighbourFigures], Change | None]:
    """Return the figures of each catalogue, and the change from the first to the second where there are two.

    They hold the same products. ``thresholds`` has for each the similarity from which two are near-duplicates.
    Constant memory; ``on_progress`` is called with the number of products just done.
    """
    products = len(catalogues[0].owners)
    is_labelled = np.zeros(products, bool)
    if labels is not None:
        is_labelled[labels.positions] = True
    tallies = [_Tally(labels, is_labelled, k, threshold) for threshold in thresholds]
    others = changed = 0
    answers: list[Iterator[Ranking]] = []
    for catalogue in catalogues:
        report = ignore_progress if answers else on_progress
        found = (
            rankings(catalogue, on_progress=report) if labels else single(nearest(catalogue, k=k, on_progress=report))
        )
        answers.append(found)
    for of_product in zip(*answers, strict=True):
        for tally, ranking in zip(tallies, of_product, strict=True):
            tally.add(ranking)
        if len(of_product) > 1:
            before, after = (ranking.positions[:k] for ranking in of_product)
            new = len(np.setdiff1d(after, before))
            others, changed = others + new, changed + bool(new)
    listed = products * min(k, products - 1)
    change = Change(others / listed, changed / products) if len(catalogues) > 1 else None
    return [tally.figures() for tally in tallies], change


def find_by_pictures(catalogue: Catalogue, *, k: int, on_progress: Progress = ignore_progress) -> SelfFigures:
    """Return how often a picture finds its product by another of the product's pictures.

    Every picture of a product that has several is a query once; each product is found by its best picture.
    """
    owners = catalogue.owners_of_rows()
    queries = np.flatnonzero(np.diff(catalogue.starts)[owners] > 1)
    blocks = nearest_rows(catalogue, k=k, queries=queries, exclude_own=False, per_product=True, on_progress=on_progress)
    return _self_figures("pictures", [_place(owners[found.query], found) for found in single(blocks)])


def find_by_crops(
    catalogue: Catalogue,
    encoder: Encoder,
    model: type[Model],
    *,
    k: int,
    queries: Positions,
    using: str,
    on_progress: Progress = ignore_progress,
) -> SelfFigures:
    """Return how often a crop of a product's picture, encoded now, finds the product.

    ``queries`` are positions of products. Crops are seeded by position, so two encoders see the same ones.
    Pictures and crops that cannot be used do not count. Raises ``CatalogueError`` where none can, and
    ``EncoderError``.
    """
    owners = catalogue.owners_of_rows()
    asked: list[int] = []
    vectors = VectorFile()
    rows = catalogue.starts[queries]
    for row, found in encode_rows(catalogue, encoder, model, rows, using, alter=_crop, on_progress=on_progress):
        if len(found):
            asked.append(int(owners[row]))
            vectors.append(found)
    if not asked:
        raise CatalogueError(
            "No crop of a picture could be encoded; embed_products --verify says what is wrong with the files."
        )
    answers = single(nearest_to(catalogue, vectors, k=k))
    return _self_figures("crops", [_place(asked[answer.query], answer) for answer in answers])


def _crop(row: int, pixels: Pixels) -> list[bytes]:
    return [random_crop(pixels, CROP_SHARE, np.random.default_rng([SEED, row]))]


def _place(own: int, found: Ranking) -> int | None:
    """Return how many products are nearer than the query's own; ``None`` where that is not among them."""
    here = np.flatnonzero(found.positions == own)
    return int((found.similarities > found.similarities[here[0]] + TIE).sum()) if len(here) else None


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
    model: type[Model],
    *,
    using: str,
    on_progress: Progress = ignore_progress,
) -> tuple[Catalogue, Catalogue]:
    """Return the catalogue twice, with its own vectors and with those of ``encoder``, computed now and never stored.

    What the encoder cannot use is left out of both. Raises ``CatalogueError`` where fewer than two products remain.
    """
    vectors, kept = VectorFile(), []
    every_row = np.arange(len(catalogue.keys))
    for row, found in encode_rows(catalogue, encoder, model, every_row, using, on_progress=on_progress):
        if len(found):
            kept.append(row)
            vectors.append(found)
    rows = np.array(kept, np.int64)
    second = with_vectors(catalogue, rows, vectors)
    if len(second.owners) < 2:
        raise CatalogueError(
            f"The encoder {encoder.name} could use the pictures of {len(second.owners)} products; two are needed."
        )
    return take_rows(catalogue, rows), second


def measure_index(
    products: QuerySet[Model],
    catalogue: Catalogue,
    *,
    k: int,
    queries: Positions,
    on_progress: Progress = ignore_progress,
) -> IndexFigures:
    """Return which share of the k truly nearest ``similar_to`` gives for the products at the positions ``queries``.

    What is as near as the k-th counts as found, so that one of two equal pictures is as good as the other.
    """
    wanted = found = asked = 0
    owners = catalogue.owners
    position_of = {owner: position for position, owner in enumerate(owners.tolist())}
    targets = {row.pk: row for row in products.filter(pk__in=owners[queries].tolist())}
    for answer in single(nearest(catalogue, k=k, queries=queries)):
        target = targets.get(owners[answer.query])
        if target is None or not len(answer.positions):
            continue
        least = answer.similarities.min() - TIE
        for row in similar_to(products, target)[:k]:
            place = position_of.get(row.pk)
            found += place is not None and (
                place in answer.positions or similarity(catalogue, answer.query, place) >= least
            )
        wanted, asked = wanted + len(answer.positions), asked + 1
        on_progress(1)
    return IndexFigures(k=k, queries=asked, recall=found / wanted if wanted else 1.0)


def sample_of(count: int, size: int, *, seed: int = SEED) -> Positions:
    """Return ``size`` of the positions below ``count``, or all of them: seeded, ascending."""
    if size >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, size, replace=False))
