"""Commands in processes of their own that pause, die or fail where a test says. Imports no torch, like some of them."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pkgutil
import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import adapterops

PATIENCE = 120
"""Seconds after which a process is taken to hang."""

# Imports take a while: one server does them once, and every command is a fork of that.
CONTEXT = multiprocessing.get_context("forkserver")
NOT_BEFORE = {"adapterops.__main__", "adapterops.storage.pickles"}
"""What begins a command, and what imports torch, as few commands do."""

MODULES = {found.name for found in pkgutil.walk_packages(adapterops.__path__, "adapterops.")} - NOT_BEFORE
CONTEXT.set_forkserver_preload([*sorted(MODULES), "huggingface_hub.hf_api", "commands", "warm"])
OF_SERVER = {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
"""As a command has it: the server imports numpy before that can say so. And where it finds this module."""


def written(descriptor: int) -> None:
    """`os.fsync` without the wait for the disk: no test takes the power away, and those of faults count or fail the call."""
    os.fstat(descriptor)


class Fault(NamedTuple):
    """What befalls the nth call of a function of `os` that is about a path
    which `where` matches: before it, or after.
    """

    function: str
    action: str | int = "pause"
    where: str = ""
    nth: int = 1
    after: bool = False


def faulty(fault: Fault, act: Callable[[], None]) -> Callable[..., Any]:
    """The function of `os`, with the fault in it."""
    real, calls = getattr(os, fault.function), itertools.count(1)

    def function(*arguments: Any, **options: Any) -> Any:
        hit = re.search(fault.where, path_of(arguments[0])) and next(calls) == fault.nth
        if hit and not fault.after:
            act()
        result = real(*arguments, **options)
        if hit and fault.after:
            act()
        return result

    return function


def path_of(argument: Any) -> str:
    return os.readlink(f"/proc/self/fd/{argument}") if isinstance(argument, int) else os.fsdecode(argument)


@dataclass(frozen=True)
class Ended:
    """How a command ended; the code is negative for a signal that killed it."""

    code: int
    out: str
    err: str


class Command:
    """An adapterops command that runs in the current folder, in a process of its own.

    Args:
        setup: Python to run in it first; it may call `pause`.
    """

    def __init__(self, arguments: Sequence[str], *faults: Fault, setup: str = "") -> None:
        self._link, link = CONTEXT.Pipe()
        self._streams, streams = zip(*(CONTEXT.Pipe(duplex=False) for _ in range(2)), strict=True)
        self._process = CONTEXT.Process(target=_child, args=(os.getcwd(), arguments, faults, setup, link, *streams))
        added = {name: value for name, value in OF_SERVER.items() if name not in os.environ}
        os.environ |= added
        self._process.start()
        for name in added:
            del os.environ[name]
        for theirs in (link, *streams):
            theirs.close()

    def paused(self) -> bool:
        """Wait for the next pause; False if it ended without one."""
        with suppress(EOFError, ConnectionResetError):
            return self._link.poll(PATIENCE) and bool(self._link.recv())
        return False

    def go_on(self) -> None:
        with suppress(BrokenPipeError):
            self._link.send(True)

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):  # it has ended
            os.kill(self._process.pid, number)

    def end(self) -> Ended:
        """Let it go on to its end."""
        self.go_on()
        self._process.join(PATIENCE)
        hangs = self._process.exitcode is None
        self._process.kill()
        self._process.join()
        assert not hangs, "the command hangs"
        out, err = (_read(stream) for stream in self._streams)
        return Ended(self._process.exitcode or 0, out, err)


def _read(stream: Connection) -> str:
    with os.fdopen(os.dup(stream.fileno()), errors="surrogateescape") as file:
        return file.read()


def _child(
    folder: str, arguments: Sequence[str], faults: Sequence[Fault], setup: str, link: Connection, *streams: Connection
) -> None:
    from adapterops.cli.main import main

    def pause() -> None:
        link.send(True)
        with suppress(EOFError):
            link.recv()

    def act(action: str | int) -> None:
        if action == "pause":
            pause()
        elif action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif isinstance(action, int):
            raise OSError(action, os.strerror(action))

    os.chdir(folder)
    for number, stream in enumerate(streams, 1):
        os.dup2(stream.fileno(), number)
        stream.close()
    sys.stdout, sys.stderr = open(1, "w"), open(2, "w", 1, errors="backslashreplace")  # noqa: SIM115  # as Python opens them
    sys.argv = ["adapterops", *arguments]
    os.fsync = written
    exec(setup, {"pause": pause})
    for fault in faults:
        setattr(os, fault.function, faulty(fault, lambda action=fault.action: act(action)))
    main()
