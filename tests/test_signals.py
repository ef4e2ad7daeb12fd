"""What a save does, and what it does not do, with a real commit where the commit is the subject."""

import copy
import logging
import os
import pickle
import uuid

import pytest
from django.core import serializers
from django.core.files.storage import FileSystemStorage, InMemoryStorage, Storage, default_storage
from django.db import IntegrityError, connections, transaction
from django.db.models.signals import post_save, pre_save
from django.forms import modelform_factory

from similar_products import signals, tasks
from similar_products.encoders import ColorHistogramEncoder, EncoderError
from tests.drawn_pictures import picture_file
from tests.models import (
    CheapShirt,
    Dish,
    Lamp,
    LimitedEditionScreenPrintedPosterOfMuseum,
    Page,
    PageLook,
    PrintedShirt,
    Scan,
    Shirt,
    Vase,
    VaseLook,
)

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
    assert source().endswith(f"|{row.image.name}")


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, str, str]]:
    """Holds what would have been embedded after each commit."""
    calls: list[tuple[str, str, str]] = []
    monkeypatch.setattr(signals, "embed_after_commit", lambda *arguments: calls.append(arguments[:3]))
    return calls


@pytest.fixture(params=[(Shirt, Shirt), (Vase, VaseLook)], ids=["product", "companion"])
def placement(request):
    """Gives the model that is saved and the model that keeps its vectors."""
    return request.param


@pytest.fixture
def overwriting_storage(settings, monkeypatch):
    """Keeps the name and replaces the bytes, as S3 does unless told otherwise."""
    storage = FileSystemStorage(location=settings.MEDIA_ROOT, allow_overwrite=True)
    for model in (Shirt, Vase):
        monkeypatch.setattr(model._meta.get_field("image"), "storage", storage)
    return storage


@pytest.fixture
def ready(placement, overwriting_storage):
    """Gives the key of a row of either placement that is ready, its picture named same.png."""
    model, holder = placement
    row = model.objects.create(name="a", image=picture_file("red", name="same.png"))
    assert holder.objects.ready().count() == 1
    return row.pk


def by_assigning_a_file(row) -> None:
    row.image = picture_file("white", name="same.png")
    row.save()


def by_its_field(row) -> None:
    row.image.save("same.png", picture_file("white"))


def by_its_field_unsaved(row) -> None:
    row.image.save("same.png", picture_file("white"), save=False)
    row.save()


def by_its_field_and_read(row) -> None:
    """As ``full_clean``, a form, or a receiver that makes thumbnails reads it before ours."""
    row.image.save("same.png", picture_file("white"), save=False)
    row.clean_fields(exclude=["shelf"])
    assert row.image
    row.save()


def by_the_storage(row) -> None:
    row.image = row.image.storage.save(row.image.name, picture_file("white"))
    row.save()


def after_get(model, pk):
    return model.objects.get(pk=pk)


def after_reading_the_picture(model, pk):
    row = model.objects.get(pk=pk)
    assert row.image.size
    return row


def after_refresh(model, pk):
    row = model.objects.get(pk=pk)
    row.refresh_from_db()
    return row


def after_defer(model, pk):
    return model.objects.only("name").get(pk=pk)


def after_pickle(model, pk):
    return pickle.loads(pickle.dumps(model.objects.get(pk=pk)))


def after_copy(model, pk):
    return copy.deepcopy(copy.copy(model.objects.get(pk=pk)))


def after_save(model, pk):
    row = model.objects.get(pk=pk)
    row.save()
    return row


def after_form(model, pk):
    """A form without a file hands back the file that the instance has."""
    row = model.objects.get(pk=pk)
    form = modelform_factory(model, fields=["name", "image"])({"name": "b"}, instance=row)
    assert form.is_valid(), form.errors
    return row


WAYS_TO_LOAD = [
    after_get,
    after_reading_the_picture,
    after_refresh,
    after_defer,
    after_pickle,
    after_copy,
    after_save,
    after_form,
]


