import pickle
import uuid

import pytest
from django.core import serializers
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, models, transaction
from django.test.utils import isolate_apps
from pgvector.django import HnswIndex, VectorField

from similar_products.embedding.index_build import get_index
from similar_products.models import VisuallySimilarModel, get_holders
from similar_products.search.hnsw_index import index_name
from tests.drawn_pictures import picture_file
from tests.models import (
    ChairPhoto,
    Dish,
    Lamp,
    LimitedEditionScreenPrintedPosterOfMuseum,
    Order,
    PageLook,
    PrintedShirt,
    RugPhotoLook,
    Shirt,
    VaseLook,
)

pytestmark = pytest.mark.django_db

COLUMNS = ("embedding", "embedding_source", "embedding_error")


@pytest.fixture
def shirt(django_capture_on_commit_callbacks) -> Shirt:
    with django_capture_on_commit_callbacks(execute=True):
        return Shirt.objects.create(name="Plain", image=picture_file("tomato"))


def stored(row: models.Model) -> tuple:
    return type(row)._base_manager.values_list("embedding", "embedding_source").get(pk=row.pk)


def assert_nothing_loaded(row: models.Model) -> None:
    assert row.get_deferred_fields() >= set(COLUMNS)


# Loading: the derived columns stay in the database unless they are named.


def test_default_manager__does_not_load_derived_columns(shirt):
    assert_nothing_loaded(Shirt.objects.get())


def test_base_manager__does_not_load_derived_columns(shirt):
    assert_nothing_loaded(Shirt._base_manager.get())


def test_foreign_key__does_not_load_derived_columns(shirt):
    order = Order.objects.create(shirt=shirt)
    assert_nothing_loaded(Order.objects.get(pk=order.pk).shirt)


def test_prefetch__does_not_load_derived_columns(shirt):
    order = Order.objects.create(shirt=shirt)
    order.shirts.add(shirt)
    (loaded,) = Order.objects.prefetch_related("shirts", "shirt")
    assert_nothing_loaded(loaded.shirts.all()[0])
    assert_nothing_loaded(loaded.shirt)


def test_refresh_from_db__does_not_load_derived_columns(shirt):
    loaded = Shirt.objects.get()
    loaded.refresh_from_db()
    assert_nothing_loaded(loaded)


def test_full_clean__asks_no_query_for_derived_columns(shirt, django_assert_num_queries):
    loaded = Shirt.objects.get()
    with django_assert_num_queries(0):
        loaded.full_clean()
    assert_nothing_loaded(loaded)


def test_select_related__loads_derived_columns_unless_deferred(shirt):
    """Django's limit, documented in docs/limits.md with its cure."""
    Order.objects.create(shirt=shirt)
    assert "embedding" in str(Order.objects.select_related("shirt").query)
    cure = Order.objects.select_related("shirt").defer(*(f"shirt__{name}" for name in COLUMNS))
    assert '"embedding"' not in str(cure.query)
    assert_nothing_loaded(cure.get().shirt)


def test_bare_values__loads_derived_columns(shirt):
    """Django's limit, documented in docs/limits.md: name the fields."""
    assert "embedding" in Shirt.objects.values()[0]
    assert set(Shirt.objects.values("name")[0]) == {"name"}


def test_list_of_products__is_one_query_without_the_vector(
    shirt, django_assert_num_queries, django_capture_on_commit_callbacks
):
    Shirt.objects.bulk_create(Shirt(name=f"No. {number}") for number in range(30))
    with django_assert_num_queries(1) as captured:
        assert len([row.name for row in Shirt.objects.all()[:30]]) == 30
    assert "embedding" not in captured.captured_queries[0]["sql"]


def test_deferred_field__when_touched_keeps_unsaved_changes(shirt, django_assert_num_queries):
    loaded = Shirt.objects.get()
    loaded.name = "Changed"
    with django_assert_num_queries(1):
        assert len(loaded.embedding) == 1280
    assert loaded.name == "Changed"


def test_only__names_a_derived_column(shirt, django_assert_num_queries):
    with django_assert_num_queries(1):
        loaded = Shirt.objects.only("embedding").get()
        assert len(loaded.embedding) == 1280


