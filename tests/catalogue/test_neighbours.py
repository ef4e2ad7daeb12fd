"""The exact neighbours against brute force in numpy, over every block size and option."""

import tracemalloc

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from similar_products.catalogue import neighbours
from similar_products.catalogue.neighbours import (
    Catalogue,
    VectorFile,
    catalogue_of,
    nearest,
    nearest_rows,
    nearest_to,
    product_vectors,
    rankings,
    read_catalogue,
    similarity,
    take_rows,
)
from similar_products.encoders import get_encoder
from similar_products.query import similar_to
from tests.drawn_pictures import picture_file
from tests.models import (
    Chair,
    ChairPhoto,
    Lamp,
    LimitedEditionScreenPrintedPosterOfMuseum,
    PrintedShirt,
    Rug,
    RugPhoto,
    RugPhotoLook,
    Shirt,
    Vase,
    VaseLook,
)

DIMENSIONS = 24


@pytest.fixture(params=[(1_024, 1_024), (7, 5), (1, 1)], ids=str)
def blocks(request, monkeypatch):
    """Rows and queries that are compared at once."""
    monkeypatch.setattr(neighbours, "ROWS_PER_BLOCK", request.param[0])
    monkeypatch.setattr(neighbours, "QUERIES_PER_BLOCK", request.param[1])


def unit_vectors(count: int, seed: int = 1) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSIONS)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def several(products: int = 20, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors and the owner of each, from one to four to a product."""
    lengths = np.random.default_rng(seed).integers(1, 5, products)
    owners = np.repeat(np.arange(products) * 10, lengths)
    return unit_vectors(len(owners), seed), owners


def gathered(blocks) -> tuple[np.ndarray, np.ndarray]:
    queries, positions, similarities = zip(*blocks, strict=True)
    assert (np.concatenate(queries) == np.arange(len(np.concatenate(queries)))).all()
    return np.concatenate(positions), np.concatenate(similarities)


def sorted_by_brute_force(similarities: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first k of each row; -inf marks what is left out."""
    rounded = np.round(similarities.astype(np.float64), 6)
    order = np.argsort(-rounded, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(rounded, order, axis=1)
    missing = np.isneginf(found)
    return np.where(missing, -1, order), np.where(missing, np.nan, found)


def assert_same(found, expected) -> None:
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], atol=2e-6)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("k", [1, 5, 29, 40])
def test_nearest__equals_brute_force(k):
    vectors = unit_vectors(30)
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, -np.inf)
    padded = np.hstack([similarities, np.full((30, 40), -np.inf)])
    assert_same(gathered(nearest(catalogue_of(vectors), k=k)), sorted_by_brute_force(padded, k))


@pytest.mark.usefixtures("blocks")
def test_nearest__mean_of_the_pictures_asks_and_the_best_picture_answers():
    vectors, owners = several()
    names = np.unique(owners)
    means = np.stack([vectors[owners == name].mean(axis=0) for name in names])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    similarities = np.stack([(means @ vectors[owners == name].T).max(axis=1) for name in names], axis=1)
    np.fill_diagonal(similarities, -np.inf)
    found = gathered(nearest(catalogue_of(vectors, owners=owners), k=6))
    assert_same(found, sorted_by_brute_force(similarities, 6))


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("exclude_own", [True, False])
@pytest.mark.parametrize("per_product", [True, False])
def test_nearest_rows__equals_brute_force(exclude_own, per_product):
    vectors, owners = several()
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, -np.inf)
    if exclude_own:
        similarities[owners[:, None] == owners] = -np.inf
    if per_product:
        similarities = np.stack([similarities[:, owners == name].max(axis=1) for name in np.unique(owners)], axis=1)
    found = gathered(
        nearest_rows(catalogue_of(vectors, owners=owners), k=6, exclude_own=exclude_own, per_product=per_product)
    )
    assert_same(found, sorted_by_brute_force(similarities, 6))


@pytest.mark.usefixtures("blocks")
def test_nearest__only_those_that_may_answer_do():
    vectors, owners = several()
    names = np.unique(owners)
    answers = np.arange(len(names)) % 3 == 0
    means = product_vectors(catalogue_of(vectors, owners=owners), np.arange(len(names)))
    similarities = np.stack([(means @ vectors[owners == name].T).max(axis=1) for name in names], axis=1)
    np.fill_diagonal(similarities, -np.inf)
    similarities[:, ~answers] = -np.inf
    found = gathered(nearest(catalogue_of(vectors, owners=owners), k=8, answers=answers))
    assert_same(found, sorted_by_brute_force(similarities, 8))


