import threading
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings as django_settings
from django.core.files.storage import default_storage
from django.db import connection, connections, models
from django.test.utils import isolate_apps
from pgvector.django import VectorField

from similar_products.embedding import embed, hnsw, rows, run, writer
from similar_products.embedding.companions import create_companions
from similar_products.embedding.hnsw import build_index, drop_index, has_index, index_after_load
from similar_products.embedding.reconnecting import with_reconnect
from similar_products.embedding.states import count_states
from similar_products.encoders import ColorHistogramEncoder, EncoderError
from similar_products.models import VisuallySimilarModel
from tests.counting import Watched
from tests.drawn_pictures import picture_bytes, picture_file
from tests.models import Lamp, LimitedEditionScreenPrintedPosterOfMuseum, Order, PrintedShirt, Shirt, Vase, VaseLook

pytestmark = pytest.mark.django_db


def add_shirts(count: int, **values) -> list[Shirt]:
    """Make shirts as a bulk import does, so that no signal embeds them."""
    name = default_storage.save("shirts/bulk.png", picture_file("tomato", "navy"))
    return Shirt.objects.bulk_create(Shirt(name=str(number), image=name, **values) for number in range(count))


@pytest.fixture
def watched(settings, monkeypatch):
    settings.SIMILAR_PRODUCTS = {"ENCODER": {"BACKEND": "tests.counting.Watched"}}
    monkeypatch.setattr(Watched, "batches", [])
    return Watched


def test_embed__fills_vector_and_source():
    (row,) = add_shirts(1)
    report = embed(Shirt.objects.pending())
    assert (report.embedded, report.outdated, report.failed) == (1, 0, {})
    stored = Shirt.objects.defer(None).get()
    assert np.linalg.norm(stored.embedding) == pytest.approx(1, abs=1e-5)
    assert stored.embedding_source == f"color-histogram-1280|{row.image}"
    assert stored.embedding_error == ""
    assert Shirt.objects.ready().count() == 1


def test_embed__stores_the_vector_the_encoder_gave():
    (row,) = add_shirts(1)
    embed(Shirt.objects.all())
    pixels = run.load_stored_pixels(default_storage, row.image.name, 32)
    expected = ColorHistogramEncoder().encode(pixels[None])[0]
    assert Shirt.objects.defer(None).get().embedding == pytest.approx(expected.tolist(), abs=1e-6)


@pytest.mark.parametrize(("batch_size", "batches"), [(4, [4, 4, 2]), (None, [10]), (1, [1] * 10)])
def test_embed__works_in_batches(watched, batch_size, batches):
    add_shirts(10)
    seen = []
    assert embed(Shirt.objects.pending(), batch_size=batch_size, on_progress=seen.append).embedded == 10
    assert watched.batches == batches
    assert sum(seen) == 10


def test_embed__stops_at_the_limit(watched):
    rows = add_shirts(10)
    assert embed(Shirt.objects.pending(), batch_size=4, limit=6).embedded == 6
    assert watched.batches == [4, 2]
    assert set(Shirt.objects.ready()) == set(rows[:6])


def test_embed__one_bad_picture_does_not_stop_the_others(caplog):
    add_shirts(3)
    for name, data in [("empty.png", b""), ("text.png", b"no picture"), ("cut.jpg", _cut_jpeg())]:
        (Path(django_settings.MEDIA_ROOT) / "shirts" / name).write_bytes(data)
        Shirt.objects.bulk_create([Shirt(name=name, image=f"shirts/{name}")])
    Shirt.objects.bulk_create([Shirt(name="gone", image="shirts/gone.png")])
    report = embed(Shirt.objects.pending())
    assert report.embedded == 3
    assert report.failed == {"empty_file": 1, "unsupported_format": 1, "truncated": 1, "missing_file": 1}
    failed = {row.name: row.embedding_error for row in Shirt.objects.failed()}
    assert failed == {
        "empty.png": "empty_file",
        "text.png": "unsupported_format",
        "cut.jpg": "truncated",
        "gone": "missing_file",
    }
    assert not Shirt.objects.pending().exists()
    (record,) = [record for record in caplog.records if "gone.png" in record.getMessage()]
    gone = Shirt.objects.get(name="gone")
    assert record.getMessage() == (
        f"tests.Shirt {gone.pk}: shirts/gone.png not embedded: The storage has no file 'shirts/gone.png'. "
        "(missing_file)"
    )


