"""Drawn studio pictures of things of all kinds, in perspective.

The world of the photos that may be trained on is clothes and a thousand everyday snapshots. These pictures add
breadth: furniture, dishes, lamps, tools, toys and things that do not exist, each as a shop would show it.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from training.building import Build
from training.furniture import FURNITURE
from training.solids import Floats, Material, Thing, rotation
from training.surfaces import SIDE, PhotosPart, Surface, noise, surface
from training.things import THINGS, assembly

PICTURE = 224
OVERSAMPLING = 2
CANVAS = PICTURE * OVERSAMPLING
KINDS: tuple[tuple[float, list[Build]], ...] = ((0.35, FURNITURE), (0.4, THINGS), (0.25, [assembly]))
"""What is drawn, and how large a share of all: the last is thrown together from random parts."""


class Faces(NamedTuple):
    """All faces of a thing, from every part."""

    corners: Floats
    normals: Floats
    marks: Floats
    part: NDArray[np.intp]
    material: NDArray[np.intp]
    hollow: NDArray[np.bool_]


def _bounds(points: Floats) -> tuple[Floats, Floats]:
    """Return the least and the greatest of each of the coordinates along the last axis."""
    columns = np.ascontiguousarray(points.reshape(-1, points.shape[-1]).T)
    return columns.min(axis=1), columns.max(axis=1)


class Camera(NamedTuple):
    turn: Floats
    middle: Floats
    """What it looks at."""
    distance: float
    scale: float
    shift: Floats

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Return where points (... x 3) lie on the canvas (... x 2), and how far away they are (...)."""
        cast = (points - self.middle) @ self.turn.T
        away = np.maximum(self.distance - cast[..., 2], 0.3)
        return cast[..., :2] * np.float32([1, -1]) * (self.scale / away[..., None]) + self.shift, away

    @property
    def place(self) -> Floats:
        return self.middle + self.distance * self.turn[2]


class View(NamedTuple):
    """Faces as the camera has them."""

    points: Floats
    """faces x 4 x 2 on the canvas."""
    away: Floats
    """faces: how far away the middle is."""
    facing: NDArray[np.bool_]
    """faces: turned towards the camera."""


class Light(NamedTuple):
    towards: Floats
    """Unit vector from the thing to the lamp."""
    ambient: float


def scene(shape: np.random.Generator, dice: np.random.Generator, photos_part: PhotosPart) -> Image.Image:
    """Return an RGB picture of 224 x 224 pixels of a random thing.

    ``shape`` decides what the thing is and how it is built; ``dice`` its materials and colours, from where it is
    seen, the light and the ground. ``photos_part`` returns a part of a photo, which becomes a material or the ground.
    """
    thing = Thing(shape)
    shares, kinds = zip(*KINDS, strict=True)
    among = kinds[int(shape.choice(len(kinds), p=shares))]
    among[int(shape.integers(len(among)))](thing)
    return drawn(thing, dice, photos_part)


def drawn(thing: Thing, dice: np.random.Generator, photos_part: PhotosPart) -> Image.Image:
    """Return the picture of a thing."""
    materials = list(dict.fromkeys(part.material for part in thing.parts))
    surfaces = [surface(family, dice, photos_part) for family, _ in materials]
    faces = _gathered(thing, materials)
    camera = _camera(faces, dice, upright=thing.upright)
    view = _view(faces, camera)
    light = _light(dice)
    ground = _ground(dice, photos_part, upright=thing.upright)
    shadow = _shadow(faces, view, camera, light, dice, upright=thing.upright)
    return _painted(faces, view, camera, light, surfaces, ImageChops.multiply(ground, shadow))


