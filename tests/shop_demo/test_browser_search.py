"""Search by photo as a visitor does it: a real browser, a real server, drawn products and the colours of them."""

import base64
import re

import pytest
from django.core.cache import cache

pytest_plugins = ("tests.browser", "tests.shop")
pytestmark = pytest.mark.django_db(transaction=True)

SEARCH = "**/api/products/search/**"
DROP = """([base64, name]) => {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
    return transfer;
}"""


class SearchPage:
    """The search page in a browser, and what it has sent to the API."""

    def __init__(self, page):
        from playwright.sync_api import expect

        self.page = page
        self.expect = expect
        self.sent = []
        page.on("request", lambda request: self.sent.append(request) if "/api/" in request.url else None)

    @property
    def uploads(self):
        return [each for each in self.sent if each.headers["content-type"].startswith("multipart/form-data")]

    @property
    def status(self):
        return self.page.get_by_role("status")

    def names(self):
        return self.page.locator("#results .card__name").all_inner_texts()

    def choose(self, picture, name="photo.jpg"):
        file = {"name": name, "mimeType": "image/jpeg", "buffer": picture}
        self.page.get_by_label("Choose a photo").set_input_files(file)

    def expect_found(self, number):
        self.expect(self.status).to_have_text(
            "No products found" if number == 0 else re.compile(rf"^{number} products?, the most similar first$")
        )
        self.expect(self.page.locator("#results > li")).to_have_count(number)

    def expect_problem(self, sentence):
        self.expect(self.page.get_by_role("alert")).to_contain_text(sentence)
        self.expect(self.page.locator("#results > li")).to_have_count(0)
        self.expect(self.page.get_by_role("progressbar")).to_be_hidden()


@pytest.fixture
def search(products, live_server, page):
    page.goto(f"{live_server.url}/")
    page.get_by_role("link", name="Search by photo").click()
    page.locator("#visual-search").wait_for()  # its script shows it
    return SearchPage(page)


