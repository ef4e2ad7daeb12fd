"""Products that show the same picture: the same file, a copy of it, or what the encoder takes for one.

In two steps. The vectors name the nearest few of each picture: of 800 copies (recompressed, resized, mirrored, with a
border) among 4,315 studio photos each had its original among the nearest six, but some with a border at a similarity of
0.77, where there are many others. The pixels then tell copies from others. A pair that they do not confirm counts where
its similarity reaches the near-duplicate band.
"""

import hashlib
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from django.core.files.storage import Storage
from django.db.models import Case, Count, F, OuterRef, QuerySet, Subquery, Value, When
from numpy.typing import NDArray

from ..pictures.gate import ImageRejected, Pixels, load_pixels, read_stored_file
from ..search.placement import get_placement, picture_field
from .evaluation import NAMES_PER_QUERY, TIE, picture_names
from .neighbours import Catalogue, Positions, nearest_rows, take_rows

SAME_FILE = "same file"
SAME_PICTURE = "same picture"
MIRRORED = "mirrored"
NEAR_DUPLICATE = "near-duplicate"
KINDS = (SAME_FILE, SAME_PICTURE, MIRRORED, NEAR_DUPLICATE)
"""What a duplicate may be, the surest first: the same bytes; the same by its pixels, recompressed, of another
size or with a border; the same with left and right exchanged; near by the encoder alone."""

CANDIDATES = 10
MOST_CANDIDATES = 640
"""Neighbours of a picture that are looked at: ten, and four times as many as long as all of them are duplicates."""
SIDE = 128
DETAIL = 32
COLORS = 8
"""Sides in pixels: of the picture that is read, and of the thumbnails that are compared."""
BLUR = 5
"""Cells of a thumbnail, across, whose mean is taken off: outlines and textures stay. With it on, any two dark trousers
on white correlate at 0.98."""
BORDER_TOLERANCE = 8
BORDER_SHARE = 0.01
"""A line belongs to the border where but 1 % of its pixels are over 8 levels from the middle of the outermost line."""
LEAST_INSIDE = 8
ASPECT_TOLERANCE = 0.1
WHOLE_AGREEMENT = (0.98, 12)
INSIDE_AGREEMENT = (0.9, 24)
"""The least correlation of details and the greatest difference of colours, in levels, of two thumbnails of one picture:
of whole pictures, and without borders, which are found to a pixel in 128. Of 400 copies of women's clothes on white 391
agreed, and of 1,995,003 pairs of others 2; of 400 copies of furniture 397, and of 2,683,086 pairs 17 (variants in the
same pose); counted are pairs among the nearest ten at a similarity below 0.99."""

_THUMBNAIL = np.dtype(
    [("detail", "f2", (3, DETAIL, DETAIL)), ("colors", "u1", (3, COLORS, COLORS, 3)), ("aspect", "f4")]
)
# Pairs of views that are compared: 0 the whole picture, 1 what is inside its border, 2 the middle square of that.
_WHOLE_VIEWS = ((0, 0),)
_INSIDE_VIEWS = ((0, 2), (2, 0), (1, 1), (2, 2))


class Duplicate(NamedTuple):
    """A product that shows the picture of its group's keeper.

    ``row`` and ``keeper_row`` are the keys of the rows with the two pictures, ``kind`` is one of ``KINDS``, and
    ``similarity`` the cosine of their vectors in -1..1.
    """

    product: Any
    row: Any
    keeper_row: Any
    kind: str
    similarity: float


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """A product to keep, and those that show its picture."""

    keeper: Any
    duplicates: list[Duplicate]


def find_duplicates(
    catalogue: Catalogue,
    products: QuerySet[Any],
    *,
    near_duplicate: float,
    order: Sequence[Any],
    using: str,
    on_progress: Callable[[int], object] | None = None,
) -> list[DuplicateGroup]:
    """Return the groups of products of ``catalogue`` that show the same picture, in the order of their keepers.

    ``near_duplicate`` is the cosine similarity from which two pictures count without a look at their pixels. ``order``
    has the keys of the products, the one rather kept first: each is a keeper, unless a keeper before it shows its
    picture. So every duplicate is one of its keeper itself, a chain of alike pictures joins nobody, and no two keepers
    are duplicates of each other: what remains without the others is the catalogue without duplicates. Pictures that
    cannot be read are compared by their vectors. ``on_progress`` is called with the number of pictures just read.
    """
    with tempfile.TemporaryFile(prefix="similar-products-") as file:
        shape = (max(len(catalogue.keys), 1),)
        thumbnails: Any = np.memmap(file, _THUMBNAIL, "w+", shape=shape)  # 7 KB a picture
        digests = _read_pictures(catalogue, products.model, thumbnails, using, on_progress)
        firsts, file_of = _distinct(digests, len(catalogue.keys))
        links = _links(catalogue, firsts, thumbnails, near_duplicate)
    return _grouped(catalogue, file_of, links, order)


