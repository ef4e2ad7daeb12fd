"""The export as a user runs it, against brute force in numpy and in the form that the 2019 original wrote."""

import csv
import io
import json
import os
import subprocess
import sys
import uuid

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import QuerySet

from similar_products.catalogue import neighbours
from similar_products.catalogue.exports import SimilarPair
from tests.catalogues import CATALOGUES, ENCODER, Item, Picture, at_angle, mean_of, nearest
from tests.models import Lamp, LimitedEditionScreenPrintedPosterOfMuseum, Rug, Shirt

pytestmark = pytest.mark.django_db


def run(*given: str, **options) -> str:
    out = io.StringIO()
    call_command("export_similar", *given, stdout=out, **options)
    return out.getvalue()


def exported(*given: str, **options) -> list[dict]:
    return json.loads(run(*given, **options))


def add_shirts(vectors: np.ndarray, **values) -> list[int]:
    """Make a shirt that is ready for each vector and return their keys."""
    rows = [
        Shirt(
            name=str(number),
            image="s.png",
            embedding=vector,
            embedding_source=f"{ENCODER}|s.png",
            **{name: make(number) for name, make in values.items()},
        )
        for number, vector in enumerate(vectors)
    ]
    return [row.pk for row in QuerySet(Shirt).bulk_create(rows)]


def pairs(found: list[dict]) -> list[tuple]:
    return [(one["master_pi"], one["similar_pi"]) for one in found]


@pytest.fixture
def arc() -> list[int]:
    """Six shirts, ever farther apart: at 0, 1, 3, 6, 10 and 15 tenths of a radian, each twice the price of the last."""
    angles = np.cumsum(range(6)) / 10
    return add_shirts(np.stack([at_angle(angle) for angle in angles]), price=lambda number: 2**number)


def test_json__has_the_form_of_the_2019_original(arc):
    text = run("tests.Shirt", k=2)
    found = json.loads(text)
    assert [list(one) for one in found] == [["similarity", "master_pi", "similar_pi"]] * 12
    assert found[:4] == [
        {"similarity": round(float(np.cos(0.1)), 4), "master_pi": arc[0], "similar_pi": arc[1]},
        {"similarity": round(float(np.cos(0.3)), 4), "master_pi": arc[0], "similar_pi": arc[2]},
        {"similarity": round(float(np.cos(0.1)), 4), "master_pi": arc[1], "similar_pi": arc[0]},
        {"similarity": round(float(np.cos(0.2)), 4), "master_pi": arc[1], "similar_pi": arc[2]},
    ]
    assert text.startswith('[\n{"similarity": 0.995, "master_pi": ')
    assert text.endswith("}\n]\n")


@pytest.mark.slow
def test_export__equals_brute_force_on_3000_products(tmp_path):
    random = np.random.default_rng(5)
    # In few dimensions, so that similarities are spread from 0 to 1 as those of real pictures; and some are equal.
    vectors = np.abs(random.normal(size=(3_000, 12))) @ np.abs(random.normal(size=(12, 1280)) + 0.5)
    vectors[100:110] = vectors[0]
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX shirt_9a438cef_hnsw")  # an exact answer needs none, and filling it takes 9 s
    keys = np.array(add_shirts(vectors))
    path = tmp_path / "similar.json"
    call_command("export_similar", "tests.Shirt", k=20, output=path, verbosity=0)
    found = json.loads(path.read_text())
    assert len(found) == 3_000 * 20
    position_of = {key: position for position, key in enumerate(keys.tolist())}
    masters = np.array([position_of[one["master_pi"]] for one in found]).reshape(3_000, 20)
    similar = np.array([position_of[one["similar_pi"]] for one in found]).reshape(3_000, 20)
    written = np.array([one["similarity"] for one in found]).reshape(3_000, 20)
    assert (masters == np.arange(3_000)[:, None]).all()
    assert all(len(set(row)) == 20 for row in similar.tolist())
    exact = vectors.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    similarities = exact @ exact.T
    np.fill_diagonal(similarities, -np.inf)
    best = -np.sort(-similarities, axis=1)[:, :20]
    of_found = np.take_along_axis(similarities, similar, axis=1)
    # The sums of float32 differ by a millionth, so of two that are as near either may come.
    np.testing.assert_allclose(of_found, best, atol=2e-6)
    np.testing.assert_allclose(written, best, atol=0.5e-4 + 2e-6)
    assert (np.round(written, 4) == written).all()
    order = np.argsort(-np.round(similarities, 6), axis=1, kind="stable")[:, :20]
    assert (order == similar).mean() > 0.99  # but for those
    assert similar[0, :10].tolist() == list(range(100, 110))


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "parquet"])
@pytest.mark.parametrize("is_named", [True, False])
def test_format__says_the_same_in_all(arc, tmp_path, kind, is_named):
    path = tmp_path / ("similar" if is_named else f"similar.{kind.upper()}")
    said = run("tests.Shirt", output=path, k=3, **({"format": kind} if is_named else {}))
    assert said == f"The nearest 3 of 6 products are in {path}.\n"
    if kind == "json":
        found = json.loads(path.read_text())
    elif kind == "jsonl":
        found = [json.loads(line) for line in path.read_text().splitlines()]
    elif kind == "csv":
        rows = csv.DictReader(io.StringIO(path.read_text()))
        found = [
            {name: float(cell) if name == "similarity" else int(cell) for name, cell in row.items()} for row in rows
        ]
    else:
        found = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed").read_table(path).to_pylist()
    assert found == exported("tests.Shirt", k=3)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_blocks__do_not_show(arc, monkeypatch):
    whole = {kind: run("tests.Shirt", format=kind) for kind in ("json", "jsonl", "csv")}
    monkeypatch.setattr(neighbours, "QUERIES_PER_BLOCK", 1)
    assert {kind: run("tests.Shirt", format=kind) for kind in whole} == whole
    assert len(json.loads(whole["json"])) == 30


