"""What axe-core, the rules that browsers and auditors use, has against a page as it stands in the browser."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

IMPACTS = ("critical", "serious")


def violations(page: "Page", *, include: str | None = None) -> list[str]:
    """Return axe-core's serious and critical violations, a line for each element; none is ``[]``.

    ``include`` is a CSS selector, for a page of which only a part is ours; it must match. The page is judged as it is
    shown now: open, fill and colour it (``page.emulate_media(color_scheme="dark")``) before.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    if include is not None:
        assert page.locator(include).count(), f"{page.url} has nothing that matches {include}"
    found = axe.Axe().run(page, context=include).response
    assert found["passes"], f"axe-core has tried nothing on {page.url}"
    return [
        f"{violation['id']} ({violation['impact']}): {violation['help']}: {node['html']} "
        f"at {' '.join(map(str, node['target']))}: {' '.join((node['failureSummary'] or '').split())}"
        for violation in found["violations"]
        if violation["impact"] in IMPACTS
        for node in violation["nodes"]
    ]
