"""Vectors that are looked at and not stored: pictures decoded and encoded ahead in threads."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

import numpy as np
from django.db.models import Model

from ..encoders import Encoder
from ..encoders.base import Vectors
from ..pictures.ahead import in_batches, map_ahead
from ..pictures.gate import ImageRejected, Pixels, load_pixels, load_stored_pixels
from ..search.placement import get_placement
from .neighbours import Catalogue, Positions, Progress, ignore_progress
from .products import picture_names

ItemT = TypeVar("ItemT")

BATCHES_AHEAD = 16
"""Calls of an encoder that are under way or done while the caller works on the vectors of one."""


def encode_pictures(
    items: Iterable[ItemT], load: Callable[[ItemT], Sequence[Pixels]], encoder: Encoder
) -> Iterator[tuple[ItemT, Vectors]]:
    """Yield each item with the unit vectors of its pictures, float32 ``[pictures, dimensions]``.

    ``load`` is called in threads, which encode as well, and returns the pictures of an item, each uint8
    ``[image_size, image_size, 3]``. Those in which the encoder sees nothing give a row of NaN. An item for which
    ``load`` raises ``ImageRejected`` has no rows. Raises ``EncoderError`` where the encoder cannot work.
    """
    size = encoder.batch_size

    def load_item(item: ItemT) -> Sequence[Pixels]:
        try:
            return load(item)
        except ImageRejected:
            return ()

    def encode(batch: Sequence[ItemT]) -> list[tuple[ItemT, Vectors]]:
        loaded = [load_item(item) for item in batch]
        pixels = [picture for pictures in loaded for picture in pictures]
        encoded = [encoder.encode(np.stack(pixels[start : start + size])) for start in range(0, len(pixels), size)]
        vectors = np.concatenate(encoded) if encoded else np.empty((0, 0), np.float32)
        starts = np.cumsum([len(pictures) for pictures in loaded])[:-1]
        return list(zip(batch, np.split(vectors, starts), strict=True))

    with closing(map_ahead(encode, in_batches(items, size), ahead=BATCHES_AHEAD)) as encoded:
        for found in encoded:
            yield from found


def encode_rows(
    catalogue: Catalogue,
    encoder: Encoder,
    model: type[Model],
    rows: Positions,
    using: str,
    *,
    alter: Callable[[int, Pixels], Iterable[bytes]] | None = None,
    on_progress: Progress = ignore_progress,
) -> Iterator[tuple[int, Vectors]]:
    """Yield each of the ascending ``rows`` with the unit vector that ``encoder`` makes of its picture.

    Or with those of the files that ``alter`` makes of the row's position and its picture, which has twice the side that
    the encoder takes. What cannot be used has no vector.
    """
    storage, size = get_placement(model).picture_field.storage, encoder.image_size

    def load(item: tuple[int, str]) -> list[Pixels]:
        row, name = item
        if alter is None:
            return [load_stored_pixels(storage, name, size)]
        found = []
        for data in alter(row, load_stored_pixels(storage, name, 2 * size)):
            try:
                found.append(load_pixels(data, size))
            except ImageRejected:  # what is left of the picture is blank
                continue
        return found

    for (row, _), vectors in encode_pictures(picture_names(catalogue, model, rows, using), load, encoder):
        yield row, vectors[np.isfinite(vectors).all(axis=1)]
        on_progress(1)
