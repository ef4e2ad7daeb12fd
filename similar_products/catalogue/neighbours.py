"""The exact nearest of a whole catalogue, in blocks: memory does not grow with the number of products.

``read_catalogue`` copies the vectors of one encoder from PostgreSQL into a temporary file; ``nearest`` and the
functions beside it multiply that file with itself block by block. 100,000 vectors of 1280 dimensions are 512 MB of
file, in the folder that the environment variable TMPDIR names.
"""

import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import psycopg
from django.core.exceptions import EmptyResultSet
from django.db import connections, transaction
from django.db.models import Model, QuerySet, Value
from numpy.typing import NDArray
from pgvector.psycopg.vector import register_vector_info
from psycopg.types import TypeInfo

from ..query import all_rows
from ..search.placement import IsCurrent, get_placement

Vectors = NDArray[np.float32]
Positions = NDArray[np.int64]
Keys: TypeAlias = NDArray[np.int64] | NDArray[np.object_]
"""Primary keys: numbers, or objects as UUIDs and texts."""
Progress = Callable[[int], object]
"""Takes the number of things just done."""

ROWS_PER_FETCH = 1_000
ROWS_PER_BLOCK = 1_024
QUERIES_PER_BLOCK = 1_024
"""Compared at once: 5 MB of vectors of 1280 dimensions on either side, and a million similarities."""
RANKING_BYTES = 64 * 1024 * 1024
"""Maximum memory of ``rankings``: 1,600 whole rankings of 5,000 products, 80 of 100,000."""
MAX_RANKINGS = 1_024
GRAIN = 1_000_000
"""Similarities are compared in millionths: sums of float32 differ by tenths of that from block to block, and two
products with the same picture must tie."""
EXCLUDED = 4 * GRAIN
"""Stands for the distance of what may not be found; a real one is at most 2."""
POSITION_BITS = 32


def ignore_progress(number: int) -> None:
    """Do nothing: the ``Progress`` of who does not ask for it."""


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
    keys: Keys
    owners: Keys
    starts: Positions

    @property
    def has_several(self) -> bool:
        """Whether a product has more than one vector."""
        return len(self.keys) > len(self.owners)

    def owners_of_rows(self) -> Positions:
        """Return the position of the product of each row, int64 ``[rows]``."""
        return np.repeat(np.arange(len(self.owners)), np.diff(self.starts))

    def rows_of(self, products: Positions) -> Positions:
        """Return the first row of each product at these positions and the row after its last, int64 ``[n, 2]``."""
        return np.stack([self.starts[products], self.starts[products + 1]], axis=1)


