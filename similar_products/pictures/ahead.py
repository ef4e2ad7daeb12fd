"""Work done ahead in threads, such as decoding and encoding the next pictures while others are written."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def count_cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_ahead(
    function: Callable[[ItemT], ResultT], items: Iterable[ItemT], *, ahead: int, threads: int | None = None
) -> Generator[ResultT, None, None]:
    """Yield ``function(item)`` for each item in their order, computed in ``threads``, one for each core unless given.

    The calling thread takes the items, ``ahead`` of them before their results are asked for, so that memory does not
    grow with their number. A single item is computed by the calling thread, without a pool. What ``function`` raises is
    raised here; what is not yet begun then is given up.
    """
    items = iter(items)
    first = list(islice(items, 2))
    if len(first) < 2:
        yield from map(function, first)
        return
    pool = ThreadPoolExecutor(threads or count_cores(), thread_name_prefix="ahead")
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
