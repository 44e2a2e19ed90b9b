"""A GPU that is not there: what is sent to it is copied, and what comes back is not there before its stream was waited for.

What runs on it is computed by the CPU at once. A thread that reads a result too early reads garbage; what is sent or computed
outside of a stream of the thread's own is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

GARBAGE = 0xA5


@dataclass
class Gpu:
    """What was done with it: bytes that were sent and that came back, and a stream for each thread."""

    sent: int = 0
    returned: int = 0
    streams: dict[int, list[Callable[[], object]]] = field(default_factory=dict)


class _Current(threading.local):
    stream: Any = None


def pretend(patch: pytest.MonkeyPatch) -> Gpu:
    """From now on torch finds a GPU."""
    gpu, current = Gpu(), _Current()
    to, copy_, empty = Tensor.to, Tensor.copy_, torch.empty

    class Stream:
        def __init__(self, device: torch.device) -> None:
            assert device.type == "cuda"
            self.waiting: list[Callable[[], object]] = gpu.streams.setdefault(threading.get_ident(), [])

        def synchronize(self) -> None:
            while self.waiting:
                self.waiting.pop(0)()

    @contextmanager
    def stream(chosen: Stream) -> Iterator[None]:
        current.stream = chosen
        try:
            yield
        finally:
            current.stream = None

    def sent(self: Tensor, *arguments: Any, non_blocking: bool = False, **options: Any) -> Tensor:
        if not (arguments and isinstance(arguments[0], torch.device) and arguments[0].type == "cuda"):
            return to(self, *arguments, non_blocking=non_blocking, **options)
        assert current.stream is not None, "sent outside of the stream that what follows is computed in"
        gpu.sent += self.nbytes
        return self.clone()

    def returned(self: Tensor, other: Tensor, non_blocking: bool = False) -> Tensor:
        if not non_blocking:
            return copy_(self, other)
        assert current.stream is not None
        gpu.returned += other.nbytes
        self.view(torch.uint8).fill_(GARBAGE)
        value = other.clone()
        current.stream.waiting.append(lambda: copy_(self, value))
        return self

    def pinned(*shape: Any, pin_memory: bool = False, **options: Any) -> Tensor:
        return empty(*shape, **options)

    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "Stream", Stream)
    patch.setattr(torch.cuda, "stream", stream)
    patch.setattr(Tensor, "to", sent)
    patch.setattr(Tensor, "copy_", returned)
    patch.setattr(torch, "empty", pinned)
    return gpu
