"""How household things, tools, toys and what is worn are built, and things that do not exist."""

import math

import numpy as np

from training.building import (
    BRIGHT,
    CLOTH,
    CLOTH_TOO,
    DARK,
    FRAME,
    HARD,
    HARD_TOO,
    LEAF,
    METAL,
    POTTERY,
    Build,
    curve,
    ears,
    listed,
    wheel,
)
from training.solids import Material, Thing, Vector, circle, turned

THINGS: list[Build] = []


@listed(THINGS)
def vase(thing: Thing) -> None:
    height = thing.between(0.2, 0.5)
    radii = [thing.between(0.04, 0.16) for _ in range(thing.whole(3, 6))]
    thing.lathe(POTTERY, curve(radii, height), hollow=True)
    if thing.chance(0.3):
        ears(thing, radii[-1] * 0.8, height * 0.75, height * 0.3)
    if thing.chance(0.35):
        flowers(thing, height, radii[-1])


def flowers(thing: Thing, y: float, spread: float) -> None:
    tall = thing.between(0.15, 0.35)
    for number in range(thing.whole(3, 8)):
        angle = number * 2.4
        lean = (spread + 0.12) * thing.between(0.2, 1)
        end = (lean * math.sin(angle), y + tall * thing.between(0.6, 1), lean * math.cos(angle))
        thing.rod(LEAF, (0, y - 0.02, 0), end, 0.005, sides=4)
        thing.pillow(("any", 7), end, (0.07, 0.06, 0.07), 1)


@listed(THINGS)
def bowl(thing: Thing) -> None:
    radius, height, foot = thing.between(0.08, 0.16), thing.between(0.03, 0.12), thing.between(0.03, 0.06)
    bend = thing.between(0.4, 2)
    side = [(foot + (radius - foot) * (k / 8) ** (1 / bend), 0.01 + height * (k / 8) ** bend) for k in range(9)]
    thing.lathe(POTTERY, [(0, 0.01), *side], hollow=True, sides=32)
    thing.disc(POTTERY, (0, 0, 0), foot, 0.01)
    for number in range(thing.one_of(0, 0, 0, 5)):
        angle = number * 1.26
        at = (radius * 0.4 * math.sin(angle), height * 0.9, radius * 0.4 * math.cos(angle))
        thing.pillow(("any", 7), at, (radius * 0.7,) * 3, 1)


@listed(THINGS)
def cup(thing: Thing) -> None:
    height, low, high = thing.between(0.06, 0.13), thing.between(0.025, 0.045), thing.between(0.035, 0.05)
    ears(thing, (low + high) / 2 * 0.95, height * 0.55, height * thing.between(0.5, 0.7), both=False)
    bulge = max(low, high) * thing.between(0.9, 1.05)
    thing.lathe(POTTERY, curve([low, bulge, high], height), hollow=True)
    if thing.chance(0.4):
        thing.lathe(POTTERY, ((0, -0.012), (0.04, -0.012), (high * 1.9, 0), (0.03, -0.006), (0, -0.006)))


@listed(THINGS)
def teapot(thing: Thing) -> None:
    radius, height = thing.between(0.07, 0.11), thing.between(0.09, 0.15)
    material = thing.one_of(POTTERY, METAL)
    body = [radius * thing.between(0.6, 1), radius, radius * thing.between(0.7, 1), radius * thing.between(0.3, 0.7)]
    thing.rod(material, (-radius * 0.7, height * 0.35, 0), (-radius * 1.7, height * 0.95, 0), 0.022, taper=0.5)
    if thing.chance(0.4):
        bow = [(radius * a, height + radius * b, 0.0) for a, b in circle(0.85, 10, 0, 180)]
        thing.tube(("leg", 1), bow, 0.008)
    else:
        ears(thing, radius * 0.85, height * 0.55, height * 0.75, both=False, material=material)
    thing.lathe(material, curve(body, height))
    lid = body[-1]
    thing.lathe(material, ((lid, height), (lid * 0.7, height + 0.02), (0.01, height + 0.028), (0, height + 0.028)))
    thing.pillow(thing.one_of(material, DARK), (0, height + 0.035, 0), (0.025,) * 3, 1)


@listed(THINGS)
def pot(thing: Thing) -> None:
    radius, height = thing.between(0.09, 0.15), thing.between(0.05, 0.18)
    material = thing.one_of(METAL, POTTERY)
    grip = thing.one_of(material, DARK)
    if height < 0.1:
        thing.rod(grip, (radius, height * 0.85, 0), (radius * 2.5, height, 0), 0.011)
    else:
        for side in (-1, 1):
            thing.box(grip, (side * radius * 1.1, height * 0.8, 0), (radius * 0.3, 0.012, radius * 0.6))
    thing.lathe(material, ((0, 0), (radius * 0.94, 0), (radius, 0.02), (radius, height)), hollow=True, sides=32)
    if thing.chance(0.6):
        lid = [(radius * 1.03 * math.cos(a), height + radius * 0.3 * math.sin(a)) for a in (0, 0.4, 0.8, 1.2, 1.57)]
        thing.lathe(thing.one_of(material, ("glass", 0)), lid, sides=32)
        thing.pillow(grip, (0, height + radius * 0.35, 0), (0.035, 0.03, 0.035), 0.7)


@listed(THINGS)
def bottle(thing: Thing) -> None:
    radius, height = thing.between(0.03, 0.05), thing.between(0.12, 0.2)
    neck, tall = radius * thing.between(0.25, 0.5), thing.between(0.03, 0.1)
    material = thing.one_of(("glass", 0), POTTERY, HARD)
    body = [
        (0, 0),
        (radius, 0),
        (radius, height),
        (radius * 0.8, height + 0.02),
        (neck, height + 0.045),
        (neck, height + tall + 0.045),
    ]
    thing.lathe(material, body)
    if thing.chance(0.8):
        label = height * thing.between(0.3, 0.6)
        thing.lathe(("cover", 0), ((radius * 1.01, height * 0.2), (radius * 1.01, height * 0.2 + label)))
    thing.disc(thing.one_of(DARK, METAL, HARD), (0, height + tall + 0.045, 0), neck * 1.15, 0.025)


@listed(THINGS)
def drinking_glass(thing: Thing) -> None:
    for number in range(thing.one_of(1, 1, 2, 3)):
        x = number * 0.11
        radius, height, stem = 0.035, thing.between(0.07, 0.12), thing.one_of(0, thing.between(0.05, 0.09))
        if stem:
            thing.lathe(("glass", 0), ((0, 0), (radius, 0), (0.005, 0.008), (0.004, stem)), (x, 0, 0))
        body = [0.01 if stem else radius * 0.85, radius * 1.1, radius]
        thing.lathe(("glass", 0), [(r, stem + y) for r, y in curve(body, height)], (x, 0, 0), hollow=True)


@listed(THINGS)
def cutlery(thing: Thing) -> None:
    for number in range(thing.whole(1, 5)):
        z, tip = number * 0.035, thing.one_of("spoon", "fork", "knife")
        thing.pillow(thing.one_of(METAL, METAL, ("leg", 0)), (0, 0.004, z), (0.11, 0.006, 0.014), 0.4)
        thing.box(METAL, (-0.07, 0.004, z), (0.04, 0.004, 0.006))
        if tip == "spoon":
            thing.pillow(METAL, (-0.105, 0.005, z), (0.05, 0.008, 0.03), 1)
        elif tip == "knife":
            thing.pillow(METAL, (-0.12, 0.004, z), (0.09, 0.004, 0.018), 0.5)
        else:
            thing.box(METAL, (-0.095, 0.004, z), (0.018, 0.004, 0.024))
            for tine in range(4):
                thing.box(METAL, (-0.12, 0.004, z + (tine - 1.5) * 0.0065), (0.036, 0.004, 0.0035))


