"""The contact sheet: every pixel of it against one put together from what numpy finds, and its answers to bad input."""

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
from PIL import Image, ImageFont

from similar_products.catalogue.sheets import FRAME, GAP, MARGIN, QUERY_COLOR, TILE, Tile, draw_sheet, read_font
from similar_products.management.commands import contact_sheet
from similar_products.pictures.gate import load_stored_pixels
from tests.drawn_pictures import picture_file
from tests.models import Chair, ChairPhoto, Lamp, LimitedEditionScreenPrintedPosterOfMuseum, Shirt

pytestmark = pytest.mark.django_db

COLORS = ("tomato", "navy", "gold", "teal", "pink", "olive", "black", "purple")
ENCODER = "color-histogram-1280"
TITLE = "tests.Shirt: products and their nearest"


def add_shirts(count: int) -> list[Shirt]:
    random = np.random.default_rng(1)  # twelve stripes each: hardly two are as like a third one
    for number in range(count):
        image = default_storage.save("e.png", picture_file(*random.choice(COLORS, 12)))
        Shirt.objects.bulk_create([Shirt(name=f"Shirt {number}", image=image)])
    call_command("embed_products", "tests.Shirt", stdout=io.StringIO())
    return list(Shirt.objects.order_by("pk"))


def run(path, *given: str, **options) -> str:
    out = io.StringIO()
    call_command("contact_sheet", "tests.Shirt", "--output", str(path), *given, stdout=out, **options)
    return out.getvalue()


def picture_of(product) -> np.ndarray:
    return load_stored_pixels(default_storage, product.image.name, TILE)


def expected_groups(queries, *, k: int, word) -> list[list[Tile]]:
    """Return the tiles that brute force over the stored vectors gives."""
    shirts = list(QuerySet(Shirt).order_by("pk").defer(None))
    vectors = np.array([shirt.embedding for shirt in shirts], np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = []
    for query in queries:
        here = next(place for place, shirt in enumerate(shirts) if shirt.pk == query.pk)
        similarities = vectors @ vectors[here]
        order = [place for place in np.lexsort((np.arange(len(shirts)), -similarities.round(7))) if place != here][:k]
        groups.append(
            [
                Tile(picture_of(query), query.name, "the product", is_query=True),
                *(Tile(picture_of(shirts[place]), shirts[place].name, word(similarities[place])) for place in order),
            ]
        )
    return groups


def three_decimals(similarity: float) -> str:
    return f"{similarity:.3f}"


def test_sheet__is_what_brute_force_finds(tmp_path):
    shirts = add_shirts(20)
    path = tmp_path / "sheet.png"
    text = run(path, "--keys", str(shirts[7].pk), str(shirts[2].pk), str(shirts[7].pk), k=6)
    assert text == f"2 products with their nearest, 14 pictures, in {path}.\n"
    expected = expected_groups([shirts[7], shirts[2]], k=6, word=three_decimals)
    assert path.read_bytes() == draw_sheet(TITLE, expected)


def test_sheet__has_words_where_bands_are_known(tmp_path, settings):
    shirts = add_shirts(12)
    bands = tmp_path / "bands.json"
    bands.write_text(json.dumps({ENCODER: {"near_duplicate": 0.6, "very_similar": 0.3, "similar": 0.1}}))
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "BANDS": bands}

    def word(similarity: float) -> str:
        names = ((0.6, "near-duplicate"), (0.3, "very similar"), (0.1, "similar"), (-1, "weak"))
        return f"{similarity:.3f}, {next(name for least, name in names if similarity >= least)}"

    run(tmp_path / "sheet.png", "--keys", str(shirts[0].pk))
    expected = expected_groups([shirts[0]], k=9, word=word)
    assert len({tile.note.split(", ")[-1] for tile in expected[0][1:]}) > 1
    assert (tmp_path / "sheet.png").read_bytes() == draw_sheet(TITLE, expected)


def test_sheet__five_to_a_row_and_the_product_in_a_frame(tmp_path):
    shirts = add_shirts(12)
    run(tmp_path / "sheet.png", "--keys", *(str(shirt.pk) for shirt in shirts[:2]))
    image = Image.open(tmp_path / "sheet.png")
    assert image.width == 2 * MARGIN + 5 * TILE + 4 * GAP
    pixels = np.asarray(image)
    blue = tuple(int(QUERY_COLOR[place : place + 2], 16) for place in (1, 3, 5))
    rows, columns = np.nonzero((pixels == blue).all(axis=2))
    framed = pixels[:, MARGIN - 1]  # the edge of a frame; no tile of another column reaches it
    assert columns.max() < MARGIN + TILE + FRAME
    edges = np.flatnonzero(np.diff((framed == blue).all(axis=1).astype(int)))
    assert len(edges) == 4  # two frames begin and end
    assert rows.min() == edges[0] + 1
    inside = pixels[edges[0] + 1 + FRAME : edges[0] + 1 + FRAME + TILE, MARGIN : MARGIN + TILE]
    assert (inside[1:-1, 1:-1] == picture_of(shirts[0])[1:-1, 1:-1]).all()


