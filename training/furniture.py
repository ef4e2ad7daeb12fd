"""How furniture, lamps and what hangs on walls are built, each with proportions and details of its own."""

import math

import numpy as np

from training.building import (
    BRIGHT,
    CLOTH,
    CLOTH_TOO,
    DARK,
    FRAME,
    HARD,
    LEG,
    METAL,
    POTTERY,
    TOP,
    Build,
    curve,
    legs,
    listed,
    pedestal,
)
from training.solids import Material, Thing, Vector, circle, sheet, turned

FURNITURE: list[Build] = []


def backrest(thing: Thing, width: float, base: float, height: float, z: float) -> None:
    """Add the back of a chair between its two posts."""
    style, lean = thing.one_of("slats", "ladder", "panel", "cushion", "frame"), thing.between(0, 0.12)
    top = base + height
    if style == "cushion":
        tilt = -math.degrees(math.atan2(lean, height))
        thing.pillow(CLOTH, (0, base + height * 0.55, z - lean / 2), (width, height * 0.9, 0.07), 0.3, (tilt, 0, 0))
        for x in (-width * 0.35, width * 0.35):
            thing.rod(FRAME, (x, base - 0.03, z), (x, base + height * 0.5, z - lean / 2 - 0.03), 0.015, sides=6)
        return
    for x in (-width / 2 + 0.02, width / 2 - 0.02):
        thing.rod(FRAME, (x, base, z), (x, top, z - lean), 0.02)
    if style == "slats":
        count = thing.whole(2, 6)
        for number in range(count):
            x = width * ((number + 1) / (count + 1) - 0.5)
            thing.rod(FRAME, (x, base, z), (x, top - 0.03, z - lean), 0.012, sides=6)
    levels = {"ladder": thing.whole(2, 4), "panel": 1}.get(style, 1)
    tall = height * 0.6 if style == "panel" else thing.between(0.04, 0.1)
    for number in range(levels):
        share = 1 - number / (levels + 0.6) - tall / 2 / height
        thing.box(
            CLOTH if style == "panel" else FRAME, (0, base + height * share, z - lean * share), (width, tall, 0.02)
        )


def armrests(thing: Thing, width: float, depth: float, seat: float, material: Material) -> None:
    height = thing.between(0.17, 0.25)
    for x in (-width / 2, width / 2):
        thing.box(material, (x, seat + height, 0), (0.045, 0.03, depth))
        thing.box(material, (x, seat + height / 2 - 0.03, depth / 2 - 0.04), (0.03, height + 0.04, 0.03))


@listed(FURNITURE)
def chair(thing: Thing) -> None:
    width, depth, seat = thing.between(0.38, 0.5), thing.between(0.38, 0.48), thing.between(0.4, 0.5)
    thick = thing.between(0.02, 0.04)
    if thing.chance(0.15):
        pedestal(thing, seat, width * 0.6)
    else:
        legs(thing, width, depth, seat, FRAME if thing.chance(0.6) else LEG)
    if thing.chance(0.5):
        thing.pillow(CLOTH, (0, seat + 0.03, 0), (width, 0.09, depth), 0.4)
    else:
        thing.box(FRAME, (0, seat + thick / 2, 0), (width, thick, depth))
    backrest(thing, width, seat + thick, thing.between(0.28, 0.55), 0.02 - depth / 2)
    if thing.chance(0.3):
        armrests(thing, width + 0.04, depth, seat, FRAME)


@listed(FURNITURE)
def shell_chair(thing: Thing) -> None:
    width, seat, height = thing.between(0.42, 0.52), thing.between(0.4, 0.46), thing.between(0.3, 0.42)
    legs(thing, width * 0.85, width * 0.8, seat)
    thing.pillow(CLOTH, (0, seat + 0.02, 0), (width, 0.06, width * 0.9), 0.5)
    around = np.radians(np.linspace(-1, 1, 15) * thing.between(60, 110))[None]
    up = np.linspace(0, 1, 6)[:, None]
    tall = height * (1 - thing.between(0.2, 0.8) * (around / around.max()) ** 2)
    radius = width / 2 * (1 + thing.between(0, 0.25) * up)
    points = np.stack((-radius * np.sin(around), seat + up * tall, 0.04 - radius * np.cos(around)), axis=-1)
    thing.add(sheet(points), CLOTH, hollow=True)