@pytest.mark.parametrize("load", WAYS_TO_LOAD)
def test_save__of_new_bytes_under_the_old_name_embeds_them(placement, ready, load):
    model, holder = placement
    rows = holder.objects.values_list("embedding", "embedding_source")
    (red, source), name = rows.get(), model.objects.get().image.name
    ways = [by_assigning_a_file, by_its_field, by_its_field_unsaved, by_the_storage]
    if load is not after_defer:  # of what was not loaded, to read it is to load it
        ways.append(by_its_field_and_read)
    for replace in ways:
        holder.objects.update(embedding=red)
        replace(load(model, ready))
        assert model.objects.get().image.name == name
        white, source_after = rows.get()
        assert source_after == source
        assert white != red, replace


def test_save__of_new_bytes_right_after_creating_embeds_them(placement, overwriting_storage):
    model, holder = placement
    row = model.objects.create(name="a", image=picture_file("red", name="same.png"))
    before = holder.objects.values_list("embedding", flat=True).get()
    by_its_field(row)
    assert holder.objects.values_list("embedding", flat=True).get() != before


def test_save__of_new_bytes_under_the_old_name_is_pending_within_the_transaction(placement, ready, asked):
    model, holder = placement
    with transaction.atomic():
        by_its_field(model.objects.get())
        assert holder.objects.pending().count() == 1
        assert holder.objects.values_list("embedding_source", flat=True).get().startswith("replaced|")
        transaction.set_rollback(True)
    assert holder.objects.ready().count() == 1
    assert asked == []


@pytest.mark.parametrize("load", [load for load in WAYS_TO_LOAD if load is not after_refresh])
def test_save__of_the_same_picture_adds_no_query(placement, ready, asked, django_assert_num_queries, load):
    model, _ = placement
    row = load(model, ready)
    if load is after_defer:
        assert row.image.name
    with django_assert_num_queries(1):
        row.save()
    with django_assert_num_queries(1):
        row.save(update_fields=["name"])
    assert asked == []


def test_save__after_a_refresh_adds_no_query_where_the_storage_keeps_names_apart(
    placement, asked, django_assert_num_queries
):
    model, _ = placement
    row = model.objects.create(name="a", image=picture_file("red"))
    os.utime(default_storage.path(row.image.name), (0, 0))  # stored long ago
    asked.clear()
    row = after_refresh(model, row.pk)
    with django_assert_num_queries(1):
        row.save()
    assert asked == []


def test_save__of_new_bytes_is_noticed_once(placement, ready, django_assert_num_queries):
    model, _ = placement
    row = model.objects.get()
    for replace in (by_assigning_a_file, by_its_field):
        replace(row)
        with django_assert_num_queries(1):
            row.save()


def test_save__after_one_that_failed_embeds_the_new_bytes(placement, ready):
    """The first try has stored the file, and left it committed."""
    model, holder = placement
    vectors = holder.objects.values_list("embedding", flat=True)
    for replace in (by_assigning_a_file, by_its_field_unsaved):
        holder.objects.update(embedding=[1.0] + [0.0] * 1279)
        before = vectors.get()
        row = model.objects.get()
        row.name = None
        with pytest.raises(IntegrityError), transaction.atomic():
            replace(row)
        row.name = "b"
        row.save()
        assert vectors.get() != before, replace


def test_save__of_a_picture_that_another_process_changed_embeds_it_again(placement):
    """It cannot be told from one that was assigned and read."""
    model, holder = placement
    row = model.objects.create(name="a", image=picture_file("red"))
    model.objects.update(image=default_storage.save("a.png", picture_file("white")))
    tasks.embed_product(model._meta.label, str(row.pk))
    row.refresh_from_db()
    row.save()
    assert holder.objects.ready().count() == 1


def test_save__of_the_same_name_as_text_adds_no_query_where_the_storage_keeps_names_apart(
    placement, asked, django_assert_num_queries
):
    """An import of texts, picture names among them, must not embed the catalogue anew."""
    model, _ = placement
    name = model.objects.create(name="a", image=picture_file("red")).image.name
    os.utime(default_storage.path(name), (0, 0))  # stored long ago
    asked.clear()
    row = model.objects.get()
    row.image = "/".join(name.split("/"))
    with django_assert_num_queries(1):
        row.save()
    assert asked == []


