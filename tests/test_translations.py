"""What customers and staff read is marked for translation, and the German that is shipped says all of it."""

import gettext
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.template import Context, Template
from django.test import Client
from django.utils import translation

import similar_products
from similar_products.pictures.gate import SENTENCES, ImageRejected, load_pixels
from similar_products.pictures.limits import PUBLIC
from similar_products.search.bands import WORDS
from tests.catalogues import add_shirt

PACKAGE = Path(similar_products.__file__).parent
GERMAN = PACKAGE / "locale" / "de" / "LC_MESSAGES"
TEMPLATES = sorted(PACKAGE.rglob("templates/**/*.html"))

SEARCH = "/api/products/search/"

needs_gettext = pytest.mark.skipif(
    shutil.which("xgettext") is None or shutil.which("msgfmt") is None,
    reason="xgettext and msgfmt are not installed (apt-get install gettext)",
)


def run(*command: str | Path, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_gettext
def test_german__says_all_that_is_marked_and_nothing_else(tmp_path):
    copy = tmp_path / "similar_products"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("mobilenet_v2_small", "__pycache__"))
    run(sys.executable, "-m", "django", "makemessages", "--locale", "de", "--add-location", "file", folder=copy)
    merged = copy / "locale" / "de" / "LC_MESSAGES" / "django.po"
    for wanted, meaning in (
        ("--untranslated", "is not translated"),
        ("--only-fuzzy", "has changed"),
        ("--only-obsolete", "is in no file any more"),
    ):
        found = run("msgattrib", wanted, "--no-location", merged, folder=copy)
        assert not found, f"What follows {meaning}: run makemessages in similar_products.\n{found}"


@needs_gettext
def test_german__is_compiled_from_what_is_written(tmp_path):
    """``--check`` compares the placeholders of each sentence with those of its translation as well."""
    run("msgfmt", "--check", "--output-file", tmp_path / "django.mo", GERMAN / "django.po", folder=tmp_path)
    shipped, compiled = (
        gettext.GNUTranslations(io.BytesIO(file.read_bytes()))
        for file in (GERMAN / "django.mo", tmp_path / "django.mo")
    )
    assert shipped._catalog == compiled._catalog


def visible_text(template: str) -> list[str]:
    """Return the words of a template that stand in no tag of translation, in no command and in no script."""
    for hidden in (
        r"\{% (blocktranslate|blocktrans)\b.*?\{% end\1 %\}",
        r"\{% comment.*?endcomment %\}|\{#.*?#\}|<!--.*?-->|<(script|style|code)\b.*?</\1>",
    ):
        template = re.sub(hidden, "", template, flags=re.DOTALL)
    attributes = re.findall(r'\b(?:alt|aria-label|content|label|placeholder|title)="([^"]*)"', template)
    bare = re.sub(r"<[^>]*>", "\n", re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", template, flags=re.DOTALL))
    words = [*bare.splitlines(), *(re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", value) for value in attributes)]
    return [word.strip() for word in words if re.search(r"[A-Za-z]{2}", re.sub(r"&\w+;", "", word))]


TECHNICAL = ("default-src", "width=device-width", "no-referrer")
"""Of meta elements, which nobody reads."""


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_template__has_no_text_that_is_not_marked(template):
    found = [text for text in visible_text(template.read_text()) if not text.startswith(TECHNICAL)]
    assert found == []


def test_visible_text__is_found():
    assert visible_text('<p title="A hat">{% translate "a" %} b cd</p><code>run</code>') == ["b cd", "A hat"]


# In German.


@pytest.fixture
def german(settings) -> Iterator[Client]:
    """A browser that asks for German; the middleware leaves its language to the thread, that is to the next test."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    with translation.override(translation.get_language()):
        yield Client(headers={"Accept-Language": "de"})


@pytest.mark.django_db
def test_tag__in_german():
    first = add_shirt("first", 0.0)
    add_shirt("second", 0.1)
    source = Template("{% load similar_products %}{% similar_products product %}")
    with translation.override("de"):
        html = source.render(Context({"product": first}))
    assert "Ähnliche Produkte</h2>" in html
    assert 'aria-label="Ähnliche Produkte"' in html
    assert "Similar products" in source.render(Context({"product": first}))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, "Senden Sie genau eines von image, image_url und key."),
        ({"key": "gone"}, "Dieser Schlüssel gilt nicht mehr; senden Sie das Foto noch einmal."),
        (
            {"image_url": "http://localhost/a.jpg"},
            "Dieser Shop sucht nicht nach Adressen; speichern Sie das Bild und senden Sie die Datei.",
        ),
    ],
)
def test_api__errors_in_german(german, body, detail):
    answer = german.post(SEARCH, body)
    assert answer.json()["detail"] == detail


@pytest.mark.django_db
def test_api__photo_that_is_none_in_german(german):
    photo = ContentFile(b"not a picture at all", "photo.png")
    answer = german.post(SEARCH, {"image": photo})
    assert answer.json() == {
        "detail": "Die Datei ist kein lesbares Bild; möglich sind JPEG, PNG, WebP, GIF und AVIF.",
        "code": "unsupported_format",
    }


def test_words__in_german():
    with translation.override("de"):
        assert [str(word) for word in WORDS.values()] == [
            "beinahe gleich",
            "sehr ähnlich",
            "ähnlich",
            "entfernt ähnlich",
        ]
    assert list(WORDS) == [str(word) for word in WORDS.values()]


# The gate's own sentences, whose other half stands in a process that knows no languages.


def refused(data: bytes, code: str, monkeypatch) -> ImageRejected:
    def refuse(*arguments):
        raise ImageRejected(code, "/usr/lib/secret: a detail")

    monkeypatch.setattr("similar_products.pictures.gate.decode_isolated", refuse)
    with pytest.raises(ImageRejected) as caught:
        load_pixels(data, 8, public=True)
    return caught.value


@pytest.mark.parametrize("code", [*SENTENCES, "another"])
def test_photo_of_a_visitor__is_refused_without_details_from_inside(monkeypatch, code):
    rejected = refused(b"data", code, monkeypatch)
    assert rejected.code == code
    assert "secret" not in str(rejected)
    assert str(rejected.__cause__) == "/usr/lib/secret: a detail"


def test_photo_of_a_visitor__too_many_pixels_in_both_languages(monkeypatch):
    rejected = refused(b"data", "too_many_pixels", monkeypatch)
    assert str(rejected) == "The picture has more than 25 megapixels or a side over 16,384 pixels."
    with translation.override("de"):
        rejected = refused(b"data", "too_many_pixels", monkeypatch)
    assert str(rejected) == "Das Bild hat mehr als 25 Megapixel oder eine Seite von mehr als 16.384 Pixeln."


def test_photo_of_a_visitor__sentence_names_the_formats_that_are_read():
    assert str(SENTENCES["unsupported_format"]).endswith(f"valid are {PUBLIC.format_names}.")
