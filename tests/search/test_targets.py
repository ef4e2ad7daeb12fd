"""What a shop may ask of similar_to, in all four placements, against brute force in numpy."""

import re
from decimal import Decimal

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.db import connection
from django.db.models import Count, Exists, F, OuterRef
from django.test.utils import isolate_apps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from pgvector import HalfVector, Vector

from similar_products.encoders import get_encoder
from similar_products.pictures.gate import ImageRejected, load_pixels
from similar_products.query import SimilarManager, SimilarQuerySet, similar_to
from tests.catalogues import (
    CATALOGUES,
    ENCODER,
    Item,
    Picture,
    along,
    at_angle,
    encoder_of,
    mean_of,
    nearest,
    vector,
)
from tests.drawn_pictures import picture_bytes, picture_file
from tests.models import Chair, ChairPhoto, Order, Rug, Shelf, Shirt, Vase
from tests.profiles import often

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes")]

TOLERANCE = {True: 2e-6, False: 2e-3}
"""Of distances: in full precision, and as the halfvec of the index."""


def names(queryset) -> list[str]:
    return [row.name for row in queryset]


# Against brute force.

DIRECTIONS = st.sampled_from([vector(*(1.0 if n == axis else 0.3 * n for n in range(4))) for axis in range(4)])
PICTURES = st.builds(
    Picture,
    vector=st.builds(
        lambda base, noise: vector(*(base[:4] + np.array(noise))),
        DIRECTIONS,
        st.lists(st.floats(-0.5, 0.5, width=16), min_size=4, max_size=4),
    ),
    encoder=st.sampled_from([ENCODER, ENCODER, ENCODER, "older"]),
    is_stale=st.sampled_from([False, False, False, True]),
)


@st.composite
def worlds(draw):
    """Draw a placement, its products, whom to compare with, who passes the filter, and how many are wanted."""
    placement = draw(st.sampled_from(sorted(CATALOGUES)))
    most = 3 if CATALOGUES[placement].several else 1
    pictures = draw(st.lists(st.lists(PICTURES, max_size=most), min_size=1, max_size=25))
    items = [Item(f"item {number:02}", list(of_one)) for number, of_one in enumerate(pictures)]
    numbers = st.integers(0, len(items) - 1)
    wanted = draw(st.dictionaries(numbers, st.sampled_from([0.5, 1.0, 3.0]), min_size=1, max_size=3))
    away = draw(st.sets(numbers, max_size=2))
    passes = draw(st.sets(numbers))
    return placement, items, wanted, away, passes, draw(st.integers(1, 30)), draw(st.booleans())