class OverwriteStorage(FileSystemStorage):
    """As shops have written it for years."""

    def get_available_name(self, name, max_length=None):
        self.delete(name)
        return name


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        (default_storage, True),
        (FileSystemStorage(), True),
        (InMemoryStorage(), True),
        (FileSystemStorage(allow_overwrite=True), False),
        (OverwriteStorage(), False),
        (Storage(), False),
    ],
)
def test_keeps_names_apart__only_where_that_is_known(storage, expected):
    assert signals._keeps_names_apart(storage) is expected


def test_save__without_a_new_picture_adds_no_query(placement, picture, asked, django_assert_num_queries):
    model, _ = placement
    model.objects.create(name="a", image=picture)
    asked.clear()
    row = model.objects.get()
    row.name = "b"
    with django_assert_num_queries(1):
        row.save()
    with django_assert_num_queries(1):
        row.save(update_fields=["name"])
    row = model.objects.only("name").get()
    with django_assert_num_queries(1):
        row.save()
    assert asked == []


def test_save__of_a_name_that_an_older_picture_had_is_pending(settings):
    """The source still names the first picture, whose name came free: nothing but a marker tells them apart."""
    name = f"{uuid.uuid4().hex}.png"
    row = Shirt.objects.create(name="a", image=picture_file("red", name=name))
    first = row.image.name
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "EMBED_ON_SAVE": "off"}
    row.image.storage.delete(first)
    Shirt.objects.update(image="between.png")
    for blue in (picture_file("blue", name=name), first):
        with transaction.atomic():
            row = Shirt.objects.get()
            row.image = blue
            row.save()
            assert row.image.name == first
            assert Shirt.objects.pending().count() == 1
            transaction.set_rollback(True)
        row.image.storage.delete(first)


@pytest.mark.usefixtures("overwriting_storage")
def test_save__of_a_new_row_adds_no_query_before_the_commit(placement, django_assert_num_queries):
    model, _ = placement
    for image in (picture_file("red"), "same.png"):
        with transaction.atomic(), django_assert_num_queries(1):
            model.objects.create(name="a", image=image)


def test_save__without_any_picture_adds_no_query(placement, asked, django_assert_num_queries):
    model, _ = placement
    with django_assert_num_queries(1):
        created = model.objects.create(name="a")
    for row in (created, model.objects.get()):
        with django_assert_num_queries(1):
            row.save()
    assert asked == []


@pytest.mark.parametrize(
    ("change", "extra"),
    [
        (lambda row: setattr(row, "image", picture_file("white", name="other.png")), 1),
        (lambda row: setattr(row, "image", picture_file("white", name="same.png")), 1),
        (lambda row: row.image.save("same.png", picture_file("white"), save=False), 1),
        (lambda row: setattr(row, "image", ""), 1),
    ],
    ids=["new name", "new bytes", "new bytes by the field", "removed"],
)
@pytest.mark.parametrize("load", [after_get, after_defer])
def test_save__with_a_new_picture_adds_one_query_at_most(
    placement, ready, asked, django_assert_num_queries, change, extra, load
):
    model, _ = placement
    row = load(model, ready)
    with transaction.atomic():
        change(row)
        if load is after_defer:
            extra = 1  # whether the name is the old one is not known
        with django_assert_num_queries(1 + extra):
            row.save()


# A picture that is taken away.


def by_assigning_nothing(row) -> None:
    row.image = ""
    row.save()


def by_deleting_the_file(row) -> None:
    row.image.delete()


def by_a_form(row) -> None:
    form = modelform_factory(type(row), fields=["name", "image"])({"name": "b", "image-clear": "on"}, instance=row)
    form.save()


@pytest.mark.parametrize("load", [after_get, after_reading_the_picture, after_defer])
def test_save__of_a_removed_picture_clears_the_vector_in_the_same_transaction(placement, ready, asked, load):
    model, holder = placement
    columns = holder.objects.values_list("embedding", "embedding_source", "embedding_error")
    for remove in (by_assigning_nothing, by_a_form, by_deleting_the_file):
        with transaction.atomic():
            remove(load(model, ready))
            assert columns.get() == (None, "", ""), remove
            transaction.set_rollback(True)
        assert columns.get()[0] is not None
    assert asked == []


