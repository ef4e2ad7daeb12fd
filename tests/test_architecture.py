"""The house: imports run down only, and TensorFlow and Pillow's decoder stay in their rooms."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import similar_products

PACKAGE = Path(similar_products.__file__).parent
FLOORS = [
    {"conf"},
    {"pictures"},
    {"encoders"},
    {"search"},
    {"query"},
    {"models", "visibility"},
    {"embedding"},
    {"catalogue", "tasks"},
    {"signals", "checks", "templatetags", "management"},
    {"rest_framework", "admin"},
    {"merchandising"},
    {"apps"},
]


def modules() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE]


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Return the dotted names that a module imports when it is imported, the app's own made absolute."""
    package = ["similar_products", *path.relative_to(PACKAGE).parts[:-1]]
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{stem}.{alias.name}" for alias in node.names} | {stem}
    return found


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports__run_down_only(path):
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "similar_products" and len(parts) > 1 and parts[1] != room(path):
            assert floor(parts[1]) < floor(room(path)), f"{path} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_packages__stay_in_their_rooms(path):
    roots = {name.split(".")[0] for name in imports(path)}
    assert not roots & {"tensorflow", "tensorflow_hub", "shop_demo"}
    if room(path) != "rest_framework":
        assert not roots & {"rest_framework", "django_filters", "drf_spectacular"}
        assert not any(name.startswith("similar_products.rest_framework") for name in imports(path))
    if path.stem not in {"decoder", "copies", "sheets"}:  # the latter only save and draw what has passed the gate
        assert "PIL" not in roots
    if path.stem != "fetch":
        assert not roots & {"requests", "urllib3"}


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
