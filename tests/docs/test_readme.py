"""The README's lines for a shop, word by word: wheel built, fresh environment, new project, neighbour found."""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from django.db import connection

from tests.drawn_pictures import picture_bytes

ROOT = Path(__file__).resolve().parents[2]

SHOP = """
from django.core.files.images import ImageFile
from django.template import Context, Template
from shop.models import Product
for name in ("tomato", "cherry", "ocean"):
    Product.objects.create(name=name, image=ImageFile(open(f"{name}.png", "rb")))
assert Product.objects.ready().count() == 3, Product.objects.values_list("embedding_error")
tomato = Product.objects.get(name="tomato")
print([row.name for row in Product.objects.similar_to(tomato)])
print(Template(TAG).render(Context({"product": tomato})))
"""


def blocks(language: str) -> list[str]:
    section = (ROOT / "README.md").read_text().split("## In your own shop")[1].split("### ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def database():
    """Gives the new project a database of its own on the server of the tests."""
    parameters = connection.get_connection_params()
    name = "readme_shop"
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(f"CREATE DATABASE {name}")
    yield {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        **{key.upper(): parameters[key] for key in ("host", "port", "user", "password") if parameters.get(key)},
    }
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.django_db
@pytest.mark.network
@pytest.mark.slow
def test_readme__lines_for_a_shop(tmp_path, database):
    wheels, project, environment = tmp_path / "wheels", tmp_path / "project", tmp_path / "environment"
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", wheels, ROOT], check=True, capture_output=True
    )
    project.mkdir()
    venv.create(environment, with_pip=True)

    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DJANGO", "PYTHON", "SIMILAR"))},
        "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PIP_FIND_LINKS": f"{wheels} {os.environ.get('PIP_FIND_LINKS', '')}",
        "PIP_NO_COMPILE": "1",  # only a part of it is imported
    }

    def shell(line: str) -> str:
        done = subprocess.run(line, shell=True, cwd=project, env=variables, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    install, fill = (block.strip() for block in blocks("sh"))
    shell(install)
    shell("django-admin startproject mysite . && python manage.py startapp shop")
    for block in blocks("python"):
        name, _, code = block.partition("\n")
        path = project / name.removeprefix("# ")
        existing = path.read_text() if path.name == "settings.py" else ""
        path.write_text(existing + code)
    with (project / "mysite" / "settings.py").open("a") as settings:
        settings.write(f'DATABASES = {{"default": {database!r}}}\nMEDIA_ROOT = BASE_DIR / "media"\n')
    filled = shell(fill)
    assert "Create model Product" in filled
    assert "shop.Product: 0 embedded." in filled
    assert "No changes detected" in shell("python manage.py makemigrations --check")
    for name, colors in [("tomato", ("red", "maroon")), ("cherry", ("red", "brown")), ("ocean", ("blue", "navy"))]:
        (project / f"{name}.png").write_bytes(picture_bytes(*colors))
    (tag,) = blocks("html")
    (project / "try.py").write_text(f"TAG = {tag.strip()!r}\n{SHOP}")
    shown = shell("python manage.py shell -v 0 < try.py")
    assert shown.splitlines()[0] == "['cherry', 'ocean']"
    assert shown.count('<li class="similar-products__item">') == 2
    assert "tensorflow" not in shell("pip list")


@pytest.mark.network
@pytest.mark.slow
def test_readme__wheel_holds_the_app_alone(tmp_path):
    import zipfile

    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT], check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"similar_products", "django_similar_products"}
    assert "similar_products/py.typed" in names
    # What a stale folder build/ still has of an earlier model would be packed again.
    model = "similar_products/encoders/mobilenet_v2_small/"
    assert {name for name in names if name.startswith(model)} == {f"{model}MODEL_CARD.md", f"{model}model.tflite"}
    assert "similar_products/templates/similar_products/similar_products.html" in names


def test_ci__runs_the_readme_command_word_by_word():
    readme = (ROOT / "README.md").read_text()
    commands = [line for line in readme.splitlines() if line.startswith("python3 -m venv .venv && ")]
    assert len(commands) == 2
    assert commands[1] in (ROOT / ".ci" / "run").read_text().splitlines()