def _gathered(thing: Thing, materials: list[Material]) -> Faces:
    """Return all faces, moved and scaled so that the thing reaches about 1 from the middle of its foot or back."""
    counts = [len(part.mesh.corners) for part in thing.parts]
    corners = np.concatenate([part.mesh.corners for part in thing.parts])
    normals = np.concatenate([part.mesh.normals for part in thing.parts])
    marks = np.concatenate([part.mesh.marks for part in thing.parts])
    low, high = _bounds(corners)
    middle = (low + high) / 2
    middle[1] = low[1]
    corners = (corners - middle) / np.linalg.norm(high - low) * 2
    normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-6)
    material = np.array([materials.index(part.material) for part in thing.parts])
    hollow = np.array([part.hollow for part in thing.parts])
    part = np.repeat(np.arange(len(counts)), counts)
    return Faces(corners, normals, marks, part, material[part], hollow[part])


def _camera(faces: Faces, dice: np.random.Generator, *, upright: bool) -> Camera:
    """Return a random camera; mostly the whole thing fits in, at times a part of it."""
    if upright:
        azimuth = dice.normal(0, 28) if dice.random() < 0.8 else dice.uniform(-180, 180)
        elevation = dice.uniform(4, 40)
    else:
        azimuth, elevation = dice.normal(0, 12), dice.uniform(-8, 15)
    turn = rotation((0, 0, dice.normal(0, 1.5))) @ rotation((elevation, 0, 0)) @ rotation((0, azimuth, 0))
    lowest, highest = _bounds(faces.corners)
    middle = (lowest + highest) / 2
    distance = math.exp(dice.uniform(math.log(2.6), math.log(9)))
    camera = Camera(turn, middle, distance, 1, np.zeros(2, dtype=np.float32))
    points, _ = camera.project(faces.corners)
    low, high = _bounds(points)
    share = dice.uniform(0.62, 0.95) if dice.random() < 0.85 else dice.uniform(0.95, 1.5)
    scale = share * CANVAS / float((high - low).max())
    room = np.abs(CANVAS - (high - low) * scale) / 2
    place = CANVAS / 2 + np.clip(dice.normal(0, 0.3, 2), -0.9, 0.9) * room
    return camera._replace(scale=scale, shift=(place - (low + high) / 2 * scale).astype(np.float32))


def _view(faces: Faces, camera: Camera) -> View:
    points, away = camera.project(faces.corners)
    one, other = points[:, 2] - points[:, 0], points[:, 3] - points[:, 1]
    return View(points, away.mean(axis=1), one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0] < 0)


def _light(dice: np.random.Generator) -> Light:
    towards = np.float32([dice.uniform(-1, 1), dice.uniform(0.7, 1.6), dice.uniform(0.2, 1.2)])
    return Light(towards / np.linalg.norm(towards), dice.uniform(0.5, 0.8))


def _ground(dice: np.random.Generator, photos_part: PhotosPart, *, upright: bool) -> Image.Image:
    """Return what the thing stands or hangs before: mostly a white or light studio."""
    kind = dice.random()
    if kind < 0.12:
        photo = photos_part().convert("RGB").resize((PICTURE, PICTURE))
        return photo.filter(ImageFilter.GaussianBlur(dice.uniform(0.5, 4))) if dice.random() < 0.6 else photo
    if kind < 0.52:
        tint = np.full(3, dice.uniform(246, 255))
    elif kind < 0.84:
        tint = dice.uniform(195, 248) + dice.normal(0, 5, 3)
    else:
        tint = dice.uniform(30, 250, 3) * dice.uniform(0.3, 1) + dice.uniform(0, 60)
    rows = np.linspace(0, 1, PICTURE)[:, None]
    column = tint * (1 - dice.uniform(0, 0.1) * (rows if dice.random() < 0.5 else 1 - rows))
    if upright and kind > 0.4 and dice.random() < 0.4:
        column = _floored(column, rows, dice)
    one_wide = Image.fromarray(np.clip(column, 0, 255).astype(np.uint8)[:, None])
    return one_wide.resize((PICTURE, PICTURE), Image.Resampling.NEAREST)


