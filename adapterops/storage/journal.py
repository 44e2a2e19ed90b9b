"""The journal of a long work: what an interrupted run has finished, for the one that goes on with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from adapterops.errors import AdapterOpsError, InputError
from adapterops.storage.checksums import digest
from adapterops.storage.strict import json_text, parse_json, read_all

JOURNAL = ".journal"


class Journal:
    """What is finished of a long work, in a file next to it:
    one JSON object a line, with its checksum, synced, under the key of the plan.
    """

    def __init__(self, folder: Path, plan: str, sync: bool = True) -> None:
        self.path, self._sync = folder / JOURNAL, sync
        if not self.path.exists():
            self.add({"plan": plan})

    def add(self, entry: Mapping[str, Any]) -> None:
        with open(self.path, "ab+") as file:
            cut_off = file.tell() and _last(file) != b"\n"  # by a crash
            file.write(b"\n" + line(entry) if cut_off else line(entry))
            file.flush()
            if self._sync:
                os.fsync(file.fileno())

    def entries(self) -> list[dict[str, Any]]:
        """What was added after the plan. A line that was cut off by a crash, or damaged, does not count."""
        return entries(self.path)[1:]


def line(entry: Mapping[str, Any]) -> bytes:
    """An entry as it is stored: with its checksum."""
    return json_text({"blake3": digest(json_text(entry)), "entry": entry}) + b"\n"


def checked(text: bytes) -> dict[str, Any]:
    """The entry of a line.

    Raises:
        InputError: it was cut off, or damaged.
    """
    stated = parse_json(text)
    try:
        entry = stated["entry"]
        if isinstance(entry, dict) and digest(json_text(entry)) == stated["blake3"]:
            return entry
    except (KeyError, TypeError):
        pass
    raise InputError("is damaged: its checksum does not match its content", code="E-JOURNAL")


def _last(file: BinaryIO) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def entries(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal that are whole."""
    found = []
    with suppress(OSError, AdapterOpsError):
        for each in read_all(path).splitlines():
            with suppress(AdapterOpsError):
                found.append(checked(each))
    return found
