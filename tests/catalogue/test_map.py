"""Where products stand on the map, and their colours."""

import itertools
import sys

import numpy as np
import pytest

from similar_products.catalogue.map import COLORS, REST_COLOR, color_groups, lay_out, snap_to_grid
from similar_products.catalogue.neighbours import CatalogueError

sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed")


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def clusters() -> np.ndarray:
    """Three groups of twenty vectors, each along an axis of its own."""
    random = np.random.default_rng(0)
    return unit(np.repeat(np.eye(3, 64), 20, axis=0) + random.normal(scale=0.02, size=(60, 64)))


def test_lay_out__groups_stay_together_and_apart(clusters):
    points = lay_out(clusters, seed=1)
    assert points.shape == (60, 2)
    groups = points.reshape(3, 20, 2)
    within = max(np.linalg.norm(group - group.mean(axis=0), axis=1).max() for group in groups)
    between = min(np.linalg.norm(one.mean(axis=0) - two.mean(axis=0)) for one, two in itertools.combinations(groups, 2))
    assert between > within
    assert (lay_out(clusters, seed=1) == points).all()
    assert (lay_out(clusters, seed=2) != points).any()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_lay_out__takes_few(clusters, count):
    points = lay_out(clusters[::20][:count] if count < 4 else clusters[::13][:count], seed=1)
    assert np.isfinite(points).all()
    places, shape = snap_to_grid(points)
    assert len(np.unique(places, axis=0)) == len(points)
    assert (places < shape).all()


def test_lay_out__takes_what_is_all_alike():
    points = lay_out(unit(np.ones((30, 64))), seed=1)
    places, _ = snap_to_grid(points)
    assert len(np.unique(places, axis=0)) == 30


def test_lay_out__without_scikit_learn_says_what_to_install(clusters, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(CatalogueError, match=r"^A map needs scikit-learn, .*\[catalogue\]'\.$"):
        lay_out(clusters, seed=1)


def test_snap_to_grid__each_has_a_place_of_its_own_near_its_point():
    random = np.random.default_rng(3)
    points = random.normal(size=(500, 2))
    places, (columns, rows) = snap_to_grid(points)
    assert len(np.unique(places, axis=0)) == 500
    assert places.min(axis=0).tolist() == [0, 0]
    assert places.max(axis=0).tolist() == [columns - 1, rows - 1]
    for axis in (0, 1):
        assert np.corrcoef(points[:, axis], places[:, axis])[0, 1] > 0.95


def test_snap_to_grid__far_points_stand_where_they_are():
    points = np.array([[0, 0], [0, 30], [40, 0], [40, 30]], np.float64)
    places, shape = snap_to_grid(points)
    assert [tuple(place) for place in places.tolist()] == [
        (0, 0),
        (0, shape[1] - 1),
        (shape[0] - 1, 0),
        (shape[0] - 1, shape[1] - 1),
    ]


def test_color_groups__commonest_are_coloured_and_the_rest_is_grey():
    labels = [f"label {number:02}" for number in range(14) for _ in range(20 - number)] + [""] * 3
    groups, legend = color_groups(labels)
    assert [entry.text for entry in legend] == [*(f"label {number:02}" for number in range(12)), "2 others"]
    assert [entry.color for entry in legend] == [*COLORS, REST_COLOR]
    assert [entry.products for entry in legend] == [*range(20, 8, -1), 8 + 7 + 3]
    assert [groups[labels.index(f"label {number:02}")] for number in range(14)] == [*range(12), 12, 12]
    assert groups[-1] == 12


def test_color_groups__without_a_label():
    assert [(entry.text, entry.products) for entry in color_groups(["a", "", "a"])[1]] == [("a", 2), ("no value", 1)]
    assert [entry.text for entry in color_groups(["a"])[1]] == ["a"]


def lab(color: str) -> np.ndarray:
    """Return CIE L*a*b* under D65."""
    values = np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.maximum(matrix @ linear / [0.9505, 1, 1.089], 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_colors__can_be_told_apart():
    """A difference of 2.3 can just be seen between large areas side by side."""
    pairs = itertools.combinations([*COLORS, REST_COLOR], 2)
    assert min(np.linalg.norm(lab(one) - lab(two)) for one, two in pairs) > 30