@listed(FURNITURE)
def stool(thing: Thing) -> None:
    height, radius = thing.between(0.4, 0.8), thing.between(0.14, 0.21)
    round_ = thing.chance(0.6)
    if thing.chance(0.3):
        pedestal(thing, height, radius * 1.2)
    else:
        legs(thing, radius * 1.7, radius * 1.7, height)
        if thing.chance(0.6):
            for z in (-radius * 0.75, radius * 0.75):
                thing.rod(LEG, (-radius * 0.75, height * 0.3, z), (radius * 0.75, height * 0.3, z), 0.012, sides=6)
    if thing.chance(0.4):
        thing.pillow(CLOTH, (0, height + 0.04, 0), (radius * 2.1, 0.12, radius * 2.1), 0.6 if round_ else 0.25)
    elif round_:
        thing.disc(FRAME, (0, height, 0), radius, 0.035)
    else:
        thing.box(FRAME, (0, height + 0.02, 0), (radius * 2, 0.04, radius * 2))


def upholstered(thing: Thing, width: float, seats: int) -> None:
    """Build an armchair or a sofa."""
    depth, base, seat = thing.between(0.7, 0.95), thing.between(0.05, 0.18), thing.between(0.38, 0.46)
    arm, soft, high = thing.between(0.08, 0.22), thing.between(0.12, 0.4), thing.between(0.7, 1.0)
    legs(thing, width, depth, base)
    thing.pillow(CLOTH, (0, (base + seat) / 2 - 0.05, 0), (width, seat - base - 0.08, depth), 0.12)
    inner = (width - 2 * arm) / seats
    for number in range(seats):
        x = (number - (seats - 1) / 2) * inner
        thing.pillow(CLOTH, (x, seat, 0.06), (inner * 0.98, 0.15, depth * 0.8), soft * 0.7)
        thing.pillow(
            CLOTH, (x, (seat + high) / 2, 0.12 - depth / 2), (inner * 0.98, high - seat, 0.2), soft, (-8, 0, 0)
        )
    thing.pillow(CLOTH, (0, (base + high) / 2, 0.04 - depth / 2), (width, high - base - 0.05, 0.12), soft * 0.6)
    top = thing.between(0.52, 0.64)
    for x in (-1, 1):
        thing.pillow(CLOTH, (x * (width - arm) / 2, (base + top) / 2, 0.02), (arm, top - base, depth), soft * 0.8)
    for number in range(thing.whole(0, 2)):
        turn = (-15, thing.between(-25, 25), thing.between(-20, 20))
        x = (number - 0.5) * width * 0.5 if seats > 1 else 0
        thing.pillow(CLOTH_TOO, (x, seat + 0.25, 0.0), (0.38, 0.36, 0.13), 0.4, turn)


@listed(FURNITURE)
def armchair(thing: Thing) -> None:
    upholstered(thing, thing.between(0.7, 0.95), 1)


@listed(FURNITURE)
def sofa(thing: Thing) -> None:
    upholstered(thing, thing.between(1.4, 2.3), thing.whole(2, 3))


@listed(FURNITURE)
def bench(thing: Thing) -> None:
    width, depth, seat = thing.between(0.9, 1.6), thing.between(0.3, 0.45), thing.between(0.4, 0.48)
    legs(thing, width, depth, seat)
    count = thing.whole(1, 5)
    for number in range(count):
        z = depth * ((number + 0.5) / count - 0.5)
        thing.box(FRAME, (0, seat + 0.02, z), (width, 0.035, depth / count * 0.9))
    if thing.chance(0.4):
        backrest(thing, width, seat + 0.03, thing.between(0.3, 0.45), -depth / 2)
    elif thing.chance(0.4):
        thing.pillow(CLOTH, (0, seat + 0.07, 0), (width, 0.1, depth), 0.3)


@listed(FURNITURE)
def bed(thing: Thing) -> None:
    width, length, base = thing.between(0.9, 1.8), thing.between(1.9, 2.1), thing.between(0.2, 0.32)
    high = thing.between(0.6, 1.2)
    legs(thing, width, length, base)
    thing.box(FRAME, (0, base, 0), (width, 0.14, length))
    thing.pillow(BRIGHT, (0, base + 0.17, 0), (width * 0.97, 0.22, length * 0.98), 0.15)
    thing.pillow(CLOTH, (0, base + 0.22, length * 0.12), (width * 1.02, 0.2, length * 0.76), 0.15)
    thing.box(FRAME, (0, high / 2 + 0.05, -length / 2), (width, high - 0.1, 0.06))
    count = 1 if width < 1.2 else 2
    for number in range(count):
        x = (number - (count - 1) / 2) * width * 0.47
        thing.pillow(CLOTH_TOO, (x, base + 0.36, -length * 0.38), (width / count * 0.8, 0.16, 0.4), 0.45, (20, 0, 0))