def test_product_vectors__are_means_at_norm_1():
    vectors, owners = several()
    wanted = np.array([7, 2, 3])
    means = np.stack([vectors[owners == 10 * number].mean(axis=0) for number in wanted])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    catalogue = catalogue_of(vectors, owners=owners)
    np.testing.assert_allclose(product_vectors(catalogue, wanted), means, atol=1e-6)
    np.testing.assert_array_equal(product_vectors(catalogue_of(vectors), wanted), vectors[wanted])
    assert len(product_vectors(catalogue, np.array([], int))) == 0


@pytest.mark.usefixtures("blocks")
def test_nearest_to__leaves_nobody_out():
    vectors, owners = several()
    asked = np.vstack([unit_vectors(7, seed=5), vectors[:1]])
    similarities = np.stack([(asked @ vectors[owners == name].T).max(axis=1) for name in np.unique(owners)], axis=1)
    found = gathered(nearest_to(catalogue_of(vectors, owners=owners), asked, k=4))
    assert_same(found, sorted_by_brute_force(similarities, 4))
    assert (found[0][-1, 0], found[1][-1, 0]) == (0, 1)


@pytest.mark.parametrize(("rows", "memory"), [(1_024, 2**26), (7, 1), (1, 900)])
def test_rankings__are_all_others_in_order(monkeypatch, rows, memory):
    vectors, owners = several()
    catalogue = catalogue_of(vectors, owners=owners)
    positions, similarities = gathered(nearest(catalogue, k=len(catalogue.owners) - 1))
    monkeypatch.setattr(neighbours, "ROWS_PER_BLOCK", rows)
    monkeypatch.setattr(neighbours, "RANKING_BYTES", memory)
    found = list(rankings(catalogue))
    assert [ranking.query for ranking in found] == list(range(20))
    assert_same(
        (np.stack([r.positions for r in found]), np.stack([r.similarities for r in found])), (positions, similarities)
    )


@pytest.mark.usefixtures("blocks")
def test_ties__are_in_the_order_of_positions():
    catalogue = catalogue_of(np.repeat(unit_vectors(3), 8, axis=0))
    positions, _ = gathered(nearest(catalogue, k=4))
    assert positions[0].tolist() == [1, 2, 3, 4]
    assert positions[3].tolist() == [0, 1, 2, 4]
    assert positions[9].tolist() == [8, 10, 11, 12]


def test_queries__are_those_named():
    vectors, owners = several()
    catalogue = catalogue_of(vectors, owners=owners)
    everything, _ = gathered(nearest(catalogue, k=3))
    rows, _ = gathered(nearest_rows(catalogue, k=3))
    wanted = np.array([17, 2, 3, 11])
    (found,) = nearest(catalogue, k=3, queries=wanted)
    assert found.queries.tolist() == wanted.tolist()
    np.testing.assert_array_equal(found.positions, everything[wanted])
    (found,) = nearest_rows(catalogue, k=3, queries=wanted)
    np.testing.assert_array_equal(found.positions, rows[wanted])
    assert [ranking.query for ranking in rankings(catalogue, queries=wanted)] == wanted.tolist()


@pytest.mark.parametrize("count", [0, 1])
def test_small_catalogues__have_no_neighbours(count):
    catalogue = catalogue_of(unit_vectors(count))
    assert [block.positions.tolist() for block in nearest(catalogue, k=2)] == [[[-1, -1]]] * count
    assert [ranking.positions.tolist() for ranking in rankings(catalogue)] == [[]] * count


def test_progress__counts_every_query(monkeypatch):
    monkeypatch.setattr(neighbours, "QUERIES_PER_BLOCK", 6)
    monkeypatch.setattr(neighbours, "RANKING_BYTES", 8 * 20 * 8)
    vectors, owners = several()
    catalogue = catalogue_of(vectors, owners=owners)
    for search, expected in (
        (nearest(catalogue, k=1, on_progress=(first := []).append), (first, [6, 6, 6, 2])),
        (rankings(catalogue, on_progress=(second := []).append), (second, [8, 8, 4])),
    ):
        list(search)
        assert expected[0] == expected[1]


def test_catalogue_of__scattered_owners_are_refused():
    with pytest.raises(ValueError, match="The rows of an owner are not side by side"):
        catalogue_of(unit_vectors(3), owners=np.array([1, 2, 1]))
    with pytest.raises(ValueError, match="owners has 2 entries for 3 vectors; each vector needs one."):
        catalogue_of(unit_vectors(3), owners=np.array([1, 2]))


def test_take_rows__keeps_the_products_that_have_rows_left():
    vectors, owners = several()
    catalogue = catalogue_of(vectors, owners=owners)
    rows = np.array([0, 1, 5, 9, 10, 30])
    taken = take_rows(catalogue, rows)
    assert taken.keys.tolist() == rows.tolist()
    assert taken.owners.tolist() == np.unique(owners[rows]).tolist()
    assert np.repeat(taken.owners, np.diff(taken.starts)).tolist() == owners[rows].tolist()
    np.testing.assert_allclose(taken.vectors[0:6], vectors[rows], atol=1e-7)


