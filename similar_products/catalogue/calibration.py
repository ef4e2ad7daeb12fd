"""The bands of an encoder, measured on a catalogue.

near-duplicate: from the 5th percentile of the similarity between a picture and copies of it (recompressed, halved,
trimmed, brightened), so that 95 % of such copies are found. very similar: from the median similarity of a product to
the nearest other that is no near-duplicate. similar: from the 99th percentile of pairs of products drawn at random.
"""

from dataclasses import dataclass

import numpy as np
from django.db.models import Model

from ..encoders import Encoder
from ..search.bands import Bands
from .copies import mild_copies
from .neighbours import Catalogue, CatalogueError, Positions, Progress, Vectors, ignore_progress, nearest
from .vectors import encode_rows

MIN_PRODUCTS = 30
"""With fewer the percentiles are single products."""
COPIES_FOUND = 95
RANDOM_PAIRS_BELOW = 99
CONSIDERED = 100
"""Neighbours among which the nearest that is no near-duplicate is looked for."""
MAX_PAIRED = 2_000
"""Maximum number of products that are paired: two million pairs, 16 MB."""
STEP = 0.01
"""Minimum distance between two bands."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Bands and what they stand on: numbers of copies, of products with a neighbour, and of random pairs.

    ``notes`` says in a sentence each where a figure of the catalogue was changed to separate the bands.
    """

    bands: Bands
    copies: int
    neighbours: int
    pairs: int
    notes: list[str]


def calibrate(
    catalogue: Catalogue,
    encoder: Encoder,
    model: type[Model],
    *,
    queries: Positions,
    using: str,
    on_progress: Progress = ignore_progress,
) -> Calibration:
    """Return the bands of ``encoder`` on the products at the positions ``queries``.

    Their neighbours are sought in the whole catalogue. ``on_progress`` is called with the number of products whose
    copies were just encoded. Raises ``CatalogueError`` where the catalogue is too small or its pictures cannot be
    read, and ``EncoderError``.
    """
    if len(queries) < MIN_PRODUCTS:
        raise CatalogueError(
            f"{model._meta.label} has {len(queries)} products with a vector of the encoder {encoder.name}, and "
            f"calibration needs at least {MIN_PRODUCTS}; run embed_products, or raise --sample."
        )
    copies = _similarities_of_copies(catalogue, encoder, model, queries, using, on_progress)
    if len(copies) < MIN_PRODUCTS:
        raise CatalogueError(
            "The pictures of the catalogue can no longer be read; embed_products --verify says what is wrong with them."
        )
    near_duplicate = float(np.percentile(copies, 100 - COPIES_FOUND))
    neighbours = _similarities_of_neighbours(catalogue, queries, near_duplicate)
    pairs = _similarities_of_random_pairs(catalogue, queries)
    similar = float(np.percentile(pairs, RANDOM_PAIRS_BELOW))
    very_similar = float(np.median(neighbours)) if len(neighbours) else (near_duplicate + similar) / 2
    bands, notes = separate_bands(near_duplicate, very_similar, similar)
    if not len(neighbours):
        notes.append(
            "All neighbours are near-duplicates; very similar was set halfway between near-duplicate and similar."
        )
    return Calibration(bands, len(copies), len(neighbours), len(pairs), notes)


def separate_bands(near_duplicate: float, very_similar: float, similar: float) -> tuple[Bands, list[str]]:
    """Return bands of three decimals in 0..1 that descend, and a sentence for each figure that was changed for it."""
    near = round(min(max(near_duplicate, 3 * STEP), 1.0), 3)
    very = round(min(max(very_similar, 2 * STEP), near - STEP), 3)
    last = round(min(max(similar, STEP), very - STEP), 3)
    figures = (
        ("near-duplicate", near_duplicate, near),
        ("very similar", very_similar, very),
        ("similar", similar, last),
    )
    return Bands(near, very, last), [
        f"{name} was measured as {measured:.3f} and set to {given:.3f}, so that the bands descend from 1 to 0; the "
        "catalogue is too small or its products are too much alike for this figure."
        for name, measured, given in figures
        if abs(measured - given) > 0.001
    ]


def _similarities_of_copies(
    catalogue: Catalogue,
    encoder: Encoder,
    model: type[Model],
    queries: Positions,
    using: str,
    on_progress: Progress,
) -> Vectors:
    rows = catalogue.starts[queries]
    encoded = encode_rows(
        catalogue,
        encoder,
        model,
        rows,
        using,
        alter=lambda _, pixels: mild_copies(pixels).values(),
        on_progress=on_progress,
    )
    found = [vectors @ catalogue.vectors[row : row + 1][0] for row, vectors in encoded if len(vectors)]
    return np.concatenate(found) if found else np.empty(0, np.float32)


def _similarities_of_neighbours(catalogue: Catalogue, queries: Positions, near_duplicate: float) -> Vectors:
    found = []
    for block in nearest(catalogue, k=min(CONSIDERED, len(catalogue.owners) - 1), queries=queries):
        others = np.where(block.similarities < near_duplicate, block.similarities, -np.inf)
        best = others.max(axis=1)
        found.append(best[np.isfinite(best)])
    return np.concatenate(found)


def _similarities_of_random_pairs(catalogue: Catalogue, queries: Positions) -> Vectors:
    drawn = queries[np.linspace(0, len(queries) - 1, min(len(queries), MAX_PAIRED)).astype(int)]
    vectors = np.concatenate([catalogue.vectors[row : row + 1] for row in catalogue.starts[drawn].tolist()])
    similarities: Vectors = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    return similarities
