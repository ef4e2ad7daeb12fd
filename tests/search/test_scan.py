"""The scan of the index: its settings, and pages in order and in full."""

import pickle

import numpy as np
import pytest
from django.core.paginator import Paginator
from django.db import connection, transaction
from django.db.models import F, Min, Window
from django.db.models.functions import RowNumber, Upper
from django.db.models.sql import Query

from similar_products.search import scan
from similar_products.search.ranking import ranked
from tests.catalogues import CATALOGUES, Item, Picture, at_angle, vector
from tests.models import Chair, Rug, Shelf, Shirt

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes")]


def names(rows) -> list[str]:
    return [row.name for row in rows]


def test_similar_to__more_than_a_sorted_batch_comes_in_order():
    """PostgreSQL sorts what an index hands over in batches of 32, by the key alone."""
    random = np.random.default_rng(3)
    items = [Item(f"{number:03}", [Picture(vector(*random.normal(size=16)))]) for number in range(400)]
    CATALOGUES["product"].fill(items)
    Shirt.objects.filter(pk__in=[item.row.pk for item in items[::2]]).update(price=3)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
    found = list(Shirt.objects.filter(price=3).similar_to(items[1].row)[:200])
    assert len(found) == 200
    assert [row.distance for row in found] == sorted(row.distance for row in found)


def test_similar_to__leaves_no_setting_behind(items, catalogue):
    def settings_now() -> list:
        with connection.cursor() as cursor:
            cursor.execute("SELECT name, setting FROM pg_settings WHERE name LIKE 'hnsw.%' ORDER BY name")
            return cursor.fetchall()

    before = settings_now()
    with transaction.atomic():
        list(catalogue.similar_to(items[0].row)[:3])
        transaction.set_rollback(True)
    assert settings_now() == before


def test_similar_to__sets_the_scan_for_its_statement(settings, items, catalogue):
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "EF_SEARCH": 77}
    list(catalogue.similar_to(items[0].row)[:3])
    with connection.cursor() as cursor:  # the test is one transaction
        cursor.execute("SELECT name, setting FROM pg_settings WHERE name LIKE 'hnsw.%' ORDER BY name")
        assert dict(cursor.fetchall()) == {
            "hnsw.ef_search": "77",
            "hnsw.iterative_scan": "relaxed_order",
            "hnsw.max_scan_tuples": "2147483647",
            "hnsw.scan_mem_multiplier": "1000",
        }


@pytest.mark.parametrize("form", ["list", "offset", "ranked"])
def test_index__that_ends_early_does_not_cost_a_row(
    catalogue, items, settings, monkeypatch, django_assert_num_queries, form
):
    monkeypatch.setitem(scan.SCAN_SETTINGS, "iterative_scan", "off")
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "EF_SEARCH": 1}
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
    similar = catalogue.similar_to(at_angle(0.0)).filter(name__gt="item 05")
    inner = similar[:5].values("pk")
    assert catalogue.model._default_manager.filter(pk__in=inner).count() < 3  # this is what the index gives
    with django_assert_num_queries(4 if form == "offset" else 2):
        if form == "list":
            assert names(similar[:5]) == [f"item {number:02}" for number in range(6, 11)]
        elif form == "offset":
            assert names(similar[3:5]) == ["item 09", "item 10"]
        else:
            found = ranked(similar, 5, diversity=0.01)
            assert (len(found), found[0].name) == (5, "item 06")


@pytest.mark.parametrize("are_gone", [True, False])
def test_index__of_many_copies_does_not_keep_the_others_out(are_gone):
    """Hundreds of entries of one vector: products with one photo, or the former versions of a row before VACUUM."""
    catalogue = CATALOGUES["product"]
    with transaction.atomic():
        catalogue.fill([Item(f"copy {number}", [Picture(at_angle(0.0))]) for number in range(600)])
        transaction.set_rollback(are_gone)
    catalogue.fill([Item(f"item {number}", [Picture(at_angle(1 + number / 10))]) for number in range(3)])
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
    similar = catalogue.similar_to(at_angle(0.0)).filter(name__startswith="item")
    assert names(similar[:3]) == ["item 0", "item 1", "item 2"]


