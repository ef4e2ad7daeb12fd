"""A shop replaces any one template of the app by a file of the same name, and keeps the others."""

import re
from pathlib import Path

import pytest
from django.template import Context, Template, engines
from django.template.engine import Engine

import similar_products
from tests.catalogues import add_shirt

PACKAGE = Path(similar_products.__file__).parent
TEMPLATES = {
    file.relative_to(folder).as_posix(): file
    for folder in sorted(PACKAGE.rglob("templates"))
    for file in sorted(folder.rglob("*.html"))
}
STYLE_SHEETS = sorted(PACKAGE.rglob("static/**/*.css"))
OWN_FOLDER = re.compile(r"(admin/)?similar_products(_\w+)?/[a-z_]+\.html")


def engine(folder: Path) -> Engine:
    """Return the engine of a project that keeps templates in ``folder``, beside those of its apps."""
    apps = sorted({str(file).removesuffix(f"/{name}") for name, file in TEMPLATES.items()})
    return Engine(dirs=[str(folder), *apps], libraries=engines["django"].engine.libraries)


def test_templates__are_named_so_that_none_hides_another_apps():
    assert TEMPLATES
    assert [name for name in TEMPLATES if not OWN_FOLDER.fullmatch(name)] == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_template__is_replaced_by_a_file_of_its_name_alone(tmp_path, name):
    (file := tmp_path / name).parent.mkdir(parents=True)
    file.write_text("Ours.")
    project = engine(tmp_path)
    assert project.get_template(name).render(Context()) == "Ours."
    others = {other: project.get_template(other).origin.name for other in TEMPLATES if other != name}
    assert others == {other: str(path) for other, path in TEMPLATES.items() if other != name}


@pytest.mark.parametrize("name", TEMPLATES)
def test_template__takes_others_in_by_names_that_can_be_replaced(name):
    taken = re.findall(r"{%-?\s*(?:include|extends)\s+(\S+)", TEMPLATES[name].read_text())
    for each in (each.removeprefix("similar_products_base|default:") for each in taken):
        assert each[0] == each[-1] == '"', f"{name} takes in {each}; name the file."
        bare = each.strip('"')
        assert bare in TEMPLATES or bare.startswith("admin/")


@pytest.mark.parametrize("file", STYLE_SHEETS, ids=lambda file: file.name)
def test_style_sheet__has_another_colour_where_a_theme_has_none_of_the_admins_name(file):
    assert re.findall(r"var\(\s*--[\w-]+\s*\)", file.read_text()) == []


@pytest.mark.django_db
def test_tag__renders_the_shops_own_template(tmp_path, settings):
    (file := tmp_path / "similar_products" / "similar_products.html").parent.mkdir()
    file.write_text("{% for similar in similar_products %}[{{ similar.name }}]{% endfor %}")
    first = add_shirt("first", 0.0)
    add_shirt("second", 0.1)
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [str(tmp_path)]}]
    html = Template("{% load similar_products %}{% similar_products product %}").render(Context({"product": first}))
    assert html == "[second]"