def test_save__of_a_removed_picture_clears_the_error(placement, asked):
    model, holder = placement
    row = model.objects.create(name="a", image="gone.png")
    tasks.embed_product(model._meta.label, str(row.pk))
    assert holder.objects.failed().count() == 1
    by_assigning_nothing(row)
    assert holder.objects.values_list("embedding_error", "embedding_source").get() == ("", "")


def test_save__of_a_picture_after_its_removal_embeds_it(placement, ready):
    model, holder = placement
    row = model.objects.get()
    row.image.delete()
    row.image.save("same.png", picture_file("white"))
    assert holder.objects.ready().count() == 1


# What is saved, and what is asked for.


@pytest.mark.parametrize("image", ["", "shirts/other.png"])
def test_save__with_update_fields_without_the_picture_is_skipped(
    placement, ready, asked, django_assert_num_queries, image
):
    model, holder = placement
    row = model.objects.get()
    row.image = image
    with django_assert_num_queries(1):
        row.save(update_fields=["name"])
    assert asked == []
    assert holder.objects.ready().count() == 1
    row.save(update_fields=["image"])
    assert asked == ([(model._meta.label, str(ready), "default")] if image else [])
    assert holder.objects.ready().count() == 0


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


@pytest.mark.parametrize(
    "mistake", [{"ENCODER": {"BACKEND": "nowhere.Encoder"}}, {"UNKNOWN": 1}, {"EMBED_ON_SAVE": "nowhere.enqueue"}]
)
def test_save__succeeds_when_the_settings_have_a_mistake(settings, picture, mistake):
    settings.SIMILAR_PRODUCTS = mistake
    Shirt.objects.create(name="a", image=picture)
    assert Shirt.objects.count() == 1


def test_save__of_a_row_made_by_hand_with_the_key_of_another_embeds_it(placement, picture):
    model, holder = placement
    row = model.objects.create(name="a", image=picture)
    name = default_storage.save("named.png", picture_file("white"))
    model(pk=row.pk, name="b", image=name).save()
    assert holder.objects.values_list("embedding_source", flat=True).get().endswith(f"|{name}")


def test_save__of_a_copy_is_not_mistaken_for_the_original(picture, asked):
    Shirt.objects.create(name="a", image=picture)
    row = Shirt.objects.get()
    clone = copy.copy(row)
    clone.pk, clone._state.adding = None, True
    clone.image = "other.png"
    clone.save()
    asked.clear()
    row.image = "other.png"
    row.save()
    assert asked == [("tests.Shirt", str(row.pk), "default")]


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


# Who is asked.


def test_save__asks_by_the_model_of_the_picture_and_a_key_as_text(asked, picture):
    CheapShirt.objects.create(name="a", image=picture)
    PrintedShirt.objects.create(name="b", motif="cat", image=picture)
    Lamp.embeddings.create(code="c/1", image=picture)
    poster = LimitedEditionScreenPrintedPosterOfMuseum.objects.create(scan=picture)
    vase = Vase.objects.create(name="d", image=picture)
    first, second = Shirt.objects.order_by("name").values_list("pk", flat=True)
    assert asked == [
        ("tests.Shirt", str(first), "default"),
        ("tests.Shirt", str(second), "default"),
        ("tests.Lamp", "c/1", "default"),
        ("tests.LimitedEditionScreenPrintedPosterOfMuseum", str(poster.pk), "default"),
        ("tests.Vase", str(vase.pk), "default"),
    ]


def test_save__into_another_database_asks_there(monkeypatch, picture):
    """The one database of the tests has one alias, so the signal is sent by hand."""
    row = Shirt.objects.create(name="a")
    row.image.save("a.png", picture, save=False)
    asked = []
    monkeypatch.setattr(signals, "current_schema", lambda using: "")
    monkeypatch.setattr(transaction, "on_commit", lambda callback, **options: asked.append((callback, options)))
    post_save.send(Shirt, instance=row, created=True, raw=False, using="archive", update_fields=None)
    ((callback, options),) = asked
    assert options == {"using": "archive", "robust": True}
    assert (callback.model_label, callback.pk, callback.using) == ("tests.Shirt", str(row.pk), "archive")


queued: list[tuple[str, str, str]] = []


