"""How work runs: one loop over items such as modules, in threads, each with single-threaded kernels.

Kernels that use one thread give the same bits on any number of cores; the parallelism is over items, such as modules.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache, partial
from itertools import accumulate
from time import perf_counter
from typing import TYPE_CHECKING, Generic, TypeVar

from adapterops.arrays import columns, scratch
from adapterops.arrays.libraries import imported_torch
from adapterops.arrays.parallel import Crew, working
from adapterops.engine.execution import DEFAULT, Execution, default_workers

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 3
"""How many of the largest results may wait for their turn, for each worker, in bytes: many more small ones than large ones,
so that nobody waits while another is at a large one.
"""

QUICK = 0.002
"""Seconds that an item takes at most which is not worth a second thread: what two of them do in turn with the interpreter's lock
takes longer.
"""
FEW = 8
"""Items after the first that say how long one takes."""
FIRST = 0.03
"""Seconds that the first may take besides: for what is imported with it."""
LOOK = 0.004
"""Seconds after which another thread looks again whether it is of use."""

STOPPING = threading.Event()
"""Set when the process is about to end: what its threads still do is of no use, and nobody waits for it."""


@contextmanager
def background(threads: int = 1) -> Iterator[ThreadPoolExecutor]:
    """One more thread, or several, which drop what is left of their work when the block ends."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(wait=not STOPPING.is_set(), cancel_futures=True)


def run(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    needs_torch: Callable[[Item], bool] = lambda item: False,
    lane: Callable[[Item], Hashable] | None = None,
    size: Callable[[Item], int] | None = None,
    to_the_bit: bool = False,
    how: Execution = DEFAULT,
) -> Generator[Result, None, None]:
    """`function(item)` for each item, at most `how.workers` at a time: this thread is one of them, and alone while items are quick.
    A worker that has nothing to begin helps another with what that does together.

    The results do not depend on the number of workers. They come in the order of the items, and those that wait for
    their turn are kept; with lanes they come as they are done. After an exception nothing is started that comes after
    its item.

    Args:
        needs_torch: which items do. Where none does, it is not imported; else one more thread does the others while it is.
        lane: what items have in common that are best done in their order, by one thread. A thread without a lane takes
            what is last in that of another.
        size: bytes of a result that waits for its turn, of which `AHEAD` says how many there may be; None where results
            are small, and any number may wait.
        to_the_bit: on a device, too, the results are to have the bits that they have here.
    """
    queue, workers, progress = list(items), how.threads, how.progress
    work = _Work(function, queue, needs_torch, lane, list(map(size, queue)) if size else [], AHEAD * workers)
    if how.device != "cpu":
        work.place = partial(_computing, how.device, to_the_bit, how.memory)
    needing = list(map(needs_torch, queue))
    useful = max(len(queue), default_workers() if queue and how.device == "cpu" else 0)  # who has no item helps
    count = min(workers, useful) - 1
    more = [threading.Thread(target=work.help, daemon=True) for _ in range(count - 1)]
    first = [threading.Thread(target=work.help_with, args=(more,), daemon=True)] if count > 0 else []
    if any(needing) and not all(needing):
        first.append(threading.Thread(target=work.help, args=(True,), daemon=True))
    with _numpy().limit(limits=1, user_api="blas"):
        try:
            for thread in first:
                thread.start()
            with _one_thread_in_torch(needed=any(needing)):
                work.begin()
                for index in range(len(queue)):
                    yield work.result(index)
                    if progress:
                        progress(index + 1, len(queue))
        finally:
            columns.forget()  # the other threads end
            scratch.forget()
            work.stop()
            for thread in (*first, *more):
                if thread.ident is not None and not STOPPING.is_set():
                    thread.join()


class _Lane:
    """Items that nobody has begun, in their order, which all need torch or none does; and who is at them."""

    def __init__(self, needs_torch: bool) -> None:
        self.needs_torch, self.open = needs_torch, deque[int]()
        self.thread: int | None = None


