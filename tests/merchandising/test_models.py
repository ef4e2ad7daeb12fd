import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from similar_products.merchandising.models import Rule
from similar_products.search.placement import root_of
from similar_products.search.ranking import ranked
from tests.catalogues import CATALOGUES, ENCODER, at_angle
from tests.merchandising.made_rules import DAY, NEW_YEAR, fill, hide, numbers, of_lamps, pin, rule
from tests.models import (
    CheapShirt,
    LimitedEditionScreenPrintedPosterOfMuseum,
    PrintedShirt,
    Shelf,
    Shirt,
    Vase,
    VaseLook,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes")]


def of_posters():
    model = LimitedEditionScreenPrintedPosterOfMuseum
    model.objects.bulk_create(
        model(scan=f"{n}.png", embedding=at_angle(n / 10), embedding_source=f"{ENCODER}|{n}.png") for n in range(5)
    )
    return list(model.objects.order_by("scan"))


@pytest.mark.parametrize("make", [of_lamps, of_posters], ids=["text", "uuid"])
def test_keys__of_any_type(make, django_assert_num_queries):
    rows = make()
    pin(rows[0], rows[4], 1)
    hide(rows[0], rows[1])
    hide(rows[2])
    with django_assert_num_queries(3):  # one more, since fewer exist than are wanted
        assert ranked(type(rows[0])._default_manager.similar_to(rows[0]), 5) == [rows[4], rows[3]]


def test_keys__that_cannot_be_any_are_passed_over(rows, catalogue):
    for key in ("", "x", "1.5", "9" * 99, "\N{DIGIT ONE}\N{COMBINING ACUTE ACCENT}"):
        Rule.objects.bulk_create([rule("everywhere", type(rows[0])(pk=key or "none"))])
        if key:
            Rule.objects.bulk_create([rule("pin", rows[0], type(rows[0])(pk=key), 1)])
    pin(rows[0], rows[4], 1)
    assert numbers(ranked(catalogue.similar_to(rows[0]), 2)) == [-4, 1]


def test_models__of_one_key_do_not_meet():
    shirts = [item.row for item in fill(CATALOGUES["product"], 4)]
    vases = [item.row for item in fill(CATALOGUES["companion"], 4)]
    hide(Vase(pk=shirts[1].pk))
    assert numbers(ranked(Shirt.objects.similar_to(shirts[0]), 2)) == [1, 2]
    Rule.objects.all().delete()
    hide(Shirt(pk=vases[1].pk))
    assert numbers(ranked(Vase.objects.similar_to(vases[0]), 2)) == [1, 2]


def test_models__proxies_and_children_share_the_rules_of_their_parent():
    rows = [item.row for item in fill(CATALOGUES["product"], 3)]
    for n in (3, 4):
        made = PrintedShirt(name=f"item {n:02}", image=f"{n}.png", motif="cat")
        made.save()
        PrintedShirt.objects.filter(pk=made.pk).update(
            embedding=at_angle(n / 10), embedding_source=f"{ENCODER}|{n}.png"
        )
        rows.append(made)
    assert {root_of(model) for model in (Shirt, CheapShirt, PrintedShirt)} == {Shirt}
    pin(rows[0], rows[4], 1)
    hide(rows[2])
    cheap = CheapShirt.objects.get(pk=rows[0].pk)
    assert numbers(CheapShirt.objects.similar_to(cheap).ranked(3)) == [-4, 1, 3]
    assert numbers(PrintedShirt.objects.similar_to(rows[0]).ranked(3)) == [-4, 3]
    assert numbers(Shirt.objects.similar_to(rows[3]).ranked(3)) == [4, 1, 0]
    hide(rows[3], rows[4])
    assert numbers(PrintedShirt.objects.similar_to(rows[3]).ranked(3)) == []


@pytest.mark.parametrize("delete", ["instance", "queryset", "proxy"])
def test_delete__takes_the_rules_of_a_product_away(delete):
    rows = [item.row for item in fill(CATALOGUES["product"], 5)]
    pin(rows[1], rows[0], 1)
    pin(rows[0], rows[1], 1)
    hide(rows[0])
    kept = [pin(rows[1], rows[2], 1).pk, hide(Vase(pk=rows[0].pk)).pk]
    if delete == "instance":
        rows[0].delete()
    elif delete == "queryset":
        Shirt.objects.filter(pk=rows[0].pk).delete()
    else:
        CheapShirt.objects.get(pk=rows[0].pk).delete()
    assert sorted(Rule.objects.values_list("pk", flat=True)) == sorted(kept)


@pytest.mark.parametrize("placement", CATALOGUES)
def test_delete__in_every_placement(placement):
    rows = [item.row for item in fill(CATALOGUES[placement], 3)]
    hide(rows[1])
    rows[1].delete()
    assert not Rule.objects.exists()


def test_delete__of_a_child_keeps_the_rules_with_its_parent():
    made = PrintedShirt.objects.create(name="a", motif="cat")
    hide(made)
    made.delete(keep_parents=True)
    assert Rule.objects.exists()
    Shirt.objects.get().delete()
    assert not Rule.objects.exists()


def test_delete__of_rows_that_are_no_products_stays_fast():
    from django.db.models.signals import post_delete

    assert post_delete.has_listeners(Shirt)
    assert not post_delete.has_listeners(Shelf)
    assert not post_delete.has_listeners(VaseLook)  # the vectors of products that have rules


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (("pin", 0, 1, None), "Give the place of the pinned product, 1 for the first."),
        (("pin", 0, 1, 0), "Ensure this value is greater than or equal to 1."),
        (("pin", 0, None, 1), "Choose the product to pin."),
        (("pin", 0, 0, 1), "A product does not stand in its own list; choose another product."),
        (("hide", 0, None, None), "Choose the product not to show together with this one."),
        (("hide", 0, 1, 2), "Only a pinned product has a place; leave it empty."),
        (("everywhere", 0, 1, None), "This product itself is hidden everywhere: leave the other product empty."),
        (("pin", 0, 1, 1, NEW_YEAR, NEW_YEAR), "The end is not after the start; choose a later end."),
    ],
)
def test_rule__wrong_is_said_in_one_sentence_and_refused_by_the_database(values, sentence):
    rows = [Shirt.objects.create(name=name) for name in "ab"]
    action, product, other, *rest = values
    made = rule(action, rows[product], None if other is None else rows[other], *rest)
    with pytest.raises(ValidationError) as raised:
        made.full_clean(validate_constraints=False)
    assert raised.value.messages == [sentence]
    with pytest.raises(IntegrityError), transaction.atomic():
        made.save()
    with pytest.raises(ValidationError) as raised:
        made.validate_constraints()
    assert len(raised.value.messages) == 1


