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

pytestmark = [pytest.mark.network, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
REQUESTS = 200

SETTINGS = """
from tests.child_settings import *

ALLOWED_HOSTS = ["127.0.0.1"]
MEDIA_ROOT = {media!r}
MIDDLEWARE = []
ROOT_URLCONF = "shop"
SIMILAR_PRODUCTS = {{}}
"""

SHOP = """
import os
import sys

from django.core.files.base import ContentFile
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

application = get_wsgi_application()

from similar_products.encoders import load_model
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
    load_model()
assert "tensorflow" not in sys.modules
"""


@contextmanager
def shop(folder: Path, **environment: str) -> Iterator[tuple[int, Path]]:
    """Serve the shop while the block runs; yield its port and its log."""
    (folder / "shop_settings.py").write_text(SETTINGS.format(media=str(settings.MEDIA_ROOT)))
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
@pytest.mark.parametrize("environment", [{}, {"OPEN_BEFORE_FORK": "1"}], ids=["in the workers", "before the fork"])
def test_fork__model_opened_there_embeds_every_save(tmp_path, environment):
    with shop(tmp_path, **environment) as (port, log):
        answers = save_products(port)
    assert Counter(status for status, _ in answers) == {200: REQUESTS}, log.read_text()
    assert len({process for _, process in answers}) == 2
    assert Shirt.objects.exclude(embedding__isnull=True).count() == REQUESTS
    assert "not embedded" not in log.read_text()
