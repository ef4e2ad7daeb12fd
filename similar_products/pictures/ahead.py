"""Work done ahead in threads, such as decoding and encoding the next pictures while others are written."""

import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of processor time per period of so many, or "max": version 2 of Linux' control groups."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def count_cores() -> int:
    """Return the number of processor cores that this process may use: a container's quota, rounded up, counts."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # as on macOS
    try:
        quota, period = CPU_QUOTA.read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # there is no such file, or "max" in it
        return cores


def map_ahead(
    function: Callable[[ItemT], ResultT], items: Iterable[ItemT], *, ahead: int, threads: int | None = None
) -> Generator[ResultT, None, None]:
    """Yield ``function(item)`` for each item in their order, computed in ``threads``, one for each core unless given.

    The calling thread takes the items, ``ahead`` of them before their results are asked for, or one for each thread if
    that is more, so that no thread waits and memory does not grow with their number. A single item is computed by the
    calling thread, without a pool. What ``function`` raises is raised here; what is not yet begun then is given up.
    """
    items = iter(items)
    first = list(islice(items, 2))
    if len(first) < 2:
        yield from map(function, first)
        return
    threads = threads or count_cores()
    ahead = max(ahead, threads)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead")
    waiting: deque[Future[ResultT]] = deque()
    try:
        for item in chain(first, items):
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