@listed(THINGS)
def books(thing: Thing) -> None:
    y, count, turn = 0.0, thing.whole(1, 6), 0.0
    for number in range(count):
        thick, width, depth = thing.between(0.012, 0.045), thing.between(0.14, 0.2), thing.between(0.2, 0.28)
        turn += thing.between(-14, 14)
        cover = ("cover", number)
        thing.box(cover, (0, y + 0.0015, 0), (width, 0.003, depth), (0, turn, 0))
        thing.box(BRIGHT, (0, y + thick / 2, 0), (width - 0.012, thick - 0.006, depth - 0.012), (0, turn, 0))
        thing.box(cover, (0, y + thick - 0.0015, 0), (width, 0.003, depth), (0, turn, 0))
        y += thick


@listed(THINGS)
def carton(thing: Thing) -> None:
    width, height, depth = thing.between(0.2, 0.5), thing.between(0.08, 0.4), thing.between(0.15, 0.4)
    cover = thing.one_of(("cover", 0), FRAME, CLOTH)
    thing.box(cover, (0, height / 2, 0), (width, height, depth))
    style = thing.one_of("lid", "ribbon", "tape", "flaps")
    if style == "lid":
        thing.box(HARD, (0, height + 0.02, 0), (width * 1.03, 0.06, depth * 1.03))
    elif style == "flaps":
        for side in (-1, 1):
            at = (side * width * 0.62, height * 1.1, 0)
            thing.box(cover, at, (width * 0.4, 0.006, depth), (0, 0, side * thing.between(20, 50)))
        thing.box(DARK, (0, height + 0.001, 0), (width * 0.96, 0.002, depth * 0.96))
    else:
        thing.box(HARD, (0, height / 2, 0), (width * 0.15, height * 1.02, depth * 1.02))
        if style == "ribbon":
            thing.box(HARD, (0, height / 2, 0), (width * 1.02, height * 1.03, depth * 0.12))
            thing.pillow(HARD, (0, height + 0.03, 0), (0.12, 0.05, 0.08), 1)


@listed(THINGS)
def basket(thing: Thing) -> None:
    radius, height, flare = thing.between(0.15, 0.22), thing.between(0.1, 0.4), thing.between(0.75, 1.1)
    woven = ("woven", 0)
    thing.lathe(woven, curve([radius * flare, radius * 1.05, radius], height), hollow=True)
    if thing.chance(0.4):
        bow = [(radius * a, height + radius * 1.4 * b, 0.0) for a, b in circle(0.95, 10, 0, 180)]
        thing.tube(woven, bow, 0.012)
    elif thing.chance(0.6):
        ears(thing, radius * 0.9, height, height * 0.3, material=("leg", 0))
    if thing.chance(0.4):
        thing.pillow(CLOTH, (0, height, 0), (radius * 1.7, height * 0.3, radius * 1.7), 0.7)


@listed(THINGS)
def blocks(thing: Thing) -> None:
    for number in range(thing.whole(4, 9)):
        level, column = divmod(number, 3)
        side = 0.045
        at = ((column - 1 + level * 0.5) * 0.055, side / 2 + level * side, thing.between(-0.01, 0.01))
        form, material, turn = (
            thing.one_of("cube", "cube", "cylinder", "roof"),
            ("hard", number % 5),
            thing.between(-20, 20),
        )
        if form == "cube":
            thing.box(material, at, (side,) * 3, (0, turn, 0))
        elif form == "cylinder":
            thing.disc(material, (at[0], level * side, at[2]), side / 2, side, sides=16)
        else:
            roof = [(-side / 2, -side / 2), (side / 2, -side / 2), (0.0, side / 2)]
            thing.prism(material, roof, side, at, (0, turn, 0))


@listed(THINGS)
def toy_car(thing: Thing) -> None:
    length, width, height = thing.between(0.16, 0.24), thing.between(0.08, 0.1), thing.between(0.03, 0.05)
    radius = thing.between(0.018, 0.03)
    for x in (-length * 0.3, length * 0.3):
        for z in (-width / 2, width / 2):
            wheel(thing, (x, radius, z), radius, 0.02)
    thing.pillow(HARD, (0, radius + height / 2, 0), (length, height, width), 0.25)
    style = thing.one_of("car", "truck", "bus")
    cabin = {"car": length * 0.5, "truck": length * 0.3, "bus": length * 0.92}[style]
    x = -length * 0.3 if style == "truck" else -length * 0.02
    top = radius + height
    thing.pillow(("glass", 0), (x, top + 0.015, 0), (cabin, 0.045, width * 0.88), 0.25)
    thing.pillow(HARD, (x, top + 0.036, 0), (cabin * 0.95, 0.01, width * 0.88), 0.3)
    if style == "truck":
        thing.box(HARD_TOO, (length * 0.18, top + 0.03, 0), (length * 0.6, 0.06, width))


@listed(THINGS)
def bag(thing: Thing) -> None:
    width, height, depth = thing.between(0.22, 0.42), thing.between(0.18, 0.36), thing.between(0.07, 0.16)
    hide, taper = ("hide", 0), thing.between(0.75, 1.15)
    if thing.chance(0.4):
        thing.pillow(hide, (0, height / 2, 0), (width, height, depth), thing.between(0.2, 0.5))
    else:
        outline = [(-width / 2, 0.0), (width / 2, 0.0), (width / 2 * taper, height), (-width / 2 * taper, height)]
        thing.prism(hide, outline, depth)
    reach, tall = width * thing.between(0.2, 0.35), height * thing.between(0.3, 0.9)
    for z in (-depth * 0.35, depth * 0.35) if thing.chance(0.5) else (0.0,):
        thing.tube(("hide", 1), [(reach * a, height * 0.98 + tall * b, z) for a, b in circle(1, 10, 0, 180)], 0.009)
    if thing.chance(0.5):
        flap = height * thing.between(0.3, 0.6)
        thing.box(hide, (0, height - flap / 2, depth / 2 + 0.006), (width * 0.9, flap, 0.01))
        thing.box(METAL, (0, height - flap, depth / 2 + 0.016), (0.04, 0.03, 0.012))
    elif thing.chance(0.5):
        thing.box(hide, (0, height * 0.35, depth / 2 + 0.01), (width * 0.7, height * 0.45, 0.03))


@listed(THINGS)
def backpack(thing: Thing) -> None:
    width, height, depth = thing.between(0.26, 0.34), thing.between(0.38, 0.5), thing.between(0.12, 0.18)
    thing.pillow(CLOTH, (0, height / 2, 0), (width, height, depth), thing.between(0.3, 0.55))
    thing.pillow(
        thing.one_of(CLOTH, ("hide", 0)), (0, height * 0.3, depth / 2), (width * 0.78, height * 0.42, 0.08), 0.35
    )
    thing.tube(("hide", 0), [(0.05 * a, height * 0.97 + 0.06 * b, 0.0) for a, b in circle(1, 8, 0, 180)], 0.01)
    for x in (-0.08, 0.08):
        thing.tube(("hide", 0), [(x, height * 0.9, -0.06), (x * 1.2, height * 0.6, -0.14), (x, 0.08, -0.07)], 0.018)