def test_base_manager__is_ours_under_own_filtering_manager(picture):
    Lamp.objects.create(code="a", published=False, image=picture)
    assert Lamp.objects.count() == 0
    assert Lamp._base_manager.name == "embeddings"
    assert Lamp._base_manager.count() == 1


# Saving: the derived columns are never written.


def test_save__of_a_stale_instance_keeps_the_vector(picture):
    stale = Shirt.objects.create(name="Plain", image=picture)
    Shirt.objects.filter(pk=stale.pk).update(embedding=[1.0] + [0.0] * 1279, embedding_source="enc|a.png")
    stale.name = "Renamed"
    stale.save()
    vector, source = stored(stale)
    assert vector[0] == 1.0
    assert source == "enc|a.png"
    assert Shirt.objects.get().name == "Renamed"


def test_save__of_an_instance_with_a_loaded_vector_keeps_the_newer_one(shirt):
    stale = Shirt.objects.defer(None).get()
    Shirt.objects.filter(pk=shirt.pk).update(embedding=[0.0, 1.0] + [0.0] * 1278)
    stale.save()
    assert stored(shirt)[0][1] == 1.0
    assert stale.embedding[1] == 1.0


def test_save__ignores_a_vector_set_by_hand(shirt):
    before = stored(shirt)
    shirt.embedding = [0.0, 1.0] + [0.0] * 1278
    shirt.embedding_source = "by hand"
    shirt.save()
    assert stored(shirt) == before


@pytest.mark.parametrize("fields", [["embedding"], ["name", "embedding", "embedding_source"]])
def test_save__with_derived_update_fields_writes_the_others_only(shirt, fields):
    before = stored(shirt)
    shirt.name = "Renamed"
    shirt.embedding = None
    shirt.save(update_fields=fields)
    assert stored(shirt) == before
    assert Shirt.objects.get().name == ("Renamed" if "name" in fields else "Plain")


def test_save__of_a_clone_starts_without_vector(shirt):
    clone = Shirt.objects.get()
    clone.pk = None
    clone.save()
    assert clone.pk != shirt.pk
    assert stored(clone) == (None, "")
    assert stored(shirt)[0] is not None


def test_save__of_a_clone_with_a_new_uuid_starts_without_vector(picture):
    poster = LimitedEditionScreenPrintedPosterOfMuseum.objects.create(scan=picture)
    rows = LimitedEditionScreenPrintedPosterOfMuseum.objects
    rows.update(embedding=[1.0] + [0.0] * 1279, embedding_source="enc|a.png")
    clone = rows.get()
    clone.pk = uuid.uuid4()
    clone.save()
    assert stored(clone) == (None, "")
    assert stored(poster)[1] == "enc|a.png"


def test_save__of_a_row_deleted_meanwhile_inserts_it_as_django_does(shirt):
    Shirt.objects.all().delete()
    shirt.save()
    assert stored(shirt) == (None, "")


def test_save__of_a_partly_loaded_instance_keeps_the_vector(shirt):
    before = stored(shirt)
    partly = Shirt.objects.only("name").get()
    partly.name = "Renamed"
    partly.save()
    assert stored(shirt) == before
    assert Shirt.objects.get().price == 10


def test_save__of_a_child_table_row_keeps_the_vector(picture):
    printed = PrintedShirt.objects.create(name="Cat", motif="cat", image=picture)
    Shirt.objects.filter(pk=printed.pk).update(embedding=[1.0] + [0.0] * 1279, embedding_source="enc|a")
    printed.motif = "dog"
    printed.save()
    assert stored(Shirt.objects.get())[1] == "enc|a"
    assert PrintedShirt.objects.get().motif == "dog"


def test_update_or_create__keeps_the_vector(shirt):
    before = stored(shirt)
    Shirt.objects.update_or_create(pk=shirt.pk, defaults={"price": 99})
    assert stored(shirt) == before