def test_similar_to__a_filter_over_many_rows_after_it_gives_each_product_once(catalogue, items):
    if catalogue.model in (Shirt, Rug):
        pytest.skip("The model has no relation of this kind to filter by.")
    for _ in range(3):
        shelf = Shelf.objects.create()
        (shelf.chairs if catalogue.model is Chair else shelf.many_vases).add(*(item.row for item in items[:6]))
    found = catalogue.similar_to(items[0].row).filter(shelves__isnull=False)
    assert names(found[:3]) == ["item 01", "item 02", "item 03"]
    assert names(found[3:9]) == ["item 04", "item 05"]


# The query that carries the comparison.


class OwnQuery(Query):
    """As a shop or a package of its own has one."""


def own(queryset):
    queryset.query.__class__ = OwnQuery
    return queryset


@pytest.mark.parametrize("prepare", [lambda queryset: queryset, own], ids=["Django's", "a shop's own"])
def test_similar_query__survives_what_querysets_do(items, catalogue, prepare):
    similar = catalogue.similar_to(at_angle(0.0), prepare(catalogue.model._default_manager.all()))
    again = catalogue.model._default_manager.all()
    again.query = pickle.loads(pickle.dumps(similar.query))
    for found in (similar, similar.filter(name__gt=""), similar.all(), again):
        assert isinstance(found.query, scan.SimilarQuery)
        assert isinstance(found.query, OwnQuery) == (prepare is own)
        assert scan.is_nearest_first(found.query)
        assert names(found[:3]) == ["item 00", "item 01", "item 02"]
    assert names(ranked(similar, 3)) == ["item 00", "item 01", "item 02"]
    assert not scan.is_nearest_first(catalogue.model._default_manager.all().query)


def test_similar_query__whose_class_is_exchanged_keeps_its_comparison(items, catalogue):
    similar = own(catalogue.similar_to(at_angle(0.0)))
    assert names(ranked(similar, 3)) == names(similar[:3]) == ["item 00", "item 01", "item 02"]


def test_similar_query__once_more_is_compared_with_the_later_target(items, catalogue):
    similar = catalogue.similar_to(items[4].row, own(catalogue.model._default_manager.all()))
    keys = similar[:5].values("pk")
    nearest = catalogue.similar_to(at_angle(0.0), catalogue.model._default_manager.filter(pk__in=keys))
    assert names(ranked(nearest, 9)) == names(nearest) == sorted(names(similar[:5]))


def test_similar_query__combined_ones_are_not_completed(items, catalogue, django_assert_num_queries):
    first, second = (catalogue.similar_to(at_angle(angle)).values("name", "distance", "pk")[:2] for angle in (0.0, 1.1))
    with django_assert_num_queries(1):
        found = {row["name"] for row in first.union(second).order_by("distance", "pk")[:9]}
    assert found == {"item 00", "item 01", "item 10", "item 11"}
    assert not scan.is_nearest_first(first.union(second).order_by("distance", "pk").query)


TAKEN = "choose another name|give your own"


@pytest.mark.parametrize("name", ["distance", "similarity", "likeness", "pinned", "matched_image"])
@pytest.mark.parametrize(
    "query",
    [
        lambda rows, target, name: rows.similar_to(target, rows.model._default_manager.annotate(**{name: F("pk")})),
        lambda rows, target, name: rows.similar_to(target, rows.model._default_manager.alias(**{name: F("pk")})),
        lambda rows, target, name: rows.similar_to(target, rows.model._default_manager.extra(select={name: "1"})),
        lambda rows, target, name: rows.similar_to(target).annotate(**{name: F("pk")}),
        lambda rows, target, name: rows.similar_to(target).alias(**{name: F("pk")}),
        lambda rows, target, name: rows.similar_to(target).values(**{name: F("pk")}),
        lambda rows, target, name: rows.similar_to(target).extra(select={name: "1"}),
    ],
    ids=["annotate before", "alias before", "extra before", "annotate", "alias", "values", "extra"],
)
def test_similar_to__refuses_its_own_names_for_something_else(catalogue, items, query, name):
    for target in (items[0].row, catalogue.model()):  # one that is not saved has no similar products
        with pytest.raises(TypeError, match=TAKEN):
            query(catalogue, target, name)