class TestBruteForce(TestCase):
    """A transaction of its own for each example: what one example fills the next does not see."""

    @settings(max_examples=often(100, nightly=2_000), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(worlds())
    @pytest.mark.slow
    def test_similar_to__is_what_brute_force_finds(self, world):
        placement, items, wanted, away, passes, k, exact = world
        catalogue = CATALOGUES[placement]
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {catalogue.holder._meta.db_table} CASCADE")
        catalogue.fill(items)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")  # so that the index is used where it can be
        queryset = catalogue.model._default_manager.filter(pk__in=[items[number].row.pk for number in passes])
        target = {items[number].row: weight for number, weight in wanted.items()}
        found = list(
            catalogue.similar_to(target, queryset, away_from=[items[number].row for number in away], exact=exact)[:k]
        )
        assert [row.pk for row in found] == [row.pk for row in dict.fromkeys(found)]  # one row each
        expected = expected_of(items, wanted, away, passes)
        assert len(found) == min(k, len(expected))
        distances = [row.distance for row in found]
        assert distances == sorted(distances)
        np.testing.assert_allclose(distances, [entry[0] for entry in expected[:k]], atol=TOLERANCE[exact])
        by_key = {key: (distance, image) for distance, key, image in expected}
        for row in found:
            distance, _ = by_key[row.pk]  # eligible
            assert row.distance == pytest.approx(distance, abs=TOLERANCE[exact])
            assert row.similarity == pytest.approx(np.clip(1 - row.distance, 0, 1))
            if catalogue.several and exact:
                matched = {name: d for d, name in pictures_of(items, row.pk, wanted, away)}
                assert matched[row.matched_image] == pytest.approx(distance, abs=TOLERANCE[exact])


def target_vector(items, wanted, away):
    encoder = encoder_of(items[number] for number in wanted)
    if encoder is None:
        return None, None
    to = mean_of([(items[number], weight) for number, weight in wanted.items()], encoder)
    if to is None:
        return None, None
    aside = mean_of([(items[number], 1.0) for number in away], encoder)
    to = to if aside is None else 2 * to - aside
    return to / np.linalg.norm(to), encoder


def expected_of(items, wanted, away, passes):
    to, encoder = target_vector(items, wanted, away)
    if to is None:
        return []
    return nearest([item for number, item in enumerate(items) if number in passes - set(wanted)], to, encoder)


def pictures_of(items, key, wanted, away):
    to, encoder = target_vector(items, wanted, away)
    (item,) = [item for item in items if item.row.pk == key]
    return [
        (1 - float(picture.vector.astype(np.float64) @ to), f"{item.name}-{number}.png")
        for number, picture in enumerate(item.pictures)
        if picture.encoder == encoder and not picture.is_stale
    ]


# Several pictures.


def test_pictures__best_wins_and_is_named(django_assert_num_queries):
    items = [
        Item("a", [Picture(at_angle(0.0))]),
        Item("b", [Picture(at_angle(1.2)), Picture(at_angle(0.1)), Picture(at_angle(0.9))]),
        Item("c", [Picture(at_angle(0.2))]),
    ]
    CATALOGUES["pictures"].fill(items)
    with django_assert_num_queries(1) as captured:
        found = list(Chair.objects.similar_to(items[0].row)[:2])
    assert [(row.name, row.matched_image) for row in found] == [("b", "b-1.png"), ("c", "c-0.png")]
    assert '"embedding",' not in captured.captured_queries[0]["sql"].partition(" FROM ")[0]


def test_pictures__mean_of_the_target_counts():
    items = [
        Item("a", [Picture(at_angle(0.0)), Picture(at_angle(1.0))]),
        Item("near one", [Picture(at_angle(0.05))]),
        Item("near the mean", [Picture(at_angle(0.5))]),
    ]
    CATALOGUES["pictures"].fill(items)
    assert names(Chair.objects.similar_to(items[0].row)[:2]) == ["near the mean", "near one"]


def test_pictures__alike_to_the_last_bit_give_one_row():
    items = [Item("a", [Picture(at_angle(0.0))]), Item("b", [Picture(at_angle(0.3))] * 3)]
    CATALOGUES["pictures"].fill(items)
    assert [(row.name, row.matched_image) for row in Chair.objects.similar_to(items[0].row)] == [("b", "b-0.png")]


def test_pictures__of_another_encoder_or_replaced_do_not_win():
    items = [
        Item("a", [Picture(at_angle(0.0))]),
        Item(
            "b",
            [Picture(at_angle(0.0), encoder="older"), Picture(at_angle(0.0), is_stale=True), Picture(at_angle(0.5))],
        ),
    ]
    CATALOGUES["pictures"].fill(items)
    (found,) = Chair.objects.similar_to(items[0].row)
    assert found.matched_image == "b-2.png"


def test_pictures__themselves_find_pictures():
    items = [Item("a", [Picture(at_angle(0.0)), Picture(at_angle(0.2))]), Item("b", [Picture(at_angle(0.1))])]
    CATALOGUES["pictures"].fill(items)
    found = ChairPhoto.objects.similar_to(ChairPhoto.objects.get(image="a-0.png"))
    assert [row.image.name for row in found] == ["b-0.png", "a-1.png"]


def test_pictures__filter_over_the_same_relation_is_about_any_picture():
    items = [
        Item("a", [Picture(at_angle(0.0))]),
        Item("b", [Picture(at_angle(0.1)), Picture(at_angle(0.7)), Picture(at_angle(0.8))]),
        Item("c", [Picture(at_angle(0.2))]),
    ]
    CATALOGUES["pictures"].fill(items)
    ChairPhoto.objects.filter(image__in=["b-1.png", "b-2.png"]).update(caption="side")
    found = Chair.objects.filter(photos__caption="side").similar_to(items[0].row)
    assert [(row.name, row.matched_image) for row in found] == [("b", "b-0.png")]


# What stays right whatever stands around it, in every placement.


def test_similar_to__one_query_and_no_vector_selected(catalogue, items, django_assert_num_queries):
    rows = [item.row for item in items]
    picture = picture_bytes("red", "blue")
    for similar in [
        catalogue.similar_to(rows[0])[:5],
        catalogue.similar_to(rows[0], exact=True)[:5],
        catalogue.similar_to(rows[:3], away_from=rows[9])[:5],
        catalogue.similar_to({rows[0]: 2, rows[1]: 1})[:5],
        catalogue.similar_to(catalogue.model._default_manager.filter(name="item 03"))[:5],
        catalogue.similar_to(at_angle(0.2))[:5],
        catalogue.similar_to(picture)[:5],
        catalogue.similar_to(rows[0])[2:7],
        catalogue.similar_to(rows[0]).filter(name__gt="item 05")[:5],
    ]:
        # With an offset: the first page, and the list, which is short here and so asked for again.
        with django_assert_num_queries(3 if similar.query.low_mark else 1) as captured:
            assert len(list(similar)) == 5
        selected = captured.captured_queries[0]["sql"].partition(" FROM ")[0]
        assert '"embedding",' not in selected


def test_similar_to__a_filter_over_many_rows_gives_each_product_once(catalogue, items):
    if catalogue.model in (Shirt, Rug):
        pytest.skip("The model has no relation of this kind to filter by.")
    shelves = [Shelf.objects.create() for _ in range(3)]
    for shelf in shelves:
        (shelf.chairs if catalogue.model is Chair else shelf.many_vases).add(*(item.row for item in items[:4]))
    found = catalogue.similar_to(items[0].row, catalogue.model.objects.filter(shelves__in=shelves))
    assert names(found[:12]) == ["item 01", "item 02", "item 03"]
    assert names(found[1:2]) == ["item 02"]

    # As django-oscar's base_queryset() does: what is annotated is of the product's own row.
    one = Exists(Shelf.objects.filter(pk=OuterRef("pk")))
    annotated = catalogue.model.objects.annotate(twice=F("pk") * 2, one=one).filter(shelves__in=shelves)
    found = catalogue.similar_to(items[0].row, annotated)
    assert names(found[:12]) == ["item 01", "item 02", "item 03"]
    assert [row.twice for row in found[:12]] == [row.pk * 2 for row in found[:12]]
    # What is annotated may be of the row that is joined; a product comes once all the same.
    by_shelf = catalogue.model.objects.annotate(shelf_key=F("shelves__pk")).filter(shelf_key__isnull=False)
    found = catalogue.similar_to(items[0].row, by_shelf)
    assert names(found[:3]) == ["item 01", "item 02", "item 03"]


def test_similar_to__a_count_over_many_rows_stays_right():
    items = [
        Item(f"item {number}", [Picture(at_angle(number / 10)), Picture(along(number + 2))]) for number in range(3)
    ]
    CATALOGUES["pictures"].fill(items)
    found = Chair.objects.annotate(pictures=Count("photos", distinct=True)).similar_to(items[0].row)
    assert [(row.name, row.pictures) for row in found] == [("item 1", 2), ("item 2", 2)]


def test_similar_to__keeps_what_the_queryset_loads(items, catalogue, django_assert_num_queries):
    if catalogue.model is not Vase:
        pytest.skip("One model with a foreign key to load is enough.")
    shelf = Shelf.objects.create()
    Vase.objects.update(shelf=shelf)
    shelf.many_vases.add(*(item.row for item in items))
    queryset = Vase.objects.filter(shelves=shelf).select_related("shelf").defer("stock").prefetch_related("shelves")
    with django_assert_num_queries(2):
        found = list(queryset.similar_to(items[0].row)[:3])
        assert [row.shelf for row in found] == [shelf] * 3
        assert [list(row.shelves.all()) for row in found] == [[shelf]] * 3
    assert "stock" in found[0].get_deferred_fields()


def test_similar_to__another_ordering_afterwards_is_kept(items, catalogue):
    found = catalogue.similar_to(items[0].row).order_by("-name")[:3]
    assert names(found) == ["item 11", "item 10", "item 09"]


def test_similar_to__values_are_left_alone(items, catalogue):
    assert list(catalogue.similar_to(items[0].row).values_list("name", flat=True)[:2]) == ["item 01", "item 02"]


def test_similar_to__euclidean_distance_ranks_the_same(items, catalogue):
    """For unit vectors |a - b|² = 2 (1 - cosine)."""
    target = np.float64(at_angle(0.43))
    found = catalogue.similar_to(at_angle(0.43), exact=True)[:12]
    vectors = {item.name: item.vectors(ENCODER) for item in items}
    euclidean = {name: min(np.linalg.norm(each - target) for each in of_one) for name, of_one in vectors.items()}
    assert names(found) == sorted(euclidean, key=euclidean.get)
    for row in found:
        assert euclidean[row.name] ** 2 == pytest.approx(2 * row.distance, abs=1e-5)


def test_similar_to__asks_none_of_the_models_managers(monkeypatch):
    """One may rewrite the names of fields or hide rows, as those of translations and tenants do."""
    items = [Item(name, [Picture(at_angle(angle))]) for name, angle in [("a", 0.0), ("b", 0.1)]]
    CATALOGUES["product"].fill(items)
    shirts = Shirt.objects.all()
    monkeypatch.setattr(SimilarManager, "get_queryset", lambda manager: SimilarQuerySet(manager.model).none())
    assert names(shirts.similar_to(items[0].row)) == ["b"]


# Around it.


def test_similar_to__values_and_distinct_before_it_are_kept():
    CATALOGUES["companion"].fill(items := [Item(f"item {n}", [Picture(at_angle(n / 10))]) for n in range(4)])
    shelves = [Shelf.objects.create() for _ in range(2)]
    for shelf in shelves:
        shelf.many_vases.add(*(item.row for item in items))
    rows, target = Vase.objects.filter(shelves__in=shelves), items[0].row
    assert list(rows.values_list("name", flat=True).similar_to(target)[:2]) == ["item 1", "item 2"]
    assert list(shelves[0].many_vases.values_list("name", flat=True).similar_to(target)[:2]) == ["item 1", "item 2"]
    (first,) = rows.values("name").similar_to(target)[:1]
    assert first["name"] == "item 1"
    assert names(rows.distinct().similar_to(target)[:3]) == ["item 1", "item 2", "item 3"]
    assert names(rows.distinct("name").similar_to(target)[:3]) == ["item 1", "item 2", "item 3"]


@pytest.mark.parametrize("through", ["shirt", "shirts"])
def test_similar_to__through_a_foreign_key_and_many_to_many(through):
    CATALOGUES["product"].fill(items := [Item(f"{n}", [Picture(at_angle(n / 10))]) for n in range(4)])
    orders = [Order.objects.create(shirt=item.row) for item in items]
    for order, item in zip(orders, items, strict=True):
        order.shirts.add(item.row)
    orders[1].shirts.add(items[3].row)
    found = similar_to(Order.objects.all(), orders[0], through=through)[:3]
    assert list(found) == orders[1:]


def test_similar_to__refuses_a_model_with_names_of_its_results():
    with isolate_apps("tests"):

        class Ranked(Shirt):
            likeness = "a portrait"

            class Meta:
                app_label = "tests"
                proxy = True

        with pytest.raises(TypeError, match=r"tests.Ranked has 'likeness' of its own, which similar_to\(\) gives each"):
            Ranked.objects.similar_to(Shirt(pk=1))


# Targets.


def test_targets__several_products_count_by_weight(items, catalogue):
    rows = [item.row for item in items]
    assert set(names(catalogue.similar_to([rows[2], rows[6]])[:1])) == {"item 04"}
    assert set(names(catalogue.similar_to({rows[2]: 1, rows[6]: 20})[:2])) == {"item 05", "item 07"}
    assert set(names(catalogue.similar_to({rows[2]: Decimal("0.5"), rows[6]: np.float32(10)})[:2])) == {
        "item 05",
        "item 07",
    }
    assert names(catalogue.similar_to({rows[2]: 1e-300, rows[6]: 1e300})[:1])[0] in {"item 05", "item 07"}
    assert not {"item 02", "item 06"} & set(names(catalogue.similar_to([rows[2], rows[6]])))


def test_targets__away_from_moves_to_the_other_side(items, catalogue):
    rows = [item.row for item in items]
    assert set(names(catalogue.similar_to(rows[5])[:2])) == {"item 04", "item 06"}
    assert names(catalogue.similar_to(rows[5], away_from=rows[3])[:2]) == ["item 07", "item 06"]


def test_targets__queryset_is_a_subquery(items, catalogue, django_assert_num_queries):
    chosen = catalogue.model._default_manager.filter(name__in=["item 02", "item 06"])
    listed = names(catalogue.similar_to([items[2].row, items[6].row])[:5])
    with django_assert_num_queries(1):
        assert names(catalogue.similar_to(chosen)[:5]) == listed
    assert names(catalogue.similar_to(chosen.order_by("name")[:2])[:5]) == listed


def test_targets__without_any_vector_give_nothing(catalogue, items):
    catalogue.fill(plain := [Item("no picture")])
    assert not catalogue.similar_to([plain[0].row]).exists()
    assert not catalogue.similar_to([]).exists()
    assert not catalogue.similar_to({}).exists()
    assert not catalogue.similar_to([catalogue.model()]).exists()
    assert not catalogue.similar_to(catalogue.model._default_manager.none()).exists()
    assert len(catalogue.similar_to([plain[0].row, items[0].row])[:3]) == 3
    assert names(catalogue.similar_to(items[5].row, away_from=plain[0].row)[:4]) == names(
        catalogue.similar_to(items[5].row)[:4]
    )


def test_targets__opposite_ones_cancel_out_to_nothing(catalogue):
    catalogue.fill(
        items := [
            Item("a", [Picture(vector(1.0))]),
            Item("b", [Picture(vector(-1.0))]),
            Item("c", [Picture(at_angle(1))]),
        ]
    )
    assert list(catalogue.similar_to([items[0].row, items[1].row])) == []


@pytest.mark.parametrize(
    "kind", [list, tuple, np.array, lambda v: np.float64(v) * 7, lambda v: list(np.float32(v)), Vector, HalfVector]
)
def test_targets__vector_in_any_form(catalogue, items, kind):
    found = catalogue.similar_to(kind([float(value) for value in at_angle(0.52)]))
    assert names(found[:2]) == ["item 05", "item 06"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.0], r"The vector has the shape \(2,\); tests.Shirt is compared in 1280 dimensions."),
        ([0.0] * 1280, "The vector has the norm 0.0, and so no direction; valid are finite vectors that are not 0."),
        ([float("nan")] * 1280, "The vector has the norm nan"),
        (np.ones((1280, 1)), r"The vector has the shape \(1280, 1\)"),
    ],
)
def test_targets__vector_that_cannot_be_compared_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Shirt.objects.similar_to(values)


