"""Thumbnails that tell whether two pictures are one: recompressed, of another size, mirrored or with a border."""

import numpy as np
from numpy.typing import NDArray

from ..pictures.gate import Pixels

SAME_PICTURE = "same picture"
MIRRORED = "mirrored"

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
MIN_INSIDE = 8
ASPECT_TOLERANCE = 0.1
WHOLE_AGREEMENT = (0.98, 12)
INSIDE_AGREEMENT = (0.9, 24)
"""The least correlation of details and the greatest difference of colours, in levels, of two thumbnails of one picture:
of whole pictures, and without borders, which are found to a pixel in 128. Of 400 copies of women's clothes on white 391
agreed, and of 1,995,003 pairs of others 2; of 400 copies of furniture 397, and of 2,683,086 pairs 17 (variants in the
same pose); counted are pairs among the nearest ten at a similarity below 0.99."""

THUMBNAIL = np.dtype(
    [("detail", "f2", (3, DETAIL, DETAIL)), ("colors", "u1", (3, COLORS, COLORS, 3)), ("aspect", "f4")]
)
# Pairs of views that are compared: 0 the whole picture, 1 what is inside its border, 2 the middle square of that.
_WHOLE_VIEWS = ((0, 0),)
_INSIDE_VIEWS = ((0, 2), (2, 0), (1, 1), (2, 2))


def thumbnail_of(pixels: Pixels) -> NDArray[np.void]:
    """Return what is compared of the picture uint8 ``[side, side, 3]``: a record of details, colours and aspect."""
    top, bottom, left, right = _inside(pixels)
    inside = pixels[top:bottom, left:right]
    height, width = inside.shape[:2]
    side, y, x = min(height, width), max(height - width, 0) // 2, max(width - height, 0) // 2
    views = (pixels, inside, inside[y : y + side, x : x + side])
    record = np.zeros((), THUMBNAIL)
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
    if bottom - top < MIN_INSIDE or right - left < MIN_INSIDE:
        return 0, len(pixels), 0, len(pixels)
    return top, bottom, left, right


def _resized(pixels: Pixels, side: int) -> NDArray[np.float64]:
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


def same_picture(one: NDArray[np.void], other: NDArray[np.void]) -> str:
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
