"""docs/oscar.md as it stands: a shop of django-oscar, unforked, with its own settings, database and processes."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from django.db import connection

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SHOP = ROOT / "tests" / "oscar_shop"
PAGE = (ROOT / "docs" / "oscar.md").read_text()
DATABASE = "test_oscar_shop"
# What Oscar has a shop write, or the tests; the page shows all other files.
NOT_SHOWN = {"manage.py", "mysite/test_settings.py", "mysite/urls.py"}

needs_oscar = pytest.mark.skipif(
    not (find_spec("oscar") and find_spec("sorl")),
    reason='django-oscar is not installed: pip install "django-oscar[sorl-thumbnail]"',
)


class Shop(NamedTuple):
    """The project in its folder, with what the page's commands printed, and a way to run more of them."""

    project: Path
    filled: str
    run: Callable[[str], "subprocess.CompletedProcess[str]"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def shop(tmp_path_factory, django_db_setup, django_db_blocker) -> Iterator[Shop]:
    """Gives a copy of the shop, migrated by the page's own commands on the server of the tests."""
    project = tmp_path_factory.mktemp("oscar") / "shop"
    shutil.copytree(SHOP, project, ignore=shutil.ignore_patterns("__pycache__"))
    with django_db_blocker.unblock():
        parameters = connection.get_connection_params()
        with connection._nodb_cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
            cursor.execute(f"CREATE DATABASE {DATABASE}")
    not_ours = ("COV", "DJANGO", "PG", "PYTEST", "PYTHON", "SIMILAR")
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith(not_ours)},
        **{
            f"PG{key.upper()}": str(parameters[key])
            for key in ("host", "port", "user", "password")
            if key in parameters
        },
        "DJANGO_SETTINGS_MODULE": "mysite.test_settings",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{project}{os.pathsep}{ROOT}",
        "TEST_DATABASE_NAME": DATABASE,
    }

    def run(line: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            line, shell=True, cwd=project, env=variables, capture_output=True, text=True, timeout=900, check=False
        )

    (commands,) = blocks("sh")
    filled = run(commands)
    assert filled.returncode == 0, f"{commands}\n{filled.stdout}\n{filled.stderr}"
    yield Shop(project, filled.stdout, run)
    with django_db_blocker.unblock(), connection._nodb_cursor() as cursor:
        cursor.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


def test_page__shows_the_files_of_the_shop():
    files = {
        str(path.relative_to(SHOP)): path.read_text()
        for path in SHOP.rglob("*")
        if path.suffix in (".py", ".html") and path.stat().st_size
    }
    shown = {}
    for block in [*blocks("python"), *blocks("html")]:
        name, _, code = block.partition("\n")
        shown[name.strip("{}# ")] = code
    assert "similar_to(" in shown.pop("anywhere")  # run by tests/oscar_shop_tests.py
    assert files.keys() - NOT_SHOWN == shown.keys()
    settings = "mysite/settings.py"
    assert files[settings].partition("# What visual similarity adds.\n")[2] == shown.pop(settings)
    assert {name: files[name] for name in shown} == shown


@needs_oscar
def test_page__commands_migrate_and_fill_the_shop(shop):
    assert "Create model ProductImageLook" in shop.filled
    assert "Applying looks.0002_initial... OK" in shop.filled
    assert "looks.ProductImageLook: 0 embedded." in shop.filled
    migration = (shop.project / "looks" / "migrations" / "0002_initial.py").read_text()
    imported = set(re.findall(r"^(?:import|from) (\w+)", migration, re.MULTILINE))
    assert imported == {"django", "pgvector"}
    check = shop.run("python manage.py makemigrations --check --dry-run looks")
    assert check.stdout == "No changes detected in app 'looks'\n", check.stdout + check.stderr


@needs_oscar
def test_checks__have_nothing_to_say(shop):
    done = shop.run("python manage.py check --database default --fail-level WARNING")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "System check identified no issues (0 silenced).\n"


@needs_oscar
def test_shop__passes_its_tests(shop):
    done = shop.run(
        f"python -m pytest -c {ROOT}/pyproject.toml --ds=mysite.test_settings --reuse-db -p no:cacheprovider "
        f"--tb=short -v {ROOT}/tests/oscar_shop_tests.py"
    )
    if done.returncode:
        pytest.fail(f"{done.stdout}\n{done.stderr}", pytrace=False)
    assert re.search(r"=+ \d+ passed in ", done.stdout), done.stdout  # none skipped
