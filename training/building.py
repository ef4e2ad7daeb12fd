"""What several kinds of things are built with: names of materials, legs, handles, wheels, smooth profiles."""

import math
from collections.abc import Callable

from training.solids import Material, Thing, Vector, circle

Build = Callable[[Thing], None]
"""Adds the parts of a thing of one kind."""

FRAME: Material = ("frame", 0)
LEG: Material = ("leg", 0)
METAL: Material = ("metal", 0)
CLOTH: Material = ("cloth", 0)
CLOTH_TOO: Material = ("cloth", 1)
HARD: Material = ("hard", 0)
HARD_TOO: Material = ("hard", 1)
TOP: Material = ("top", 0)
POTTERY: Material = ("pottery", 0)
DARK: Material = ("dark", 0)
BRIGHT: Material = ("bright", 0)
LEAF: Material = ("leaf", 0)


def listed(kinds: list[Build]) -> Callable[[Build], Build]:
    """Return a decorator that adds a kind of thing to a list."""

    def add(build: Build) -> Build:
        kinds.append(build)
        return build

    return add


def legs(thing: Thing, width: float, depth: float, height: float, material: Material = LEG) -> None:
    """Add four legs below ``height``: square, round or splayed."""
    style, thick = thing.one_of("square", "round", "splayed", "tapered"), thing.between(0.015, 0.035)

    def put(x: float, z: float) -> None:
        if style == "square":
            thing.box(material, (x, height / 2, z), (2 * thick, height, 2 * thick))
        else:
            out = 1.15 if style == "splayed" else 1
            taper = 1 if style == "round" else 1.7
            thing.rod(material, (x * out, 0, z * out), (x, height, z), thick * 0.8, taper=taper, sides=7)

    thing.all_around(width - 2.5 * thick, depth - 2.5 * thick, put)


def pedestal(thing: Thing, height: float, spread: float, material: Material = LEG) -> None:
    """Add one column on a plate or on feet that stick out."""
    thing.disc(material, (0, 0.03, 0), thing.between(0.02, 0.05), height - 0.03, sides=10)
    if thing.chance(0.5):
        thing.lathe(material, ((0, 0), (spread, 0), (spread, 0.015), (0.04, 0.05), (0, 0.05)))
        return
    count = thing.whole(3, 5)
    for number in range(count):
        angle = math.tau * (number + 0.25) / count
        thing.rod(material, (0, 0.07, 0), (spread * math.sin(angle), 0.02, spread * math.cos(angle)), 0.022, sides=6)


def curve(radii: list[float], height: float, steps: int = 14) -> list[tuple[float, float]]:
    """Return the profile of a closed body that runs smoothly through radii at even heights."""
    points = [(0.0, 0.0)]
    last = len(radii) - 1
    for step in range(steps + 1):
        place = step / steps * last
        index = min(int(place), last - 1)
        share = (1 - math.cos(math.pi * (place - index))) / 2
        points.append((radii[index] * (1 - share) + radii[index + 1] * share, height * step / steps))
    return points


def ears(thing: Thing, x: float, y: float, size: float, *, both: bool = True, material: Material = POTTERY) -> None:
    """Add one handle or two at the sides; ``y`` is their middle."""
    thick = size * thing.between(0.09, 0.16)
    for side in (1, -1) if both else (1,):
        bow = [(side * (x + size * 0.6 * a), y + size / 2 * b, 0.0) for a, b in circle(1, 8, -90, 90)]
        thing.tube(material, bow, thick)


def wheel(thing: Thing, at: Vector, radius: float, width: float) -> None:
    """Add a wheel with its axle along z."""
    thing.disc(DARK, (at[0], at[1], at[2] - width / 2), radius, width, (90, 0, 0), sides=20)
    thing.disc(METAL, (at[0], at[1], at[2] - width * 0.55), radius * 0.6, width * 1.1, (90, 0, 0), sides=16)
