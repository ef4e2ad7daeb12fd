"""The map: where products stand, what the PNG and the page show, and the page in a real Chromium."""

import html
import io
import itertools
import json
import re
import sys

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db.models import QuerySet
from PIL import Image

from similar_products.catalogue.map import COLORS, render_map
from similar_products.catalogue.sheets import placeholder, smaller
from similar_products.management.commands import map_catalogue
from tests.accessibility import violations
from tests.drawn_pictures import picture_file
from tests.models import Chair, ChairPhoto, Lamp, Shirt

pytest_plugins = ("tests.browser",)
sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed")

ENCODER = "color-histogram-1280"
HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


COLORED = ("tomato", "navy", "gold", "teal", "pink", "olive", "black", "purple")


def add_shirts(count: int, **values) -> list[Shirt]:
    random = np.random.default_rng(1)
    for number in range(count):
        image = default_storage.save("m.png", picture_file(*random.choice(COLORED, 6)))
        shirt = Shirt(**{"name": f"Shirt {number}", "image": image, "color": "red" if number % 3 else "blue", **values})
        Shirt.objects.bulk_create([shirt])
    call_command("embed_products", "tests.Shirt", stdout=io.StringIO())
    return list(Shirt.objects.order_by("pk"))


def run(*given: str, **options) -> str:
    out = io.StringIO()
    call_command("map_catalogue", "tests.Shirt", *given, stdout=out, **options)
    return out.getvalue()


def data_in(path) -> dict:
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', path.read_text(), re.S)[1])


@pytest.mark.django_db
def test_png__has_each_thumbnail_at_its_place_in_its_colour(tmp_path):
    shirts = add_shirts(30)
    text = run("--png", str(tmp_path / "m.png"), "--html", str(tmp_path / "m.html"), by="color")
    assert text.startswith("30 products.\n")
    assert f"{tmp_path / 'm.png'}: " in text
    data = data_in(tmp_path / "m.html")
    assert data["colors"] == [*COLORS[:2]]
    pixels = np.asarray(Image.open(tmp_path / "m.png"))
    from similar_products.pictures.gate import load_stored_pixels

    cell = 64 + 2 * 4 + 4
    for shirt, product in zip(shirts, data["products"], strict=True):
        assert (product["name"], product["label"]) == (shirt.name, shirt.color)
        assert data["colors"][product["group"]] == COLORS[0 if shirt.color == "red" else 1]
        left, top = 24 + product["column"] * cell, 24 + 2 * 22 + product["row"] * cell
        assert "#" + pixels[top + 1, left + 1].tobytes().hex() == data["colors"][product["group"]]
        shown = pixels[top + 4 : top + 68, left + 4 : left + 68]
        assert (shown == smaller(load_stored_pixels(default_storage, shirt.image.name, 256), 64)).all()
    # Nothing stands in a place that nobody has.
    taken = {(product["column"], product["row"]) for product in data["products"]}
    free = set(itertools.product(range(data["columns"]), range(data["rows"]))) - taken
    assert free
    for column, row in free:
        left, top = 24 + column * cell, 24 + 2 * 22 + row * cell
        assert (pixels[top : top + cell, left : left + cell] == 255).all()


@pytest.mark.django_db
def test_files__are_the_same_for_the_same_seed(tmp_path):
    add_shirts(12)

    def files(*given: str) -> tuple[bytes, bytes]:
        run("--png", str(tmp_path / "m.png"), "--html", str(tmp_path / "m.html"), *given)
        return (tmp_path / "m.png").read_bytes(), (tmp_path / "m.html").read_bytes()

    first = files()
    assert files() == first
    assert files("--seed", "8")[1] != first[1]


@pytest.mark.django_db
def test_limit__takes_a_sample_and_says_so(tmp_path):
    add_shirts(9)
    text = run("--html", str(tmp_path / "m.html"), limit=4)
    assert text.startswith("4 products of 9, chosen at random; --limit takes more or fewer.\n")
    first = [product["name"] for product in data_in(tmp_path / "m.html")["products"]]
    assert len(first) == 4
    run("--html", str(tmp_path / "m.html"), limit=4, seed=2)
    assert [product["name"] for product in data_in(tmp_path / "m.html")["products"]] != first


@pytest.mark.django_db
def test_hidden_products_are_not_on_it(tmp_path):
    for code in "abcd":
        image = default_storage.save("l.png", picture_file("tomato", "navy"))
        Lamp.embeddings.bulk_create([Lamp(code=code, image=image, published=code != "b")])
    call_command("embed_products", "tests.Lamp", stdout=io.StringIO())
    call_command("map_catalogue", "tests.Lamp", html=tmp_path / "m.html", stdout=io.StringIO())
    assert len(data_in(tmp_path / "m.html")["products"]) == 3


