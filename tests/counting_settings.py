"""The settings of a process started by a test, with the encoder that counts."""

from tests.child_settings import *  # noqa: F403

SIMILAR_PRODUCTS = {
    "ENCODER": {"BACKEND": "tests.counting.CountingEncoder"},
    "REFUSE_BLANK": False,
}
