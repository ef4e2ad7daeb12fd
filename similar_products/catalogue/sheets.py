"""Pictures of pictures, as PNG: a contact sheet of products with their nearest, and a map of a catalogue.

All they show has passed the gate and comes as pixels.
"""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from django.utils.translation import gettext
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..pictures.gate import Pixels
from .copies import file_of

PER_ROW = 5
"""The first picture of this kind had two rows of five: a product and its nine nearest."""
TILE = 200
GAP = 20
MARGIN = 24
FRAME = 6
TITLE_SIZE, TEXT_SIZE, NOTE_SIZE = 22, 16, 14
LINE = 1.35
"""Height of a line of text, in sizes of its letters."""
LONGEST_TEXT = 300
"""Characters that are measured to fit a text in; of a longer one the rest would not fit anyway."""

INK, FAINT, PAPER, HOLE = "#1a1a1a", "#5c5c5c", "#ffffff", "#e8e8e8"
QUERY_COLOR = "#0067a5"
WEBP_QUALITY = 75

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Tile(NamedTuple):
    """A product on a contact sheet: its picture, uint8 ``[TILE, TILE, 3]``, or the code of what is wrong with it."""

    picture: Pixels | str
    name: str
    note: str
    is_query: bool = False


class Legend(NamedTuple):
    """A line of a map's legend."""

    text: str
    color: str
    products: int


def read_font(path: Path | None, size: int) -> Font:
    """Return the font file at ``path``, or the one that Pillow brings, which has the Latin letters only.

    Raises ``OSError`` where it is no font.
    """
    return ImageFont.load_default(size) if path is None else ImageFont.truetype(str(path), size)


