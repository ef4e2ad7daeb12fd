"""The drawn studio pictures that the embedded model is trained on."""

from functools import partial

import numpy as np
import pytest
from PIL import Image

from training import scenes
from training.scenes import KINDS, PICTURE, drawn, scene
from training.solids import Thing, cube, cushion, prism, tube, turned
from training.surfaces import FAMILIES, SIDE, surface

EVERY_KIND = [build for _, kinds in KINDS for build in kinds]


@pytest.fixture
def photos_part():
    """A part of a photo, the same each time: a ramp from black to orange."""
    ramp = np.linspace(0, 1, 96)[:, None, None] * np.ones((1, 80, 1)) * (255, 140, 20)
    photo = Image.fromarray(ramp.astype(np.uint8))
    return lambda: photo


def picture_of(build, shape: int, dice: int, photos_part) -> Image.Image:
    thing = Thing(np.random.default_rng(shape))
    build(thing)
    return drawn(thing, np.random.default_rng(dice), photos_part)


def _straight_ahead(camera, faces, dice, *, upright):
    """The camera in front of a thing that fills most of the picture."""
    straight = camera(faces, dice, upright=upright)
    middle = np.float32([PICTURE, PICTURE])
    return straight._replace(turn=np.eye(3, dtype=np.float32), distance=4.0, scale=900.0, shift=middle)


def seeded(shape: int, dice: int, photos_part) -> Image.Image:
    return scene(np.random.default_rng(shape), np.random.default_rng(dice), photos_part)


def test_scene__size_and_mode(photos_part):
    picture = seeded(1, 2, photos_part)
    assert picture.size == (PICTURE, PICTURE) == (224, 224)
    assert picture.mode == "RGB"


@pytest.mark.parametrize("seed", range(8))
def test_scene__same_seeds_same_picture(seed, photos_part):
    assert seeded(seed, seed, photos_part).tobytes() == seeded(seed, seed, photos_part).tobytes()


@pytest.mark.parametrize("seed", range(8))
def test_scene__dice_leave_the_shape_alone(seed, photos_part, monkeypatch):
    built = []
    monkeypatch.setattr(
        "training.scenes.drawn", lambda thing, dice, part: built.append(thing) or drawn(thing, dice, part)
    )
    one, other = (seeded(seed, dice, photos_part) for dice in (1, 2))
    assert one.tobytes() != other.tobytes()
    assert len(built[0].parts) == len(built[1].parts)
    for part, same in zip(built[0].parts, built[1].parts, strict=True):
        assert part.material == same.material
        np.testing.assert_array_equal(part.mesh.corners, same.mesh.corners)


def test_scene__shape_decides_what_is_drawn(photos_part):
    assert len({seeded(shape, 1, photos_part).tobytes() for shape in range(12)}) == 12


def test_kinds__are_many_and_differ():
    assert len(EVERY_KIND) == len(set(EVERY_KIND)) >= 25
    assert sum(share for share, _ in KINDS) == pytest.approx(1)


@pytest.mark.parametrize("build", EVERY_KIND, ids=lambda build: build.__name__)
def test_kind__can_be_drawn_and_is_seen(build, photos_part, monkeypatch):
    monkeypatch.setattr("training.scenes._ground", lambda *_, **__: Image.new("RGB", (PICTURE, PICTURE), (255, 0, 255)))
    for seed in range(5):
        values = np.asarray(picture_of(build, seed, seed, photos_part)).astype(int)
        ground = (np.abs(values[..., 0] - values[..., 2]) < 3) & (values[..., 1] < 3)  # in shadow too
        assert (~ground).mean() > 0.005, seed
        assert values[~ground].std() > 1, seed


def test_drawn__what_is_nearer_covers_what_is_behind(photos_part, monkeypatch):
    monkeypatch.setattr("training.scenes._camera", partial(_straight_ahead, scenes._camera))
    for first, second in ((-1, 1), (1, -1)):  # in whichever order they were built
        thing = Thing(np.random.default_rng(0))
        for z in (first, second):
            thing.box(("dark" if z > 0 else "bright", 0), (0, 1, z), (2, 2, 0.2))
        middle = np.asarray(drawn(thing, np.random.default_rng(5), photos_part))[92:132, 92:132]
        assert middle.max() < 130


@pytest.mark.parametrize("seed", range(6))
def test_view__faces_that_look_at_the_camera(seed):
    thing = Thing(np.random.default_rng(0))
    thing.box(("hard", 0), (0, 0, 0), (1, 2, 1.5))
    thing.disc(("hard", 0), (2, 0, 0), 1, 1)
    faces = scenes._gathered(thing, [("hard", 0)])
    camera = scenes._camera(faces, np.random.default_rng(seed), upright=True)
    looking = ((camera.place - faces.corners.mean(axis=1)) * faces.normals.mean(axis=1)).sum(axis=1)
    clear = np.abs(looking) > 0.05
    np.testing.assert_array_equal(scenes._view(faces, camera).facing[clear], looking[clear] > 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_surface__every_family(family, photos_part):
    dice = np.random.default_rng(3)
    for _ in range(25):
        made = surface(family, dice, photos_part)
        assert made.texture.shape == (SIDE, SIDE, 3)
        assert made.texture.dtype == np.uint8
        assert 0 < made.opacity <= 1


def test_surface__may_be_cut_from_a_photo(photos_part):
    cut = np.asarray(photos_part().resize((SIDE, SIDE)))
    dice = np.random.default_rng(4)
    assert any(np.array_equal(surface("cover", dice, photos_part).texture, cut) for _ in range(20))


@pytest.mark.parametrize(
    "mesh",
    [
        cube(),
        cushion(0.4),
        cushion(1),
        turned(((0, 0), (1, 0), (1, 1), (0, 1)), 12),
        tube([(0, 0, 0), (0, 1, 0), (1, 2, 0)], 0.1),
        prism([(-1, -1), (1, -1), (0, 1)], 0.5),
    ],
    ids=("cube", "cushion", "ball", "cylinder", "tube", "prism"),
)
def test_mesh__faces_look_outward(mesh):
    """The corners run anticlockwise as seen from where the normals point; otherwise faces are culled that are seen."""
    corners = mesh.corners.astype(np.float64)
    turning = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    large = np.linalg.norm(turning, axis=1) > 1e-6
    assert large.any()
    assert ((turning * mesh.normals.sum(axis=1)).sum(axis=1)[large] > 0).all()
