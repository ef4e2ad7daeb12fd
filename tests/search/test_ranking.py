"""The rules of ranked(), in all four placements."""

from decimal import Decimal

import numpy as np
import pytest
from django.db.models import Q
from django.test.utils import isolate_apps

from similar_products.query import similar_to
from similar_products.search.ranking import ranked
from similar_products.visibility import visible_and_similar
from tests.catalogues import CATALOGUES, ENCODER, Item, Picture, at_angle, filled, vector
from tests.models import Chair, ChairPhoto, Rug, RugPhotoLook, Shelf, Shirt, Vase

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes")]


def names(rows) -> list[str]:
    return [row.name for row in rows]


def test_ranked__is_a_list_with_similarity_and_word(catalogue, bands, django_assert_num_queries):
    filled(catalogue, 0.0, 0.3, 0.8, 1.4)
    with django_assert_num_queries(1) as captured:
        found = ranked(catalogue.similar_to(at_angle(0.0)), 4)
    assert [(row.name, row.likeness) for row in found] == [
        ("item 00", "near-duplicate"),
        ("item 01", "very similar"),
        ("item 02", "similar"),
        ("item 03", "weak"),
    ]
    assert [row.similarity for row in found] == pytest.approx(np.cos([0.0, 0.3, 0.8, 1.4]), abs=1e-3)
    assert not any(name.startswith("_") and name != "_state" for row in found for name in row.__dict__)
    assert '"embedding",' not in captured.captured_queries[0]["sql"].partition(" FROM ")[0]


def test_ranked__without_bands_there_is_no_word_and_nothing_is_a_near_duplicate(catalogue):
    filled(catalogue, 0.0, 0.0, 0.0)
    assert [row.likeness for row in ranked(catalogue.similar_to(at_angle(0.0)), 9)] == ["", "", ""]


def test_ranked__of_a_target_without_vector_is_empty(catalogue):
    items = [Item("a"), Item("b", [Picture(at_angle(0.0))])]
    catalogue.fill(items)
    assert ranked(catalogue.similar_to(items[0].row), 5) == []
    assert ranked(catalogue.similar_to([]), 5) == []


def test_ranked__leaves_out_less_similar_ones(catalogue):
    filled(catalogue, 0.0, 0.3, 0.8, 1.4)
    similar = catalogue.similar_to(at_angle(0.0))
    assert names(ranked(similar, 9, min_similarity=0.6)) == ["item 00", "item 01", "item 02"]
    assert ranked(similar, 2, min_similarity=0.6)[-1].name == "item 01"
    assert ranked(catalogue.similar_to(vector(-1.0)), 9, min_similarity=1.0) == []


def test_ranked__near_duplicates_of_each_other_give_way(catalogue, bands):
    filled(catalogue, 0.0, 0.2, 0.21, 0.22, 0.6, 0.61)
    similar = catalogue.similar_to(at_angle(0.0))
    assert names(ranked(similar, 9)) == ["item 00", "item 01", "item 04"]
    assert names(ranked(similar, 9, near_duplicates=True)) == [f"item {number:02}" for number in range(6)]


def test_ranked__as_many_as_wanted_come_in_spite_of_near_duplicates(catalogue, bands):
    filled(catalogue, *[0.2] * 20, *[0.5 + number / 5 for number in range(5)])
    found = ranked(catalogue.similar_to(at_angle(0.0)), 6)
    assert len(found) == 6
    assert [row.distance for row in found] == sorted(row.distance for row in found)


def test_ranked__leaves_out_what_is_shown_already(catalogue):
    items = filled(catalogue, 0.0, 0.1, 0.2, 0.3)
    similar = catalogue.similar_to(items[0].row)
    assert names(ranked(similar, 2, exclude=[items[1].row, items[2].row.pk])) == ["item 03"]
    assert names(ranked(similar, 2, exclude=items[1].row)) == ["item 02", "item 03"]
    assert names(ranked(similar, 3, exclude=None)) == ["item 01", "item 02", "item 03"]


def test_ranked__leaves_out_a_queryset_in_the_same_query(catalogue, django_assert_num_queries):
    items = filled(catalogue, 0.0, 0.1, 0.2, 0.3)
    shown = catalogue.model._default_manager.filter(name__in=["item 01", "item 02"])
    with django_assert_num_queries(1):
        assert names(ranked(catalogue.similar_to(items[0].row), 1, exclude=shown)) == ["item 03"]