def test_random__is_seeded(tmp_path):
    add_shirts(16)

    def sheet(*given: str) -> bytes:
        run(tmp_path / "sheet.png", *given)
        return (tmp_path / "sheet.png").read_bytes()

    first = sheet("--random", "3")
    assert sheet("--random", "3") == first
    assert sheet("--random", "3", "--seed", "5") != first
    assert sheet("--random", "2") != first


def test_random__takes_what_there_is_and_only_what_has_a_vector(tmp_path):
    add_shirts(3)
    Shirt.objects.bulk_create([Shirt(name="pending", image="p.png"), Shirt(name="without")])
    assert run(tmp_path / "sheet.png").startswith("3 products with their nearest, 9 pictures, ")


def test_sheet__hidden_products_are_nowhere(tmp_path):
    for code in "abcd":
        image = default_storage.save("l.png", picture_file("tomato", "navy"))
        Lamp.embeddings.bulk_create([Lamp(code=code, image=image, published=code != "b")])
    call_command("embed_products", "tests.Lamp", stdout=io.StringIO())
    out = io.StringIO()
    call_command("contact_sheet", "tests.Lamp", output=tmp_path / "s.png", stdout=out)
    assert out.getvalue().startswith("3 products with their nearest, 9 pictures, ")
    with pytest.raises(CommandError) as caught:
        call_command("contact_sheet", "tests.Lamp", output=tmp_path / "t.png", keys=["a", "b"])
    assert str(caught.value) == "tests.Lamp has no visible product with the key b; name others."


def test_sheet__shows_the_picture_that_matched(tmp_path):
    colors = (("tomato",) * 2, ("navy",) * 2), (("teal",) * 2, ("navy", "navy", "black"))
    for number, pictures in enumerate(colors):
        chair = Chair.objects.create(name=str(number))
        for stripes in pictures:
            image = default_storage.save("c.png", picture_file(*stripes))
            ChairPhoto.objects.bulk_create([ChairPhoto(chair=chair, image=image)])
    call_command("embed_products", "tests.ChairPhoto", stdout=io.StringIO())
    path = tmp_path / "s.png"
    first = Chair.objects.get(name="0")
    call_command("contact_sheet", "tests.Chair", output=path, keys=[str(first.pk)], stdout=io.StringIO())
    found = Chair.objects.similar_to(first, exact=True)[0]
    navy = ChairPhoto.objects.filter(chair__name="1").order_by("pk")[1]
    assert found.matched_image == navy.image.name  # the second of its pictures
    tiles = [
        Tile(picture_of(first.photos.order_by("pk")[0]), "0", "the product", is_query=True),
        Tile(picture_of(navy), "1", f"{found.similarity:.3f}"),
    ]
    assert path.read_bytes() == draw_sheet("tests.Chair: products and their nearest", [tiles])


def test_sheet__what_cannot_be_read_is_a_placeholder_with_the_reason(tmp_path):
    shirts = add_shirts(4)
    groups = expected_groups([shirts[0]], k=9, word=three_decimals)
    default_storage.delete(shirts[1].image.name)
    with default_storage.open(shirts[2].image.name, "wb") as file:
        file.write(b"no picture at all")
    run(tmp_path / "sheet.png", "--keys", str(shirts[0].pk))
    codes = {shirts[1].name: "missing_file", shirts[2].name: "unsupported_format"}
    tiles = [tile._replace(picture=codes.get(tile.name, tile.picture)) for tile in groups[0]]
    assert (tmp_path / "sheet.png").read_bytes() == draw_sheet(TITLE, [tiles])
    others = [tile._replace(picture="blank") if isinstance(tile.picture, str) else tile for tile in tiles]
    assert draw_sheet(TITLE, [tiles]) != draw_sheet(TITLE, [others])


def test_font__of_a_file_is_used(tmp_path):
    shirts = add_shirts(2)
    font = tmp_path / "font.ttf"
    font.write_bytes(ImageFont.load_default(10).font_bytes)
    key = str(shirts[0].pk)
    run(tmp_path / "a.png", "--keys", key)
    run(tmp_path / "b.png", "--keys", key, "--font", str(font))
    same = np.asarray(Image.open(tmp_path / "a.png")), np.asarray(Image.open(tmp_path / "b.png"))
    assert same[0].shape == same[1].shape  # the same font, laid out by another engine where there is one
    assert read_font(font, 16).getname() == ("Aileron", "Regular")