def test_targets__picture_is_embedded_and_finds_itself(catalogue):
    encoder = get_encoder()
    colors = ["red", "lime", "blue", "yellow"]
    items = []
    for first in colors:
        data = picture_bytes(first, "black")
        (values,) = encoder.encode(load_pixels(data, encoder.image_size)[np.newaxis])
        items.append(Item(first, [Picture(values)]))
    catalogue.fill(items)
    for first in colors:
        data = picture_bytes(first, "black")
        for target in (data, ContentFile(data), picture_file(first, "black")):
            found = catalogue.similar_to(target)[:2]
            assert found[0].name == first
            assert found[0].similarity == pytest.approx(1, abs=1e-3)


def test_targets__bad_picture_is_refused_at_once(django_assert_num_queries):
    with django_assert_num_queries(0), pytest.raises(ImageRejected, match="not a picture|format"):
        Shirt.objects.similar_to(b"no picture at all")


def test_targets__picture_in_which_the_encoder_sees_nothing(settings, monkeypatch):
    encoder = get_encoder()
    monkeypatch.setattr(type(encoder), "features", lambda self, pixels: np.zeros((len(pixels), 1280)))
    with pytest.raises(ImageRejected, match="nothing to be seen in the photo"):
        Shirt.objects.similar_to(picture_bytes("red", "blue"))


