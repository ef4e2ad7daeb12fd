"""Labels at the path of a field, as keys and as a person reads them."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.exceptions import FieldDoesNotExist
from django.db.models.functions import JSONObject

from similar_products.catalogue.labels import collect_values, field_at_end, read_label_texts, read_values
from similar_products.catalogue.neighbours import CatalogueError
from tests.models import Lamp, Shelf, Vase


@pytest.mark.django_db
class TestLabelTexts:
    def test_choice_relation_and_several(self):
        shelf, second = Shelf.objects.create(), Shelf.objects.create()
        vase, bare = Vase.objects.create(name="a", shelf=shelf), Vase.objects.create(name="b")
        vase.shelves.set([second, shelf])
        keys = [vase.pk, bare.pk]
        first = min(str(shelf), str(second))
        for field, text in (("shelf", str(shelf)), ("shelf_id", str(shelf)), ("shelves", first)):
            assert read_label_texts(Vase.objects.all(), field, keys) == {vase.pk: text, bare.pk: ""}
        assert read_label_texts(Vase.objects.all(), "shelf__pk", keys) == {vase.pk: str(shelf.pk), bare.pk: ""}
        assert read_label_texts(Vase.objects.all(), "stock", keys) == {vase.pk: "1", bare.pk: "1"}
        assert read_label_texts(Vase.objects.all(), "name__length", keys[:0]) == {}

    def test_entries_of_an_array(self):
        Lamp.objects.create(code="a", tags=["y", "x"])
        Lamp.objects.create(code="b")
        assert read_label_texts(Lamp.objects.all(), "tags", ["a", "b"]) == {"a": "x", "b": ""}

    def test_json_and_choices(self):
        Lamp.objects.create(code="a", published=False)
        lamps = Lamp.embeddings.annotate(made=JSONObject(by="code"))
        assert read_label_texts(lamps, "made", ["a"]) == {"a": "{'by': 'a'}"}
        assert read_label_texts(lamps, "published", ["a"]) == {"a": "False"}
        entry = LogEntry.objects.create(user=User.objects.create(), action_flag=2, object_repr="x")
        assert read_label_texts(LogEntry.objects.all(), "action_flag", [entry.pk]) == {entry.pk: "Change"}


@pytest.mark.django_db
class TestValues:
    def test_entries_of_arrays_and_keys_of_relations(self):
        Lamp.objects.create(code="a", tags=["y", "x", "y"])
        Lamp.objects.create(code="b", tags=[])
        assert sorted(read_values(Lamp.objects.all(), "tags")) == [("a", "x"), ("a", "y"), ("a", "y")]
        assert collect_values(Lamp.objects.all(), "tags", ["a", "b"]) == {"a": {"x", "y"}}
        shelf = Shelf.objects.create()
        vase, _ = Vase.objects.create(name="a", shelf=shelf), Vase.objects.create(name="")
        assert list(read_values(Vase.objects.all(), "shelf")) == [(vase.pk, shelf.pk)]
        assert list(read_values(Vase.objects.all(), "name")) == [(vase.pk, "a")]

    @pytest.mark.parametrize("path", ["nothing", "name__nothing", "shelf__nothing", "a space"])
    def test_path_that_leads_nowhere_is_named(self, path):
        with pytest.raises(CatalogueError, match=f"'{path}' is not a field of tests.Vase: "):
            list(read_values(Vase.objects.all(), path))

    def test_field_at_end__of_a_path(self):
        assert field_at_end(Vase, "shelf__pk") is Shelf._meta.pk
        for path in ("name__length", "nothing", "shelf__nothing"):
            with pytest.raises(FieldDoesNotExist):
                field_at_end(Vase, path)
