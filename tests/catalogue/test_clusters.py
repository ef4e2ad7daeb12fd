"""k-means on groups that are there to be found."""

import numpy as np
import pytest

from similar_products.catalogue.clusters import cluster, usual_number
from similar_products.catalogue.neighbours import CatalogueError, catalogue_of

pytest.importorskip("sklearn", reason="scikit-learn is not installed")


def blobs(sizes: tuple[int, ...], seed: int = 1, dimensions: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors around as many directions, shuffled, and the direction of each."""
    random = np.random.default_rng(seed)
    centres = np.linalg.qr(random.normal(size=(dimensions, len(sizes))))[0].T
    whose = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    vectors = centres[whose] + random.normal(scale=0.08, size=(len(whose), dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), whose


def test_cluster__finds_the_groups_that_are_there():
    vectors, whose = blobs((50, 30, 20))
    found = cluster(catalogue_of(vectors), groups=3, seed=1)
    assert [len(set(whose[found.labels == number])) for number in range(3)] == [1, 1, 1]
    assert np.bincount(found.labels).tolist() == [50, 30, 20]
    for number, medoid in enumerate(found.medoids):
        members = np.flatnonzero(found.labels == number)
        assert medoid == members[(vectors[members] @ vectors[members].T).mean(axis=1).argmax()]
        np.testing.assert_allclose(found.similarities[members], vectors[members] @ vectors[medoid], atol=1e-5)


def test_cluster__of_one_seed_is_one_result():
    vectors, _ = blobs((40,) * 5)
    catalogue = catalogue_of(vectors)
    first, again = (cluster(catalogue, groups=7, seed=3) for _ in range(2))
    assert first.labels.tolist() == again.labels.tolist()
    assert first.medoids.tolist() == again.medoids.tolist()
    others = [cluster(catalogue, groups=7, seed=seed).labels.tolist() for seed in range(4, 9)]
    assert any(labels != first.labels.tolist() for labels in others)


def test_cluster__learns_from_some_and_places_all(monkeypatch):
    from similar_products.catalogue import clusters

    monkeypatch.setattr(clusters, "LEARNT_FROM", 60)
    vectors, whose = blobs((900, 700))
    done: list[int] = []
    found = cluster(catalogue_of(vectors), groups=2, seed=1, on_progress=done.append)
    assert done == [60, 60, 60, 1_024, 576]
    assert sum(done) == clusters.count_steps(1_600, 2)
    assert [len(set(whose[found.labels == number])) for number in range(2)] == [1, 1]


def test_cluster__several_pictures_count_by_their_mean():
    vectors = np.eye(4, dtype=np.float32)[[0, 1, 0, 1, 2, 3]]
    found = cluster(catalogue_of(vectors, owners=np.array([0, 0, 1, 1, 2, 2])), groups=2, seed=1)
    assert found.labels.tolist() == [0, 0, 1]
    assert found.similarities.tolist() == pytest.approx([1, 1, 1])


def test_cluster__fewer_pictures_than_groups_give_fewer_groups():
    vectors = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    found = cluster(catalogue_of(vectors), groups=6, seed=1)
    assert np.bincount(found.labels).tolist() == [4, 4, 4]
    assert found.labels[found.medoids].tolist() == [0, 1, 2]


def test_cluster__more_groups_than_products_are_refused():
    with pytest.raises(CatalogueError) as caught:
        cluster(catalogue_of(np.eye(3, dtype=np.float32)), groups=4, seed=1)
    assert str(caught.value) == "There are 3 products for 4 groups; ask for fewer groups with --groups."


@pytest.mark.parametrize(("products", "groups"), [(2, 2), (8, 2), (200, 10), (20_000, 100)])
def test_usual_number__is_the_root_of_half(products, groups):
    assert usual_number(products) == groups
