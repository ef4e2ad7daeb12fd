"""The command as a user runs it; its figures against a catalogue that is worked out by hand."""

import contextlib
import io
import json
import os
import pty
import re
import subprocess
import sys
import termios

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from similar_products.encoders import ColorHistogramEncoder, Encoder
from similar_products.management import base
from tests.drawn_pictures import picture_file
from tests.models import (
    Chair,
    ChairPhoto,
    Lamp,
    PrintedShirt,
    Rug,
    RugPhoto,
    RugPhotoLook,
    Shelf,
    Shirt,
    Vase,
    VaseLook,
)

pytestmark = pytest.mark.django_db

ENCODER = "color-histogram-1280"
HISTOGRAM = "similar_products.encoders.ColorHistogramEncoder"


class UpsideDown(Encoder):
    """Sees in the mean colour of a picture an angle, and so finds other neighbours than the histogram."""

    name = "upside-down"
    dimensions = 2
    image_size = 8

    def features(self, pixels):
        angles = pixels.reshape(len(pixels), -1).mean(axis=1) / 100
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)


class NeedsOptions(UpsideDown):
    def __init__(self, folder):
        self.folder = folder


def add_shirt(name: str, *, angle: float, color: str = "", image: str = "", model: type = Shirt, **values):
    """Make a shirt whose vector points in the direction ``angle``, in degrees."""
    image = image or default_storage.save("e.png", picture_file("red"))
    shirt = model.objects.create(name=name, color=color, image=image, **values)
    vector = np.zeros(1280, np.float32)
    vector[:2] = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    QuerySet(Shirt).filter(pk=shirt.pk).update(embedding=vector, embedding_source=f"{ENCODER}|{image}")
    return shirt


def run(*given: str, command: str = "evaluate_similarity", **options) -> str:
    out = io.StringIO()
    call_command(command, *given, stdout=out, **options)
    return out.getvalue()


def measured(*given: str, **options) -> dict:
    return json.loads(run("tests.Shirt", "--json", *given, **options))


@pytest.fixture
def wardrobe() -> list[Shirt]:
    """Five labelled shirts on a quarter circle, and one without a label between them.

    Nearest first, by angle, the unlabelled "x" left out:
    a (0, red):   b red, c blue, d red, e blue      relevant at 1, 3
    b (10, red):  a red, c blue, d red, e blue      relevant at 1, 3
    c (21, blue): b red, a red, d red, e blue       relevant at 4
    d (45, red):  c blue, b red, e blue, a red      relevant at 2, 4
    e (80, blue): d red, c blue, b red, a red       relevant at 2
    """
    circle = [("a", 0, "red"), ("b", 10, "red"), ("c", 21, "blue"), ("d", 45, "red"), ("e", 80, "blue"), ("x", 1, "")]
    return [add_shirt(name, angle=angle, color=color) for name, angle, color in circle]


def test_by__is_what_the_hand_works_out(wardrobe):
    found = measured("--by", "color", k=2)
    assert found["model"] == "tests.Shirt"
    assert (found["k"], found["by"], found["products"], found["left_out"]) == (2, "color", 6, 0)
    assert found["coverage"] == {"pictures": 6, "ready": 6, "pending": 0, "failed": 0}
    (column,) = found["encoders"]
    assert column["encoder"] == ENCODER
    labels = column["labels"]
    assert (labels["queries"], labels["without_label"], labels["alone"]) == (5, 1, 0)
    assert labels["precision"] == pytest.approx((1 + 1 + 0 + 1 + 1) / 2 / 5)
    assert labels["best_possible_precision"] == pytest.approx((1 + 1 + 0.5 + 1 + 0.5) / 5)
    assert labels["recall_at_1"] == pytest.approx(2 / 5)
    average_precisions = [(1 + 2 / 3) / 2, (1 + 2 / 3) / 2, 1 / 4, (1 / 2 + 2 / 4) / 2, 1 / 2]
    assert labels["mean_average_precision"] == pytest.approx(np.mean(average_precisions))
    assert column["itself"] is None
    assert column["near_duplicates"] is None
    assert found["index"] == {"k": 12, "queries": 6, "recall": 1.0}
    assert found["change"] is None


