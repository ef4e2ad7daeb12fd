"""The command, run as a user runs it; where exit codes and streams matter, in a process of its own."""

import contextlib
import io
import os
import pty
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection

from similar_products.embedding import index_build
from similar_products.embedding import run as run_module
from similar_products.embedding.index_build import drop_index, has_index
from similar_products.embedding.writer import VectorWriter
from similar_products.encoders import ColorHistogramEncoder, get_encoder
from tests.drawn_pictures import picture_file
from tests.models import Lamp, Shirt, Vase, VaseLook

pytestmark = pytest.mark.django_db


def add_shirts(count: int, image: str = "") -> None:
    image = image or default_storage.save("shirts/a.png", picture_file("tomato", "navy"))
    Shirt.objects.bulk_create(Shirt(name=str(number), image=image) for number in range(count))


def run(*arguments: str, **options) -> str:
    out = io.StringIO()
    call_command("embed_products", *arguments, stdout=out, **options)
    return out.getvalue()


def test_embed_products__embeds_what_is_pending_and_then_nothing():
    add_shirts(5)
    first = run()
    assert "Encoder: color-histogram-1280\n" in first
    assert "tests.Shirt: 5 embedded in " in first
    assert "tests.Shirt: 0 embedded.\n" in run()
    assert Shirt.objects.ready().count() == 5


def test_embed_products__named_models_only():
    add_shirts(2)
    Lamp.embeddings.bulk_create([Lamp(code="a", image=default_storage.save("l.png", picture_file("red")))])
    assert "tests.Shirt" not in run("tests.Lamp", "tests.Lamp")
    assert Shirt.objects.pending().count() == 2
    assert Lamp.embeddings.ready().count() == 1


def test_embed_products__makes_missing_companions():
    name = default_storage.save("v.png", picture_file("red"))
    Vase.objects.bulk_create(Vase(name=str(number), image=name) for number in range(3))
    assert "tests.VaseLook: 3 embedded" in run("tests.VaseLook")
    assert VaseLook.objects.ready().count() == 3


def test_embed_products__child_model_means_the_table_of_its_vectors():
    add_shirts(1)
    assert "tests.Shirt: 1 embedded" in run("tests.PrintedShirt")


@pytest.mark.parametrize("label", ["tests.Vase", "tests.Nothing", "nothing", "no.such.thing"])
def test_embed_products__unknown_model_is_named_with_the_valid_ones(label):
    with pytest.raises(CommandError, match=f"'{label}' is no model with vectors; valid are .*tests.Shirt") as caught:
        run(label)
    assert caught.value.returncode == 2


def test_embed_products__failed_pictures_are_counted_and_exit_1():
    add_shirts(2)
    Shirt.objects.bulk_create([Shirt(name="gone", image="shirts/gone.png")])
    out = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("embed_products", "tests.Shirt", stdout=out)
    assert caught.value.returncode == 1
    assert str(caught.value) == ("1 of 3 pictures could not be embedded: missing_file 1. The log names each.")
    assert "tests.Shirt: 2 embedded, 1 failed (missing_file 1) in " in out.getvalue()


def test_embed_products__failed_pictures_are_not_tried_again_unless_asked():
    add_shirts(1, image="shirts/later.png")
    with pytest.raises(CommandError):
        run("tests.Shirt")
    assert "tests.Shirt: 0 embedded.\n" in run("tests.Shirt")
    path = Path(django_settings.MEDIA_ROOT) / "shirts" / "later.png"
    path.write_bytes(picture_file("red").read())
    add_shirts(2)
    run("tests.Shirt")
    assert "tests.Shirt: 1 embedded" in run("tests.Shirt", retry_failed=True)


def test_embed_products__all_embeds_ready_rows_again():
    add_shirts(3)
    run("tests.Shirt")
    Shirt.objects.filter(name="0").update(embedding=[1.0] + [0.0] * 1279)
    assert "tests.Shirt: 3 embedded" in run("tests.Shirt", "--all")
    assert Shirt.objects.values_list("embedding", flat=True).get(name="0")[0] != 1.0