@listed(THINGS)
def shoe(thing: Thing) -> None:
    length, heel = thing.between(0.26, 0.3), thing.one_of(0.015, 0.03, 0.08)
    for z in (-0.07, 0.07) if thing.chance(0.6) else (0.0,):
        thing.pillow(DARK if thing.chance(0.5) else BRIGHT, (0, 0.014, z), (length, 0.028, 0.095), 0.45)
        thing.box(DARK, (length * 0.38, heel / 2, z), (length * 0.2, heel, 0.075))
        thing.pillow(("hide", 0), (-length * 0.14, 0.05, z), (length * 0.7, 0.085, 0.09), 0.7, (0, 0, -6))
        tall = thing.one_of(0.08, 0.1, 0.2)
        thing.lathe(("hide", 0), curve([0.045, 0.043, 0.046], tall), (length * 0.3, 0.02, z), hollow=True, sides=16)
        thing.pillow(("hide", 0), (length * 0.08, 0.07, z), (length * 0.5, 0.06, 0.07), 0.7, (0, 0, -22))
        for number in range(4):
            x = -length * 0.12 + number * 0.022
            thing.rod(
                BRIGHT, (x, 0.087 + number * 0.009, z - 0.025), (x, 0.087 + number * 0.009, z + 0.025), 0.003, sides=4
            )


@listed(THINGS)
def hammer(thing: Thing) -> None:
    length, head = thing.between(0.25, 0.4), thing.between(0.09, 0.13)
    thing.rod(("leg", 0), (0, 0.02, 0), (length, 0.02, 0), 0.013)
    if thing.chance(0.5):
        thing.box(METAL, (length, 0.02, 0), (0.03, 0.03, head))
        thing.rod(METAL, (length, 0.02, head / 2), (length, 0.02, head * 0.8), 0.018)
    else:
        outline = [(-0.02, -0.05), (0.03, -0.07), (0.03, 0.07), (-0.02, 0.05)]
        thing.prism(METAL, outline, 0.02, (length, 0.02, 0.03), (90, 0, 0))
    thing.rod(DARK, (0, 0.02, 0), (length * 0.35, 0.02, 0), 0.017)


@listed(THINGS)
def screwdriver(thing: Thing) -> None:
    length = thing.between(0.1, 0.2)
    for number in range(thing.one_of(1, 1, 3)):
        z = number * 0.05
        thing.pillow(HARD, (0, 0.015, z), (0.1, 0.03, 0.03), 0.5)
        thing.rod(METAL, (0.04, 0.015, z), (0.05 + length, 0.015, z), 0.004)
        thing.box(METAL, (0.05 + length, 0.015, z), (0.02, 0.003, 0.009))


@listed(THINGS)
def phone(thing: Thing) -> None:
    width, height = thing.between(0.065, 0.08), thing.between(0.13, 0.165)
    lying = thing.chance(0.3)
    turn: Vector = (-90, 0, 0) if lying else (thing.between(-20, 0), thing.between(-30, 30), 0)
    y = 0.006 if lying else height / 2
    thing.pillow(HARD, (0, y, 0), (width, height, 0.009), 0.12, turn)
    front: Vector = (0, y + 0.005, 0) if lying else (0, y, 0.0055)
    thing.box(("screen", 0), front, (width * 0.92, height * 0.93, 0.001), turn)


@listed(THINGS)
def monitor(thing: Thing) -> None:
    width, height = thing.between(0.5, 1.2), thing.between(0.3, 0.62)
    base = thing.between(0.06, 0.15)
    thing.box(METAL, (0, 0.008, 0), (width * thing.between(0.3, 0.5), 0.015, 0.2))
    thing.box(METAL, (0, base / 2 + 0.02, -0.03), (0.06, base + 0.04, 0.025))
    thing.box(DARK, (0, base + height / 2, 0), (width, height, 0.03))
    thing.box(("screen", 0), (0, base + height / 2 + 0.005, 0.017), (width * 0.96, height * 0.92, 0.002))


@listed(THINGS)
def laptop(thing: Thing) -> None:
    width, depth, open_ = thing.between(0.3, 0.38), thing.between(0.2, 0.26), thing.between(0, 25)
    thing.box(HARD, (0, 0.009, 0), (width, 0.016, depth))
    thing.box(DARK, (0, 0.018, -depth * 0.12), (width * 0.88, 0.002, depth * 0.45))
    thing.box(HARD_TOO, (0, 0.018, depth * 0.3), (width * 0.3, 0.002, depth * 0.25))
    lean = math.radians(open_)
    z, y = -depth / 2 - depth / 2 * math.sin(lean), 0.018 + depth / 2 * math.cos(lean)
    thing.box(HARD, (0, y, z - 0.004), (width, depth, 0.007), (-open_, 0, 0))
    thing.box(("screen", 0), (0, y, z + 0.001), (width * 0.95, depth * 0.92, 0.002), (-open_, 0, 0))


@listed(THINGS)
def speaker(thing: Thing) -> None:
    width, height, depth = thing.between(0.14, 0.3), thing.between(0.2, 0.9), thing.between(0.15, 0.3)
    thing.box(FRAME, (0, height / 2, 0), (width, height, depth))
    y = height
    for number in range(thing.whole(1, 3)):
        radius = width * (0.2 if number == 0 else 0.4)
        y -= radius * 1.2 + 0.01
        if y < radius:
            break
        profile = ((radius, 0), (radius, 0.008), (radius * 0.85, 0.01), (radius * 0.3, -0.005), (0, 0.004))
        thing.lathe(thing.one_of(DARK, METAL), profile, (0, y, depth / 2), (90, 0, 0))
        y -= radius * 1.1


@listed(THINGS)
def camera(thing: Thing) -> None:
    width, height = thing.between(0.11, 0.15), thing.between(0.07, 0.1)
    thing.box(DARK, (0, height / 2, 0), (width, height * 0.9, 0.05))
    thing.box(thing.one_of(METAL, DARK), (0, height * 0.97, 0), (width, height * 0.2, 0.052))
    thing.box(DARK, (0, height * 1.15, 0), (width * 0.3, height * 0.25, 0.05))
    radius, reach = height * thing.between(0.3, 0.42), thing.between(0.03, 0.09)
    thing.disc(thing.one_of(METAL, DARK), (0, height * 0.45, 0.025), radius, reach, (90, 0, 0))
    thing.disc(("glass", 0), (0, height * 0.45, 0.025 + reach), radius * 0.75, 0.003, (90, 0, 0))
    thing.disc(METAL, (width * 0.35, height * 1.07, 0), 0.012, 0.01)


