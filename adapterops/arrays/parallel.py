"""Parts of one piece of work, done also by threads that have nothing of their own to do; and the one large matrix that they
have memory for.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from adapterops.arrays.scratch import aligned, lent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray

LARGE = 1 << 25
"""Bytes of a matrix above which the threads of one piece of work have one at a time: memory that is new to a process costs more
than what is computed in it, and two such matrices at once push each other out of the cache. Smaller ones are done sooner than
threads agree on who is at which part of them.
"""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batch(Generic[Item, Result]):
    """Items that any thread may take, and what became of them."""

    def __init__(self, function: Callable[[Item], Result], items: Sequence[Item]) -> None:
        self._function, self._items = function, items
        self._results: list[Result | None] = [None] * len(items)
        self._errors: dict[int, BaseException] = {}
        self._begun, self._done, self._changed = 0, 0, threading.Condition()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def open(self) -> bool:
        """Whether there is something that nobody has begun."""
        return self._begun < len(self._items)

    def help(self) -> None:
        """Do what is open, until nothing is."""
        while (place := self._take()) is not None:
            try:
                self._results[place] = self._function(self._items[place])
            except BaseException as error:  # whatever it is, it is raised where the results are asked for
                self._errors[place] = error
                if not isinstance(error, Exception):
                    raise  # an interrupt ends this thread's own work, too
            finally:
                with self._changed:
                    self._done += 1
                    self._changed.notify_all()

    def results(self) -> list[Result]:
        """All of them, in the order of the items; the first error, where there is one."""
        self.help()
        with self._changed:
            self._changed.wait_for(lambda: self._done == self._begun)
        if self._errors:
            raise self._errors[min(self._errors)]
        return self._results  # type: ignore[return-value]  # all are there

    def _take(self) -> int | None:
        with self._changed:
            if self._errors or not self.open:
                return None
            self._begun += 1
            return self._begun - 1


class Crew:
    """Threads that work on one list of items: what they do in parallel, and memory for one large matrix.

    Attributes:
        changed: held while this is read or changed, and notified of whatever there may be to do.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._batches: list[Batch[Any, Any]] = []
        self._owner: int | None = None
        self._memory: NDArray[np.uint8] | None = None

    @contextmanager
    def offering(self, batch: Batch[Any, Any]) -> Iterator[None]:
        """Until the end of the block whoever has nothing to begin may help with a batch."""
        with self.changed:
            self._batches.append(batch)
            self.changed.notify_all()
        try:
            yield
        finally:
            with self.changed:
                self._batches.remove(batch)

    def open(self) -> Callable[[], None] | None:
        """What somebody can help with now."""
        return next((batch.help for batch in self._batches if batch.open), None)

    def owns(self) -> bool:
        """Whether this thread has the large matrix."""
        return self._owner == threading.get_ident()

    @contextmanager
    def large(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """Memory for a large matrix, with anything in it, until the end of the block. Who waits for it helps."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self._owner is None or self.open())
                if self._owner is None:
                    self._owner = threading.get_ident()
                    break
                work = self.open()
            if work is not None:
                work()
        try:
            if self._memory is None or len(self._memory) < size:
                self._memory = None  # before there is more
                self._memory = aligned(size)
            yield self._memory[:size]
        finally:
            with self.changed:
                self._owner = None
                self.changed.notify_all()


class _Own(threading.local):
    crew: Crew | None = None


_OWN = _Own()


@contextmanager
def working(crew: Crew | None) -> Iterator[None]:
    """What this thread does until the end of the block it does as one of a crew."""
    before, _OWN.crew = _OWN.crew, crew
    try:
        yield
    finally:
        _OWN.crew = before


def in_parallel(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`function` of each item, in their order. It may be called by other threads: nothing that was set for this thread holds there,
    such as what numpy is to do about infinities, and memory of a thread is good until its next call.
    """
    batch, crew = Batch(function, list(items)), _OWN.crew
    with nullcontext() if crew is None or len(batch) < 2 else crew.offering(batch):
        return batch.results()


@contextmanager
def matrix(shape: Sequence[int], dtype: DTypeLike) -> Iterator[NDArray[Any]]:
    """A matrix with anything in it, in memory that is used again after the block. Of large ones a crew has one at a time: what
    can be known before is to be found before.
    """
    import numpy as np

    size, crew = math.prod(shape) * np.dtype(dtype).itemsize, _OWN.crew
    if crew is None or size <= LARGE or crew.owns():
        with lent(shape, dtype) as W:
            yield W
    else:
        with crew.large(size) as memory:
            yield memory.view(dtype).reshape(shape)
