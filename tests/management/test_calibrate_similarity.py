"""The bands measured on a small catalogue of drawn pictures, and what the command writes and says."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import QuerySet

from similar_products.catalogue.calibration import separate_bands
from similar_products.catalogue.copies import mild_copies
from similar_products.encoders import get_encoder
from similar_products.pictures.gate import load_pixels, load_stored_pixels
from similar_products.search.bands import Bands, get_bands
from tests.drawn_pictures import picture_file
from tests.models import Shirt

pytestmark = pytest.mark.django_db

ENCODER = "color-histogram-1280"
COLORS = ("tomato", "navy", "gold", "teal", "pink", "olive", "black", "white", "purple", "orange")


@pytest.fixture
def output(tmp_path) -> Path:
    return tmp_path / "bands.json"


def add_pictured(count: int) -> None:
    for number in range(count):
        stripes = [COLORS[number % 10], COLORS[(number // 10 + number) % 10], COLORS[(3 * number + 1) % 10]]
        image = default_storage.save("c.png", picture_file(*stripes))
        Shirt.objects.bulk_create([Shirt(name=str(number), image=image)])
    call_command("embed_products", "tests.Shirt", stdout=io.StringIO())


def run(*given: str, **options) -> str:
    out = io.StringIO()
    call_command("calibrate_similarity", "tests.Shirt", *given, stdout=out, **options)
    return out.getvalue()


def test_calibrate__is_what_numpy_finds(output):
    add_pictured(40)
    text = run(output=output)
    vectors = np.array(list(QuerySet(Shirt).order_by("pk").values_list("embedding", flat=True)), np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    encoder = get_encoder()
    copies = [
        float(encoder.encode(load_pixels(data, 32)[None])[0] @ vector)
        for name, vector in zip(Shirt.objects.order_by("pk").values_list("image", flat=True), vectors, strict=True)
        for data in mild_copies(load_stored_pixels(default_storage, name, 64)).values()
    ]
    near = np.percentile(copies, 5)
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, -1)
    others = np.where(similarities < near, similarities, -1).max(axis=1)
    pairs = similarities[np.triu_indices(40, 1)]
    expected, _ = separate_bands(near, float(np.median(others[others > -1])), float(np.percentile(pairs, 99)))
    entry = json.loads(output.read_text())[ENCODER]
    for name in ("near_duplicate", "very_similar", "similar"):
        assert entry[name] == pytest.approx(getattr(expected, name), abs=0.0011)
    assert entry["measured"] == "40 of 40 products of tests.Shirt"
    assert text.splitlines()[:4] == [
        f"Encoder {ENCODER}, 40 of 40 products of tests.Shirt",
        f"near-duplicate  from {entry['near_duplicate']:.3f}  95 % of 160 mild copies",
        f"very similar    from {entry['very_similar']:.3f}  the nearest of half of 40 products",
        f"similar         from {entry['similar']:.3f}  1 % of 780 random pairs",
    ]
    assert text.endswith(f"Written to {output}.\n")


def test_calibrate__writes_to_the_file_of_the_settings_which_need_not_exist(output, settings):
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "BANDS": output}
    add_pictured(30)
    run()
    entry = json.loads(output.read_text())[ENCODER]
    assert get_bands(ENCODER) == Bands(entry["near_duplicate"], entry["very_similar"], entry["similar"])


def test_calibrate__keeps_the_entries_of_other_encoders(output):
    other = {"near_duplicate": 0.9, "very_similar": 0.7, "similar": 0.5}
    output.write_text(json.dumps({"another": other}))
    add_pictured(30)
    run(output=output)
    written = json.loads(output.read_text())
    assert sorted(written) == ["another", ENCODER]
    assert written["another"] == other


def test_calibrate__sample_is_seeded(output):
    add_pictured(45)
    first, second = (run("--sample", "35", output=output) for _ in range(2))
    assert first == second
    assert f"Encoder {ENCODER}, 35 of 45 products of tests.Shirt\n" in first


def test_calibrate__quiet_writes_and_says_nothing(output):
    add_pictured(30)
    assert run(output=output, verbosity=0) == ""
    assert ENCODER in json.loads(output.read_text())


@pytest.mark.parametrize(("count", "sample"), [(29, "1000"), (31, "29")])
def test_calibrate__too_few_products_say_so(output, count, sample):
    add_pictured(count)
    with pytest.raises(CommandError) as caught:
        run("--sample", sample, output=output)
    assert str(caught.value) == (
        f"tests.Shirt has 29 products with a vector of the encoder {ENCODER}, and calibration needs at least 30; run "
        "embed_products, or raise --sample."
    )
    assert caught.value.returncode == 2
    assert not output.exists()


def test_calibrate__pictures_that_are_gone_say_so(output):
    add_pictured(30)
    for name in Shirt.objects.values_list("image", flat=True):
        default_storage.delete(name)
    with pytest.raises(CommandError, match="The pictures of the catalogue can no longer be read") as caught:
        run(output=output)
    assert caught.value.returncode == 2


def test_calibrate__catalogue_of_one_picture_is_moved_apart_and_said(output):
    image = default_storage.save("c.png", picture_file("tomato", "navy"))
    Shirt.objects.bulk_create(Shirt(name=str(number), image=image) for number in range(30))
    call_command("embed_products", "tests.Shirt", stdout=io.StringIO())
    text = run(output=output)
    entry = json.loads(output.read_text())[ENCODER]
    assert entry["near_duplicate"] > entry["very_similar"] > entry["similar"]
    assert "similar was measured as 1.000 and set to " in text
    assert (
        "All neighbours are near-duplicates; very similar was set halfway between near-duplicate and similar.\n" in text
    )


def test_output__none_named_says_how(settings):
    add_pictured(1)
    with pytest.raises(CommandError) as caught:
        run()
    assert str(caught.value) == (
        "There is no file to write: name one with --output FILE, or for good in SIMILAR_PRODUCTS['BANDS']."
    )
    assert caught.value.returncode == 2


def test_output__without_a_folder_is_named(tmp_path):
    path = tmp_path / "no" / "bands.json"
    with pytest.raises(CommandError) as caught:
        run(output=path)
    assert str(caught.value) == (f"{path} cannot be written: there is no folder {path.parent}; create it first.")


def test_output__with_something_else_in_it_is_left_alone(output):
    output.write_text("[1]")
    with pytest.raises(CommandError) as caught:
        run(output=output)
    assert str(caught.value) == (
        f"{output} has something else in it: It must be an object with an entry for each encoder's name. Name another "
        "file with --output."
    )
    assert output.read_text() == "[1]"


def test_output__that_is_a_folder_is_named(tmp_path):
    with pytest.raises(CommandError) as caught:
        run(output=tmp_path)
    assert str(caught.value) == f"{tmp_path} is a folder; name a file."


def test_output__that_cannot_be_written_is_named(output, monkeypatch):
    add_pictured(30)

    def refuse(self, target):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(CommandError) as caught:
        run(output=output)
    assert str(caught.value) == f"{output} cannot be written: Permission denied; name another file."
    assert list(output.parent.iterdir()) == []


def test_model__unknown_is_exit_2(output):
    with pytest.raises(CommandError, match="'tests.Order' is no model with vectors; valid are ") as caught:
        call_command("calibrate_similarity", "tests.Order", output=output)
    assert caught.value.returncode == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_process__is_quiet_in_a_pipe_but_for_the_figures(output):
    add_pictured(30)
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.child_settings",
        "TEST_DATABASE_NAME": connection.settings_dict["NAME"],
    }
    command = [sys.executable, "-W", "error", "-m", "django", "calibrate_similarity", "tests.Shirt"]

    def process(*given: str) -> subprocess.CompletedProcess:
        return subprocess.run([*command, *given], capture_output=True, text=True, env=environment, timeout=120)

    done = process("--output", str(output))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Encoder {ENCODER}, 30 of 30 products of tests.Shirt\nnear-duplicate  from 0.")
    assert done.stdout.endswith(f"\nWritten to {output}.\n")
    nowhere = process()
    assert (nowhere.returncode, nowhere.stdout) == (2, "")
    assert nowhere.stderr.startswith("CommandError: There is no file to write: ")