@listed(THINGS)
def bicycle(thing: Thing) -> None:
    radius, reach = thing.between(0.28, 0.36), thing.between(0.48, 0.55)
    saddle, thick = thing.between(0.75, 0.95), thing.between(0.012, 0.02)
    hub_back: Vector = (-reach, radius, 0)
    hub_front: Vector = (reach, radius, 0)
    crank: Vector = (-0.08, radius * 0.85, 0)
    seat: Vector = (-0.22, saddle - 0.1, 0)
    head: Vector = (reach * 0.68, saddle - 0.05, 0)
    for hub in (hub_back, hub_front):
        thing.tube(DARK, [(hub[0] + radius * a, radius + radius * b, 0.0) for a, b in circle(0.95, 24)], 0.02)
        for number in range(6):
            a, b = math.cos(number * 1.047), math.sin(number * 1.047)
            thing.rod(METAL, hub, (hub[0] + radius * 0.93 * a, radius + radius * 0.93 * b, 0.0), 0.004, sides=4)
    for start, end in (
        (hub_back, crank),
        (hub_back, seat),
        (crank, seat),
        (crank, head),
        (seat, head),
        (head, hub_front),
    ):
        thing.rod(HARD, start, end, thick, sides=6)
    thing.pillow(("hide", 0), (-0.25, saddle, 0), (0.26, 0.06, 0.14), 0.6)
    thing.rod(METAL, seat, (-0.25, saddle, 0), 0.012, sides=6)
    bar = (head[0] - 0.05, saddle + 0.08, 0.0)
    thing.rod(METAL, head, bar, 0.012, sides=6)
    thing.rod(METAL, (bar[0], bar[1], -0.26), (bar[0], bar[1], 0.26), 0.013, sides=6)
    thing.disc(METAL, (crank[0], crank[1], 0.03), 0.09, 0.01, (90, 0, 0))
    if thing.chance(0.3):
        thing.box(("woven", 0), (reach * 0.9, saddle + 0.02, 0), (0.24, 0.2, 0.3))


@listed(THINGS)
def ball(thing: Thing) -> None:
    radius = thing.between(0.05, 0.15)
    profile = [(radius * math.sin(angle), -radius * math.cos(angle)) for angle in np.linspace(0, math.pi, 17)]
    thing.lathe(("any", 0), profile, (0, radius, 0), sides=32)
    if thing.chance(0.5):
        for turn in ((90, 0, 0), (0, 0, 0), (0, 0, 90)):
            band = ((radius * 1.004, -radius * 0.05), (radius * 1.004, radius * 0.05))
            thing.lathe(DARK, band, (0, radius, 0), turn)


@listed(THINGS)
def plant(thing: Thing) -> None:
    radius, height = thing.between(0.07, 0.14), thing.between(0.1, 0.22)
    thing.lathe(POTTERY, ((0, 0), (radius * thing.between(0.6, 1), 0), (radius, height)), hollow=True)
    thing.disc(("earth", 0), (0, height * 0.85, 0), radius * 0.95, 0.01)
    style, tall = thing.one_of("spikes", "bush", "tree", "cactus"), thing.between(0.2, 0.6)
    if style == "cactus":
        for number in range(thing.whole(1, 3)):
            x = (number - 1) * radius * 0.6
            thing.pillow(LEAF, (x, height + tall * 0.25, 0), (radius * 0.8, tall * 0.7, radius * 0.8), 0.8)
        return
    if style == "tree":
        thing.rod(("frame", 0), (0, height * 0.85, 0), (0, height + tall, 0), 0.014, sides=6)
    for number in range(thing.whole(9, 18)):
        angle, lean = number * 2.4, thing.between(0.15, 0.9)
        length = tall * thing.between(0.4, 0.8) if style == "spikes" else tall * 0.35
        base = height if style == "spikes" else height + tall * thing.between(0.1, 0.8)
        if style == "tree":
            base = height + tall * thing.between(0.7, 1.0)
        out = lean * length + (0 if style == "spikes" else radius * 0.5)
        at = (out * 0.6 * math.sin(angle), base + length * 0.45, out * 0.6 * math.cos(angle))
        size = (length * 0.2, length, length * 0.06) if style == "spikes" else (length * 0.5, length, length * 0.12)
        thing.pillow(LEAF, at, size, 1, (math.degrees(lean) * 0.9, math.degrees(angle), 0))


@listed(THINGS)
def suitcase(thing: Thing) -> None:
    width, height, depth = thing.between(0.35, 0.5), thing.between(0.5, 0.75), thing.between(0.2, 0.3)
    for x in (-width * 0.35, width * 0.35):
        thing.disc(DARK, (x, 0.03, -0.02), 0.03, 0.04, (90, 0, 0), sides=12)
        thing.rod(METAL, (x * 0.5, height, -depth * 0.3), (x * 0.5, height * 1.3, -depth * 0.3), 0.01, sides=6)
    thing.pillow(HARD, (0, 0.05 + height / 2, 0), (width, height, depth), 0.2)
    for number in range(thing.whole(0, 5)):
        thing.box(HARD, ((number - 2) * width * 0.16, 0.05 + height / 2, depth / 2), (0.02, height * 0.85, 0.012))
    thing.box(DARK, (0, height * 1.3, -depth * 0.3), (width * 0.4, 0.03, 0.025))


@listed(THINGS)
def candle(thing: Thing) -> None:
    for number in range(thing.whole(1, 3)):
        x, height = number * 0.12, thing.between(0.04, 0.2)
        if thing.chance(0.5):
            profile = (
                (0, 0),
                (0.045, 0),
                (0.04, 0.01),
                (0.01, 0.02),
                (0.01, height),
                (0.03, height + 0.01),
                (0, height + 0.01),
            )
            thing.lathe(METAL, profile, (x, 0, 0))
        else:
            height = 0
        tall, radius = thing.between(0.06, 0.2), thing.between(0.01, 0.035)
        thing.disc(("lit", number), (x, height + 0.01, 0), radius, tall)
        thing.rod(DARK, (x, height + tall, 0), (x, height + tall + 0.02, 0), 0.002, sides=4)


@listed(THINGS)
def bucket(thing: Thing) -> None:
    radius, height = thing.between(0.1, 0.16), thing.between(0.18, 0.3)
    thing.lathe(thing.one_of(METAL, HARD), ((0, 0), (radius * 0.75, 0), (radius, height)), hollow=True, sides=28)
    drop = thing.one_of(1, -0.6)
    thing.tube(METAL, [(radius * a, height * 0.95 + radius * drop * b, 0.02) for a, b in circle(1, 12, 0, 180)], 0.006)


@listed(THINGS)
def parasol(thing: Thing) -> None:
    radius, height = thing.between(0.4, 0.6), thing.between(0.7, 1.0)
    count = thing.whole(6, 10)
    thing.rod(METAL, (0, 0, 0), (0, height, 0), 0.012)
    bow = [(0.08 * a - 0.08, 0.03 - 0.08 * b, 0.0) for a, b in circle(1, 8, 0, 180)]
    thing.tube(thing.one_of(DARK, ("leg", 0)), bow, 0.016)
    rise = radius * thing.between(0.35, 0.6)
    profile = [(radius * math.cos(a), height - rise + rise * math.sin(a)) for a in (0, 0.3, 0.6, 0.9, 1.2, 1.57)]
    thing.lathe(CLOTH, profile, sides=count, hollow=True)


@listed(THINGS)
def headphones(thing: Thing) -> None:
    radius = thing.between(0.075, 0.09)
    bow = [(radius * a, 0.09 + radius * 1.2 * b, 0.0) for a, b in circle(1, 12, 0, 180)]
    thing.tube(HARD, bow, thing.between(0.006, 0.012))
    for side in (-1, 1):
        thing.pillow(HARD, (side * radius, 0.06, 0), (0.035, 0.09, 0.075), 0.7)
        thing.pillow(DARK, (side * (radius - 0.022), 0.06, 0), (0.025, 0.08, 0.07), 0.7)


