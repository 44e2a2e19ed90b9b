"""How the one loop over modules runs: threads, each with single-threaded kernels.

Kernels that use one thread give the same bits on any number of cores; the parallelism is over items, such as modules.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from typing import Generic, TypeVar

from adapterops.errors import OptionError

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 4
"""Results a worker may be ahead of the one that is waited for: modules differ in size, and nobody should wait for the largest."""

STOPPING = threading.Event()
"""Set when the process is about to end: what its threads still do is of no use, and nobody waits for it."""

Progress = Callable[[int, int], None]
"""Called with (done, total) after each item."""


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
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    light: Callable[[Item], bool] = lambda item: False,
    ahead: int = AHEAD,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Generator[Result, None, None]:
    """`function(item)` for each item, in the order of the items, at most `workers` at a time: this thread is one of them.

    The results do not depend on the number of workers; those that wait for their turn are kept. After an exception nothing
    new is started.

    Args:
        light: which items need no torch. If all are, it is not imported; else one more thread does those, while it is and later.
        ahead: results a worker may be ahead of the one that is waited for.
    """
    queue = list(items)
    workers = default_workers() if workers is None else workers
    if workers < 1:
        raise OptionError(f"--workers must be at least 1, got {workers}")
    keep_memory()
    work = _Work(function, queue, light, ahead * workers)
    heavy = not all(map(light, queue))
    others = [threading.Thread(target=work.help, daemon=True) for _ in range(min(workers, len(queue)) - 1)]
    if heavy and any(map(light, queue)):
        others.append(threading.Thread(target=work.help, args=(True,), daemon=True))
    with _one_thread_in_numpy():
        try:
            for thread in others:
                thread.start()
            with _one_thread_in_torch(needed=heavy):
                work.begin()
                for index in range(len(queue)):
                    yield work.result(index)
                    if progress:
                        progress(index + 1, len(queue))
        finally:
            work.stop()
            for thread in others:
                if thread.ident is not None and not STOPPING.is_set():
                    thread.join()


class _Work(Generic[Item, Result]):
    """Items, begun in their order by whoever has time, and what became of them."""

    def __init__(self, function: Callable[[Item], Result], items: Sequence[Item], light: Callable[[Item], bool], ahead: int) -> None:
        self._function, self._items, self._light, self._ahead = function, items, light, ahead
        self._open = deque(range(len(items)))
        self._outcomes: dict[int, Future[Result]] = {}
        self._next, self._begun = 0, False
        self._changed = threading.Condition()

    def begin(self) -> None:
        """From now on any item can be begun, not just light ones."""
        with self._changed:
            self._begun = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Begin nothing more."""
        with self._changed:
            self._open.clear()
            self._changed.notify_all()

    def help(self, lightly: bool = False) -> None:
        """Do what is open, or the light part of it, until nothing is."""
        while True:
            with self._changed:
                while (index := self._take(lightly)) is None:
                    if not self._open:
                        return
                    self._changed.wait()
            self._do(index)

    def result(self, index: int) -> Result:
        """What became of an item; others are done until it is known."""
        while True:
            with self._changed:
                self._next = index
                self._changed.notify_all()
                mine = None
                while index not in self._outcomes and mine is None:
                    mine = self._take()
                    if mine is None:
                        self._changed.wait()
                if mine is None:
                    return self._outcomes.pop(index).result()
            self._do(mine)

    def _take(self, lightly: bool = False) -> int | None:
        """An item that nobody has begun and that can be."""
        for place, index in enumerate(self._open):
            if index >= self._next + self._ahead:
                break
            if (self._begun and not lightly) or self._light(self._items[index]):
                del self._open[place]
                return index
        return None

    def _do(self, index: int) -> None:
        if torch := sys.modules.get("torch") if self._begun else None:
            torch.set_num_threads(1)  # it counts for the thread that says it
        outcome: Future[Result] = Future()
        try:
            outcome.set_result(self._function(self._items[index]))
        except Exception as error:  # whatever it is, it is raised when it is the item's turn
            outcome.set_exception(error)
        with self._changed:
            self._outcomes[index] = outcome
            if outcome.exception() is not None:  # what comes before it has its turn before
                self._open = deque(other for other in self._open if other < index)
            self._changed.notify_all()


@contextmanager
def _one_thread_in_numpy() -> Iterator[None]:
    library = _blas()
    threads = library.scipy_openblas_get_num_threads64_() if library else 1
    if library and threads != 1:
        library.scipy_openblas_set_num_threads64_(1)
    try:
        yield
    finally:
        if library and threads != 1:
            library.scipy_openblas_set_num_threads64_(threads)


@contextmanager
def _one_thread_in_torch(needed: bool) -> Iterator[None]:
    """The same for torch; it is imported if it is needed."""
    if not needed and "torch" not in sys.modules:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@cache
def _blas() -> ctypes.CDLL | None:
    """numpy's own OpenBLAS, where that is what it has: it is found through the module that is linked to it."""
    import_module("numpy")
    with suppress(OSError, KeyError, TypeError):
        library = ctypes.CDLL(sys.modules["numpy._core._multiarray_umath"].__file__)
        return library if hasattr(library, "scipy_openblas_set_num_threads64_") else None
    return None
