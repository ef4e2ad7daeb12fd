"""The exact nearest of a whole catalogue, in blocks: memory does not grow with the number of products.

``read_catalogue`` copies the vectors of one encoder from PostgreSQL into a temporary file; ``nearest`` and the
functions beside it multiply that file with itself block by block. 100,000 vectors of 1280 dimensions are 512 MB of
file, in the folder that the environment variable TMPDIR names.
"""

import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import psycopg
from django.core.exceptions import EmptyResultSet
from django.db import connections, transaction
from django.db.models import QuerySet, Value
from numpy.typing import NDArray
from pgvector.psycopg.vector import register_vector_info
from psycopg.types import TypeInfo

from ..search.placement import IsCurrent, get_placement

Vectors = NDArray[np.float32]
Positions = NDArray[np.int64]

ROWS_PER_FETCH = 1_000
ROWS_PER_BLOCK = 1_024
QUERIES_PER_BLOCK = 1_024
"""Compared at once: 5 MB of vectors of 1280 dimensions on either side, and a million similarities."""
RANKING_BYTES = 64 * 1024 * 1024
"""What ``rankings`` may hold: 1,600 whole rankings of 5,000 products, 80 of 100,000."""
MOST_RANKINGS = 1_024
GRAIN = 1_000_000
"""Similarities count in millionths: the sums of float32 differ by tenths of that from block to block, and two
products with the same picture must tie."""
EXCLUDED = 4 * GRAIN
"""In place of a distance, which is 2 at most."""


class CatalogueError(Exception):
    """The catalogue cannot give what was asked for; the sentence says what to do about it."""


class ReadableVectors(Protocol):
    """float32 ``[rows, dimensions]`` read by slices: a numpy array, a memmap or a ``VectorFile``."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Vectors: ...


class VectorFile:
    """float32 ``[rows, dimensions]`` in a temporary file that goes away with this object.

    A slice is read, not mapped: pages of a mapped file count as the process's own memory.
    """

    def __init__(self) -> None:
        # Open as long as this object is; it has no name, so nothing is left behind however the process ends.
        self._file = tempfile.TemporaryFile(prefix="similar-products-")  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._rows = 0
        self._dimensions = 0

    def append(self, vectors: Vectors) -> None:
        """Add the rows of ``[n, dimensions]`` at the end, each brought to norm 1."""
        if not len(vectors):
            return
        self._file.seek(0, 2)
        self._file.write(_unit(np.asarray(vectors, np.float32)).tobytes())
        self._rows += len(vectors)
        self._dimensions = vectors.shape[1]

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, rows: slice, /) -> Vectors:
        start, stop, _ = rows.indices(self._rows)
        count = max(stop - start, 0)
        self._file.seek(start * self._dimensions * 4)
        data = self._file.read(count * self._dimensions * 4)
        return np.frombuffer(data, np.float32).reshape(count, self._dimensions)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Unit vectors, one for each picture, those of one product side by side.

    ``vectors``: float32 ``[rows, dimensions]``; ``keys``: ``[rows]``, the primary key of each row with a vector;
    ``owners``: ``[products]``, the primary key of each product in the database's order; ``starts``: int64
    ``[products + 1]``, the first row of each product and the number of rows. Positions count in ``owners``, and in
    ``keys`` where rows are asked for.
    """

    vectors: ReadableVectors
    keys: NDArray[Any]
    owners: NDArray[Any]
    starts: Positions

    @property
    def has_several(self) -> bool:
        """Whether a product has more than one vector."""
        return len(self.keys) > len(self.owners)

    def owners_of_rows(self) -> Positions:
        """Return the position of the product of each row, int64 ``[rows]``."""
        return np.repeat(np.arange(len(self.owners)), np.diff(self.starts))


def catalogue_of(vectors: ReadableVectors, *, owners: NDArray[Any] | None = None) -> Catalogue:
    """Return the catalogue of unit vectors that are at hand, float32 ``[rows, dimensions]``.

    ``owners`` says whose each row is, equal ones side by side; without it each row is a product of its own.
    Raises ``ValueError`` where an owner's rows are scattered or their number is not that of the vectors.
    """
    keys = np.arange(len(vectors))
    whose = keys if owners is None else owners
    if len(whose) != len(keys):
        raise ValueError(f"owners has {len(whose)} entries for {len(keys)} vectors; each vector needs one.")
    catalogue = _catalogue(vectors, keys, whose)
    if len(set(catalogue.owners.tolist())) != len(catalogue.owners):
        raise ValueError("The rows of an owner are not side by side; sort vectors and owners by owner first.")
    return catalogue