@listed(THINGS)
def guitar(thing: Thing) -> None:
    low, high, length = thing.between(0.17, 0.21), thing.between(0.12, 0.16), thing.between(0.5, 0.6)
    outline = [(low * a, 0.2 + low * b) for a, b in circle(1, 14, 150, 390)]
    outline += [
        (high * 0.75, 0.36),
        *((high * a, 0.45 + high * 0.8 * b) for a, b in circle(1, 10, 0, 180)),
        (-high * 0.75, 0.36),
    ]
    thing.prism(FRAME, outline, 0.09)
    thing.disc(DARK, (0, 0.38, 0.045), 0.045, 0.002, (90, 0, 0))
    thing.box(("leg", 0), (0, 0.42 + length / 2, 0.055), (0.05, length + 0.1, 0.015))
    thing.box(("leg", 0), (0, 0.54 + length, 0.05), (0.07, 0.14, 0.02))
    thing.box(DARK, (0, 0.2, 0.05), (0.13, 0.02, 0.01))


@listed(THINGS)
def fan(thing: Thing) -> None:
    height, radius = thing.between(0.2, 0.9), thing.between(0.13, 0.2)
    thing.disc(HARD, (0, 0, 0), radius * 0.7, 0.025)
    thing.rod(HARD, (0, 0.02, -0.03), (0, height, -0.03), 0.015)
    middle = height + radius * 0.3
    for number in range(thing.whole(3, 5)):
        turn = number * 90
        at = (radius * 0.45 * math.cos(math.radians(turn)), middle + radius * 0.45 * math.sin(math.radians(turn)), 0)
        thing.pillow(HARD_TOO, at, (radius * 0.85, radius * 0.45, 0.015), 0.7, (20, 0, turn))
    for share in (1, 0.75, 0.5, 0.25):
        ring = [(radius * share * a, middle + radius * share * b, 0.03 * (1.4 - share)) for a, b in circle(1, 20)]
        thing.tube(METAL, ring, 0.003, sides=4)
    thing.disc(HARD, (0, middle, 0.03), radius * 0.15, 0.02, (90, 0, 0))


@listed(THINGS)
def kettle(thing: Thing) -> None:
    low, high, height = thing.between(0.075, 0.1), thing.between(0.045, 0.08), thing.between(0.16, 0.24)
    grip = thing.one_of(DARK, HARD)
    bow = [(high * 0.8 + low * 0.9 * a, height * 0.58 + height * 0.42 * b, 0.0) for a, b in circle(1, 10, -80, 80)]
    thing.tube(grip, bow, 0.013)
    thing.rod(HARD_TOO, (-high * 0.7, height * 0.8, 0), (-high * 1.5, height * 0.98, 0), 0.03, taper=0.6)
    thing.disc(DARK, (0, 0, 0), low * 1.05, 0.015)
    thing.lathe(
        HARD_TOO, ((0, 0.015), (low, 0.015), (low * 0.97, height * 0.3), (high, height), (0, height + 0.01)), sides=28
    )
    thing.pillow(grip, (0, height + 0.015, 0), (0.04, 0.03, 0.04), 0.7)


@listed(THINGS)
def machine(thing: Thing) -> None:
    """A household machine: a box with a round window, a grille, knobs and a lamp."""
    width, height, depth = thing.between(0.3, 0.6), thing.between(0.25, 0.85), thing.between(0.25, 0.55)
    thing.pillow(HARD, (0, height / 2, 0), (width, height, depth), thing.between(0.05, 0.2))
    front = depth / 2 + 0.003
    if thing.chance(0.5):
        radius = min(width, height) * thing.between(0.25, 0.38)
        thing.disc(METAL, (0, height * 0.42, front), radius, 0.015, (90, 0, 0))
        thing.disc(("glass", 0), (0, height * 0.42, front + 0.015), radius * 0.8, 0.005, (90, 0, 0))
    else:
        thing.box(("screen", 0), (-width * 0.08, height * 0.45, front), (width * 0.7, height * 0.6, 0.012))
    for number in range(thing.whole(1, 4)):
        thing.disc(
            METAL, (width * (0.4 - number * 0.12), height * 0.88, front), width * 0.04, 0.02, (90, 0, 0), sides=12
        )


@listed(THINGS)
def soft_toy(thing: Thing) -> None:
    """An animal of balls: trunk, head, ears, legs."""
    body, head = thing.between(0.12, 0.2), thing.between(0.1, 0.17)
    y, ear = body * 0.55, thing.one_of(0.35, 0.5, 1.1)
    for side in (-1, 1):
        thing.pillow(CLOTH, (side * body * 0.4, body * 0.16, body * 0.45), (body * 0.35, body * 0.32, body * 0.6), 1)
        thing.pillow(
            CLOTH,
            (side * body * 0.55, y + body * 0.15, body * 0.12),
            (body * 0.3, body * 0.6, body * 0.3),
            1,
            (0, 0, side * 30),
        )
    thing.pillow(CLOTH, (0, y, 0), (body * 0.95, body * 1.1, body * 0.85), 1)
    top = y + body * 0.5 + head * 0.4
    for side in (-1, 1):
        thing.pillow(
            CLOTH, (side * head * 0.35, top + head * (0.3 + ear / 3), 0), (head * 0.35, head * ear, head * 0.2), 1
        )
    thing.pillow(CLOTH, (0, top, 0), (head,) * 3, 1)
    thing.pillow(BRIGHT, (0, top - head * 0.12, head * 0.42), (head * 0.45, head * 0.35, head * 0.3), 1)
    for x in (-head * 0.18, 0.0, head * 0.18):
        thing.pillow(DARK, (x, top + (head * 0.12 if x else 0), head * (0.47 if x else 0.58)), (head * 0.1,) * 3, 1)


@listed(THINGS)
def watch(thing: Thing) -> None:
    radius, wide = thing.between(0.016, 0.022), thing.between(0.012, 0.02)
    for side in (-1, 1):
        thing.pillow(("hide", 0), (0, 0.06 + side * 0.048, 0), (wide, 0.07, 0.004), 0.2)
    thing.disc(METAL, (0, 0.06, -0.004), radius, 0.008, (90, 0, 0))
    thing.disc(thing.one_of(BRIGHT, DARK), (0, 0.06, 0.004), radius * 0.85, 0.001, (90, 0, 0))
    for turn in (thing.between(0, 360), thing.between(0, 360)):
        thing.box(METAL, (0, 0.06, 0.0065), (0.0015, radius * 1.2, 0.0005), (0, 0, turn))
    thing.disc(METAL, (radius, 0.06, 0), 0.003, 0.004, (0, 0, -90), sides=8)


@listed(THINGS)
def plates(thing: Thing) -> None:
    y = 0.0
    for number in range(thing.whole(1, 6)):
        radius = thing.one_of(0.13, 0.13, 0.1) * thing.between(0.9, 1.1)
        profile = ((0, 0.004), (radius * 0.6, 0.004), (radius * 0.72, 0.012), (radius, 0.022))
        thing.lathe(("pottery", number % 2), profile, (0, y, 0), hollow=True, sides=32)
        y += 0.012


