"""Vectors that are looked at and not stored: pictures decoded ahead in threads and encoded in batches."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import numpy as np

from ..encoders import Encoder
from ..encoders.base import Vectors
from ..pictures.gate import ImageRejected, Pixels

T = TypeVar("T")


def encode_pictures(
    items: Iterable[T], load: Callable[[T], Sequence[Pixels]], encoder: Encoder
) -> Iterator[tuple[T, Vectors]]:
    """Yield each item with the unit vectors of its pictures, float32 ``[pictures, dimensions]``.

    ``load`` is called in threads and returns the pictures of an item, each uint8 ``[image_size, image_size, 3]``.
    Those in which the encoder sees nothing give a row of NaN. An item for which ``load`` raises ``ImageRejected`` has
    no rows. Two batches are held at a time. Raises ``EncoderError`` where the encoder cannot work.
    """
    remaining = iter(items)
    waiting: deque[list[tuple[T, Future[Sequence[Pixels]]]]] = deque()
    decoders = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode")
    try:
        while batch := list(islice(remaining, encoder.batch_size)):
            waiting.append([(item, decoders.submit(_loaded, load, item)) for item in batch])
            if len(waiting) > 1:  # one being decoded while one is encoded
                yield from _encoded(waiting.popleft(), encoder)
        while waiting:
            yield from _encoded(waiting.popleft(), encoder)
    finally:
        decoders.shutdown(cancel_futures=True)


def _loaded(load: Callable[[T], Sequence[Pixels]], item: T) -> Sequence[Pixels]:
    try:
        return load(item)
    except ImageRejected:
        return ()


def _encoded(batch: list[tuple[T, "Future[Sequence[Pixels]]"]], encoder: Encoder) -> Iterator[tuple[T, Vectors]]:
    loaded = [(item, pictures.result()) for item, pictures in batch]
    pixels = [picture for _, pictures in loaded for picture in pictures]
    size = encoder.batch_size
    encoded = [encoder.encode(np.stack(pixels[start : start + size])) for start in range(0, len(pixels), size)]
    vectors = np.concatenate(encoded) if encoded else np.empty((0, 0), np.float32)
    start = 0
    for item, pictures in loaded:
        yield item, vectors[start : start + len(pictures)]
        start += len(pictures)