def drag(page, start, end):
    """Drag with the mouse over the photo, from and to fractions of it."""
    box = page.get_by_alt_text("The photo you search with").bounding_box()
    for number, (x, y) in enumerate((start, end)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
        (page.mouse.up if number else page.mouse.down)()


def test_photo__chosen_finds_its_own_product_first(search, products, pictures):
    search.choose(pictures[3])
    search.expect_found(6)
    assert search.names()[0] == products[3].name
    first = search.page.locator("#results > li").first
    search.expect(first).to_contain_text("€40.00")
    search.expect(first.locator(".card__likeness")).to_have_text(re.compile(r"^(9\d|100)% alike$"))
    image = first.locator("img")
    assert [image.get_attribute(name) for name in ("width", "height", "loading")] == ["480", "480", "lazy"]
    search.expect(image).to_have_js_property("naturalWidth", 480)
    first.get_by_role("link").click()
    search.expect(search.page.get_by_role("heading", level=1)).to_have_text(products[3].name)


def test_photo__dropped_anywhere_on_the_page(search, products, pictures):
    photo = base64.b64encode(pictures[4]).decode()
    transfer = search.page.evaluate_handle(DROP, [photo, "photo.jpg"])
    search.page.dispatch_event("footer", "dragover", {"dataTransfer": transfer})
    search.expect(search.page.locator(".drop--over")).to_have_count(1)
    search.page.dispatch_event("footer", "drop", {"dataTransfer": transfer})
    search.expect_found(6)
    assert search.names()[0] == products[4].name
    search.expect(search.page.locator(".drop--over")).to_have_count(0)


def test_photo__pasted(search, products, pictures):
    photo = base64.b64encode(pictures[5]).decode()
    transfer = search.page.evaluate_handle(DROP, [photo, "photo.jpg"])
    search.page.evaluate(
        "(clipboardData) => document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true }))",
        transfer,
    )
    search.expect_found(6)
    assert search.names()[0] == products[5].name


def test_region__dragged_changes_the_results_to_what_is_in_it(search, products, photo_of_two):
    search.choose(photo_of_two)
    search.expect_found(6)
    of_both = search.names()
    for start, end, expected in (((0.51, 0.01), (1, 1), products[2]), ((0.49, 0.99), (0, 0), products[0])):
        drag(search.page, start, end)
        search.expect(search.page.locator("#results .card__name").first).to_have_text(expected.name)
        search.expect_found(6)
    assert len(search.uploads) == 3
    search.page.get_by_role("button", name="Search the whole photo").click()
    search.expect(search.page.locator("#region")).to_be_hidden()
    search.expect_found(6)
    assert search.names() == of_both
    assert len(search.uploads) == 4


def test_region__click_and_escape_leave_it(search, pictures):
    search.choose(pictures[0])
    search.expect_found(6)
    drag(search.page, (0.5, 0.5), (0.505, 0.505))
    box = search.page.get_by_alt_text("The photo you search with").bounding_box()
    search.page.mouse.move(box["x"] + 10, box["y"] + 10)
    search.page.mouse.down()
    search.page.mouse.move(box["x"] + 150, box["y"] + 150)
    search.expect(search.page.locator("#region")).to_be_visible()
    search.page.keyboard.press("Escape")
    search.expect(search.page.locator("#region")).to_be_hidden()
    search.page.mouse.up()
    assert len(search.sent) == 1


def test_filters__narrow_down_without_another_upload(search, products, pictures):
    page = search.page
    search.choose(pictures[1])
    search.expect_found(6)
    assert search.names()[0] == products[1].name
    page.get_by_label("In stock only").check()
    search.expect_found(5)
    assert products[1].name not in search.names()
    page.get_by_label("Price from €").fill("30")
    page.get_by_label("Price to €").fill("50")
    page.get_by_label("Price to €").press("Enter")
    search.expect_found(3)
    assert set(search.names()) == {product.name for product in products[2:5]}
    page.get_by_label("Category").select_option(products[2].category.name)
    search.expect_found(1)
    assert search.names() == [products[2].name]
    page.get_by_label("Price from €").fill("45")
    page.get_by_label("Price from €").blur()
    search.expect_found(0)
    search.expect(page.get_by_text("Nothing in the shop matches these filters.")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    search.expect_found(6)
    assert len(search.uploads) == 1
    assert len(search.sent) >= 6


def test_filters__photo_sent_again_when_its_key_is_gone(search, pictures):
    search.choose(pictures[0])
    search.expect_found(6)
    cache.clear()
    search.page.get_by_label("In stock only").check()
    search.expect_found(5)
    assert [each.response().status for each in search.sent] == [200, 410, 200]
    assert len(search.uploads) == 2
    search.expect(search.page.get_by_role("alert")).to_have_text("")


def test_answer__that_comes_late_is_dropped(search, products, pictures):
    """The first answer is held back until the second photo's has been shown."""
    held = []
    search.page.route(SEARCH, lambda route: held.append(route), times=1)
    search.choose(pictures[0])
    search.expect(search.status).to_have_text("Searching…")
    search.expect(search.page.get_by_role("progressbar", name="Searching")).to_be_visible()
    search.page.wait_for_timeout(100)
    search.choose(pictures[3])
    search.expect_found(6)
    answer = {"count": 0, "key": "late", "results": []}
    held[0].fulfill(json=answer)
    search.page.wait_for_timeout(300)
    search.expect_found(6)
    assert search.names()[0] == products[3].name


def test_address__typed_and_pasted(search, settings, monkeypatch, products, pictures):
    """The page shows no picture of another host, and a filter fetches nothing a second time."""
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "FETCH_URLS": True}
    page, web, fetched, asked = search.page, "https://pictures.invalid", [], []
    on_the_web = {f"{web}/2.jpg": pictures[2], f"{web}/4.jpg": pictures[4]}
    fetch = "similar_products.rest_framework.photos.fetch_picture"
    monkeypatch.setattr(fetch, lambda url: fetched.append(url) or on_the_web[url])
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    page.get_by_label("Address of a picture").fill(f"{web}/2.jpg")
    page.keyboard.press("Enter")
    search.expect_found(6)
    assert search.names()[0] == products[2].name
    page.get_by_label("In stock only").check()
    search.expect_found(5)
    page.evaluate(
        """(text) => {
            const clipboardData = new DataTransfer();
            clipboardData.setData("text/plain", text);
            document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
        }""",
        f"{web}/4.jpg",
    )
    search.expect(page.locator("#results .card__name").first).to_have_text(products[4].name)
    assert fetched == [*on_the_web]
    assert not [url for url in asked if url.startswith(web)]
    search.expect(page.get_by_alt_text("The photo you search with")).to_be_hidden()


def test_address__that_is_not_public_is_refused(search, settings):
    settings.SIMILAR_PRODUCTS = {**settings.SIMILAR_PRODUCTS, "FETCH_URLS": True}
    search.page.reload()
    search.page.get_by_label("Address of a picture").fill("http://127.0.0.1/a.jpg")
    search.page.get_by_role("button", name="Search", exact=True).click()
    search.expect_problem("No picture could be fetched from this address.")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"I am no picture.", "This file is not a photo that can be read."),
        (b"", "This file is empty."),
        (b"\0" * (10 * 1024 * 1024 + 1), "This photo is larger than 10 MB."),
    ],
    ids=["text", "empty", "large"],
)
def test_error__of_the_photo_is_said_and_the_next_one_is_found(search, pictures, content, sentence):
    search.choose(content)
    search.expect_problem(sentence)
    search.expect(search.page.get_by_role("button", name="Try again")).to_be_hidden()
    search.choose(pictures[0])
    search.expect_found(6)
    search.expect(search.page.get_by_role("alert")).to_have_text("")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"status": 503, "json": {"code": "busy", "detail": "..."}}, "Many people are searching right now."),
        ({"status": 429, "json": {"code": "throttled", "detail": "..."}}, "Too many searches in a short time."),
        ({"status": 400, "json": {"code": "new", "detail": "The API says why."}}, "The API says why."),
        ({"status": 502, "body": "<html>"}, "The search has failed."),
        (None, "The photo could not be sent."),
    ],
    ids=["busy", "throttled", "unknown code", "not the API", "no connection"],
)
def test_error__that_may_pass_can_be_tried_again(search, pictures, answer, sentence):
    search.page.route(SEARCH, lambda route: route.fulfill(**answer) if answer else route.abort(), times=1)
    search.choose(pictures[0])
    search.expect_problem(sentence)
    search.page.get_by_role("button", name="Try again").click()
    search.expect_found(6)
    search.expect(search.page.get_by_role("heading", name="Results")).to_be_focused()


