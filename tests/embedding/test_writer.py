from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.files.storage import default_storage
from django.db import connection, models
from django.test.utils import isolate_apps
from pgvector.django import VectorField

from similar_products.embedding import embed, writer
from similar_products.embedding.companions import create_companions
from similar_products.encoders import EncoderError
from similar_products.models import VisuallySimilarModel
from tests.counting import Watched
from tests.drawn_pictures import picture_bytes, picture_file
from tests.embedding.added_shirts import add_shirts
from tests.models import Lamp, LimitedEditionScreenPrintedPosterOfMuseum, PrintedShirt, Shirt, Vase, VaseLook

pytestmark = pytest.mark.django_db


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


def test_embed__name_with_the_separator_is_refused(settings, monkeypatch):
    settings.SIMILAR_PRODUCTS = {"ENCODER": {"BACKEND": "tests.counting.Watched"}}
    monkeypatch.setattr(Watched, "name", "a|b")
    with pytest.raises(EncoderError, match="contains '|'"):
        embed(Shirt.objects.all())


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