def test_rule__good_ones_are_clean():
    rows = [Shirt.objects.create(name=name) for name in "ab"]
    for made in (
        rule("pin", *rows, 1, NEW_YEAR, NEW_YEAR + DAY),
        rule("pin", *rows, 32_000, None, NEW_YEAR),
        rule("hide", *rows),
        rule("everywhere", rows[0], start=NEW_YEAR),
    ):
        made.full_clean()
        made.save()
    assert Rule.objects.count() == 4
    assert str(Rule.objects.first()) == "pin to a place in this product's list"


@pytest.mark.parametrize(
    ("changes", "is_contradiction"),
    [
        ({}, True),
        ({"other": 2}, True),
        ({"place": 2}, True),
        ({"other": 2, "place": 2}, False),
        ({"product": 3}, False),
        ({"start": NEW_YEAR + DAY}, False),
        ({"start": NEW_YEAR}, True),
        ({"end": NEW_YEAR}, True),
    ],
)
def test_rule__two_at_one_place_or_one_twice_at_the_same_time(changes, is_contradiction):
    rows = [Shirt(pk=number) for number in range(1, 5)]
    first = rule("pin", rows[0], rows[1], 1, end=NEW_YEAR + DAY)
    values = {"product": 0, "other": 1, "place": 1, **changes}
    times = {name: changes[name] for name in ("start", "end") if name in changes}
    second = rule("pin", rows[values["product"]], rows[values["other"]], values["place"], **times)
    assert first.contradicts(second) is is_contradiction
    assert second.contradicts(first) is is_contradiction
    assert not rule("hide", rows[0], rows[1]).contradicts(second)
