"""Parts of a statement that are built once, and SQL written out."""

import pickle
from typing import Any, ClassVar

import pytest
from django.db import connection
from django.db.models import Count, Exists, F, IntegerField, Subquery, Value
from django.db.models.functions import Abs

from similar_products.search.expressions import Condition, Independent, Written
from tests.models import Shelf, Shirt

pytestmark = pytest.mark.django_db


class Counted(Abs):
    """Knows how often it was resolved and compiled."""

    resolved: ClassVar[list[Any]] = []
    compiled: ClassVar[list[Any]] = []

    def resolve_expression(self, *args: Any, **kwargs: Any) -> Any:
        self.resolved.append(self)
        return super().resolve_expression(*args, **kwargs)

    def as_sql(self, *args: Any, **kwargs: Any) -> Any:
        self.compiled.append(self)
        return super().as_sql(*args, **kwargs)


@pytest.fixture(autouse=True)
def _none_counted():
    Counted.resolved.clear()
    Counted.compiled.clear()


@pytest.fixture
def shelves() -> list[Shelf]:
    return [Shelf.objects.create() for _ in range(3)]


def test_independent__is_resolved_and_compiled_once_wherever_it_stands(shelves):
    two = Independent(Counted(Value(-2), output_field=IntegerField()))
    found = Shelf.objects.annotate(two=two).filter(pk__gte=two).annotate(four=two + F("two")).order_by("-pk")
    for queryset in (found, found.filter(two=2)):
        assert [(row.pk, row.two, row.four) for row in queryset] == [
            (shelf.pk, 2, 4) for shelf in reversed(shelves) if shelf.pk >= 2
        ]
    assert (len(Counted.resolved), len(Counted.compiled)) == (1, 1)


def test_independent__of_the_same_table_is_not_mixed_up_with_the_query_around(shelves):
    first, *others = shelves
    smallest = Independent(Subquery(Shelf.objects.order_by("pk").values("pk")[:1]))
    assert list(Shelf.objects.filter(pk__gt=smallest).order_by("pk")) == others
    assert list(Shelf.objects.filter(pk__in=Shelf.objects.filter(pk=smallest))) == [first]
    nothing = Independent(Exists(Shelf.objects.filter(pk=0)))
    assert list(Shelf.objects.filter(nothing)) == []
    assert Shelf.objects.filter(~nothing).count() == len(shelves)


def test_independent__that_is_empty_counts_as_it_would_by_itself(shelves):
    nothing = Independent(Subquery(Shelf.objects.none().values("pk")))
    assert [row.nothing for row in Shelf.objects.annotate(nothing=nothing)] == [None] * len(shelves)
    assert list(Shelf.objects.filter(pk=nothing)) == []


def test_independent__goes_with_groups_and_into_a_pickle(shelves):
    largest = Independent(Subquery(Shelf.objects.order_by("-pk").values("pk")[:1]))
    found = Shelf.objects.annotate(largest=largest)
    assert list(found.values("largest").annotate(shelves=Count("pk"))) == [
        {"largest": shelves[-1].pk, "shelves": len(shelves)}
    ]
    again = Shelf.objects.none()
    again.query = pickle.loads(pickle.dumps(found.filter(pk=largest).query))
    assert list(again) == shelves[-1:]


def test_written__has_its_parameters_in_the_order_of_the_sql(shelves):
    written = Written(
        "{b} || ' 100 %% ' || {a} || {b} || {pk}",
        a=Value("a"),
        b=Value("b"),
        pk=Written("{pk}::text", pk="pk"),
        output_field=Shirt._meta.get_field("name"),
    )
    assert [row.text for row in Shelf.objects.annotate(text=written).order_by("pk")] == [
        f"b 100 % ab{shelf.pk}" for shelf in shelves
    ]


def test_condition__is_taken_for_true_on_nearly_allguessed_rows():
    Shirt.objects.bulk_create(Shirt(name=str(number)) for number in range(1000))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tests_shirt")

    def guessed_rows(queryset: Any) -> int:
        with connection.cursor() as cursor:
            sql, parameters = queryset.query.sql_with_params()
            cursor.execute(f"EXPLAIN (FORMAT json) {sql}", parameters)
            (plan,) = cursor.fetchone()
        return plan[0]["Plan"]["Plan Rows"]

    shirts = Shirt.objects.only("pk")
    plain = Written("{name} || 'a' = {name}", name="name", output_field=Condition.output_field)
    assert guessed_rows(shirts.filter(plain)) <= 10
    assert guessed_rows(shirts.filter(Condition("{name} || 'a' = {name}", name="name"))) >= 990
    assert not shirts.filter(Condition("{name} || 'a' = {name}", name="name")).exists()
    assert shirts.filter(~Condition("{name} = '7'", name="name")).count() == 999
