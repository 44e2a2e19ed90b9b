"""Engines: where the files of an output are made that several processes make. Each registers itself in a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from adapterops.engine.execution import Execution
from adapterops.registry import Registry

RETRIES = 5
"""How often a job is done again whose process or machine was lost; what kills a process each time is not tried for ever."""


class Engine(Protocol):
    """Calls a function with each of some texts, somewhere, and gives what it returns, in any order.

    Where it is closed before its end, or a call raises, it ends what still runs. Asked for nothing, it raises what it would
    of its options, and of what it needs, as far as that is known at once: commands do so before any work.

    Args:
        function: one that other processes can import; it returns a text.
        memory: the bytes that one call takes.
        address: where the machines are found; None is its own default.

    Raises:
        Exception: the first that a call raised.
    """

    def __call__(
        self,
        function: Callable[[str], str],
        items: Sequence[str],
        *,
        memory: int,
        address: str | None,
        how: Execution,
    ) -> Generator[str, None, None]: ...


ENGINES: Registry[Engine] = Registry("engine", "adapterops.engine", "adapterops.engines")
