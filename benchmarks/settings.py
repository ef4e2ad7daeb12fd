"""The demo shop's settings for a database and a media folder of the benchmark's own."""

import os
from pathlib import Path

from shop_demo.settings import *  # noqa: F403
from shop_demo.settings import DATABASES, INSTALLED_APPS, SIMILAR_PRODUCTS

DEBUG = False
DATABASES["default"]["TEST"] = {"NAME": f"benchmark_{os.getpid()}"}
if "BENCHMARK_DATABASE_NAME" in os.environ:  # in a process that a benchmark starts
    DATABASES["default"]["NAME"] = os.environ["BENCHMARK_DATABASE_NAME"]
MEDIA_ROOT = Path(os.environ["BENCHMARK_MEDIA_ROOT"])
if "BENCHMARK_PLACEMENTS" in os.environ:  # the four placements are models of the tests
    INSTALLED_APPS = [*INSTALLED_APPS, "tests"]
    SIMILAR_PRODUCTS = {**SIMILAR_PRODUCTS, "PRODUCTS": {"tests.Rug": {"THROUGH": "photos__look"}}}
