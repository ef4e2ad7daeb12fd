"""One product embedded by its key: the function, the task around it, and docs/queues.md run word by word."""

import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import django
import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.storage import default_storage
from django.db import connection
from django.utils.module_loading import import_string

from similar_products import signals, tasks
from similar_products.encoders import ColorHistogramEncoder, EncoderError
from similar_products.tasks import embed_product
from tests.models import (
    Lamp,
    LimitedEditionScreenPrintedPosterOfMuseum,
    PrintedShirt,
    Shirt,
    Vase,
    VaseLook,
)
from tests.servers import Redis, running_redis, wait_for

ROOT = Path(__file__).resolve().parent.parent
QUEUES = (ROOT / "docs" / "queues.md").read_text()


@pytest.fixture
def asked(monkeypatch) -> list[list[str]]:
    """Holds what saves ask for, as it comes out of a queue that speaks JSON."""
    calls: list[list[str]] = []
    monkeypatch.setattr(
        signals, "embed_after_commit", lambda *arguments: calls.append(json.loads(json.dumps(arguments[:3])))
    )
    return calls


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """Holds the size of each batch that is encoded."""
    batches: list[int] = []
    encode = ColorHistogramEncoder.encode
    monkeypatch.setattr(
        ColorHistogramEncoder, "encode", lambda self, pixels: batches.append(len(pixels)) or encode(self, pixels)
    )
    return batches


# The function.


@pytest.mark.django_db(transaction=True)
def test_embed_product__finds_the_row_by_what_the_save_asked(asked, encoded, picture):
    name = default_storage.save("a.png", picture)
    Shirt.objects.create(name="a", image=name)
    PrintedShirt.objects.create(name="b", motif="cat", image=name)
    Lamp.embeddings.create(code="c/1 ü", image=name, published=False)
    LimitedEditionScreenPrintedPosterOfMuseum.objects.create(scan=name)
    Vase.objects.create(name="d", image=name)
    holders = [Shirt.objects, Lamp.embeddings, LimitedEditionScreenPrintedPosterOfMuseum.objects, VaseLook.objects]
    assert len(asked) == 5
    for arguments in asked:
        assert embed_product(*arguments) is None
    assert [rows.ready().count() for rows in holders] == [2, 1, 1, 1]
    assert encoded == [1] * 5
    for arguments in asked:
        embed_product(*arguments)
    assert encoded == [1] * 5


@pytest.mark.django_db
def test_embed_product__embeds_no_other_row(picture):
    name = default_storage.save("a.png", picture)
    rows = Shirt.objects.bulk_create(Shirt(name=str(number), image=name) for number in range(3))
    vases = Vase.objects.bulk_create(Vase(name=str(number), image=name) for number in range(3))
    embed_product("tests.Shirt", str(rows[1].pk))
    embed_product("tests.Vase", str(vases[1].pk))
    assert Shirt.objects.ready().get() == rows[1]
    assert VaseLook.objects.get().vase == vases[1]
    assert VaseLook.objects.ready().count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("label", ["tests.CheapShirt", "tests.PrintedShirt"])
def test_embed_product__takes_the_label_of_a_proxy_and_of_a_child(label, picture):
    row = PrintedShirt.objects.create(name="a", motif="cat", image=picture)
    embed_product(label, str(row.pk))
    assert Shirt.objects.ready().count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("label", "pk"),
    [
        ("tests.Shirt", "999999"),
        ("tests.Vase", "999999"),
        ("tests.Lamp", "gone"),
        ("tests.LimitedEditionScreenPrintedPosterOfMuseum", str(uuid.uuid4())),
    ],
)
def test_embed_product__of_a_product_that_is_gone_does_nothing(label, pk, encoded, caplog):
    embed_product(label, pk)
    assert encoded == []
    assert not caplog.records
    assert not VaseLook.objects.exists()


@pytest.mark.django_db
def test_embed_product__of_a_product_without_a_picture_does_nothing(encoded):
    embed_product("tests.Vase", str(Vase.objects.create(name="a").pk))
    assert encoded == []
    assert not VaseLook.objects.exists()


def test_embed_product__of_a_model_without_vectors_names_the_valid_ones():
    with pytest.raises(LookupError) as caught:
        embed_product("tests.Order", "1")
    assert str(caught.value) == (
        "tests.Order has no picture that is embedded; valid are shop_demo.Product, tests.ChairPhoto, tests.Dish, "
        "tests.Lamp, tests.LimitedEditionScreenPrintedPosterOfMuseum, tests.Page, tests.PageLook, tests.RugPhoto, "
        "tests.RugPhotoLook, tests.Scan, tests.Shirt, tests.Vase, tests.VaseLook."
    )