def test_targets__product_with_a_field_of_a_files_name_is_no_picture(items, catalogue, monkeypatch):
    monkeypatch.setattr(catalogue.model, "read", "a book's state", raising=False)
    assert names(catalogue.similar_to(items[0].row)[:2]) == ["item 01", "item 02"]


def test_targets__of_another_kind_are_named(items, catalogue):
    label = catalogue.model._meta.label
    with pytest.raises(TypeError, match=f"on {label} takes one of its instances, several, .*; not str"):
        catalogue.similar_to("item 01")
    with pytest.raises(TypeError, match="not Order"):
        catalogue.similar_to([items[0].row, Order()])
    with pytest.raises(TypeError, match="not Order"):
        catalogue.similar_to(Order.objects.all())
    with pytest.raises(TypeError, match=r"away_from takes one of its instances, .*; not list"):
        catalogue.similar_to(items[0].row, away_from=[0.0] * 1280)


@pytest.mark.parametrize("weight", [0, -1, float("inf"), float("nan"), "2", True])
def test_targets__weight_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match=r"The weight of Shirt|The weight of a is .*; valid are positive numbers"):
        Shirt.objects.similar_to({Shirt(pk=1, name="a"): weight})


# One encoder at a time.


def test_encoders__a_product_of_the_old_one_finds_its_kind(catalogue):
    items = [Item(f"old {number}", [Picture(at_angle(number / 10), encoder="older")]) for number in range(3)]
    items += [Item(f"new {number}", [Picture(at_angle(number / 10))]) for number in range(3)]
    catalogue.fill(items)
    assert names(catalogue.similar_to(items[0].row)) == ["old 1", "old 2"]
    assert names(catalogue.similar_to(items[3].row)) == ["new 1", "new 2"]
    assert names(catalogue.similar_to([items[0].row, items[1].row, items[3].row])) == ["old 2"]


