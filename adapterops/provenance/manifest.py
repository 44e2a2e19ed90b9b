"""adapterops.json, in every output: what was made, from what, and what of it was kept.

No time, no machine, no secret: the same work gives the same bytes.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from adapterops.errors import AdapterWarning
from adapterops.provenance.history import Source, Step, sources
from adapterops.storage.checksums import BLAKE3, digest, file_digests
from adapterops.storage.outputs import MANIFEST
from adapterops.storage.place import COLLECTION, SEPARATOR
from adapterops.storage.safetensors import CHUNK
from adapterops.storage.strict import json_text, open_regular, parse_json, reading

SCHEMA = 1
"""Of the manifest, and of every document that a command prints as JSON."""


@dataclass(frozen=True)
class Origin:
    """How an output was asked for.

    Attributes:
        command: the command line.
        request: what it asked for, as JSON; None for what a program made.
        files: other files that are to be in the output, name → content, asked for at the end.
    """

    command: Sequence[str] = ()
    request: Mapping[str, Any] | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


UNKNOWN = Origin()


def write_manifest(
    folder: Path,
    history: Step | Source,
    inputs: Sequence[Mapping[str, Any]],
    origin: Origin,
    kept: Mapping[str, Any],
    outputs: Mapping[str, Mapping[str, Any]],
    *,
    torch: bool,
    sync: bool = True,
) -> None:
    """Write the manifest of what is in `folder`.

    Args:
        inputs: what `Source.as_json` says of each source of the history, in its order.
        kept: what was kept, in total and per module.
        outputs: for each file its size and BLAKE3.
        torch: whether it was computed by torch, too, and not by numpy alone.
    """
    operation = {"input": 0} if isinstance(history, Source) else history.as_json(sources(history), measured=True)
    content = {
        "schema": SCHEMA,
        "versions": versions(torch=torch),
        "command": list(origin.command),
        **({} if origin.request is None else {"request": origin.request}),
        "inputs": list(inputs),
        "operation": operation,
        **kept,
        "outputs": dict(outputs),
    }
    stored = parse_json(json_text(plain(content)))  # as it will be read
    write_json(folder / MANIFEST, {**stored, "seal": seal(stored)}, sync)


def check_distinct(inputs: Sequence[Mapping[str, Any]]) -> None:
    """Warn of an input of a sum that is given twice, under one path or as a copy; those of a collection share its file."""
    places = [(each["files"], each["path"].partition(SEPARATOR)[2] * (COLLECTION in each["files"])) for each in inputs]
    for number, each in enumerate(inputs):
        first = places.index(places[number])
        if first != number:
            warnings.warn(
                f"{inputs[first]['path']} and {each['path']} are the same files, byte for byte, and count as two adapters",
                AdapterWarning,
                stacklevel=3,
            )


def versions(*, torch: bool) -> dict[str, str]:
    """What numbers depend on."""
    from adapterops import __version__

    libraries = ("numpy", "torch") if torch else ("numpy",)
    return {"adapterops": __version__, **{name: import_module(name).__version__ for name in libraries}}


def seal(content: Mapping[str, Any]) -> str:
    """A hash of the manifest's other fields, by which a damaged one is known."""
    text = json.dumps({key: value for key, value in content.items() if key != "seal"}, sort_keys=True)
    return digest(text.encode())


Sync: TypeAlias = "bool | Callable[[int], object]"
"""Whether a file is synced when it is written; or what sees to that, called with its descriptor."""


def write_json(path: Path, value: Any, sync: Sync = True) -> None:
    """A new JSON file, synced unless asked otherwise."""
    write_bytes(path, json_text(value, indent=2) + b"\n", sync)


def write_bytes(path: Path, data: bytes, sync: Sync = True) -> None:
    """A new file, synced unless asked otherwise."""
    with open(path, "xb") as file:
        file.write(data)
        _synced(file, sync)


def write_file(path: Path, content: bytes | Path, sync: Sync = True) -> None:
    """A new file of this content, or of that of another file, which is read a piece at a time."""
    if isinstance(content, bytes):
        write_bytes(path, content, sync)
        return
    with os.fdopen(open_regular(content), "rb") as read, open(path, "xb") as file:
        while True:
            with reading(content):
                chunk = read.read(CHUNK)
            if not chunk:
                break
            file.write(chunk)
        _synced(file, sync)


def _synced(file: BinaryIO, sync: Sync) -> None:
    file.flush()
    if sync:
        (os.fsync if sync is True else sync)(file.fileno())


def plain(value: Any) -> Any:
    """A value that JSON can hold: numbers that are none are null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def described(path: Path, blake3: str | None = None) -> dict[str, Any]:
    """Size and BLAKE3 of a file, which is read for it unless it is known."""
    return {"size": path.stat().st_size, **({BLAKE3: blake3} if blake3 else file_digests(path, BLAKE3))}