@pytest.mark.parametrize("label", ["tests.Shirt", "tests.LimitedEditionScreenPrintedPosterOfMuseum"])
def test_embed_product__of_a_text_that_is_no_key_is_refused(label):
    with pytest.raises(ValidationError):
        embed_product(label, "no key")


@pytest.mark.django_db
def test_embed_product__of_an_unknown_database_is_refused():
    with pytest.raises(django.db.utils.ConnectionDoesNotExist):
        embed_product("tests.Shirt", "1", "archive")


@pytest.mark.django_db
def test_embed_product__leaves_a_row_pending_whose_storage_failed(monkeypatch, caplog):
    def down(*arguments):
        raise TimeoutError("no answer")

    waited = []
    monkeypatch.setattr("similar_products.embedding.run._sleep", lambda seconds, should_stop: waited.append(seconds))
    monkeypatch.setattr(type(default_storage._wrapped), "_open", down)
    (row,) = Shirt.objects.bulk_create([Shirt(name="a", image="a.png")])
    embed_product("tests.Shirt", str(row.pk))
    assert Shirt.objects.pending().count() == 1
    assert "(storage_error)" in caplog.text
    assert waited == [1, 4, 16]


@pytest.mark.django_db
def test_embed_product__leaves_the_retry_to_the_queue_where_the_encoder_cannot_work(monkeypatch, picture):
    def encode(self, pixels):
        raise EncoderError("no model")

    monkeypatch.setattr(ColorHistogramEncoder, "encode", encode)
    row = Shirt.objects.create(name="a", image=picture)
    with pytest.raises(EncoderError, match="no model"):
        embed_product("tests.Shirt", str(row.pk))
    assert Shirt.objects.pending().count() == 1


# The task.


@pytest.fixture
def unmade_task() -> Iterator[None]:
    """Has the task made anew, and forgotten afterwards."""
    tasks._get_task.cache_clear()
    yield
    tasks._get_task.cache_clear()


@pytest.mark.django_db
@pytest.mark.usefixtures("unmade_task")
def test_embed_product_task__is_found_by_a_worker_under_its_own_path(picture):
    task = tasks.embed_product_task
    assert task.module_path == "similar_products.tasks.embed_product_task"
    assert import_string(task.module_path) is task
    row = Shirt.objects.create(name="a", image=picture)
    task.call("tests.Shirt", str(row.pk), "default")
    assert Shirt.objects.ready().get() == row


@pytest.mark.usefixtures("unmade_task")
def test_embed_product_task__is_djangos_own_where_django_has_it(monkeypatch):
    own = ModuleType("django.tasks")
    own.task = lambda function: ("django's own", function.__qualname__)
    monkeypatch.setitem(sys.modules, "django.tasks", own)
    monkeypatch.setattr(django, "VERSION", (6, 0, 0, "final", 0))
    assert tasks.embed_product_task == ("django's own", "embed_product_task")


def test_tasks__know_no_other_name():
    with pytest.raises(AttributeError, match=r"module 'similar_products\.tasks' has no attribute 'embed_products'"):
        _ = tasks.embed_products


