"""More pictures, better matches: the figures against brute force and evaluate_similarity, and the picture of them."""

import io
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db.models import QuerySet

from similar_products.catalogue.evaluation import SEED
from similar_products.catalogue.growth import count_queries
from similar_products.management.commands import plot_precision
from tests.models import Chair, ChairPhoto, Shelf, Shirt

pytestmark = pytest.mark.django_db

ENCODER = "color-histogram-1280"
K = 5


def vectors_of(count: int) -> np.ndarray:
    """Return vectors around four axes, far enough about that neighbours are often of another."""
    random = np.random.default_rng(4)
    vectors = np.eye(4, 1280)[np.arange(count) % 4] + random.normal(scale=0.05, size=(count, 1280))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def add_shirts(count: int, unlabelled: int = 3) -> np.ndarray:
    vectors = vectors_of(count + unlabelled)
    rows = Shirt.objects.bulk_create(
        Shirt(name=str(number), color=f"color {number % 4}" if number < count else "", image="s.png")
        for number in range(count + unlabelled)
    )
    for row, vector in zip(rows, vectors, strict=True):
        QuerySet(Shirt).filter(pk=row.pk).update(embedding=vector, embedding_source=f"{ENCODER}|s.png")
    return vectors[:count]


def run(path, *given: str, **options) -> str:
    out = io.StringIO()
    call_command(
        "plot_precision", "tests.Shirt", "--output", str(path), *given, stdout=out, **{"by": "color", **options}
    )
    return out.getvalue()


def figures(text: str) -> dict[int, list[float]]:
    """Return the numbers of each line of the table by its first."""
    lines = text.split("\n\n")[1].splitlines()
    assert lines[0].split() == ["products", f"precision@{K}", "spread", "best", "possible", "R@1", "draws", "queries"]
    rows = [[float(cell.replace(",", "")) for cell in line.split()] for line in lines[1:]]
    return {int(row[0]): row[1:] for row in rows}


def brute_force(vectors: np.ndarray, chosen: np.ndarray) -> tuple[float, float, float, int]:
    """Return precision@K, the best possible one, R@1 and the number of queries among the products ``chosen``."""
    labels = chosen % 4
    similarities = vectors[chosen].astype(np.float64) @ vectors[chosen].T.astype(np.float64)
    np.fill_diagonal(similarities, -np.inf)
    hits = labels[np.argsort(-similarities, axis=1)] == labels[:, None]
    hits = hits[:, :-1]  # the last is the query itself
    asked = hits[hits.any(axis=1)]
    best = np.minimum(asked.sum(axis=1), K) / K
    return asked[:, :K].mean(), best.mean(), asked[:, 0].mean(), len(asked)


def test_figures__are_what_brute_force_finds_in_nested_parts(tmp_path):
    vectors = add_shirts(60)
    found = figures(run(tmp_path / "p.svg", k=K, sizes=[8, 20, 60], draws=3))
    random = np.random.default_rng(SEED)
    orders = [random.permutation(60) for _ in range(3)]
    for size, draws in ((8, orders), (20, orders), (60, orders[:1])):
        parts = np.array([brute_force(vectors, np.sort(order[:size])) for order in draws])
        expected = [parts[:, 0].mean(), parts[:, 0].std(), *parts[:, 1:3].mean(axis=0), len(draws), parts[:, 3].sum()]
        assert found[size] == pytest.approx(expected, abs=6e-5)
    assert found[8][1] > 0
    assert found[60][1] == 0


def test_figures__of_the_whole_are_those_of_evaluate_similarity(tmp_path):
    add_shirts(50)
    found = figures(run(tmp_path / "p.svg", k=K))
    out = io.StringIO()
    call_command("evaluate_similarity", "tests.Shirt", "--json", by="color", k=K, stdout=out)
    labels = json.loads(out.getvalue())["encoders"][0]["labels"]
    precision, _, best, first, _, queries = found[50]
    assert precision == pytest.approx(labels["precision"], abs=6e-5)
    assert best == pytest.approx(labels["best_possible_precision"], abs=6e-5)
    assert first == pytest.approx(labels["recall_at_1"], abs=6e-5)
    assert queries == labels["queries"]
    assert [*found] == [25, 50]


def test_sample__asks_fewer_and_draws_the_whole_again(tmp_path):
    add_shirts(40)
    found = figures(run(tmp_path / "p.svg", k=K, sizes=[20, 40], draws=2, sample=10))
    assert [found[size][4:] for size in (20, 40)] == [[2, 20], [2, 20]]


def test_seed__draws_other_parts(tmp_path):
    add_shirts(40)
    first = run(tmp_path / "p.svg", k=K)
    assert run(tmp_path / "p.svg", k=K) == first
    assert run(tmp_path / "p.svg", k=K, seed=5) != first


def test_k__beyond_the_part_takes_all_there_are_and_no_more_memory(tmp_path):
    add_shirts(24)
    tables = [run(tmp_path / "p.svg", k=k, sizes=[12, 24]).split("\n\n")[1] for k in (23, 10**12)]
    rows = [[line.split() for line in table.splitlines()[1:]] for table in tables]
    assert rows[0] == rows[1]