# EXPLAIN.


@pytest.fixture
def many(catalogue) -> list[Item]:
    random = np.random.default_rng(5)
    made = [
        Item(f"{number:03}", [Picture(vector(*random.normal(size=12))) for _ in range(2 if catalogue.several else 1)])
        for number in range(40)
    ]
    catalogue.fill(made)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return made


@pytest.mark.parametrize(
    "form",
    [
        lambda c, rows, items: c.similar_to(items[0].row)[:12],
        lambda c, rows, items: c.similar_to(items[0].row, rows.filter(name__lt="020"))[:12],
        lambda c, rows, items: c.similar_to(items[0].row).filter(name__lt="020")[:12],
        lambda c, rows, items: c.similar_to(items[0].row)[24:36],
        lambda c, rows, items: c.similar_to([items[0].row, items[1].row], away_from=items[2].row)[:12],
        lambda c, rows, items: c.similar_to(rows.filter(name__lt="003"))[:12],
        lambda c, rows, items: c.similar_to(at_angle(0.3))[:12],
    ],
    ids=["plain", "filtered before", "filtered after", "offset", "several", "queryset", "vector"],
)
def test_explain__uses_the_vector_index(catalogue, many, explain, form):
    plan = explain(form(catalogue, catalogue.model._default_manager.all(), many))
    assert f"Index Scan using {catalogue.index}" in plan
    assert "One-Time Filter" in plan