def test_similar_to__may_be_given_its_own_values_again(catalogue, items):
    found = catalogue.similar_to(items[0].row).annotate(distance=F("distance"), twice=F("distance") * 2)[:3]
    assert [row.twice for row in found] == [row.distance * 2 for row in found]


def test_similar_to__again_on_its_own_result_is_refused(catalogue, items):
    with pytest.raises(TypeError, match="one of similar_to"):
        catalogue.similar_to(items[1].row, catalogue.similar_to(items[0].row))


@pytest.mark.parametrize(
    "values",
    [
        lambda rows: rows.annotate(up=Upper("name")).values("up"),
        lambda rows: rows.values("pk", up=Upper("name")),
        lambda rows: rows.values_list(Upper("name")),
    ],
)
def test_similar_to__of_values_with_annotations(catalogue, items, values):
    rows = values(catalogue.model._default_manager.all())
    assert len(catalogue.similar_to(items[0].row, rows)[:3]) == 3
    assert list(catalogue.similar_to(catalogue.model(), rows)) == []


CHAINED = {
    "filter": lambda found: found.filter(distance__lt=2.5, similarity__gte=0),
    "exclude": lambda found: found.exclude(similarity__lt=0),
    "order": lambda found: found.order_by("-distance", "similarity"),
    "annotate": lambda found: found.annotate(far=F("distance") + F("similarity")),
    "values": lambda found: found.values("distance", "similarity", "name"),
    "values list": lambda found: found.values_list("similarity", flat=True),
    "only": lambda found: found.only("name"),
    "slice": lambda found: found[2:4],
    "reverse": lambda found: found.reverse(),
    "ranked": lambda found: ranked(found, 3),
    "union": lambda found: found.union(found),
    "count": lambda found: [found.count()],
    "aggregate": lambda found: [found.aggregate(nearest=Min("distance"))["nearest"]],
    "iterator": lambda found: found.iterator(),
    "subquery": lambda found: found.model._default_manager.filter(pk__in=found.values("pk")),
}


@pytest.mark.parametrize("chain", CHAINED.values(), ids=CHAINED)
def test_similar_to__an_empty_answer_takes_what_a_full_one_takes(catalogue, items, chain):
    full, empty = catalogue.similar_to(items[0].row), catalogue.similar_to(catalogue.model())
    assert len(list(chain(full))) > 0
    assert list(chain(empty)) in ([], [0], [None])


@pytest.fixture
def shuffled(catalogue):
    """Gives the name of the nearest product first, of a catalogue that was filled in another order."""
    names = [f"item {number:02}" for number in (7, 2, 11, 4, 0, 9, 1, 10, 5, 3, 8, 6)]
    catalogue.fill([Item(name, [Picture(at_angle(int(name[-2:]) / 10))]) for name in names])
    return sorted(names)


def test_similar_to__rows_are_ordered_by_similarity_where_that_is_asked_for(catalogue, shuffled):
    found = catalogue.similar_to(at_angle(0.0))
    for order in ("-similarity", F("similarity").desc(), "distance"):
        assert [row.name for row in found.order_by(order)] == shuffled
        assert [row["name"] for row in found.values("name", "distance", "similarity").order_by(order)[:5]] == (
            shuffled[:5]
        )
    assert [row.name for row in found.order_by("similarity")] == shuffled[::-1]
    if not catalogue.several:
        assert len(found.order_by("similarity").distinct("similarity")) == 12


def test_similar_to__similarity_is_a_column_like_others(catalogue, items):
    found = catalogue.similar_to(items[0].row)
    rows = {row.name: row.similarity for row in found[:5]}
    assert {row["name"]: row["similarity"] for row in found.values("name", "similarity")[:5]} == pytest.approx(rows)
    assert {row["name"]: row["similarity"] for row in found.values("name", "similarity", "distance")[:5]} == rows
    assert list(found.values_list("similarity", flat=True)[:5]) == pytest.approx(list(rows.values()))
    assert [row.similarity for row in found.order_by("-similarity")[:5]] == pytest.approx(list(rows.values()))


