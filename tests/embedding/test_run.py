from pathlib import Path

import numpy as np
import pytest
from django.conf import settings as django_settings
from django.core.files.storage import default_storage

from similar_products.embedding import embed, run
from similar_products.embedding.states import count_states
from similar_products.encoders import ColorHistogramEncoder, EncoderError
from tests.counting import Watched
from tests.drawn_pictures import picture_bytes, picture_file
from tests.embedding.added_shirts import add_shirts
from tests.models import Order, Shirt, Vase, VaseLook

pytestmark = pytest.mark.django_db


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


@pytest.mark.parametrize(("batch_size", "batches"), [(4, [2] * 5), (None, [10]), (1, [1] * 10)])
def test_embed__works_in_batches(watched, batch_size, batches):
    add_shirts(10)
    seen = []
    assert embed(Shirt.objects.pending(), batch_size=batch_size, threads=1, on_progress=seen.append).embedded == 10
    assert watched.batches == batches
    assert sum(seen) == 10


def test_embed__stops_at_the_limit(watched):
    rows = add_shirts(10)
    assert embed(Shirt.objects.pending(), batch_size=4, limit=6).embedded == 6
    assert sum(watched.batches) == 6
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
    add_shirts(100)
    report = embed(Shirt.objects.pending(), batch_size=4, should_stop=lambda: len(watched.batches) >= 2)
    assert report.embedded == sum(watched.batches) < 100
    assert Shirt.objects.ready().count() == report.embedded


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


def test_embed__of_a_model_without_vectors_is_refused():
    with pytest.raises(TypeError, match=r"derived from VisuallySimilarModel, not tests\.Order"):
        embed(Order.objects.all())


def test_embed__ordering_of_the_model_does_not_matter(watched):
    rows = add_shirts(5)
    Shirt.objects.filter(pk=rows[0].pk).update(name="zzz")
    assert embed(Shirt.objects.order_by("-name"), batch_size=2).embedded == 5
