"""What a save does, and what it does not do, with a real commit where the commit is the subject."""

import logging

import pytest
from django.core import serializers
from django.core.files.storage import FileSystemStorage, default_storage
from django.db import connections, transaction

from similar_products import signals
from similar_products.encoders import ColorHistogramEncoder, EncoderError
from similar_products.indexing import embed
from tests.models import CheapShirt, Lamp, PrintedShirt, Shirt, Vase, VaseLook
from tests.pictures import picture_file

pytestmark = pytest.mark.django_db(transaction=True)


def source() -> str:
    return Shirt.objects.values_list("embedding_source", flat=True).get()


def vector() -> list[float]:
    return Shirt.objects.values_list("embedding", flat=True).get()


def test_save__of_a_new_picture_embeds_it(picture):
    Shirt.objects.create(name="a", image=picture)
    assert Shirt.objects.ready().count() == 1


def test_save__embeds_after_the_commit_only(picture):
    with transaction.atomic():
        Shirt.objects.create(name="a", image=picture)
        assert Shirt.objects.pending().count() == 1
    assert Shirt.objects.ready().count() == 1


def test_save__rolled_back_embeds_nothing(picture, caplog):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Shirt.objects.create(name="a", image=picture)
        raise ZeroDivisionError
    assert not Shirt.objects.exists()
    assert not caplog.records


def test_save__of_another_picture_embeds_it(picture):
    row = Shirt.objects.create(name="a", image=picture)
    before = vector()
    row = Shirt.objects.get()
    row.image = picture_file("white", name="other.png")
    row.save()
    assert source().endswith(row.image.name)
    assert vector() != before


def test_save__of_a_picture_saved_by_its_field_embeds_it(picture):
    row = Shirt.objects.create(name="a")
    assert not Shirt.objects.ready().exists()
    row.image.save("b.png", picture)
    assert Shirt.objects.ready().count() == 1


def test_save__of_a_name_in_the_storage_embeds_it(picture):
    row = Shirt.objects.create(name="a", image=picture)
    row.image = default_storage.save("shirts/named.png", picture_file("white"))
    row.save()
    assert source().endswith("named.png")


@pytest.fixture
def overwriting_storage(settings):
    """Keeps the name and replaces the bytes, as S3 does unless told otherwise."""
    field = Shirt._meta.get_field("image")
    before = field.storage
    field.storage = FileSystemStorage(location=settings.MEDIA_ROOT, allow_overwrite=True)
    yield
    field.storage = before


@pytest.mark.usefixtures("overwriting_storage")
def test_save__of_new_bytes_under_the_old_name_embeds_them():
    row = Shirt.objects.create(name="a", image=picture_file("red", name="same.png"))
    before, name = vector(), row.image.name
    row.image = picture_file("white", name="same.png")
    row.save()
    assert row.image.name == name
    assert Shirt.objects.ready().count() == 1
    assert vector() != before


@pytest.mark.usefixtures("overwriting_storage")
def test_save__of_new_bytes_under_the_old_name_is_pending_within_the_transaction(settings):
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "EMBED_ON_SAVE": "off"}
    row = Shirt.objects.create(name="a", image=picture_file("red", name="same.png"))
    embed(Shirt.objects.pending())
    assert Shirt.objects.ready().count() == 1
    row.image = picture_file("white", name="same.png")
    row.save()
    assert Shirt.objects.pending().count() == 1
    assert source().startswith("replaced|")


def test_save__without_a_new_picture_adds_no_query(picture, django_assert_num_queries, monkeypatch):
    Shirt.objects.create(name="a", image=picture)
    asked = []
    monkeypatch.setattr(signals, "embed_after_commit", lambda *arguments: asked.append(arguments))
    row = Shirt.objects.get()
    row.name = "b"
    with django_assert_num_queries(1):
        row.save()
    with django_assert_num_queries(1):
        row.save(update_fields=["price"])
    row = Shirt.objects.only("name").get()
    with django_assert_num_queries(1):
        row.save()
    assert asked == []


def test_save__with_a_new_picture_adds_no_query_before_the_commit(picture, django_assert_num_queries):
    row = Shirt.objects.create(name="a")
    with transaction.atomic(), django_assert_num_queries(1):
        row.image = picture
        row.save()