def test_tasks__import_no_package_for_tasks_unless_asked():
    code = (
        "import sys, django; django.setup(); import similar_products.tasks; "
        "print([name for name in sys.modules if name in ('django_tasks', 'celery')])"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# docs/queues.md, in a project of its own on the database of the tests.


def section(title: str) -> str:
    return QUEUES.split(f"## {title}")[1].split("\n## ")[0]


def commands(title: str) -> list[str]:
    """Return the command lines of a section."""
    return "".join(re.findall(r"```sh\n(.*?)```", section(title), re.DOTALL)).splitlines()


SHOP = """
from django.core.files.base import ContentFile
from tests.models import Shirt
from tests.drawn_pictures import picture_bytes
row = Shirt.objects.create(name={name!r}, image=ContentFile(picture_bytes("red"), "a.png"))
print(row.pk)
"""


class Project:
    """A project on disk whose settings are the tests' own and then those of the page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "mysite.settings",
            "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "TEST_DATABASE_NAME": connection.settings_dict["NAME"],
        }
        self.write("mysite/__init__.py", "")
        self.write("mysite/settings.py", f'from tests.child_settings import *\nMEDIA_ROOT = "{settings.MEDIA_ROOT}"\n')
        self.write("manage.py", (ROOT / "manage.py").read_text())

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as file:
            file.write(text)

    def paste(self, title: str) -> None:
        """Put each block of a section into the file that its first line names."""
        for block in re.findall(r"```python\n(.*?)```", section(title), re.DOTALL):
            name, _, code = block.partition("\n")
            self.write(name.removeprefix("# "), code)
        # Beside the keys that are set, as the page says.
        settings = "from tests.child_settings import SIMILAR_PRODUCTS as OURS\n"
        self.write("mysite/settings.py", f"{settings}SIMILAR_PRODUCTS = {{**OURS, **SIMILAR_PRODUCTS}}\n")

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            shlex.split(line), cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done

    def save_product(self, name: str) -> subprocess.CompletedProcess[str]:
        """Save a product with a picture in a process of its own, as a web process does."""
        return self.run(f"python -c {shlex.quote('import django; django.setup()' + SHOP.format(name=name))}")


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path)


DJANGO_TASKS = "Django's Tasks, with a worker on the same database"


@pytest.fixture
def shop_with_tasks(project, transactional_db) -> Iterator[Project]:
    project.paste(DJANGO_TASKS)
    yield project
    with connection.cursor() as cursor:  # its migrations cannot be taken back
        cursor.execute("DROP TABLE IF EXISTS django_tasks_database_dbtaskresult")
        cursor.execute("DELETE FROM django_migrations WHERE app = 'django_tasks_database'")


@pytest.mark.slow
def test_queues_page__django_tasks_with_its_database_worker(shop_with_tasks):
    migrate, worker = commands(DJANGO_TASKS)[1:]
    shop_with_tasks.run(migrate)
    done = shop_with_tasks.save_product("a")
    assert done.stderr == ""
    pk = int(done.stdout)
    assert Shirt.objects.pending().get().pk == pk
    with connection.cursor() as cursor:
        cursor.execute("SELECT status, task_path, args_kwargs FROM django_tasks_database_dbtaskresult")
        ((status, path, arguments),) = cursor.fetchall()
        assert (status, path) == ("READY", "similar_products.tasks.embed_product_task")
        assert json.loads(arguments) == {"args": ["tests.Shirt", str(pk), "default"], "kwargs": {}}
        shop_with_tasks.run(f"{worker} --batch --no-startup-delay")
        cursor.execute("SELECT status, traceback FROM django_tasks_database_dbtaskresult")
        assert cursor.fetchall() == [("SUCCESSFUL", "")]
    assert Shirt.objects.ready().get().pk == pk


CELERY = "Celery, or any other queue"


@pytest.fixture
def redis(tmp_path) -> Iterator[Redis]:
    if not importlib.util.find_spec("celery") or not importlib.util.find_spec("redis"):
        pytest.skip("celery[redis] is not installed")
    with running_redis(tmp_path) as server:
        yield server


@pytest.mark.django_db(transaction=True)
def test_queues_page__celery_with_redis(project, redis):
    project.paste(CELERY)
    project.write("shop/__init__.py", "")
    project.write(
        "mysite/settings.py",
        f'INSTALLED_APPS = [*INSTALLED_APPS, "shop"]\nCELERY_BROKER_URL = "redis://127.0.0.1:{redis.port}/0"\n',
    )
    assert project.save_product("before the worker").stderr == ""
    assert Shirt.objects.pending().count() == 1
    assert redis.ask("LLEN celery") == ":1"

    (command,) = commands(CELERY)[1:]
    log = project.folder / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            shlex.split(command), cwd=project.folder, env=project.environment, stdout=output, stderr=output
        )
    try:
        wait_for(lambda: Shirt.objects.ready().count() == 1, f"The product of the queue ({log.read_text()})")
        project.save_product("beside the worker")
        wait_for(lambda: Shirt.objects.ready().count() == 2, "The product saved beside the worker")
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
    assert log.read_text().count("succeeded in") == 2

    redis.stop()
    done = project.save_product("with Redis down")
    (row,) = Shirt.objects.pending()
    assert row.name == "with Redis down"
    assert f"tests.Shirt of {row.pk} was not embedded; it stays pending." in done.stderr
    assert "Connection refused" in done.stderr
    embed_product("tests.Shirt", str(row.pk))
    assert Shirt.objects.ready().count() == 3
