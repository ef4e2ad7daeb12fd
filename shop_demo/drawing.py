"""Draws the demo shop's catalogue: name, price and picture of a product follow from its number alone."""

import io
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

SIZE = 480
UNIT = SIZE / 100  # a picture is 100 units wide and high; x counts from its middle, y from its top
OVERSAMPLING = 4  # a mask is drawn this much larger, then averaged: smooth edges
FLOOR = 86.0  # where a standing product touches the ground

Color = tuple[int, int, int]
Point = tuple[float, float]
Outline = list[Point]
Segment = Sequence[Point]
Light = Literal["cloth", "round", "glow", "flat"]  # soft folds, a cylinder, lit from inside, even
Brightness = NDArray[np.float32]

COLORS: dict[str, Color] = {
    "white": (247, 245, 240),
    "black": (56, 57, 62),
    "grey": (146, 150, 156),
    "red": (203, 56, 56),
    "orange": (232, 132, 54),
    "yellow": (240, 196, 72),
    "green": (84, 142, 92),
    "teal": (44, 140, 146),
    "blue": (58, 96, 172),
    "purple": (122, 84, 158),
    "pink": (236, 150, 172),
    "brown": (138, 94, 64),
}
PATTERNS = ("plain", "striped", "dotted", "checked", "zigzag", "floral")

BACKDROPS: tuple[Color, ...] = (
    (236, 232, 226),
    (228, 233, 238),
    (234, 229, 237),
    (228, 236, 230),
    (240, 230, 225),
    (233, 233, 233),
)
CREAM: Color = (250, 244, 230)
INK: Color = (44, 46, 54)
BRASS: Color = (204, 168, 96)
BULB: Color = (255, 240, 200)
STEEL: Color = (176, 180, 186)
WOODS: tuple[Color, ...] = ((196, 150, 100), (150, 104, 68), (96, 70, 54), (222, 190, 148))
RUBBERS: tuple[Color, ...] = ((246, 245, 240), (226, 216, 196), (72, 72, 76), (200, 158, 112))
LEAVES: tuple[Color, ...] = ((104, 142, 96), (128, 150, 84), (86, 124, 110))

COLLECTIONS = (
    "Alba", "Birk", "Cora", "Dune", "Ember", "Fjord", "Gala", "Haze", "Iris", "Juno", "Kite", "Luna", "Moss",
    "Nova", "Oslo", "Pina", "Quill", "Rona", "Sol", "Tide", "Una", "Vega", "Wren", "Xenia", "Yuma", "Zephyr",
)  # fmt: skip


def path(start: Point, *segments: Segment) -> Outline:
    """Points along Bézier curves: a segment lists its control points and its end, so [end] is a line."""
    points = [start]
    for segment in segments:
        knots = [points[-1], *segment]
        steps = 1 if len(segment) == 1 else 16
        for step in range(1, steps + 1):
            t, level = step / steps, knots
            while len(level) > 1:  # de Casteljau
                level = [(ax + (bx - ax) * t, ay + (by - ay) * t) for (ax, ay), (bx, by) in itertools.pairwise(level)]
            points.append(level[0])
    return points


def flipped(outline: Outline) -> Outline:
    return [(-x, y) for x, y in reversed(outline)]


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> Outline:
    angles = [2 * math.pi * step / 64 for step in range(64)]
    return [(x + radius_x * math.cos(angle), y + radius_y * math.sin(angle)) for angle in angles]


def box(left: float, top: float, right: float, bottom: float, radius: float = 0) -> Outline:
    return path(
        (left + radius, top),
        [(right - radius, top)],
        [(right, top), (right, top + radius)],
        [(right, bottom - radius)],
        [(right, bottom), (right - radius, bottom)],
        [(left + radius, bottom)],
        [(left, bottom), (left, bottom - radius)],
        [(left, top + radius)],
        [(left, top), (left + radius, top)],
    )


def shaded(color: Color, factor: float) -> Color:
    red, green, blue = (min(255, round(channel * factor)) for channel in color)
    return red, green, blue


def mixed(one: Color, other: Color, share: float) -> Color:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def luminance(color: Color) -> float:
    return (0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]) / 255


