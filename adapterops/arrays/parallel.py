"""Parts of one piece of work, done also by threads that have nothing of their own to do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batch(Generic[Item, Result]):
    """Items that any thread may take, and what became of them."""

    def __init__(self, function: Callable[[Item], Result], items: Sequence[Item]) -> None:
        self._function, self._items = function, items
        self._results: list[Result | None] = [None] * len(items)
        self._errors: dict[int, Exception] = {}
        self._begun, self._done, self._changed = 0, 0, threading.Condition()

    @property
    def open(self) -> bool:
        """Whether there is something that nobody has begun."""
        return self._begun < len(self._items)

    def help(self) -> None:
        """Do what is open, until nothing is."""
        while (place := self._take()) is not None:
            try:
                self._results[place] = self._function(self._items[place])
            except Exception as error:  # whatever it is, it is raised where the results are asked for
                self._errors[place] = error
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


class _Own(threading.local):
    offer: Callable[[Batch[Any, Any]], object] | None = None


_OWN = _Own()


@contextmanager
def offering(offer: Callable[[Batch[Any, Any]], object] | None) -> Iterator[None]:
    """What this thread does `in_parallel` until the end of the block is offered to others."""
    before, _OWN.offer = _OWN.offer, offer
    try:
        yield
    finally:
        _OWN.offer = before


def in_parallel(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`function` of each item, in their order. It may be called by other threads: nothing that was set for this thread holds there,
    such as what numpy is to do about infinities, and memory of a thread is good until its next call.
    """
    batch = Batch(function, list(items))
    if _OWN.offer is not None and len(batch._items) > 1:
        _OWN.offer(batch)
    return batch.results()