def keeper_order(products: QuerySet[Any], criteria: Sequence[Any]) -> list[Any]:
    """Return the keys of ``products``, the one rather kept first; of equal ones the lower key.

    A criterion is the path of a field, ascending, or descending with ``-`` before it; ``"pictures"`` for the products
    with more pictures first, where they have several; or a pair of path and value as ``filter`` takes them, for those
    that meet it first. Rows without a value come last. Raises ``FieldError`` and what ``filter`` raises.
    """
    placement = get_placement(products.model)
    ordering: list[Any] = []
    for criterion in criteria:
        if not isinstance(criterion, str):
            ordering.append(Case(When(**dict([criterion]), then=Value(0)), default=Value(1)).asc())
        elif criterion == "pictures":
            if placement.several:
                pictures = placement.holder._base_manager.filter(**{placement.owner: OuterRef("pk")}).order_by()
                number = pictures.values(placement.owner).annotate(number=Count("pk")).values("number")
                ordering.append(Subquery(number).desc(nulls_last=True))
        elif criterion.startswith("-"):
            ordering.append(F(criterion[1:]).desc(nulls_last=True))
        else:
            ordering.append(F(criterion).asc(nulls_last=True))
    keys = products.order_by(*ordering, "pk").values_list("pk", flat=True)
    return list(dict.fromkeys(keys.iterator(chunk_size=2_000)))  # a relation to many gives a product several times


# Pictures: the file as a digest, and thumbnails of its pixels.


def _read_pictures(
    catalogue: Catalogue,
    model: Any,
    thumbnails: Any,
    using: str,
    on_progress: Callable[[int], object] | None,
) -> dict[int, bytes]:
    """Fill ``thumbnails`` and return the digests of the files, by row of the catalogue."""
    storage = picture_field(get_placement(model).holder).storage
    digests: dict[int, bytes] = {}
    threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode")
    try:
        for start in range(0, len(catalogue.keys), NAMES_PER_QUERY):
            rows = np.arange(start, min(start + NAMES_PER_QUERY, len(catalogue.keys)))
            named = list(picture_names(catalogue, model, rows, using))
            for (row, _), (digest, thumbnail) in zip(
                named, threads.map(lambda one: _read_picture(storage, one[1]), named), strict=True
            ):
                if digest:
                    digests[row] = digest
                if thumbnail is not None:
                    thumbnails[row] = thumbnail
                if on_progress:
                    on_progress(1)
    finally:
        threads.shutdown(cancel_futures=True)
    return digests


def _read_picture(storage: Storage, name: str) -> "tuple[bytes, NDArray[Any] | None]":
    try:
        data = read_stored_file(storage, name)
    except ImageRejected:
        return b"", None
    digest = hashlib.sha256(data).digest()[:16]
    try:
        return digest, thumbnail_of(load_pixels(data, SIDE))
    except ImageRejected:
        return digest, None


def thumbnail_of(pixels: Pixels) -> NDArray[Any]:
    """Return what is compared of the picture uint8 ``[side, side, 3]``: a record of details, colours and aspect."""
    top, bottom, left, right = _inside(pixels)
    inside = pixels[top:bottom, left:right]
    height, width = inside.shape[:2]
    side, y, x = min(height, width), max(height - width, 0) // 2, max(width - height, 0) // 2
    views = (pixels, inside, inside[y : y + side, x : x + side])
    record = np.zeros((), _THUMBNAIL)
    for number, view in enumerate(views):
        record["detail"][number] = _detail(_resized(view, DETAIL).mean(axis=2))
        record["colors"][number] = np.rint(_resized(view, COLORS))
    record["aspect"] = np.log(height / width)
    return record


