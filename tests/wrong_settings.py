"""Settings with a mistake, for a process started by a test."""

from tests.child_settings import *  # noqa: F403

SIMILAR_PRODUCTS = {"UNKNOWN": 1}