@listed(FURNITURE)
def table(thing: Thing) -> None:
    height = thing.one_of(thing.between(0.35, 0.48), thing.between(0.7, 0.78))
    width, depth, thick = thing.between(0.6, 1.9), thing.between(0.5, 0.95), thing.between(0.02, 0.06)
    if thing.chance(0.25):
        for x in (-width * 0.38, width * 0.38):
            for z in (-1, 1):
                thing.rod(LEG, (x, 0, z * depth * 0.45), (x, height, z * depth * 0.12), 0.025, sides=6)
            thing.box(LEG, (x, height - 0.03, 0), (0.05, 0.05, depth * 0.8))
    else:
        legs(thing, width, depth, height)
    if thing.chance(0.5):
        for z in (-depth / 2 + 0.05, depth / 2 - 0.05):
            thing.box(LEG, (0, height - 0.045, z), (width * 0.9, 0.09, 0.02))
    if thing.chance(0.25):
        thing.box(TOP, (0, height * 0.3, 0), (width * 0.9, 0.025, depth * 0.9))
    thing.box(TOP, (0, height + thick / 2, 0), (width, thick, depth))


@listed(FURNITURE)
def round_table(thing: Thing) -> None:
    height, radius = thing.between(0.4, 0.78), thing.between(0.22, 0.6)
    if thing.chance(0.5):
        pedestal(thing, height, radius * 0.7)
    else:
        legs(thing, radius * 1.3, radius * 1.3, height)
    if thing.chance(0.25):
        thing.disc(TOP, (0, height * 0.35, 0), radius * 0.8, 0.02, sides=32)
    thing.disc(TOP, (0, height, 0), radius, thing.between(0.015, 0.05), sides=32)


@listed(FURNITURE)
def desk(thing: Thing) -> None:
    width, depth, height = thing.between(1.0, 1.6), thing.between(0.5, 0.75), thing.between(0.7, 0.78)
    wide = width * thing.between(0.25, 0.35)
    legs(thing, width, depth, height)
    thing.box(FRAME, (width / 2 - wide / 2, height * 0.6, 0), (wide, height * 0.75, depth * 0.92))
    fronts(thing, width / 2 - wide / 2, height * 0.23, wide, height * 0.74, depth * 0.46, thing.whole(2, 4), 1)
    thing.box(TOP, (0, height + 0.015, 0), (width, 0.03, depth))
    if thing.chance(0.3):
        thing.box(FRAME, (0, height + 0.2, -depth * 0.4), (width, 0.3, 0.02))


def fronts(thing: Thing, x: float, y: float, width: float, height: float, z: float, rows: int, columns: int) -> None:
    """Add drawers or doors with knobs or bars before a box whose front is at ``z``; ``y`` is where they begin."""
    gap, bar, material = 0.012, thing.chance(0.5), thing.one_of(FRAME, HARD)
    wide, tall = width / columns, height / rows
    for row in range(rows):
        for column in range(columns):
            middle_x, middle_y = x - width / 2 + wide * (column + 0.5), y + tall * (row + 0.5)
            thing.box(material, (middle_x, middle_y, z + 0.012), (wide - gap, tall - gap, 0.02))
            door = tall > wide * 1.3
            if bar:
                size: Vector = (0.015, min(0.15, tall * 0.4), 0.02) if door else (min(0.2, wide * 0.4), 0.015, 0.02)
                side = (0.38 if column % 2 == 0 else -0.38) * wide if door else 0
                thing.box(METAL, (middle_x + side, middle_y, z + 0.033), size)
            else:
                side = (0.38 if column % 2 == 0 else -0.38) * wide if door else 0
                thing.pillow(METAL, (middle_x + side, middle_y, z + 0.035), (0.035, 0.035, 0.03), 1)


@listed(FURNITURE)
def cabinet(thing: Thing) -> None:
    width, depth, height = thing.between(0.4, 1.6), thing.between(0.35, 0.5), thing.between(0.45, 1.1)
    base = thing.between(0.03, 0.2)
    legs(thing, width, depth, base)
    thing.box(FRAME, (0, base + height / 2, 0), (width, height, depth))
    fronts(thing, 0, base + 0.02, width * 0.96, height - 0.04, depth / 2, thing.whole(1, 5), thing.whole(1, 3))
    if thing.chance(0.4):
        thing.box(TOP, (0, base + height + 0.015, 0), (width * 1.04, 0.03, depth * 1.06))


@listed(FURNITURE)
def wardrobe(thing: Thing) -> None:
    width, depth, height = thing.between(0.8, 1.6), thing.between(0.5, 0.6), thing.between(1.7, 2.2)
    drawers = height * thing.between(0.1, 0.3)
    thing.box(FRAME, (0, 0.06 + height / 2, 0), (width, height, depth))
    thing.box(DARK, (0, 0.03, 0), (width * 0.95, 0.06, depth * 0.9))
    doors = thing.whole(2, 3)
    fronts(thing, 0, 0.08 + drawers, width * 0.97, height - drawers - 0.04, depth / 2, 1, doors)
    fronts(thing, 0, 0.08, width * 0.97, drawers, depth / 2, 1, thing.one_of(1, 2, doors))