def _inside(pixels: Pixels) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of what a border of one colour leaves; all where it would leave nothing."""
    levels = pixels.astype(np.int16)
    across = levels.swapaxes(0, 1)
    cut = []
    for lines in (levels, levels[::-1], across, across[::-1]):
        differs = (np.abs(lines - np.median(lines[0], axis=0)).max(axis=2) > BORDER_TOLERANCE).mean(axis=1)
        first = int(np.argmax(differs > BORDER_SHARE))
        cut.append(first + 1 if first else 0)  # its last line is mixed with the picture's first
    top, bottom, left, right = cut[0], len(pixels) - cut[1], cut[2], len(pixels) - cut[3]
    if bottom - top < LEAST_INSIDE or right - left < LEAST_INSIDE:
        return 0, len(pixels), 0, len(pixels)
    return top, bottom, left, right


def _resized(pixels: NDArray[Any], side: int) -> NDArray[np.float64]:
    """Return the means over the cells of a grid, ``[side, side, 3]``: parts of a pixel count in part."""
    result = pixels.astype(np.float64)
    for _ in range(2):  # rows, then columns
        sums = np.concatenate([np.zeros_like(result[:1]), np.cumsum(result, axis=0)])
        edges = np.linspace(0, len(result), side + 1)
        whole = np.minimum(edges.astype(int), len(result) - 1)
        part = (edges - whole)[:, None, None]
        at_edges = sums[whole] * (1 - part) + sums[whole + 1] * part
        result = (np.diff(at_edges, axis=0) * (side / len(result))).swapaxes(0, 1)
    return result


def _detail(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what differs from the surroundings, at norm 1, or less where that is under one level on average."""
    side, reach = len(grey), BLUR // 2
    padded = np.pad(grey, reach, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (BLUR, BLUR))
    detail: NDArray[np.float64] = grey - windows.mean(axis=(2, 3))
    detail /= max(float(np.linalg.norm(detail)), side)
    return detail


def same_picture(one: NDArray[Any], other: NDArray[Any]) -> str:
    """Return ``SAME_PICTURE`` or ``MIRRORED`` where two records of ``thumbnail_of`` are of one picture, and else ''."""
    for kind, step in ((SAME_PICTURE, 1), (MIRRORED, -1)):
        for views, (least, most) in ((_WHOLE_VIEWS, WHOLE_AGREEMENT), (_INSIDE_VIEWS, INSIDE_AGREEMENT)):
            for first, second in views:
                if first == second == 1 and abs(one["aspect"] - other["aspect"]) > ASPECT_TOLERANCE:
                    continue  # squeezed into a square they may agree, and are not the same
                details = one["detail"][first].astype(np.float32), other["detail"][second][:, ::step]
                if float((details[0] * details[1]).sum()) < least:
                    continue
                colors = one["colors"][first].astype(np.int16) - other["colors"][second][:, ::step]
                if np.abs(colors).max() <= most:
                    return kind
    return ""


# Links between files, and groups of products.


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


def _links(
    catalogue: Catalogue, firsts: Positions, thumbnails: NDArray[Any], near_duplicate: float
) -> dict[int, list[_Link]]:
    """Return what each file is a duplicate of, both ways."""
    distinct = catalogue if len(firsts) == len(catalogue.keys) else take_rows(catalogue, firsts)
    kind_of: dict[tuple[int, int], str] = {}
    links: dict[int, list[_Link]] = defaultdict(list)
    queries, k = np.arange(len(firsts)), CANDIDATES
    while len(queries) and k <= MOST_CANDIDATES:
        full = []
        for block in nearest_rows(distinct, k=k, queries=queries):
            for query, others, similarities in zip(*(part.tolist() for part in block), strict=True):
                found = 0
                for other, similarity in zip(others, similarities, strict=True):
                    if other < 0:
                        break
                    pair = min(query, other), max(query, other)
                    if pair not in kind_of:
                        one, two = (thumbnails[firsts[file]] for file in pair)
                        is_near = similarity >= near_duplicate - TIE
                        kind_of[pair] = kind = same_picture(one, two) or (NEAR_DUPLICATE if is_near else "")
                        if kind:
                            links[query].append(_Link(other, kind, similarity))
                            links[other].append(_Link(query, kind, similarity))
                    found += bool(kind_of[pair])
                if found == k:
                    full.append(query)
        queries, k = np.array(full, np.int64), 4 * k
    return links


def _grouped(
    catalogue: Catalogue, file_of: Positions, links: dict[int, list[_Link]], order: Sequence[Any]
) -> list[DuplicateGroup]:
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
                    one = Duplicate(owners[other], keys[other_row], keys[row], link.kind, link.similarity)
                    if other not in best or _closeness(one) < _closeness(best[other]):
                        best[other] = one
        if best:
            taken |= {keeper, *best}
            groups.append(DuplicateGroup(key, sorted(best.values(), key=_closeness)))
    return groups


def _closeness(duplicate: Duplicate) -> tuple[int, float]:
    return KINDS.index(duplicate.kind), -duplicate.similarity
