"""A real Chromium for the tests; a test module asks for it by ``pytest_plugins = ("tests.browser",)``.

The browser is the system's own, Debian's ``chromium``: what Playwright would download is left out.
"""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from shop_demo.chromium import ARGUMENTS, NAMES, find_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATIENCE = 30_000
"""Milliseconds that Playwright waits for anything; a machine that does other work as well takes seconds."""


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed", exc_type=ImportError)
    executable = find_chromium()
    if executable is None:
        pytest.skip(f"there is no {', '.join(NAMES)} on this machine")
    with pytest.MonkeyPatch.context() as patch, api.sync_playwright() as playwright:
        # Playwright's loop runs in the thread of the tests, and Django takes that for code of a coroutine.
        patch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS, timeout=2 * PATIENCE)
        api.expect.set_options(timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: "Browser") -> Iterator["Page"]:
    """An empty page of a fresh profile. A fault in a script or a breach of the page's policy fails the test."""
    faults: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
    yield page
    context.close()
    assert faults == []
