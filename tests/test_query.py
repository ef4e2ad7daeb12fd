import re

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.db import NotSupportedError, connection, models
from django.db.models import Count, F
from django.test.utils import isolate_apps

from similar_products.embedding import embed
from similar_products.embedding.companions import create_companions
from similar_products.models import VisuallySimilarModel
from similar_products.query import SimilarManager, similar_to
from tests.catalogues import ENCODER, add_shirt, add_vase, at_angle
from tests.drawn_pictures import picture_file
from tests.models import CheapShirt, Lamp, Order, PrintedShirt, Shelf, Shirt, Vase, VaseLook

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes")]


def names(queryset) -> list[str]:
    return [row.name for row in queryset]


@pytest.fixture
def shirts() -> list[Shirt]:
    return [add_shirt(f"shirt {number}", number / 10, price=number) for number in range(12)]


@pytest.fixture
def vases() -> list[Vase]:
    return [add_vase(f"vase {number}", number / 10, stock=number % 2) for number in range(6)]


def test_similar_to__is_nearest_first_without_the_target(shirts):
    found = Shirt.objects.similar_to(shirts[3])[:4]
    assert set(names(found[:2])) == {"shirt 2", "shirt 4"}
    assert [row.distance for row in found] == sorted(row.distance for row in found)
    assert found[0].distance == pytest.approx(1 - np.cos(0.1), abs=1e-3)
    assert shirts[3] not in found


def test_similar_to__breaks_ties_by_key():
    rows = [add_shirt(f"twin {number}", 0.5) for number in range(5)]
    assert names(Shirt.objects.similar_to(rows[0])) == [row.name for row in rows[1:]]


def test_similar_to__is_lazy_and_one_query(shirts, django_assert_num_queries):
    with django_assert_num_queries(0):
        similar = Shirt.objects.similar_to(shirts[0]).filter(price__gt=3)[:3]
    with django_assert_num_queries(1) as captured:
        assert names(similar) == ["shirt 4", "shirt 5", "shirt 6"]
    selected = captured.captured_queries[0]["sql"].partition(" FROM ")[0]
    assert '"embedding",' not in selected


