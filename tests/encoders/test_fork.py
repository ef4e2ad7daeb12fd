"""A web server that forks: gunicorn --preload with 2 workers of 2 threads, and 200 requests that embed."""

import http.client
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from tests.models import Shirt
from tests.saved_models import save_feature_model

pytestmark = [pytest.mark.network, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
REQUESTS = 200
REFUSAL = "TensorFlow was used in this process's parent before it forked"

SETTINGS = """
from tests.child_settings import *

ALLOWED_HOSTS = ["127.0.0.1"]
MEDIA_ROOT = {media!r}
MIDDLEWARE = []
ROOT_URLCONF = "shop"
SIMILAR_PRODUCTS = {{
    "ENCODER": {{"BACKEND": "similar_products.encoders.TFHubEncoder", "OPTIONS": {{"handle": {model!r}}}}}
}}
"""

SHOP = """
import os
import sys

from django.core.files.base import ContentFile
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

application = get_wsgi_application()

from similar_products.encoders import get_encoder
from tests.models import Shirt
from tests.drawn_pictures import picture_bytes


def ready(request):
    return HttpResponse()


def save(request, number):
    picture = ContentFile(picture_bytes("red", "navy"), f"{number}.png")
    Shirt.objects.create(name=str(number), image=picture)
    return HttpResponse(str(os.getpid()))


urlpatterns = [path("ready/", ready), path("save/<int:number>/", save)]

if "OPEN_BEFORE_FORK" in os.environ:
    import numpy

    get_encoder().encode(numpy.ones((1, 32, 32, 3), numpy.uint8))
assert ("tensorflow" in sys.modules) == ("OPEN_BEFORE_FORK" in os.environ)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_feature_model(tmp_path_factory.mktemp("model"), dimensions=1280, size=32)


@contextmanager
def shop(folder: Path, model: Path, **environment: str) -> Iterator[tuple[int, Path]]:
    """Serve the shop while the block runs; yield its port and its log."""
    (folder / "shop_settings.py").write_text(SETTINGS.format(media=str(settings.MEDIA_ROOT), model=str(model)))
    (folder / "shop.py").write_text(SHOP)
    log = folder / "gunicorn.log"
    command = "gunicorn shop --preload --workers 2 --threads 2 --bind 127.0.0.1:0 --timeout 60 --graceful-timeout 5"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", *command.split()],
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "shop_settings",
                "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
                "TEST_DATABASE_NAME": connection.settings_dict["NAME"],
                **environment,
            },
            stdout=output,
            stderr=output,
        )
    try:
        yield wait_until_ready(server, log), log
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            raise


def wait_until_ready(server: "subprocess.Popen[bytes]", log: Path) -> int:
    """Return the port, once the shop answers there."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        if found := re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", log.read_text()):
            port = int(found[1])
            if get(port, "/ready/")[0] == 200:
                return port
        time.sleep(0.1)
    raise AssertionError(f"gunicorn does not serve:\n{log.read_text()}")


def get(port: int, path: str) -> tuple[int, str]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        client.request("GET", path)
        response = client.getresponse()
        return response.status, response.read().decode()
    except ConnectionError as error:
        return 0, str(error)
    finally:
        client.close()


def save_products(port: int) -> list[tuple[int, str]]:
    with ThreadPoolExecutor(8) as clients:
        answers = [clients.submit(get, port, f"/save/{number}/") for number in range(REQUESTS)]
        try:
            return [answer.result() for answer in answers]
        finally:
            clients.shutdown(cancel_futures=True)  # where one hangs, the others are not waited for


@pytest.mark.django_db(transaction=True)
def test_fork__model_opened_by_the_workers_embeds_every_save(tmp_path, model):
    with shop(tmp_path, model) as (port, log):
        answers = save_products(port)
    assert Counter(status for status, _ in answers) == {200: REQUESTS}, log.read_text()
    assert len({process for _, process in answers}) == 2
    assert Shirt.objects.values("embedding_source").exclude(embedding__isnull=True).count() == REQUESTS
    assert REFUSAL not in log.read_text()


@pytest.mark.django_db(transaction=True)
def test_fork__model_opened_before_the_fork_refuses_instead_of_hanging(tmp_path, model):
    with shop(tmp_path, model, OPEN_BEFORE_FORK="1") as (port, log):
        answers = save_products(port)
    assert Counter(status for status, _ in answers) == {200: REQUESTS}, log.read_text()
    assert len({process for _, process in answers}) == 2
    assert Shirt.objects.values_list("embedding_source", "embedding_error").distinct().get() == ("", "")
    assert Shirt.objects.count() == REQUESTS
    assert log.read_text().count("was not embedded; it stays pending.") == REQUESTS
    assert log.read_text().count(REFUSAL) == REQUESTS