@listed(THINGS)
def jug(thing: Thing) -> None:
    height, radius = thing.between(0.15, 0.3), thing.between(0.05, 0.09)
    profile = curve([radius * 0.8, radius * 1.1, radius * thing.between(0.5, 0.9), radius * 0.8], height)
    ears(thing, radius * 0.75, height * 0.6, height * 0.55, both=False)
    thing.lathe(POTTERY, profile, hollow=True)
    thing.prism(
        POTTERY, [(-radius * 1.3, height), (-radius * 0.7, height * 0.82), (-radius * 0.6, height)], radius * 0.5
    )


@listed(THINGS)
def jars(thing: Thing) -> None:
    """Jars, tins or shakers in a row."""
    radius, height = thing.between(0.03, 0.06), thing.between(0.07, 0.18)
    lid = thing.one_of(METAL, HARD, ("frame", 0))
    for number in range(thing.whole(1, 4)):
        x, tall = number * radius * 2.3, height * thing.between(0.8, 1.2)
        thing.disc(thing.one_of(("glass", 0), POTTERY), (x, 0, 0), radius, tall)
        thing.disc(lid, (x, tall, 0), radius * 1.03, 0.02)
        if thing.chance(0.5):
            thing.lathe(("cover", 0), ((radius * 1.01, tall * 0.2), (radius * 1.01, tall * 0.7)), (x, 0, 0))


@listed(THINGS)
def toaster(thing: Thing) -> None:
    width, height, depth = thing.between(0.25, 0.35), thing.between(0.16, 0.2), thing.between(0.14, 0.2)
    thing.pillow(thing.one_of(METAL, HARD), (0, height / 2, 0), (width, height, depth), 0.3)
    for z in (-depth * 0.17, depth * 0.17):
        thing.box(DARK, (0, height, z), (width * 0.7, 0.004, 0.025))
        if thing.chance(0.4):
            thing.box(("frame", 1), (0, height + 0.03, z), (width * 0.45, 0.08, 0.015))
    thing.box(DARK, (width / 2, height * 0.6, 0), (0.03, 0.02, 0.04))
    thing.disc(DARK, (width / 2, height * 0.3, 0.03), 0.018, 0.015, (0, 0, -90), sides=12)


@listed(THINGS)
def mixer(thing: Thing) -> None:
    """A stand mixer or a coffee maker: a foot, a column, an overhanging head, a bowl below it."""
    height = thing.between(0.28, 0.38)
    thing.pillow(HARD, (0, 0.02, 0), (0.34, 0.04, 0.2), 0.3)
    thing.pillow(HARD, (0.12, height / 2, 0), (0.1, height, 0.14), 0.3)
    thing.lathe(thing.one_of(METAL, ("glass", 0)), curve([0.05, 0.085, 0.09], 0.13), (-0.06, 0.04, 0), hollow=True)
    thing.rod(METAL, (-0.06, 0.1, 0), (-0.06, height, 0), 0.012, sides=6)
    thing.pillow(HARD, (0, height + 0.03, 0), (0.36, 0.13, 0.14), thing.between(0.2, 0.7))


@listed(THINGS)
def flat_iron(thing: Thing) -> None:
    sole = [(-0.14, 0.0), (-0.08, -0.045), (0.11, -0.055), (0.11, 0.055), (-0.08, 0.045)]
    thing.prism(METAL, sole, 0.012, (0, 0.006, 0), (90, 0, 0))
    thing.pillow(HARD, (0, 0.04, 0), (0.23, 0.06, 0.09), 0.5)
    bow = [(0.02 + 0.08 * a, 0.06 + 0.06 * b, 0.0) for a, b in circle(1, 10, 0, 180)]
    thing.tube(thing.one_of(DARK, HARD), bow, 0.014)


@listed(THINGS)
def spectacles(thing: Thing) -> None:
    radius, wide = thing.between(0.02, 0.027), thing.between(1, 1.35)
    glass_: Material = thing.one_of(("glass", 0), DARK)
    for side in (-1, 1):
        x = side * (radius * wide + 0.009)
        ring = [(x + radius * wide * a, radius + radius * b, 0.0) for a, b in circle(1, 20)]
        thing.add(
            turned(((0.0, 0.0), (1.0, 0.0)), 20),
            glass_,
            (x, radius, 0),
            (radius * wide, 1, radius),
            (90, 0, 0),
            hollow=True,
        )
        thing.tube(HARD, ring, 0.0025)
        end = side * (2 * radius * wide + 0.01)
        thing.tube(HARD, [(end, radius * 1.3, 0), (end, radius * 1.3, -0.09), (end * 0.95, radius * 0.5, -0.13)], 0.002)
    thing.rod(HARD, (-0.009, radius * 1.2, 0), (0.009, radius * 1.2, 0), 0.002, sides=5)


@listed(THINGS)
def hat(thing: Thing) -> None:
    crown, brim, height = thing.between(0.08, 0.1), thing.between(0.12, 0.2), thing.between(0.08, 0.16)
    drop = thing.between(-0.03, 0.03)
    thing.lathe(CLOTH, ((brim, drop), (crown, 0.0)), (0, 0.03, 0), hollow=True, sides=32)
    thing.lathe(CLOTH, [(crown, 0), (crown * 0.97, height * 0.7), (crown * 0.7, height), (0, height)], (0, 0.03, 0))
    thing.lathe(CLOTH_TOO, ((crown * 1.02, 0.0), (crown * 1.01, 0.03)), (0, 0.03, 0))


@listed(THINGS)
def keyboard(thing: Thing) -> None:
    columns, rows, pitch = thing.whole(10, 16), thing.whole(4, 5), 0.02
    width, depth = columns * pitch + 0.02, rows * pitch + 0.02
    thing.box(HARD, (0, 0.008, 0), (width, 0.016, depth))
    for row in range(rows):
        y, z = 0.019, (row - (rows - 1) / 2) * pitch
        if row == rows - 1:
            thing.box(HARD_TOO, (0, y, z), (width * 0.5, 0.006, pitch * 0.85))
            continue
        for column in range(columns):
            thing.box(HARD_TOO, ((column - (columns - 1) / 2) * pitch, y, z), (pitch * 0.85, 0.006, pitch * 0.85))


@listed(THINGS)
def piano(thing: Thing) -> None:
    width, keys = thing.between(0.9, 1.4), thing.whole(14, 22)
    thing.box(HARD, (0, 0.5, -0.2), (width, 1.0, 0.25))
    thing.box(HARD, (0, 0.62, 0.05), (width, 0.06, 0.25))
    for x in (-width * 0.46, width * 0.46):
        thing.box(HARD, (x, 0.3, 0.13), (0.06, 0.6, 0.06))
        thing.box(HARD, (x * 1.04, 0.68, 0.05), (0.05, 0.06, 0.25))
    step = width * 0.88 / keys
    for number in range(keys):
        thing.box(BRIGHT, ((number - (keys - 1) / 2) * step, 0.66, 0.09), (step * 0.9, 0.02, 0.14))
        if number % 7 not in (2, 6):
            thing.box(DARK, ((number - keys / 2 + 1) * step, 0.68, 0.06), (step * 0.5, 0.02, 0.09))


