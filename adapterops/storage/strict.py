"""JSON, from strangers and for them: one meaning or none, and what is written is read again."""

from __future__ import annotations

import errno
import fnmatch
import glob
import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from adapterops.errors import AdapterOpsError, InputError, NotFoundError, OptionError, ResourceError, at
from adapterops.regex import Regex

CONFIG_LIMIT = 1 << 20
"""Bytes of the largest JSON file that is read whole."""

DEPTH = 200
"""Objects and lists inside each other, at most: far more than any file has, and few enough for every parser."""

REMEDIES = {
    errno.EACCES: "change its owner or mode, or those of the folders above it",
    errno.EPERM: "change its owner or mode, or those of the folders above it",
    errno.ENAMETOOLONG: "no file can have so long a name: is it a path?",
    errno.ELOOP: "its links lead in a circle",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
}
"""What helps where the system refuses to read a path."""

CORRECT = "get it again from where it came, or correct it: JSON in UTF-8, without a byte-order mark"
"""What helps where a JSON file is not what programs agree on."""

A_FILE = "name a file; pipes and devices are not read"
IN_IT = "name a file in it"

SHOWN = 40
"""Digits of a number that a message shows."""

SUGGESTED = 3
"""Names that a message suggests."""


def parse_json(text: bytes) -> Any:
    """The value of a JSON text, refusing what parsers read differently: duplicate keys, NaN, Infinity, numbers beyond
    those of float64, half a surrogate pair, a byte-order mark, more than `DEPTH` levels.

    >>> parse_json(b'{"r": 8}')
    {'r': 8}

    Raises:
        InputError: the text is not strict JSON in UTF-8.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # add returns None, which is the point
            raise InputError(f"the key {twice!r} appears twice", code="E-JSON")
        return value

    def constant(name: str) -> Any:
        raise InputError(f"{name} is not a number that JSON knows", code="E-JSON")

    def number(digits: str, read: Callable[[str], Any]) -> Any:
        if not math.isfinite(float(digits)):
            shown = digits if len(digits) <= SHOWN else f"{digits[:SHOWN]}..."
            key = re.search(rb'"([^"\\]*)"\s*:[\s\[]*' + re.escape(digits.encode()), text)
            name = f"{key[1].decode(errors='replace')}: " if key else ""
            raise InputError(f"is not readable JSON: {name}{shown} is beyond the numbers of float64", code="E-JSON")
        return read(digits)

    if text.startswith(b"\xef\xbb\xbf"):
        raise InputError("starts with a byte-order mark, which JSON does not allow", code="E-JSON")
    try:
        value = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=unique,
            parse_constant=constant,
            parse_int=lambda digits: number(digits, int),
            parse_float=lambda digits: number(digits, float),
        )
        _check_depth(value)
        if b"\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except UnicodeEncodeError:
        raise InputError("has half of a surrogate pair, which is not a character", code="E-JSON") from None
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 (byte {error.start})", code="E-JSON") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}", code="E-JSON"
        ) from None
    except RecursionError:
        raise InputError("is nested too deep to be read", code="E-JSON") from None
    except ValueError as error:  # an integer of thousands of digits
        raise InputError(f"is not readable JSON: {error}", code="E-JSON") from None


def _check_depth(value: Any) -> None:
    level, depth = [value] if isinstance(value, dict | list) else [], 0
    while level:
        inside = (inner for each in level for inner in (each.values() if isinstance(each, dict) else each))
        level, depth = [inner for inner in inside if isinstance(inner, dict | list)], depth + 1
        if depth > DEPTH:
            raise InputError(f"is nested more than {DEPTH} deep", code="E-JSON")


def json_text(value: Any, **style: Any) -> bytes:
    """A JSON text that `parse_json` reads. What is no character, such as a byte of a path that is not UTF-8, becomes "?".

    >>> json_text({"path": "caf\\udce9"})
    b'{"path": "caf?"}'

    Args:
        style: how `json.dumps` lays it out.

    Raises:
        ValueError: it has a number that JSON does not know.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, **style).encode("utf-8", "replace")