def test_ranked__each_product_once_in_spite_of_a_filter_over_many_rows(bands):
    items = filled(CATALOGUES["companion"], *[number / 5 for number in range(8)])
    for _ in range(3):
        Shelf.objects.create().many_vases.add(*(item.row for item in items))
    similar = Vase.objects.similar_to(items[0].row).filter(shelves__isnull=False)
    assert names(ranked(similar, 4, diversity=0.01)) == ["item 01", "item 02", "item 03", "item 04"]
    assert names(ranked(similar, 3, near_duplicates=True)) == ["item 01", "item 02", "item 03"]


def test_ranked__takes_numbers_of_any_kind(catalogue):
    filled(catalogue, 0.0, 0.3, 0.8, 1.4)
    similar = catalogue.similar_to(at_angle(0.0))
    found = ranked(similar, np.int64(3), min_similarity=Decimal("0.6"), diversity=np.float32(0.01))
    assert names(found) == ["item 00", "item 01", "item 02"]


def test_ranked__leaves_the_queryset_as_it_was(catalogue):
    filled(catalogue, 0.0, 0.1, 0.2)
    similar = catalogue.similar_to(at_angle(0.0))
    assert names(ranked(similar, 2)) == names(ranked(similar, 2)) == names(similar[:2])


def test_ranked__k_rows_in_spite_of_what_is_shown_already(catalogue):
    items = filled(catalogue, *[number / 50 for number in range(50)])
    shown = [item.row for item in items[:40]]
    assert len(ranked(catalogue.similar_to(at_angle(0.0)), 10, exclude=shown)) == 10


def maximal_marginal_relevance(to, vectors, k, diversity):
    left, chosen = dict(vectors), []
    while left and len(chosen) < k:
        best = max(
            left,
            key=lambda name: (
                (1 - diversity) * max(left[name] @ to, 0)
                - diversity * max((left[name] @ vectors[other] for other in chosen), default=0),
                left[name] @ to,
            ),
        )
        chosen.append(best)
        del left[best]
    return chosen


@pytest.mark.parametrize("diversity", [0.2, 0.5, 0.9, 1.0])
def test_ranked__diversity_is_maximal_marginal_relevance(catalogue, diversity):
    random = np.random.default_rng(8)
    items = [Item(f"item {number:02}", [Picture(vector(*random.normal(size=5)))]) for number in range(30)]
    catalogue.fill(items)
    to = np.float64(vector(*random.normal(size=5)))
    found = ranked(catalogue.similar_to(to), 8, diversity=diversity)
    vectors = {item.name: item.vectors(ENCODER)[0] for item in items}
    assert names(found) == maximal_marginal_relevance(to, vectors, 8, diversity)


def test_ranked__diversity_chooses_among_the_nearest_only(catalogue):
    filled(catalogue, *[number / 100 for number in range(40)], 3.0)
    found = ranked(catalogue.similar_to(at_angle(0.0)), 3, diversity=1.0)
    assert found[0].name == "item 00"
    assert max(row.distance for row in found) < 0.1


def test_ranked__is_a_method_of_our_querysets():
    items = filled(CATALOGUES["product"], 0.0, 0.1, 0.2)
    similar = Shirt.objects.filter(name__gt="item 01").similar_to(items[0].row)
    assert names(similar.ranked(3, min_similarity=0.1, near_duplicates=True, diversity=0.1)) == ["item 02"]


# Variants.


def test_variants__of_the_same_parent_are_left_out():
    items = filled(CATALOGUES["companions of pictures"], 0.0, 0.1, 0.2, 0.3, 0.4)
    parent, first, second, other, _ = (item.row for item in items)
    Rug.objects.filter(pk__in=[first.pk, second.pk]).update(parent=parent)
    queryset = Rug.objects.all()
    assert names(ranked(similar_to(queryset, first), 9)) == ["item 03", "item 04"]
    assert names(ranked(similar_to(queryset, parent), 9)) == ["item 03", "item 04"]
    assert names(ranked(similar_to(queryset, other), 9)) == ["item 04", "item 02", "item 01", "item 00"]
    assert len(ranked(similar_to(queryset, first), 9, variants=True)) == 4
    assert names(ranked(similar_to(queryset, [first, other]), 9)) == ["item 04"]
    assert names(ranked(similar_to(queryset, Rug.objects.filter(pk=first.pk)), 9)) == ["item 03", "item 04"]
    assert len(ranked(similar_to(queryset, at_angle(0.0)), 9)) == 5


