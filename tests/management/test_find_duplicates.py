"""The command as a user runs it, on drawn pictures: what it joins, what it keeps apart, and which it keeps."""

import io
import json

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import models
from django.db.models import QuerySet

from similar_products.management.commands.find_duplicates import default_criteria
from tests.catalogues import ENCODER, along, at_angle
from tests.copied_pictures import COPIES, add_shirt, drawn, file_of, store
from tests.models import Chair, ChairPhoto, Lamp, Rug, Shirt, Vase, VaseLook

pytestmark = pytest.mark.django_db


def run(*given: str, code: int, **options) -> str:
    out = io.StringIO()
    if code == 0:
        call_command("find_duplicates", *given, stdout=out, **options)
    else:
        with pytest.raises(CommandError) as caught:
            call_command("find_duplicates", *given, stdout=out, **options)
        assert caught.value.returncode == code
    return out.getvalue()


def report(*given: str, code: int = 1, similarity: float = 0.999, **options) -> dict:
    return json.loads(run(*given, "--json", code=code, similarity=similarity, **options))


def groups(found: dict) -> dict:
    return {group["keep"]: {one["product"]: one["kind"] for one in group["duplicates"]} for group in found["groups"]}


def test_command__finds_each_kind():
    image = drawn(1)
    first = add_shirt("first", file_of(image), at_angle(0))
    same = add_shirt("same", file_of(image), at_angle(0))
    copy = add_shirt("copy", COPIES["black border"](image), at_angle(0.6))
    mirrored = add_shirt("mirrored", COPIES["mirrored"](image), at_angle(0.5))
    near = add_shirt("near", file_of(drawn(2)), at_angle(0.03))
    add_shirt("other", file_of(drawn(3)), at_angle(0.3))
    found = report("tests.Shirt")
    assert groups(found) == {
        first.pk: {same.pk: "same file", copy.pk: "same picture", mirrored.pk: "mirrored", near.pk: "near-duplicate"}
    }
    (group,) = found["groups"]
    assert list(groups(found)[first.pk]) == [same.pk, copy.pk, mirrored.pk, near.pk]
    assert group["name"] == "first"
    assert group["duplicates"][1] == {
        "product": copy.pk,
        "name": "copy",
        "kind": "same picture",
        "similarity": round(float(np.cos(0.6)), 4),
        "picture": copy.image.name,
        "picture_kept": first.image.name,
    }
    assert (found["model"], found["encoder"], found["near_duplicate"]) == ("tests.Shirt", ENCODER, 0.999)
    assert (found["products"], found["without_vector"], found["duplicates"]) == (6, 0, 4)


def test_command__none_is_exit_0():
    for number in range(3):
        add_shirt(str(number), file_of(drawn(number)), at_angle(number))
    QuerySet(Shirt).bulk_create([Shirt(name="pending", image="p.png")])
    assert run("tests.Shirt", code=0, similarity=0.99) == (
        "tests.Shirt: 3 products compared, 1 have no vector.\nNear-duplicate from a similarity of 0.990.\n"
    )
    assert report("tests.Shirt", code=0)["groups"] == []


def test_command__table_reads_so():
    image = drawn(1)
    first, second = (add_shirt(name, file_of(image), at_angle(0)) for name in ("a shirt", "its twin"))
    out = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("find_duplicates", "tests.Shirt", similarity=0.9, stdout=out)
    assert str(caught.value) == "1 products show the picture of another one; 1 to keep."
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert lines[3:] == [
        ["product", "similarity", "kind", "picture", "name"],
        [str(first.pk), "keep", first.image.name, "a", "shirt"],
        [str(second.pk), "1.0000", "same", "file", second.image.name, "its", "twin"],
    ]


def test_similarity__of_1_leaves_the_pixels_alone_to_say_it():
    add_shirt("one", file_of(drawn(1)), at_angle(0))
    add_shirt("two", file_of(drawn(2)), at_angle(0.01))
    assert groups(report("tests.Shirt", similarity=0.9999)) != {}
    assert groups(report("tests.Shirt", similarity=1, code=0)) == {}


def test_similarity__is_the_band_of_the_encoder_unless_said(settings, tmp_path):
    add_shirt("one", file_of(drawn(1)), at_angle(0))
    add_shirt("two", file_of(drawn(2)), at_angle(0.1))
    for near, code in ((0.99, 1), (0.998, 0)):
        path = tmp_path / f"{near}.json"
        path.write_text(json.dumps({ENCODER: {"near_duplicate": near, "very_similar": 0.5, "similar": 0.4}}))
        settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "BANDS": path}
        assert json.loads(run("tests.Shirt", "--json", code=code))["near_duplicate"] == near


def test_chains__join_nobody():
    """Each is near the next alone. Kept are the first, the third and the fifth; a chain would leave one."""
    shirts = [add_shirt(str(number), file_of(drawn(number)), at_angle(number / 10)) for number in range(6)]
    keys = [shirt.pk for shirt in shirts]
    found = groups(report("tests.Shirt", similarity=float(np.cos(0.11))))
    assert {keeper: list(members) for keeper, members in found.items()} == {
        keys[0]: [keys[1]],
        keys[2]: [keys[3]],
        keys[4]: [keys[5]],
    }


