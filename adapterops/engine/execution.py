"""How work is done, and never what: workers, device, memory."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

from adapterops.errors import OptionError, ResourceError, count

Progress = Callable[[int, int], None]
"""Called with (done, total) after each item."""

Once = Callable[[str, Any, Callable[[], Any]], Any]
"""Called with the key of a value of JSON, its shape, and what measures it; returns it, whoever measured it."""

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Execution:
    """How work is done, and never what: no value here changes a byte of a result, but for the device. On a GPU singular
    vectors, and entries of updates that are cut to a rank, have other last bits.

    Attributes:
        workers: items worked on at a time; None for the processors of this process, at most 8.
        device: where weights are quantized, entries of adapters are merged and cut to a rank, and large matrices
            decomposed: `cpu` or `cuda`.
        memory: bytes that the work may take beyond what libraries take, and of a GPU; None for no limit. Blocks stay as large as they
            are, because rounding depends on them; fewer workers hold fewer of them.
        progress: called after each item.
        sync: wait until the disk has everything. Without, a power failure can leave a damaged output.
        once: where several processes work on one output, what lets one of them measure for all; see `engine.plan.once`.
    """

    workers: int | None = None
    device: str = "cpu"
    memory: int | None = None
    progress: Progress | None = None
    sync: bool = True
    once: Once | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise OptionError(f"--workers must be at least 1, got {self.workers}")
        if self.memory is not None and not isinstance(self.memory, Integral):
            raise OptionError(f"memory must be a whole number of bytes, got {self.memory!r}")
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


@dataclass(frozen=True)
class Share:
    """The files that one of `of` processes makes: the one of that number, and every `of`-th after it."""

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise OptionError(
                f"part {self.number}/{self.of} is not one of {count(self.of, 'part')}",
                hint="parts are counted from 1: 1/8 is the first of eight, 8/8 the last",
            )

    @classmethod
    def read(cls, text: str) -> Share:
        """
        >>> Share.read("3/8")
        Share(number=3, of=8)
        """
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if match is None:
            raise OptionError(f"--part is {text[:40]!r}, expected K/N", hint="--part 3/8 is the third of eight parts")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def _kB(size: int) -> str:
    """
    >>> _kB(1234567)
    '1235kB'
    """
    return f"{-(-size // 1000)}kB"


def check_device(how: Execution) -> None:
    """Raise for a device that is not there, or that would compute with less than float32; and allow it no more memory than
    the work: all of its own where that has no limit, whatever was allowed before.

    Raises:
        ResourceError: torch finds no GPU.
        OptionError: torch is set to TF32.
    """
    if how.device == "cpu":
        return
    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # with several streams, products have the same bits again
    import torch

    if not torch.cuda.is_available():
        raise ResourceError(
            f"torch {torch.__version__} finds no GPU", hint="leave --device out, or install a torch for your GPU"
        )
    if torch.get_float32_matmul_precision() != "highest":
        raise OptionError(
            "torch is set to multiply float32 in TF32, with 10 bits of a fraction instead of 23",
            hint="unset TORCH_ALLOW_TF32_CUBLAS_OVERRIDE; in a program: torch.set_float32_matmul_precision('highest')",
        )
    fraction = 1.0 if how.memory is None else how.memory / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, fraction))


def device_name(device: str) -> str:
    """What rounds on a device as no other kind does; nothing for the processor, whose kernels `engine.local` tells."""
    if device == "cpu":
        return ""
    import torch

    return torch.cuda.get_device_name()


def default_workers() -> int:
    """The processors this process may use, at most 8: each worker holds one module."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, 8)


def open_files() -> None:
    """Let the process open as many files as it may: a model of a thousand shards is faster with them all open."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
