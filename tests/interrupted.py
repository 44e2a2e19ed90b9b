"""Runs of `fuse` that are disturbed, for tests of what they leave."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from commands import Command, Fault
from tiny_models import write_base, write_tuned

COMMAND = ["fuse", "base", "a", "-o", "out"]
CLEAN = {"base", "a"}
SHARDS = [f"model-{number:05}-of-00004.safetensors" for number in (1, 2, 3, 4)]
STAGING = r"/\.out\.adapterops-\w+$"
JOURNAL = r"/\.journal$"
SHARD = r"/model-\d+-of-\d+\.safetensors$"
INPUTS = "/(base|a)/"
KILLS = int(os.environ.get("KILLS", "0"))
"""How often tests kill a command at random; 0 for as often as each of them does in little time."""

Fuse = Callable[..., tuple[int, str]]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def staging(place: Path) -> list[Path]:
    return sorted(place.glob(".out.adapterops-*"))


def journaled(place: Path) -> dict[str, tuple[int, int]]:
    """The finished shards of an interrupted run, and what tells whether a file was written anew."""
    (folder,) = staging(place)
    lines = [json.loads(line)["entry"] for line in (folder / ".journal").read_text().splitlines()]
    return {line["file"]: made(folder / line["file"]) for line in lines[1:]}


def made(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def reused(place: Path, finished: dict[str, tuple[int, int]]) -> set[str]:
    return {name for name, before in finished.items() if made(place / "out" / name) == before}


def still_open(place: Path) -> list[str]:
    """Files of an output that this process has open."""
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    paths = [os.readlink(link) for link in links if os.path.lexists(link)]
    return [path for path in paths if path.startswith(f"{place}/.out.adapterops-")]


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def kill_after(shards: int, *more: str) -> None:
    """A run that is killed when so many shards are in its journal,
    which begins with the plan and is synced after each line.
    """
    ended = Command([*COMMAND, *more], Fault("fsync", "kill", JOURNAL, shards + 1, after=True)).end()
    assert ended.code == -signal.SIGKILL, ended


def replaced(path: Path) -> None:
    shutil.copy2(path, path.with_name("new"))
    os.replace(path.with_name("new"), path)


def rewritten(path: Path) -> None:
    """With one bit flipped."""
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def shorter(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 7)


def longer(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"more")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def removed(path: Path) -> None:
    path.unlink()


def the_base_s(path: Path) -> None:
    shutil.copy(path.parents[1] / "base" / path.name, path)


def other_adapter(place: Path) -> None:
    remove(place / "a")
    write_tuned(place / "a", seed=1)


def other_adapter_of_the_same_age(place: Path) -> None:
    """Archives and stores give all files one time."""
    status = (place / "a/adapter_model.safetensors").stat()
    other_adapter(place)
    os.utime(place / "a/adapter_model.safetensors", ns=(status.st_atime_ns, status.st_mtime_ns))


def other_alpha(place: Path) -> None:
    path = place / "a/adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lora_alpha": 16}))


def other_base(place: Path) -> None:
    remove(place / "base")
    write_base(place / "base", seed=1)


def other_shard_of_the_same_age(place: Path) -> None:
    path = place / "base" / SHARDS[0]
    status = path.stat()
    rewritten(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
