"""A tiny sharded model, and commands in processes of their own that pause, die or fail where a test says."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from corpus import config, write_adapter
from safetensors.torch import save_file

PATIENCE = 30
"""Seconds after which a process is taken to hang."""

# Importing torch takes a second: one server does it once, and every command is a fork of that.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["torch", "adapterops.cli.main", "adapterops.cli.fuse", "adapterops.updates.application", "adapterops.updates.lowrank"]
)


def write_base(folder: Path, layers: int = 3, out: int = 12, into: int = 8, seed: int = 0, nan: str = "") -> Path:
    """A model in bfloat16: a shard for each layer with two weights to adapt, and one shard that no adapter touches.

    `nan`: the tensor that has one.
    """
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(torch.bfloat16)

    shards = []
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        weights = {f"{prefix}{name}.weight": random(out, into) for name in ("q_proj", "v_proj")}
        shards.append({**weights, f"{prefix}norm.weight": random(into)})
    shards.append({"model.embed_tokens.weight": random(out, into), "model.norm.weight": random(into), "steps": torch.tensor([7])})
    folder.mkdir(parents=True)
    where = {}
    for index, shard in enumerate(shards):
        if nan in shard:
            shard[nan][3, 2] = torch.nan
        name = f"model-{index + 1:05}-of-{len(shards):05}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        where |= dict.fromkeys(shard, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    (folder / "config.json").write_text(json.dumps({"model_type": "tiny", "torch_dtype": "bfloat16"}))
    (folder / "tokenizer.json").write_text(json.dumps({"vocabulary": ["a", "ü"]}))
    return folder


def write_tuned(folder: Path, layers: int = 3, out: int = 12, into: int = 8, seed: int = 0, **fields: Any) -> Path:
    """An adapter of all that can be adapted in `write_base`."""
    modules = [f"model.layers.{layer}.{name}" for layer in range(layers) for name in ("q_proj", "v_proj")]
    return write_adapter(folder, fields=config(2, **fields), modules=modules, rank=2, out=out, into=into, seed=seed)


class Fault(NamedTuple):
    """What befalls the nth call of a function of `os` that is about a path which `where` matches: before it, or after."""

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
        self._process.start()
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


def _child(folder: str, arguments: Sequence[str], faults: Sequence[Fault], setup: str, link: Connection, *streams: Connection) -> None:
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
    exec(setup, {"pause": pause})
    for fault in faults:
        setattr(os, fault.function, faulty(fault, lambda action=fault.action: act(action)))  # type: ignore[misc]
    main()
