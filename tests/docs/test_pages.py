"""What the pages promise: links, files, names, the drawing. `mkdocs build --strict` checks the links within docs/."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from docs.draw_architecture import FILE, draw

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = "https://github.com/django-similar-products/django-similar-products/"
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


def links(page: Path) -> set[str]:
    """Return the targets of a page's links, those of reference definitions included."""
    text = page.read_text()
    return {*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links__into_the_repository_lead_to_files(page):
    inside = {re.sub(rf"^{REPOSITORY}(blob|raw|tree)/main/", "/", link) for link in links(page)}
    files = {link.partition("#")[0] for link in inside if ":" not in link} - {""}
    missing = {name for name in files if not (ROOT / name[1:] if name.startswith("/") else page.parent / name).exists()}
    assert not missing


def test_readme__has_no_relative_link():
    """PyPI shows the page too."""
    assert all(link.startswith("https://") for link in links(ROOT / "README.md"))


def test_readme__pictures_are_files_and_not_pages_of_github():
    """PyPI shows what the address answers: of a page of GitHub that is no picture."""
    text = (ROOT / "README.md").read_text()
    addresses = dict(re.findall(r"^\[([^\]]+)\]: (\S+)$", text, re.MULTILINE))
    pictures = [addresses.get(name, name) for name in re.findall(r"!\[[^\]]*\][\[(]([^\])]+)[\])]", text)]
    assert pictures
    assert all(address.startswith(f"{REPOSITORY}raw/main/docs/") for address in pictures)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links__to_sections_lead_to_headings(page):
    def anchors(text: str) -> set[str]:
        if "--8<--" in text:  # the home page has the README's sections
            text += (ROOT / "README.md").read_text()
        titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

    for link in links(page):
        name, _, anchor = re.sub(rf"^{REPOSITORY}(blob|raw|tree)/main/", "/", link).partition("#")
        if anchor and ":" not in name:
            other = (ROOT / name[1:] if name.startswith("/") else page.parent / name) if name else page
            assert anchor in anchors(other.read_text()), link


def imported_names() -> list[tuple[str, str]]:
    """Return what the pages import or list as public: modules of the app and names in them."""
    lines = re.findall(
        r"^ *from (similar_products[\w.]*) import (.+)$", "\n".join(map(Path.read_text, PAGES)), re.MULTILINE
    )
    rows = re.findall(r"^\| `(similar_products\.[\w.]+)` \| (`.+`) \|$", ARCHITECTURE, re.MULTILINE)
    return sorted(
        {(module, name) for module, names in [*lines, *rows] for name in re.findall(r"\w+", names.split("#")[0])}
    )


@pytest.mark.parametrize(("module", "name"), imported_names())
def test_names__can_be_imported_from_where_the_pages_say(module, name):
    assert hasattr(import_module(module), name)


def test_architecture__names_files_that_exist():
    paths = re.findall(r"`((?:\w+/)*\w+(?:/|\.py|\.json|\.md))`", ARCHITECTURE)
    assert len(paths) > 20
    assert not [
        path for path in paths if not (ROOT / path).exists() and not (ROOT / "similar_products" / path).exists()
    ]


def test_architecture__drawing_is_of_the_imports_as_they_are():
    assert FILE.read_text() == draw(), "python -m docs.draw_architecture draws it again"