@listed(FURNITURE)
def shelf(thing: Thing) -> None:
    width, depth, height = thing.between(0.5, 1.2), thing.between(0.22, 0.36), thing.between(0.8, 2.0)
    levels, columns, thick = thing.whole(3, 6), thing.whole(1, 3), thing.between(0.015, 0.03)
    if thing.chance(0.5):
        thing.box(FRAME, (0, height / 2, -depth / 2), (width, height, 0.01))
    if thing.chance(0.3):
        thing.all_around(width, depth, lambda x, z: thing.box(LEG, (x, height / 2, z), (0.025, height, 0.025)))
        columns = 1
    else:
        for column in range(columns + 1):
            thing.box(FRAME, (width * (column / columns - 0.5), height / 2, 0), (thick, height, depth))
    gap = (height - 0.08) / (levels - 1)
    for level in range(levels):
        thing.box(FRAME, (0, 0.05 + gap * level, 0), (width, thick, depth))
        if level < levels - 1 and thing.chance(0.5):
            x = thing.between(-0.4, 0.2) * width
            for number in range(thing.whole(1, 5)):
                tall = gap * thing.between(0.5, 0.85)
                at = (x + number * 0.045, 0.05 + gap * level + thick / 2 + tall / 2, 0)
                thing.box(("cover", number % 3), at, (0.04, tall, depth * 0.7))


def shade(thing: Thing, y: float, radius: float, material: Material = ("lit", 0)) -> None:
    """Add a lampshade whose lower rim is at ``y``."""
    top, height = radius * thing.between(0.3, 1), radius * thing.between(0.7, 1.6)
    style = thing.one_of("cone", "cone", "dome", "ball")
    if style == "ball":
        thing.pillow(material, (0, y + radius * 0.8, 0), (radius * 1.7,) * 3, 1)
    elif style == "dome":
        profile = [(radius * math.cos(a), y + height * 0.6 * math.sin(a)) for a in (0, 0.3, 0.6, 0.9, 1.2, 1.5)]
        thing.lathe(material, profile, hollow=True)
    else:
        thing.lathe(material, ((radius, y), (top, y + height)), hollow=True)


@listed(FURNITURE)
def table_lamp(thing: Thing) -> None:
    foot, height = thing.between(0.07, 0.12), thing.between(0.2, 0.4)
    style = thing.one_of("bottle", "stick", "balls")
    if style == "bottle":
        rounds = [thing.between(0.03, 0.13) for _ in range(4)]
        thing.lathe(POTTERY, curve([foot * 0.8, *rounds, 0.02], height))
    else:
        thing.disc(METAL, (0, 0, 0), foot, 0.02)
        thing.disc(METAL, (0, 0.02, 0), 0.012, height)
        for number in range(3 if style == "balls" else 0):
            y = 0.05 + height * (number + 0.5) / 3.3
            thing.pillow(POTTERY, (0, y, 0), (height / 3,) * 3, 1)
    shade(thing, height, thing.between(0.12, 0.24))


@listed(FURNITURE)
def floor_lamp(thing: Thing) -> None:
    height = thing.between(1.1, 1.5)
    if thing.chance(0.35):
        for number in range(3):
            angle = math.tau * number / 3
            thing.rod(LEG, (0.3 * math.sin(angle), 0, 0.3 * math.cos(angle)), (0, height, 0), 0.015, sides=6)
        shade(thing, height, thing.between(0.18, 0.28))
    elif thing.chance(0.35):
        reach = thing.between(0.3, 0.7)
        thing.disc(METAL, (0, 0, 0), 0.14, 0.03)
        arc = [(reach * (1 - x) / 2 * 2 - reach / 2, height + y * reach, 0.0) for x, y in circle(1, 8, 0, 180)]
        thing.tube(METAL, [(-reach / 2, 0.03, 0), (-reach / 2, height * 0.5, 0), *arc], 0.014)
        thing.lathe(("lit", 0), ((0.17, height - 0.2), (0.05, height)), (reach * 1.5, 0, 0), hollow=True)
    else:
        pedestal(thing, height, 0.16, METAL)
        shade(thing, height, thing.between(0.16, 0.28))


