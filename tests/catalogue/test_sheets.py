"""Texts on a sheet, of whatever characters."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFont

from similar_products.catalogue import sheets
from similar_products.catalogue.sheets import FRAME, GAP, MARGIN, TILE, Tile, draw_sheet, plain

NAMES = [
    "長袖のシャツ",
    "قميص \u202ebackwards\u202c",
    "Shirt 👗👨‍👩‍👧",
    "two\nlines\tand\x07a bell",
    "W" * 5_000,
    "",
    "e\u0301" * 50,
    "\ue000\uffff",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_draw_sheet__takes_any_name(name):
    tile = Tile(np.zeros((TILE, TILE, 3), np.uint8), name, name, is_query=True)
    sheet = np.asarray(Image.open(io.BytesIO(draw_sheet(name, [[tile] * 5]))))
    for place in range(4):  # nothing is written between the tiles
        left = MARGIN + place * (TILE + GAP) + TILE + FRAME
        assert (sheet[60:, left : left + GAP - 2 * FRAME] == 255).all()
    assert (sheet[:, -MARGIN + FRAME :] == 255).all()


def test_plain__leaves_out_what_is_not_seen():
    assert plain(" a\n\tb\u202e c\u200b\x00 ") == "a b c"


def test_draw_sheet__long_names_end_in_dots():
    def row(name: str) -> np.ndarray:
        tile = Tile(np.zeros((TILE, TILE, 3), np.uint8), name, "")
        return np.asarray(Image.open(io.BytesIO(draw_sheet("", [[tile]]))))

    assert (row("i" * 200) == row("i" * 1_000)).all()
    assert (row("i" * 200) != row("i" * 20)).any()


def test_sheet__font_of_last_resort_takes_any_name(monkeypatch):
    """As where Pillow lacks FreeType."""
    monkeypatch.setattr(sheets, "read_font", lambda path, size: ImageFont.load_default_imagefont())
    tile = Tile(np.zeros((TILE, TILE, 3), np.uint8), "長袖 Überwurf " * 30, "0.5")
    assert Image.open(io.BytesIO(draw_sheet("長", [[tile]]))).width == 2 * MARGIN + 5 * TILE + 4 * GAP