def _floored(wall: NDArray[np.float64], rows: NDArray[np.float64], dice: np.random.Generator) -> NDArray[np.float64]:
    """Return a wall with a floor of another tone, which begins softly or at an edge; it may be of boards."""
    start, width = dice.uniform(0.45, 0.75), dice.uniform(0.004, 0.12)
    share = np.clip((rows - start) / width, 0, 1)
    floor = wall * dice.uniform(0.75, 1.08)
    if dice.random() < 0.3:
        grain = np.resize(noise(2)[:, 0], PICTURE)[:, None] * np.clip(rows - start, 0, 1)
        floor = np.array((200, 160, 115)) * dice.uniform(0.5, 1.1) * (1 + 0.15 * grain)
    return wall + (floor - wall) * share


def _shadow(
    faces: Faces, view: View, camera: Camera, light: Light, dice: np.random.Generator, *, upright: bool
) -> Image.Image:
    """Return how light the ground stays, 255 without a shadow: soft below the lamp, dark where the thing touches."""
    axis = 1 if upright else 2
    height = faces.corners[..., axis] - faces.corners[..., axis].min()
    strength = dice.uniform(0.2, 0.55) if dice.random() < 0.88 else 0  # cut out, as shops like it
    small = PICTURE // 2
    lightness = np.full((small, small), 255, dtype=np.float32)
    for reach, slope, blur in (
        (2.0, light.towards / light.towards[axis], dice.uniform(3, 9)),
        (0.08, np.eye(3, dtype=np.float32)[axis], 2),
    ):
        near = view.facing & (height.min(axis=1) < reach)
        points, _ = camera.project(faces.corners[near] - height[near][..., None] * slope)
        layer = Image.new("L", (small, small))
        pen = ImageDraw.Draw(layer)
        for outline in (points * (small / CANVAS)).reshape(-1, 8).tolist():
            pen.polygon(outline, fill=255)
        lightness -= np.asarray(layer.filter(ImageFilter.BoxBlur(blur))) * np.float32(strength * 0.5)
    mask = Image.fromarray(lightness.astype(np.uint8))
    return mask.resize((PICTURE, PICTURE), Image.Resampling.BILINEAR).convert("RGB")


def _order(faces: Faces, view: View, camera: Camera) -> NDArray[np.intp]:
    """Return the faces that can be seen, in the order in which to paint them."""
    rank = _ranks(faces, camera)
    seen = np.flatnonzero(view.facing | faces.hollow)
    return seen[np.lexsort((-view.away[seen], view.facing[seen], rank[faces.part[seen]]))]


def _ranks(faces: Faces, camera: Camera) -> NDArray[np.intp]:
    """Return for each part when to paint it.

    Of two parts with a plane between them, square to an axis, the one on the camera's side covers the other.
    """
    starts = np.flatnonzero(np.diff(faces.part, prepend=-1))
    columns = np.ascontiguousarray(faces.corners.reshape(-1, 3).T)
    low = np.minimum.reduceat(columns, starts * 4, axis=1).T
    high = np.maximum.reduceat(columns, starts * 4, axis=1).T
    parted = high[:, None] <= low[None] + 0.004  # [i, j, axis]: i lies below j
    place = camera.place
    in_front = (parted & (place >= low[None])).any(axis=2)  # [i, j]: j may cover i, i cannot cover j
    in_front |= (parted.transpose(1, 0, 2) & (place <= high[None])).any(axis=2)
    covers = ~in_front & in_front.T  # [i, j]: i covers j
    distance = np.linalg.norm((low + high) / 2 - place, axis=1)
    rank = np.empty(len(starts), dtype=np.intp)
    waiting = covers.sum(axis=1)  # how many parts that it covers are not painted yet
    left = np.ones(len(starts), dtype=bool)
    for step in range(len(starts)):
        chosen = int(np.lexsort((-distance, waiting, ~left))[0])
        rank[chosen], left[chosen] = step, False
        waiting -= covers[:, chosen]
    return rank


