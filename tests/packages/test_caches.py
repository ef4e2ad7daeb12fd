"""Packages that keep the results of queries see vectors written."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import connection
from django.db.models import QuerySet
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from tests.drawn_pictures import picture_file
from tests.packages.shop.models import Pan

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def red():
    red = Pan.objects.create(name="red", image=picture_file("red"))
    image = default_storage.save("packages/blue.png", picture_file("blue"))
    QuerySet(Pan).bulk_create([Pan(name="blue", name_en="blue", image=image, image_en=image)])
    return red


def shown(red: Pan) -> tuple[list[str], int]:
    return [pan.name for pan in Pan.objects.similar_to(red)[:6]], Pan.objects.pending().count()


def test_cachalot__forgets_what_vectors_change(red, settings):
    settings.CACHALOT_ONLY_CACHABLE_TABLES = {"packages_shop_pan"}
    settings.CACHALOT_ONLY_CACHABLE_APPS = {"packages_shop"}
    settings.CACHALOT_DATABASES = ["default"]
    assert shown(red) == ([], 1)
    call_command("embed_products", verbosity=0)
    assert shown(red) == (["blue"], 0)


@pytest.fixture
def redis_port(tmp_path):
    if not shutil.which("redis-server"):
        pytest.skip("there is no redis-server on this machine")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    client = redis.Redis(port=port, retry=Retry(ConstantBackoff(0.05), 200), retry_on_error=[redis.ConnectionError])
    client.ping()
    yield port
    process.terminate()
    process.wait(10)


def test_cacheops__forgets_what_vectors_change(red, redis_port, tmp_path):
    """In a process of its own: cacheops reads where its Redis is once."""
    script = (
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        "from tests.packages.shop.models import Pan\n"
        "red = Pan.objects.get(name='red')\n"
        "shown = lambda: ([pan.name for pan in Pan.objects.similar_to(red)[:6]], Pan.objects.pending().count())\n"
        "print(shown())\n"
        "call_command('embed_products', verbosity=0)\n"
        "print(shown())\n"
    )
    settings_file = (
        "from tests.packages.settings import *\n"
        f"CACHEOPS_ENABLED, CACHEOPS_REDIS = True, 'redis://127.0.0.1:{redis_port}/0'\n"
        f"DATABASES['default']['NAME'] = {connection.settings_dict['NAME']!r}\n"
    )
    (tmp_path / "cacheops_settings.py").write_text(settings_file)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "cacheops_settings",
            "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["([], 1)", "(['blue'], 0)"], done.stderr