@listed(FURNITURE)
def hanging_lamp(thing: Thing) -> None:
    thing.rod(DARK, (0, 0.5, 0), (0, 1.1, 0), 0.006, sides=5)
    if thing.chance(0.4):
        count, reach = thing.whole(3, 6), thing.between(0.2, 0.35)
        for number in range(count):
            angle = math.tau * number / count
            x, z = reach * math.sin(angle), reach * math.cos(angle)
            thing.rod(METAL, (0, 0.5, 0), (x, 0.42, z), 0.012, sides=6)
            thing.pillow(("lit", 0), (x, 0.37, z), (0.12, 0.14, 0.12), 1)
        thing.disc(METAL, (0, 0.47, 0), 0.05, 0.08)
    else:
        shade(thing, thing.between(0.1, 0.35), thing.between(0.15, 0.3), thing.one_of(("lit", 0), METAL, ("woven", 0)))


@listed(FURNITURE)
def desk_lamp(thing: Thing) -> None:
    thing.disc(METAL, (0, 0, 0), thing.between(0.07, 0.1), 0.02)
    elbow = (-thing.between(0.05, 0.15), thing.between(0.2, 0.3), 0.0)
    head = (thing.between(0.05, 0.2), thing.between(0.35, 0.45), 0.0)
    thing.rod(METAL, (0, 0.02, 0), elbow, 0.009, sides=6)
    thing.rod(METAL, elbow, head, 0.009, sides=6)
    profile = ((0.09, -0.08), (0.06, 0), (0.025, 0.03), (0.02, 0.07), (0, 0.07))
    thing.lathe(METAL, profile, head, (0, 0, thing.between(10, 50)), hollow=True)


@listed(FURNITURE)
def wall_clock(thing: Thing) -> None:
    thing.upright = False
    radius, thick = thing.between(0.12, 0.2), thing.between(0.02, 0.05)
    round_ = thing.chance(0.75)
    if round_:
        thing.disc(FRAME, (0, 0, 0), radius, thick, (90, 0, 0), sides=36)
        thing.disc(thing.one_of(BRIGHT, BRIGHT, HARD), (0, 0, thick), radius * 0.9, 0.002, (90, 0, 0), sides=36)
    else:
        thing.box(FRAME, (0, 0, thick / 2), (radius * 2, radius * 2, thick))
        thing.box(BRIGHT, (0, 0, thick + 0.001), (radius * 1.8, radius * 1.8, 0.002))
    for hour in range(12):
        angle = math.radians(hour * 30)
        at = (radius * 0.78 * math.sin(angle), radius * 0.78 * math.cos(angle), thick + 0.004)
        thing.box(DARK, at, (radius * 0.04, radius * (0.16 if hour % 3 == 0 else 0.08), 0.002), (0, 0, -hour * 30))
    for reach, wide in ((0.5, 0.05), (0.7, 0.035)):
        turn = thing.between(0, 360)
        angle = math.radians(turn)
        at = (radius * reach / 2 * math.sin(angle), radius * reach / 2 * math.cos(angle), thick + 0.007)
        thing.box(DARK, at, (radius * wide, radius * reach, 0.002), (0, 0, -turn))


@listed(FURNITURE)
def picture_frame(thing: Thing) -> None:
    thing.upright = False
    width, height, rim = thing.between(0.2, 0.7), thing.between(0.2, 0.7), thing.between(0.01, 0.06)
    inside = thing.one_of(("cover", 0), ("mirror", 0))
    thing.box(inside, (0, 0, 0.01), (width, height, 0.01))
    if thing.chance(0.4):
        thing.box(BRIGHT, (0, 0, 0.008), (width, height, 0.014))
        thing.box(inside, (0, 0, 0.016), (width * 0.7, height * 0.7, 0.002))
    for side in (-1, 1):
        thing.box(FRAME, (0, side * (height + rim) / 2, 0.015), (width + 2 * rim, rim, 0.03))
        thing.box(FRAME, (side * (width + rim) / 2, 0, 0.015), (rim, height, 0.03))


@listed(FURNITURE)
def round_mirror(thing: Thing) -> None:
    thing.upright = False
    radius, rim = thing.between(0.2, 0.4), thing.between(0.008, 0.05)
    thing.disc(("mirror", 0), (0, 0, 0), radius, 0.01, (90, 0, 0), sides=36)
    thing.add_ring(FRAME, (0, 0, 0.01), radius, rim)
    for number in range(thing.one_of(0, 0, 16)):
        a, b = math.cos(number * math.tau / 16), math.sin(number * math.tau / 16)
        thing.rod(FRAME, (radius * a, radius * b, 0.01), (radius * 1.4 * a, radius * 1.4 * b, 0.01), 0.012, sides=5)