BAD = [
    (["--output", "{tmp}/sheet.jpg"], "'{tmp}/sheet.jpg' does not end in .png; name a file that does."),
    (
        ["--output", "{tmp}/no/sheet.png"],
        "{tmp}/no/sheet.png cannot be written: there is no folder {tmp}/no; create it first.",
    ),
    (["--output", "{tmp}/folder.png"], "{tmp}/folder.png is a folder; name a file."),
    (
        ["--output", "{tmp}/" + "x" * 300 + ".png"],
        "{tmp}/" + "x" * 300 + ".png cannot be written: File name too long; name another file.",
    ),
    (
        ["--output", "{tmp}/s.png", "--keys", "x"],
        "Not all of x are keys of tests.Shirt: “x” value must be an integer.",
    ),
    (
        ["--output", "{tmp}/s.png", "--keys", "0", "99999999999999999999"],
        "tests.Shirt has no visible product with the key 0, 99999999999999999999; name others.",
    ),
    (
        ["--output", "{tmp}/s.png", "--keys", "{pending}"],
        f"tests.Shirt {{pending}} has no vector of the encoder {ENCODER}; run embed_products first.",
    ),
    (
        ["--output", "{tmp}/s.png", "--random", "101"],
        (
            "101 products with 9 each are 202 rows of 5 pictures, and one sheet takes 200; take fewer products or a "
            "smaller -k."
        ),
    ),
    (
        ["--output", "{tmp}/s.png", "-k", "1000"],
        (
            "5 products with 1,000 each are 1,005 rows of 5 pictures, and one sheet takes 200; take fewer products or "
            "a smaller -k."
        ),
    ),
    (
        ["--output", "{tmp}/s.png", "--random", "201", "-k", "1"],
        (
            "201 products with 1 each are 201 rows of 5 pictures, and one sheet takes 200; take fewer products or a "
            "smaller -k."
        ),
    ),
    (
        ["--output", "{tmp}/s.png", "--font", "{tmp}/no.ttf"],
        "{tmp}/no.ttf is no font that can be read (cannot open resource); name a TrueType or OpenType file.",
    ),
]


@pytest.mark.parametrize(("given", "sentence"), BAD, ids=range(len(BAD)))
def test_bad_input__is_one_sentence_and_nothing_is_written(tmp_path, given, sentence):
    add_shirts(2)
    (tmp_path / "folder.png").mkdir()
    pending = Shirt.objects.create(name="pending", image="p.png")
    values = {"tmp": str(tmp_path), "pending": str(pending.pk)}
    with pytest.raises(CommandError) as caught:
        call_command("contact_sheet", "tests.Shirt", *(one.format(**values) for one in given))
    assert (str(caught.value), caught.value.returncode) == (sentence.format(**values), 2)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder.png"]


def test_bad_input__model_and_empty_catalogue(tmp_path):
    with pytest.raises(CommandError, match="'tests.Shelf' is no model with vectors; valid are ") as caught:
        call_command("contact_sheet", "tests.Shelf", output=tmp_path / "s.png")
    assert caught.value.returncode == 2
    with pytest.raises(CommandError) as caught:
        run(tmp_path / "s.png")
    assert (str(caught.value), caught.value.returncode) == (
        f"tests.Shirt has no visible product with a vector of the encoder {ENCODER}; run embed_products first.",
        2,
    )
    assert list(tmp_path.iterdir()) == []


def test_keys__of_another_kind(tmp_path):
    with pytest.raises(CommandError, match="is not a valid UUID") as caught:
        call_command(
            "contact_sheet",
            LimitedEditionScreenPrintedPosterOfMuseum._meta.label,
            output=tmp_path / "s.png",
            keys=["1"],
        )
    assert caught.value.returncode == 2


def test_interrupted__is_exit_3_and_leaves_the_old_file(tmp_path, monkeypatch):
    add_shirts(2)
    (tmp_path / "s.png").write_bytes(b"old")

    def interrupt(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(contact_sheet, "draw_sheet", interrupt)
    with pytest.raises(CommandError, match="Interrupted. Nothing was written.") as caught:
        run(tmp_path / "s.png")
    assert caught.value.returncode == 3
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("s.png", b"old")]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("command", ["contact_sheet", "map_catalogue", "plot_precision"])
def test_process__exit_code_2_with_one_sentence(command, tmp_path):
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.child_settings",
        "TEST_DATABASE_NAME": connection.settings_dict["NAME"],
    }
    file = {"contact_sheet": "--output=a.png", "map_catalogue": "--html=a.html", "plot_precision": "--output=a.svg"}
    given = [file[command], *(["--by", "color"] if command == "plot_precision" else [])]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "django", command, "tests.Shirt", *given],
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])},
        cwd=tmp_path,
        timeout=120,
    )
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert done.stderr.startswith("CommandError: ")
    assert list(tmp_path.iterdir()) == []