def _cut_jpeg() -> bytes:
    return picture_bytes("red", "lime", size=(600, 600), format="JPEG")[:3000]


def test_embed__a_batch_of_failures_only():
    Shirt.objects.bulk_create(Shirt(name=str(number), image=f"gone{number}.png") for number in range(20))
    assert embed(Shirt.objects.pending()).failed == {"missing_file": 20}


def test_embed__a_new_picture_clears_the_error():
    Shirt.objects.bulk_create([Shirt(name="a", image="gone.png")])
    embed(Shirt.objects.pending())
    Shirt.objects.update(image=default_storage.save("shirts/a.png", picture_file("red")))
    embed(Shirt.objects.pending())
    assert Shirt.objects.defer(None).get().embedding_error == ""


def test_embed__a_failed_picture_loses_the_vector_of_the_old_one():
    add_shirts(1)
    embed(Shirt.objects.pending())
    Shirt.objects.update(image="gone.png")
    embed(Shirt.objects.pending())
    assert Shirt.objects.defer(None).get().embedding is None


def test_embed__storage_failure_leaves_the_row_pending(monkeypatch):
    def down(*args):
        raise TimeoutError("no answer")

    add_shirts(1)
    monkeypatch.setattr(type(default_storage._wrapped), "_open", down)
    assert embed(Shirt.objects.pending(), retry_delays=[0]).failed == {"storage_error": 1}
    assert Shirt.objects.pending().count() == 1


def test_embed__storage_that_comes_back_is_tried_again_within_the_run(monkeypatch):
    answers = [TimeoutError("no answer"), ConnectionError("reset")]
    opened = type(default_storage._wrapped)._open

    def flaky(self, name, mode="rb"):
        if answers:
            raise answers.pop()
        return opened(self, name, mode)

    add_shirts(1)
    seen = []
    monkeypatch.setattr(type(default_storage._wrapped), "_open", flaky)
    report = embed(Shirt.objects.pending(), retry_delays=[0, 0], on_progress=seen.append)
    assert (report.embedded, report.failed) == (1, {})
    assert sum(seen) == 1


def test_embed__remembers_a_bounded_number_of_rows(monkeypatch):
    def down(*args):
        raise TimeoutError("no answer")

    add_shirts(5)
    monkeypatch.setattr(run, "MAX_REMEMBERED", 2)
    monkeypatch.setattr(type(default_storage._wrapped), "_open", down)
    assert embed(Shirt.objects.pending(), retry_delays=[0]).failed == {"storage_error": 5}


def test_embed__stops_between_batches_when_asked(watched):
    add_shirts(20)
    report = embed(Shirt.objects.pending(), batch_size=4, should_stop=lambda: len(watched.batches) >= 2)
    assert report.embedded == 4 * len(watched.batches) < 20
    assert Shirt.objects.ready().count() == report.embedded


def test_embed__verify_writes_only_what_was_replaced_under_its_name():
    add_shirts(3)
    other = default_storage.save("shirts/other.png", picture_file("red"))
    Shirt.objects.filter(name="1").update(image=other)
    embed(Shirt.objects.all())
    (Path(django_settings.MEDIA_ROOT) / other).write_bytes(picture_bytes("white", "blue"))
    report = embed(Shirt.objects.all(), verify=True)
    assert (report.embedded, report.unchanged) == (1, 2)
    assert embed(Shirt.objects.all(), verify=True).unchanged == 3


def test_embed__verify_records_a_picture_that_is_gone():
    add_shirts(1)
    embed(Shirt.objects.all())
    Path(Shirt.objects.get().image.path).unlink()
    assert embed(Shirt.objects.all(), verify=True).failed == {"missing_file": 1}
    assert Shirt.objects.failed().count() == 1