@pytest.mark.parametrize(("name", "count"), [("product", 800), ("pictures", 100)])
def test_similar_to__pages_are_disjoint_and_complete(name, count):
    """Django's Paginator asks for each page alone, and what an index gives depends on where its scan ends."""
    random = np.random.default_rng(3)
    centres = random.normal(size=(20, 128))
    vectors = centres[random.integers(0, 20, count)] + 0.9 * random.normal(size=(count, 128))
    items = [Item(f"{number:03}", [Picture(vector(*values))]) for number, values in enumerate(vectors)]
    catalogue = CATALOGUES[name]
    catalogue.fill(items)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
    for item in items[:3]:
        pages = Paginator(catalogue.similar_to(item.row), 12)
        shown = [row.pk for number in pages.page_range for row in pages.page(number)]
        assert len(shown) == len({*shown}) == count - 1


@pytest.mark.parametrize(("per_page", "orphans"), [(12, 0), (12, 5), (7, 0), (50, 10), (150, 0), (200, 0)])
def test_similar_to__the_last_page_goes_on_where_the_others_end(monkeypatch, settings, per_page, orphans):
    """It is shorter, or longer, than the others, and an index that is not searched far makes mistakes."""
    monkeypatch.setitem(scan.SCAN_SETTINGS, "iterative_scan", "relaxed_order")
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "EF_SEARCH": 1}
    random = np.random.default_rng(5)
    items = [Item(f"{number:03}", [Picture(vector(*random.normal(size=64)))]) for number in range(343)]
    catalogue = CATALOGUES["product"]
    catalogue.fill(items)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
    for item in items[:6]:
        pages = Paginator(catalogue.similar_to(item.row), per_page, orphans=orphans)
        shown = [row.pk for number in pages.page_range for row in pages.page(number)]
        assert len(shown) == len({*shown}) == 342


def test_similar_to__the_second_page_leaves_out_what_the_first_one_has():
    """A longer scan finds another first page, with these vectors for one product of sixty."""
    random = np.random.default_rng(5)
    items = [Item(f"{number:04}", [Picture(vector(*random.normal(size=256)))]) for number in range(1_500)]
    catalogue = CATALOGUES["product"]
    catalogue.fill(items)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
    differ = 0
    for item in items[:60]:
        similar = catalogue.similar_to(item.row)
        first, second, longer = ([row.pk for row in similar[a:b]] for a, b in ((0, 30), (30, 60), (0, 128)))
        differ += {*first} != {*longer[:30]}
        assert not {*first} & {*second}
    assert differ


def test_similar_to__an_offset_of_rows_that_are_not_products_is_djangos(catalogue, items):
    """Of values over a to-many relation, and of rows that are numbered, each before counts."""
    similar = catalogue.similar_to(items[0].row)
    places = [row.place for row in similar.annotate(place=Window(RowNumber(), order_by="distance"))[4:8]]
    assert places == [5, 6, 7, 8]


def test_similar_to__values_over_a_relation_with_an_offset_are_counted_as_rows():
    """A product's rows may stand on two pages."""
    items = [Item(f"{number}", [Picture(at_angle(number / 10))]) for number in range(8)]
    catalogue = CATALOGUES["companion"]
    catalogue.fill(items)
    for item in items:
        item.row.shelves.set(Shelf.objects.create() for _ in range(3))
    rows = catalogue.similar_to(items[0].row).values("pk", "distance", "shelves")
    pages = Paginator(rows, 5)
    assert pages.count == 21
    shown = [row["shelves"] for number in pages.page_range for row in pages.page(number)]
    assert len(shown) == 21


def test_similar_to__a_page_is_the_same_whatever_form_asks_for_it(items, catalogue):
    similar = catalogue.similar_to(items[0].row)
    names = [row.name for row in similar[3:6]]
    assert list(similar.values_list("name", "pk")[3:6]) == [(row.name, row.pk) for row in similar[3:6]]
    assert [row.name for row in similar[3:]][:3] == names
    assert list(similar[5:5]) == []
    assert [row.name for row in similar[10:20]] == ["item 11"]
    assert list(similar[30:40]) == []