def test_where__narrows_what_is_found_and_of_what_is_asked(arc):
    cheap = exported("tests.Shirt", "--where", "price__lt=4", k=1)
    assert pairs(cheap) == [
        (arc[0], arc[1]), (arc[1], arc[0]), (arc[2], arc[1]), (arc[3], arc[1]), (arc[4], arc[1]), (arc[5], arc[1])
    ]  # fmt: skip
    some = exported("tests.Shirt", "--of", "price__in=1,32", "--where", "price__gt=1", "--where", "price__lt=32", k=9)
    assert {one[0] for one in pairs(some)} == {arc[0], arc[5]}
    assert pairs(some)[:4] == [(arc[0], key) for key in arc[1:5]]
    assert exported("tests.Shirt", "--where", "price=5") == []
    assert run("tests.Shirt", "--where", "price=5", format="csv") == "similarity,master_pi,similar_pi\n"


def test_where__takes_true_and_false_for_isnull(arc):
    Shirt.objects.filter(pk=arc[0]).update(color="red")
    assert exported("tests.Shirt", "--where", "orders__isnull=false") == []
    assert len(exported("tests.Shirt", "--where", "orders__isnull=TRUE", k=1)) == 6


def test_min_similarity__leaves_out_what_is_less_similar(arc):
    found = exported("tests.Shirt", min_similarity=float(np.cos(0.3)) - 1e-6)
    assert pairs(found)[:2] == [(arc[0], arc[1]), (arc[0], arc[2])]
    assert min(one["similarity"] for one in found) == round(float(np.cos(0.3)), 4)
    assert exported("tests.Shirt", "--min-similarity", "1") == []
    (twin,) = add_shirts(np.stack([at_angle(0)]))
    assert pairs(exported("tests.Shirt", "--min-similarity", "1")) == [(arc[0], twin), (twin, arc[0])]


def test_similarity__is_never_below_zero():
    keys = add_shirts(np.stack([at_angle(0), at_angle(3)]))
    assert exported("tests.Shirt") == [
        {"similarity": 0.0, "master_pi": keys[0], "similar_pi": keys[1]},
        {"similarity": 0.0, "master_pi": keys[1], "similar_pi": keys[0]},
    ]


@pytest.mark.parametrize("name", CATALOGUES)
def test_placements__mean_asks_and_the_best_picture_answers(name):
    catalogue, random = CATALOGUES[name], np.random.default_rng(3)
    items = [
        Item(str(number), [Picture(at_angle(angle)) for angle in random.uniform(0, 1.5, 2 if catalogue.several else 1)])
        for number in range(5)
    ]
    catalogue.fill(items)
    found = exported(catalogue.model._meta.label, k=4)
    for item in items:
        others = [one for one in items if one is not item]
        expected = nearest(others, mean_of([(item, 1.0)], ENCODER), ENCODER)
        rows = [one for one in found if one["master_pi"] == item.row.pk]
        assert [one["similar_pi"] for one in rows] == [key for _, key, _ in expected]
        assert [one["similarity"] for one in rows] == pytest.approx([1 - far for far, _, _ in expected], abs=1e-4)