def test_count_states__by_state_and_code(picture):
    add_shirts(2)
    embed(Shirt.objects.all())
    Shirt.objects.bulk_create(Shirt(name=name, image=f"{name}.png") for name in ("gone", "lost"))
    embed(Shirt.objects.pending())
    Shirt.objects.bulk_create([Shirt(name="new", image="new.png"), Shirt(name="no picture")])
    assert count_states(Shirt, "default") == {"ready": 2, "pending": 1, "failed": 2, "codes": {"missing_file": 2}}
    Vase.objects.bulk_create([Vase(name="a", image=default_storage.save("v.png", picture))])
    assert count_states(VaseLook, "default") == {"ready": 0, "pending": 1, "failed": 0, "codes": {}}


def test_embed__picture_without_features_is_a_bad_vector(settings):
    settings.SIMILAR_PRODUCTS = {"ENCODER": {"BACKEND": "tests.embedding.test_run.Blind"}}
    add_shirts(1)
    assert embed(Shirt.objects.pending()).failed == {"bad_vector": 1}
    assert Shirt.objects.failed().get().embedding_error == "bad_vector"


class Blind(Watched):
    def features(self, pixels):
        return np.zeros((len(pixels), 1280))


class Short(Watched):
    dimensions = None

    def features(self, pixels):
        return np.ones((len(pixels), 5))


def test_embed__other_dimensions_than_the_field_is_refused(settings):
    settings.SIMILAR_PRODUCTS = {
        "ENCODER": {
            "BACKEND": "similar_products.encoders.ColorHistogramEncoder",
            "OPTIONS": {"dimensions": 1792},
        }
    }
    with pytest.raises(EncoderError) as caught:
        embed(Shirt.objects.all())
    assert str(caught.value) == (
        "tests.Shirt.embedding has 1280 dimensions and the encoder color-histogram-1792 gives 1792. Declare "
        "embedding = VectorField(dimensions=1792, null=True, blank=True, editable=False, serialize=False) on the "
        "model and run makemigrations and migrate, or choose another encoder."
    )


def test_embed__dimensions_known_only_from_the_vectors_are_refused_too(settings):
    settings.SIMILAR_PRODUCTS = {"ENCODER": {"BACKEND": "tests.embedding.test_run.Short"}}
    add_shirts(1)
    with pytest.raises(EncoderError, match="has 1280 dimensions and the encoder watched gave 5"):
        embed(Shirt.objects.all())
    assert Shirt.objects.pending().count() == 1


def test_embed__of_a_slice_is_refused():
    with pytest.raises(TypeError, match="use limit="):
        embed(Shirt.objects.all()[:3])


def test_embed__name_with_the_separator_is_refused(settings, monkeypatch):
    settings.SIMILAR_PRODUCTS = {"ENCODER": {"BACKEND": "tests.counting.Watched"}}
    monkeypatch.setattr(Watched, "name", "a|b")
    with pytest.raises(EncoderError, match="contains '|'"):
        embed(Shirt.objects.all())


def test_embed__of_a_model_without_vectors_is_refused():
    with pytest.raises(TypeError, match=r"derived from VisuallySimilarModel, not tests\.Order"):
        embed(Order.objects.all())


@isolate_apps("tests")
def test_embed__other_number_of_dimensions(settings):
    class Mat(VisuallySimilarModel):
        image = models.ImageField()
        embedding = VectorField(dimensions=1792, null=True, blank=True, editable=False, serialize=False)

        class Meta:
            app_label = "tests"

    settings.SIMILAR_PRODUCTS = {
        "ENCODER": {
            "BACKEND": "similar_products.encoders.ColorHistogramEncoder",
            "OPTIONS": {"dimensions": 1792},
        }
    }
    with connection.schema_editor() as editor:
        editor.create_model(Mat)
    name = default_storage.save("rug.png", picture_file("red", "blue"))
    rows = Mat.objects.bulk_create([Mat(image=name), Mat(image=name)])
    assert embed(Mat.objects.pending()).embedded == 2
    assert list(Mat.objects.similar_to(rows[0])) == [rows[1]]


