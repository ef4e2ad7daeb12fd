"""What drawn things are made of: small textures of wood, cloth, metal and more, in random colours."""

import colorsys
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 128
"""Width and height of a texture; it repeats."""

Floats = NDArray[np.float32]
PhotosPart = Callable[[], Image.Image]


class Surface(NamedTuple):
    texture: NDArray[np.uint8]
    """SIDE x SIDE x 3; wood runs along x."""
    gloss: float = 0.1
    metal: bool = False
    opacity: float = 1.0
    glow: float = 0.0
    """How far it shines by itself."""
    repeats: float = 1.0
    """How often the texture fits in half the size of the thing."""


@lru_cache
def noise(coarseness: int) -> Floats:
    """Return SIDE x SIDE smooth noise around 0 with standard deviation 1, without a seam where it repeats."""
    dice = np.random.default_rng(coarseness)
    few = dice.normal(size=(SIDE // coarseness,) * 2).astype(np.float32)
    around = np.pad(few, 2, mode="wrap")
    smooth = Image.fromarray(around).resize((around.shape[1] * coarseness,) * 2, Image.Resampling.BICUBIC)
    values = np.asarray(smooth)[2 * coarseness : 2 * coarseness + SIDE, 2 * coarseness : 2 * coarseness + SIDE]
    return (values - values.mean()) / values.std()


def color(dice: np.random.Generator) -> Floats:
    """Return a colour as things have them: often white, black, grey or brown."""
    kind = dice.random()
    if kind < 0.2:
        hsv = (dice.random(), dice.uniform(0, 0.06), dice.uniform(0.85, 1))
    elif kind < 0.3:
        hsv = (dice.random(), dice.uniform(0, 0.15), dice.uniform(0.12, 0.35))
    elif kind < 0.5:
        hsv = (dice.random(), dice.uniform(0, 0.12), dice.uniform(0.3, 0.85))
    elif kind < 0.7:
        hsv = (dice.uniform(0.03, 0.13), dice.uniform(0.2, 0.7), dice.uniform(0.3, 0.9))
    else:
        hsv = (dice.random(), dice.uniform(0.35, 0.95), dice.uniform(0.35, 0.95))
    return np.float32(colorsys.hsv_to_rgb(*hsv)) * 255


def _painted(values: Floats, one: Floats, other: Floats) -> NDArray[np.uint8]:
    """Return a texture that goes from one colour to another with values from 0 to 1."""
    palette = one + (other - one) * np.linspace(0, 1, 256)[:, None]
    return palette.clip(0, 255).astype(np.uint8)[(values * 255).clip(0, 255).astype(np.uint8)]


@lru_cache
def _grain(coarseness: int) -> NDArray[np.uint8]:
    """Return the noise in 256 steps, of which 32 are a standard deviation."""
    return (noise(coarseness) * 32 + 128).clip(0, 255).astype(np.uint8)


def _speckled(dice: np.random.Generator, base: Floats, strength: float, coarseness: int = 2) -> NDArray[np.uint8]:
    palette = base * (1 + strength * np.linspace(-4, 4, 256)[:, None])
    grain = np.roll(_grain(coarseness), int(dice.integers(SIDE)), axis=int(dice.integers(2)))
    return palette.clip(0, 255).astype(np.uint8)[grain]


def plain(dice: np.random.Generator) -> Surface:
    return Surface(_speckled(dice, color(dice), 0.01), gloss=dice.uniform(0, 0.5))


def wood(dice: np.random.Generator) -> Surface:
    hsv = (dice.uniform(0.03, 0.11), dice.uniform(0.25, 0.75), dice.uniform(0.25, 0.95))
    light = np.float32(colorsys.hsv_to_rgb(*hsv)) * 255
    bends = np.roll(noise(32), int(dice.integers(SIDE)), axis=0) * dice.uniform(0.3, 2.5)
    rows = np.arange(SIDE, dtype=np.float32)[:, None] * (2 * np.pi * int(dice.integers(3, 9)) / SIDE)
    fine = np.broadcast_to(noise(2)[:, :1], (SIDE, SIDE))
    grain = np.clip(0.5 + 0.3 * np.sin(rows + bends) + 0.15 * fine, 0, 1)
    texture = _painted(grain, light, light * np.float32(dice.uniform(0.65, 0.95)))
    return Surface(texture, gloss=dice.uniform(0, 0.3), repeats=dice.uniform(0.5, 1.5))


def cloth(dice: np.random.Generator) -> Surface:
    base, other = color(dice), color(dice)
    width = int(2 ** dice.integers(2, 6))
    x = np.arange(SIDE)
    stripes = (x // width % 2).astype(np.float32)
    match dice.choice(
        ("plain", "stripes", "checks", "dots", "zigzag", "flowers"), p=(0.55, 0.15, 0.1, 0.07, 0.05, 0.08)
    ):
        case "stripes":
            pattern = np.broadcast_to(stripes if dice.random() < 0.5 else stripes[:, None], (SIDE, SIDE))
        case "checks":
            pattern = (stripes + stripes[:, None]) / 2
        case "dots":
            wave = np.cos(x * 2 * np.pi / width / 2)
            pattern = (wave + wave[:, None] > 0.9).astype(np.float32)
        case "zigzag":
            pattern = ((x[:, None] + np.abs(x % (2 * width) - width)) // width % 2).astype(np.float32)
        case "flowers":
            pattern = (np.roll(noise(8), int(dice.integers(SIDE)), axis=1) > 0.8).astype(np.float32)
        case _:
            pattern = np.zeros((SIDE, SIDE), dtype=np.float32)
    weave = dice.uniform(0, 0.12) * noise(int(dice.choice((1, 2))))
    return Surface(_painted(np.abs(pattern + weave), base, other), gloss=0, repeats=dice.uniform(0.5, 2))


def leather(dice: np.random.Generator) -> Surface:
    hsv = (dice.uniform(0, 0.1), dice.uniform(0.1, 0.8), dice.uniform(0.1, 0.7))
    base = np.float32(colorsys.hsv_to_rgb(*hsv)) * 255 if dice.random() < 0.7 else color(dice)
    return Surface(_speckled(dice, base, 0.06, 4), gloss=dice.uniform(0.2, 0.6), repeats=2)


def metal(dice: np.random.Generator) -> Surface:
    kind = dice.random()
    if kind < 0.55:
        base = np.float32((0.97, 1, 1.03)) * dice.uniform(150, 225)
    elif kind < 0.75:
        base = np.float32((225, 180, 105)) * dice.uniform(0.7, 1.05)
    elif kind < 0.85:
        base = np.float32((205, 125, 90)) * dice.uniform(0.7, 1.05)
    else:
        base = np.float32((60, 60, 64)) * dice.uniform(0.5, 1.2)
    return Surface(_speckled(dice, base, 0.02), gloss=0.8, metal=True)


def lacquer(dice: np.random.Generator) -> Surface:
    return Surface(_speckled(dice, color(dice), 0.0), gloss=dice.uniform(0.4, 0.9))


def glass(dice: np.random.Generator) -> Surface:
    tint = np.float32((225, 235, 235)) if dice.random() < 0.6 else color(dice)
    return Surface(_speckled(dice, tint, 0), gloss=1, opacity=dice.uniform(0.25, 0.7))


def wicker(dice: np.random.Generator) -> Surface:
    hsv = (dice.uniform(0.06, 0.12), dice.uniform(0.2, 0.6), dice.uniform(0.4, 0.9))
    base = np.float32(colorsys.hsv_to_rgb(*hsv)) * 255
    x = np.arange(SIDE, dtype=np.float32) * (2 * np.pi / 16)
    over = np.sin(x[:, None]) * np.sign(np.sin(x / 2))[None, :]
    texture = _painted(np.clip(0.5 + 0.45 * over + 0.1 * noise(4), 0, 1), base, base * np.float32(0.45))
    return Surface(texture, gloss=0, repeats=dice.uniform(1, 2))


def stone(dice: np.random.Generator) -> Surface:
    base = np.float32((1, 1, 1)) * dice.uniform(60, 245) + np.float32(dice.normal(0, 6, 3))
    veins = np.exp(-np.abs(np.roll(noise(32), int(dice.integers(SIDE)), axis=0) + 0.4 * noise(8)) * 6)
    return Surface(_painted(veins + 0.05 * noise(2), base, base * np.float32(0.6)), gloss=dice.uniform(0, 0.5))


def print_(dice: np.random.Generator) -> Surface:
    """A cover with a block and lines, as of a book, a label or a carton."""
    texture = np.empty((SIDE, SIDE, 3), dtype=np.uint8)
    texture[:] = color(dice)
    left, top = dice.integers(8, 48, 2)
    texture[top : top + dice.integers(16, 64), left : left + dice.integers(24, 72)] = color(dice)
    ink = color(dice)
    for row in range(int(dice.integers(64, 100)), 120, 8):
        texture[row : row + 3, 16 : 16 + dice.integers(20, 96)] = ink
    return Surface(texture, gloss=dice.uniform(0, 0.4))


def leaf(dice: np.random.Generator) -> Surface:
    hsv = (dice.uniform(0.2, 0.4), dice.uniform(0.3, 0.8), dice.uniform(0.25, 0.7))
    return Surface(_speckled(dice, np.float32(colorsys.hsv_to_rgb(*hsv)) * 255, 0.12, 8), gloss=0.2)


def dark(dice: np.random.Generator) -> Surface:
    return Surface(_speckled(dice, np.float32((1, 1, 1)) * dice.uniform(20, 75), 0.05), gloss=dice.uniform(0, 0.6))


def bright(dice: np.random.Generator) -> Surface:
    return Surface(_speckled(dice, np.float32((250, 248, 240)) * dice.uniform(0.9, 1), 0.01), gloss=0.1)


def lit(dice: np.random.Generator) -> Surface:
    """A lampshade or a bulb."""
    base = bright(dice) if dice.random() < 0.6 else cloth(dice)
    return base._replace(glow=dice.uniform(0.2, 0.6))


def earth(dice: np.random.Generator) -> Surface:
    return Surface(_speckled(dice, np.float32((90, 65, 45)) * dice.uniform(0.5, 1.2), 0.25, 4), gloss=0)


FAMILIES: dict[str, tuple[Callable[[np.random.Generator], Surface], ...]] = {
    "frame": (wood, wood, wood, plain, lacquer, metal),
    "leg": (wood, wood, metal, metal, plain, dark),
    "metal": (metal, metal, metal, lacquer, dark),
    "cloth": (cloth, cloth, cloth, leather, plain),
    "hide": (leather, leather, cloth, lacquer),
    "hard": (plain, lacquer, lacquer, wood, metal, dark),
    "pottery": (lacquer, lacquer, plain, stone, cloth, glass, metal),
    "glass": (glass, glass, glass, lacquer, metal),
    "top": (wood, wood, wood, plain, stone, glass, lacquer),
    "woven": (wicker, wicker, cloth, wood),
    "cover": (print_, print_, plain, leather),
    "screen": (dark, dark, dark, print_),
    "mirror": (glass, metal, bright),
    "leaf": (leaf,),
    "dark": (dark,),
    "bright": (bright,),
    "lit": (lit,),
    "earth": (earth, dark),
    "any": (plain, wood, cloth, leather, metal, lacquer, glass, wicker, stone, print_, leaf, dark, bright, lit),
}
"""What a part of a thing may be made of; the oftener, the likelier."""

PHOTO_SHARES = {"cover": 0.4, "screen": 0.4, "mirror": 0.25, "any": 0.2, "cloth": 0.12, "pottery": 0.12, "top": 0.1}
"""How often a family is cut from a photo instead."""


def surface(family: str, dice: np.random.Generator, photos_part: PhotosPart) -> Surface:
    """Return a random surface of a family."""
    if dice.random() < PHOTO_SHARES.get(family, 0.04):
        cut = photos_part().convert("RGB").resize((SIDE, SIDE))
        return Surface(np.asarray(cut), gloss=dice.uniform(0, 0.4), repeats=dice.uniform(0.4, 1))
    choices = FAMILIES[family]
    return choices[dice.integers(len(choices))](dice)