def test_fixture__has_no_derived_columns_and_keeps_the_vector(shirt):
    before = stored(shirt)
    fixture = serializers.serialize("json", Shirt.objects.all())
    assert "embedding" not in fixture
    for row in serializers.deserialize("json", fixture):
        row.save()
    assert stored(shirt) == before


def test_pickle__of_an_instance_has_no_vector(shirt):
    assert_nothing_loaded(pickle.loads(pickle.dumps(Shirt.objects.get())))


def test_bulk_create__of_a_clone_starts_without_vector(shirt):
    clone = Shirt.objects.get()
    clone.pk = None
    (made,) = Shirt.objects.bulk_create([clone])
    assert stored(made) == (None, "")


def test_save__that_fails_leaves_a_new_instance_usable(picture):
    unsaved = Shirt(pk=1, name="a" * 51)
    with pytest.raises(DataError), transaction.atomic():
        unsaved.save()
    assert unsaved.embedding_source == ""


def test_refresh_from_db__of_a_full_instance_does_not_keep_old_values(picture):
    (row,) = Shirt.objects.bulk_create([Shirt(name="a")])
    Shirt.objects.update(embedding_source="enc|a.png")
    row.refresh_from_db()
    assert row.embedding_source == "enc|a.png"


# Index and constraint.


@pytest.mark.parametrize("model", [Shirt, LimitedEditionScreenPrintedPosterOfMuseum, Lamp, VaseLook])
def test_model__has_one_index_and_one_constraint_of_its_own(model):
    (index,) = [index for index in model._meta.indexes if isinstance(index, HnswIndex)]
    assert len(index.name) <= 31
    assert (index.m, index.ef_construction) == (24, 128)
    assert [constraint.name for constraint in model._meta.constraints] == [index.name.replace("_hnsw", "_norm")]


def test_own_meta__keeps_its_options_and_indexes():
    assert Shirt._meta.ordering == ("name",)
    names = [index.fields for index in LimitedEditionScreenPrintedPosterOfMuseum._meta.indexes]
    assert ["created"] in names


def test_proxy_and_child_table__have_no_index_of_their_own():
    assert not any(isinstance(index, HnswIndex) for index in PrintedShirt._meta.indexes)
    assert {holder for holder in get_holders() if holder._meta.app_label == "tests"} == {
        Shirt,
        LimitedEditionScreenPrintedPosterOfMuseum,
        Lamp,
        VaseLook,
        Dish,
        PageLook,
        ChairPhoto,
        RugPhotoLook,
    }


@isolate_apps("tests")
def test_overridden_embedding__gives_the_index_its_dimensions():
    class Rug(VisuallySimilarModel):
        image = models.ImageField()
        embedding = VectorField(dimensions=256, null=True, blank=True, editable=False, serialize=False)

        class Meta:
            app_label = "tests"
            constraints = (models.CheckConstraint(condition=models.Q(pk__gt=0), name="positive"),)

    (index,) = Rug._meta.indexes
    (operator_class,) = index.expressions
    assert operator_class.get_source_expressions()[0].output_field.dimensions == 256
    assert len(Rug._meta.constraints) == 2


@isolate_apps("tests")
def test_own_vector_index_of_a_shop__stands_beside_ours():
    class Tile(VisuallySimilarModel):
        image = models.ImageField()
        text = VectorField(dimensions=3)

        class Meta:
            app_label = "tests"
            indexes = (HnswIndex(fields=["text"], name="text_hnsw", opclasses=["vector_cosine_ops"]),)

    assert [index.name for index in Tile._meta.indexes] == ["text_hnsw", index_name(Tile)]
    assert get_index(Tile).name == index_name(Tile)


@pytest.mark.parametrize("vector", [[0.0] * 1280, [2.0] + [0.0] * 1279])
def test_constraint__refuses_a_vector_that_is_not_of_norm_one(shirt, vector):
    with pytest.raises(IntegrityError, match="norm"), transaction.atomic():
        Shirt.objects.update(embedding=vector)


def test_clean_fields__still_validates_the_others(shirt):
    shirt.name = ""
    with pytest.raises(ValidationError, match="name"):
        shirt.full_clean()