def read_catalogue(
    products: QuerySet[Any], *, encoder_name: str, using: str, on_progress: Callable[[int], object] | None = None
) -> Catalogue:
    """Return the current vectors that the encoder made of ``products``, copied into a temporary file.

    Ordered by the product's key and the key of the row with the vector. One query, read through a cursor of the
    server in binary, in a transaction of its own. ``on_progress`` is called with the number of rows just read.
    Raises ``TypeError`` or ``FieldDoesNotExist`` where the model has no vectors.
    """
    placement = get_placement(products.model)
    rows = (
        placement.holder._base_manager.using(using)
        .filter(
            IsCurrent("embedding_source", Value(encoder_name), placement.holder_image),
            **{f"{placement.owner}__in": products.order_by().values("pk"), "embedding__isnull": False},
        )
        .order_by(placement.owner, "pk")
        .values_list(placement.owner, "pk", "embedding")
    )
    vectors = VectorFile()
    owners: list[Any] = []
    keys: list[Any] = []
    for page in _pages(rows, using):
        vectors.append(np.stack([vector.to_numpy() for _, _, vector in page]))
        owners += [owner for owner, _, _ in page]
        keys += [key for _, key, _ in page]
        if on_progress:
            on_progress(len(page))
    return _catalogue(vectors, _array(keys), _array(owners))


def _pages(rows: QuerySet[Any, Any], using: str) -> Iterator[list[Sequence[Any]]]:
    connection = connections[using]
    compiler: Any = rows.query.get_compiler(using)
    try:
        statement, parameters = compiler.as_sql()
    except EmptyResultSet:  # Django knows that there is nothing
        return
    converters = compiler.get_converters([column for column, _, _ in compiler.select])
    converters.pop(2, None)  # the vector's makes a list of 1280 floats of it
    with connection.wrap_database_errors, transaction.atomic(using=using):
        raw: Any = connection.connection
        whole = psycopg.ClientCursor(raw).mogrify(statement, parameters)
        with psycopg.ServerCursor(raw, "similar_products_catalogue") as cursor:
            register_vector_info(cursor, TypeInfo.fetch(raw, "vector"))  # type: ignore[arg-type]
            cursor.execute(whole.encode(), binary=True)
            while page := cursor.fetchmany(ROWS_PER_FETCH):
                yield list(compiler.apply_converters(page, converters)) if converters else page


def _array(values: list[Any]) -> NDArray[Any]:
    try:
        return np.array(values, np.int64)
    except (TypeError, ValueError, OverflowError):  # UUIDs, texts
        array = np.empty(len(values), object)
        array[:] = values
        return array


def _catalogue(vectors: ReadableVectors, keys: NDArray[Any], owners: NDArray[Any]) -> Catalogue:
    begins = np.ones(len(owners), bool)
    begins[1:] = owners[1:] != owners[:-1]
    firsts = np.flatnonzero(begins)
    return Catalogue(vectors, keys, owners[firsts], np.append(firsts, len(owners)).astype(np.int64))


def take_rows(catalogue: Catalogue, rows: Positions) -> Catalogue:
    """Return the catalogue of the rows at the ascending positions ``rows``, copied into a file of its own."""
    vectors = VectorFile()
    for start, stop in _spans(len(rows), ROWS_PER_BLOCK):
        vectors.append(_read(catalogue.vectors, np.stack([rows[start:stop], rows[start:stop] + 1], axis=1)))
    return with_vectors(catalogue, rows, vectors)


def with_vectors(catalogue: Catalogue, rows: Positions, vectors: ReadableVectors) -> Catalogue:
    """Return the catalogue of the rows at the ascending positions ``rows``, with unit vectors made elsewhere."""
    return _catalogue(vectors, catalogue.keys[rows], catalogue.owners[catalogue.owners_of_rows()[rows]])


def similarity(catalogue: Catalogue, query: int, other: int) -> float:
    """Return how like the product at the position ``query`` finds the one at ``other``, as ``nearest`` does."""
    spans = np.stack([catalogue.starts[[query, other]], catalogue.starts[[query + 1, other + 1]]], axis=1)
    asking, answering = (_read(catalogue.vectors, span[None]) for span in spans)
    return float((answering @ _unit(asking.sum(axis=0, keepdims=True))[0]).max())


def product_vectors(catalogue: Catalogue, products: Positions) -> Vectors:
    """Return the mean of the pictures of each product at these positions, at norm 1: float32 ``[n, dimensions]``."""
    spans = np.stack([catalogue.starts[products], catalogue.starts[products + 1]], axis=1)
    if not len(spans):
        return np.empty((0, 0), np.float32)
    vectors = _read(catalogue.vectors, spans)
    if not catalogue.has_several:
        return vectors
    lengths = spans[:, 1] - spans[:, 0]
    return _unit(np.add.reduceat(vectors, np.cumsum(lengths) - lengths, axis=0))