def test_similarity__is_that_of_nearest():
    vectors, owners = several()
    catalogue = catalogue_of(vectors, owners=owners)
    for block in nearest(catalogue, k=19):
        for query, positions, similarities in zip(*block, strict=True):
            found = [similarity(catalogue, int(query), int(other)) for other in positions]
            np.testing.assert_allclose(found, similarities, atol=2e-6)


def test_vector_file__gives_back_unit_rows_by_slices():
    vectors = unit_vectors(10)
    file = VectorFile()
    file.append(vectors[:4] * 3)
    file.append(vectors[:0])
    file.append(vectors[4:])
    assert len(file) == 10
    np.testing.assert_allclose(file[2:7], vectors[2:7], atol=1e-7)
    assert file[7:100].shape == (3, DIMENSIONS)
    assert file[5:5].shape == (0, DIMENSIONS)


def test_memory__does_not_grow_with_the_catalogue(monkeypatch):
    """Four times the products, the same peak, but for the keys; benchmarks/evaluate_memory.py measures processes."""

    monkeypatch.setattr(neighbours, "ROWS_PER_BLOCK", 500)
    monkeypatch.setattr(neighbours, "QUERIES_PER_BLOCK", 100)
    monkeypatch.setattr(neighbours, "RANKING_BYTES", 1_000_000)

    def peak(count: int) -> int:
        file = VectorFile()
        for start in range(0, count, 500):
            file.append(unit_vectors(500, seed=start))
        catalogue = catalogue_of(file)
        tracemalloc.start()
        for _ in nearest(catalogue, k=12, queries=np.arange(200)):
            pass
        for _ in rankings(catalogue, queries=np.arange(200)):
            pass
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(8_000) < 1.2 * peak(2_000)


def embedded(model: type, vectors: np.ndarray, **values) -> list:
    """Make rows of ``model`` that are ready, one for each vector."""
    image = default_storage.save("n.png", picture_file("red"))
    picture = "scan" if model is LimitedEditionScreenPrintedPosterOfMuseum else "image"
    rows = [model(**{picture: image}, **{name: make(n) for name, make in values.items()}) for n in range(len(vectors))]
    for row in rows:
        row.save()
    for row, vector in zip(rows, vectors, strict=True):
        set_vector(model, row.pk, image, vector)
    return rows


def set_vector(
    model: type, pk: object, image: str, vector: np.ndarray, *, encoder: str = "color-histogram-1280"
) -> None:
    padded = np.pad(vector, (0, 1280 - len(vector)))
    QuerySet(model).filter(pk=pk).update(embedding=padded, embedding_source=f"{encoder}|{image}")


def read(products) -> Catalogue:
    return read_catalogue(products, encoder_name=get_encoder().name, using="default")


@pytest.mark.django_db
def test_read_catalogue__has_current_vectors_of_the_encoder_in_order_of_the_key():
    vectors = unit_vectors(6)
    rows = embedded(Shirt, vectors, name=lambda number: f"{-number}")
    image = rows[0].image.name
    QuerySet(Shirt).filter(pk=rows[1].pk).update(embedding=None)
    set_vector(Shirt, rows[2].pk, image, vectors[2], encoder="another")
    set_vector(Shirt, rows[3].pk, "replaced.png", vectors[3])
    catalogue = read(Shirt.objects.all())
    kept = [0, 4, 5]
    assert catalogue.owners.tolist() == catalogue.keys.tolist() == [rows[number].pk for number in kept]
    np.testing.assert_allclose(catalogue.vectors[0:9][:, :DIMENSIONS], vectors[kept], atol=1e-6)
    assert not catalogue.has_several


@pytest.mark.django_db
def test_read_catalogue__has_the_products_of_the_queryset_only():
    rows = embedded(Shirt, unit_vectors(4), name=str, price=lambda number: number)
    assert read(Shirt.objects.filter(price__gte=2)).owners.tolist() == [row.pk for row in rows[2:]]
    assert len(read(Shirt.objects.none()).owners) == 0
    assert len(read(Shirt.objects.filter(price=99)).owners) == 0


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("model", "values"),
    [
        (PrintedShirt, {"name": str, "motif": str}),
        (LimitedEditionScreenPrintedPosterOfMuseum, {}),
        (Lamp, {"code": lambda number: f"lamp {number}"}),
    ],
)
def test_read_catalogue__of_keys_of_every_kind(model, values):
    vectors = unit_vectors(4)
    rows = {row.pk: vector for row, vector in zip(embedded(model, vectors, **values), vectors, strict=True)}
    catalogue = read(QuerySet(model))
    assert set(catalogue.owners.tolist()) == set(rows)
    for position, owner in enumerate(catalogue.owners):
        np.testing.assert_allclose(catalogue.vectors[position : position + 1][0, :DIMENSIONS], rows[owner], atol=1e-6)