def test_several_pictures_and_labels_count_as_in_evaluate(tmp_path):
    shelves = [Shelf.objects.create() for _ in range(3)]
    vectors = vectors_of(48)
    for number in range(24):
        chair = Chair.objects.create(name=str(number), style=("", "a", "b")[number % 3])
        chair.shelves.set([shelves[number % 3], shelves[number % 2]])
        photos = ChairPhoto.objects.bulk_create([ChairPhoto(chair=chair, image="c.png") for _ in range(2)])
        for photo, vector in zip(photos, vectors[2 * number : 2 * number + 2], strict=True):
            source = f"{ENCODER}|c.png"
            QuerySet(ChairPhoto).filter(pk=photo.pk).update(embedding=vector, embedding_source=source)
    for by in ("shelves", "shelves__pk"):
        out, measured = io.StringIO(), io.StringIO()
        call_command("plot_precision", "tests.Chair", output=tmp_path / "p.svg", by=by, k=K, stdout=out)
        call_command("evaluate_similarity", "tests.Chair", "--json", by=by, k=K, stdout=measured)
        labels = json.loads(measured.getvalue())["encoders"][0]["labels"]
        assert figures(out.getvalue())[24][0] == pytest.approx(labels["precision"], abs=6e-5)


def test_progress__is_told_of_every_query(tmp_path, monkeypatch):
    add_shirts(30)
    told: list[int] = []
    measure = plot_precision.measure_growth

    def listened(*given, on_progress, **options):
        return measure(*given, **options, on_progress=lambda number: (told.append(number), on_progress(number)))

    monkeypatch.setattr(plot_precision, "measure_growth", listened)
    run(tmp_path / "p.svg", sizes=[10, 30], draws=4, sample=20)
    assert sum(told) == count_queries(30, sizes=[10, 30], draws=4, sample=20) == 4 * 10 + 4 * 20


def test_command__writes_the_picture_and_says_so(tmp_path):
    add_shirts(24)
    text = run(tmp_path / "p.svg", k=K)
    title = f"tests.Shirt, color: precision@{K}, {ENCODER}"
    assert text.startswith(f"{title}\n\nproducts  ")
    assert text.endswith(f"\n\nWritten to {tmp_path / 'p.svg'}.\n")
    svg = ElementTree.fromstring((tmp_path / "p.svg").read_text())
    assert title in [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert run(tmp_path / "p.svg", k=K, verbosity=0) == ""


SIZES = "a curve takes two different numbers or more from 2 to 24, the products with a vector and a value in 'color'."
BAD = [
    (["--output", "{tmp}/p.png"], "'{tmp}/p.png' does not end in .svg; name a file that does."),
    (["--output", "{tmp}/no/p.svg"], "{tmp}/no/p.svg cannot be written: there is no folder {tmp}/no; create it first."),
    (["--output", "{tmp}/p.svg", "--sizes", "10"], f"--sizes is 10; {SIZES}"),
    (["--output", "{tmp}/p.svg", "--sizes", "10", "10"], f"--sizes is 10; {SIZES}"),
    (["--output", "{tmp}/p.svg", "--sizes", "1", "10"], f"--sizes is 1, 10; {SIZES}"),
    (["--output", "{tmp}/p.svg", "--sizes", "10", "1025"], f"--sizes is 10, 1,025; {SIZES}"),
    (
        ["--output", "{tmp}/p.svg", "--by", "price"],
        "In a part of 2 products no query shares a label with another product; choose larger --sizes.",
    ),
    (
        ["--output", "{tmp}/p.svg", "--by", "name"],
        "No two products of tests.Shirt share a value in 'name'; name a field that they share.",
    ),
]


@pytest.mark.parametrize(("given", "sentence"), BAD, ids=range(len(BAD)))
def test_bad_input__is_one_sentence_and_nothing_is_written(tmp_path, given, sentence):
    add_shirts(24)
    for shirt in Shirt.objects.all():  # each price twice: hardly any part of two has a pair
        QuerySet(Shirt).filter(pk=shirt.pk).update(price=int(shirt.name) // 2)
    if "price" in given:
        given = [*given, "--sizes", "2", "24", "--draws", "20"]
    if "--by" not in given:
        given = [*given, "--by", "color"]
    with pytest.raises(CommandError) as caught:
        call_command("plot_precision", "tests.Shirt", *(one.format(tmp=tmp_path) for one in given))
    assert (str(caught.value), caught.value.returncode) == (sentence.format(tmp=tmp_path), 2)
    assert list(tmp_path.iterdir()) == []


def test_bad_input__field_and_too_few(tmp_path):
    add_shirts(19)
    for by, reason in (("colour", "Cannot resolve"), ("the colour", "Column aliases cannot contain")):
        with pytest.raises(CommandError, match=f"'{by}' is not a field of tests.Shirt: {reason}") as caught:
            run(tmp_path / "p.svg", by=by)
        assert caught.value.returncode == 2
    with pytest.raises(CommandError) as caught:
        run(tmp_path / "p.svg")
    assert (str(caught.value), caught.value.returncode) == (
        f"tests.Shirt has 19 products with a vector of the encoder {ENCODER} and a value in 'color'; a curve needs 20.",
        2,
    )
    assert list(tmp_path.iterdir()) == []


def test_interrupted__is_exit_3_and_nothing_is_written(tmp_path, monkeypatch):
    add_shirts(24)

    def interrupt(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(plot_precision, "draw_growth", interrupt)
    with pytest.raises(CommandError, match="Interrupted. Nothing was written.") as caught:
        run(tmp_path / "p.svg")
    assert caught.value.returncode == 3
    assert list(tmp_path.iterdir()) == []
