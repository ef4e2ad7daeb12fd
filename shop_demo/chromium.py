"""The browser that tests and screenshots drive: the system's own, Debian's ``chromium``."""

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",  # they run as root in containers, where Chromium starts in no other way
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def find_chromium() -> str | None:
    """Return the path of the program, or ``None`` where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)
