"""A GPU that is not there: what is sent to it is copied, and what comes back is not there before its stream was waited for.

What runs on it is computed by the CPU at once. A thread that reads a result too early reads garbage; what is sent or computed
outside of a stream of the thread's own is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from adapterops.arrays import transfer

GARBAGE = 0xA5

MEMORY = 8 << 30
"""Bytes that it has."""


@dataclass
class Gpu:
    """What was done with it: bytes that were sent and that came back, the fraction of its memory that may be taken, a stream for
    each thread, and where in memory is what a thread has sent and not waited for.
    """

    sent: int = 0
    returned: int = 0
    fraction: float = 1.0
    sending: dict[int, set[int]] = field(default_factory=dict)
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
            gpu.sending.pop(threading.get_ident(), None)  # of a thread that has ended, whose number and memory are free
            self.waiting: list[Callable[[], object]] = gpu.streams.setdefault(threading.get_ident(), [])

        def synchronize(self) -> None:
            while self.waiting:
                self.waiting.pop(0)()
            gpu.sending.pop(threading.get_ident(), None)

    @contextmanager
    def stream(chosen: Stream) -> Iterator[None]:
        before, current.stream = current.stream, chosen
        try:
            yield
        finally:
            current.stream = before

    def sent(self: Tensor, *arguments: Any, non_blocking: bool = False, **options: Any) -> Tensor:
        if not (arguments and isinstance(arguments[0], torch.device) and arguments[0].type == "cuda"):
            return to(self, *arguments, non_blocking=non_blocking, **options)
        assert current.stream is not None, "sent outside of the stream that what follows is computed in"
        gpu.sent += self.nbytes
        if non_blocking:
            gpu.sending.setdefault(threading.get_ident(), set()).add(self.data_ptr())
        return self.clone()

    def returned(self: Tensor, other: Tensor, non_blocking: bool = False) -> Tensor:
        if not non_blocking:
            under_way = gpu.sending.get(threading.get_ident(), set())
            assert self.data_ptr() not in under_way, "overwritten before it was sent"
            return copy_(self, other)
        assert current.stream is not None
        gpu.returned += other.nbytes
        self.view(torch.uint8).fill_(GARBAGE)
        value = other.clone()
        current.stream.waiting.append(lambda: copy_(self, value))
        return self

    def pinned(*shape: Any, pin_memory: bool = False, device: Any = None, **options: Any) -> Tensor:
        return empty(*shape, **options)

    def allowed(fraction: float) -> None:
        gpu.fraction = fraction

    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "get_device_name", lambda: "a GPU that is not there")
    patch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(total_memory=MEMORY))
    patch.setattr(torch.cuda, "set_per_process_memory_fraction", allowed)
    patch.setattr(transfer, "_OWN", transfer._Own())
    patch.setattr(torch.cuda, "Stream", Stream)
    patch.setattr(torch.cuda, "stream", stream)
    patch.setattr(Tensor, "to", sent)
    patch.setattr(Tensor, "copy_", returned)
    patch.setattr(torch, "empty", pinned)
    return gpu
