"""``take_screenshots``: the pictures of the documentation, from a shop that is there for them alone."""

import sys

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from PIL import Image

from shop_demo import settings as shop_settings
from shop_demo.chromium import find_chromium
from shop_demo.models import Product

SIZES = {
    "admin-catalogue": (1280, 1340),
    "admin-product": (1280, 1340),
    "home": (1280, 960),
    "phone": (1140, 720),
    "product-page": (1280, 1340),
    "product-page-dark": (1280, 1340),
    "visual-search": (1280, 960),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.browser
@pytest.mark.network
@pytest.mark.slow
def test_command__takes_every_picture_at_its_size(settings, tmp_path, capsys):
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if find_chromium() is None:
        pytest.skip("there is no chromium on this machine")
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "API": shop_settings.SIMILAR_PRODUCTS["API"]}
    name, media = connection.settings_dict["NAME"], settings.MEDIA_ROOT
    call_command("take_screenshots", tmp_path)

    assert sorted(file.stem for file in tmp_path.iterdir()) == sorted(SIZES)
    brightness = {}
    for file in tmp_path.iterdir():
        with Image.open(file) as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "P", SIZES[file.stem])
            assert file.stat().st_size < 250_000
            brightness[file.stem] = picture.convert("L").resize((1, 1)).getpixel((0, 0))
            assert len(picture.getcolors()) > 100
    assert brightness["product-page"] > 150 > brightness["product-page-dark"]
    assert f"{tmp_path / 'home.png'}: " in capsys.readouterr().out

    assert (connection.settings_dict["NAME"], settings.MEDIA_ROOT) == (name, media)
    assert not Product.objects.exists()
    with connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'screenshots%'")
        assert cursor.fetchall() == []


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("folder", "gone is no folder; name one that exists."),
        ("chromium", "There is no chromium, chromium-browser, google-chrome on this machine; install chromium."),
        ("playwright", "playwright is not installed: pip install playwright."),
    ],
)
def test_command__says_what_is_missing(monkeypatch, tmp_path, missing, sentence):
    command = "shop_demo.management.commands.take_screenshots.find_chromium"
    monkeypatch.setattr(command, lambda: None if missing == "chromium" else "chromium")
    # As it is where the package is not installed.
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None if missing == "playwright" else sys)
    monkeypatch.setattr(sys, "sync_playwright", None, raising=False)
    with pytest.raises(CommandError, match=sentence) as refused:
        call_command("take_screenshots", tmp_path / "gone" if missing == "folder" else tmp_path)
    assert refused.value.returncode == 2
    assert list(tmp_path.iterdir()) == []