def enqueue(model_label: str, pk: str, using: str) -> None:
    queued.append((model_label, pk, using))


def fail_to_enqueue(model_label: str, pk: str, using: str) -> None:
    raise ConnectionError("the queue is down")


def embed_on_save(settings, value: str) -> None:
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "EMBED_ON_SAVE": value}


@pytest.fixture
def no_encoding(monkeypatch):
    """Fails the test where a picture is embedded by the process that saves."""

    def encode(self, pixels):
        raise AssertionError("embedded inline")

    monkeypatch.setattr(ColorHistogramEncoder, "encode", encode)


@pytest.mark.usefixtures("no_encoding")
def test_save__hands_its_key_to_the_function_in_the_settings_after_the_commit(settings, picture, caplog):
    queued.clear()
    embed_on_save(settings, "tests.test_signals.enqueue")
    with transaction.atomic():
        row = Shirt.objects.create(name="a", image=picture)
        assert queued == []
    assert queued == [("tests.Shirt", str(row.pk), "default")]
    assert Shirt.objects.pending().count() == 1
    assert not caplog.records


@pytest.mark.usefixtures("no_encoding")
def test_save__hands_its_key_to_the_tasks_interface_after_the_commit(settings, picture, caplog):
    from django_tasks import default_task_backend

    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    embed_on_save(settings, "tasks")
    with transaction.atomic():
        row = Shirt.objects.create(name="a", image=picture)
        assert default_task_backend.results == []
    (result,) = default_task_backend.results
    assert (result.task.module_path, result.args, result.kwargs) == (
        "similar_products.tasks.embed_product_task",
        ["tests.Shirt", str(row.pk), "default"],
        {},
    )
    assert Shirt.objects.pending().count() == 1
    assert not caplog.records


@pytest.mark.usefixtures("no_encoding")
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("tests.test_signals.fail_to_enqueue", "ConnectionError: the queue is down"),
        ("tasks", "Could not find backend 'nowhere.Backend'"),
    ],
)
def test_save__succeeds_when_the_queue_is_down(settings, picture, caplog, value, reason):
    settings.TASKS = {"default": {"BACKEND": "nowhere.Backend"}}
    embed_on_save(settings, value)
    row = Shirt.objects.create(name="a", image=picture)
    assert Shirt.objects.pending().get() == row
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.name == "similar_products.tasks"
    assert record.getMessage() == f"tests.Shirt of {row.pk} was not embedded; it stays pending."
    assert reason in caplog.text


def test_save__inline_does_not_wait_for_a_storage_that_fails(monkeypatch, caplog):
    """``embed`` tries again after 1, 4 and 16 seconds, which is for those whom nobody waits for."""

    def down(*args):
        raise TimeoutError("no answer")

    waited = []
    monkeypatch.setattr("similar_products.embedding.run._sleep", lambda seconds, should_stop: waited.append(seconds))
    monkeypatch.setattr(type(default_storage._wrapped), "_open", down)
    Shirt.objects.create(name="a", image="a.png")
    assert Shirt.objects.pending().count() == 1
    assert waited == []


def test_save__with_autocommit_off_by_hand_succeeds_and_stays_pending(picture, caplog):
    transaction.set_autocommit(False)
    try:
        row = Shirt.objects.create(name="a", image=picture)
        transaction.commit()
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert Shirt.objects.pending().get() == row
    (message,) = caplog.messages
    assert message == (
        f"tests.Shirt of {row.pk} was not embedded and stays pending: autocommit is switched off by hand, so its "
        "commit cannot be observed."
    )


def save_again_in_post_save(sender, instance, **kwargs) -> None:
    """As a shop's receiver does that counts, indexes or makes a slug of the key; connected before ours by Django."""
    if not getattr(instance, "is_saved_again", False):
        instance.is_saved_again = True
        instance.save(update_fields=["name"])


def test_save__of_new_bytes_where_a_receiver_saves_again_embeds_them(placement, ready):
    """A save without the picture, within one with it, must not take the note of the picture along."""
    model, holder = placement
    before = holder.objects.values_list("embedding", flat=True).get()
    receivers, post_save.receivers = post_save.receivers, []
    post_save.sender_receivers_cache.clear()
    post_save.connect(save_again_in_post_save, sender=model)
    post_save.receivers += receivers
    try:
        by_assigning_a_file(model.objects.get())
    finally:
        post_save.disconnect(save_again_in_post_save, sender=model)
    assert holder.objects.ready().count() == 1
    assert holder.objects.values_list("embedding", flat=True).get() != before


