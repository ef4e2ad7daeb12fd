"""Solid parts that drawn things are put together from: boxes, turned bodies, tubes, cushions, sheets.

Every surface is a list of faces with four corners; a triangle repeats a corner. x goes right, y up from the floor at
0, z towards whoever looks at the front.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
T = TypeVar("T")
Vector = tuple[float, float, float]
Material = tuple[str, int]
"""A family of ``training.surfaces.FAMILIES`` and a number: parts of one family and number are of one material."""

UNTURNED: Vector = (0.0, 0.0, 0.0)


class Mesh(NamedTuple):
    corners: Floats
    """faces x 4 x 3, anticlockwise as seen from outside."""
    normals: Floats
    """faces x 4 x 3."""
    marks: Floats
    """faces x 4 x 2: where a corner lies on the material, counted in edges of its face; nan on a flat end, which lies
    on the material as it lies in space."""


class Part(NamedTuple):
    mesh: Mesh
    material: Material
    hollow: bool
    """Seen from inside too."""


def rotation(degrees: Vector) -> Floats:
    """Return the 3 x 3 matrix that turns about x, then y, then z."""
    turned = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        if angle:
            one, other = (axis + 1) % 3, (axis + 2) % 3
            matrix = np.eye(3)
            matrix[one, one] = matrix[other, other] = math.cos(angle)
            matrix[one, other], matrix[other, one] = -math.sin(angle), math.sin(angle)
            turned = matrix @ turned
    return turned.astype(np.float32)


def _grid(points: Floats, normals: Floats) -> Mesh:
    """Return the faces between rows x columns of points; columns go anticlockwise, rows up, as seen from outside."""

    def cornered(values: Floats) -> Floats:
        around = (values[:-1, :-1], values[:-1, 1:], values[1:, 1:], values[1:, :-1])
        return np.stack(around, axis=2).reshape(-1, 4, values.shape[-1])

    rows, columns = points.shape[:2]
    marks = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).astype(np.float32)
    return Mesh(cornered(points), cornered(normals), cornered(marks))


@lru_cache
def cube() -> Mesh:
    """Return the cube from -1/2 to 1/2."""
    sides = []
    for axis in range(3):
        for sign in (-1, 1):
            normal = np.zeros(3)
            normal[axis] = sign
            upward = np.array((0.0, 0.0, -sign)) if axis == 1 else np.array((0.0, 1.0, 0.0))
            right = np.cross(upward, normal)
            sides.append([(normal + right * u + upward * v) / 2 for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
    corners = np.array(sides, dtype=np.float32)
    normals = np.repeat(corners.mean(axis=1, keepdims=True) * 2, 4, axis=1)
    return Mesh(corners, normals, np.tile(np.float32([[0, 0], [1, 0], [1, 1], [0, 1]]), (6, 1, 1)))


@lru_cache(maxsize=64)
def turned(profile: tuple[tuple[float, float], ...], sides: int) -> Mesh:
    """Return the body that a profile of (radius, height), from below upwards, gives when it turns about y."""
    line = np.array(profile, dtype=np.float32)
    steps = np.diff(line, axis=0)
    across = np.stack((steps[:, 1], -steps[:, 0]), axis=1)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
    ends = np.stack((across, across), axis=1)  # of each step: the normal at its lower and at its upper end
    smooth = (across[:-1] * across[1:]).sum(axis=1) > 0.6
    middle = (across[:-1] + across[1:])[smooth]
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    ends[:-1, 1][smooth] = middle
    ends[1:, 0][smooth] = middle
    angles = np.linspace(0, math.tau, sides + 1)
    around = np.stack((np.sin(angles), np.ones(sides + 1), np.cos(angles)), axis=1).astype(np.float32)
    points = line[:, None, [0, 1, 0]] * around
    mesh = _grid(points, points)
    low, high = (ends[:, end, None, :][..., [0, 1, 0]] * around for end in (0, 1))
    normals = np.stack((low[:, :-1], low[:, 1:], high[:, 1:], high[:, :-1]), axis=2).reshape(-1, 4, 3)
    marks = mesh.marks.copy()
    marks[np.repeat(np.abs(across[:, 1]) > 0.99, sides)] = np.nan
    return Mesh(mesh.corners, normals, marks)


@lru_cache(maxsize=16)
def cushion(roundness: float) -> Mesh:
    """Return a body in the cube from -1/2 to 1/2: a ball at 1, a box at 0, between them with round edges."""
    up, around = np.linspace(-math.pi / 2, math.pi / 2, 9), np.linspace(0, math.tau, 17)

    def bent(values: NDArray[np.float64], power: float) -> NDArray[np.float64]:
        return np.sign(values) * np.abs(values) ** power

    def shell(power: float) -> Floats:
        ring, height = bent(np.cos(up), power)[:, None], bent(np.sin(up), power)[:, None]
        x, z = ring * bent(np.sin(around), power), ring * bent(np.cos(around), power)
        return np.stack((x, np.broadcast_to(height, x.shape), z), axis=-1).astype(np.float32)

    normals = shell(2 - roundness)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    return _grid(shell(roundness) / 2, normals)


def tube(path: Sequence[Vector], radius: float, sides: int = 6) -> Mesh:
    """Return a tube along a path; it is open at its ends."""
    line = np.array(path, dtype=np.float32)
    ahead = np.gradient(line, axis=0)
    if np.allclose(line[0], line[-1]):
        ahead[0] = ahead[-1] = line[1] - line[-2]
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-6)
    aside = np.eye(3)[np.abs(ahead).mean(axis=0).argmin()]
    right = np.cross(aside, ahead)
    right /= np.maximum(np.linalg.norm(right, axis=1, keepdims=True), 1e-6)
    upward = np.cross(ahead, right)
    angles = np.linspace(0, math.tau, sides + 1)[None, :, None]
    normals = (right[:, None] * np.cos(angles) + upward[:, None] * np.sin(angles)).astype(np.float32)
    return _grid(line[:, None] + radius * normals, normals)


def sheet(points: Floats) -> Mesh:
    """Return the faces of a bent sheet through rows x columns x 3 points, without thickness."""
    along, upward = (np.gradient(points, axis=axis) for axis in (1, 0))
    normals = np.cross(along, upward)
    normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-6)
    return _grid(points.astype(np.float32), normals.astype(np.float32))


def prism(outline: Sequence[tuple[float, float]], depth: float) -> Mesh:
    """Return what an outline in x and y, anticlockwise and seen whole from its middle, gives with a depth along z."""
    edge = np.array([*outline, outline[0]], dtype=np.float32)
    middle = (edge.min(axis=0) + edge.max(axis=0)) / 2
    count = len(outline)

    def lifted(points: Floats, z: float) -> Floats:
        return np.concatenate((points, np.full((len(points), 1), z, dtype=np.float32)), axis=1)

    front, back = lifted(edge, depth / 2), lifted(edge, -depth / 2)
    sides = np.stack((back[:-1], back[1:], front[1:], front[:-1]), axis=1)
    centre = np.broadcast_to(lifted(middle[None], depth / 2), (count, 3))
    cap = np.stack((centre, front[:-1], front[1:], front[1:]), axis=1)
    rear = (cap * np.float32([1, 1, -1]))[:, ::-1]
    flat = np.diff(edge, axis=0)
    outward = np.stack((flat[:, 1], -flat[:, 0], np.zeros(count)), axis=1)
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-6)
    towards = np.broadcast_to(np.float32([0, 0, 1]), (count, 3))
    normals = np.repeat(np.concatenate((outward, towards, -towards))[:, None], 4, axis=1).astype(np.float32)
    marks = np.tile(np.float32([[0, 0], [1, 0], [1, 1], [0, 1]]), (3 * count, 1, 1))
    marks[count:] = np.nan
    return Mesh(np.concatenate((sides, cap, rear)), normals, marks)


def circle(radius: float, steps: int = 16, start: float = 0, end: float = 360) -> list[tuple[float, float]]:
    """Return ``steps`` + 1 points of an arc, anticlockwise from the right, in degrees."""
    return [
        (radius * math.cos(angle), radius * math.sin(angle))
        for angle in np.linspace(math.radians(start), math.radians(end), steps + 1)
    ]


class Thing:
    """A thing that is being put together, and the dice that decide its shape."""

    def __init__(self, shape: np.random.Generator) -> None:
        self._shape = shape
        self.parts: list[Part] = []
        self.upright = True
        """Stands on the floor; else it hangs on a wall that it touches with its back."""

    def between(self, low: float, high: float) -> float:
        return float(self._shape.uniform(low, high))

    def whole(self, low: int, high: int) -> int:
        """Return a whole number, ``high`` included."""
        return int(self._shape.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        return bool(self._shape.random() < share)

    def one_of(self, *choices: T) -> T:
        return choices[int(self._shape.integers(len(choices)))]

    def add(
        self,
        mesh: Mesh,
        material: Material,
        at: Vector = (0, 0, 0),
        size: Vector = (1, 1, 1),
        turn: Vector = UNTURNED,
        *,
        hollow: bool = False,
    ) -> None:
        """Add a mesh, first made ``size`` times as large, then turned, then moved to ``at``."""
        corners, normals = mesh.corners * np.float32(size), mesh.normals / np.float32(size)
        if turn != UNTURNED:
            matrix = rotation(turn).T
            corners, normals = corners @ matrix, normals @ matrix
        self.parts.append(Part(Mesh(corners + np.float32(at), normals, mesh.marks), material, hollow))

    def box(self, material: Material, at: Vector, size: Vector, turn: Vector = UNTURNED) -> None:
        """Add a box with its middle at ``at``."""
        self.add(cube(), material, at, size, turn)

    def pillow(
        self, material: Material, at: Vector, size: Vector, roundness: float = 0.35, turn: Vector = UNTURNED
    ) -> None:
        """Add a box with round edges, or a ball, with its middle at ``at``."""
        self.add(cushion(roundness), material, at, size, turn)

    def lathe(
        self,
        material: Material,
        profile: Sequence[tuple[float, float]],
        at: Vector = (0, 0, 0),
        turn: Vector = UNTURNED,
        *,
        sides: int = 24,
        hollow: bool = False,
    ) -> None:
        """Add a body turned from a profile of (radius, height)."""
        self.add(turned(tuple(profile), sides), material, at, (1, 1, 1), turn, hollow=hollow)

    def disc(
        self, material: Material, at: Vector, radius: float, height: float, turn: Vector = UNTURNED, *, sides: int = 24
    ) -> None:
        """Add a cylinder that stands on ``at``."""
        profile = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
        self.add(turned(profile, sides), material, at, (radius, height, radius), turn)

    def rod(
        self, material: Material, start: Vector, end: Vector, radius: float, *, taper: float = 1, sides: int = 8
    ) -> None:
        """Add a straight rod; ``taper`` is how much thicker or thinner it is at its end."""
        along = np.subtract(end, start)
        length = float(np.linalg.norm(along))
        pitch = math.degrees(math.atan2(math.hypot(along[0], along[2]), along[1]))
        yaw = math.degrees(math.atan2(along[0], along[2]))
        profile = ((0.0, 0.0), (1.0, 0.0), (round(taper, 2), 1.0), (0.0, 1.0))
        self.add(turned(profile, sides), material, start, (radius, length, radius), (pitch, yaw, 0))

    def tube(self, material: Material, path: Sequence[Vector], radius: float, *, sides: int = 6) -> None:
        self.add(tube(path, radius, sides), material)

    def add_ring(self, material: Material, at: Vector, radius: float, thick: float) -> None:
        """Add a ring whose axis is z."""
        path = [(at[0] + radius * a, at[1] + radius * b, at[2]) for a, b in circle(1, 32)]
        self.add(tube(path, thick, 6), material)

    def prism(
        self,
        material: Material,
        outline: Sequence[tuple[float, float]],
        depth: float,
        at: Vector = (0, 0, 0),
        turn: Vector = UNTURNED,
    ) -> None:
        """Add what an outline in x and y gives with a depth along z; its middle in z is at ``at``."""
        self.add(prism(outline, depth), material, at, (1, 1, 1), turn)

    def all_around(self, width: float, depth: float, put: Callable[[float, float], None]) -> None:
        """Call ``put`` with the signed half width and depth of the four corners."""
        for x in (-width / 2, width / 2):
            for z in (-depth / 2, depth / 2):
                put(x, z)