def printed(color: Color, pattern: str, dice: random.Random) -> Image.Image:
    """A picture full of the pattern, to cut pieces from."""
    scale = 2
    side = SIZE * scale
    cloth = Image.new("RGB", (side, side), color)
    pen = ImageDraw.Draw(cloth)
    accent = shaded(color, 0.62) if luminance(color) > 0.8 else mixed(CREAM, color, 0.25)
    step = round(dice.uniform(22, 36)) * scale
    match pattern:
        case "striped":
            thickness = round(step * dice.uniform(0.28, 0.5))
            for offset in range(0, side, step):
                pen.rectangle((0, offset, side, offset + thickness), fill=accent)
        case "dotted":
            radius = step * dice.uniform(0.16, 0.24)
            for row in range(side // step + 2):
                for column in range(side // step + 2):
                    x, y = (column + row % 2 / 2) * step, row * step * 0.86
                    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=accent)
        case "checked":
            half, thickness = mixed(color, accent, 0.45), step // 2
            for offset in range(0, side, step):
                pen.rectangle((0, offset, side, offset + thickness), fill=half)
                pen.rectangle((offset, 0, offset + thickness, side), fill=half)
            for x in range(0, side, step):
                for y in range(0, side, step):
                    pen.rectangle((x, y, x + thickness, y + thickness), fill=accent)
        case "zigzag":
            teeth = [(x, step // 3 * (x // (step // 2) % 2)) for x in range(0, side + step, step // 2)]
            for offset in range(-step, side, step):
                pen.line([(x, y + offset) for x, y in teeth], fill=accent, width=step // 4, joint="curve")
        case "floral":
            petal, heart = step * 0.15, mixed(BRASS, color, 0.1)
            for row in range(side // step + 2):
                for column in range(side // step + 2):
                    x = (column + row % 2 / 2) * step * 1.25 + dice.uniform(-2, 2) * scale
                    y = row * step * 1.05 + dice.uniform(-2, 2) * scale
                    turn = dice.uniform(0, math.tau)
                    for number in range(5):
                        angle = turn + number * math.tau / 5
                        px, py = x + petal * 1.15 * math.cos(angle), y + petal * 1.15 * math.sin(angle)
                        pen.ellipse((px - petal, py - petal, px + petal, py + petal), fill=accent)
                    pen.ellipse((x - petal / 2, y - petal / 2, x + petal / 2, y + petal / 2), fill=heart)
    return cloth.reduce(scale)


@dataclass(frozen=True)
class Piece:
    """A closed shape, or with a width a line with round ends. Without a fill it is cut from the cloth."""

    points: Outline
    width: float
    fill: Color | None
    light: Light
    tone: float


class Artwork:
    """The pieces of one product, each to be painted over those before it; photograph() paints them."""

    def __init__(self, color: Color, pattern: str, standing: bool, seed: str) -> None:
        self.color = color
        self.pattern = pattern
        self.standing = standing
        self.seed = seed
        self.dice = random.Random(f"shape of {seed}")
        self.middle = 50.0
        self.pieces: list[Piece] = []

    def piece(
        self,
        outline: Outline,
        fill: Color | None = None,
        *,
        light: Light = "cloth",
        tone: float = 1.0,
        both_sides: bool = False,
    ) -> None:
        """A closed shape; both_sides adds its mirror image."""
        self._add(Piece(outline, 0, fill, light, tone), both_sides)

    def body(
        self,
        start: Point,
        *segments: Segment,
        fill: Color | None = None,
        light: Light = "cloth",
        tone: float = 1.0,
    ) -> None:
        """A symmetric shape, given by the path of its right half."""
        half = path(start, *segments)
        self.piece([*half, *flipped(half)], fill, light=light, tone=tone)

    def line(
        self,
        width: float,
        fill: Color,
        start: Point,
        *segments: Segment,
        light: Light = "flat",
        tone: float = 1.0,
        both_sides: bool = False,
    ) -> None:
        self._add(Piece(path(start, *segments), width, fill, light, tone), both_sides)

    def seam(
        self,
        start: Point,
        *segments: Segment,
        width: float = 0.5,
        tone: float = 0.62,
        both_sides: bool = False,
    ) -> None:
        """A thin line in a darker tone of the product's color."""
        fill = mixed(shaded(self.color, tone), INK, 0.12)
        self.line(width, fill, start, *segments, both_sides=both_sides)

    def _add(self, piece: Piece, both_sides: bool) -> None:
        self.pieces.append(piece)
        if both_sides:
            self.pieces.append(replace(piece, points=flipped(piece.points)))

    def photograph(self) -> Image.Image:
        """The product before a light wall, with the shadow that it throws on it or on the floor."""
        self.dice = random.Random(f"surface of {self.seed}")
        cloth = printed(self.color, self.pattern, self.dice)
        painted = [(*self._mask(piece), piece) for piece in self.pieces]
        silhouette = Image.new("L", (SIZE, SIZE))
        for mask, area, _ in painted:
            silhouette.paste(255, area, mask)
        scene = self._backdrop()
        scene.paste(shaded(INK, 0.8), (0, 0), self._shadow(silhouette))
        for mask, area, piece in painted:
            flat = cloth.crop(area) if piece.fill is None else piece.fill
            lit = np.asarray(flat, dtype=np.float32) * (self._light(piece, mask) * piece.tone)[:, :, None]
            scene.paste(Image.fromarray(lit.clip(0, 255).astype(np.uint8)), area, mask)
        return scene

    def _mask(self, piece: Piece) -> tuple[Image.Image, tuple[int, int, int, int]]:
        reach = piece.width / 2 + 0.3
        points = [(self.middle + x, y) for x, y in piece.points]
        xs, ys = [x for x, _ in points], [y for _, y in points]
        left, top = (max(0, math.floor((low - reach) * UNIT)) for low in (min(xs), min(ys)))
        right, bottom = (min(SIZE, math.ceil((high + reach) * UNIT)) for high in (max(xs), max(ys)))
        large = Image.new("L", ((right - left) * OVERSAMPLING, (bottom - top) * OVERSAMPLING))
        pen = ImageDraw.Draw(large)
        dots = [((x * UNIT - left) * OVERSAMPLING, (y * UNIT - top) * OVERSAMPLING) for x, y in points]
        if piece.width:
            thickness = piece.width * UNIT * OVERSAMPLING
            pen.line(dots, fill=255, width=round(thickness), joint="curve")
            radius = thickness / 2 - 1
            for x, y in (dots[0], dots[-1]):
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        else:
            pen.polygon(dots, fill=255)
        return large.reduce(OVERSAMPLING), (left, top, right, bottom)

    def _light(self, piece: Piece, mask: Image.Image) -> Brightness:
        across = np.linspace(0, 1, mask.width, dtype=np.float32)[None, :]
        down = np.linspace(0, 1, mask.height, dtype=np.float32)[:, None]
        light = 1.04 - 0.08 * down - 0.04 * across
        match piece.light:
            case "round":
                light = light * (1.1 - 0.55 * np.abs(across - 0.34) ** 1.7)
                light += 0.16 * np.exp(-(((across - 0.27) / 0.07) ** 2))
            case "glow":
                light = light * (0.98 + 0.3 * np.exp(-(((across - 0.5) / 0.3) ** 2) - ((down - 0.62) / 0.4) ** 2))
            case "cloth":
                grain = Image.frombytes("L", (6, 5), self.dice.randbytes(30))
                folds = np.asarray(grain.resize(mask.size, Image.Resampling.BICUBIC), dtype=np.float32)
                light = light + (folds / 255 - 0.5) * 0.13
        if not piece.width:  # darker towards the edge: the shape looks rounded
            soft = np.asarray(mask.filter(ImageFilter.GaussianBlur(5)), dtype=np.float32) / 255
            light = light * (0.72 + 0.28 * np.clip(soft * 2 - 1, 0, 1) ** 0.6)
        return light

    def _backdrop(self) -> Image.Image:
        tint = np.array(self.dice.choice(BACKDROPS), np.float32)
        wall = np.linspace(1.05, 0.97, SIZE, dtype=np.float32)[:, None, None] * tint
        if self.standing:
            floor = round((FLOOR - 10) * UNIT)
            wall[floor:] *= np.linspace(0.955, 1.0, SIZE - floor, dtype=np.float32)[:, None, None]
        return Image.fromarray(np.repeat(wall.clip(0, 255).astype(np.uint8), SIZE, axis=1))

    def _shadow(self, silhouette: Image.Image) -> Image.Image:
        left, _, right, bottom = silhouette.getbbox() or (0, 0, SIZE, SIZE)
        side = SIZE // 4  # it is soft anyway
        shadow = Image.new("L", (side, side))
        strength = 0.15 if self.standing else 0.3
        shadow.paste(silhouette.resize((side, side)).point(lambda value: value * strength), (2, 3))
        shadow = shadow.filter(ImageFilter.GaussianBlur(4))
        if self.standing:
            ground = Image.new("L", (side, side))
            middle, reach = (left + right) / 8, (right - left) / 8 * 1.08
            puddle = (middle - reach, bottom / 4 - 5, middle + reach + 3, bottom / 4 + 3)
            ImageDraw.Draw(ground).ellipse(puddle, fill=120)
            shadow = ImageChops.lighter(shadow, ground.filter(ImageFilter.GaussianBlur(3)))
        return shadow.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def t_shirt(art: Artwork) -> str:
    dice = art.dice
    body, hem, neck = dice.uniform(18, 22), dice.uniform(78, 87), dice.uniform(7, 9)
    neckline = dice.choice(("crew-neck", "V-neck", "scoop-neck"))
    match neckline:
        case "crew-neck":
            low, collar = 22.5, [(neck - 1, 22.5), (neck, 15.0)]
        case "V-neck":
            low, collar = 31.0, [(neck, 15.0)]
        case _:
            low, collar = 29.0, [(neck + 2, 29.0), (neck, 15.0)]
    art.body((0, low), collar, [(neck - 2, 18), (0, 18)], tone=0.55)
    long_sleeves = dice.random() < 0.3
    if long_sleeves:
        cuff, width, drop = (body + 13, dice.uniform(68, 76)), dice.uniform(6.5, 8), 2
    else:
        cuff, width, drop = (body + dice.uniform(12, 15), dice.uniform(38, 44)), dice.uniform(8, 10), 4
    armhole = (cuff[0] - width, cuff[1] + drop)
    sleeve = path((body - 5, 18), [(body + 4, 20), (body + 7, 30), cuff], [armhole], [(body - 1, 44), (body - 2, 40)])
    art.piece(sleeve, tone=0.93, both_sides=True)
    art.seam((cuff[0] - 0.6, cuff[1] - 2.6), [(armhole[0] - 0.3, armhole[1] - 2.6)], both_sides=True)
    flare = dice.uniform(-1.5, 2.5)
    art.body(
        (0, low),
        collar,
        [(body - 2, 19.5)],
        [(body - 4.5, 30), (body - 0.5, 41)],
        [(body - 1, 60), (body + flare, hem)],
        [(body / 2, hem + 1.6), (0, hem + 1.6)],
    )
    art.line(1.9, shaded(art.color, 0.86), (0, low), collar, both_sides=True)
    art.seam((0, hem - 0.8), [(body / 2, hem - 0.8), (body + flare - 0.8, hem - 2)], both_sides=True)
    if dice.random() < 0.3:
        art.piece(box(5, 38, 14, 48, 1), tone=0.93, light="flat")
    return f"{neckline} {'long-sleeve top' if long_sleeves else 'T-shirt'}"


def dress(art: Artwork) -> str:
    dice = art.dice
    length, hem = dice.choice((("mini", 72.0), ("midi", 82.0), ("maxi", 93.0)))
    waist, bust, spread = dice.uniform(9, 10.5), dice.uniform(12.5, 14), dice.uniform(17, 31)
    waistline, neck = dice.uniform(38, 44), dice.uniform(5.5, 7.5)
    sleeves = dice.choice(("slip", "sleeveless", "short-sleeve", "long-sleeve"))
    if sleeves == "slip":
        low, collar, shoulder = 20.0, [(4.0, 20.0), (bust - 4, 16.0)], (bust - 4, 16.0)
        art.line(1.3, shaded(art.color, 0.9), (bust - 4.4, 17), [(bust * 0.86 - 4, 6)], both_sides=True)
    else:
        low = dice.choice((15.0, 18.0, 22.0))
        collar, shoulder = [(neck, low), (neck, 9.0)], (bust - 0.5, 12.0)
        art.body((0, low), collar, [(neck - 2, 11), (0, 11)], tone=0.55)
    if sleeves in ("short-sleeve", "long-sleeve"):
        cuff, width = ((bust + 8.5, 29.0), 7) if sleeves == "short-sleeve" else ((bust + 9, 56.0), 5)
        sleeve = path(
            (bust - 4, 10.5),
            [(bust + 3, 12), (bust + 6, 20), cuff],
            [(cuff[0] - width, cuff[1] + 2)],
            [(bust, 28), (bust - 2, 26)],
        )
        art.piece(sleeve, tone=0.92, both_sides=True)
    hip = (waist + spread * dice.uniform(-0.1, 0.45), waistline + 6)
    middle = (waistline + hem) / 2
    art.body(
        (0, waistline),
        [(waist, waistline)],
        [hip, (spread * 0.85, middle), (spread, hem)],
        [(spread / 2, hem + 3), (0, hem + 3)],
    )
    for share in (-0.62, -0.3, 0.05, 0.36, 0.68):
        fold = waist * share * 0.9
        end = (spread * share, hem + 1.5 - abs(share))
        art.seam(
            (fold, waistline + dice.uniform(4, 10)),
            [(fold + spread * share * 0.2, middle), end],
            width=0.45,
            tone=0.78,
        )
    art.body(
        (0, low),
        collar,
        [shoulder],
        [(bust - 2.5, 20), (bust, 25)],
        [(bust, 32), (waist, waistline)],
        [(waist / 2, waistline + 1), (0, waistline + 1)],
    )
    belt = dice.choice((INK, BRASS, shaded(art.color, 0.7), shaded(art.color, 0.7)))
    art.line(
        2.2,
        belt,
        (0, waistline + 0.8),
        [(waist / 2, waistline + 0.8), (waist - 0.4, waistline)],
        both_sides=True,
    )
    return f"{length} {sleeves} dress"


def trousers(art: Artwork) -> str:
    dice = art.dice
    cut, inner, knee, outer = dice.choice(
        (
            ("slim", 7.0, 16.5, 15.5),
            ("straight", 5.0, 18.8, 19.0),
            ("wide", 3.5, 22.0, 25.0),
            ("flared", 5.0, 16.0, 23.0),
        )
    )
    hem = dice.choice((74.0, 90.0, 92.0, 92.0))
    waist, hip = dice.uniform(13, 15), dice.uniform(17, 19)
    middle = (outer + inner) / 2
    art.piece(ellipse(0, 9, waist - 0.4, 1.8), tone=0.5)
    leg = path(
        (0, 9.5),
        [(waist, 8.8)],
        [(hip - 0.5, 18), (hip, 30)],
        [(knee + 1, 46), (knee, 60), (outer, hem)],
        [(middle, hem + 1.5), (inner, hem)],
        [(3.2, 56), (0, 38)],
    )
    art.piece(leg, both_sides=True)
    art.seam((waist * 0.55, 26), [(middle * 0.9, 50), (middle, hem)], width=0.4, tone=0.8, both_sides=True)
    art.seam((waist - 5, 14), [(waist - 3, 22), (hip - 0.8, 22.5)], both_sides=True)
    art.seam((inner + 0.3, hem - 2.2), [(outer - 0.4, hem - 2.2)], both_sides=True)
    art.body(
        (0, 9.4),
        [(waist - 0.3, 8.6)],
        [(waist + 0.7, 13.6)],
        [(waist / 2, 14.6), (0, 14.6)],
        light="flat",
        tone=0.9,
    )
    for x in (4.5, 9):
        art.seam((x, 9), [(x, 14.6)], width=0.9, tone=0.72, both_sides=True)
    art.seam((0, 14.6), [(0, 38)])
    art.seam((3.4, 14.6), [(3.4, 28), (0, 30)])
    art.piece(ellipse(0.2, 12, 1.1, 1.1), dice.choice((BRASS, STEEL, INK)), light="flat")
    return f"{cut} {'cropped trousers' if hem < 80 else 'trousers'}"


def shoe(art: Artwork) -> str:
    dice = art.dice
    kind = dice.choice(("sneaker", "sneaker", "high-top sneaker", "lace-up boot", "loafer"))
    toe, sole, thick = dice.uniform(-42, -39), FLOOR - 6, dice.uniform(4.5, 7.5)
    deck = sole - thick
    top = {
        "sneaker": deck - dice.uniform(23, 27),
        "high-top sneaker": deck - dice.uniform(36, 40),
        "lace-up boot": deck - dice.uniform(48, 56),
        "loafer": deck - 17,
    }[kind]
    rubber = dice.choice(RUBBERS)
    laces = CREAM if luminance(art.color) < 0.8 else INK
    ankle = 13 if kind == "lace-up boot" else 9 if kind == "loafer" else 11  # where the opening begins
    instep = (-5.0, deck - (19 if kind != "loafer" else 14))
    box_height = dice.uniform(10, 13)
    if kind != "loafer":
        art.piece(
            path(
                (instep[0] + 2, instep[1] + 6),
                [(ankle - 9, top + 4), (ankle - 4, top - 5)],
                [(ankle + 2, top - 7), (ankle + 6, top - 2)],
                [(ankle + 6, top + 10), (instep[0] + 9, instep[1] + 8)],
            ),
            tone=0.84,
        )
    art.piece(ellipse((ankle + 37) / 2, top + 0.8, (37 - ankle) / 2, 3), tone=0.42)
    art.piece(
        path(
            (38, deck + 1),
            [(42, deck - 8), (37, (top + deck) / 2), (37, top)],
            [((ankle + 37) / 2, top + 6), (ankle, top + 1)],
            [(ankle - 2, (top + instep[1]) / 2), instep],
            [(-16, deck - 12), (-24, deck - box_height)],
            [(toe + 2, deck - box_height - 1), (toe, deck + 1)],
        )
    )
    if kind == "loafer":
        art.piece(
            path(
                (2, deck - 16),
                [(-8, deck - 12), (-12, deck + 0.5)],
                [(-2, deck + 0.5)],
                [(4, deck - 8), (12, deck - 15)],
            ),
            shaded(art.color, 0.82),
            light="flat",
        )
        art.line(1.5, BRASS, (-6, deck - 8.5), [(1, deck - 6.5)])
        art.seam((-9, deck - 10), [(-22, deck - 9), (toe + 5, deck - 4)], width=0.8)
    else:
        cap = path(
            (toe, deck + 1),
            [(toe + 2, deck - box_height - 1), (-24, deck - box_height)],
            [(-19, deck - 6), (-22, deck + 1)],
        )
        if kind == "lace-up boot":
            art.piece(cap, tone=0.85)
        else:
            art.piece(cap, rubber, tone=0.98)
        heel = path(
            (38, deck + 1),
            [(42, deck - 8), (38, deck - 15)],
            [(30, deck - 15), (27, deck - 8)],
            [(25, deck - 3), (25, deck + 1)],
        )
        art.piece(heel, shaded(art.color, 0.72), light="flat")
        front = path(
            (ankle, top + 1),
            [(ankle - 2, (top + instep[1]) / 2), instep],
            [(-13, deck - 13), (-18, deck - 12)],
        )
        art.seam(
            (ankle + 5, top + 3),
            [(ankle + 4, (top + instep[1]) / 2), (instep[0] + 7, instep[1] + 5)],
            [(-4, deck - 8), (-14, deck - 6)],
            width=0.6,
        )
        rows = {"sneaker": 5, "high-top sneaker": 7, "lace-up boot": 9}[kind]
        for row in range(rows):
            x, y = front[round(1 + row * (len(front) - 8) / (rows - 1))]
            art.line(1.2, laces, (x - 1.2, y - 0.6), [(x + 5, y + 2.4)])
        if kind == "sneaker" and dice.random() < 0.7:
            art.line(dice.uniform(2, 3.5), laces, (6, deck - 2.5), [(15, deck - 3), (24, top + 9)])
    lift = 0 if "sneaker" in kind else 4
    art.piece(
        path(
            (toe - 1.5, deck),
            [(0, deck + 2), (40, deck)],
            [(41.5, deck + thick / 2), (40, sole + lift)],
            [(19, sole + lift)],
            [(17, sole)],
            [(toe + 6, sole)],
            [(toe - 3, sole), (toe - 1.5, deck)],
        ),
        rubber,
        light="flat",
    )
    groove = deck + thick * 0.45
    art.line(0.6, shaded(rubber, 0.75), (toe + 1, groove), [(0, groove + 1.5), (38, groove)])
    return kind


def bag(art: Artwork) -> str:
    dice = art.dice
    kind = dice.choice(("tote bag", "handbag", "backpack", "shoulder bag"))
    trim = dice.choice((INK, (122, 80, 52), shaded(art.color, 0.6)))
    metal = dice.choice((BRASS, STEEL))
    match kind:
        case "tote bag":
            top, upper, lower = dice.uniform(38, 45), dice.uniform(22, 27), dice.uniform(22, 29)
            grip, rise = dice.uniform(9, 13), dice.uniform(8, 16)
            art.line(2.6, trim, (0, rise + 8), [(grip, rise + 8), (grip, top + 8)], tone=0.7, both_sides=True)
            art.body(
                (0, top),
                [(upper, top)],
                [(lower, FLOOR - 2)],
                [(lower - 1, FLOOR), (lower - 4, FLOOR)],
                [(0, FLOOR)],
            )
            art.line(2.6, trim, (0, rise + 10), [(grip, rise + 10), (grip, top + 9)], both_sides=True)
            art.seam((0, top + 3), [(upper - 0.5, top + 3)], both_sides=True)
            art.piece(box(grip - 2.2, top + 5, grip + 2.2, top + 11, 0.5), trim, light="flat", both_sides=True)
        case "handbag":
            top, width, base = dice.uniform(42, 48), dice.uniform(20, 25), dice.uniform(27, 33)
            rise = dice.uniform(18, 26)
            art.line(3, trim, (0, rise), [(width * 0.6, rise), (width * 0.6, top + 3)], both_sides=True)
            art.body(
                (0, top),
                [(width - 3, top)],
                [(width, top), (width + 1, top + 4)],
                [(base, FLOOR - 6)],
                [(base, FLOOR), (base - 6, FLOOR)],
                [(0, FLOOR)],
            )
            art.line(1.4, trim, (0, top + 6), [(width, top + 6)], both_sides=True)
            art.line(1.0, metal, (0, top + 3.4), [(width - 3, top + 3.4)], both_sides=True)
            art.piece(ellipse(width * 0.6, top + 4, 2, 2), metal, light="flat", both_sides=True)
            art.piece(box(-3.5, top + 4, 3.5, top + 12, 1.5), trim, light="flat")
            art.piece(ellipse(0, top + 9, 1.4, 1.4), metal, light="flat")
        case "backpack":
            top, width, pocket = dice.uniform(17, 23), dice.uniform(20, 24), dice.uniform(50, 56)
            art.line(2.4, trim, (0, top - 6), [(6, top - 6), (6, top + 2)], both_sides=True)
            art.line(
                4,
                trim,
                (width - 4, top + 10),
                [(width + 8, top + 30), (width - 1, FLOOR - 8)],
                both_sides=True,
            )
            art.body(
                (0, top),
                [(width, top), (width, top + 16)],
                [(width + 2, FLOOR - 6)],
                [(width + 2, FLOOR), (width - 5, FLOOR)],
                [(0, FLOOR)],
            )
            art.line(0.9, trim, (0, top + 7), [(width - 2, top + 7), (width - 1.5, top + 24)], both_sides=True)
            art.piece(box(4 - width, pocket, width - 4, FLOOR - 4, 4), tone=0.9)
            art.line(1.0, trim, (0, pocket + 4), [(width - 6, pocket + 4)], both_sides=True)
            art.line(1.0, metal, (width - 9, pocket + 4), [(width - 9, pocket + 8)])
            if dice.random() < 0.6:
                art.piece(box(-4.5, pocket - 14, 4.5, pocket - 7, 1), trim, light="flat")
        case _:
            top, width, flap = dice.uniform(46, 52), dice.uniform(26, 32), dice.uniform(16, 24)
            art.line(2.2, trim, (0, 5), [(width - 2, 5), (width - 2, top + 4)], both_sides=True)
            art.piece(box(-width, top, width, FLOOR, 5))
            art.body(
                (0, top - 1),
                [(width - 2, top - 1)],
                [(width + 0.8, top), (width + 0.6, top + 4)],
                [(width, top + flap), (0, top + flap + 3)],
                tone=0.93,
            )
            art.piece(box(-3.2, top + flap - 3, 3.2, top + flap + 7, 1.5), metal, light="flat")
            art.piece(ellipse(width - 2, top + 3, 1.8, 1.8), metal, light="flat", both_sides=True)
    return kind


def mug(art: Artwork) -> str:
    dice = art.dice
    art.middle = 45  # the handle needs room on the right
    kind = dice.choice(("mug", "mug", "tall mug", "enamel mug", "teacup"))
    top, radius, taper = {
        "mug": (36.0, 23.0, dice.uniform(0.9, 1)),
        "tall mug": (22.0, 19.5, dice.uniform(0.75, 1)),
        "enamel mug": (40.0, 24.0, 1.0),
        "teacup": (48.0, 25.0, 0.5),
    }[kind]
    top, radius = top + dice.uniform(-3, 3), radius + dice.uniform(-2, 2)
    foot, depth = radius * taper, radius * 0.2
    base = FLOOR - (4 if kind == "teacup" else 2)
    glaze = dice.choice((art.color, CREAM, shaded(art.color, 0.85)))
    if kind == "teacup":
        art.piece(ellipse(2, base, radius * 1.55, 6.5), shaded(art.color, 0.95), light="round")
        art.piece(ellipse(2, base - 1, radius * 1.1, 4), shaded(art.color, 0.8), light="flat")
    high, low = top + (base - top) * dice.uniform(0.12, 0.2), base - (base - top) * dice.uniform(0.18, 0.28)
    reach = radius + dice.uniform(11, 16) * (1 if kind == "teacup" else 1.3)
    end = (foot + (radius - foot) * 0.7 - 2, low)
    thickness = dice.uniform(3.6, 5)
    art.line(thickness, glaze, (radius - 1.5, high), [(reach, high - 2), (reach, low + 2), end], light="round")
    side = {
        "teacup": [(radius, base - (base - top) * 0.35), (foot + 4, base - 1), (foot, base)],
        "enamel mug": [(radius, base)],
    }.get(kind, [(radius, base - 14), (foot + 1, base - 4), (foot, base)])
    bottom = base + depth * 0.6
    art.body((0, top), [(radius, top)], side, [(foot / 2, bottom), (0, bottom)], light="round")
    lip = INK if kind == "enamel mug" else mixed(glaze, (255, 255, 255), 0.35)
    art.piece(ellipse(0, top, radius + 0.5, depth), lip, light="round")
    inside = shaded(mixed(glaze, CREAM, 0.3), 0.72)
    art.piece(ellipse(0, top + 0.3, radius - 1.3, depth - 1.1), inside, light="flat")
    if dice.random() < 0.6:
        drink = dice.choice(((86, 54, 36), (150, 98, 58), (176, 110, 44)))
        art.piece(ellipse(0, top + depth * 0.35, radius - 2.8, depth * 0.62), drink, light="flat")
    return kind


def lamp(art: Artwork) -> str:
    dice = art.dice
    kind = dice.choice(("table lamp", "table lamp", "floor lamp", "pendant lamp"))
    metal = dice.choice((BRASS, STEEL, INK, *WOODS))
    if kind == "pendant lamp":
        drop, radius, height = dice.uniform(30, 42), dice.uniform(22, 31), dice.uniform(20, 30)
        rim = drop + height
        art.line(0.8, INK, (0, -2), [(0, drop)])
        art.piece(ellipse(0, rim, radius, 4.5), BULB, light="glow")
        dome = [(radius * 0.9, drop + 1), (radius, drop + height * 0.6), (radius, rim)]
        cone = [(radius * 0.35, drop + height * 0.3), (radius, rim)]
        art.body(
            (0, drop),
            [(5, drop)],
            dice.choice((dome, cone)),
            [(radius * 0.6, rim + 4), (0, rim + 4)],
            light="round",
        )
        art.piece(box(-3, drop - 5, 3, drop + 1, 1), metal, light="round")
        return kind
    if kind == "floor lamp":
        top, height, upper, lower = 8.0, dice.uniform(19, 24), dice.uniform(8, 14), dice.uniform(15, 20)
        if dice.random() < 0.4:
            for x, depth in ((-17, 1), (16, 1), (2, 4)):
                art.line(1.7, metal, (0, top + height + 4), [(x, FLOOR + depth)])
        else:
            art.piece(ellipse(0, FLOOR, 13, 3.4), shaded(metal, 0.85), light="round")
            art.line(1.7, metal, (0, top + 10), [(0, FLOOR)])
    else:
        top, height, upper, lower = (
            dice.uniform(12, 18),
            dice.uniform(26, 33),
            dice.uniform(11, 19),
            dice.uniform(23, 28),
        )
        foot, belly, neck = dice.uniform(9, 14), dice.uniform(7, 18), top + height + 6
        art.line(2.2, metal, (0, top + 10), [(0, FLOOR - 4)])
        if belly > 9:
            art.body(
                (0, neck),
                [(3, neck)],
                [(3, neck + 5), (belly * 1.35, neck + 9), (foot * 0.8, FLOOR - 2)],
                [(foot * 0.4, FLOOR), (0, FLOOR)],
                fill=dice.choice((CREAM, shaded(art.color, 0.8), metal)),
                light="round",
            )
        plinth = [(foot / 2, FLOOR + 1.6), (0, FLOOR + 1.6)]
        art.body((0, FLOOR - 3), [(foot, FLOOR - 3)], [(foot + 0.5, FLOOR)], plinth, fill=metal, light="round")
    bottom = top + height
    edge = bottom + lower * 0.14
    art.piece(ellipse(0, bottom, lower, lower * 0.13), BULB, light="glow")
    art.body((0, top), [(upper, top)], [(lower, bottom)], [(lower / 2, edge), (0, edge)], light="glow")
    art.piece(ellipse(0, top, upper, upper * 0.12), BULB, light="flat", tone=0.9)
    art.line(0.8, shaded(art.color, 0.75), (0, edge), [(lower / 2, edge), (lower, bottom)], both_sides=True)
    return kind


def chair(art: Artwork) -> str:
    dice = art.dice
    kind = dice.choice(("dining chair", "dining chair", "armchair", "shell chair", "stool"))
    wood = dice.choice((*WOODS, INK))
    match kind:
        case "armchair":
            width, top = dice.uniform(21, 25), dice.uniform(18, 28)
            art.line(2.4, wood, (width * 0.93 + 5, FLOOR - 10), [(width + 5, FLOOR + 1)], both_sides=True)
            art.body(
                (0, top),
                [(width * 0.7, top)],
                [(width + 3, top), (width + 2, top + 12)],
                [(width, 66)],
                [(0, 66)],
            )
            if dice.random() < 0.5:
                art.seam((width / 3, top + 3), [(width * 0.3, 52)], both_sides=True)
            art.piece(box(-width - 1, 60, width + 1, FLOOR - 6, 3), tone=0.82)
            art.piece(box(1 - width, 52, width - 1, 66, 5), tone=1.05)
            arm = path(
                (width - 1, 50),
                [(width, 43), (width + 5, 43)],
                [(width + 10, 43), (width + 10, 50)],
                [(width + 9, FLOOR - 5)],
                [(width + 5, FLOOR - 4), (width, FLOOR - 6)],
            )
            art.piece(arm, tone=0.95, both_sides=True)
        case "shell chair":
            width, top = dice.uniform(20, 24), dice.uniform(16, 22)
            art.line(2.2, wood, (9, 58), [(13, FLOOR - 4)], tone=0.75, both_sides=True)
            art.line(2.2, wood, (13, 58), [(20, FLOOR + 2)], both_sides=True)
            art.body(
                (0, top),
                [(width * 0.9, top), (width, 30)],
                [(width + 1, 44), (width + 5, 46), (width + 4, 54)],
                [(width + 2, 62), (width * 0.6, 65), (0, 65)],
            )
            art.body(
                (0, 49),
                [(width - 4, 49), (width, 54)],
                [(width - 4, 61), (width * 0.5, 63), (0, 63)],
                tone=0.86,
            )
        case "stool":
            width, top = dice.uniform(15, 21), dice.uniform(28, 48)
            rung = top + (FLOOR - top) * 0.6
            art.line(2.3, wood, (width * 0.6, top + 4), [(width * 0.75, FLOOR - 3)], tone=0.72, both_sides=True)
            art.line(2.3, wood, (width * 0.8, top + 4), [(width * 1.1, FLOOR + 2)], both_sides=True)
            art.line(1.6, wood, (0, rung), [(width * 0.98, rung)], tone=0.9, both_sides=True)
            cushion = [(width + 1.5, top + 3), (width, top + 6)]
            art.body((0, top - 1), [(width, top - 1)], cushion, [(width / 2, top + 8.5), (0, top + 8.5)], tone=0.85)
            art.piece(ellipse(0, top, width, width * 0.24), light="flat")
        case _:
            width, top, seat = dice.uniform(15, 18), dice.uniform(10, 16), dice.uniform(52, 56)
            front = width + dice.uniform(3, 5)
            art.line(2.3, wood, (width - 1, seat), [(width + 0.5, FLOOR - 5)], tone=0.72, both_sides=True)
            art.line(2.6, wood, (width * 0.97, top), [(width, seat + 2)], both_sides=True)
            match dice.choice(("panel", "slats", "ladder")):
                case "panel":
                    art.piece(box(0.6 - width, top + 2, width - 0.6, seat - dice.uniform(6, 14), 3))
                case "slats":
                    art.piece(box(-width - 1, top - 1, width + 1, top + 6, 2), wood, light="flat")
                    for share in (0.2, 0.6):
                        art.line(1.8, wood, (width * share, top + 5), [(width * share, seat)], both_sides=True)
                case _:
                    for share in (0.06, 0.34, 0.62):
                        y = top + (seat - top) * share
                        art.piece(box(-width, y, width, y + 5, 1.5), wood, light="flat")
            art.line(2.8, wood, (front - 1.5, seat + 8), [(front - 1, FLOOR + 1.5)], both_sides=True)
            edge = [(front, seat + 8.5), (front - 2, seat + 8.5)]
            art.body((0, seat - 2), [(width, seat - 2)], [(front + 0.8, seat + 7)], edge, [(0, seat + 8.5)])
            art.piece(box(0.4 - front, seat + 8, front - 0.4, seat + 11.5, 1), wood, light="flat", tone=0.92)
    return kind


def hat(art: Artwork) -> str:
    dice = art.dice
    kind = dice.choice(("fedora", "sun hat", "bucket hat", "baseball cap"))
    band = dice.choice((INK, CREAM, shaded(art.color, 0.6), (150, 60, 56)))
    match kind:
        case "fedora" | "sun hat":
            brim, crown = dice.uniform(36, 40) + (6 if kind == "sun hat" else 0), dice.uniform(19.5, 22)
            line, top, thick = dice.uniform(62, 66), dice.uniform(28, 34), dice.uniform(5, 9)
            low = line + 4.6
            art.body(
                (0, line - 6),
                [(brim * 0.7, line - 7), (brim, line - 5)],
                [(brim + 2, line + 3), (brim * 0.6, line + 9), (0, line + 9)],
            )
            if kind == "fedora":
                pinch = [(crown - 6, top - 1)], [(crown, top + 1), (crown, line)]
                art.body((0, top + 4), [(8, top), *pinch[0]], pinch[1], [(crown / 2, low), (0, low)])
                art.seam((0, top + 9), [(5, top + 9), (10, top + 6)], width=0.8, tone=0.72, both_sides=True)
            else:
                art.body(
                    (0, top),
                    [(crown * 0.9, top), (crown, top + 14)],
                    [(crown + 0.6, line)],
                    [(crown / 2, low), (0, low)],
                )
            art.body(
                (0, low - thick),
                [(crown / 2, low - thick), (crown + 0.3, line - thick)],
                [(crown + 0.5, line)],
                [(crown / 2, low), (0, low)],
                fill=band,
                light="round",
            )
        case "bucket hat":
            crown, brim, top, line = (
                dice.uniform(17, 20),
                dice.uniform(31, 36),
                dice.uniform(26, 31),
                dice.uniform(54, 58),
            )
            foot, side = line + dice.uniform(15, 19), crown + 5
            art.piece(ellipse(0, foot - 2, brim - 1, 5), tone=0.45)
            art.body(
                (0, top),
                [(crown - 4, top)],
                [(crown, top), (crown + 1, top + 4)],
                [(side, line)],
                [(crown / 2, line + 4), (0, line + 4)],
            )
            art.body(
                (0, line + 3),
                [(crown / 2, line + 3), (side, line - 1)],
                [(brim, foot - 4)],
                [(brim, foot), (brim - 2, foot)],
                [(brim / 2, foot + 6), (0, foot + 6)],
                tone=0.94,
            )
            for share in (0.0, 0.33, 0.66):
                x, y = side + (brim - side) * share, line + (foot - line) * share
                art.seam((0, y + 4), [(x / 2, y + 4), (x, y)], tone=0.72, both_sides=True)
        case _:
            top, line, peak = dice.uniform(30, 36), 66.0, dice.uniform(-45, -41)
            art.piece(
                path(
                    (-19, line - 3),
                    [(-34, line - 3), (peak, line + 1), (peak, line + 7)],
                    [(peak + 8, line + 11), (-12, line + 3), (8, line + 5)],
                ),
                shaded(art.color, 0.8),
                light="flat",
            )
            art.piece(
                path(
                    (-20, line),
                    [(-19, top + 12), (-8, top), (8, top)],
                    [(26, top), (34, top + 16), (33, line)],
                    [(10, line + 7), (-20, line)],
                )
            )
            art.seam((8, top), [(-8, top + 14), (-8, line + 2)])
            art.seam((8, top), [(20, top + 14), (20, line + 2.5)])
            art.piece(ellipse(8, top, 2.4, 1.5), shaded(art.color, 0.7), light="flat")
            if dice.random() < 0.6:
                art.piece(ellipse(-1.5, line - 15, 5, 5.5), band, light="flat")
    return kind


def vase(art: Artwork) -> str:
    dice = art.dice
    kind, shape, top = dice.choice(
        (
            ("bottle vase", (4.5, 4.5, 9.0, 18.0, 19.0, 11.0), 26.0),
            ("amphora vase", (9.0, 7.0, 17.0, 22.0, 16.0, 8.0), 30.0),
            ("globe vase", (9.0, 13.0, 25.0, 27.0, 21.0, 11.0), 44.0),
            ("trumpet vase", (19.0, 13.0, 9.5, 9.0, 10.0, 13.0), 32.0),
        )
    )
    top += dice.uniform(-5, 5)
    factor = dice.uniform(0.88, 1.12)
    radii = [radius * factor * dice.uniform(0.95, 1.05) for radius in shape]
    levels = [top + (FLOOR - top) * share for share in (0.0, 0.18, 0.42, 0.62, 0.84, 1.0)]
    if dice.random() < 0.75:
        flowers(art, top)
    if kind == "amphora vase":
        ear = [(radii[3] + 5, top + 1), (radii[3] + 3, levels[2] - 3), (radii[2] * 0.94, levels[2])]
        glaze = shaded(art.color, 0.9)
        art.line(2.6, glaze, (radii[0] * 0.85, top + 3), ear, light="round", both_sides=True)
    profile: list[list[Point]] = []
    for index in range(5):  # a smooth curve through the radii
        here, there = radii[index], radii[index + 1]
        height = (levels[index + 1] - levels[index]) / 3
        leaving = (there - radii[max(index - 1, 0)]) / 6
        arriving = (radii[min(index + 2, 5)] - here) / 6
        first, second = (
            (here + leaving, levels[index] + height),
            (there - arriving, levels[index + 1] - height),
        )
        profile.append([first, second, (there, levels[index + 1])])
    bottom = [(radii[5] / 2, FLOOR + 2), (0.0, FLOOR + 2)]
    art.body((0, top), [(radii[0], top)], *profile, bottom, light="round")
    depth = max(1.2, radii[0] * 0.18)
    art.piece(ellipse(0, top, radii[0] + 0.6, depth), mixed(art.color, CREAM, 0.3), light="round")
    art.piece(ellipse(0, top + 0.2, radii[0] - 0.8, depth - 0.6), shaded(art.color, 0.4), light="flat")
    return kind


def flowers(art: Artwork, top: float) -> None:
    dice = art.dice
    leaf = dice.choice(LEAVES)
    bloom = dice.choice((None, (226, 150, 160), (240, 210, 120), (246, 240, 232)))
    for number in range(dice.randint(2, 4)):
        lean, tip = dice.uniform(-16, 16), max(5.0, top - dice.uniform(18, 30))
        start, bend = (lean * 0.1, top + 4), [(lean * 0.3, top - 8), (lean, tip)]
        art.line(0.9, shaded(leaf, 0.8), start, bend)
        for index, (x, y) in enumerate(path(start, bend)[5:15:3]):
            out = 1 if (index + number) % 2 else -1
            art.piece(path((x, y), [(x + out * 3, y - 6), (x + out * 8, y - 5)], [(x + out * 5, y), (x, y)]), leaf)
        if bloom:
            for petal in range(5):
                angle = petal * math.tau / 5 + lean
                x, y = lean + 2.2 * math.cos(angle), tip + 2.2 * math.sin(angle)
                art.piece(ellipse(x, y, 2.1, 2.1), bloom, light="flat")
            art.piece(ellipse(lean, tip, 1.4, 1.4), BRASS, light="flat")


@dataclass(frozen=True)
class Section:
    """One category of the shop: how to draw a product of it, and between which prices it sells."""

    name: str
    draw: Callable[[Artwork], str]
    cheapest: int
    dearest: int
    standing: bool


SECTIONS = (
    Section("T-shirts", t_shirt, 12, 45, standing=False),
    Section("Dresses", dress, 35, 160, standing=False),
    Section("Trousers", trousers, 30, 120, standing=False),
    Section("Shoes", shoe, 45, 190, standing=True),
    Section("Bags", bag, 25, 180, standing=True),
    Section("Mugs", mug, 8, 28, standing=True),
    Section("Lamps", lamp, 30, 240, standing=True),
    Section("Chairs", chair, 60, 420, standing=True),
    Section("Hats", hat, 15, 70, standing=False),
    Section("Vases", vase, 14, 95, standing=True),
)


class DrawnProduct:
    """The product of that number, counted from 0: its attributes at once, its picture when asked for."""

    def __init__(self, number: int) -> None:
        index, section_number = divmod(number, len(SECTIONS))
        section = SECTIONS[section_number]
        seed = f"{section.name} {index}"
        dice = random.Random(seed)
        series, turn = index % len(COLLECTIONS), index // len(COLLECTIONS) + 1
        self.category = section.name
        self.color = list(COLORS)[(index * 5 + section_number * 3) % len(COLORS)]
        self.pattern = dice.choices(PATTERNS, weights=(6, 3, 1, 2, 1, 1))[0]
        self.artwork = Artwork(COLORS[self.color], self.pattern, section.standing, seed)
        kind = section.draw(self.artwork)
        self.name = f"{COLLECTIONS[series]}{f' {turn}' if turn > 1 else ''} {kind}"
        self.price = Decimal(dice.randint(section.cheapest, section.dearest)) - Decimal("0.05")
        self.stock = 0 if dice.random() < 0.15 else dice.randint(1, 40)

    def picture(self) -> bytes:
        """A JPEG, the same bytes each time."""
        buffer = io.BytesIO()
        self.artwork.photograph().save(buffer, "JPEG", quality=88)
        return buffer.getvalue()