def test_save__of_bytes_that_a_receiver_of_pre_save_assigns_embeds_them(placement, ready):
    """One that trims or watermarks, connected after ours."""
    model, holder = placement
    before = holder.objects.values_list("embedding", flat=True).get()

    def assign(sender, instance, **kwargs) -> None:
        instance.image = picture_file("white", name="same.png")

    pre_save.connect(assign, sender=model)
    try:
        model.objects.get().save()
    finally:
        pre_save.disconnect(assign, sender=model)
    assert holder.objects.values_list("embedding", flat=True).get() != before
    assert holder.objects.ready().count() == 1


def test_save__again_after_a_rollback_embeds_the_new_bytes(placement, ready):
    """The bytes were stored, and the mark that said so was rolled back."""
    model, holder = placement
    before = holder.objects.values_list("embedding", flat=True).get()
    row = model.objects.get()
    with transaction.atomic():
        by_assigning_a_file(row)
        transaction.set_rollback(True)
    row.save()
    assert holder.objects.ready().count() == 1
    assert holder.objects.values_list("embedding", flat=True).get() != before


def test_save__twice_in_a_transaction_asks_once(placement, ready, asked, django_assert_num_queries):
    model, _ = placement
    with transaction.atomic():
        row = model.objects.get()
        by_assigning_a_file(row)
        with django_assert_num_queries(1):
            row.save()
    assert len(asked) == 1


@pytest.mark.parametrize("is_saved_by_its_field", [True, False])
def test_save__of_a_picture_deleted_and_stored_anew_under_its_name_embeds_it(placement, is_saved_by_its_field):
    """The storage keeps names apart, and this one came free."""
    model, holder = placement
    name = f"{uuid.uuid4().hex}.png"
    before_name = model.objects.create(name="a", image=picture_file("red", name=name)).image.name
    before = holder.objects.values_list("embedding", flat=True).get()
    row = model.objects.get()
    row.image.delete(save=False)
    row.image.save(name, picture_file("white"), save=is_saved_by_its_field)
    row.save()
    assert row.image.name == before_name
    assert holder.objects.ready().count() == 1
    assert holder.objects.values_list("embedding", flat=True).get() != before


def test_bulk_create__that_replaces_bytes_of_a_row_makes_it_pending(overwriting_storage):
    row = Shirt.objects.create(name="a", image=picture_file("red", name="same.png"))
    for image, pending in (("shirts/same.png", 0), (picture_file("white", name="same.png"), 1)):
        Shirt.objects.bulk_create(
            [Shirt(pk=row.pk, name="b", image=image)],
            update_conflicts=True,
            unique_fields=["id"],
            update_fields=["name", "image"],
        )
        assert Shirt.objects.get().name == "b"
        assert Shirt.objects.pending().count() == pending


def test_save__of_a_row_that_leads_to_another_picture_embeds_it():
    """The picture belongs to a library, and the product has a foreign key to it."""
    red, blue = (Scan.objects.create(file=picture_file(color)) for color in ("red", "blue"))
    dish = Dish.objects.create(name="a", scan=red)
    assert Dish.objects.ready().count() == 1
    before = Dish.objects.values_list("embedding", flat=True).get()
    dish.scan = blue
    dish.save()
    assert Dish.objects.ready().count() == 1
    assert Dish.objects.values_list("embedding", flat=True).get() != before
    blue.file = picture_file("white")
    blue.save()
    assert Dish.objects.ready().count() == 1
    dish.scan = None
    dish.save()
    assert Dish.objects.filter(embedding=None, embedding_source="").count() == 1


def test_save__of_a_row_on_the_way_makes_the_companion_behind_it():
    """As a page does that has an image of the library, and a companion for its vector."""
    page = Page.objects.create(cover=Scan.objects.create(file=picture_file("red")))
    assert PageLook.objects.ready().count() == 1
    page.cover = Scan.objects.create(file=picture_file("blue"))
    with transaction.atomic():
        page.save()
        assert PageLook.objects.pending().count() == 1
    assert PageLook.objects.ready().count() == 1


