"""How long the long tests are: short for each change, long at night (SIMILAR_PRODUCTS_NIGHTLY=1)."""

import os

NIGHTLY = os.environ.get("SIMILAR_PRODUCTS_NIGHTLY", "") not in ("", "0")


def often(short: int, *, nightly: int) -> int:
    return nightly if NIGHTLY else short
