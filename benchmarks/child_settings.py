"""The benchmark's settings for a process of its own: its database, and pictures where they lie."""

import os

from benchmarks.settings import *  # noqa: F403
from benchmarks.settings import DATABASES

DATABASES["default"]["NAME"] = os.environ["BENCHMARK_DATABASE"]
MEDIA_ROOT = "/"