@listed(THINGS)
def drum(thing: Thing) -> None:
    radius, height = thing.between(0.13, 0.2), thing.between(0.12, 0.4)
    thing.disc(thing.one_of(HARD, CLOTH), (0, 0, 0), radius, height, sides=32)
    for y in (0.0, height - 0.02):
        thing.lathe(METAL, ((radius * 1.03, y), (radius * 1.03, y + 0.025)), sides=32)
    thing.disc(BRIGHT, (0, height, 0), radius * 0.98, 0.004, sides=32)
    for number in range(8):
        angle = math.tau * number / 8
        x, z = radius * 1.04 * math.sin(angle), radius * 1.04 * math.cos(angle)
        thing.rod(METAL, (x, 0.02, z), (x, height - 0.01, z), 0.005, sides=4)


@listed(THINGS)
def skateboard(thing: Thing) -> None:
    thing.pillow(("cover", 0), (0, 0.08, 0), (0.78, 0.014, 0.2), 0.4)
    for x in (-0.22, 0.22):
        thing.box(METAL, (x, 0.055, 0), (0.05, 0.035, 0.1))
        for z in (-0.07, 0.07):
            thing.disc(BRIGHT, (x, 0.028, z - 0.016), 0.028, 0.032, (90, 0, 0), sides=14)


@listed(THINGS)
def dumbbells(thing: Thing) -> None:
    radius, sides = thing.between(0.04, 0.06), thing.one_of(6, 24)
    for number in range(thing.whole(1, 2)):
        z = number * radius * 2.6
        thing.rod(METAL, (-0.07, radius, z), (0.07, radius, z), 0.014)
        for x in (-0.14, 0.07):
            thing.disc(thing.one_of(DARK, HARD), (x, radius, z), radius, 0.07, (0, 0, -90), sides=sides)


@listed(THINGS)
def racket(thing: Thing) -> None:
    wide, tall = thing.between(0.09, 0.13), thing.between(0.12, 0.17)
    thing.tube(HARD, [(wide * a, 0.35 + tall + tall * b, 0.0) for a, b in circle(1, 24)], 0.01)
    for share in (-0.6, -0.3, 0.0, 0.3, 0.6):
        reach = math.sqrt(1 - share * share)
        for start, end in (((share, -reach), (share, reach)), ((-reach, share), (reach, share))):
            points = [(wide * a, 0.35 + tall + tall * b, 0.0) for a, b in (start, end)]
            thing.rod(BRIGHT, points[0], points[1], 0.0015, sides=4)
    thing.rod(HARD, (0, 0.2, 0), (0, 0.36, 0), 0.01)
    thing.rod(("hide", 0), (0, 0, 0), (0, 0.2, 0), 0.016)


@listed(THINGS)
def barrel(thing: Thing) -> None:
    radius, height = thing.between(0.2, 0.3), thing.between(0.45, 0.8)
    bulge = radius * thing.between(1, 1.2)
    profile = [
        *curve([radius, bulge, radius], height),
        (radius * 0.9, height),
        (radius * 0.9, height - 0.02),
        (0, height - 0.02),
    ]
    thing.lathe(FRAME, profile)
    for share, reach in ((0.03, radius), (0.3, bulge * 0.97), (0.65, bulge * 0.97), (0.92, radius)):
        thing.lathe(METAL, ((reach * 1.02, height * share), (reach * 1.02, height * share + 0.03)))


@listed(THINGS)
def crate(thing: Thing) -> None:
    width, height, depth = thing.between(0.35, 0.6), thing.between(0.2, 0.35), thing.between(0.25, 0.4)
    thing.box(FRAME, (0, 0.01, 0), (width, 0.02, depth))
    rows = thing.whole(2, 4)
    for row in range(rows):
        y, tall = height * (row + 0.5) / rows, height / rows * 0.75
        for z in (-depth / 2, depth / 2):
            thing.box(FRAME, (0, y, z), (width, tall, 0.012))
        for x in (-width / 2, width / 2):
            thing.box(FRAME, (x, y, 0), (0.012, tall, depth * 0.95))
    thing.all_around(width * 0.95, depth * 0.9, lambda x, z: thing.box(FRAME, (x, height / 2, z), (0.03, height, 0.03)))


@listed(THINGS)
def scissors(thing: Thing) -> None:
    spread = thing.between(5, 22)
    for side in (-1, 1):
        angle = math.radians(90 + side * spread)
        tip = (0.12 * math.cos(angle), 0.12 * math.sin(angle), side * 0.003)
        thing.rod(
            METAL,
            (-tip[0] * 0.4, 0.1 - tip[1] * 0.4 + 0.03, tip[2]),
            (tip[0], 0.13 + tip[1], tip[2]),
            0.007,
            taper=0.2,
            sides=4,
        )
        ring = [(side * 0.035 + 0.026 * a, 0.05 + 0.035 * b, 0.0) for a, b in circle(1, 16)]
        thing.tube(HARD, ring, 0.006)


@listed(THINGS)
def pens(thing: Thing) -> None:
    """Pens, brushes or wooden spoons, in a pot or side by side."""
    potted = thing.chance(0.5)
    for number in range(thing.whole(1, 6)):
        material: Material = ("any", number)
        length = thing.between(0.13, 0.19)
        if potted:
            lean = (thing.between(-0.04, 0.04), length + 0.02, thing.between(-0.03, 0.03))
            thing.rod(material, (0, 0.02, 0), lean, 0.005, sides=6)
        else:
            z = number * 0.018
            thing.rod(material, (-length / 2, 0.006, z), (length / 2, 0.006, z), 0.005, sides=6)
            thing.rod(("frame", 0), (length / 2, 0.006, z), (length / 2 + 0.02, 0.006, z), 0.005, taper=0.1, sides=6)
    if potted:
        thing.lathe(POTTERY, ((0, 0), (0.035, 0), (0.04, 0.1)), hollow=True)


@listed(THINGS)
def dolls_house(thing: Thing) -> None:
    width, height, depth = thing.between(0.3, 0.6), thing.between(0.3, 0.5), thing.between(0.25, 0.35)
    thing.box(HARD, (0, height / 2, 0), (width, height, depth))
    roof = height * thing.between(0.3, 0.7)
    outline = [(-width * 0.58, 0.0), (width * 0.58, 0.0), (0.0, roof)]
    thing.prism(HARD_TOO, outline, depth * 1.1, (0, height + 0.001, 0))
    front = depth / 2 + 0.004
    thing.box(FRAME, (0, height * 0.2, front), (width * 0.18, height * 0.4, 0.01))
    for x in (-width * 0.3, width * 0.3):
        for y in (height * 0.3, height * 0.75):
            thing.box(BRIGHT, (x, y, front), (width * 0.2, height * 0.22, 0.008))
            thing.box(("glass", 0), (x, y, front + 0.005), (width * 0.16, height * 0.18, 0.004))


@listed(THINGS)
def toy_train(thing: Thing) -> None:
    thing.box(HARD, (0.03, 0.05, 0), (0.2, 0.02, 0.07))
    thing.disc(HARD_TOO, (-0.07, 0.085, 0), 0.03, 0.12, (0, 0, -90), sides=16)
    thing.box(HARD, (0.09, 0.1, 0), (0.07, 0.09, 0.07))
    thing.box(HARD_TOO, (0.09, 0.15, 0), (0.085, 0.012, 0.085))
    thing.rod(DARK, (-0.045, 0.11, 0), (-0.045, 0.15, 0), 0.009, taper=1.5)
    for x in (-0.05, 0.03, 0.1):
        for z in (-0.04, 0.04):
            wheel(thing, (x, 0.025, z), 0.025, 0.012)
    if thing.chance(0.6):
        thing.box(("hard", 2), (0.27, 0.075, 0), (0.17, 0.06, 0.07))
        for x in (0.21, 0.33):
            for z in (-0.04, 0.04):
                wheel(thing, (x, 0.025, z), 0.025, 0.012)