@listed(FURNITURE)
def ladder(thing: Thing) -> None:
    height, width, steps = thing.between(0.8, 1.8), thing.between(0.35, 0.5), thing.whole(3, 6)
    lean = height * 0.22
    for x in (-width / 2, width / 2):
        thing.rod(FRAME, (x, 0, lean), (x * 0.8, height, 0.02), 0.022, sides=6)
        thing.rod(FRAME, (x, 0, -lean), (x * 0.8, height, -0.02), 0.018, sides=6)
    for number in range(steps):
        share = (number + 1) / (steps + 0.3)
        thing.box(FRAME, (0, height * share, lean * (1 - share)), (width * (1 - 0.2 * share), 0.025, 0.09))


@listed(FURNITURE)
def rug(thing: Thing) -> None:
    """Cloth on the floor: a rug or folded towels."""
    if thing.chance(0.4):
        thing.box(CLOTH, (0, 0.005, 0), (thing.between(0.8, 1.6), 0.01, thing.between(0.6, 1.2)))
        return
    if thing.chance(0.3):
        thing.disc(CLOTH, (0, 0, 0), 0.6, 0.015, sides=36)
        return
    for number in range(thing.whole(2, 5)):
        thing.pillow(("cloth", number % 2), (0, 0.03 + number * 0.055, 0), (0.4, 0.06, 0.3), 0.2)


@listed(FURNITURE)
def cushion(thing: Thing) -> None:
    size, lean = thing.between(0.35, 0.5), thing.between(-25, 0)
    tall = size * thing.one_of(1, 0.65)
    thing.pillow(CLOTH, (0, tall / 2, 0), (size, tall, 0.17), thing.between(0.25, 0.45), (lean, 0, 0))
    if thing.chance(0.4):
        thing.pillow(CLOTH_TOO, (size * 0.4, tall * 0.4, 0.17), (size * 0.8, tall * 0.8, 0.15), 0.35, (lean, -15, 0))


@listed(FURNITURE)
def office_chair(thing: Thing) -> None:
    seat, width = thing.between(0.42, 0.52), thing.between(0.44, 0.52)
    for number in range(5):
        angle = math.tau * number / 5
        foot = (0.3 * math.sin(angle), 0.06, 0.3 * math.cos(angle))
        thing.rod(METAL, (0, 0.1, 0), foot, 0.02, sides=6)
        thing.pillow(DARK, (foot[0], 0.03, foot[2]), (0.06, 0.06, 0.06), 1)
    thing.disc(METAL, (0, 0.08, 0), 0.025, seat - 0.08, sides=10)
    thing.pillow(CLOTH, (0, seat, 0), (width, 0.1, width), 0.45)
    tall = thing.between(0.35, 0.75)
    thing.box(DARK, (0, seat + 0.1, -width * 0.48), (0.06, 0.25, 0.02))
    thing.pillow(CLOTH, (0, seat + 0.12 + tall / 2, -width * 0.46), (width * 0.92, tall, 0.09), 0.4, (-6, 0, 0))
    if thing.chance(0.6):
        armrests(thing, width * 1.15, width * 0.7, seat, DARK)


@listed(FURNITURE)
def rocking_chair(thing: Thing) -> None:
    width, seat = thing.between(0.45, 0.55), 0.42
    for x in (-width / 2, width / 2):
        bow = [(x, 0.9 + 0.9 * b, 0.9 * a) for a, b in circle(1, 10, 245, 295)]
        thing.tube(FRAME, bow, 0.018)
        for z in (-width * 0.4, width * 0.42):
            thing.rod(FRAME, (x, 0.07, z), (x, seat + (0.22 if z > 0 else 0), z), 0.018, sides=6)
        thing.box(FRAME, (x, seat + 0.23, 0), (0.05, 0.025, width))
    thing.box(FRAME, (0, seat, 0), (width, 0.04, width * 0.9))
    backrest(thing, width, seat, thing.between(0.5, 0.7), -width * 0.42)


@listed(FURNITURE)
def ottoman(thing: Thing) -> None:
    width, depth, height = thing.between(0.4, 0.9), thing.between(0.4, 0.6), thing.between(0.25, 0.45)
    if thing.chance(0.35):
        thing.lathe(CLOTH, curve([width * 0.42, width * 0.5, width * 0.48, 0.02], height))
        return
    legs(thing, width, depth, 0.1)
    thing.pillow(CLOTH, (0, 0.08 + height / 2, 0), (width, height, depth), thing.between(0.1, 0.5))


@listed(FURNITURE)
def chaise(thing: Thing) -> None:
    """A long seat with a raised end."""
    length, width, seat = thing.between(1.4, 1.8), thing.between(0.55, 0.75), thing.between(0.3, 0.4)
    legs(thing, length, width, seat - 0.12)
    thing.pillow(CLOTH, (0, seat, 0), (length, 0.2, width), 0.25)
    thing.pillow(CLOTH, (-length * 0.42, seat + 0.25, 0), (0.18, 0.6, width), 0.4, (0, 0, thing.between(10, 35)))
    if thing.chance(0.5):
        thing.pillow(CLOTH, (-length * 0.1, seat + 0.22, -width * 0.45), (length * 0.75, 0.35, 0.14), 0.35)