def test_embed__keys_of_every_type(picture):
    name = default_storage.save("a.png", picture)
    LimitedEditionScreenPrintedPosterOfMuseum.objects.bulk_create(
        LimitedEditionScreenPrintedPosterOfMuseum(scan=name) for _ in range(3)
    )
    Lamp.embeddings.bulk_create(Lamp(code=f"L{number}", image=name) for number in range(3))
    assert embed(LimitedEditionScreenPrintedPosterOfMuseum.objects.pending()).embedded == 3
    assert embed(Lamp.embeddings.pending()).embedded == 3


def test_embed__child_table(picture):
    PrintedShirt.objects.create(name="a", motif="cat", image=picture)
    assert embed(PrintedShirt.objects.pending()).embedded == 1
    assert Shirt.objects.ready().count() == 1


def test_embed__companion(picture):
    Vase.objects.bulk_create(Vase(name=str(number), image=f"{number}.png") for number in range(2))
    Vase.objects.bulk_create([Vase(name="no picture")])
    default_storage.save("0.png", picture)
    assert create_companions(VaseLook, "default") == 2
    assert create_companions(VaseLook, "default") == 0
    report = embed(VaseLook.objects.pending())
    assert (report.embedded, report.failed) == (1, {"missing_file": 1})
    assert VaseLook.objects.ready().get().vase.name == "0"
    assert create_companions(Shirt, "default") == 0


def test_embed__ordering_of_the_model_does_not_matter(watched):
    rows = add_shirts(5)
    Shirt.objects.filter(pk=rows[0].pk).update(name="zzz")
    assert embed(Shirt.objects.order_by("-name"), batch_size=2).embedded == 5


# Compare-and-set: what changed while it was being embedded is not overwritten.


@pytest.mark.parametrize("model", [Shirt, VaseLook])
def test_embed__picture_replaced_meanwhile_changes_nothing(watched, monkeypatch, model):
    if model is Shirt:
        add_shirts(1)
    else:
        Vase.objects.bulk_create([Vase(name="a", image=default_storage.save("v.png", picture_file("red")))])
        create_companions(VaseLook, "default")
    owner = Shirt if model is Shirt else Vase
    _after_encoding(monkeypatch, lambda: owner.objects.update(image="new.png"))
    report = embed(model.objects.pending(), retry_delays=[])
    assert (report.embedded, report.outdated) == (0, 1)
    assert model.objects.values_list("embedding", "embedding_source").get() == (None, "")


def test_embed__marked_as_replaced_meanwhile_changes_nothing(watched, monkeypatch):
    add_shirts(1)
    _after_encoding(monkeypatch, lambda: Shirt.objects.update(embedding_source="replaced|x"))
    assert embed(Shirt.objects.pending(), retry_delays=[]).outdated == 1
    assert Shirt.objects.values_list("embedding_source", flat=True).get() == "replaced|x"


def test_embed__what_changed_meanwhile_is_embedded_by_the_next_pass(watched, monkeypatch):
    add_shirts(1)
    changes = ["replaced|x", "replaced|y"]
    _after_encoding(monkeypatch, lambda: changes and Shirt.objects.update(embedding_source=changes.pop()))
    report = embed(Shirt.objects.pending(), retry_delays=[0, 0])
    assert (report.embedded, report.outdated) == (1, 0)
    assert len(watched.batches) == 3
    assert Shirt.objects.ready().count() == 1


def test_embed__row_deleted_meanwhile_is_not_written(watched, monkeypatch):
    add_shirts(2)
    _after_encoding(monkeypatch, lambda: Shirt.objects.filter(name="0").delete())
    report = embed(Shirt.objects.pending(), retry_delays=[])
    assert (report.embedded, report.outdated) == (1, 1)


def _after_encoding(monkeypatch, change) -> None:
    """Run ``change`` between the encoding of a batch and its writing, on the test's own connection."""
    write = writer.VectorWriter.write
    monkeypatch.setattr(writer.VectorWriter, "write", lambda self, results: (change(), write(self, results))[1])


