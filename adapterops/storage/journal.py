"""The journal of a long work: what an interrupted run has finished, for the one that goes on with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from adapterops.errors import AdapterOpsError
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
        text = json_text(entry)
        line = json_text({"blake3": digest(text), "entry": entry}) + b"\n"
        with open(self.path, "ab+") as file:
            if file.tell() and _last(file) != b"\n":
                line = b"\n" + line  # after a line that a crash cut off
            file.write(line)
            file.flush()
            if self._sync:
                os.fsync(file.fileno())

    def entries(self) -> list[dict[str, Any]]:
        """What was added after the plan. A line that was cut off by a crash, or damaged, does not count."""
        return entries(self.path)[1:]


def _last(file: BinaryIO) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def entries(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal that are whole."""
    lines = []
    with suppress(OSError, AdapterOpsError):
        for line in read_all(path).splitlines():
            with suppress(AdapterOpsError, KeyError, TypeError):
                stated = parse_json(line)
                if digest(json_text(stated["entry"])) == stated["blake3"] and isinstance(stated["entry"], dict):
                    lines.append(stated["entry"])
    return lines
