"""Work done ahead in threads, such as decoding and encoding the next pictures while others are written."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

from .cores import count_cores

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


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


def in_batches(items: Iterable[ItemT], size: int) -> Iterator[list[ItemT]]:
    """Yield the items in lists of ``size``, of which the last may be shorter."""
    items = iter(items)
    return iter(lambda: list(islice(items, size)), [])
