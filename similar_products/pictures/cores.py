"""How many processor cores there are to use; apart from ``ahead``, for whose imports decoder processes would wait."""

import math
import os
from functools import cache
from pathlib import Path

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of processor time per period of so many, or "max": version 2 of Linux' control groups."""


@cache
def count_cores() -> int:
    """Return the number of processor cores that this process may use: a container's quota, rounded up, counts."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # as on macOS
    try:
        quota, period = CPU_QUOTA.read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # there is no such file, or "max" in it
        return cores
