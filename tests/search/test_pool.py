"""The nearest few compared with each other, in the statement that finds them."""

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection, models
from django.db.models import Value
from django.test.utils import isolate_apps

from similar_products.merchandising.models import Rule
from similar_products.models import VisuallySimilarModel
from similar_products.search.ranking import ranked
from tests.catalogues import ENCODER, at_angle, filled

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_indexes")]


def names(rows) -> list[str]:
    return [row.name for row in rows]


def test_ranked__exact_search_as_well(catalogue, bands):
    filled(catalogue, 0.0, 0.2, 0.21, 0.6)
    found = ranked(catalogue.similar_to(at_angle(0.0), exact=True), 9, diversity=0.1)
    assert names(found) == ["item 00", "item 01", "item 03"]


def test_ranked__uses_the_vector_index_for_the_pool(catalogue, bands, django_assert_num_queries):
    filled(catalogue, *[number / 60 for number in range(40)])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
        with django_assert_num_queries(1) as captured:
            ranked(catalogue.similar_to(at_angle(0.0)), 6, diversity=0.5)
        cursor.execute(f"EXPLAIN {captured.captured_queries[0]['sql']}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert plan.count(f"Index Scan using {catalogue.index}") == 1  # for the rows and the vectors they are compared with


def test_ranked__takes_annotations_of_any_name(catalogue, bands):
    filled(catalogue, 0.0, 0.3, 0.305, 0.8)
    values = {name: Value(number) for number, name in enumerate(["own", "col1", "c1", "x" * 63 + "1", "x" * 63 + "2"])}
    found = ranked(catalogue.similar_to(at_angle(0.0)).annotate(**values), 3)
    assert names(found) == ["item 00", "item 01", "item 03"]
    assert [getattr(found[0], name) for name in values] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("table", ["own", "pool", "other", "rule", "target"])
def test_ranked__takes_tables_of_any_name(table, bands):
    """The statement has names of its own beside them."""
    with isolate_apps("tests"):

        class Named(VisuallySimilarModel):
            name = models.CharField(max_length=10)
            image = models.ImageField()

            class Meta:
                app_label = "tests"
                db_table = table

        with connection.schema_editor() as editor:
            editor.create_model(Named)
        rows = [
            Named(name=name, image=name, embedding=at_angle(angle), embedding_source=f"{ENCODER}|{name}")
            for name, angle in [("a", 0.0), ("b", 0.3), ("c", 0.305), ("d", 0.8)]
        ]
        Named.objects.bulk_create(rows)
        kind = ContentType.objects.create(app_label="tests", model="named")
        Rule.objects.create(
            content_type=kind, product_key=rows[0].pk, action=Rule.Action.PIN, other_key=rows[3].pk, place=1
        )
        assert names(Named.objects.similar_to(rows[0]).ranked(3)) == ["d", "b"]
        assert names(Named.objects.similar_to(Named.objects.filter(name="a")).ranked(3)) == ["d", "b"]