@listed(THINGS)
def toy_plane(thing: Thing) -> None:
    length, span = thing.between(0.25, 0.35), thing.between(0.28, 0.4)
    thing.pillow(HARD, (0, 0.07, 0), (length, 0.06, 0.06), 0.9)
    thing.pillow(HARD_TOO, (-length * 0.08, thing.one_of(0.06, 0.1), 0), (0.08, 0.012, span), 0.4)
    thing.pillow(HARD_TOO, (length * 0.42, 0.08, 0), (0.045, 0.009, span * 0.4), 0.4)
    thing.box(HARD_TOO, (length * 0.43, 0.11, 0), (0.045, 0.06, 0.008), (0, 0, -15))
    thing.pillow(
        DARK, (-length * 0.49, 0.07, 0), (0.01, thing.between(0.08, 0.13), 0.015), 0.5, (thing.between(0, 90), 0, 0)
    )
    for z in (-0.05, 0.05):
        wheel(thing, (-length * 0.15, 0.02, z), 0.02, 0.01)


@listed(THINGS)
def animal(thing: Thing) -> None:
    """A four-legged figure, with a long or a short neck."""
    length, height, neck = thing.between(0.18, 0.3), thing.between(0.1, 0.2), thing.between(0.02, 0.2)
    girth = length * thing.between(0.35, 0.6)
    thing.all_around(
        length * 0.7, girth * 0.6, lambda x, z: thing.rod(CLOTH, (x, 0, z), (x, height, z), girth * 0.13, sides=8)
    )
    thing.pillow(CLOTH, (0, height + girth * 0.35, 0), (length, girth, girth), 0.8)
    head = (-length * 0.5 - neck * 0.4, height + girth * 0.7 + neck, 0.0)
    thing.rod(CLOTH, (-length * 0.38, height + girth * 0.5, 0), head, girth * 0.25, taper=0.8)
    thing.pillow(CLOTH, (head[0] - 0.02, head[1], 0), (girth * 0.85, girth * 0.5, girth * 0.45), 0.9)
    for side in (-1, 1):
        thing.pillow(
            CLOTH, (head[0] + 0.02, head[1] + girth * 0.3, side * girth * 0.2), (0.02, girth * 0.35, 0.03), 0.9
        )
        thing.pillow(DARK, (head[0] - girth * 0.25, head[1] + girth * 0.1, side * girth * 0.2), (0.015,) * 3, 1)
    tail = (length * 0.65, height + girth * thing.between(0, 1), 0.0)
    thing.rod(CLOTH, (length * 0.45, height + girth * 0.5, 0), tail, 0.012, sides=6)


@listed(THINGS)
def pouch(thing: Thing) -> None:
    """A purse or a wallet."""
    width, height = thing.between(0.12, 0.24), thing.between(0.09, 0.15)
    thing.pillow(("hide", 0), (0, height / 2, 0), (width, height, 0.05), 0.3)
    if thing.chance(0.6):
        flap = [
            (-width * 0.48, height),
            (-width * 0.4, height * 0.5),
            (0.0, height * 0.35),
            (width * 0.4, height * 0.5),
            (width * 0.48, height),
        ]
        thing.prism(("hide", 0), flap, 0.008, (0, 0, 0.028))
        thing.pillow(METAL, (0, height * 0.45, 0.035), (0.018,) * 3, 1)
    if thing.chance(0.4):
        thing.tube(METAL, [(width * 0.48 * a, height + width * 0.9 * b, 0.0) for a, b in circle(1, 14, 0, 180)], 0.003)


@listed(THINGS)
def broom(thing: Thing) -> None:
    length, wide = thing.between(0.7, 1.2), thing.between(0.12, 0.3)
    thing.rod(("frame", 0), (0, 0.16, 0), (0, length, 0), 0.012)
    thing.prism(("woven", 0), [(-wide / 2, 0.0), (wide / 2, 0.0), (wide * 0.38, 0.13), (-wide * 0.38, 0.13)], 0.05)
    thing.box(HARD, (0, 0.15, 0), (wide * 0.8, 0.05, 0.05))


def assembly(thing: Thing) -> None:
    """Throw together random parts, each beside or on an earlier one, often the same on both sides."""
    mirrored, built = thing.chance(0.6), []
    for number in range(thing.whole(2, 9)):
        size = (thing.between(0.05, 0.6), thing.between(0.05, 0.6), thing.between(0.05, 0.6))
        at: Vector = (0, size[1] / 2, 0)
        if built:
            at = beside(thing, *built[thing.whole(0, len(built) - 1)], size)
        built.append((at, size))
        material = ("any", thing.whole(0, min(number, 3)))
        tilt = thing.between(-40, 40) if thing.chance(0.15) else 0.0
        form = thing.whole(0, 7)
        for side in (1, -1) if mirrored and abs(at[0]) > 0.04 else (1,):
            random_part(thing, form, material, (side * at[0], at[1], at[2]), size, side * tilt)


def beside(thing: Thing, at: Vector, size: Vector, own: Vector) -> Vector:
    """Return the middle of a part that touches one at ``at``, mostly on top of it or to the right."""
    place = [at[k] + thing.one_of(0, 0, 0.3, -0.3) * size[k] for k in range(3)]
    axis, side = thing.one_of((1, 1), (1, 1), (0, 1), (0, 1), (2, 1), (0, -1), (1, -1))
    place[axis] = at[axis] + side * (size[axis] + own[axis]) / 2 * 0.97
    return place[0], place[1], place[2]


def random_part(thing: Thing, form: int, material: Material, at: Vector, size: Vector, tilt: float) -> None:
    """Add a part of one of eight forms in a box of that size."""
    width, height, depth = size
    foot = (at[0], at[1] - height / 2, at[2])
    match form:
        case 0 | 1:
            thing.box(material, at, size, (0, 0, tilt))
        case 2:
            thing.pillow(material, at, size, thing.between(0.1, 1), (0, 0, tilt))
        case 3:
            thing.disc(material, foot, width / 2, height, sides=thing.one_of(6, 16, 28))
        case 4:
            radii = [thing.between(0.02, width / 2) for _ in range(thing.whole(2, 5))]
            thing.lathe(material, curve(radii, height), foot, hollow=thing.chance(0.5))
        case 5:
            corners = circle(1, thing.whole(3, 8))[:-1]
            outline = [(width / 2 * a, height / 2 * b) for a, b in corners]
            thing.prism(material, outline, depth, at, (0, 0, tilt))
        case 6:
            arc = circle(1, 14, 0, thing.one_of(180, 270, 360))
            bow = [(at[0] + width / 2 * a, at[1] + height / 2 * b, at[2]) for a, b in arc]
            thing.tube(material, bow, thing.between(0.01, 0.04))
        case _:
            for x in (-width / 2, width / 2):
                for z in (-depth / 2, depth / 2):
                    top = (at[0] + x, at[1] + height / 2, at[2] + z)
                    thing.rod(material, (top[0], foot[1], top[2]), top, 0.02, sides=6)
