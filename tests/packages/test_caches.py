"""Packages that keep the results of queries see vectors written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.db.models import QuerySet

from tests.drawn_pictures import picture_file
from tests.packages.shop.models import Pan
from tests.servers import running_redis

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def red():
    red = Pan.objects.create(name="red", image=picture_file("red"))
    image = default_storage.save("packages/blue.png", picture_file("blue"))
    QuerySet(Pan).bulk_create([Pan(name="blue", name_en="blue", image=image, image_en=image)])
    return red


@pytest.fixture
def redis_port(tmp_path):
    with running_redis(tmp_path) as server:
        yield server.port


SCRIPT = """
import django; django.setup()
from django.core.management import call_command
from tests.packages.shop.models import Pan

red = Pan.objects.get(name="red")
for turn in range(2):
    print([pan.name for pan in Pan.objects.similar_to(red)[:6]], Pan.objects.pending().count())
    call_command("embed_products", verbosity=0)
"""


def run_with(folder: Path, *lines: str) -> list[str]:
    """Run the script in a process of its own, since both packages read their settings once."""
    name = connection.settings_dict["NAME"]
    settings = ["from tests.packages.settings import *", *lines, f"DATABASES['default']['NAME'] = {name!r}"]
    (folder / "cached_settings.py").write_text("\n".join(settings))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "cached_settings", "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.usefixtures("red")
def test_cachalot__forgets_what_vectors_change(tmp_path):
    shown = run_with(tmp_path, "CACHALOT_ENABLED = True", "CACHALOT_DATABASES = ['default']")
    assert shown == ["[] 1", "['blue'] 0"]


@pytest.mark.usefixtures("red")
def test_cacheops__forgets_what_vectors_change(redis_port, tmp_path):
    redis_url = f"redis://127.0.0.1:{redis_port}/0"
    shown = run_with(tmp_path, "CACHEOPS_ENABLED = True", f"CACHEOPS_REDIS = {redis_url!r}")
    assert shown == ["[] 1", "['blue'] 0"]