def test_save__with_update_fields_without_the_picture_is_skipped(picture):
    row = Shirt.objects.create(name="a")
    row.image = picture
    row.save(update_fields=["name"])
    assert not Shirt.objects.with_picture().exists()
    row.save(update_fields=["image"])
    assert Shirt.objects.ready().count() == 1


def test_save__of_a_fixture_is_skipped(picture):
    Shirt.objects.bulk_create([Shirt(name="a", image=default_storage.save("a.png", picture))])
    fixture = serializers.serialize("json", Shirt.objects.all())
    Shirt.objects.all().delete()
    for row in serializers.deserialize("json", fixture):
        row.save()
    assert Shirt.objects.pending().count() == 1


def test_save__of_a_proxy_and_a_child_table_embeds_once(monkeypatch):
    encoded = []
    encode = ColorHistogramEncoder.encode
    monkeypatch.setattr(
        ColorHistogramEncoder, "encode", lambda self, pixels: encoded.append(len(pixels)) or encode(self, pixels)
    )
    CheapShirt.objects.create(name="a", image=picture_file("red"))
    PrintedShirt.objects.create(name="b", motif="cat", image=picture_file("red"))
    assert Shirt.objects.ready().count() == 2
    assert encoded == [1, 1]


def test_save__of_a_hidden_row_embeds_it(picture):
    Lamp.embeddings.create(code="a", published=False, image=picture)
    assert Lamp.embeddings.ready().count() == 1


def test_save__of_a_product_with_companion_makes_and_embeds_the_companion(picture):
    vase = Vase.objects.create(name="a", image=picture)
    assert VaseLook.objects.ready().get().vase == vase
    Vase.objects.create(name="no picture")
    assert VaseLook.objects.count() == 1


def test_save__without_a_new_picture_leaves_the_companion_alone(picture, django_assert_num_queries):
    Vase.objects.create(name="a", image=picture)
    row = Vase.objects.get()
    row.stock = 9
    with django_assert_num_queries(1):
        row.save()


def test_save__switched_off_leaves_the_row_pending(settings, picture):
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "EMBED_ON_SAVE": "off"}
    Shirt.objects.create(name="a", image=picture)
    assert Shirt.objects.pending().count() == 1


def test_save__of_a_bad_picture_succeeds_and_the_row_is_failed():
    Shirt.objects.create(name="a", image=picture_file("red"))
    row = Shirt.objects.get()
    row.image.storage.delete(row.image.name)
    row = Shirt.objects.create(name="b", image="shirts/gone.png")
    assert Shirt.objects.failed().get() == row


@pytest.mark.parametrize("error", [EncoderError("no model"), RuntimeError("anything"), MemoryError()])
def test_save__succeeds_when_embedding_fails(monkeypatch, picture, caplog, error):
    def fail(*args):
        raise error

    monkeypatch.setattr(ColorHistogramEncoder, "encode", fail)
    others = []
    with transaction.atomic():
        row = Shirt.objects.create(name="a", image=picture)
        transaction.on_commit(lambda: others.append("ran"))
    assert others == ["ran"]
    assert Shirt.objects.pending().get() == row
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == f"tests.Shirt of {row.pk} was not embedded; it stays pending."


@pytest.mark.parametrize("mistake", [{"ENCODER": {"BACKEND": "nowhere.Encoder"}}, {"UNKNOWN": 1}])
def test_save__succeeds_when_the_settings_have_a_mistake(settings, picture, mistake):
    settings.SIMILAR_PRODUCTS = mistake
    Shirt.objects.create(name="a", image=picture)
    assert Shirt.objects.count() == 1


def test_save__of_a_clone_embeds_the_clone(picture):
    row = Shirt.objects.create(name="a", image=picture)
    row.pk = None
    row.save()
    assert Shirt.objects.ready().count() == 2


def test_save__of_an_instance_whose_picture_was_deferred(picture, django_assert_num_queries):
    Shirt.objects.create(name="a", image=picture)
    row = Shirt.objects.defer("image").get()
    row.image = picture_file("white", name="c.png")
    row.save()
    assert source().endswith(row.image.name)


def test_save__in_another_thread_uses_its_own_connection(picture):
    import threading

    def save():
        Shirt.objects.create(name="a", image=picture)
        connections.close_all()

    thread = threading.Thread(target=save)
    thread.start()
    thread.join()
    assert Shirt.objects.ready().count() == 1
