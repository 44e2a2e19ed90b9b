"""How work runs: one loop over items such as modules, in threads, each with single-threaded kernels.

Kernels that use one thread give the same bits on any number of cores; the parallelism is over items, such as modules.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Generic, TypeVar

from adapterops.errors import OptionError, ResourceError
from adapterops.libraries import imported_torch

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 4
"""Results a worker may be ahead of the one that is waited for: modules differ in size, and nobody should wait for the largest."""

STOPPING = threading.Event()
"""Set when the process is about to end: what its threads still do is of no use, and nobody waits for it."""

Progress = Callable[[int, int], None]
"""Called with (done, total) after each item."""

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Execution:
    """How work is done, and never what: no value here changes a byte of a result.

    Attributes:
        workers: items worked on at a time; None for the processors of this process, at most 8.
        device: where weights are quantized, `cpu` or `cuda`.
        memory: bytes that the work may take beyond what libraries take; None for no limit. Blocks stay as large as they are,
            because rounding depends on them; fewer workers hold fewer of them.
        progress: called after each item.
        sync: wait until the disk has everything. Without, a power failure can leave a damaged output.
    """

    workers: int | None = None
    device: str = "cpu"
    memory: int | None = None
    progress: Progress | None = None
    sync: bool = True

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise OptionError(f"--workers must be at least 1, got {self.workers}")
        if self.device not in DEVICES:
            raise OptionError(f"--device must be one of {', '.join(DEVICES)}, got {self.device!r}")

    @property
    def threads(self) -> int:
        """How many workers there are."""
        return default_workers() if self.workers is None else self.workers

    def within(self, needs: Callable[[int], int]) -> Execution:
        """The same with as many workers as `memory` allows, where `needs` says how many bytes so many workers take.

        Raises:
            ResourceError: one worker takes more.
        """
        if self.memory is None:
            return self
        fitting = [workers for workers in range(1, self.threads + 1) if needs(workers) <= self.memory]
        if not fitting:
            raise ResourceError(
                f"--memory allows {self.memory} bytes, and one worker takes {needs(1)}",
                hint=f"the least that works is --memory {_kB(needs(1))}",
            )
        return replace(self, workers=max(fitting))


DEFAULT = Execution()


def _kB(size: int) -> str:
    """
    >>> _kB(1234567)
    '1235kB'
    """
    return f"{-(-size // 1000)}kB"


def check_device(device: str) -> None:
    """Raise for a device that is not there, or that cannot be used.

    Raises:
        ResourceError: torch finds no GPU.
        NotFoundError: what encodes on a GPU is not installed.
    """
    if device != "cpu":
        import torch

        from adapterops.quant.bitsandbytes import check_installed

        if not torch.cuda.is_available():
            raise ResourceError(f"torch {torch.__version__} finds no GPU", hint="leave --device out, or install a torch for your GPU")
        check_installed()


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
    light: Callable[[Item], bool] = lambda item: True,
    lane: Callable[[Item], Hashable] | None = None,
    how: Execution = DEFAULT,
) -> Generator[Result, None, None]:
    """`function(item)` for each item, at most `how.workers` at a time: this thread is one of them.

    The results do not depend on the number of workers. They come in the order of the items, and those that wait for their
    turn are kept; with lanes they come as they are done. After an exception nothing is started that comes after its item.

    Args:
        light: which items need no torch. If all are, it is not imported; else one more thread does those, while it is and later.
        lane: what items have in common that are best done in their order, by one thread. A thread without a lane takes what is
            last in that of another.
    """
    queue, workers, progress = list(items), how.threads, how.progress
    work = _Work(function, queue, light, lane, AHEAD * workers)
    heavy = not all(map(light, queue))
    others = [threading.Thread(target=work.help, daemon=True) for _ in range(min(workers, len(queue)) - 1)]
    if heavy and any(map(light, queue)):
        others.append(threading.Thread(target=work.help, args=(True,), daemon=True))
    with _numpy().limit(limits=1, user_api="blas"):
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


class _Lane:
    """Items that nobody has begun, in their order, all light or none; and who is at them."""

    def __init__(self, light: bool) -> None:
        self.light, self.open = light, deque[int]()
        self.thread: int | None = None


class _Work(Generic[Item, Result]):
    """Items, begun by whoever has time, and what became of them."""

    def __init__(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        light: Callable[[Item], bool],
        lane: Callable[[Item], Hashable] | None,
        ahead: int,
    ) -> None:
        self._function, self._items, self._ordered, self._ahead = function, items, lane is None, ahead
        lanes: dict[tuple[Hashable, bool], _Lane] = {}
        for index, item in enumerate(items):
            key = lane(item) if lane else None, light(item)
            lanes.setdefault(key, _Lane(key[1])).open.append(index)
        self._lanes = list(lanes.values())
        self._outcomes: dict[int, Future[Result]] = {}
        self._next, self._running, self._begun = 0, 0, False
        self._changed = threading.Condition()

    def begin(self) -> None:
        """From now on any item can be begun, not just light ones."""
        with self._changed:
            self._begun = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Begin nothing more."""
        with self._changed:
            self._lanes = []
            self._changed.notify_all()

    def help(self, lightly: bool = False) -> None:
        """Do what is open, or the light part of it, until nothing is."""
        while True:
            with self._changed:
                while (index := self._take(lightly)) is None:
                    if not any(lane.open for lane in self._lanes if lane.light or not lightly):
                        return
                    self._changed.wait()
            self._do(index)

    def result(self, place: int) -> Result:
        """What became of the item of that place; with lanes, of that many a one. Others are done until it is known."""
        while True:
            with self._changed:
                self._next = place
                self._changed.notify_all()
                mine = None
                while (known := self._known(place)) is None and mine is None:
                    mine = self._take()
                    if mine is None:
                        self._changed.wait()
                if known is not None:
                    return self._outcomes.pop(known).result()
            if mine is not None:
                self._do(mine)

    def _known(self, place: int) -> int | None:
        """The item whose outcome is next; a failure is, when all before it that was begun is done."""
        if self._ordered:
            return place if place in self._outcomes else None
        good = (index for index, outcome in self._outcomes.items() if outcome.exception() is None)
        idle = not self._running and not any(lane.open for lane in self._lanes)
        return next(good, min(self._outcomes) if idle else None)

    def _take(self, lightly: bool = False) -> int | None:
        """An item that nobody has begun and that can be."""
        me = threading.get_ident()
        can = [lane for lane in self._lanes if lane.open and (lane.light or (self._begun and not lightly))]
        if self._ordered:
            lane = min(can, key=lambda lane: lane.open[0], default=None)
            if lane is None or lane.open[0] >= self._next + self._ahead:
                return None
        else:
            lane = next((lane for lane in can if lane.thread == me), None) or next((lane for lane in can if lane.thread is None), None)
        self._running += bool(can)
        if lane is not None:
            lane.thread = me
            return lane.open.popleft()
        return max(can, key=lambda lane: len(lane.open)).open.pop() if can else None

    def _do(self, index: int) -> None:
        if self._begun and (torch := imported_torch()):
            torch.set_num_threads(1)  # it counts for the thread that says it
        outcome: Future[Result] = Future()
        try:
            outcome.set_result(self._function(self._items[index]))
        except Exception as error:  # whatever it is, it is raised when it is the item's turn
            outcome.set_exception(error)
        with self._changed:
            self._outcomes[index] = outcome
            self._running -= 1
            if outcome.exception() is not None:  # what comes before it has its turn before
                for lane in self._lanes:
                    lane.open = deque(other for other in lane.open if other < index)
            self._changed.notify_all()


@cache
def _numpy() -> ThreadpoolController:
    """What sets the threads of numpy's BLAS, whichever it is. It looks through all libraries of the process, once."""
    import numpy  # noqa: F401  # its BLAS is there to be found from now on
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def _one_thread_in_torch(needed: bool) -> Iterator[None]:
    """One thread in torch's kernels, which have a setting of their own; it is imported if it is needed."""
    if not needed and imported_torch() is None:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
