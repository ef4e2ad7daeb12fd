"""Tools that take every column of a model: the derived ones stay out, or the page on packages says how."""

import csv
import io

import pytest
import tablib
from auditlog.models import LogEntry
from import_export import resources

from similar_products.models import DERIVED_FIELDS
from tests.drawn_pictures import picture_file
from tests.packages.shop.models import Kettle

pytestmark = pytest.mark.django_db(transaction=True)


class KettleResource(resources.ModelResource):
    class Meta:
        model = Kettle
        use_bulk = True


@pytest.fixture
def kettles():
    return [Kettle.objects.create(name=color, image=picture_file(color)) for color in ("red", "blue", "green")]


def test_import_export__leaves_the_derived_columns_out(kettles, django_assert_max_num_queries):
    with django_assert_max_num_queries(3):
        exported = KettleResource().export()
    assert {"name", "price"} <= {*exported.headers}
    assert not {*DERIVED_FIELDS} & {*exported.headers}


def test_import_export__in_bulk_leaves_vectors_as_they_are(kettles):
    table = KettleResource().export()
    table = tablib.Dataset().load(table.csv.replace(",10,", ",11,"), format="csv")
    result = KettleResource().import_data(table, raise_errors=True)
    assert result.totals["update"] == 3
    assert {*Kettle.objects.values_list("price", flat=True)} == {11}
    assert Kettle.objects.ready().count() == 3


def test_import_export__gives_the_columns_that_are_named(kettles):
    class Sources(resources.ModelResource):
        class Meta:
            model = Kettle
            fields = ("id", "embedding_source")

    assert Sources().export().headers == ["id", "embedding_source"]


def test_auditlog__of_a_name_logs_the_name_alone(kettles):
    LogEntry.objects.all().delete()
    kettle = Kettle.objects.first()
    kettle.name = "kettle"
    kettle.save()
    assert {*LogEntry.objects.get().changes} == {"name"}


def test_simple_history__keeps_no_vector(kettles):
    kettle = Kettle.objects.first()
    kettle.name = "kettle"
    kettle.save()
    newest, oldest = kettle.history.first(), kettle.history.last()
    assert {change.field for change in newest.diff_against(oldest).changes} == {"name"}
    assert not hasattr(newest, "embedding")


def test_field_tracker__sees_the_name_alone(kettles):
    kettle = Kettle.objects.first()
    kettle.name = "kettle"
    assert "embedding" not in kettle.tracker.changed()
    kettle.save()
    assert not kettle.tracker.changed()
    assert Kettle.objects.ready().count() == 3


def test_csv__of_the_columns_that_are_data(kettles, django_assert_num_queries):
    """As an action of the admin writes it, with the line of the page on packages."""
    fields = [field.name for field in Kettle._meta.fields if field.name not in DERIVED_FIELDS]
    with django_assert_num_queries(1):
        rows = [[getattr(kettle, name) for name in fields] for kettle in Kettle.objects.order_by("pk")]
    file = io.StringIO()
    csv.writer(file).writerows([fields, *rows])
    assert len(file.getvalue()) < 2_000


def test_ninja__schema_of_all_columns_but_the_derived_ones(kettles):
    from ninja import ModelSchema

    class KettleSchema(ModelSchema):
        class Meta:
            model = Kettle
            exclude = DERIVED_FIELDS

    shown = KettleSchema.from_orm(kettles[0]).model_dump()
    assert shown["name"] == "red"
    assert not {*DERIVED_FIELDS} & {*shown}


def test_graphene__type_of_all_columns_but_the_derived_ones(kettles):
    import graphene
    from graphene_django import DjangoObjectType

    class KettleType(DjangoObjectType):
        class Meta:
            model = Kettle
            exclude = DERIVED_FIELDS

    class Query(graphene.ObjectType):
        kettles = graphene.List(KettleType)

        def resolve_kettles(self, info):
            return Kettle.objects.order_by("pk")

    schema = graphene.Schema(query=Query)
    assert "embedding" not in str(schema)
    assert schema.execute("{ kettles { name } }").data["kettles"][0] == {"name": "red"}


def test_rest_framework__leaves_the_derived_columns_out(kettles, django_assert_num_queries):
    from rest_framework.serializers import ModelSerializer

    class KettleSerializer(ModelSerializer):
        class Meta:
            model = Kettle
            fields = "__all__"

    with django_assert_num_queries(1):
        shown = KettleSerializer(Kettle.objects.all(), many=True).data
    assert {*shown[0]} == {"id", "name", "price", "image"}


def test_django_filter__of_all_columns_but_the_derived_ones(kettles):
    from django_filters import FilterSet

    class KettleFilter(FilterSet):
        class Meta:
            model = Kettle
            exclude = (*DERIVED_FIELDS, "image")

    assert [kettle.name for kettle in KettleFilter({"name": "red"}, Kettle.objects.all()).qs] == ["red"]