def test_embed_products__limit_counts_over_all_models():
    add_shirts(3)
    Lamp.embeddings.bulk_create([Lamp(code="a", image="gone.png")])
    out = run("tests.Shirt", "tests.Lamp", limit=2)
    assert "tests.Shirt: 2 embedded" in out
    assert "tests.Lamp: 0 embedded" in out


@pytest.mark.parametrize("option", ["--limit", "--batch-size"])
@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_embed_products__numbers_must_be_positive(option, value):
    with pytest.raises(CommandError, match="is not a positive whole number"):
        run(f"{option}={value}")


def test_embed_products__dry_run_counts_and_writes_nothing():
    add_shirts(3)
    Vase.objects.bulk_create([Vase(name="a", image="a.png")])
    out = run("tests.Shirt", "tests.VaseLook", dry_run=True)
    assert "tests.Shirt: 3 to embed.\n" in out
    assert "tests.VaseLook: 1 to embed.\n" in out
    assert Shirt.objects.pending().count() == 3
    assert not VaseLook.objects.exists()


def test_embed_products__status_counts_by_state_and_code():
    add_shirts(2)
    Shirt.objects.bulk_create([Shirt(name="gone", image="gone.png")])
    with pytest.raises(CommandError):
        run("tests.Shirt")
    Shirt.objects.filter(name="0").update(embedding_source="older|x")
    assert "tests.Shirt: 1 ready, 1 pending, 1 failed (missing_file 1).\n" in run("tests.Shirt", "--status")
    assert Shirt.objects.pending().count() == 1


def test_embed_products__verify_reports_what_is_unchanged():
    add_shirts(2)
    run("tests.Shirt")
    assert "tests.Shirt: 0 embedded, 2 unchanged in " in run("tests.Shirt", "--verify")


def test_embed_products__quiet_says_nothing():
    add_shirts(1)
    assert run(verbosity=0) == ""


def test_embed_products__encoder_that_cannot_work_is_one_sentence_and_exit_2(settings):
    settings.SIMILAR_PRODUCTS = {
        "ENCODER": {
            "BACKEND": "similar_products.encoders.TFHubEncoder",
            "OPTIONS": {"handle": "/no/such/folder"},
        }
    }
    with pytest.raises(CommandError, match="There is no folder /no/such/folder") as caught:
        run()
    assert caught.value.returncode == 2


def test_embed_products__interrupted_keeps_what_is_written_and_exits_3(monkeypatch):
    def interrupted(self, results):
        if Shirt.objects.ready().exists():
            raise KeyboardInterrupt
        return write(self, results)

    write = VectorWriter.write
    monkeypatch.setattr(VectorWriter, "write", interrupted)
    add_shirts(10)
    with pytest.raises(CommandError, match="Interrupted. What is embedded stays") as caught:
        run("tests.Shirt", batch_size=4)
    assert caught.value.returncode == 3
    assert Shirt.objects.ready().count() == 4
    monkeypatch.undo()
    assert "tests.Shirt: 6 embedded" in run("tests.Shirt")


def test_embed_products__opens_no_model_where_nothing_is_pending(settings, tmp_path):
    (tmp_path / "no.tflite").write_bytes(b"not even a model")
    settings.SIMILAR_PRODUCTS = {
        "ENCODER": {
            "BACKEND": "similar_products.encoders.TFHubEncoder",
            "OPTIONS": {"handle": str(tmp_path / "no.tflite")},
        }
    }
    assert "tests.Shirt: 0 embedded.\n" in run("tests.Shirt")


@pytest.mark.slow
def test_embed_products__converts_the_model_first(settings, monkeypatch, tmp_path):
    """A save before that leaves the product pending: a web process converts nothing."""
    from tests.saved_models import save_feature_model

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = save_feature_model(tmp_path / "model", dimensions=1280, size=32)
    settings.SIMILAR_PRODUCTS = {
        "ENCODER": {"BACKEND": "similar_products.encoders.TFHubEncoder", "OPTIONS": {"handle": str(model)}}
    }
    add_shirts(3)
    assert Shirt.objects.pending().count() == 3
    errors = io.StringIO()
    assert "tests.Shirt: 3 embedded" in run("tests.Shirt", stderr=errors)
    assert errors.getvalue() == (
        f"Preparing the model of {get_encoder().name} for LiteRT, which is done once on a machine.\n"
    )
    errors = io.StringIO()
    assert "tests.Shirt: 3 embedded" in run("tests.Shirt", "--all", stderr=errors)
    assert errors.getvalue() == ""