def test_variants__of_the_same_text_are_left_out():
    items = filled(CATALOGUES["pictures"], 0.0, 0.1, 0.2, 0.3)
    Chair.objects.filter(name__in=["item 00", "item 01"]).update(style="Windsor")
    assert names(ranked(Chair.objects.similar_to(items[0].row), 9)) == ["item 02", "item 03"]
    assert len(ranked(Chair.objects.similar_to(items[2].row), 9)) == 3  # no style is no common style


def test_variants__of_the_same_related_object_are_left_out(settings):
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "PRODUCTS": {"tests.Vase": {"VARIANTS": "shelf"}}}
    items = filled(CATALOGUES["companion"], 0.0, 0.1, 0.2, 0.3)
    shelf = Shelf.objects.create()
    Vase.objects.filter(pk__in=[items[0].row.pk, items[2].row.pk]).update(shelf=shelf)
    assert names(ranked(Vase.objects.similar_to(items[0].row), 9)) == ["item 01", "item 03"]
    assert len(ranked(Vase.objects.similar_to(items[1].row), 9)) == 3


def test_variants__of_a_proxy_are_those_of_its_model():
    items = filled(CATALOGUES["companions of pictures"], 0.0, 0.1, 0.2)
    Rug.objects.filter(pk=items[1].row.pk).update(parent=items[0].row)

    with isolate_apps("tests"):

        class CheapRug(Rug):
            class Meta:
                app_label = "tests"
                proxy = True

        cheap = CheapRug.objects.get(pk=items[0].row.pk)
        assert names(ranked(similar_to(CheapRug.objects.all(), cheap), 9)) == ["item 02"]
        Rug.objects.filter(pk=items[2].row.pk).update(published=False)
        assert names(visible_and_similar(cheap)[:9]) == ["item 01"]


@pytest.mark.parametrize("name", ["pictures", "companions of pictures"])
@pytest.mark.parametrize("is_pending", [False, True])
def test_ranked__judges_the_picture_that_matched(bands, name, is_pending):
    """Not the one that a filter on the relation, after similar_to, has let through."""
    catalogue = CATALOGUES[name]
    catalogue.fill(
        [
            Item(name, [Picture(at_angle(angle)), Picture(at_angle(1.5), encoder="older")])
            for name, angle in [("a", 0.0), ("b", 0.6), ("c", 0.65)]
        ]
    )
    older = Q(embedding_source__startswith="older")
    photos = ChairPhoto.objects if name == "pictures" else RugPhotoLook.objects
    if is_pending:
        photos.filter(older).update(embedding=None)
    through = "photos__" if name == "pictures" else "photos__look__"
    found = catalogue.similar_to(at_angle(0.0)).filter(**{f"{through}embedding_source__startswith": "older"})
    assert [(row.name, row.likeness) for row in ranked(found, 3)] == [("a", "near-duplicate"), ("b", "similar")]


# Bad input.


@pytest.mark.parametrize("k", [0, -1, 2.0, "3", True, None])
def test_ranked__k_that_is_none_is_refused(k):
    with pytest.raises(ValueError, match=r"k is .*; valid are whole numbers from 1."):
        Shirt.objects.similar_to(Shirt(pk=1)).ranked(k)


@pytest.mark.parametrize("option", ["min_similarity", "diversity"])
@pytest.mark.parametrize("value", [-0.1, 1.1, "0.5", None, True, float("nan")])
def test_ranked__share_out_of_range_is_refused(option, value):
    with pytest.raises(ValueError, match=rf"{option} is .*; valid are numbers from 0 to 1."):
        Shirt.objects.similar_to(Shirt(pk=1)).ranked(3, **{option: value})


@pytest.mark.parametrize(
    "queryset",
    [
        lambda: Shirt.objects.all(),
        lambda: Shirt.objects.similar_to(Shirt(pk=1))[:3],
        lambda: Shirt.objects.similar_to(Shirt(pk=1)).order_by("price"),
        lambda: Shirt.objects.similar_to(Shirt(pk=1)).values("name"),
    ],
    ids=["not similar", "sliced", "ordered", "values"],
)
def test_ranked__takes_the_queryset_of_similar_to_only(queryset):
    with pytest.raises(TypeError, match=r"ranked\(\) takes the queryset of similar_to\(\) as it came"):
        ranked(queryset(), 3)


def test_ranked__unknown_option_is_named():
    with pytest.raises(TypeError, match=r"ranked\(\) has no option 'min_similarty'; valid are 'min_similarity', "):
        Shirt.objects.similar_to(Shirt(pk=1)).ranked(3, min_similarty=0.5)