def test_writer__takes_sixteen_rows_to_a_transaction(monkeypatch):
    add_shirts(40)
    chunks = []
    update = writer.VectorWriter._update
    monkeypatch.setattr(
        writer.VectorWriter, "_update", lambda self, chunk: chunks.append(len(chunk)) or update(self, chunk)
    )
    assert embed(Shirt.objects.pending(), batch_size=40).embedded == 40
    assert chunks == [16, 16, 8]


def test_writer__leaves_no_adapter_on_the_connection():
    """Django's own field reads vectors as text; a loader left behind would change what a shop gets."""
    add_shirts(1)
    embed(Shirt.objects.pending())
    with connection.cursor() as cursor:
        cursor.execute("SELECT embedding FROM tests_shirt")
        assert isinstance(cursor.fetchone()[0], str)


# Claims: any number of processes, each row embedded once.


@pytest.fixture
def other_connection():
    """A second session on the test's database, as another process would have it."""
    other = connection.copy()
    yield other
    other.close()


LOCK = "SELECT pg_advisory_lock(hashtextextended(%s, 0))"


def test_claim__row_of_another_process_is_left_to_it(watched, other_connection):
    first, second = add_shirts(2)
    with other_connection.cursor() as cursor:
        cursor.execute(LOCK, [f"similar_products row tests_shirt {first.pk}"])
    report = embed(Shirt.objects.pending(), retry_delays=[0])
    assert (report.embedded, report.locked) == (1, 1)
    assert Shirt.objects.ready().get() == second


def test_claim__row_given_back_is_taken_by_the_next_pass(watched, other_connection, monkeypatch):
    (row,) = add_shirts(1)
    with other_connection.cursor() as cursor:
        cursor.execute(LOCK, [f"similar_products row tests_shirt {row.pk}"])

    def give_back(*arguments):
        with other_connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock_all()")

    monkeypatch.setattr(run, "_sleep", give_back)
    assert embed(Shirt.objects.pending(), retry_delays=[1]).embedded == 1


def test_claim__row_finished_by_another_process_is_not_embedded_again(watched, monkeypatch):
    (row,) = add_shirts(1)
    claim = rows.ClaimedRows._claim_page

    def late(self, queryset, page, wanted):
        keys = list(page.values_list("pk", flat=True))
        Shirt.objects.update(embedding_source=f"watched|{row.image}")  # between the page and the claim
        monkeypatch.setattr(rows.ClaimedRows, "_claim_page", claim)
        return claim(self, queryset, Shirt.objects.filter(pk__in=keys), wanted)

    monkeypatch.setattr(rows.ClaimedRows, "_claim_page", late)
    assert embed(Shirt.objects.pending(), retry_delays=[]).done == 0
    assert watched.batches == []


def held_locks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
        return cursor.fetchone()[0]


def test_claim__is_given_back_after_success_and_failure(settings, monkeypatch):
    add_shirts(40)
    embed(Shirt.objects.pending(), limit=20)
    assert held_locks() == 0
    monkeypatch.setattr(writer.VectorWriter, "write", lambda self, results: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        embed(Shirt.objects.pending(), batch_size=4)
    assert held_locks() == 0


# A database that goes away.


def terminate_own_backend() -> None:
    connection.ensure_connection()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])
    other.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("place", ["_claim_page", "_release"])
def test_embed__goes_on_after_the_connection_is_lost(monkeypatch, place):
    add_shirts(10)
    original = getattr(rows.ClaimedRows, place)
    lost = []

    def lose(self, *arguments):
        if len(lost) < 2:
            lost.append(1)
            terminate_own_backend()
        return original(self, *arguments)

    monkeypatch.setattr(rows.ClaimedRows, place, lose)
    assert embed(Shirt.objects.pending(), batch_size=4).embedded == 10
    assert Shirt.objects.ready().count() == 10
    assert len(lost) == 2


@pytest.mark.django_db(transaction=True)
def test_embed__goes_on_after_the_connection_is_lost_while_writing(monkeypatch):
    add_shirts(10)
    update, lost = writer.VectorWriter._update, []

    def lose(self, chunk):
        if not lost:
            lost.append(1)
            terminate_own_backend()
        return update(self, chunk)

    monkeypatch.setattr(writer.VectorWriter, "_update", lose)
    assert embed(Shirt.objects.pending(), batch_size=4).embedded == 10