def catalogue_of(vectors: ReadableVectors, *, owners: Keys | None = None) -> Catalogue:
    """Return the catalogue of unit vectors, float32 ``[rows, dimensions]``.

    ``owners`` names the owner of each row, equal ones side by side; without it each row is a product of its own.
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


def current_rows(products: QuerySet[Model], encoder_name: str, using: str) -> QuerySet[Model]:
    """Return the rows that have a vector of the encoder, made from the present picture of one of ``products``.

    Ordered by the product's key and their own. Raises ``TypeError`` or ``FieldDoesNotExist`` where the model has no
    vectors.
    """
    placement = get_placement(products.model)
    rows: QuerySet[Model] = all_rows(placement.holder, using).order_by(placement.owner, "pk")
    return rows.filter(
        IsCurrent("embedding_source", Value(encoder_name), placement.holder_image),
        **{f"{placement.owner}__in": products.order_by().values("pk"), "embedding__isnull": False},
    )


def read_catalogue(
    products: QuerySet[Model], *, encoder_name: str, using: str, on_progress: Progress = ignore_progress
) -> Catalogue:
    """Return the current vectors that the encoder made of ``products``, copied into a temporary file.

    Ordered as ``current_rows``, which says what it raises. One query, read through a cursor of the server in binary, in
    a transaction of its own. ``on_progress`` is called with the number of rows just read.
    """
    owner = get_placement(products.model).owner
    rows = current_rows(products, encoder_name, using).values_list(owner, "pk", "embedding")
    vectors = VectorFile()
    owners: list[object] = []
    keys: list[object] = []
    for page in _pages(rows, using):
        vectors.append(np.stack([vector.to_numpy() for _, _, vector in page]))
        owners += [owner for owner, _, _ in page]
        keys += [key for _, key, _ in page]
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
    converters.pop(2, None)  # the vector's would make a list of 1280 floats
    with connection.wrap_database_errors, transaction.atomic(using=using):
        raw: Any = connection.connection
        whole = psycopg.ClientCursor(raw).mogrify(statement, parameters)
        with psycopg.ServerCursor(raw, "similar_products_catalogue") as cursor:
            register_vector_info(cursor, TypeInfo.fetch(raw, "vector"))  # type: ignore[arg-type]
            cursor.execute(whole.encode(), binary=True)
            while page := cursor.fetchmany(ROWS_PER_FETCH):
                yield list(compiler.apply_converters(page, converters)) if converters else page


def _array(values: list[object]) -> Keys:
    try:
        return np.array(values, np.int64)
    except (TypeError, ValueError, OverflowError):  # UUIDs, texts
        array = np.empty(len(values), np.object_)
        array[:] = values
        return array


def _catalogue(vectors: ReadableVectors, keys: Keys, owners: Keys) -> Catalogue:
    begins = np.ones(len(owners), bool)
    begins[1:] = owners[1:] != owners[:-1]
    firsts = np.flatnonzero(begins)
    return Catalogue(vectors, keys, owners[firsts], np.append(firsts, len(owners)).astype(np.int64))


def take_rows(catalogue: Catalogue, rows: Positions) -> Catalogue:
    """Return the catalogue of the rows at the ascending positions ``rows``, copied into a file of its own.

    It is ``catalogue`` itself where these are all rows.
    """
    if len(rows) == len(catalogue.keys):
        return catalogue
    vectors = VectorFile()
    for block in split(rows, ROWS_PER_BLOCK):
        vectors.append(_read(catalogue.vectors, np.stack([block, block + 1], axis=1)))
    return with_vectors(catalogue, rows, vectors)


def with_vectors(catalogue: Catalogue, rows: Positions, vectors: ReadableVectors) -> Catalogue:
    """Return the catalogue of the rows at the ascending positions ``rows``, with unit vectors made elsewhere."""
    return _catalogue(vectors, catalogue.keys[rows], catalogue.owners[catalogue.owners_of_rows()[rows]])


def similarity(catalogue: Catalogue, query: int, other: int) -> float:
    """Return the similarity of two products at these positions, as ``nearest`` does when ``query`` is the query."""
    asking, answering = (_read(catalogue.vectors, catalogue.rows_of(np.array([one]))) for one in (query, other))
    return float((answering @ _unit(asking.sum(axis=0, keepdims=True))[0]).max())


def product_vectors(catalogue: Catalogue, products: Positions) -> Vectors:
    """Return the mean of the pictures of each product at these positions, at norm 1: float32 ``[n, dimensions]``."""
    if not len(products):
        return np.empty((0, 0), np.float32)
    rows = catalogue.rows_of(products)
    vectors = _read(catalogue.vectors, rows)
    if not catalogue.has_several:
        return vectors
    lengths = rows[:, 1] - rows[:, 0]
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
    """What one query has found, as ``Neighbours`` has it of many: int64 and float32 ``[found]``."""

    query: int
    positions: Positions
    similarities: Vectors


def nearest(
    catalogue: Catalogue,
    *,
    k: int,
    queries: Positions | None = None,
    answers: NDArray[np.bool_] | None = None,
    on_progress: Progress = ignore_progress,
) -> Iterator[Neighbours]:
    """Yield the k nearest other products of each product, or of those at the positions ``queries``.

    As in ``similar_to`` the mean of a product's pictures is compared with the best picture of each other product.
    ``answers``: bool ``[products]``, which may be found; all without it. ``on_progress`` is called with the number of
    queries just answered.
    """
    wanted = np.arange(len(catalogue.owners)) if queries is None else queries
    blocks = _product_queries(catalogue, wanted, QUERIES_PER_BLOCK)
    return _search(catalogue, blocks, k, catalogue.starts, on_progress, answers)


def nearest_rows(
    catalogue: Catalogue,
    *,
    k: int,
    queries: Positions | None = None,
    exclude_own: bool = True,
    per_product: bool = False,
    on_progress: Progress = ignore_progress,
) -> Iterator[Neighbours]:
    """Yield the k nearest other rows of each row: pictures of pictures, where a product has several.

    ``exclude_own`` leaves out the other pictures of the same product; the row itself is always out. With
    ``per_product`` each product is found once, by its best picture, and positions are those of products.
    """
    every_row = np.arange(len(catalogue.keys) + 1)
    owners = catalogue.owners_of_rows()

    def ask(rows: Positions) -> _Queries:
        itself = np.stack([rows, rows + 1], axis=1)
        own = catalogue.rows_of(owners[rows]) if exclude_own else itself
        return _Queries(rows, _read(catalogue.vectors, itself), own)

    blocks = map(ask, split(every_row[:-1] if queries is None else queries, QUERIES_PER_BLOCK))
    return _search(catalogue, blocks, k, catalogue.starts if per_product else every_row, on_progress)


def nearest_to(
    catalogue: Catalogue, vectors: ReadableVectors, *, k: int, on_progress: Progress = ignore_progress
) -> Iterator[Neighbours]:
    """Yield the k products nearest to each unit vector of float32 ``[n, dimensions]``; none is left out."""
    blocks = (
        _Queries(rows, vectors[int(rows[0]) : int(rows[-1]) + 1], np.zeros((len(rows), 2), np.int64))
        for rows in split(np.arange(len(vectors)), QUERIES_PER_BLOCK)
    )
    return _search(catalogue, blocks, k, catalogue.starts, on_progress)


def rankings(
    catalogue: Catalogue, *, queries: Positions | None = None, on_progress: Progress = ignore_progress
) -> Iterator[Ranking]:
    """Yield all other products of each product, nearest first, holding ``RANKING_BYTES`` of them at a time."""
    count = len(catalogue.owners)
    wanted = np.arange(count) if queries is None else queries
    per_block = min(max(RANKING_BYTES // (8 * max(count, 1)), 1), MAX_RANKINGS)
    for block in _product_queries(catalogue, wanted, per_block):
        codes = np.empty((len(block.queries), count), np.int64)
        for first, part in _codes(catalogue, block, catalogue.starts):
            codes[:, first : first + part.shape[1]] = part
        for query, row in zip(block.queries, codes, strict=True):
            row.sort()
            # The query itself is excluded and so comes last.
            yield Ranking(int(query), *_unpack(row[:-1]))
        on_progress(len(block.queries))


def single(blocks: Iterable[Neighbours]) -> Iterator[Ranking]:
    """Yield what each query of ``blocks`` has found."""
    for block in blocks:
        for query, positions, similarities in zip(*block, strict=True):
            exist = positions >= 0
            yield Ranking(int(query), positions[exist], similarities[exist])


class _Queries(NamedTuple):
    queries: Positions
    vectors: Vectors
    excluded: Positions  # [n, 2]: from this row to before that row


def _product_queries(catalogue: Catalogue, wanted: Positions, per_block: int) -> Iterator[_Queries]:
    for products in split(wanted, per_block):
        yield _Queries(products, product_vectors(catalogue, products), catalogue.rows_of(products))


def _search(
    catalogue: Catalogue,
    blocks: Iterator[_Queries],
    k: int,
    starts: Positions,
    on_progress: Progress,
    answers: NDArray[np.bool_] | None = None,
) -> Iterator[Neighbours]:
    """Yield the k best candidates of each query; ``starts`` and ``answers`` as in ``_codes``."""
    for block in blocks:
        best = np.full((len(block.queries), k), EXCLUDED << POSITION_BITS, np.int64)
        for _, codes in _codes(catalogue, block, starts, answers):
            best = np.partition(np.concatenate([best, codes], axis=1), k - 1, axis=1)[:, :k]
        best.sort(axis=1)
        yield Neighbours(block.queries, *_unpack(best))
        on_progress(len(block.queries))


def _codes(
    catalogue: Catalogue, block: _Queries, starts: Positions, answers: NDArray[np.bool_] | None = None
) -> Iterator[tuple[int, Positions]]:
    """Yield the position of a first candidate, and the codes of ``_pack`` from it on, ``[queries, candidates]``.

    ``starts``: int64 ``[candidates + 1]``, the first row of each candidate and the number of rows; the best row of a
    candidate counts. ``answers``: bool ``[candidates]``.
    """
    first = 0
    while first < len(starts) - 1:
        # Whole candidates only, and at least one.
        after = max(int(np.searchsorted(starts, starts[first] + ROWS_PER_BLOCK, "right")) - 1, first + 1)
        start, stop = int(starts[first]), int(starts[after])
        similarities = block.vectors @ catalogue.vectors[start:stop].T
        excluded = np.clip(block.excluded - start, 0, stop - start)
        for query in np.flatnonzero(excluded[:, 1] > excluded[:, 0]):
            similarities[query, excluded[query, 0] : excluded[query, 1]] = -np.inf
        if stop - start > after - first:
            similarities = np.maximum.reduceat(similarities, starts[first:after] - start, axis=1)
        if answers is not None:
            similarities[:, ~answers[first:after]] = -np.inf
        yield first, _pack(similarities, first)
        first = after


def _pack(similarities: Vectors, first: int) -> Positions:
    """Return each similarity with the position of its column, which is ``first`` for column 0, as one number.

    The upper bits are the distance in millionths, the lower 32 the position: 0.75 at position 7 is
    ``250_000 << 32 | 7``. In ascending order these are the nearest first and, where two are as near, the lower position
    first. A stable argsort of the distances, with the positions taken along, takes three times as long.
    """
    distances = np.clip(np.rint((1 - similarities) * GRAIN), 0, EXCLUDED).astype(np.int64)
    return distances << POSITION_BITS | np.arange(first, first + distances.shape[1])


def _unpack(codes: Positions) -> tuple[Positions, Vectors]:
    """Return the positions and the similarities of what ``_pack`` returns; -1 and NaN for what is excluded."""
    distances, positions = codes >> POSITION_BITS, codes & ((1 << POSITION_BITS) - 1)
    is_missing = distances >= EXCLUDED
    similarities = (1 - distances / GRAIN).astype(np.float32)
    return np.where(is_missing, -1, positions), np.where(is_missing, np.float32(np.nan), similarities)


def _read(vectors: ReadableVectors, spans: Positions) -> Vectors:
    if (spans[1:, 0] == spans[:-1, 1]).all():
        return vectors[int(spans[0, 0]) : int(spans[-1, 1])]
    return np.concatenate([vectors[int(start) : int(stop)] for start, stop in spans])


def _unit(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = vectors / np.maximum(norms, np.finfo(np.float32).tiny)
    return unit


def split(positions: Positions, size: int) -> Iterator[Positions]:
    """Yield ``positions`` in blocks of ``size``."""
    return (positions[start : start + size] for start in range(0, len(positions), size))