def _painted(
    faces: Faces, view: View, camera: Camera, light: Light, surfaces: list[Surface], ground: Image.Image
) -> Image.Image:
    """Return the ground with the thing on it.

    A pixel that one face fills is looked up once; one that several share, in each quarter of it.
    """
    order = _order(faces, view, camera)
    numbers = Image.new("I;16", (CANVAS, CANVAS))
    pen = ImageDraw.Draw(numbers)
    for number, outline in enumerate(view.points[order].reshape(-1, 8).tolist(), start=1):
        pen.polygon(outline, fill=number)
    corners = np.asarray(numbers).reshape(PICTURE, 2, PICTURE, 2)
    # Of each pixel: the faces in its four quarters.
    quarters = np.stack([corners[:, down, :, across].ravel() for down in (0, 1) for across in (0, 1)])
    mixed = (quarters[1:] != quarters[0]).any(axis=0)
    filled, shared = np.flatnonzero((quarters[0] > 0) & ~mixed), np.flatnonzero(mixed)
    shades = _shades(faces, view, camera, light, surfaces, order)
    planes = _planes(view.points[order], shades, _marks(faces, surfaces, order))
    look_up = _Colors(planes, faces.material[order], surfaces)
    # A pixel is one number, its three bytes and a spare one: numpy moves numbers far faster than triples.
    canvas = np.array(ground.convert("RGBX")).view(np.uint32).ravel()
    x, y = _places()
    canvas[filled] = _packed(look_up(quarters[0, filled], x[filled], y[filled], canvas[filled]))
    right, down = np.repeat(np.array(((0, 1, 0, 1), (0, 0, 1, 1)), dtype=np.float32), len(shared), axis=1)
    behind = np.tile(canvas[shared], 4)
    colors = look_up(quarters[:, shared].ravel(), np.tile(x[shared], 4) + right, np.tile(y[shared], 4) + down, behind)
    canvas[shared] = _packed(colors.reshape(4, -1, 4).mean(axis=0))
    return Image.frombytes("RGB", (PICTURE, PICTURE), canvas.tobytes(), "raw", "RGBX")


@lru_cache
def _places() -> tuple[Floats, Floats]:
    """Return where each pixel of the picture begins on the canvas, across and down."""
    y, x = np.mgrid[0:CANVAS:OVERSAMPLING, 0:CANVAS:OVERSAMPLING].astype(np.float32).reshape(2, -1)
    return x, y


def _packed(colors: Floats) -> NDArray[np.uint32]:
    """Return n x 4 values from 0 to 255 as n numbers."""
    return colors.astype(np.uint8).view(np.uint32).ravel()


def _unpacked(pixels: NDArray[np.uint32]) -> NDArray[np.uint8]:
    return pixels.view(np.uint8).reshape(-1, 4)


class _Colors:
    """The colours of the faces, numbered from 1 in the order of painting; 0 is the ground."""

    def __init__(self, planes: Floats, material: NDArray[np.intp], surfaces: list[Surface]) -> None:
        self._planes = planes
        self._material = np.concatenate(([0], material)).astype(np.int32)
        textures = np.zeros((len(surfaces), SIDE, SIDE, 4), dtype=np.uint8)
        for texture, item in zip(textures, surfaces, strict=True):
            texture[..., :3] = item.texture
        self._texels = textures.view(np.uint32).ravel()
        opacity = np.array([item.opacity for item in surfaces], dtype=np.float32)
        self._opaque = bool(opacity.min() == 1)
        self._opacity = np.pad(opacity[material], (1, 0))

    def __call__(
        self,
        face: NDArray[np.uint16],
        x: Floats,
        y: Floats,
        behind: NDArray[np.uint32],
    ) -> Floats:
        """Return the colours, n x 4 from 0 to 255, at n places of the canvas with ``behind`` behind them."""
        across, down, start = self._planes.take(face, axis=2)
        shade, u, v = across * x + down * y + start
        row, column = v.astype(np.int32) & (SIDE - 1), u.astype(np.int32) & (SIDE - 1)
        texels = self._texels.take((self._material[face] * SIDE + row) * SIDE + column)
        color = np.minimum(_unpacked(texels) * shade.clip(0.05, 1.8)[:, None], 255)
        if self._opaque and face.all():
            return color
        ground = _unpacked(behind)
        return ground + (color - ground) * self._opacity[face][:, None]


