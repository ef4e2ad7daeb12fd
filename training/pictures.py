"""What the student looks at: random parts of photos, pictures put together from two, and drawings.

No label is read anywhere: the folders of a data set are searched for files and otherwise ignored.
"""

import math
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from shop_demo.drawing import COLORS, PATTERNS, SECTIONS, Artwork

from .scenes import scene

PHOTO_SETS = ("everyday", "clothing/train", "lord_and_taylor")
"""The sets that may be trained on. What the results are measured on, clothing/validation and furniture, is not here."""
LONGEST_SHORT_SIDE = 320
"""Photos are kept in memory no larger than this; the teacher sees 224 pixels."""
VIEWS = 4
"""How many pictures of one drawn shape, in other colours and patterns, share a part of their targets."""
SHOP_PRODUCTS = 260
"""The shapes of the demo shop, which the result is measured on, are the first of each section: never drawn here."""


class Recipe(NamedTuple):
    crops: int
    """How many the teacher looks at."""
    share: float
    """Share of what the student is shown: of some it sees each crop oftener than of others."""


RECIPES = {
    "everyday": Recipe(16_384, 0.26),
    "composite": Recipe(10_240, 0.14),
    "scene": Recipe(16_384, 0.26),
    "clothing/train": Recipe(10_240, 0.24),
    "lord_and_taylor": Recipe(4_096, 0.06),
    "drawn": Recipe(4_096, 0.04),
}
"""Everyday photos are all there is of the real world beyond clothes. Drawings are learned soonest, and photos of
clothes, whose differences are small, last."""


class Photos:
    """The photos of each set, decoded once and kept."""

    def __init__(self, folder: Path) -> None:
        self._files = {name: sorted((folder / name).rglob("*.jpg")) for name in PHOTO_SETS}
        for name, files in self._files.items():
            if not files:
                raise SystemExit(f"There is no .jpg below {folder / name}; --images must hold {', '.join(PHOTO_SETS)}.")
        self._open = lru_cache(maxsize=None)(_open)

    def pick(self, name: str, dice: np.random.Generator) -> Image.Image:
        files = self._files[name]
        return self._open(files[dice.integers(len(files))])


def _open(file: Path) -> Image.Image:
    with Image.open(file) as opened:
        photo = ImageOps.exif_transpose(opened).convert("RGB")
    factor = LONGEST_SHORT_SIDE / min(photo.size)
    return photo.resize((round(photo.width * factor), round(photo.height * factor))) if factor < 1 else photo


def seeds(recipe: str, number: int, count: int, seed: int) -> list[int]:
    """Return the seeds of the pictures in file ``number`` of a recipe; views of one drawn shape share theirs."""
    dice = np.random.default_rng([seed, number, *recipe.encode()])
    views = VIEWS if recipe == "drawn" else 1
    return [int(each) for each in np.repeat(dice.integers(2**31, size=-(-count // views)), views)[:count]]


def make(recipe: str, seed: int, number: int, photos: Photos) -> Image.Image:
    """Return the picture of any size that a recipe and a seed give; ``number`` tells apart the views of one shape."""
    dice = np.random.default_rng([seed, number])
    if recipe == "drawn":
        return _drawn(np.random.default_rng(seed), dice)
    if recipe == "scene":
        return scene(np.random.default_rng(seed), dice, lambda: _part(photos.pick("everyday", dice), dice, 0.05))
    if recipe == "composite":
        return _composite(photos, dice)
    return _photo(photos.pick(recipe, dice), dice, least=0.12 if recipe == "everyday" else 0.3)


def _photo(photo: Image.Image, dice: np.random.Generator, *, least: float) -> Image.Image:
    # Every fifth as an encoder sees it in use: the largest square in the middle.
    if dice.random() < 0.2:
        return ImageOps.fit(photo, (min(photo.size),) * 2)
    return _part(photo, dice, least)


def _part(picture: Image.Image, dice: np.random.Generator, least: float, bend: float = 4 / 3) -> Image.Image:
    """Return a random part with between ``least`` and all of the area, at most ``bend`` from square."""
    aspect = math.exp(dice.uniform(-math.log(bend), math.log(bend)))
    area = dice.uniform(least, 1) * min(picture.size) ** 2
    width = min(round(math.sqrt(area * aspect)), picture.width)
    height = min(round(math.sqrt(area / aspect)), picture.height)
    left, top = dice.integers(picture.width - width + 1), dice.integers(picture.height - height + 1)
    return picture.crop((left, top, left + width, top + height))


def _composite(photos: Photos, dice: np.random.Generator) -> Image.Image:
    """Return a part of a photo in or beside another one, or cut out before a plain wall as studios show things."""
    side = 224

    def part() -> Image.Image:
        name = "everyday" if dice.random() < 0.75 else PHOTO_SETS[dice.integers(len(PHOTO_SETS))]
        return _part(photos.pick(name, dice), dice, 0.15)

    width, height = (round(side * share) for share in dice.uniform(0.45, 0.98, 2))
    if dice.random() < 0.5:
        ground = part().resize((side, side))
        mask = None
    else:
        light = dice.uniform(225, 256) if dice.random() < 0.75 else dice.uniform(20, 225)
        tint = np.clip(light + dice.normal(0, 6, 3), 0, 255)
        falling = np.linspace(1, dice.uniform(0.9, 1), side)[:, None, None]
        ground = Image.fromarray(np.broadcast_to(tint * falling, (side, side, 3)).astype(np.uint8))
        mask = _outline(width, height, dice)
    place = (int(dice.integers(side - width + 1)), int(dice.integers(side - height + 1)))
    ground.paste(part().resize((width, height)), place, mask)
    return ground


def _outline(width: int, height: int, dice: np.random.Generator) -> Image.Image:
    """Return the mask of a random thing: round, or with a few corners."""
    mask = Image.new("L", (width, height))
    pen = ImageDraw.Draw(mask)
    if dice.random() < 0.4:
        pen.ellipse((0, 0, width - 1, height - 1), fill=255)
    else:
        angles = np.sort(dice.uniform(0, math.tau, dice.integers(4, 10)))
        reach = dice.uniform(0.6, 1, len(angles))
        corners = zip(width / 2 * (1 + reach * np.cos(angles)), height / 2 * (1 + reach * np.sin(angles)), strict=True)
        pen.polygon(list(corners), fill=255)
    return mask


def _drawn(shape: np.random.Generator, dice: np.random.Generator) -> Image.Image:
    """Return a drawing; ``shape`` decides what is drawn, ``dice`` its colour, its pattern and where it is seen from."""
    section = SECTIONS[shape.integers(len(SECTIONS))]
    seed = f"{section.name} {shape.integers(SHOP_PRODUCTS, 10**9)}"
    color = list(COLORS.values())[dice.integers(len(COLORS))]
    if dice.random() < 0.3:  # one that the shop does not have
        red, green, blue = (int(channel) for channel in dice.integers(20, 250, 3))
        color = (red, green, blue)
    pattern = "plain" if dice.random() < 0.35 else PATTERNS[dice.integers(len(PATTERNS))]
    artwork = Artwork(color, pattern, section.standing, seed)
    section.draw(artwork)
    picture = artwork.photograph()
    if dice.random() < 0.3:
        turn = dice.uniform(-14, 14)
        picture = picture.rotate(turn, Image.Resampling.BILINEAR, fillcolor=picture.getpixel((2, 2)))
    return picture if dice.random() < 0.4 else _part(picture, dice, 0.5, 1.25)