@pytest.mark.django_db
def test_read_catalogue__through_a_companion():
    vectors = unit_vectors(3)
    image = default_storage.save("n.png", picture_file("red"))
    vases = [Vase.objects.create(name=str(number), image=image) for number in range(3)]
    for vase, vector in zip(reversed(vases), vectors, strict=True):
        look = VaseLook.embeddings.create(vase=vase)
        set_vector(VaseLook, look.pk, image, vector)
    catalogue = read(Vase.objects.all())
    assert catalogue.owners.tolist() == [vase.pk for vase in vases]
    assert catalogue.keys.tolist() == list(VaseLook.objects.order_by("vase_id").values_list("pk", flat=True))
    np.testing.assert_allclose(catalogue.vectors[0:3][:, :DIMENSIONS], vectors[::-1], atol=1e-6)


def pictured(places: dict[str, list[np.ndarray]], *, companions: bool) -> list:
    """Make chairs with photos, or rugs whose photos have companions, in reverse order of their names."""
    image = default_storage.save("n.png", picture_file("red"))
    products = []
    for name, vectors in sorted(places.items(), reverse=True):
        product = (Rug if companions else Chair).objects.create(name=name)
        products.append(product)
        for vector in vectors:
            if companions:
                photo = RugPhoto.objects.create(rug=product, image=image)
                holder = RugPhotoLook.embeddings.get_or_create(photo=photo)[0]
            else:
                holder = ChairPhoto.objects.create(chair=product, image=image)
            set_vector(type(holder), holder.pk, image, vector)
    return products


@pytest.mark.django_db
@pytest.mark.parametrize("companions", [False, True])
def test_read_catalogue__has_the_pictures_of_a_product_side_by_side(companions):
    vectors, owners = several(6)
    names = [f"product {number}" for number in owners]
    places = {name: [vectors[row] for row in range(len(names)) if names[row] == name] for name in dict.fromkeys(names)}
    products = pictured(places, companions=companions)
    catalogue = read(type(products[0]).objects.all())
    assert catalogue.has_several
    assert catalogue.owners.tolist() == [product.pk for product in products]
    assert catalogue.keys.tolist() == sorted(catalogue.keys.tolist())
    for position, product in enumerate(products):
        start, stop = catalogue.starts[position : position + 2]
        np.testing.assert_allclose(catalogue.vectors[start:stop][:, :DIMENSIONS], places[product.name], atol=1e-6)


@pytest.mark.django_db
@pytest.mark.parametrize("companions", [False, True])
def test_nearest__through_pictures_equals_similar_to(companions):
    vectors, owners = several(8)
    names = [f"product {number}" for number in owners]
    places = {name: [vectors[row] for row in range(len(names)) if names[row] == name] for name in dict.fromkeys(names)}
    products = {product.pk: product for product in pictured(places, companions=companions)}
    queryset = next(iter(products.values())).__class__.objects.all()
    catalogue = read(queryset)
    for block in nearest(catalogue, k=4):
        for query, positions, similarities in zip(*block, strict=True):
            found = list(similar_to(queryset, products[catalogue.owners[query]])[:4])
            assert [product.pk for product in found] == catalogue.owners[positions].tolist()
            np.testing.assert_allclose([1 - product.distance for product in found], similarities, atol=1e-3)


@pytest.mark.django_db
def test_read_catalogue__is_one_cursor_of_the_server(monkeypatch):
    monkeypatch.setattr(neighbours, "ROWS_PER_FETCH", 4)
    embedded(Shirt, unit_vectors(10), name=str)
    seen: list[int] = []
    with CaptureQueriesContext(connection) as captured:
        catalogue = read_catalogue(
            Shirt.objects.all(), encoder_name=get_encoder().name, using="default", on_progress=seen.append
        )
    assert seen == [4, 4, 2]
    assert len(catalogue.owners) == 10
    assert not [query for query in captured if "embedding" in query["sql"]]  # Django's cursor saw none of it


@pytest.mark.django_db
def test_read_catalogue__equals_similar_to():
    rows = embedded(Shirt, unit_vectors(12), name=str)
    catalogue = read(Shirt.objects.all())
    for block in nearest(catalogue, k=3):
        for query, positions, similarities in zip(*block, strict=True):
            asked = Shirt.objects.get(pk=catalogue.owners[query])
            found = list(Shirt.objects.similar_to(asked, exact=True)[:3])
            assert [shirt.pk for shirt in found] == catalogue.owners[positions].tolist()
            np.testing.assert_allclose([1 - shirt.distance for shirt in found], similarities, atol=1e-3)
    assert len(rows) == 12