def test_explain__filter_over_many_rows_uses_the_vector_index(explain):
    catalogue = CATALOGUES["pictures"]
    items = [Item(f"{number}", [Picture(at_angle(number / 100))]) for number in range(40)]
    catalogue.fill(items)
    shelf = Shelf.objects.create()
    shelf.chairs.add(*(item.row for item in items))
    similar = Chair.objects.filter(shelves__pk__gt=0).similar_to(items[0].row)[:12]
    assert f"Index Scan using {catalogue.index}" in explain(similar)


def test_explain__tie_break_by_key_costs_a_sort_of_few_rows_only(sorts_ties, catalogue, many, explain):
    """Ordered by distance already, the rows are sorted by key in batches of 32, not all of them."""
    plan = explain(catalogue.similar_to(many[0].row)[:12])
    assert "Incremental Sort" in plan
    assert re.search(r"Sort Key: .*<=>.*, \w+\.id\b", plan)
    assert re.search(r"Presorted Key: .*<=>", plan)


def test_explain__exact_search_does_not_use_the_vector_index(catalogue, many, explain):
    assert not re.search(rf"{catalogue.index}\w*hnsw", explain(catalogue.similar_to(many[0].row, exact=True)[:12]))


def test_similar_to__is_fit_for_a_subquery(items, catalogue):
    inner = catalogue.similar_to(items[0].row)[:3]
    found = catalogue.model._default_manager.filter(pk__in=inner.values("pk"))
    assert {row.name for row in found} == {"item 01", "item 02", "item 03"}


def test_similar_to__function_takes_the_relation_by_name(items, catalogue):
    through = {"Shirt": "", "Vase": "look", "Chair": "photos", "Rug": "photos__look"}[catalogue.model.__name__]
    plain = catalogue.model._base_manager.all()
    assert names(similar_to(plain, items[0].row, through=through)[:2]) == ["item 01", "item 02"]
