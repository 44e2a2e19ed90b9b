"""How the one loop over modules runs: threads, each with single-threaded kernels.

Kernels that use one thread give the same bits on any number of cores; the parallelism is over modules.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from itertools import islice
from typing import TypeVar

from adapterops.errors import OptionError

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 4
"""Results a worker may be ahead of the one that is waited for: modules differ in size, and nobody should wait for the largest."""

STOPPING = threading.Event()
"""Set when the process is about to end: what its threads still do is of no use, and nobody waits for it."""

Progress = Callable[[int, int], None]
"""Called with (done, total) after each module."""


@cache
def keep_memory() -> None:
    """Let glibc's allocator keep what is freed: giving pages back and taking them again can cost more than the work on them."""
    trim_threshold, mmap_threshold = -1, -3
    with suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(trim_threshold, 1 << 28)
        libc.mallopt(mmap_threshold, 1 << 25)


def default_workers() -> int:
    """The processors this process may use, at most 8: each worker holds one module."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, 8)


@contextmanager
def background() -> Iterator[ThreadPoolExecutor]:
    """A thread beside the workers, which drops what is left of its work when the block ends."""
    pool = ThreadPoolExecutor(1)
    try:
        yield pool
    finally:
        pool.shutdown(wait=not STOPPING.is_set(), cancel_futures=True)


def run(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None, progress: Progress | None = None
) -> Iterator[Result]:
    """`function(item)` for each item, in the order of the items, at most `workers` at a time: this thread is one of them.

    The results do not depend on the number of workers; those that wait for their turn are kept. After an exception nothing
    new is started.
    """
    import torch  # here, so that plans can be made without it

    queue = list(items)
    workers = default_workers() if workers is None else workers
    if workers < 1:
        raise OptionError(f"--workers must be at least 1, got {workers}")
    keep_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    others = max(1, workers - 1)
    pool = ThreadPoolExecutor(others, initializer=torch.set_num_threads, initargs=(1,))  # it counts for the thread that says it
    try:
        pending: deque[tuple[Item, Future[Result]]] = deque()
        started = iter(queue)
        for done in range(1, len(queue) + 1):
            for item in islice(started, AHEAD * workers - len(pending)):
                pending.append((item, pool.submit(function, item) if workers > 1 else Future()))
            while not pending[0][1].done():
                place = next((place for place, (_, future) in enumerate(pending) if future.cancel()), None)  # the first that nobody began
                if place is None:
                    break
                item = pending[place][0]
                pending[place] = item, _done(function, item)
            yield pending.popleft()[1].result()
            if progress:
                progress(done, len(queue))
    finally:
        pool.shutdown(wait=not STOPPING.is_set(), cancel_futures=True)
        torch.set_num_threads(threads)


def _done(function: Callable[[Item], Result], item: Item) -> Future[Result]:
    """What became of an item, here and now."""
    future: Future[Result] = Future()
    try:
        future.set_result(function(item))
    except Exception as error:  # whatever it is, it is raised when it is the item's turn
        future.set_exception(error)
    return future