def draw_sheet(title: str, groups: Sequence[Sequence[Tile]], *, font: Path | None = None) -> bytes:
    """Return a PNG of the groups below each other, ``PER_ROW`` tiles to a row, the queries in a frame."""
    text_font, note_font = read_font(font, TEXT_SIZE), read_font(font, NOTE_SIZE)
    text_height, note_height = round(TEXT_SIZE * LINE), round(NOTE_SIZE * LINE)
    row_height = TILE + FRAME + text_height + note_height + GAP
    width = 2 * MARGIN + PER_ROW * TILE + (PER_ROW - 1) * GAP
    top = MARGIN + 2 * TITLE_SIZE
    rows = sum(-(-len(group) // PER_ROW) for group in groups)
    height = top + rows * row_height + (len(groups) - 1) * GAP + MARGIN
    image, draw = _paper(title, width, height, read_font(font, TITLE_SIZE))
    for number, group in enumerate(groups):
        if number:
            draw.line((MARGIN, top - GAP // 2, width - MARGIN, top - GAP // 2), HOLE, 2)
        for place, tile in enumerate(group):
            row, column = divmod(place, PER_ROW)
            left, upper = MARGIN + column * (TILE + GAP), top + row * row_height + FRAME
            if tile.is_query:
                _rectangle(draw, left - FRAME, upper - FRAME, TILE + 2 * FRAME, QUERY_COLOR)
            _paste(image, draw, tile.picture, left, upper, note_font)
            under = upper + TILE + FRAME
            draw.text((left, under), _fitting(tile.name, text_font, TILE), INK, text_font)
            color = QUERY_COLOR if tile.is_query else FAINT
            draw.text((left, under + text_height), _fitting(tile.note, note_font, TILE), color, note_font)
        top += -(-len(group) // PER_ROW) * row_height + GAP
    return file_of(image, "PNG")


def _paper(title: str, width: int, height: int, font: Font) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return an image with nothing but its title, and what draws on it."""
    image = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, MARGIN), _fitting(title, font, width - 2 * MARGIN), INK, font)
    return image, draw


def _rectangle(draw: ImageDraw.ImageDraw, left: int, top: int, side: int, color: str) -> None:
    draw.rectangle((left, top, left + side - 1, top + side - 1), color)


def _paste(
    image: Image.Image, draw: ImageDraw.ImageDraw, picture: Pixels | str, left: int, top: int, font: Font
) -> None:
    if isinstance(picture, str):
        _rectangle(draw, left, top, TILE, HOLE)
        for line, text in enumerate((gettext("no picture"), picture)):
            text = _fitting(text, font, TILE - GAP)
            middle = left + (TILE - font.getlength(text)) / 2
            draw.text((middle, top + TILE / 2 + (line - 1) * NOTE_SIZE * LINE), text, FAINT, font)
        return
    image.paste(Image.fromarray(picture), (left, top))
    # White photos on white paper would run into each other.
    draw.rectangle((left, top, left + TILE - 1, top + TILE - 1), outline=HOLE)


def draw_map(
    title: str,
    thumbnails: Sequence[Pixels],
    places: NDArray[np.int64],
    shape: tuple[int, int],
    *,
    colors: Sequence[str],
    legend: Sequence[Legend],
    font: Path | None = None,
) -> bytes:
    """Return a PNG of thumbnails, each uint8 ``[side, side, 3]``, at their places on a grid in frames of their colours.

    ``places``: int64 ``[n, 2]``, the column and the row of each; ``shape``: the numbers of columns and rows; ``colors``
    has one for each thumbnail, as ``#rrggbb``, or is empty.
    """
    side = len(thumbnails[0])
    gap = max(round(side / 16), 1)
    frame = gap if colors else 0
    cell = side + 2 * frame + gap
    columns, rows = shape
    width = max(columns * cell, 20 * TITLE_SIZE) + 2 * MARGIN
    # To be read when the whole map fits on a screen.
    title_size, text_size = max(TITLE_SIZE, width // 64), max(TEXT_SIZE, width // 80)
    text_font = read_font(font, text_size)
    lines = _legend_lines(legend, text_font, text_size, width - 2 * MARGIN)
    top, line_height = MARGIN + 2 * title_size, round(text_size * LINE * 1.2)
    bottom = top + rows * cell + MARGIN
    image, draw = _paper(title, width, bottom + len(lines) * line_height + MARGIN, read_font(font, title_size))
    for number, (picture, (column, row)) in enumerate(zip(thumbnails, places.tolist(), strict=True)):
        left, upper = MARGIN + column * cell, top + row * cell
        if colors:
            _rectangle(draw, left, upper, side + 2 * frame, colors[number])
        image.paste(Image.fromarray(picture), (left + frame, upper + frame))
    for number, line in enumerate(lines):
        upper = bottom + number * line_height
        for left, text, color in line:
            _rectangle(draw, left, upper + 2, text_size, color)
            draw.text((left + text_size * 4 // 3, upper), text, INK, text_font)
    return file_of(image, "PNG")


def _legend_lines(legend: Sequence[Legend], font: Font, size: int, width: int) -> list[list[tuple[int, str, str]]]:
    """Return lines of (left edge, text, color) that fit in ``width``."""
    lines: list[list[tuple[int, str, str]]] = []
    left = width
    for entry in legend:
        text = f"{_fitting(entry.text, font, width / 3)} ({entry.products:,})"
        taken = round(font.getlength(text)) + 3 * size
        if left + taken > width:
            lines.append([])
            left = 0
        lines[-1].append((MARGIN + left, text, entry.color))
        left += taken
    return lines


def placeholder(side: int) -> Pixels:
    """Return what stands for a picture that cannot be used: uint8 ``[side, side, 3]``, grey with a cross."""
    image = Image.new("RGB", (side, side), HOLE)
    draw = ImageDraw.Draw(image)
    draw.line((0, 0, side, side), FAINT, max(side // 24, 1))
    draw.line((0, side, side, 0), FAINT, max(side // 24, 1))
    return np.asarray(image)


def smaller(pixels: Pixels, side: int) -> Pixels:
    """Return the square picture with sides of ``side``."""
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS))


def webp(pixels: Pixels) -> bytes:
    """Return the picture as a WebP file."""
    return file_of(Image.fromarray(pixels), "WEBP", quality=WEBP_QUALITY)


def plain(text: str) -> str:
    """Return the text on one line, without the characters that are not seen but move others about."""
    seen = "".join(
        " " if character.isspace() else character
        for character in text
        if character.isspace() or unicodedata.category(character)[0] != "C"
    )
    return " ".join(seen.split())


def _fitting(text: str, font: Font, width: float) -> str:
    text = plain(text)
    if len(text) <= LONGEST_TEXT and font.getlength(_known(text, font)) <= width:
        return _known(text, font)
    low, high = 0, min(len(text), LONGEST_TEXT)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high) if font.getlength(_known(text[:middle], font) + "...") <= width else (low, middle - 1)
        )
    return _known(text[:low].rstrip(), font) + "..."


def _known(text: str, font: Font) -> str:
    # Pillow's font of last resort raises for what is not Latin-1; it is all there is where Pillow lacks FreeType.
    return text if isinstance(font, ImageFont.FreeTypeFont) else text.encode("latin-1", "replace").decode("latin-1")
