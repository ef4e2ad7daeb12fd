"""The neighbours of every product as a file, for another database or a search cluster."""

import csv
import io
import json
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .neighbours import Catalogue, CatalogueError, Keys, Positions, Progress, ignore_progress, nearest, single

FIELDS = ("similarity", "master_pi", "similar_pi")
"""The names of the 2019 original, whose JSON went into a database or a search cluster as it was."""
DECIMALS = 4
INSTALL = "pip install 'django-similar-products[parquet]'"


class SimilarPair(NamedTuple):
    """Cosine similarity in 0..1 to four decimals, the key of a product, and that of one that is similar to it."""

    similarity: float
    master: Hashable
    similar: Hashable


def similar_pairs(
    catalogue: Catalogue,
    *,
    k: int,
    queries: Positions | None = None,
    answers: NDArray[np.bool_] | None = None,
    min_similarity: float = 0.0,
    on_progress: Progress = ignore_progress,
) -> Iterator[list[SimilarPair]]:
    """Yield, a block of products at a time, each product with its k nearest others, nearest first.

    ``queries`` are the positions of the products that ask, ``answers`` bool ``[products]`` those that may be found.
    What is less similar than ``min_similarity`` is left out. ``on_progress`` is called with the number of products just
    done.
    """
    owners = catalogue.owners.tolist()
    k = min(k, max(len(owners) - 1, 1))
    for block in nearest(catalogue, k=k, queries=queries, answers=answers, on_progress=on_progress):
        yield [
            SimilarPair(round(similarity, DECIMALS), owners[found.query], owners[position])
            for found in single([block])
            for position, similarity in zip(found.positions, map(_share, found.similarities.tolist()), strict=True)
            if similarity >= min_similarity
        ]


def _share(similarity: float) -> float:
    # What points the other way is not alike at all, and no less. float32 has 0.50000001 for 0.5.
    return max(round(similarity, 6), 0.0)


def json_lines(blocks: Iterable[Sequence[SimilarPair]]) -> Iterator[str]:
    """Yield the text of JSON Lines, an object to a line, a block at a time."""
    for block in blocks:
        yield "".join(f"{_object(pair)}\n" for pair in block)


def json_array(blocks: Iterable[Sequence[SimilarPair]]) -> Iterator[str]:
    """Yield the text of one JSON array of the same objects, as the 2019 original wrote it, a block at a time."""
    separator = "[\n"
    for block in blocks:
        if block:
            yield separator + ",\n".join(map(_object, block))
            separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"


def csv_rows(blocks: Iterable[Sequence[SimilarPair]]) -> Iterator[str]:
    """Yield the text of CSV with a header, a block at a time."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for block in blocks:
        writer.writerows(block)
        yield text.getvalue()
        text.seek(0)
        text.truncate()
    yield text.getvalue()


TEXT_FORMATS = {"json": json_array, "jsonl": json_lines, "csv": csv_rows}
FORMATS = (*TEXT_FORMATS, "parquet")


def load_parquet() -> Any:
    """Return pyarrow; raise ``CatalogueError`` where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise CatalogueError(f"Parquet needs pyarrow, which cannot be imported ({error}): {INSTALL}.") from error
    return pyarrow


def write_parquet(blocks: Iterable[Sequence[SimilarPair]], keys: Keys, path: Path) -> None:
    """Write the pairs into the Parquet file ``path``, a row group for each block.

    Keys are int64 where ``keys``, those of the catalogue, are numbers, and else text. Raises ``CatalogueError`` without
    pyarrow and ``OSError``.
    """
    arrow = load_parquet()
    is_number = keys.dtype.kind == "i"
    key_type = arrow.int64() if is_number else arrow.string()
    schema = arrow.schema(list(zip(FIELDS, (arrow.float64(), key_type, key_type), strict=True)))
    with arrow.parquet.ParquetWriter(path, schema) as writer:
        for block in blocks:
            rows: Iterable[tuple[object, ...]] = block
            if not is_number:
                rows = ((similarity, str(master), str(similar)) for similarity, master, similar in block)
            columns = list(zip(*rows, strict=True)) or [()] * len(FIELDS)
            arrays = [arrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_table(arrow.table(arrays, schema=schema))


def _object(pair: SimilarPair) -> str:
    return json.dumps(dict(zip(FIELDS, pair, strict=True)), default=str)