def test_many_copies__are_one_group():
    """More near ones than candidates, and more products with one file than that."""
    shirts = [add_shirt(str(number), file_of(drawn(number)), at_angle(number / 1e4)) for number in range(30)]
    image = file_of(drawn(99))
    placeholders = [add_shirt("p", image, along(5)) for _ in range(25)]
    found = groups(report("tests.Shirt"))
    assert {key: len(members) for key, members in found.items()} == {shirts[0].pk: 29, placeholders[0].pk: 24}


def test_pictures_that_cannot_be_read__are_compared_by_their_vectors():
    first = add_shirt("first", file_of(drawn(1)), at_angle(0))
    second = add_shirt("second", file_of(drawn(1)), at_angle(0.5))
    third = add_shirt("third", b"this is no picture", at_angle(0.01))
    default_storage.delete(first.image.name)
    found = groups(report("tests.Shirt"))
    assert found == {first.pk: {third.pk: "near-duplicate"}}
    assert second.pk not in found


def test_where__narrows_the_products():
    image = file_of(drawn(1))
    keys = [add_shirt(str(price), image, at_angle(0), price=price).pk for price in (1, 2, 3)]
    assert groups(report("tests.Shirt", "--where", "price__gt=1")) == {keys[1]: {keys[2]: "same file"}}


def test_keep__orders_by_conditions_and_fields():
    image = file_of(drawn(1))
    made = [
        add_shirt("a", image, at_angle(0), price=30, color="red"),
        add_shirt("b", image, at_angle(0), price=10, color="red"),
        add_shirt("c", image, at_angle(0), price=20, color="blue"),
    ]
    a, b, c = (shirt.pk for shirt in made)
    for keep, keeper in (("price", b), ("-price", a), ("color=blue,price", c), ("color=red,-price", a), ("color", c)):
        assert list(groups(report("tests.Shirt", f"--keep={keep}"))) == [keeper]
    assert list(groups(report("tests.Shirt"))) == [a]


def test_default_criteria__take_what_the_model_has():
    class Timed(models.Model):
        in_stock = models.BooleanField(default=True)
        created_at = models.DateTimeField()

        class Meta:
            app_label = "not_installed"

    class Odd(models.Model):
        stock = models.CharField(max_length=5)
        created = models.CharField(max_length=5)

        class Meta:
            app_label = "not_installed"

    assert default_criteria(Vase) == [("stock__gt", 0), "pictures"]
    assert default_criteria(Timed) == [("in_stock", True), "created_at", "pictures"]
    assert default_criteria(Odd) == default_criteria(Lamp) == ["pictures"]


def add_chair(name: str, *pictures: tuple[bytes, np.ndarray], **values) -> Chair:
    chair = Chair.objects.create(name=name, **values)
    for data, vector in pictures:
        image = store(data)
        ChairPhoto.objects.bulk_create(
            [ChairPhoto(chair=chair, image=image, embedding=vector, embedding_source=f"{ENCODER}|{image}")]
        )
    return chair


def test_pictures__of_one_product_are_no_duplicates_and_more_of_them_are_kept():
    image, other = drawn(1), drawn(2)
    one = add_chair("one", (file_of(image), at_angle(0)))
    two = add_chair("two", (file_of(other), along(3)), (COPIES["mirrored"](image), at_angle(0.4)))
    add_chair("own", (file_of(drawn(3)), along(4)), (file_of(drawn(3)), along(4)))
    found = report("tests.Chair")
    assert groups(found) == {two.pk: {one.pk: "mirrored"}}
    (duplicate,) = found["groups"][0]["duplicates"]
    assert duplicate["picture"] == one.photos.get().image.name
    assert duplicate["picture_kept"] == two.photos.order_by("pk")[1].image.name


def test_vectors__on_a_companion():
    image = drawn(1)
    vases = [Vase.objects.create(name=str(number), stock=number) for number in range(2)]
    for vase, data in zip(vases, (file_of(image), COPIES["resized"](image)), strict=True):
        vase.image = store(data)
        QuerySet(Vase).bulk_update([vase], ["image"])
        source = f"{ENCODER}|{vase.image.name}"
        VaseLook.objects.bulk_create([VaseLook(vase=vase, embedding=at_angle(0.2), embedding_source=source)])
    assert groups(report("tests.Vase")) == {vases[1].pk: {vases[0].pk: "same picture"}}  # the one in stock


def test_hidden_products__take_no_part():
    from tests.catalogues import CATALOGUES, Item, Picture

    items = [Item(str(number), [Picture(at_angle(0))]) for number in range(3)]
    CATALOGUES["companions of pictures"].fill(items)
    Rug.objects.filter(pk=items[0].row.pk).update(published=False)
    assert groups(report("tests.Rug")) == {items[1].row.pk: {items[2].row.pk: "near-duplicate"}}