def test_similar_to__needs_only_the_key_of_the_target(shirts, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert names(Shirt.objects.similar_to(Shirt(pk=shirts[0].pk))[:1]) == ["shirt 1"]


@pytest.mark.parametrize("filters_first", [True, False])
def test_similar_to__takes_filters_before_and_after(shirts, filters_first):
    rows = Shirt.objects.all()
    if filters_first:
        found = rows.filter(price__lt=3).exclude(price=1).similar_to(shirts[5])
    else:
        found = rows.similar_to(shirts[5]).filter(price__lt=3).exclude(price=1)
    assert names(found) == ["shirt 2", "shirt 0"]


def test_similar_to__takes_annotations_offsets_and_subqueries(shirts):
    Order.objects.create(shirt=shirts[2])
    found = Shirt.objects.annotate(sold=Count("orders")).similar_to(shirts[0])
    assert [(row.name, row.sold) for row in found[:3]] == [("shirt 1", 0), ("shirt 2", 1), ("shirt 3", 0)]
    assert names(found[2:4]) == ["shirt 3", "shirt 4"]
    inner = Shirt.objects.similar_to(shirts[0])[:3]
    assert Shirt.objects.filter(pk__in=inner.values("pk")).count() == 3


def test_similar_to__a_target_without_vector_gives_nothing(shirts):
    failed = add_shirt("failed", None)
    assert not Shirt.objects.similar_to(failed).exists()
    assert not Shirt.objects.similar_to(Shirt(name="unsaved")).exists()
    assert not Shirt.objects.similar_to(Shirt(pk=0)).exists()


def test_similar_to__a_target_whose_picture_changed_gives_nothing(shirts):
    Shirt.objects.filter(pk=shirts[0].pk).update(image="shirts/new.png")
    assert not Shirt.objects.similar_to(shirts[0]).exists()


def test_similar_to__leaves_out_rows_whose_picture_changed(shirts):
    Shirt.objects.filter(pk=shirts[1].pk).update(image="shirts/new.png")
    assert "shirt 1" not in names(Shirt.objects.similar_to(shirts[0]))


def test_similar_to__compares_rows_of_one_encoder_only(shirts):
    old = [add_shirt(f"old {number}", number / 10, encoder="older") for number in range(3)]
    assert names(Shirt.objects.similar_to(old[0])) == ["old 1", "old 2"]
    assert not {"old 0", "old 1", "old 2"} & set(names(Shirt.objects.similar_to(shirts[0])))


def test_similar_to__of_a_picture_name_with_the_separator():
    first = add_shirt("a", 0.0, image="shirts/a|b.png")
    add_shirt("b", 0.1, image="shirts/b|c|d.png")
    assert names(Shirt.objects.similar_to(first)) == ["b"]


def test_similar_to__after_reverse_is_nearest_first_all_the_same(shirts):
    assert names(Shirt.objects.reverse().similar_to(shirts[0])[:2]) == ["shirt 1", "shirt 2"]


def test_similar_to__ordering_of_the_model_does_not_enter_the_subqueries(shirts):
    assert str(Shirt.objects.similar_to(shirts[0]).query).count("ORDER BY") == 1


def test_similar_to__orders_by_distance_and_then_key(shirts):
    assert Shirt.objects.similar_to(shirts[0]).query.order_by == ("_similar_distance", "pk")


def test_similar_to__proxy_and_child_table(shirts):
    printed = PrintedShirt.objects.create(name="printed", motif="cat")
    Shirt.objects.filter(pk=printed.pk).update(
        image="p.png", embedding=at_angle(0.0), embedding_source=f"{ENCODER}|p.png"
    )
    assert names(PrintedShirt.objects.similar_to(shirts[1])) == ["printed"]
    assert names(Shirt.objects.similar_to(printed)[:1]) == ["shirt 0"]
    assert names(CheapShirt.objects.similar_to(shirts[0])[:2]) == ["printed", "shirt 1"]
    assert names(Shirt.objects.similar_to(CheapShirt.objects.get(pk=shirts[0].pk))[:1]) == ["printed"]


def test_similar_to__text_key_and_hidden_rows():
    Lamp.embeddings.bulk_create(
        Lamp(
            code=code,
            published=code != "b",
            image=f"{code}.png",
            embedding=at_angle(angle),
            embedding_source=f"{ENCODER}|{code}.png",
        )
        for code, angle in [("a", 0.0), ("b", 0.1), ("c", 0.2)]
    )
    assert [lamp.code for lamp in Lamp.objects.similar_to(Lamp(pk="a"))] == ["c"]
    assert [lamp.code for lamp in Lamp.embeddings.similar_to(Lamp(pk="a"))] == ["b", "c"]


def test_similar_to__of_another_model_is_refused(shirts, vases):
    with pytest.raises(
        TypeError, match=r"similar_to\(\) on tests.Shirt takes one of its instances, several, .*; not Vase"
    ):
        Shirt.objects.similar_to(vases[0])
    with pytest.raises(TypeError, match="not int"):
        Shirt.objects.similar_to(3)


def test_similar_to__on_a_model_without_vectors_is_refused(shirts):
    order = Order.objects.create(shirt=shirts[0])
    with pytest.raises(TypeError, match="tests.Order, which is not derived from VisuallySimilarModel"):
        similar_to(Order.objects.all(), order)


# On a one-to-one companion.


def test_companion__finds_products_in_one_query(vases, django_assert_num_queries):
    with django_assert_num_queries(1) as captured:
        assert names(Vase.objects.filter(stock=1).similar_to(vases[0])[:2]) == ["vase 1", "vase 3"]
    assert "LEFT" not in captured.captured_queries[0]["sql"]


def test_companion__through_a_manager_that_is_not_ours(vases):
    found = similar_to(Vase._base_manager.all(), vases[0], through="look")
    assert names(found[:2]) == ["vase 1", "vase 2"]


def test_companion__stale_and_other_encoders_are_left_out(vases):
    Vase.objects.filter(pk=vases[1].pk).update(image="vases/new.png")
    add_vase("other", 0.0, encoder="older")
    assert names(Vase.objects.similar_to(vases[0])[:2]) == ["vase 2", "vase 3"]


def test_companion__itself_finds_companions(vases):
    found = VaseLook.objects.similar_to(vases[0].look)[:2]
    assert [row.vase.name for row in found] == ["vase 1", "vase 2"]


def test_companion__managers_of_relations_work_as_well(vases):
    shelf = Shelf.objects.create()
    shelf.vases.add(*vases[2:4])
    shelf.many_vases.add(*vases[2:])
    assert names(shelf.vases.all()) == ["vase 3", "vase 2"]
    assert names(shelf.vases.similar_to(vases[0])) == ["vase 2", "vase 3"]
    assert names(shelf.many_vases.similar_to(vases[0])[:3]) == ["vase 2", "vase 3", "vase 4"]
    (loaded,) = Shelf.objects.prefetch_related("vases", "many_vases")
    assert len(loaded.vases.all()) == 2


@isolate_apps("tests")
def test_companion__whose_relation_points_to_another_field(settings):
    class Plate(models.Model):
        sku = models.CharField(max_length=9, unique=True)
        image = models.ImageField(upload_to="plates")
        objects = SimilarManager(through="look")

        class Meta:
            app_label = "tests"

    class PlateLook(VisuallySimilarModel):
        similar_image = "plate__image"
        plate = models.OneToOneField(Plate, models.CASCADE, to_field="sku", related_name="look")

        class Meta:
            app_label = "tests"

    with connection.schema_editor() as editor:
        editor.create_model(Plate)
        editor.create_model(PlateLook)
    name = default_storage.save("plate.png", picture_file("red", "blue"))
    rows = Plate.objects.bulk_create(Plate(sku=f"s{number}", image=name) for number in range(3))
    assert create_companions(PlateLook, "default") == 3
    assert embed(PlateLook.objects.pending()).embedded == 3
    assert list(Plate.objects.similar_to(rows[0])) == rows[1:]


def test_companion__states_are_asked_of_the_companion(vases):
    with pytest.raises(TypeError, match="ask tests.VaseLook for their state"):
        Vase.objects.pending()
    assert VaseLook.objects.ready().count() == 6


# States.


def test_states__are_derived_from_the_columns():
    add_shirt("ready", 0.0)
    add_shirt("failed", None)
    add_shirt("other encoder", 0.1, encoder="older")
    add_shirt("replaced", 0.2)
    Shirt.objects.filter(name="replaced").update(image="shirts/new.png")
    Shirt.objects.create(name="no picture")
    assert names(Shirt.objects.ready()) == ["ready"]
    assert names(Shirt.objects.failed()) == ["failed"]
    assert names(Shirt.objects.pending()) == ["other encoder", "replaced"]
    assert Shirt.objects.with_picture().count() == 4


# EXPLAIN: the index is used, and what would lose it is pinned.


@pytest.fixture
def many_shirts() -> list[Shirt]:
    rows = [
        Shirt(
            name=f"{number:03}",
            price=number,
            image=f"{number}.png",
            embedding=at_angle(number / 200),
            embedding_source=f"{ENCODER}|{number}.png",
        )
        for number in range(300)
    ]
    Shirt.objects.bulk_create(rows)
    Order.objects.bulk_create(Order(shirt_id=row.pk) for row in rows[:50])
    return rows


@pytest.mark.parametrize(
    "form",
    [
        lambda rows, target: rows.similar_to(target)[:12],
        lambda rows, target: rows.filter(price__lt=100).similar_to(target)[:12],
        lambda rows, target: rows.similar_to(target).filter(price__lt=100)[:12],
        lambda rows, target: rows.filter(orders__isnull=False).similar_to(target)[:12],
        lambda rows, target: rows.similar_to(target)[24:36],
        lambda rows, target: rows.order_by("price").similar_to(target)[:12],
        lambda rows, target: rows.similar_to(target).annotate(double=F("price") * 2)[:12],
        lambda rows, target: rows.filter(pk__in=rows.similar_to(target)[:12].values("pk")),
    ],
    ids=[
        "plain",
        "filtered before",
        "filtered after",
        "joined",
        "offset",
        "ordered before",
        "annotated",
        "pk__in",
    ],
)
def test_explain__uses_the_vector_index(many_shirts, explain, form):
    plan = explain(form(Shirt.objects.all(), many_shirts[0]))
    assert "Index Scan using shirt_9a438cef_hnsw" in plan
    assert "One-Time Filter" in plan  # the guard and the iterative scan run before, and once


def test_explain__uses_the_vector_index_where_rows_are_counted(sorts_ties, many_shirts, explain):
    plan = explain(Shirt.objects.annotate(sold=Count("orders")).similar_to(many_shirts[0])[:12])
    assert "Index Scan using shirt_9a438cef_hnsw" in plan


def test_explain__staleness_is_taken_for_rare(many_shirts):
    """As a plain comparison it would be taken for true on 0.5 % of the rows, and a full scan for cheaper."""
    plan = Shirt.objects.similar_to(many_shirts[0])[:300].explain()
    (estimate,) = re.findall(r"Scan (?:using \w+ )?on tests_shirt  \(cost=\S+ rows=(\d+)", plan)
    assert int(estimate) > 100


def test_explain__without_a_vector_nothing_is_scanned(many_shirts, explain):
    pending = Shirt.objects.create(name="pending")
    plan = Shirt.objects.similar_to(pending)[:12].explain(analyze=True)
    assert re.search(r"on tests_shirt .*\(never executed\)", plan)


def test_explain__companion_uses_the_vector_index(explain):
    rows = [add_vase(f"{number}", number / 100) for number in range(120)]
    assert "Index Scan using vaselook_8b0443f7_hnsw" in explain(Vase.objects.similar_to(rows[0])[:12])


def test_filtered__gives_k_rows_at_any_selectivity(many_shirts, explain, django_assert_num_queries):
    """Without iterative scans the first ef_search of the index's rows would be all that is filtered."""
    similar = Shirt.objects.filter(price__gte=250).similar_to(many_shirts[0])[:12]
    assert "Index Scan using shirt_9a438cef_hnsw" in explain(similar)
    with django_assert_num_queries(1):
        assert [row.price for row in similar] == list(range(250, 262))


@pytest.mark.django_db(transaction=True)
def test_iterative_scan__leaves_nothing_behind_on_the_connection(shirts):
    assert len(Shirt.objects.similar_to(shirts[0])[:3]) == 3
    with connection.cursor() as cursor:
        cursor.execute("SHOW hnsw.iterative_scan")
        assert cursor.fetchone() == ("off",)


@pytest.mark.parametrize("state", ["with_picture", "pending", "ready", "failed"])
def test_states__of_a_union_are_refused_as_its_filters_are(db, state):
    union = Shirt.objects.filter(price=1).union(Shirt.objects.filter(price=2))
    with pytest.raises(NotSupportedError, match="filter"):
        getattr(union, state)()
