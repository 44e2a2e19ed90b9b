"""Changes of valid files: of what a text says, and of bytes."""

from __future__ import annotations

import copy
import json
import random
import struct
from pathlib import Path
from typing import Any

import yaml

Random = random.Random
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 8, 10**9, 2**63, 10**30, 10**300, 10**400, 0.5, -0.0, 1e-320, 1e308,
    float("inf"), float("nan"), "", "a", ".", "..", "../a", "/etc/passwd", "a\0b", "\x1b[31m", "\ud800", "n" * 5000,
    "float32", "F8_E4M3", "LORA", "(.*)*X", "hf://a/b", [], [[]], [1], ["a"], {}, {"a": 1}, {"": None}, "int8",
    "nf4", "all", "lm_head",
]  # fmt: skip
"""What is put in the place of anything."""


def places(value: Any) -> list[tuple[Any, ...]]:
    """The place of every value, to a depth that nothing of ours has."""
    level: list[tuple[tuple[Any, ...], Any]] = [((), value)]
    found: list[tuple[Any, ...]] = []
    for _ in range(20):
        found += (place for place, _ in level)
        level = [((*place, key), inner) for place, each in level for key, inner in _items(each)]
    return found


def _items(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())


def changed(value: Any, chance: Random) -> Any:
    """A value with one place replaced, removed, renamed, or nested deeper."""
    place = chance.choice(places(value))
    if not place:
        return copy.deepcopy(chance.choice(VALUES))
    holder = value
    for key in place[:-1]:
        holder = holder[key]
    kind, key = chance.randrange(5), place[-1]
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[str(chance.choice(VALUES))] = holder.pop(key)
    elif kind == 2:
        for _ in range(chance.choice((1, 50, 300, 900))):
            holder[key] = [holder[key]]
    else:
        holder[key] = copy.deepcopy(chance.choice(VALUES))
    return value


def text_of(value: Any, chance: Random) -> bytes:
    """JSON, sometimes with bytes of it changed."""
    try:
        data = bytearray(json.dumps(value).encode())
    except RecursionError:
        data = bytearray(b"[" * 900 + b"]" * 900)
    for _ in range(chance.choice((0, 0, 0, 1, 3))):
        if data:
            data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data[: chance.randrange(len(data) + 1)] if chance.random() < 0.05 else data)


def several(value: Any, chance: Random) -> Any:
    for _ in range(chance.choice((1, 1, 2, 4))):
        value = changed(value, chance)
    return value


def damaged(path: Path, chance: Random) -> None:
    """A file with changes of its kind, which its name says."""
    data = path.read_bytes()
    if path.suffix == ".safetensors" and chance.random() < 0.9:
        path.write_bytes(_header_changed(data, chance))
    elif path.suffix == ".json":
        path.write_bytes(text_of(several(json.loads(data), chance), chance))
    elif path.suffix == ".yaml" and chance.random() < 0.7:
        path.write_bytes(text_of(several(yaml.safe_load(data), chance), chance))  # JSON is YAML
    else:
        path.write_bytes(_bytes_changed(bytearray(data), 1000 if path.suffix == ".gguf" else len(data), chance))


def _header_changed(data: bytes, chance: Random) -> bytes:
    """Changes in the header of a safetensors file, and bytes that are missing."""
    length = struct.unpack("<Q", data[:8])[0]
    header = text_of(several(json.loads(data[8 : 8 + length]), chance), chance)
    stated = len(header) if chance.random() < 0.9 else chance.choice((0, 1, 2**32, 2**64 - 1, len(header) + 1))
    rest = data[8 + length :]
    return struct.pack("<Q", stated) + header + rest[: chance.choice((len(rest), len(rest) // 2))]


def _bytes_changed(data: bytearray, until: int, chance: Random) -> bytes:
    """Bytes that are changed, cut off, doubled, or another number."""
    for _ in range(chance.choice((1, 2, 8))):
        at, kind = chance.randrange(min(until, len(data)) or 1), chance.randrange(6)
        if kind == 0:
            del data[at : at + chance.choice((1, 8, 500, 50_000))]
        elif kind == 1:
            data[at:at] = data[at : at + chance.choice((8, 64))]
        elif kind == 2:
            data[at : at + 8] = struct.pack("<Q", chance.choice((0, 1, 2**31, 2**40, 2**63, 2**64 - 1)))
        else:
            data[at : at + 1] = bytes([chance.randrange(256)])
    return bytes(data)
