"""Products that show the same picture: the same file, a copy of it, or what the encoder takes for one.

In two steps. The vectors name the nearest few of each picture: of 800 copies (recompressed, resized, mirrored, with a
border) among 4,315 studio photos each had its original among the nearest six, but some with a border at a similarity of
0.77, where there are many others. The pixels then tell copies from others. A pair that they do not confirm counts where
its similarity reaches the near-duplicate band.
"""

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Hashable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from django.core.files.storage import Storage
from django.db.models import Case, Count, F, Model, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.expressions import OrderBy
from numpy.typing import NDArray

from ..pictures.ahead import map_ahead
from ..pictures.gate import ImageRejected, load_pixels, read_stored_file
from ..query import all_rows
from ..search.placement import get_placement
from .evaluation import TIE
from .neighbours import Catalogue, Positions, Progress, Ranking, ignore_progress, nearest_rows, single, take_rows
from .products import PICTURES_AHEAD, picture_names
from .thumbnails import MIRRORED, SAME_PICTURE, SIDE, THUMBNAIL, same_picture, thumbnail_of

SAME_FILE = "same file"
NEAR_DUPLICATE = "near-duplicate"
KINDS = (SAME_FILE, SAME_PICTURE, MIRRORED, NEAR_DUPLICATE)
"""What a duplicate may be, the most certain first: the same bytes; the same by its pixels, recompressed, of another
size or with a border; the same with left and right exchanged; near by the encoder alone."""

CANDIDATES = 10
MAX_CANDIDATES = 640
"""Neighbours of a picture that are compared: ten, then four times as many as long as all of them are duplicates."""


class Duplicate(NamedTuple):
    """A product that shows the picture of its group's keeper.

    ``row`` and ``keeper_row`` are the keys of the rows with the two pictures, ``kind`` is one of ``KINDS``, and
    ``similarity`` the cosine of their vectors in -1..1.
    """

    product: Hashable
    row: Hashable
    keeper_row: Hashable
    kind: str
    similarity: float


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """A product to keep, and those that show its picture."""

    keeper: Hashable
    duplicates: list[Duplicate]


def find_duplicates(
    catalogue: Catalogue,
    products: QuerySet[Model],
    *,
    near_duplicate: float,
    order: Sequence[Hashable],
    using: str,
    on_progress: Progress = ignore_progress,
) -> list[DuplicateGroup]:
    """Return the groups of products of ``catalogue`` that show the same picture, in the order of their keepers.

    ``near_duplicate`` is the cosine similarity from which two pictures count without a look at their pixels. ``order``
    has the keys of the products, the preferred one first: each is a keeper, unless a keeper before it shows its
    picture. So every duplicate is one of its keeper itself, a chain of alike pictures joins nobody, and no two keepers
    are duplicates of each other: what remains without the others is the catalogue without duplicates. Pictures that
    cannot be read are compared by their vectors. ``on_progress`` is called with the number of pictures just read.
    """
    with tempfile.TemporaryFile(prefix="similar-products-") as file:
        shape = (max(len(catalogue.keys), 1),)
        thumbnails: NDArray[np.void] = np.memmap(file, THUMBNAIL, "w+", shape=shape)  # 7 KB a picture
        digests = _read_pictures(catalogue, products.model, thumbnails, using, on_progress)
        firsts, file_of = _distinct(digests, len(catalogue.keys))
        links = _Links(catalogue, firsts, thumbnails, near_duplicate).find()
    return _group(catalogue, file_of, links, order)


def keeper_order(products: QuerySet[Model], criteria: Sequence[str | tuple[str, object]]) -> list[Hashable]:
    """Return the keys of ``products``, the preferred one first; of equal ones the lower key.

    A criterion is the path of a field, ascending, or descending with ``-`` before it; ``"pictures"`` for the products
    with more pictures first, where they have several; or a pair of path and value as ``filter`` takes them, for those
    that meet it first. Rows without a value come last. Raises ``FieldError`` and what ``filter`` raises.
    """
    placement = get_placement(products.model)
    ordering: list[OrderBy] = []
    for criterion in criteria:
        if not isinstance(criterion, str):
            lookup, value = criterion
            ordering.append(Case(When(**{lookup: value}, then=Value(0)), default=Value(1)).asc())
        elif criterion != "pictures":
            path = F(criterion.removeprefix("-"))
            ordering.append(path.desc(nulls_last=True) if criterion[0] == "-" else path.asc(nulls_last=True))
        elif placement.several:
            pictures = all_rows(placement.holder).filter(**{placement.owner: OuterRef("pk")}).order_by()
            number = pictures.values(placement.owner).annotate(number=Count("pk")).values("number")
            ordering.append(Subquery(number).desc(nulls_last=True))
    keys = products.order_by(*ordering, "pk").values_list("pk", flat=True)
    return list(dict.fromkeys(keys.iterator(chunk_size=2_000)))  # a relation to many gives a product several times


