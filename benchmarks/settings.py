"""The demo shop's settings for a database and a media folder of the benchmark's own."""

import os
from pathlib import Path

from shop_demo.settings import *  # noqa: F403
from shop_demo.settings import DATABASES

DEBUG = False
DATABASES["default"]["TEST"] = {"NAME": os.environ.get("BENCHMARK_DATABASE", f"benchmark_{os.getpid()}")}
MEDIA_ROOT = Path(os.environ.get("BENCHMARK_MEDIA_ROOT", "/nonexistent"))