def test_with_reconnect__inside_a_transaction_tries_once():
    from django.db import OperationalError

    tries = []

    def fail():
        tries.append(1)
        raise OperationalError("gone")

    with pytest.raises(OperationalError):
        with_reconnect("default", fail)
    assert tries == [1]


@pytest.mark.django_db(transaction=True)
def test_with_reconnect__gives_up_when_the_database_stays_away(monkeypatch):
    from django.db import OperationalError

    from similar_products.embedding import reconnecting

    tries = []

    def fail():
        tries.append(1)
        raise OperationalError("gone")

    monkeypatch.setattr(reconnecting, "RECONNECT_DELAYS", (0, 0))
    with pytest.raises(OperationalError):
        with_reconnect("default", fail)
    assert tries == [1, 1, 1]


# The index.


def test_index_after_load__inside_a_transaction_leaves_the_index_alone():
    with index_after_load(Shirt, "default", 10_000):
        assert has_index(Shirt, "default")


@pytest.mark.django_db(transaction=True)
class TestFirstFill:
    def test_index_is_built_after_the_load(self):
        said = []
        with index_after_load(Shirt, "default", 10_000, on_build=lambda: said.append("build")):
            assert not has_index(Shirt, "default")
            add_shirts(3)
            embed(Shirt.objects.pending())
        assert has_index(Shirt, "default")
        assert said == ["build"]
        with connection.cursor() as cursor:
            cursor.execute("SELECT last_analyze IS NOT NULL FROM pg_stat_user_tables WHERE relname = 'tests_shirt'")
            assert cursor.fetchone() == (True,)
            cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = 'shirt_9a438cef_hnsw'")
            (definition,) = cursor.fetchone()
        assert "hnsw (((embedding)::halfvec(1280)) halfvec_cosine_ops) WITH (m='24', ef_construction='128')" in (
            definition
        )

    @pytest.mark.parametrize(("rows", "has_vectors"), [(10, False), (10_000, True)])
    def test_index_stays_where_it_would_not_pay(self, rows, has_vectors):
        if has_vectors:
            add_shirts(1)
            embed(Shirt.objects.pending())
        with index_after_load(Shirt, "default", rows):
            assert has_index(Shirt, "default")

    def test_index_is_built_when_the_load_fails(self):
        with pytest.raises(KeyboardInterrupt), index_after_load(Shirt, "default", 10_000):
            raise KeyboardInterrupt
        assert has_index(Shirt, "default")

    def test_missing_index_is_built_by_the_next_run(self):
        drop_index(Shirt, "default")
        with index_after_load(Shirt, "default", 0):
            pass
        assert has_index(Shirt, "default")

    def test_index_is_left_to_the_process_that_has_the_lock(self):
        held, release = threading.Event(), threading.Event()

        def other_process():
            with index_after_load(Shirt, "default", 10_000):
                held.set()
                release.wait(30)
            connections.close_all()

        thread = threading.Thread(target=other_process)
        thread.start()
        assert held.wait(30)
        with index_after_load(Shirt, "default", 10_000):
            assert not has_index(Shirt, "default")
        assert not has_index(Shirt, "default")
        release.set()
        thread.join(30)
        assert has_index(Shirt, "default")

    def test_build_index_raises_its_memory_for_the_build_only(self, monkeypatch):
        add_shirts(3)
        embed(Shirt.objects.pending())
        monkeypatch.setattr(hnsw, "BYTES_PER_INDEXED_DIMENSION", 100_000)
        seen = []
        drop = hnsw.drop_index
        monkeypatch.setattr(hnsw, "drop_index", lambda *where: seen.append(memory()) or drop(*where))
        before = memory()
        build_index(Shirt, "default")
        assert seen == ["375000kB"] != [before]
        assert memory() == before

    def test_invalid_index_is_built_anew(self):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'shirt_9a438cef_hnsw'::regclass")
        assert not has_index(Shirt, "default")
        with index_after_load(Shirt, "default", 0):
            pass
        assert has_index(Shirt, "default")


def memory() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW maintenance_work_mem")
        return cursor.fetchone()[0]