@contextmanager
def reading(path: Path | None = None) -> Iterator[None]:
    """Turn a failure of the system under an input into what it is: not one of the output."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}",
            path=path,
            hint=REMEDIES.get(error.errno or 0, "is the disk all right?"),
            code="E-ACCESS" if error.errno in REMEDIES else "E-READ",
        ) from error


def check_path(path: str | os.PathLike[str]) -> None:
    """Raise OptionError for what no system can take for a path.

    >>> check_path("a\\0b")
    Traceback (most recent call last):
    adapterops.errors.OptionError: 'a\\x00b' has the character NUL, which no path has
      name a file or a folder without it
    """
    if "\0" in os.fsdecode(path):
        raise OptionError(
            f"{os.fsdecode(path)[:80]!r} has the character NUL, which no path has",
            hint="name a file or a folder without it",
        )


REPOSITORY = Regex(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
"""What the Hub may call a repository."""


def similar(path: Path) -> str:
    """What may have been meant by a path at which nothing is."""
    if "\\" in path.name:
        return f"write it with slashes: {path.as_posix().replace(chr(92), '/')}"
    inner = Path(str(path).replace(":", "/", 1))  # as folders in a repository are named
    if inner != path and inner.exists():
        return f"did you mean {inner}?"
    try:
        there = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f"the folder {path.parent} does not exist either: check the path"
    if glob.has_magic(path.name):
        found = ", ".join(str(path.parent / name) for name in sorted(fnmatch.filter(there, path.name))[:SUGGESTED])
        return (
            f"a shell puts {found} for it, without quotes" if found else "nothing matches this pattern: check the path"
        )
    alike = get_close_matches(_bare(path.name), {_bare(name) for name in there}, n=SUGGESTED)
    close = sorted((name for name in there if _bare(name) in alike), key=lambda name: (alike.index(_bare(name)), name))[
        :SUGGESTED
    ]
    meant = f"did you mean {' or '.join(str(path.parent / name) for name in close)}?" if close else "check the path"
    hub = path if REPOSITORY.fullmatch(str(path)) else "owner/name"
    return meant if path.suffix else f"{meant}{'' if close else '.'} A repository on the Hub is hf://{hub}"


def _bare(name: str) -> str:
    """A name without what says the kind of file, which all files of a folder may share, or which was left out.

    >>> _bare("style.safetensors"), _bare("style-v1.5")
    ('style', 'style-v1.5')
    """
    stem, _, suffix = name.rpartition(".")
    return stem if stem and suffix.isalpha() else name


def missing(path: Path, hint: str | None = None) -> AdapterOpsError:
    """The error for a path at which nothing is found: it does not exist, or its links lead nowhere. The hint of the first is
    what may have been meant.
    """
    if not path.is_symlink():
        return NotFoundError("does not exist", path=path, hint=hint or similar(path))
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except OSError as error:
        return _cannot_be_opened(path, error)
    return NotFoundError(
        "is a link to a file that does not exist", path=path, hint="get the file itself, or fix the link"
    )


def _cannot_be_opened(path: Path, error: OSError) -> InputError:
    remedy = REMEDIES.get(error.errno or 0)
    return InputError(f"cannot be opened: {error.strerror}", path=path, hint=remedy, code="E-NOT-A-FILE")


def open_regular(path: Path) -> int:
    """A read-only descriptor of a regular file. Never blocks on a pipe, never follows a device.

    Raises:
        OptionError: it is no path.
        NotFoundError: nothing is there (dangling links included).
        InputError: it is something other than a regular file, or may not be read.
        ResourceError: the process has too many files open.
    """
    check_path(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise missing(path) from None
    except PermissionError:
        mode = stat.filemode(path.stat().st_mode) if os.access(path.parent, os.X_OK) else "unknown"
        raise InputError(
            f"may not be read (mode {mode})",
            path=path,
            hint="change its owner or mode; some tools save files as 0600",
            code="E-ACCESS",
        ) from None
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise ResourceError(
                f"cannot be opened: {error.strerror}", path=path, hint="raise the limit on open files: ulimit -n"
            ) from None
        if error.errno == errno.ENXIO:  # a socket, or a device that is not there
            raise InputError("is not a regular file", path=path, hint=A_FILE, code="E-NOT-A-FILE") from None
        raise _cannot_be_opened(path, error) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        kind, hint = ("is a folder, not a file", IN_IT) if path.is_dir() else ("is not a regular file", A_FILE)
        raise InputError(kind, path=path, hint=hint, code="E-NOT-A-FILE")
    return descriptor


def read_all(path: Path) -> bytes:
    """The content of a regular file.

    Raises:
        NotFoundError, InputError: as `open_regular` does, or reading fails.
    """
    with os.fdopen(open_regular(path), "rb") as file, reading(path):
        return file.read()


def read_json(path: Path, limit: int = CONFIG_LIMIT) -> Any:
    """The value of a small JSON file.

    Raises:
        NotFoundError, InputError: it is missing, not a regular file, larger than `limit` bytes, or not strict JSON.
    """
    descriptor = open_regular(path)
    with os.fdopen(descriptor, "rb") as file, at(path=path), reading():
        text = file.read(min(limit, os.fstat(descriptor).st_size) + 1)
        if len(text) > limit:
            raise InputError(f"is larger than {limit} bytes, too large for a config", code="E-JSON")
        with at(hint=CORRECT):
            return parse_json(text)
