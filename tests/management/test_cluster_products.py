"""The command as a user runs it, on groups that are there to be found."""

import csv
import io
import json

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db.models import QuerySet

from tests.catalogues import CATALOGUES, ENCODER, Item, Picture, at_angle
from tests.models import Rug, Shirt

pytest.importorskip("sklearn", reason="scikit-learn is not installed")


def run(*given: str, **options) -> str:
    out = io.StringIO()
    call_command("cluster_products", *given, stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def wardrobe(db) -> list[Shirt]:
    """Three shirts around 0.1 radians, and two around 1.5; the middle one and the first of the two stand for them."""
    return QuerySet(Shirt).bulk_create(
        Shirt(
            name=f"shirt {number}",
            image=f"{number}.png",
            price=number,
            embedding=at_angle(angle),
            embedding_source=f"{ENCODER}|{number}.png",
        )
        for number, angle in enumerate([1.5, 0.1, 0.0, 1.52, 0.25])
    )


def test_json__has_every_product_of_each_group(wardrobe):
    found = json.loads(run("tests.Shirt", groups=2, format="json"))
    keys = [shirt.pk for shirt in wardrobe]
    first, second = found["groups"]
    assert found["model"] == "tests.Shirt"
    assert (first["medoid"], first["name"], first["picture"]) == (keys[1], "shirt 1", "1.png")
    assert first["products"] == [
        {"product": keys[1], "similarity": 1.0},
        {"product": keys[2], "similarity": round(float(np.cos(0.1)), 4)},
        {"product": keys[4], "similarity": round(float(np.cos(0.15)), 4)},
    ]
    assert (second["medoid"], len(second["products"])) == (keys[0], 2)


def test_csv__has_a_line_for_each_product(wardrobe, tmp_path):
    path = tmp_path / "groups.csv"
    said = run("tests.Shirt", groups=2, format="csv", output=path)
    assert said == f"2 groups of 5 products are in {path}.\n"
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    keys = [str(shirt.pk) for shirt in wardrobe]
    assert [row["group"] for row in rows] == ["1", "1", "1", "2", "2"]
    assert [row["product"] for row in rows] == [keys[number] for number in (1, 2, 4, 0, 3)]
    assert [row["medoid"] for row in rows] == [keys[1]] * 3 + [keys[0]] * 2
    assert rows[1]["similarity"] == f"{np.cos(0.1):.4f}"
    assert run("tests.Shirt", groups=2, format="csv", output=path, verbosity=0) == ""


def test_table__reads_so(wardrobe):
    lines = run("tests.Shirt", groups=2).splitlines()
    assert lines[0] == (
        "tests.Shirt: 5 products in 2 groups. Similarity is the mean to the product that stands for the group."
    )
    mean = (1 + np.cos(0.1) + np.cos(0.15)) / 3
    assert lines[3].split() == ["1", "3", f"{mean:.3f}", str(wardrobe[1].pk), "1.png", "shirt", "1"]
    assert lines[4].split() == ["2", "2", "1.000", str(wardrobe[0].pk), "0.png", "shirt", "0"]


def test_where__narrows_the_products(wardrobe):
    found = json.loads(run("tests.Shirt", "--where", "price__gte=2", format="json"))
    named = {one["product"] for group in found["groups"] for one in group["products"]}
    assert named == {shirt.pk for shirt in wardrobe[2:]}
    assert len(found["groups"]) == 2  # the usual number


@pytest.mark.django_db
def test_hidden_products__take_no_part():
    items = [Item(str(number), [Picture(at_angle(number))]) for number in range(4)]
    CATALOGUES["companions of pictures"].fill(items)
    Rug.objects.filter(pk=items[0].row.pk).update(published=False)
    found = json.loads(run("tests.Rug", groups=3, format="json"))
    assert {group["medoid"] for group in found["groups"]} == {item.row.pk for item in items[1:]}
    assert {group["picture"] for group in found["groups"]} == {"1-0.png", "2-0.png", "3-0.png"}


def test_interrupted__is_exit_3_and_nothing_is_written(wardrobe, tmp_path, monkeypatch):
    from similar_products.management.commands import cluster_products

    def interrupt(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster_products, "cluster", interrupt)
    with pytest.raises(CommandError, match="Interrupted. Nothing was written.") as caught:
        run("tests.Shirt", output=tmp_path / "groups.csv")
    assert caught.value.returncode == 3
    assert list(tmp_path.iterdir()) == []
