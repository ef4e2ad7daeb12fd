"""The demo shop's settings for a database and a media folder of the benchmark's own."""

import os
from pathlib import Path

from shop_demo.settings import *  # noqa: F403
from shop_demo.settings import DATABASES

DEBUG = False
DATABASES["default"]["TEST"] = {"NAME": f"benchmark_{os.getpid()}"}
if "BENCHMARK_DATABASE_NAME" in os.environ:  # in a process that a benchmark starts
    DATABASES["default"]["NAME"] = os.environ["BENCHMARK_DATABASE_NAME"]
MEDIA_ROOT = Path(os.environ["BENCHMARK_MEDIA_ROOT"])