@pytest.mark.django_db
def test_several_pictures__the_product_stands_once(tmp_path):
    for number, stripes in enumerate((("tomato", "navy"), ("teal", "gold"))):
        chair = Chair.objects.create(name=str(number))
        for _ in range(2):
            image = default_storage.save("c.png", picture_file(*stripes))
            ChairPhoto.objects.bulk_create([ChairPhoto(chair=chair, image=image)])
    call_command("embed_products", "tests.ChairPhoto", stdout=io.StringIO())
    call_command("map_catalogue", "tests.Chair", html=tmp_path / "m.html", stdout=io.StringIO())
    assert [product["name"] for product in data_in(tmp_path / "m.html")["products"]] == ["0", "1"]


@pytest.mark.django_db
def test_pictures_that_cannot_be_read_are_crossed_and_counted(tmp_path):
    shirts = add_shirts(4)
    default_storage.delete(shirts[0].image.name)
    QuerySet(Shirt).filter(pk=shirts[1].pk).update(name="")
    err = io.StringIO()
    run("--png", str(tmp_path / "m.png"), stderr=err)
    assert err.getvalue() == (
        "Shown as a cross, as the picture cannot be read: 1; embed_products --verify names them.\n"
    )
    cross = smaller(placeholder(256), 64)
    pixels = np.asarray(Image.open(tmp_path / "m.png"))
    windows = [
        pixels[top : top + 64, left : left + 64]
        for top in range(24 + 44, len(pixels) - 64, 68)
        for left in range(24, pixels.shape[1] - 64, 68)
    ]
    assert sum((window == cross).all() for window in windows) == 1


BAD = [
    ([], "There is no file to write: name one with --html FILE.html or --png FILE.png."),
    (["--html", "{tmp}/m.png"], "'{tmp}/m.png' does not end in .html; name a file that does."),
    (["--html", "{tmp}/m.html", "--png", "{tmp}/m"], "'{tmp}/m' does not end in .png; name a file that does."),
    (
        ["--png", "{tmp}/no/m.png"],
        "{tmp}/no/m.png cannot be written: there is no folder {tmp}/no; create it first.",
    ),
    (["--png", "{tmp}/m.png", "--limit", "10001"], "--limit is 10,001; a map takes 2 to 10,000 products."),
    (["--png", "{tmp}/m.png", "--limit", "1"], "--limit is 1; a map takes 2 to 10,000 products."),
    (
        ["--png", "{tmp}/m.png", "--font", "{tmp}/none.ttf"],
        "{tmp}/none.ttf is no font that can be read (cannot open resource); name a TrueType or OpenType file.",
    ),
    (
        ["--png", "{tmp}/m.png"],
        (
            f"tests.Shirt has 1 visible products with a vector of the encoder {ENCODER}, and two are needed; run "
            "embed_products first."
        ),
    ),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("given", "sentence"), BAD, ids=range(len(BAD)))