def test_hidden_products__are_neither_asked_nor_found():
    items = [Item(str(number), [Picture(at_angle(number / 10))]) for number in range(4)]
    CATALOGUES["companions of pictures"].fill(items)
    Rug.objects.filter(pk=items[1].row.pk).update(published=False)  # by VISIBLE of the settings
    keys = [items[number].row.pk for number in (0, 2, 3)]
    assert {key for pair in pairs(exported("tests.Rug")) for key in pair} == set(keys)


def test_hidden_products__of_the_default_manager_too():
    rows = [
        Lamp(code=f"lamp {number}", published=number != 1, image="l.png", embedding=at_angle(number / 10),
             embedding_source=f"{ENCODER}|l.png")
        for number in range(3)
    ]  # fmt: skip
    QuerySet(Lamp).bulk_create(rows)
    assert pairs(exported("tests.Lamp")) == [("lamp 0", "lamp 2"), ("lamp 2", "lamp 0")]


def test_keys__that_are_no_numbers_are_text(tmp_path):
    model = LimitedEditionScreenPrintedPosterOfMuseum
    rows = [model(scan="p.png", embedding=at_angle(n), embedding_source=f"{ENCODER}|p.png") for n in range(2)]
    keys = sorted(row.pk for row in QuerySet(model).bulk_create(rows))
    found = exported(model._meta.label)
    assert [uuid.UUID(one["master_pi"]) for one in found] == keys
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    call_command("export_similar", model._meta.label, output=tmp_path / "p.parquet", verbosity=0)
    assert parquet.read_table(tmp_path / "p.parquet").to_pylist() == found


def test_file__stays_as_it_was_when_the_work_ends_early(arc, tmp_path, monkeypatch):
    path = tmp_path / "similar.json"
    path.write_text("what was there")

    def one_block_and_then(error):
        def pairs(*given, **options):
            yield [SimilarPair(0.5, 1, 2)]
            raise error

        return pairs

    from similar_products.management.commands import export_similar

    for error, code, sentence in (
        (KeyboardInterrupt(), 3, "Interrupted. Nothing was written."),
        (OSError(28, "No space left on device"), 2, f"{path} cannot be written: No space left on device; name another"),
    ):
        monkeypatch.setattr(export_similar, "similar_pairs", one_block_and_then(error))
        for kind in ("json", "parquet"):
            with pytest.raises(CommandError, match=sentence) as caught:
                run("tests.Shirt", output=path, format=kind)
            assert caught.value.returncode == code
            assert path.read_text() == "what was there"
            assert list(tmp_path.iterdir()) == [path]
    monkeypatch.setattr(export_similar, "similar_pairs", one_block_and_then(KeyboardInterrupt()))
    with pytest.raises(CommandError, match="Interrupted. What standard output got is not whole.") as caught:
        run("tests.Shirt")
    assert caught.value.returncode == 3


def test_file__that_a_link_leads_to_is_replaced(arc, tmp_path):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "similar.json", tmp_path / "latest.json"
    target.write_text("old")
    link.symlink_to(target)
    run("tests.Shirt", output=link)
    assert link.is_symlink()
    assert len(json.loads(target.read_text())) == 30
    assert [entry.name for entry in target.parent.iterdir()] == ["similar.json"]


def test_quiet__says_nothing(arc, tmp_path):
    assert run("tests.Shirt", output=tmp_path / "similar.json", verbosity=0) == ""


COMMAND = (sys.executable, "-W", "error", "-m", "django", "export_similar", "tests.Shirt")


@pytest.mark.django_db(transaction=True)
def test_process__streams_and_ends_well_or_with_a_sentence():
    add_shirts(np.stack([at_angle(number / 100) for number in range(100)]))
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.child_settings",
        "TEST_DATABASE_NAME": connection.settings_dict["NAME"],
    }
    done = subprocess.run(COMMAND, capture_output=True, text=True, env=environment, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)) == 2_000
    reading, writing = os.pipe()
    os.close(reading)  # as head does when it has enough
    gone = subprocess.run(COMMAND, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment, timeout=120)
    os.close(writing)
    assert gone.returncode == 2
    assert gone.stderr == "CommandError: Standard output was closed before all was written.\n"