def test_by__k_beyond_the_catalogue_counts_what_there_is(wardrobe):
    labels = measured("--by", "color", k=50)["encoders"][0]["labels"]
    assert labels["precision"] == labels["best_possible_precision"] == pytest.approx((2 + 2 + 1 + 2 + 1) / 4 / 5)


def test_by__products_alone_with_their_label_do_not_ask(wardrobe):
    add_shirt("green", angle=50, color="green")
    labels = measured("--by", "color", k=2)["encoders"][0]["labels"]
    assert (labels["queries"], labels["without_label"], labels["alone"]) == (5, 1, 1)


def test_by__many_labels_count_when_one_is_shared():
    vases = [Vase.objects.create(name=str(number), image="v.png") for number in range(4)]
    for vase, angle in zip(vases, (0, 10, 25, 60), strict=True):
        look = VaseLook.embeddings.create(vase=vase)
        vector = np.zeros(1280, np.float32)
        vector[:2] = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        QuerySet(VaseLook).filter(pk=look.pk).update(embedding=vector, embedding_source=f"{ENCODER}|v.png")
    hall, kitchen, cellar = (Shelf.objects.create() for _ in range(3))
    vases[0].shelves.set([hall, kitchen])
    vases[1].shelves.set([kitchen, cellar])
    vases[2].shelves.set([hall, cellar])
    for label in ("tests.Vase", "tests.VaseLook"):
        found = json.loads(run(label, "--json", by="shelves", k=1))
        assert found["model"] == "tests.Vase"
        labels = found["encoders"][0]["labels"]
        assert (labels["queries"], labels["without_label"], labels["precision"]) == (3, 1, 1.0)
    Vase.objects.update(shelf=hall)
    assert json.loads(run("tests.Vase", "--json", by="shelf__pk", k=1))["encoders"][0]["labels"]["queries"] == 4


def test_by__entries_of_an_array_are_labels():
    for code, tags in (("a", ["x", "y"]), ("b", ["y"]), ("c", []), ("d", ["z"])):
        Lamp.objects.create(code=code, tags=tags, image="l.png")
        vector = np.eye(1280, dtype=np.float32)[ord(code)]
        QuerySet(Lamp).filter(pk=code).update(embedding=vector, embedding_source=f"{ENCODER}|l.png")
    labels = json.loads(run("tests.Lamp", "--json", by="tags"))["encoders"][0]["labels"]
    assert (labels["queries"], labels["without_label"], labels["alone"]) == (2, 1, 1)


def test_by__hidden_products_take_no_part():
    for code in "abc":
        Lamp.embeddings.create(code=code, image="l.png", published=code != "c")
        vector = np.eye(1280, dtype=np.float32)[ord(code)]
        QuerySet(Lamp).filter(pk=code).update(embedding=vector, embedding_source=f"{ENCODER}|l.png")
    found = json.loads(run("tests.Lamp", "--json"))
    assert found["products"] == found["coverage"]["pictures"] == found["index"]["queries"] == 2


def test_by__child_model_has_its_own_products_and_fields():
    add_shirt("plain", angle=0)
    for number in range(3):
        add_shirt(f"printed {number}", angle=number, model=PrintedShirt, motif="dots" if number else "stripes")
    found = json.loads(run("tests.PrintedShirt", "--json", by="motif"))
    assert found["products"] == 3
    assert found["encoders"][0]["labels"]["alone"] == 1


def test_by__reads_all_labels_in_one_query(wardrobe):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            measured("--by", "color", sample=2)
        return len(captured)

    counts = []
    for more in ("some", "many"):
        for number in range(20):
            add_shirt(f"{more} {number}", angle=number, color="red")
        counts.append(queries())
    assert counts[0] == counts[1]


