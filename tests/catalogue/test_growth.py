"""The sizes of the parts, and the picture of the figures."""

from xml.etree import ElementTree

import numpy as np
import pytest
from django.utils import translation
from PIL import ImageFont

from similar_products.catalogue.growth import HEIGHT, WIDTH, Growth, default_sizes, draw_growth

NAMESPACE = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("products", "sizes"),
    [
        (20, [6, 12, 20]),
        (60, [25, 50, 60]),
        (199, [50, 100, 199]),
        (200, [100, 200]),
        (3_068, [100, 200, 400, 800, 1_600, 3_068]),
    ],
)
def test_default_sizes(products, sizes):
    assert default_sizes(products) == sizes


GROWTH = [
    Growth(products=100, draws=5, precision=0.4, spread=0.1, best_possible=0.8, recall_at_1=0.5, queries=500),
    Growth(products=400, draws=5, precision=0.6, spread=0.05, best_possible=0.9, recall_at_1=0.6, queries=2_000),
    Growth(products=1_600, draws=1, precision=0.7, spread=0.0, best_possible=1.0, recall_at_1=0.7, queries=1_600),
]


def drawn(growth=GROWTH, title="Title") -> ElementTree.Element:
    return ElementTree.fromstring(draw_growth(growth, k=10, title=title))


def texts(svg: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in svg.iter(f"{NAMESPACE}text")]


def test_picture__stands_where_the_figures_are():
    svg = drawn()
    dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in svg.iter(f"{NAMESPACE}circle")]
    across, up = np.array(dots).T
    assert np.diff(across) == pytest.approx([across[1] - across[0]] * 2)  # 100, 400, 1,600: even on a logarithmic axis
    lines = {element.text: float(element.get("y")) - 4 for element in svg.iter(f"{NAMESPACE}text") if element.text}
    assert up == pytest.approx(np.interp([0.4, 0.6, 0.7], [0, 1], [lines["0.0"], lines["1.0"]]), abs=0.1)
    band = [tuple(map(float, pair.split(","))) for pair in svg.find(f"{NAMESPACE}polygon").get("points").split()]
    assert len(band) == 6
    height = lines["0.0"] - lines["1.0"]
    assert [low[1] - high[1] for high, low in zip(band[:3], band[:2:-1], strict=True)] == pytest.approx(
        [0.2 * height, 0.1 * height, 0], abs=0.2
    )
    assert {"100", "400", "1,600", "0.400", "0.600", "0.700", "Title", "best possible with these labels"} < {
        *texts(svg)
    }


def test_picture__numbers_do_not_run_into_each_other():
    close = [GROWTH[0], *(GROWTH[1].__class__(2_000 + more, 1, 0.7, 0, 1, 1, 1) for more in (0, 10, 30))]
    assert [text for text in texts(drawn(close)) if text.startswith("2,0")] == ["2,030"]


@pytest.mark.parametrize("language", ["en", "de"])
def test_picture__the_key_fits_beside_itself(language):
    with translation.override(language):
        svg = drawn()
    first, second = [element for element in svg.iter(f"{NAMESPACE}text") if element.get("y") == "44.0"]
    font = ImageFont.load_default(12)
    ends = [float(element.get("x")) + font.getlength(element.text) * 1.1 for element in (first, second)]
    assert ends[0] < float(second.get("x")) - 30  # where its dashes begin
    assert ends[1] < WIDTH


def test_picture__hostile_title_is_text():
    title = "<script>alert(1)</script>\"'&"
    svg = drawn(title=title)
    assert title in texts(svg)
    assert svg.get("aria-label") == title
    assert not list(svg.iter(f"{NAMESPACE}script"))


def test_picture__stays_inside():
    every = [Growth(10, 1, 1.0, 0.5, 1, 1, 1), Growth(20, 1, 0.0, 0.5, 0, 1, 1)]
    points = drawn(every).find(f"{NAMESPACE}polygon").get("points").split()
    assert all(0 <= float(point.split(",")[1]) <= HEIGHT for point in points)