class _Work(Generic[Item, Result]):
    """Items, begun by whoever has time, and what became of them."""

    def __init__(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        needs_torch: Callable[[Item], bool],
        lane: Callable[[Item], Hashable] | None,
        sizes: Sequence[int],
        ahead: int,
    ) -> None:
        self._function, self._items, self._ordered = function, items, lane is None
        self._ends, self._room = list(accumulate(sizes, initial=0)), ahead * max(sizes, default=0)
        lanes: dict[tuple[Hashable, bool], _Lane] = {}
        for index, item in enumerate(items):
            key = lane(item) if lane else None, needs_torch(item)
            lanes.setdefault(key, _Lane(key[1])).open.append(index)
        self._lanes = list(lanes.values())
        self._outcomes: dict[int, Future[Result]] = {}
        self._next, self._running, self._begun = 0, 0, False
        self._crew = Crew()
        self._changed = self._crew.changed
        self.place: Callable[[], AbstractContextManager[None]] = nullcontext
        self._since, self._taken, self._stopped = perf_counter(), 0, threading.Event()

    def begin(self) -> None:
        """From now on any item can be begun, those that need torch too."""
        with self._changed:
            self._begun = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Begin nothing more."""
        with self._changed:
            self._lanes = []
            self._stopped.set()
            self._changed.notify_all()

    def help(self, without_torch: bool = False) -> None:
        """Do what is open, or what of it needs no torch, until nothing is."""
        while True:
            with self._changed:
                while (work := self._begin(without_torch)) is None:
                    if not self._lasts(without_torch):
                        return
                    self._changed.wait()
            work()

    def help_with(self, others: Sequence[threading.Thread]) -> None:
        """The same, begun with other threads when items are not quick."""
        while self._quick():
            if self._stopped.wait(LOOK):
                return
        with self._changed, suppress(RuntimeError):  # there are no more threads: those that there are do it
            for thread in () if self._stopped.is_set() else others:
                thread.start()
        self.help()

    def result(self, place: int) -> Result:
        """What became of the item of that place; with lanes, of that many a one. Others are done until it is known."""
        while True:
            with self._changed:
                self._next = place
                self._changed.notify_all()
                mine = None
                while (known := self._known(place)) is None and mine is None:
                    mine = self._begin()
                    if mine is None:
                        self._changed.wait()
                if known is not None:
                    return self._outcomes.pop(known).result()
            if mine is not None:
                mine()

    def _begin(self, without_torch: bool = False) -> Callable[[], None] | None:
        """What this thread can do now: an item that nobody has begun, or a share of one."""
        index = self._take(without_torch)
        if index is not None:
            return partial(self._do, index)
        return None if without_torch else self._crew.open()

    def _quick(self) -> bool:
        """Whether the items that were begun took so little that one thread does them sooner than two."""
        return perf_counter() - self._since < (FIRST if self._taken < 2 else QUICK * max(FEW, self._taken))

    def _lasts(self, without_torch: bool) -> bool:
        """Whether there may be more to do than now."""
        if without_torch:
            return any(lane.open for lane in self._lanes if not lane.needs_torch)
        return not self._stopped.is_set() and (self._running > 0 or any(lane.open for lane in self._lanes))

    def _known(self, place: int) -> int | None:
        """The item whose outcome is next; a failure is, when all before it that was begun is done."""
        if self._ordered:
            return place if place in self._outcomes else None
        good = (index for index, outcome in self._outcomes.items() if outcome.exception() is None)
        idle = not self._running and not any(lane.open for lane in self._lanes)
        return next(good, min(self._outcomes) if idle else None)

    def _fits(self, index: int) -> bool:
        """Whether there is room for the result of an item, and those of all between it and the one that is waited for."""
        return len(self._ends) == 1 or self._ends[index + 1] - self._ends[self._next] <= self._room

    def _take(self, without_torch: bool = False) -> int | None:
        """An item that nobody has begun and that can be."""
        me = threading.get_ident()
        can = [
            lane for lane in self._lanes if lane.open and (not lane.needs_torch or (self._begun and not without_torch))
        ]
        if self._ordered:
            lane = min(can, key=lambda lane: lane.open[0], default=None)
            if lane is None or not self._fits(lane.open[0]):
                return None
        else:
            lane = next((lane for lane in can if lane.thread == me), None) or next(
                (lane for lane in can if lane.thread is None), None
            )
        self._running += bool(can)
        self._taken += bool(can)
        if self._taken == 2:
            self._since = perf_counter()
        if lane is not None:
            lane.thread = me
            return lane.open.popleft()
        return max(can, key=lambda lane: len(lane.open)).open.pop() if can else None

    def _do(self, index: int) -> None:
        if self._begun and (torch := imported_torch()):
            torch.set_num_threads(1)  # it counts for the thread that says it
        outcome: Future[Result] = Future()
        try:
            with self.place(), working(self._crew if self.place is nullcontext else None):
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


def _computing(device: str, to_the_bit: bool, memory: int | None) -> AbstractContextManager[None]:
    from adapterops.arrays.device import computing  # here, so that headers can be read without numpy

    return computing(device, to_the_bit, memory)


@cache
def _numpy() -> ThreadpoolController:
    """What sets the threads of numpy's BLAS, whichever it is. It looks through all libraries of the process, once."""
    import numpy  # noqa: F401  # its BLAS is there to be found from now on
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def kernels(*, torch: bool) -> list[str]:
    """For which processors the kernels are that numpy and torch choose on this machine: others may round otherwise."""
    found = {str(library["architecture"]) for library in _numpy().info() if library.get("architecture")}
    if torch:
        from torch.backends import cpu

        found.add(cpu.get_cpu_capability())
    return sorted(found)


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