def test_keyboard__alone_finds_a_product(search, products, photo_of_two):
    page = search.page
    press = page.keyboard.press
    page.on("filechooser", lambda chooser: None)  # takes a moment: asked for by the key press alone, it may miss it
    page.locator("h1").click()
    press("Tab")
    search.expect(page.get_by_label("Choose a photo")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        press("Enter")
    chooser.value.set_files({"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": photo_of_two})
    search.expect_found(6)
    press("Tab")
    press("Enter")
    for label, value in (("From left", "50"), ("From top", "0"), ("Width", "50"), ("Height", "100")):
        press("Tab")
        search.expect(page.get_by_label(label)).to_be_focused()
        press("ControlOrMeta+a")
        page.keyboard.type(value)
    press("Tab")
    first = page.locator("#results .card__name").first
    search.expect(first).to_have_text(products[2].name)
    search.expect(page.get_by_role("button", name="Search the whole photo")).to_be_focused()
    press("Enter")
    search.expect(page.locator("summary")).to_be_focused()
    for _ in range(8):  # four numbers, category, two prices, in stock
        press("Tab")
    search.expect(page.get_by_label("In stock only")).to_be_focused()
    press("Space")
    search.expect_found(5)
    press("Tab")
    press("Tab")
    search.expect(page.locator("#results a").first).to_be_focused()
    name = first.inner_text()
    press("Enter")
    search.expect(page.get_by_role("heading", level=1)).to_have_text(name)


def test_staff__logged_in_search_too(search, live_server, admin_client, products, pictures):
    cookie = admin_client.cookies["sessionid"]
    search.page.context.add_cookies([{"name": "sessionid", "value": cookie.value, "url": live_server.url}])
    search.page.reload()
    search.choose(pictures[2])
    search.expect_found(6)
    assert search.names()[0] == products[2].name


def test_script__switched_off_leaves_a_sentence(browser, products, live_server):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{live_server.url}/search/")
    assert "needs JavaScript" in page.locator("noscript").inner_text()
    assert not page.locator("#visual-search").is_visible()
    context.close()