def test_save__of_a_row_that_leads_to_the_same_picture_adds_no_query(asked, django_assert_num_queries):
    Page.objects.create(cover=Scan.objects.create(file=picture_file("red")))
    asked.clear()
    page = Page.objects.get()
    with django_assert_num_queries(1):
        page.save()
    assert asked == []


def test_receivers__read_what_the_database_has(picture):
    """As one does that logs what a save changes, column by column."""
    read = []

    def compare(sender, instance, **kwargs) -> None:
        stored = Shirt.objects.get(pk=instance.pk)
        read.append((instance.embedding == stored.embedding, instance.embedding_source == stored.embedding_source))

    row = Shirt.objects.create(name="a", image=picture)
    assert row.embedding_source
    for signal in (pre_save, post_save):
        signal.connect(compare, sender=Shirt)
    try:
        row.save()
        Shirt.objects.get().save()
    finally:
        for signal in (pre_save, post_save):
            signal.disconnect(compare, sender=Shirt)
    assert read == [(True, True)] * 4


def made_again(row, **values):
    """As Wagtail makes an instance of a revision's JSON, and publishes it."""
    made = row.__class__(pk=row.pk, **values)
    made._state.adding, made._state.db = False, "default"
    return made


def test_save__of_an_instance_made_of_a_revision_embeds_its_picture():
    page = Page.objects.create(cover=Scan.objects.create(file=picture_file("red")))
    made_again(page, cover=Scan.objects.create(file=picture_file("blue"))).save()
    assert PageLook.objects.ready().count() == 1
    page = Page.objects.create()
    made_again(page, cover=Scan.objects.first()).save()
    assert PageLook.objects.ready().count() == 2
    shirt = Shirt.objects.create(name="a", image=picture_file("red"))
    made = made_again(shirt, name="a", image=default_storage.save("b.png", picture_file("blue")))
    assert made.image.size
    made.save()
    assert Shirt.objects.ready().count() == 1


def test_save__of_a_copy_within_the_transaction_asks_once(placement, ready, asked, django_assert_num_queries):
    """As Django's TestCase copies what setUpTestData has made, for each test."""
    model, _ = placement
    with transaction.atomic():
        row = model.objects.get()
        by_assigning_a_file(row)
        with django_assert_num_queries(1):
            copy.deepcopy(row).save()
        with django_assert_num_queries(1):
            pickle.loads(pickle.dumps(row)).save()
    assert len(asked) == 1


def test_save__that_goes_back_to_a_picture_of_other_bytes_by_now_embeds_it(overwriting_storage, monkeypatch, settings):
    """What was changed meanwhile was not this row's picture, and its source still names it."""
    monkeypatch.setattr(Scan._meta.get_field("file"), "storage", overwriting_storage)
    scan = Scan.objects.create(file=picture_file("red", name="same.png"))
    dish = Dish.objects.create(name="a", scan=scan)
    before = Dish.objects.values_list("embedding", flat=True).get()
    embed_on_save(settings, "off")
    dish.scan = Scan.objects.create(file=picture_file("blue", name="blue.png"))
    dish.save()
    scan.file = picture_file("white", name="same.png")
    scan.save()
    dish.scan = scan
    dish.save()
    assert Dish.objects.pending().count() == 1
    embed_on_save(settings, "inline")
    tasks.embed_product("tests.Dish", str(dish.pk))
    assert Dish.objects.values_list("embedding", flat=True).get() != before


def test_save__of_a_name_that_was_read_before_is_noticed(settings):
    name = f"{uuid.uuid4().hex}.png"
    row = Shirt.objects.create(name="a", image=picture_file("red", name=name))
    first = row.image.name
    embed_on_save(settings, "off")
    Shirt.objects.update(image=default_storage.save("b.png", picture_file("blue")))
    default_storage.delete(first)
    default_storage.save(first, picture_file("white"))
    row = Shirt.objects.get()
    row.image = first
    row.full_clean()
    row.save()
    assert Shirt.objects.pending().count() == 1