def test_coverage__counts_every_state_and_missing_companions(wardrobe):
    Shirt.objects.create(name="pending", image="p.png")
    QuerySet(Shirt).filter(pk=wardrobe[0].pk).update(embedding=None, embedding_error="corrupt")
    assert measured()["coverage"] == {"pictures": 7, "ready": 5, "pending": 1, "failed": 1}
    assert "Pictures: 5 of 7 ready, 1 pending, 1 failed.\n" in run("tests.Shirt")


def test_near_duplicates__are_counted_where_bands_are_known(wardrobe, settings, tmp_path):
    path = tmp_path / "bands.json"
    threshold = float(np.cos(np.radians(10)))
    entry = {"near_duplicate": threshold, "very_similar": 0.5, "similar": 0.2}
    path.write_text(json.dumps({ENCODER: entry}))
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "BANDS": path}
    for given in ([], ["--by", "color"]):
        near = measured(*given)["encoders"][0]["near_duplicates"]
        assert near == {"similarity": threshold, "products": 3, "share": 0.5}  # a, b and x
    assert "products with a near-duplicate" in run("tests.Shirt")


def test_index__recall_is_that_of_similar_to(wardrobe, monkeypatch):
    from similar_products.catalogue import evaluation

    monkeypatch.setattr(evaluation, "similar_to", lambda products, target: similar_to(products, target)[2:])
    from similar_products.query import similar_to

    found = measured(sample=3)["index"]
    assert (found["k"], found["queries"]) == (12, 3)
    assert found["recall"] == pytest.approx(3 / 5)


def test_index__either_of_two_equal_products_is_found():
    for number in range(15):
        add_shirt(str(number), angle=30)
    assert measured()["index"]["recall"] == 1.0


def embed(*names: str) -> None:
    call_command("embed_products", *names, stdout=io.StringIO())


