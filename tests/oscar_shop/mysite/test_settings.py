"""The shop's settings for its tests: an encoder that needs no model, and a database of the tests' choice."""

import os

from .settings import *  # noqa: F403
from .settings import DATABASES, SIMILAR_PRODUCTS

SIMILAR_PRODUCTS["ENCODER"] = {"BACKEND": "similar_products.encoders.ColorHistogramEncoder"}
SIMILAR_PRODUCTS["REFUSE_BLANK"] = False
DATABASES["default"]["NAME"] = os.environ["TEST_DATABASE_NAME"]
DATABASES["default"]["TEST"] = {"NAME": os.environ["TEST_DATABASE_NAME"]}
