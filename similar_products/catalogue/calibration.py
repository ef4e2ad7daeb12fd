"""The bands of an encoder, measured on a catalogue.

near-duplicate: from the 5th percentile of the similarity between a picture and copies of it (recompressed, halved,
trimmed, brightened), so that 95 % of such copies are found. very similar: from the median similarity of a product to
the nearest other that is no near-duplicate. similar: from the 99th percentile of pairs of products drawn at random.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from django.core.files.storage import Storage
from numpy.typing import NDArray

from ..encoders import Encoder
from ..pictures.gate import ImageRejected, Pixels, load_pixels, load_stored_pixels
from ..search.bands import Bands
from ..search.placement import get_placement, picture_field
from .copies import mild_copies
from .encoding import encode_pictures
from .evaluation import picture_names
from .neighbours import Catalogue, CatalogueError, Positions, nearest

FEWEST_PRODUCTS = 30
"""Below it the percentiles are single products."""
COPIES_FOUND = 95
RANDOM_PAIRS_BELOW = 99
CONSIDERED = 100
"""Neighbours among which the nearest that is no near-duplicate is looked for."""
MOST_PAIRED = 2_000
"""Products whose pairs are drawn: two million pairs, 16 MB."""
STEP = 0.01
"""The least distance of two bands."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Bands and what they stand on: numbers of copies, of products with a neighbour, and of random pairs.

    ``notes`` says in a sentence each where the catalogue's own figures had to be moved apart.
    """

    bands: Bands
    copies: int
    neighbours: int
    pairs: int
    notes: list[str]


def calibrate(
    catalogue: Catalogue,
    encoder: Encoder,
    model: type[Any],
    *,
    queries: Positions,
    using: str,
    on_progress: Callable[[int], object] | None = None,
) -> Calibration:
    """Return the bands of ``encoder`` on the products at the positions ``queries``.

    Their neighbours are sought in the whole catalogue. ``on_progress`` is called with the number of products whose
    copies were just encoded. Raises ``CatalogueError`` where the catalogue is too small or its pictures cannot be
    read, and ``EncoderError``.
    """
    if len(queries) < FEWEST_PRODUCTS:
        raise CatalogueError(
            f"{model._meta.label} has {len(queries)} products with a vector of the encoder {encoder.name} to calibrate "
            f"on, and {FEWEST_PRODUCTS} are needed; run embed_products, or raise --sample."
        )
    copies = _of_copies(catalogue, encoder, model, queries, using, on_progress)
    if len(copies) < FEWEST_PRODUCTS:
        raise CatalogueError(
            "The pictures of the catalogue can no longer be read; embed_products --verify says what is wrong with them."
        )
    near_duplicate = float(np.percentile(copies, 100 - COPIES_FOUND))
    neighbours = _of_neighbours(catalogue, queries, near_duplicate)
    pairs = _of_random_pairs(catalogue, queries)
    similar = float(np.percentile(pairs, RANDOM_PAIRS_BELOW))
    very_similar = float(np.median(neighbours)) if len(neighbours) else (near_duplicate + similar) / 2
    bands, notes = apart(near_duplicate, very_similar, similar)
    if not len(neighbours):
        notes.append("Every product has nothing but near-duplicates; very similar is halfway to similar.")
    return Calibration(bands, len(copies), len(neighbours), len(pairs), notes)


def apart(near_duplicate: float, very_similar: float, similar: float) -> tuple[Bands, list[str]]:
    """Return bands of three decimals in 0..1 that descend, and a sentence for each that had to give way."""
    notes = []
    near = round(min(max(near_duplicate, 3 * STEP), 1.0), 3)
    very = round(min(max(very_similar, 2 * STEP), near - STEP), 3)
    last = round(min(max(similar, STEP), very - STEP), 3)
    for name, wanted, given in (
        ("near-duplicate", near_duplicate, near),
        ("very similar", very_similar, very),
        ("similar", similar, last),
    ):
        if abs(wanted - given) > 0.001:
            notes.append(
                f"{name} came to {wanted:.3f} and was set to {given:.3f}, so that the bands descend from 1 to 0; the "
                "catalogue is too small or its products are too much alike for this figure."
            )
    return Bands(near, very, last), notes


def _of_copies(
    catalogue: Catalogue,
    encoder: Encoder,
    model: type[Any],
    queries: Positions,
    using: str,
    on_progress: Callable[[int], object] | None,
) -> NDArray[np.float32]:
    storage, size = picture_field(get_placement(model).holder).storage, encoder.image_size
    names = picture_names(catalogue, model, catalogue.starts[queries], using)
    found = []
    for (row, _), vectors in encode_pictures(names, partial(_load_copies, storage, size), encoder):
        if len(vectors):
            similarities = vectors @ catalogue.vectors[row : row + 1][0]
            found.append(similarities[np.isfinite(similarities)])
        if on_progress:
            on_progress(1)
    return np.concatenate(found) if found else np.empty(0, np.float32)


def _load_copies(storage: Storage, size: int, item: tuple[int, str]) -> list[Pixels]:
    pixels = load_stored_pixels(storage, item[1], 2 * size)
    copies = []
    for data in mild_copies(pixels).values():
        try:
            copies.append(load_pixels(data, size))
        except ImageRejected:  # what was left of it after the trimming is blank
            continue
    return copies


def _of_neighbours(catalogue: Catalogue, queries: Positions, near_duplicate: float) -> NDArray[np.float32]:
    found = []
    for block in nearest(catalogue, k=min(CONSIDERED, len(catalogue.owners) - 1), queries=queries):
        others = np.where(block.similarities < near_duplicate, block.similarities, -np.inf)
        best = others.max(axis=1)
        found.append(best[np.isfinite(best)])
    return np.concatenate(found)


def _of_random_pairs(catalogue: Catalogue, queries: Positions) -> NDArray[np.float32]:
    drawn = queries[np.linspace(0, len(queries) - 1, min(len(queries), MOST_PAIRED)).astype(int)]
    rows = catalogue.starts[drawn]
    vectors = np.concatenate([catalogue.vectors[int(row) : int(row) + 1] for row in rows])
    similarities: NDArray[np.float32] = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    return similarities