def add_pictured(count: int) -> None:
    colors = ["tomato", "navy", "gold", "teal", "pink", "olive", "black", "white"]
    for number in range(count):
        stripes = [colors[number % 8], colors[(number * 3 + 1) % 8], colors[(number // 8 + 5) % 8]]
        image = default_storage.save("e.png", picture_file(*stripes))
        Shirt.objects.bulk_create([Shirt(name=str(number), image=image, color=stripes[0])])
    embed("tests.Shirt")


def test_self__crop_finds_its_product():
    add_pictured(12)
    found = measured("--self", k=3)["encoders"][0]["itself"]
    assert (found["queries_are"], found["queries"]) == ("crops", 12)
    assert 0.5 < found["found_first"] <= found["found"] <= 1
    assert measured("--self", k=3)["encoders"][0]["itself"] == found  # seeded
    assert measured("--self", sample=5)["encoders"][0]["itself"]["queries"] == 5
    text = run("tests.Shirt", "--self", k=3)
    assert re.search(rf"^a crop finds its product first +{found['found_first']:.4f}$", text, re.MULTILINE)


@pytest.mark.parametrize("companions", [False, True])
def test_self__another_picture_of_the_product_must_be_found(companions):
    """Photos by angle: a 0 and 10; b 12 and 80; c 50 only. The first of a finds a, the second b, as 12 is nearer."""
    image = default_storage.save("p.png", picture_file("red"))
    for name, angles in (("a", (0, 10)), ("b", (12, 80)), ("c", (50,))):
        product = (Rug if companions else Chair).objects.create(name=name)
        for angle in angles:
            if companions:
                photo = RugPhoto.objects.create(rug=product, image=image)
                holder = RugPhotoLook.embeddings.get_or_create(photo=photo)[0]
            else:
                holder = ChairPhoto.objects.create(chair=product, image=image)
            vector = np.zeros(1280, np.float32)
            vector[:2] = np.cos(np.radians(angle)), np.sin(np.radians(angle))
            QuerySet(type(holder)).filter(pk=holder.pk).update(embedding=vector, embedding_source=f"{ENCODER}|{image}")
    for label in ("tests.Rug", "tests.RugPhotoLook") if companions else ("tests.Chair", "tests.ChairPhoto"):
        found = json.loads(run(label, "--json", "--self", k=1))
        assert found["model"] == ("tests.Rug" if companions else "tests.Chair")
        assert found["products"] == 3
        assert found["coverage"] == {"pictures": 5, "ready": 5, "pending": 0, "failed": 0}
        # Asked: a's 0 (a's 10), a's 10 (b's 12), b's 12 (a's 10), b's 80 (c's 50).
        assert found["encoders"][0]["itself"] == {
            "queries_are": "pictures",
            "queries": 4,
            "found_first": 0.25,
            "found": 0.25,
        }
        # Among two: a's 0 and 10 do, b's 12 does not (a, and c at 38 before b at 68), b's 80 does (c, then b at 68).
        assert json.loads(run(label, "--json", "--self", k=2))["encoders"][0]["itself"]["found"] == 0.75
    assert "a picture finds its product first" in run(label, "--self", k=1)


def test_compare__through_pictures_has_the_same_products():
    colors = ("tomato", "navy", "gold", "teal", "pink", "olive")
    for number in range(4):
        chair = Chair.objects.create(name=str(number))
        for shift in (0, 1):
            image = default_storage.save("p.png", picture_file(colors[number], colors[(number + 1 + shift) % 6]))
            ChairPhoto.objects.bulk_create([ChairPhoto(chair=chair, image=image)])
    embed("tests.ChairPhoto")
    default_storage.delete(ChairPhoto.objects.order_by("pk")[1].image.name)
    found = json.loads(run("tests.Chair", "--json", "--self", "--compare", HISTOGRAM, k=2))
    assert (found["products"], found["left_out"]) == (4, 0)
    assert found["encoders"][0] == found["encoders"][1]
    assert found["encoders"][0]["itself"]["queries"] == 6  # the first chair has one picture left
    assert found["change"] == {"neighbours": 0.0, "lists": 0.0}


def test_self__pictures_that_cannot_be_read_do_not_count():
    add_pictured(3)
    default_storage.delete(Shirt.objects.first().image.name)
    assert measured("--self")["encoders"][0]["itself"]["queries"] == 2


def test_self__without_any_readable_picture_says_so(wardrobe):
    for shirt in wardrobe:
        default_storage.delete(shirt.image.name)
    with pytest.raises(CommandError, match="No crop of a picture could be encoded") as caught:
        run("tests.Shirt", "--self")
    assert caught.value.returncode == 2


def stored() -> list:
    return list(QuerySet(Shirt).order_by("pk").values_list("embedding", "embedding_source", "embedding_error"))


def test_compare__shows_both_and_leaves_stored_vectors_untouched():
    add_pictured(10)
    before = stored()
    found = measured("--by", "color", "--self", "--compare", f"{__name__}.UpsideDown", k=3)
    assert [column["encoder"] for column in found["encoders"]] == [ENCODER, "upside-down"]
    assert all(column["labels"] and column["itself"] for column in found["encoders"])
    assert 0 < found["change"]["neighbours"] < 1
    assert found["change"]["neighbours"] <= found["change"]["lists"] <= 1
    assert [str(row) for row in stored()] == [str(row) for row in before]
    text = run("tests.Shirt", "--compare", "tests.management.test_evaluate_similarity.UpsideDown", k=3)
    assert f"{ENCODER}  upside-down\n" in text
    share = found["change"]["neighbours"]
    assert f"{share:.1%} of the 3 nearest are others under the second encoder;" in text


def test_compare__same_encoder_changes_nothing():
    add_pictured(12)
    found = measured("--by", "color", "--compare", HISTOGRAM, k=2)
    assert found["change"] == {"neighbours": 0.0, "lists": 0.0}
    assert found["encoders"][0] == found["encoders"][1]


def test_compare__counts_the_lists_that_change():
    """Both see the greys on an arc, in the same order; then one product is moved beside another in the first alone."""
    for level, angle in ((0, 0), (40, 10), (90, 21), (150, 80)):
        image = default_storage.save("g.png", picture_file(f"rgb({level}, {level}, {level})"))
        add_shirt(str(level), angle=angle, image=image)
    found = measured("--compare", "tests.management.test_evaluate_similarity.UpsideDown", k=1)
    assert found["change"] == {"neighbours": 0.0, "lists": 0.0}
    vector = np.zeros(1280, np.float32)
    vector[:2] = np.cos(np.radians(60)), np.sin(np.radians(60))
    QuerySet(Shirt).filter(name="90").update(embedding=vector)  # nearest is now 150, at 20 degrees
    found = measured("--compare", "tests.management.test_evaluate_similarity.UpsideDown", k=1)
    assert found["change"] == {"neighbours": 0.25, "lists": 0.25}


def test_compare__leaves_out_what_the_second_encoder_cannot_read():
    add_pictured(5)
    default_storage.delete(Shirt.objects.order_by("pk")[2].image.name)
    found = measured("--compare", HISTOGRAM)
    assert (found["products"], found["left_out"]) == (4, 1)
    text = run("tests.Shirt", "--compare", HISTOGRAM)
    assert "Left out, because the second encoder could not use their pictures: 1.\n" in text


def test_compare__with_nothing_left_says_so(wardrobe):
    for shirt in wardrobe[1:]:
        default_storage.delete(shirt.image.name)
    with pytest.raises(CommandError) as caught:
        run("tests.Shirt", "--compare", HISTOGRAM)
    assert str(caught.value) == f"The encoder {ENCODER} could use the pictures of 1 products; two are needed."
    assert caught.value.returncode == 2


@pytest.mark.slow
def test_compare__takes_a_saved_model_folder(tmp_path):
    pytest.importorskip("tensorflow")
    from tests.saved_models import save_feature_model

    add_pictured(4)
    folder = save_feature_model(tmp_path / "model", dimensions=16, size=32)
    found = measured("--compare", str(folder))
    assert found["encoders"][1]["encoder"].startswith("savedmodel-")


VALID_ENCODERS = (
    "which names no encoder; valid are a TF-Hub URL, the folder of a SavedModel, a .tflite file and the dotted path of "
    "an Encoder class, as in similar_products.encoders.ColorHistogramEncoder."
)


@pytest.mark.parametrize(
    ("handle", "sentence"),
    [
        ("nowhere", f"--compare is 'nowhere', {VALID_ENCODERS}"),
        ("os.path", f"--compare is 'os.path', {VALID_ENCODERS}"),
        ("/no/such/folder", f"--compare is '/no/such/folder', {VALID_ENCODERS}"),
        (
            "tests.management.test_evaluate_similarity.NeedsOptions",
            (
                "--compare is 'tests.management.test_evaluate_similarity.NeedsOptions', which cannot be made without "
                "options: "
                "NeedsOptions.__init__() missing 1 required positional argument: 'folder'."
            ),
        ),
    ],
)
def test_compare__what_is_no_encoder_is_named(wardrobe, handle, sentence):
    with pytest.raises(CommandError) as caught:
        run("tests.Shirt", "--compare", handle)
    assert (str(caught.value), caught.value.returncode) == (sentence, 2)


def test_compare__folder_that_is_no_saved_model_is_named(wardrobe, tmp_path):
    with pytest.raises(CommandError, match="has no file saved_model.pb") as caught:
        run("tests.Shirt", "--compare", str(tmp_path))
    assert caught.value.returncode == 2


def test_fail_under__below_is_exit_1_with_the_figure(wardrobe):
    out = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("evaluate_similarity", "tests.Shirt", by="color", k=2, fail_under=0.41, stdout=out)
    assert (str(caught.value), caught.value.returncode) == ("precision@2 by color is 0.4000, below 0.41.", 1)
    assert "precision@2" in out.getvalue()
    assert "precision@2" in run("tests.Shirt", by="color", k=2, fail_under=0.4)


def test_fail_under__of_self_is_the_share_found_first():
    add_pictured(4)
    Shirt.objects.filter(name="0").update(embedding=np.eye(1280, dtype=np.float32)[5])
    with pytest.raises(CommandError, match=r"The share found first is 0\.\d{4}, below 1\.0\.") as caught:
        run("tests.Shirt", "--self", "--fail-under", "1")
    assert caught.value.returncode == 1


def test_fail_under__alone_says_what_is_missing(wardrobe):
    with pytest.raises(CommandError) as caught:
        run("tests.Shirt", "--fail-under", "0.5")
    assert str(caught.value) == "--fail-under needs a figure to look at: add --by FIELD or --self."
    assert caught.value.returncode == 2


@pytest.mark.parametrize("value", ["-0.1", "1.5", "half", "nan"])
def test_fail_under__is_a_share(value):
    with pytest.raises(CommandError, match=f"'{value}' is not a number from 0 to 1"):
        run("tests.Shirt", "--by", "color", f"--fail-under={value}")


@pytest.mark.parametrize("option", ["-k", "--sample"])
@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_numbers__must_be_positive(option, value):
    with pytest.raises(CommandError, match="is not a positive whole number"):
        run(f"{option}={value}" if option.startswith("--") else f"{option}{value}")


def test_model__none_named_lists_them():
    with pytest.raises(CommandError) as caught:
        run()
    assert str(caught.value).startswith("There are several models with vectors; name one of ")
    assert "tests.Vase" in str(caught.value)
    assert "tests.VaseLook" not in str(caught.value)
    assert caught.value.returncode == 2


@pytest.mark.parametrize("label", ["tests.Order", "tests.Nothing", "nothing", "no.such.thing"])
def test_model__unknown_is_named_with_the_valid_ones(label):
    with pytest.raises(CommandError, match=f"'{label}' is no model with vectors; valid are .*tests.Shirt") as caught:
        run(label)
    assert caught.value.returncode == 2


@pytest.mark.parametrize(
    ("through", "sentence"),
    [
        ("name", "tests.Rug: through='name' passes tests.Rug.name, which is no relation"),
        ("photos", "tests.Rug: through='photos' leads to tests.RugPhoto, which is not derived from"),
        ("nowhere", "nowhere"),
    ],
)
def test_model__path_to_the_vectors_that_leads_nowhere_is_named(wardrobe, settings, through, sentence):
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "PRODUCTS": {"tests.Rug": {"THROUGH": through}}}
    with pytest.raises(CommandError, match=sentence) as caught:
        run("tests.Shirt")
    assert caught.value.returncode == 2


def test_model__only_one_needs_no_name(wardrobe, monkeypatch):
    monkeypatch.setattr(base, "_product_models", lambda: [Shirt])
    assert run().startswith("tests.Shirt: 6 products compared.\n")


def test_model__none_installed_says_so(monkeypatch):
    monkeypatch.setattr(base, "_product_models", list)
    with pytest.raises(CommandError, match="No installed model is derived from VisuallySimilarModel"):
        run()


@pytest.mark.parametrize("count", [0, 1])
def test_catalogue__too_small_says_so(count):
    for number in range(count):
        add_shirt(str(number), angle=number)
    with pytest.raises(CommandError) as caught:
        run("tests.Shirt")
    assert str(caught.value) == (
        f"tests.Shirt has {count} visible products with a vector of the encoder {ENCODER}, and two are needed; run "
        "embed_products first."
    )
    assert caught.value.returncode == 2


def test_by__path_that_leads_nowhere_is_named(wardrobe):
    with pytest.raises(CommandError) as caught:
        run("tests.Shirt", "--by", "colour")
    sentence = str(caught.value)
    assert sentence.startswith(
        "'colour' is not a field of tests.Shirt: Cannot resolve keyword 'colour' into field. Choices are: "
        "baskets, color, "
    )
    assert caught.value.returncode == 2


def test_by__nobody_with_a_label_says_so(wardrobe):
    Shirt.objects.update(color="")
    with pytest.raises(CommandError) as caught:
        run("tests.Shirt", "--by", "color")
    assert str(caught.value) == (
        "No product of tests.Shirt with a vector has a value in 'color'; name a field that they have."
    )
    assert caught.value.returncode == 2


def test_by__labels_that_nobody_shares_say_so(wardrobe):
    with pytest.raises(CommandError) as caught:
        run("tests.Shirt", "--by", "name")
    assert str(caught.value) == "No two products of tests.Shirt share a value in 'name'; name a field that they share."
    assert caught.value.returncode == 2


def test_bands__broken_file_is_one_sentence_and_exit_2(wardrobe, settings, tmp_path):
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "BANDS": tmp_path / "gone.json"}
    with pytest.raises(CommandError, match="gone.json', which does not exist; run calibrate_similarity") as caught:
        run("tests.Shirt")
    assert caught.value.returncode == 2


def test_interrupted__is_exit_3(wardrobe, monkeypatch):
    from similar_products.management.commands import evaluate_similarity

    def interrupt(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate_similarity, "measure_index", interrupt)
    with pytest.raises(CommandError, match="Interrupted. Nothing was written.") as caught:
        run("tests.Shirt")
    assert caught.value.returncode == 3


def test_table__of_one_encoder_reads_so(wardrobe):
    assert run("tests.Shirt", by="color", k=2) == (
        "tests.Shirt: 6 products compared.\n"
        "Pictures: 6 of 6 ready, 0 pending, 0 failed.\n"
        "By color: 5 products as queries; 1 without a label left out, 0 alone with their label not queried.\n"
        "\n"
        "                                color-histogram-1280\n"
        "precision@2                                   0.4000\n"
        "  best possible                               0.8000\n"
        "R@1                                           0.4000\n"
        "mAP                                           0.5833\n"
        "products with a near-duplicate                     -\n"
        "  from this similarity                             -\n"
        "\n"
        "The index finds 100.0% of the truly nearest 12, over 6 products.\n"
    )


@pytest.fixture
def environment():
    """Lets a process of its own see the test database."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.child_settings",
        "TEST_DATABASE_NAME": connection.settings_dict["NAME"],
    }


COMMAND = (sys.executable, "-W", "error", "-m", "django", "evaluate_similarity", "tests.Shirt")


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_process__exit_codes_and_streams(environment):
    for number in range(4):
        add_shirt(str(number), angle=10 * number, color="red" if number % 2 else "blue")

    def process(*given: str) -> subprocess.CompletedProcess:
        return subprocess.run([*COMMAND, *given], capture_output=True, text=True, env=environment, timeout=120)

    done = process("--by", "color", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["products"] == 4
    below = process("--by", "color", "--json", "--fail-under", "0.9")
    assert below.returncode == 1
    assert json.loads(below.stdout)["products"] == 4
    assert below.stderr.startswith("CommandError: precision@10 by color is 0.")
    wrong = process("--by", "nothing")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("CommandError: 'nothing' is not a field of tests.Shirt: ")
    assert process("--sample", "none").returncode == 2


@pytest.mark.django_db(transaction=True)
def test_process__shows_progress_on_a_terminal(environment):
    for number in range(4):
        add_shirt(str(number), angle=10 * number)
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 100))
    process = subprocess.Popen(COMMAND, stdout=subprocess.DEVNULL, stderr=slave, env=environment)
    os.close(slave)
    shown = ""
    with contextlib.suppress(OSError), os.fdopen(master, "rb", buffering=0) as terminal:  # EIO: all is read
        while part := terminal.read(4096):
            shown += part.decode()
    assert process.wait(120) == 0
    assert "neighbours: 100%" in shown
    assert "4/4" in shown


def test_histogram__is_what_the_tests_take_it_for():
    assert ColorHistogramEncoder().name == ENCODER
