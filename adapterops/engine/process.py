"""How a process of ours is set up: that of a command, and those that do jobs. A library call changes none of this: the process is its
caller's.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from contextlib import suppress

from adapterops.engine.execution import open_files


def tune() -> None:
    """Set allocator, garbage collector, threads and interpreter as one command of many modules is served best."""
    os.environ.setdefault(
        "OPENBLAS_NUM_THREADS", "1"
    )  # numpy's: workers have kernels of one thread, and others would only wait
    gc.set_threshold(
        1_000_000
    )  # importing torch makes a million objects and no garbage: looking for some takes a quarter second
    sys.setswitchinterval(
        0.0005
    )  # what is hashed and copied meanwhile waits for the interpreter often, and needs it for little
    _keep_memory()
    open_files()


def _keep_memory() -> None:
    """Let glibc's allocator keep what is freed, for all threads in one place: giving pages back and taking them again can
    cost more than the work on them, and what one thread has freed is there for the next.
    """
    trim_threshold, mmap_threshold, arenas = -1, -3, -8
    with suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(trim_threshold, 1 << 28)
        libc.mallopt(mmap_threshold, 1 << 25)
        libc.mallopt(arenas, 1)
