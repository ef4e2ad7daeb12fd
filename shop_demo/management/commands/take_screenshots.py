import io
import os
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.cache import cache
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.test import Client
from django.test.testcases import LiveServerThread
from django.test.utils import override_settings
from django.urls import reverse
from PIL import Image

from ...chromium import ARGUMENTS, NAMES, find_chromium
from ...drawing import DrawnProduct
from ...models import Product

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESKTOP = (1280, 960)
TALL = (1280, 1340)
PHONE = (360, 720)
GAP = 30
COLORS = 256
PATIENCE = 120_000
"""Milliseconds that a page may take."""
PRODUCT = "Iris bottle vase"
ON_THE_PHOTO = (277, 266)
"""Numbers of two drawn products that the shop has not: the photo in which one of them is searched for."""

Steps = Callable[["Page"], None]


class Command(BaseCommand):
    help = "Take the pictures of the main pages that the documentation shows, in a shop freshly made for them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "folder", nargs="?", type=Path, default=settings.BASE_DIR / "docs", help="Where they go (docs)."
        )

    def handle(self, *, folder: Path, verbosity: int, **options: Any) -> None:
        executable = find_chromium()
        if executable is None:
            raise CommandError(f"There is no {', '.join(NAMES)} on this machine; install chromium.", returncode=2)
        try:
            from playwright.sync_api import sync_playwright
        except ImportError as error:
            raise CommandError("playwright is not installed: pip install playwright.", returncode=2) from error
        if not folder.is_dir():
            raise CommandError(f"{folder} is no folder; name one that exists.", returncode=2)
        with _fresh_shop() as (address, session):
            product = Product.objects.get(name=PRODUCT)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
                camera = Camera(browser, address, session)
                for name, take in camera.pictures(product).items():
                    file = folder / f"{name}.png"
                    few_colors(take()).save(file, optimize=True)
                    if verbosity > 0:
                        self.stdout.write(f"{file}: {file.stat().st_size / 1000:.0f} KB")
                browser.close()


class Camera:
    """Takes pictures of the shop at ``address``; ``session`` is the key of one in which an admin is logged in."""

    def __init__(self, browser: "Browser", address: str, session: str) -> None:
        self.browser = browser
        self.address = address
        self.session = session

    def pictures(self, product: Product) -> dict[str, Callable[[], Image.Image]]:
        """Return for each file's name what takes that picture."""
        page, admin = product.get_absolute_url(), f"admin:{product._meta.app_label}_{product._meta.model_name}"
        return {
            "home": lambda: self.take("/"),
            "product-page": lambda: self.take(page, size=TALL),
            "product-page-dark": lambda: self.take(page, size=TALL, scheme="dark"),
            "visual-search": lambda: self.take("/search/", search_for_a_region),
            "phone": lambda: side_by_side(
                self.take("/", size=PHONE),
                self.take(page, size=PHONE, scheme="dark"),
                self.take("/search/", search_for_a_region, size=PHONE),
            ),
            "admin-product": lambda: self.take(reverse(f"{admin}_change", args=[product.pk]), size=TALL, as_admin=True),
            "admin-catalogue": lambda: self.take(
                f"{reverse(f'{admin}_similar_products')}?look=duplicates", size=TALL, as_admin=True
            ),
        }

    def take(
        self,
        path: str,
        steps: Steps | None = None,
        *,
        size: tuple[int, int] = DESKTOP,
        scheme: str = "light",
        as_admin: bool = False,
    ) -> Image.Image:
        """Return the top of a page, so many pixels wide and high, after ``steps``."""
        width, height = size
        context = self.browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,  # type: ignore[arg-type]  # Playwright wants a literal
            reduced_motion="reduce",
            has_touch=size == PHONE,
            is_mobile=size == PHONE,
        )
        if as_admin:
            context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": self.session, "url": self.address}])
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto(self.address + path)
        if steps is not None:
            steps(page)
        page.wait_for_load_state("networkidle")
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        context.close()
        return picture


def search_for_a_region(page: "Page") -> None:
    """Choose a photo with two products on it, and drag a region over the right one."""
    pictures = [Image.open(io.BytesIO(DrawnProduct(number).picture())) for number in ON_THE_PHOTO]
    photo = io.BytesIO()
    side_by_side(*pictures, gap=0).save(photo, "JPEG", quality=92)
    file = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": photo.getvalue()}
    page.get_by_label("Choose a photo").set_input_files(file)  # type: ignore[arg-type]  # a dict will do
    page.locator("#results > li").first.wait_for()
    shown = page.get_by_alt_text("The photo you search with")
    shown.scroll_into_view_if_needed()
    box = shown.bounding_box()
    assert box is not None  # noqa: S101  it is on the page
    with page.expect_response("**/search/**"):
        page.mouse.move(box["x"] + 0.52 * box["width"], box["y"] + 0.03 * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + 0.98 * box["width"], box["y"] + 0.97 * box["height"], steps=4)
        page.mouse.up()
    page.mouse.move(0, 0)
    page.locator("#results:not([aria-busy]) > li").first.wait_for()


def side_by_side(*pictures: Image.Image, gap: int = GAP) -> Image.Image:
    """Return one picture with all of them, which are equally high."""
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    result = Image.new("RGB", (width, pictures[0].height), "white")
    left = 0
    for picture in pictures:
        result.paste(picture, (left, 0))
        left += picture.width + gap
    return result


def few_colors(picture: Image.Image) -> Image.Image:
    """Return the picture with a palette, less than half the size of the file."""
    palette = picture.quantize(COLORS, kmeans=1)
    return picture.quantize(palette=palette)


@contextmanager
def _fresh_shop() -> Iterator[tuple[str, str]]:
    """Serve the demo's catalogue from a database and a media folder of its own, both gone afterwards.

    Gives its address and the key of a session in which an admin is logged in.
    """
    name, test = connection.settings_dict["NAME"], connection.settings_dict["TEST"]
    usual, test["NAME"] = test["NAME"], f"screenshots_{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="screenshots-") as media, override_settings(MEDIA_ROOT=media, DEBUG=False):
        connection.creation.create_test_db(verbosity=0, autoclobber=True)
        try:
            call_command("seed_shop", verbosity=0)
            call_command("embed_products", verbosity=0)
            cache.clear()
            client = Client()
            client.force_login(get_user_model().objects.create_superuser("admin"))
            server = LiveServerThread("127.0.0.1", StaticFilesHandler)
            server.daemon = True
            server.start()
            try:
                server.is_ready.wait()
                if server.error:
                    raise server.error
                yield f"http://127.0.0.1:{server.port}", client.session.session_key or ""
            finally:
                server.terminate()
        finally:
            connection.creation.destroy_test_db(name, verbosity=0)
            test["NAME"] = usual
