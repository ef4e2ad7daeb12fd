"""The house: imports run down only, a room's inside is its own, and TensorFlow and Pillow stay in their rooms."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import architecture

TESTS = Path(__file__).parent
LONGEST_FUNCTION = 50
"""Lines of a function at most, its docstring included."""

TESTED_ELSEWHERE = {
    "apps.py": "test_signals.py",
    "embedding/caches.py": "packages/test_caches.py",
    "embedding/schemas.py": "packages/test_tenants.py",
    "encoders/tensorflow.py": "encoders/test_tfhub.py",
    "merchandising/apps.py": "merchandising/test_rules.py",
    "pictures/limits.py": "pictures/test_gate.py",
    "rest_framework/urls.py": "rest_framework/test_views.py",
    "search/hnsw_index.py": "test_models.py",
    "spreadsheets.py": "packages/test_columns.py",
    "templatetags/similar_products.py": "test_templatetags.py",
}
"""Modules without a test file of their name, and the file that tests them."""

each_module = pytest.mark.parametrize(
    "module", architecture.modules(), ids=lambda module: str(module.relative_to(architecture.PACKAGE))
)


@each_module
def test_imports__run_down_only(module):
    assert [str(each) for each in architecture.imports_of(module) if each.runs_up] == []


@each_module
def test_private_names__are_used_in_their_own_room(module):
    assert architecture.private_names(module) == []


@each_module
def test_packages__stay_in_their_rooms(module):
    roots = {each.name.split(".")[0] for each in architecture.imports_of(module)}
    assert not roots & {"tensorflow", "tensorflow_hub", "shop_demo"}
    if architecture.room_of(module) != "rest_framework":
        assert not roots & {"rest_framework", "django_filters", "drf_spectacular"}
        assert "rest_framework" not in {each.room for each in architecture.imports_of(module)}
    # copies and sheets save and draw only what has passed the gate; process tells the decoder process where PIL is.
    if module.stem not in {"decoder", "process", "copies", "sheets"}:
        assert "PIL" not in roots
    if module.stem != "fetch":
        assert not roots & {"requests", "urllib3"}


def test_functions__are_short():
    assert [str(each) for each in architecture.functions() if each.lines > LONGEST_FUNCTION] == []


def test_modules__have_a_test_file_of_their_name():
    paths = [module.relative_to(architecture.PACKAGE) for module in architecture.modules()]
    files = {
        str(path): TESTED_ELSEWHERE.get(str(path), str(path.with_name(f"test_{path.name}")).replace("commands/", ""))
        for path in paths
        if path.name != "__init__.py" and path.parent.name != "migrations"
    }
    assert [f"{path}: {file}" for path, file in files.items() if not (TESTS / file).is_file()] == []
    assert set(TESTED_ELSEWHERE) <= set(files)


def test_report__names_rooms_and_arrows():
    report = subprocess.run(
        [sys.executable, "-m", "tests.architecture"], cwd=TESTS.parent, capture_output=True, text=True, timeout=60
    )
    assert report.stderr == ""
    first, *lines = report.stdout.splitlines()
    assert first.startswith(f"{len(architecture.lines_by_room())} rooms, {len(architecture.arrows())} arrows, ")
    assert any(line.startswith("  search ") and "→" in line for line in lines)


PAGE_VIEW = """
import io
import sys
import django
django.setup()
from django.conf import settings
from django.core.management import call_command
from django.test import Client
from django.test.utils import setup_test_environment
setup_test_environment()
del settings.SIMILAR_PRODUCTS["ENCODER"]  # the default: the model in the package
call_command("check", stdout=io.StringIO())
from shop_demo.models import Product
product = Product.objects.get()
assert Client().get(product.get_absolute_url()).status_code == 200
assert "similar_products.encoders.tfhub" in sys.modules
print([name for name in ("tensorflow", "tensorflow_hub", "keras") if name in sys.modules])
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_page_view__never_imports_tensorflow(picture):
    from django.db import connection

    from shop_demo.models import Category, Product

    category = Category.objects.create(name="Hats", slug="hats")
    Product.objects.create(name="Hat", category=category, price=1, stock=1, image=picture)
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.child_settings",
        "TEST_DATABASE_NAME": connection.settings_dict["NAME"],
    }
    command = [sys.executable, "-c", PAGE_VIEW]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert (done.stdout, done.stderr) == ("[]\n", "")