def test_bad_input__is_one_sentence_and_nothing_is_written(tmp_path, given, sentence):
    add_shirts(1)
    with pytest.raises(CommandError) as caught:
        run(*(one.format(tmp=tmp_path) for one in given))
    assert (str(caught.value), caught.value.returncode) == (sentence.format(tmp=tmp_path), 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db
def test_bad_input__field_and_missing_package(tmp_path, monkeypatch):
    add_shirts(3)
    with pytest.raises(CommandError, match="'colour' is not a field of tests.Shirt: Cannot resolve ") as caught:
        run("--html", str(tmp_path / "m.html"), by="colour")
    assert caught.value.returncode == 2
    with pytest.raises(
        CommandError, match="'the colour' is not a field of tests.Shirt: Column aliases cannot"
    ) as caught:
        run("--html", str(tmp_path / "m.html"), by="the colour")
    assert caught.value.returncode == 2
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(CommandError, match="A map needs scikit-learn") as caught:
        run("--html", str(tmp_path / "m.html"))
    assert caught.value.returncode == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db
def test_interrupted__is_exit_3_and_nothing_is_written(tmp_path, monkeypatch):
    add_shirts(3)

    def interrupt(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(map_catalogue, "render_map", interrupt)
    with pytest.raises(CommandError, match="Interrupted. Nothing was written.") as caught:
        run("--png", str(tmp_path / "m.png"), "--html", str(tmp_path / "m.html"))
    assert caught.value.returncode == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db
def test_progress__on_a_terminal_says_how_long(tmp_path, monkeypatch):
    add_shirts(3)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    run("--png", str(tmp_path / "m.png"), stderr=sys.stderr)
    assert "t-SNE of 3 products: about 1 s on a free core." in sys.stderr.getvalue()
    assert "pictures: 100%" in sys.stderr.getvalue()


# The page.


@pytest.fixture
def map_page(page, tmp_path):
    """Return the page of a map of 5 by 4 products in two groups; the names of two are hostile."""
    from similar_products.catalogue.map import Point
    from similar_products.catalogue.sheets import Legend, webp

    def picture(number: int, side: int) -> bytes:
        return webp(np.full((side, side, 3), 10 * number, np.uint8))

    points = [
        Point(
            HOSTILE if number in (0, 7) else f"Product {number}",
            ("hats", HOSTILE)[number % 2],
            number % 2,
            number % 5,
            number // 5,
            picture(number, 8),
            picture(number, 32),
        )
        for number in range(20)
    ]
    path = tmp_path / "map.html"
    legend = [Legend("hats", COLORS[0], 10), Legend(HOSTILE, COLORS[1], 10)]
    path.write_text(render_map(f"Map {HOSTILE}", points, (5, 4), legend))
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(path.as_uri())
    yield page
    assert {url for url in requested if not url.startswith("data:")} == {path.as_uri()}
    assert page.title() == f"Map {HOSTILE}"  # no script of a name has run


def tile(page, number: int):
    return page.locator("#map button").nth(number)


def box(page, number: int) -> dict:
    return tile(page, number).bounding_box()


def level(page) -> str:
    return page.locator("#level").inner_text()


def test_page__is_escaped_and_holds_no_address(map_page, tmp_path):
    source = (tmp_path / "map.html").read_text()
    assert source.count("<script") == 2  # the data and the script
    assert HOSTILE not in source
    assert f"<title>Map {html.escape(HOSTILE, quote=False)}".replace('"', "&quot;")[:40] in source
    assert not re.search(r"https?://|(?:src|href)=[\"'](?!data:)", source)
    assert "default-src 'none'" in source


def test_page__policy_lets_no_request_out(browser, tmp_path):
    path = tmp_path / "map.html"
    path.write_text(render_map("Map", [], (1, 1), []))
    page = browser.new_page()
    page.goto(path.as_uri())
    refused = page.evaluate(
        """() => new Promise((resolve) => {
            document.addEventListener("securitypolicyviolation", (event) => resolve(event.violatedDirective));
            new Image().src = "http://192.0.2.1/x.png";
        })"""
    )
    page.close()
    assert refused == "img-src"


def test_page__hover_shows_the_larger_picture(map_page):
    assert not map_page.locator("#large").is_visible()
    for number, name in ((12, "Product 12"), (7, HOSTILE)):
        tile(map_page, number).hover()
        assert map_page.locator("#name").inner_text() == name
        assert map_page.locator("#large").get_attribute("alt") == name
        assert map_page.locator("#label").inner_text() == ("hats", HOSTILE)[number % 2]
        size = map_page.evaluate("[large.naturalWidth, large.getBoundingClientRect().width]")
        assert size[0] == 32
        assert size[1] > 200
    assert "shown" in tile(map_page, 7).get_attribute("class")


def test_page__focus_shows_the_larger_picture_and_arrows_go_on(map_page):
    press = map_page.keyboard.press
    for _ in range(20):
        press("Tab")
        if map_page.evaluate("document.activeElement.closest('#map') !== null"):
            break
    assert map_page.locator("#name").inner_text() == HOSTILE
    for key, number in (("ArrowRight", 1), ("ArrowDown", 6), ("ArrowDown", 11), ("ArrowLeft", 10), ("ArrowUp", 5)):
        press(key)
        assert map_page.locator("#name").inner_text() == f"Product {number}"
        assert map_page.evaluate("document.activeElement.dataset.number") == str(number)
    press("ArrowLeft")  # there is nothing
    assert map_page.locator("#name").inner_text() == "Product 5"
    press("Tab")  # the map is one stop
    assert map_page.evaluate("document.activeElement.dataset.group") == "0"
    press("Shift+Tab")
    assert map_page.evaluate("document.activeElement.dataset.number") == "5"


def test_page__focus_brings_its_picture_into_view(map_page):
    for _ in range(6):
        map_page.locator("#in").click()
    map_page.locator("#map button[tabindex='0']").focus()
    map_page.keyboard.press("ArrowRight")
    map_page.keyboard.press("ArrowDown")
    view, shown = map_page.locator("#view").bounding_box(), box(map_page, 6)
    assert view["x"] <= shown["x"] + shown["width"] / 2 <= view["x"] + view["width"]
    assert view["y"] <= shown["y"] + shown["height"] / 2 <= view["y"] + view["height"]


def test_page__zoom_by_buttons_and_keys(map_page):
    before = box(map_page, 12)["width"]
    assert level(map_page) == "100 %"
    assert map_page.locator("#out").is_disabled()
    map_page.get_by_role("button", name="Zoom in").click()
    assert level(map_page) == "150 %"
    assert box(map_page, 12)["width"] == pytest.approx(1.5 * before, rel=1e-3)
    map_page.get_by_role("button", name="Zoom out").click()
    assert level(map_page) == "100 %"
    for key, text in (("+", "150 %"), ("=", "225 %"), ("-", "150 %"), ("0", "100 %")):
        map_page.keyboard.press(key)
        assert level(map_page) == text
    for _ in range(20):
        map_page.keyboard.press("+")
    assert level(map_page) == "3200 %"
    assert map_page.locator("#in").is_disabled()
    map_page.get_by_role("button", name="Show all").click()
    assert box(map_page, 12)["width"] == pytest.approx(before, rel=1e-3)


def test_page__wheel_zooms_at_the_pointer(map_page):
    before = box(map_page, 13)
    x, y = before["x"] + before["width"] / 2, before["y"] + before["height"] / 2
    map_page.mouse.move(x, y)
    map_page.mouse.wheel(0, -500)
    map_page.wait_for_function("level.textContent !== '100 %'")
    after = box(map_page, 13)
    assert after["width"] > 2 * before["width"]
    # What was under the pointer is under it still.
    assert after["x"] + after["width"] / 2 == pytest.approx(x, abs=2)
    assert after["y"] + after["height"] / 2 == pytest.approx(y, abs=2)
    map_page.mouse.wheel(0, 5_000)
    map_page.wait_for_function("level.textContent === '100 %'")


def test_page__drag_moves_the_map_and_never_out_of_sight(map_page):
    for _ in range(3):
        map_page.locator("#in").click()
    view, before = map_page.locator("#view").bounding_box(), box(map_page, 12)
    x, y = view["x"] + view["width"] / 2, view["y"] + view["height"] / 2
    map_page.mouse.move(x, y)
    map_page.mouse.down()
    map_page.mouse.move(x + 60, y + 40, steps=4)
    map_page.mouse.up()
    after = box(map_page, 12)
    assert (after["x"] - before["x"], after["y"] - before["y"]) == (pytest.approx(60, abs=6), pytest.approx(40, abs=6))
    map_page.mouse.down()
    map_page.mouse.move(x + 5_000, y + 5_000, steps=4)
    map_page.mouse.up()
    corner = box(map_page, 0)
    assert (corner["x"], corner["y"]) == (pytest.approx(view["x"], abs=20), pytest.approx(view["y"], abs=20))


def test_page__pinch_zooms(map_page):
    session = map_page.context.new_cdp_session(map_page)
    shown = box(map_page, 12)
    x, y = shown["x"] + shown["width"] / 2, shown["y"] + shown["height"] / 2

    def touch(kind: str, *offsets: float) -> None:
        points = [{"x": x + offset, "y": y, "id": number} for number, offset in enumerate(offsets)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", -40)
    touch("touchStart", -40, 40)
    for apart in (50, 60, 70, 80, 100, 120):
        touch("touchMove", -apart, apart)
    touch("touchEnd")
    map_page.wait_for_function("level.textContent !== '100 %'")
    after = box(map_page, 12)
    assert after["width"] / shown["width"] == pytest.approx(120 / 40, rel=0.2)
    assert after["x"] + after["width"] / 2 == pytest.approx(x, abs=25)


def test_page__pictures_get_sharp_when_they_are_large(map_page):
    """On the narrow side panel's scale 8 pixels do; what fills the screen gets the 32."""
    map_page.set_viewport_size({"width": 500, "height": 420})
    map_page.get_by_role("button", name="Show all").click()
    for _ in range(8):
        map_page.keyboard.press("+")
    map_page.wait_for_function("[...document.querySelectorAll('#map img')].some((one) => one.naturalWidth === 32)")


def test_page__legend_leaves_one_group(map_page):
    hats = map_page.get_by_role("button", name="hats 10")
    hats.click()
    assert hats.get_attribute("aria-pressed") == "true"
    faded = [tile(map_page, number).evaluate("(one) => one.classList.contains('faded')") for number in range(4)]
    assert faded == [False, True, False, True]
    map_page.locator("[data-group='1']").click()
    assert hats.get_attribute("aria-pressed") == "false"
    map_page.locator("[data-group='1']").click()
    assert map_page.locator(".faded").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page__is_accessible(map_page, scheme):
    map_page.emulate_media(color_scheme=scheme)
    tile(map_page, 3).hover()
    assert violations(map_page) == []


def test_page__without_script_says_so(browser, tmp_path):
    path = tmp_path / "map.html"
    path.write_text(render_map("Map", [], (1, 1), []))
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert "The map needs JavaScript." in page.locator("noscript").inner_text()
    context.close()


def test_page__is_translated(settings):
    from django.utils.translation import override

    with override("de"):
        assert '<html lang="de" dir="ltr">' in render_map("Karte", [], (1, 1), [])
    with override("ar"):
        assert '<html lang="ar" dir="rtl">' in render_map("Map", [], (1, 1), [])