@listed(FURNITURE)
def crib(thing: Thing) -> None:
    """A bed with bars, or a fence."""
    width, depth, height = thing.between(0.8, 1.3), thing.between(0.5, 0.7), thing.between(0.7, 0.95)
    thing.all_around(width, depth, lambda x, z: thing.box(FRAME, (x, height / 2, z), (0.04, height, 0.04)))
    thing.pillow(CLOTH, (0, 0.35, 0), (width * 0.95, 0.12, depth * 0.93), 0.15)
    for z in (-depth / 2, depth / 2):
        for y in (0.25, height - 0.03):
            thing.box(FRAME, (0, y, z), (width, 0.04, 0.025))
        count = thing.whole(6, 10)
        for number in range(count):
            x = width * ((number + 1) / (count + 1) - 0.5)
            thing.rod(FRAME, (x, 0.25, z), (x, height - 0.04, z), 0.01, sides=5)
    for x in (-width / 2, width / 2):
        thing.box(FRAME, (x, height / 2 + 0.1, 0), (0.025, height - 0.2, depth * 0.94))


@listed(FURNITURE)
def coat_stand(thing: Thing) -> None:
    height = thing.between(1.5, 1.8)
    pedestal(thing, height, 0.22, FRAME)
    for number in range(thing.whole(4, 8)):
        angle, y = number * 2.4, height - thing.between(0.02, 0.35)
        out = (0.18 * math.sin(angle), y + 0.1, 0.18 * math.cos(angle))
        thing.rod(FRAME, (0, y, 0), out, 0.012, sides=6)
        thing.pillow(FRAME, out, (0.035,) * 3, 1)


@listed(FURNITURE)
def trolley(thing: Thing) -> None:
    """A cart with two or three trays on wheels."""
    width, depth, height = thing.between(0.4, 0.8), thing.between(0.3, 0.45), thing.between(0.7, 0.9)
    levels = thing.whole(2, 3)

    def corner(x: float, z: float) -> None:
        thing.rod(METAL, (x, 0.06, z), (x, height, z), 0.012, sides=6)
        thing.pillow(DARK, (x, 0.035, z), (0.07, 0.07, 0.03), 1)

    thing.all_around(width, depth, corner)
    for level in range(levels):
        y = 0.15 + (height - 0.2) * level / (levels - 1)
        thing.box(TOP, (0, y, 0), (width, 0.02, depth))
        for z in (-depth / 2, depth / 2):
            thing.box(METAL, (0, y + 0.06, z), (width, 0.012, 0.012))


@listed(FURNITURE)
def television_bench(thing: Thing) -> None:
    width, depth, height = thing.between(1.2, 2.0), thing.between(0.35, 0.45), thing.between(0.3, 0.45)
    base, open_ = thing.between(0.05, 0.18), thing.between(0.25, 0.5)
    legs(thing, width, depth, base)
    thing.box(FRAME, (0, base, 0), (width, 0.03, depth))
    thing.box(FRAME, (0, base + height, 0), (width, 0.03, depth))
    thing.box(FRAME, (0, base + height / 2, -depth / 2), (width, height, 0.01))
    side = width * (1 - open_) / 2
    for x in (-1, 1):
        middle = x * (width - side) / 2
        thing.box(FRAME, (middle, base + height / 2, 0), (side, height - 0.03, depth * 0.98))
        fronts(thing, middle, base + 0.02, side, height - 0.04, depth / 2, thing.whole(1, 2), 1)
    if thing.chance(0.6):
        thing.box(FRAME, (0, base + height * 0.5, 0), (width * open_, 0.02, depth * 0.9))


@listed(FURNITURE)
def bathtub(thing: Thing) -> None:
    length, width, height = thing.between(1.4, 1.7), thing.between(0.65, 0.8), thing.between(0.4, 0.6)
    side = [(0.42, 0.02), (0.47, 0.3), (0.5, 0.95), (0.53, 1.0)]
    thing.add(turned(((0.0, 0.02), *side), 28), POTTERY, (0, 0.05, 0), (length, height, width), hollow=True)
    thing.all_around(length * 0.6, width * 0.6, lambda x, z: thing.pillow(METAL, (x, 0.05, z), (0.08, 0.1, 0.08), 1))
    thing.tube(
        METAL, [(length * 0.52, height, 0), (length * 0.52, height + 0.25, 0), (length * 0.4, height + 0.25, 0)], 0.015
    )