def test_embed_products__threads(monkeypatch):
    used = set()
    load = run_module.load_stored_pixels
    monkeypatch.setattr(
        run_module, "load_stored_pixels", lambda *given: used.add(threading.current_thread().name) or load(*given)
    )
    monkeypatch.setattr(ColorHistogramEncoder, "batch_size", 1)
    add_shirts(12)
    run("tests.Shirt", threads=1)
    assert used == {"ahead_0"}


def test_embed_products__wrong_dimensions_are_found_before_any_work(settings):
    add_shirts(1)
    settings.SIMILAR_PRODUCTS = {
        "ENCODER": {"BACKEND": "similar_products.encoders.ColorHistogramEncoder", "OPTIONS": {"dimensions": 64}}
    }
    with pytest.raises(CommandError, match="has 1280 dimensions and the encoder color-histogram-64 gives 64"):
        run()


def test_embed_products__without_models_says_so(monkeypatch):
    from similar_products.management.commands import embed_products

    monkeypatch.setattr(embed_products, "get_holders", list)
    with pytest.raises(CommandError, match="No installed model is derived from VisuallySimilarModel"):
        run()


@pytest.mark.django_db(transaction=True)
def test_embed_products__first_fill_builds_the_index_after_loading(monkeypatch):
    monkeypatch.setattr(index_build, "FIRST_FILL_ROWS", 3)
    add_shirts(4)
    assert "tests.Shirt: building the vector index.\n" in run("tests.Shirt")
    assert has_index(Shirt, "default")
    add_shirts(4)
    assert "building" not in run("tests.Shirt")


@pytest.mark.django_db(transaction=True)
def test_embed_products__builds_a_missing_index():
    drop_index(Shirt, "default")
    assert "tests.Shirt: building the vector index.\n" in run("tests.Shirt")
    assert has_index(Shirt, "default")


@pytest.fixture
def environment():
    """Lets a process of its own see the test database."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.child_settings",
        "TEST_DATABASE_NAME": connection.settings_dict["NAME"],
    }


COMMAND = (sys.executable, "-W", "error", "-m", "django", "embed_products", "tests.Shirt")


@pytest.mark.django_db(transaction=True)
def test_process__exit_codes_and_streams(environment):
    add_shirts(2)
    done = subprocess.run(COMMAND, capture_output=True, text=True, env=environment, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert "tests.Shirt: 2 embedded" in done.stdout
    add_shirts(1, image="gone.png")
    failed = subprocess.run(COMMAND, capture_output=True, text=True, env=environment, timeout=120)
    assert failed.returncode == 1
    assert "gone.png not embedded: The storage has no file 'gone.png'. (missing_file)" in failed.stderr
    assert "CommandError: 1 of 1 pictures could not be embedded" in failed.stderr
    assert "CommandError" not in failed.stdout
    bad = {**environment, "DJANGO_SETTINGS_MODULE": "tests.wrong_settings"}
    settings = subprocess.run(COMMAND, capture_output=True, text=True, env=bad, timeout=120)
    assert (settings.returncode, settings.stdout) == (2, "")
    assert "has the unknown key 'UNKNOWN'" in settings.stderr
    wrong = subprocess.run([*COMMAND, "nothing"], capture_output=True, text=True, env=environment, timeout=120)
    assert wrong.returncode == 2


@pytest.mark.django_db(transaction=True)
def test_process__shows_progress_with_rate_and_time_left_on_a_terminal(environment):
    add_shirts(40)
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 100))
    process = subprocess.Popen(COMMAND, stdout=subprocess.DEVNULL, stderr=slave, env=environment)
    os.close(slave)
    shown = ""
    with contextlib.suppress(OSError), os.fdopen(master, "rb", buffering=0) as terminal:  # EIO: all is read
        while part := terminal.read(4096):
            shown += part.decode()
    assert process.wait(120) == 0
    assert "tests.Shirt: 100%" in shown
    assert "40/40" in shown
    assert "pictures/s" in shown