class Neighbours(NamedTuple):
    """The nearest of a block of queries, nearest first and ties in the order of positions.

    ``queries``: int64 ``[n]``, positions of the queries; ``positions``: int64 ``[n, k]``, and ``similarities``:
    float32 ``[n, k]``, the cosine in -1..1 in millionths. Where fewer than k exist the rest is -1 and NaN.
    """

    queries: Positions
    positions: Positions
    similarities: Vectors


class Ranking(NamedTuple):
    """All others of one query, as ``Neighbours`` has the first k: int64 and float32 ``[others]``."""

    query: int
    positions: Positions
    similarities: Vectors


def nearest(
    catalogue: Catalogue,
    *,
    k: int,
    queries: Positions | None = None,
    answers: NDArray[np.bool_] | None = None,
    rows_per_block: int = ROWS_PER_BLOCK,
    queries_per_block: int = QUERIES_PER_BLOCK,
    on_progress: Callable[[int], object] | None = None,
) -> Iterator[Neighbours]:
    """Yield the k nearest other products of each product, or of those at the positions ``queries``.

    As in ``similar_to`` the mean of a product's pictures asks, and the best picture of another answers.
    ``answers``: bool ``[products]``, who may answer; all without it. ``on_progress`` is called with the number of
    queries just answered.
    """
    wanted = np.arange(len(catalogue.owners)) if queries is None else queries
    blocks = _product_queries(catalogue, wanted, queries_per_block)
    return _search(catalogue, blocks, k, catalogue.has_several, rows_per_block, on_progress, answers)


def nearest_rows(
    catalogue: Catalogue,
    *,
    k: int,
    queries: Positions | None = None,
    exclude_own: bool = True,
    per_product: bool = False,
    rows_per_block: int = ROWS_PER_BLOCK,
    queries_per_block: int = QUERIES_PER_BLOCK,
    on_progress: Callable[[int], object] | None = None,
) -> Iterator[Neighbours]:
    """Yield the k nearest other rows of each row: pictures of pictures, where a product has several.

    ``exclude_own`` leaves out the other pictures of the same product; the row itself is always out. With
    ``per_product`` each product answers once, by its best picture, and positions are those of products.
    """
    wanted = np.arange(len(catalogue.keys)) if queries is None else queries
    blocks = _row_queries(catalogue, wanted, exclude_own, queries_per_block)
    merges = per_product and catalogue.has_several
    return _search(catalogue, blocks, k, merges, rows_per_block, on_progress)


def nearest_to(
    catalogue: Catalogue,
    vectors: ReadableVectors,
    *,
    k: int,
    rows_per_block: int = ROWS_PER_BLOCK,
    queries_per_block: int = QUERIES_PER_BLOCK,
    on_progress: Callable[[int], object] | None = None,
) -> Iterator[Neighbours]:
    """Yield the k products nearest to each unit vector of float32 ``[n, dimensions]``; none is left out."""
    blocks = (
        _Queries(np.arange(start, stop), vectors[start:stop], np.zeros((stop - start, 2), np.int64))
        for start, stop in _spans(len(vectors), queries_per_block)
    )
    return _search(catalogue, blocks, k, catalogue.has_several, rows_per_block, on_progress)