def _read_pictures(
    catalogue: Catalogue, model: type[Model], thumbnails: NDArray[np.void], using: str, on_progress: Progress
) -> dict[int, bytes]:
    """Fill ``thumbnails`` and return the digests of the files, by row of the catalogue."""
    storage = get_placement(model).picture_field.storage
    digests: dict[int, bytes] = {}

    def read(item: tuple[int, str]) -> tuple[int, bytes, NDArray[np.void] | None]:
        row, name = item
        return row, *_read_picture(storage, name)

    names = picture_names(catalogue, model, np.arange(len(catalogue.keys)), using)
    with closing(map_ahead(read, names, ahead=PICTURES_AHEAD)) as pictures:
        for row, digest, thumbnail in pictures:
            if digest:
                digests[row] = digest
            if thumbnail is not None:
                thumbnails[row] = thumbnail
            on_progress(1)
    return digests


def _read_picture(storage: Storage, name: str) -> tuple[bytes, NDArray[np.void] | None]:
    digest = b""
    try:
        data = read_stored_file(storage, name)
        digest = hashlib.sha256(data).digest()[:16]
        return digest, thumbnail_of(load_pixels(data, SIDE))
    except ImageRejected:
        return digest, None


class _Link(NamedTuple):
    file: int
    kind: str
    similarity: float


def _distinct(digests: dict[int, bytes], rows: int) -> tuple[Positions, Positions]:
    """Return the first row of each different file, ascending, and of each row which of those files it has.

    A placeholder that stands on thousands of products is compared once. What could not be read is a file of its own.
    """
    firsts: list[int] = []
    file_of = np.empty(rows, np.int64)
    known: dict[bytes, int] = {}
    for row in range(rows):
        digest = digests.get(row)
        file = len(firsts) if digest is None else known.setdefault(digest, len(firsts))
        if file == len(firsts):
            firsts.append(row)
        file_of[row] = file
    return np.array(firsts, np.int64), file_of


class _Links:
    """What each file is a duplicate of, both ways; each pair is looked at once."""

    def __init__(
        self, catalogue: Catalogue, firsts: Positions, thumbnails: NDArray[np.void], near_duplicate: float
    ) -> None:
        self._distinct = take_rows(catalogue, firsts)
        self._firsts, self._thumbnails, self._near_duplicate = firsts, thumbnails, near_duplicate
        self._kind_of: dict[tuple[int, int], str] = {}
        self._links: dict[int, list[_Link]] = defaultdict(list)

    def find(self) -> dict[int, list[_Link]]:
        queries, k = np.arange(len(self._firsts)), CANDIDATES
        while len(queries) and k <= MAX_CANDIDATES:
            found = single(nearest_rows(self._distinct, k=k, queries=queries))
            queries = np.array([ranking.query for ranking in found if self._add(ranking) == k], np.int64)
            k *= 4
        return self._links

    def _add(self, ranking: Ranking) -> int:
        """Add the links of one file; return how many of what it has found are its duplicates."""
        found = 0
        for other, similarity in zip(ranking.positions.tolist(), ranking.similarities.tolist(), strict=True):
            pair = min(ranking.query, other), max(ranking.query, other)
            if pair not in self._kind_of:
                is_near = similarity >= self._near_duplicate - TIE
                one, two = (self._thumbnails[self._firsts[file]] for file in pair)
                self._kind_of[pair] = kind = same_picture(one, two) or (NEAR_DUPLICATE if is_near else "")
                if kind:
                    self._links[ranking.query].append(_Link(other, kind, similarity))
                    self._links[other].append(_Link(ranking.query, kind, similarity))
            found += bool(self._kind_of[pair])
        return found


def _group(
    catalogue: Catalogue, file_of: Positions, links: dict[int, list[_Link]], order: Sequence[Hashable]
) -> list[DuplicateGroup]:
    """Return each keeper of ``order`` with the products, not yet in a group, that show one of its files."""
    owners, keys, starts = catalogue.owners.tolist(), catalogue.keys.tolist(), catalogue.starts.tolist()
    owner_of, files = catalogue.owners_of_rows().tolist(), file_of.tolist()
    position_of = {owner: position for position, owner in enumerate(owners)}
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row, file in enumerate(files):
        rows_of[file].append(row)
    taken: set[int] = set()
    groups = []
    for key in order:
        keeper = position_of.get(key)
        if keeper is None or keeper in taken:
            continue
        best: dict[int, Duplicate] = {}
        for row in range(starts[keeper], starts[keeper + 1]):
            for link in [_Link(files[row], SAME_FILE, 1.0), *links.get(files[row], ())]:
                for other_row in rows_of[link.file]:
                    other = owner_of[other_row]
                    if other == keeper or other in taken:
                        continue
                    duplicate = Duplicate(owners[other], keys[other_row], keys[row], link.kind, link.similarity)
                    if other not in best or _closeness(duplicate) < _closeness(best[other]):
                        best[other] = duplicate
        if best:
            taken |= {keeper, *best}
            groups.append(DuplicateGroup(key, sorted(best.values(), key=_closeness)))
    return groups


def _closeness(duplicate: Duplicate) -> tuple[int, float]:
    return KINDS.index(duplicate.kind), -duplicate.similarity