def _shades(
    faces: Faces, view: View, camera: Camera, light: Light, surfaces: list[Surface], order: NDArray[np.intp]
) -> Floats:
    """Return how bright the corners are, faces x 4: 1 is the colour of the material itself."""
    inside = ~view.facing[order]
    normals = faces.normals[order] * np.where(inside, -1, 1)[:, None, None].astype(np.float32)
    corners = faces.corners[order]
    material = faces.material[order]
    gloss, glow = (
        np.float32([getattr(item, name) for item in surfaces])[material][:, None] for name in ("gloss", "glow")
    )
    metal = np.array([item.metal for item in surfaces])[material][:, None]
    looking = camera.place - corners
    looking /= np.linalg.norm(looking, axis=2, keepdims=True)
    halfway = looking + light.towards
    halfway /= np.linalg.norm(halfway, axis=2, keepdims=True)
    shade = light.ambient + (1.05 - light.ambient) * np.maximum(normals @ light.towards, 0) + 0.06 * normals[..., 1]
    mirrored = 2 * (normals * looking).sum(axis=2) * normals[..., 1] - looking[..., 1]
    shade = np.where(metal, 0.75 * shade + 0.35 * np.sin(5 * mirrored + 1), shade)
    shade += 0.6 * gloss * np.maximum((normals * halfway).sum(axis=2), 0) ** 24
    shade *= 0.88 + 0.12 * np.clip(corners[..., 1] * 4, 0, 1)  # the floor takes light away
    shade *= np.where(inside, 0.78, 1)[:, None]
    return (shade + glow * (1.15 - shade)).astype(np.float32)


def _marks(faces: Faces, surfaces: list[Surface], order: NDArray[np.intp]) -> Floats:
    """Return where the corners lie on their texture, faces x 4 x 2, in texels; wood runs along the longer edge."""
    corners, marks = faces.corners[order], faces.marks[order]
    repeats = np.float32([item.repeats for item in surfaces])[faces.material[order]][:, None, None] * SIDE
    width = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
    height = np.linalg.norm(corners[:, 2] - corners[:, 1], axis=1)
    sizes = np.where((height > width)[:, None], np.stack((height, width)).T, np.stack((width, height)).T)
    marks = np.where((height > width)[:, None, None], marks[..., ::-1], marks) * sizes[:, None]
    flat = np.isnan(marks[:, 0, 0])
    axes = np.array([[2, 1], [0, 2], [0, 1]])[np.abs(faces.normals[order][flat, 0]).argmax(axis=1)]
    marks[flat] = np.take_along_axis(corners[flat], axes[:, None], axis=2)
    return marks * repeats + (faces.part[order] * 37 % SIDE)[:, None, None]


def _planes(points: Floats, shades: Floats, marks: Floats) -> Floats:
    """Return how shade and place on the texture grow across and down the canvas, and what they are at its corner.

    3 x 3 x (1 + faces), the first for no face: the plane through the values at the corners of each face, least
    squares where four do not fit one.
    """
    values = np.concatenate((shades[..., None], marks), axis=2)
    middle, average = points.mean(axis=1), values.mean(axis=1)
    off, change = points - middle[:, None], values - average[:, None]
    moments = off.transpose(0, 2, 1) @ off
    moments[:, [0, 1], [0, 1]] += 1.0  # a face seen edge-on has no slope of its own
    determinant = moments[:, 0, 0] * moments[:, 1, 1] - moments[:, 0, 1] ** 2
    inverse = np.stack((moments[:, 1, 1], -moments[:, 0, 1], -moments[:, 0, 1], moments[:, 0, 0]), axis=1)
    inverse = inverse.reshape(-1, 2, 2) / determinant[:, None, None]
    slope = inverse @ (off.transpose(0, 2, 1) @ change)
    start = average - (middle[:, :, None] * slope).sum(axis=1)
    planes = np.stack((slope[:, 0], slope[:, 1], start)).transpose(0, 2, 1)
    return np.pad(planes, ((0, 0), (0, 0), (1, 0))).astype(np.float32)