@listed(FURNITURE)
def basin(thing: Thing) -> None:
    """A washbasin on a column or a cupboard, with a tap."""
    width, height, depth = thing.between(0.45, 0.65), thing.between(0.75, 0.85), thing.between(0.38, 0.48)
    if thing.chance(0.5):
        thing.lathe(POTTERY, curve([0.12, 0.08, 0.1], height))
    else:
        thing.box(FRAME, (0, height / 2, 0), (width * 0.95, height, depth * 0.95))
        fronts(thing, 0, 0.05, width * 0.9, height - 0.08, depth * 0.48, 1, thing.whole(1, 2))
    bowl_side = ((0.0, 0.0), (0.3, 0.0), (0.46, 0.6), (0.5, 1.0))
    thing.add(turned(bowl_side, 28), POTTERY, (0, height, 0), (width, 0.16, depth), hollow=True)
    z = -depth * 0.42
    thing.tube(
        METAL,
        [(0, height + 0.12, z), (0, height + 0.3, z), (0, height + 0.3, z + 0.12), (0, height + 0.27, z + 0.13)],
        0.013,
    )


@listed(FURNITURE)
def curtain(thing: Thing) -> None:
    """Hanging cloth in folds: a curtain, or a towel on a rod."""
    thing.upright = False
    width, height, folds = thing.between(0.5, 1.2), thing.between(0.6, 1.6), thing.whole(4, 10)
    across, down = np.linspace(-0.5, 0.5, folds * 6 + 1)[None], np.linspace(0, 1, 4)[:, None]
    z = 0.06 + 0.03 * np.sin((across + 0.5) * math.tau * folds) * (0.6 + 0.4 * (1 - down))
    points = np.stack((across * width + 0 * down, (down - 1) * height + 0 * across, z), axis=-1)
    thing.add(sheet(points), CLOTH, hollow=True)
    thing.rod(METAL, (-width * 0.58, 0.01, 0.06), (width * 0.58, 0.01, 0.06), 0.015)
    for x in (-width * 0.58, width * 0.58):
        thing.pillow(METAL, (x, 0.01, 0.06), (0.05,) * 3, 1)


@listed(FURNITURE)
def door(thing: Thing) -> None:
    """A door or a window with panels in a frame."""
    thing.upright = False
    width, height = thing.between(0.6, 0.9), thing.between(0.8, 2.0)
    rows, columns = thing.whole(1, 4), thing.whole(1, 3)
    thing.box(FRAME, (0, 0, 0.02), (width, height, 0.04))
    inside = thing.one_of(FRAME, ("glass", 0), HARD)
    for row in range(rows):
        for column in range(columns):
            at = (width * 0.9 * ((column + 0.5) / columns - 0.5), height * 0.94 * ((row + 0.5) / rows - 0.5), 0.045)
            thing.box(inside, at, (width * 0.9 / columns - 0.07, height * 0.94 / rows - 0.07, 0.012))
    thing.box(METAL, (width * 0.42, 0, 0.07), (0.11, 0.02, 0.02))


@listed(FURNITURE)
def wall_shelf(thing: Thing) -> None:
    thing.upright = False
    width, depth = thing.between(0.5, 1.0), thing.between(0.15, 0.25)
    for level in range(thing.whole(1, 3)):
        y = level * 0.32
        thing.box(FRAME, (0, y, depth / 2), (width, 0.025, depth))
        for x in (-width * 0.35, width * 0.35):
            thing.box(METAL, (x, y - 0.05, depth * 0.3), (0.02, 0.08, depth * 0.6))
        for number in range(thing.whole(0, 4)):
            x, tall = (number - 1.5) * width * 0.22, thing.between(0.08, 0.22)
            if thing.chance(0.5):
                thing.box(("cover", number % 2), (x, y + 0.0125 + tall / 2, depth / 2), (0.05, tall, depth * 0.7))
            else:
                thing.lathe(POTTERY, curve([0.03, thing.between(0.03, 0.07), 0.03], tall), (x, y + 0.0125, depth / 2))


@listed(FURNITURE)
def wall_lamp(thing: Thing) -> None:
    thing.upright = False
    thing.disc(METAL, (0, 0, 0), 0.05, 0.02, (90, 0, 0))
    for x in (-0.1, 0.1) if thing.chance(0.4) else (0.0,):
        thing.tube(METAL, [(0, 0, 0.02), (x, -0.03, 0.1), (x, 0.05, 0.13)], 0.008)
        low, high = thing.between(0.05, 0.09), thing.between(0.04, 0.09)
        thing.lathe(("lit", 0), ((low, 0.05), (high, 0.05 + thing.between(0.08, 0.16))), (x, 0, 0.13), hollow=True)