def rankings(
    catalogue: Catalogue,
    *,
    queries: Positions | None = None,
    rows_per_block: int = ROWS_PER_BLOCK,
    memory: int = RANKING_BYTES,
    on_progress: Callable[[int], object] | None = None,
) -> Iterator[Ranking]:
    """Yield all other products of each product, nearest first, holding ``memory`` bytes of them at a time."""
    wanted = np.arange(len(catalogue.owners)) if queries is None else queries
    count = len(catalogue.owners)
    per_block = min(max(memory // (8 * max(count, 1)), 1), MOST_RANKINGS)
    for block in _product_queries(catalogue, wanted, per_block):
        codes = np.empty((len(block.queries), count), np.int64)
        for first, part in _codes(catalogue, block, catalogue.has_several, rows_per_block):
            codes[:, first : first + part.shape[1]] = part
        for query, row in zip(block.queries, codes, strict=True):
            row.sort()
            # The query itself is excluded and so comes last.
            positions, similarities = _decoded(row[:-1], count)
            yield Ranking(int(query), positions, similarities)
        if on_progress:
            on_progress(len(block.queries))


class _Queries(NamedTuple):
    queries: Positions
    vectors: Vectors
    excluded: Positions  # [n, 2]: from this row to before that row


def _product_queries(catalogue: Catalogue, wanted: Positions, per_block: int) -> Iterator[_Queries]:
    for start, stop in _spans(len(wanted), per_block):
        queries = wanted[start:stop]
        excluded = np.stack([catalogue.starts[queries], catalogue.starts[queries + 1]], axis=1)
        yield _Queries(queries, product_vectors(catalogue, queries), excluded)


def _row_queries(catalogue: Catalogue, wanted: Positions, exclude_own: bool, per_block: int) -> Iterator[_Queries]:
    owners = catalogue.owners_of_rows()
    for start, stop in _spans(len(wanted), per_block):
        queries = wanted[start:stop]
        itself = np.stack([queries, queries + 1], axis=1)
        own = np.stack([catalogue.starts[owners[queries]], catalogue.starts[owners[queries] + 1]], axis=1)
        yield _Queries(queries, _read(catalogue.vectors, itself), own if exclude_own else itself)


def _search(
    catalogue: Catalogue,
    blocks: Iterator[_Queries],
    k: int,
    merges: bool,
    rows_per_block: int,
    on_progress: Callable[[int], object] | None,
    answers: NDArray[np.bool_] | None = None,
) -> Iterator[Neighbours]:
    refused = None if answers is None else ~np.repeat(answers, np.diff(catalogue.starts))
    count = len(catalogue.owners) if merges else len(catalogue.keys)
    for block in blocks:
        best = np.full((len(block.queries), k), EXCLUDED * count, np.int64)
        for _, codes in _codes(catalogue, block, merges, rows_per_block, refused):
            best = np.partition(np.concatenate([best, codes], axis=1), k - 1, axis=1)[:, :k]
        best.sort(axis=1)
        yield Neighbours(block.queries, *_decoded(best, count))
        if on_progress:
            on_progress(len(block.queries))


def _codes(
    catalogue: Catalogue,
    block: _Queries,
    merges: bool,
    rows_per_block: int,
    refused: NDArray[np.bool_] | None = None,
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield ``[queries, candidates]`` of one number for distance and position, and the first candidate's position.

    Ordered as numbers they are ordered by distance and, where that is equal, by position. ``refused``: bool ``[rows]``.
    """
    count = len(catalogue.owners) if merges else len(catalogue.keys)
    for first, start, stop, firsts in _candidates(catalogue, merges, rows_per_block):
        similarities = block.vectors @ catalogue.vectors[start:stop].T
        excluded = np.clip(block.excluded - start, 0, stop - start)
        for query in np.flatnonzero(excluded[:, 1] > excluded[:, 0]):
            similarities[query, excluded[query, 0] : excluded[query, 1]] = -np.inf
        if refused is not None:
            similarities[:, refused[start:stop]] = -np.inf
        if firsts is not None:
            similarities = np.maximum.reduceat(similarities, firsts, axis=1)
        distances = np.clip(np.rint((1 - similarities) * GRAIN), 0, EXCLUDED).astype(np.int64)
        yield first, distances * count + np.arange(first, first + distances.shape[1])


def _candidates(
    catalogue: Catalogue, merges: bool, rows_per_block: int
) -> Iterator[tuple[int, int, int, Positions | None]]:
    """Yield blocks of rows: position of the first candidate, first row, row after the last, candidates' first rows."""
    if not merges:
        for start, stop in _spans(len(catalogue.keys), rows_per_block):
            yield start, start, stop, None
        return
    first, starts = 0, catalogue.starts
    while first < len(starts) - 1:
        # Whole products only, and at least one.
        after = max(int(np.searchsorted(starts, starts[first] + rows_per_block, "right")) - 1, first + 1)
        yield first, int(starts[first]), int(starts[after]), starts[first:after] - starts[first]
        first = after


def _decoded(codes: NDArray[np.int64], count: int) -> tuple[Positions, Vectors]:
    distances, positions = np.divmod(codes, max(count, 1))
    missing = distances >= EXCLUDED
    similarities = (1 - distances / GRAIN).astype(np.float32)
    return np.where(missing, -1, positions), np.where(missing, np.float32(np.nan), similarities)


def _read(vectors: ReadableVectors, spans: Positions) -> Vectors:
    if (spans[1:, 0] == spans[:-1, 1]).all():
        return vectors[int(spans[0, 0]) : int(spans[-1, 1])]
    return np.concatenate([vectors[int(start) : int(stop)] for start, stop in spans])


def _unit(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = vectors / np.maximum(norms, np.finfo(np.float32).tiny)
    return unit


def _spans(count: int, length: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + length, count)) for start in range(0, count, length))
