"""Several files that are whole or absent: written next to their places under hidden names, synced, and named in one go.

The hidden files are locked while their maker lives. What a killed run left is known by that: if it had begun to name
its files, the next one names the rest, as all of them were on the disk by then; otherwise they are removed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from adapterops.errors import DiskError, OptionError, OutputExistsError
from adapterops.storage.hidden import hidden, next_to
from adapterops.storage.outputs import check_parent
from adapterops.storage.staging import ELSEWHERE, remedy
from adapterops.storage.strict import check_path

HEAD = 1024
"""Bytes at the start of a file that say what wrote it."""


def check_documents(
    outputs: Mapping[Path, bytes], inputs: Sequence[Path], force: bool | None, option: str = "-o"
) -> None:
    """Raise what `write_documents` would, before any work. What a killed run had begun to name is finished.

    Args:
        outputs: the files in the order in which they will be written, and for each what it begins with, or nearly,
            that `force` may replace.
        force: None where a command cannot be told to replace anything.
        option: what names the outputs.

    Raises:
        OptionError: an output is an input, or is inside one.
        OutputExistsError: an output exists, and may not be replaced.
        InputError, NotFoundError, ResourceError: as `check_parent` does.
    """
    for out in outputs:
        check_path(out)
        place = Path(os.path.realpath(out))
        for source in (Path(os.path.realpath(path)) for path in inputs):
            if place == source or (source.is_dir() and source in place.parents):
                raise OptionError(
                    f"the output would be inside the input {source.name}",
                    path=out,
                    hint=f"name another place with {option}",
                )
        check_parent(place, option)
    _recover(list(outputs))
    for out, mark in outputs.items():
        if os.path.lexists(out):
            _check_replaceable(out, force, mark, option)


def _check_replaceable(out: Path, force: bool | None, mark: bytes, option: str = "-o") -> None:
    head = b""
    if out.is_file() and not out.is_symlink():
        with open(out, "rb") as file:
            head = file.read(HEAD)
    if not force:
        replaced = ", or replace it with --force" if force is not None and mark in head else ""
        raise OutputExistsError("already exists", path=out, hint=f"name another place with {option}{replaced}")
    if mark not in head:
        raise OutputExistsError(
            "was not written by adapterops, so --force does not replace it",
            path=out,
            hint=f"remove it yourself, or name another place with {option}",
        )


def write_documents(documents: Mapping[Path, bytes], force: bool = False) -> None:
    """Write files, the last one last: all of them are on the disk before any has its name.

    Raises:
        OutputExistsError: somebody else put something there meanwhile.
        DiskError: the disk failed or is full; what was there before is there still.
    """
    _recover(list(documents))
    last = hidden(list(documents)[-1])
    token = last.name.rpartition("-")[2]
    names = {out: _hidden(out, token) for out in documents}
    locks: list[int] = []
    named: list[Path] = []
    try:
        for out, data in documents.items():
            with open(names[out], "xb") as file:
                locks.append(os.dup(file.fileno()))
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for out in documents:
            _name(names[out], out, force)
            named.append(out)
    except BaseException as error:
        for out in () if force else named:
            with suppress(OSError):
                out.unlink()
        if isinstance(error, OSError):
            raise DiskError(
                f"writing failed: {error.strerror}",
                path=out,
                hint=remedy(error, ELSEWHERE),
            ) from error
        raise
    finally:
        for path in names.values():
            with suppress(OSError):
                path.unlink()
        for lock in locks:
            os.close(lock)


def _hidden(out: Path, token: str) -> Path:
    return out.with_name(f".{out.name}.adapterops-{token}")


def _recover(outputs: Sequence[Path]) -> None:
    """Finish, or remove, what killed runs left next to the outputs."""
    first, last = outputs[0], outputs[-1]
    left = {
        path.name.rpartition("-")[2] for out in outputs for path in next_to(out) if path.is_file() and not _held(path)
    }
    for token in sorted(left):
        replacing = not _hidden(first, token).exists()  # which leaves no hidden name; a link leaves it for the end
        begun = replacing or (first.exists() and first.samefile(_hidden(first, token)))
        for out in outputs if begun and _hidden(last, token).exists() else ():
            with suppress(OSError, OutputExistsError):
                _name(_hidden(out, token), out, replacing)
        for out in outputs:
            with suppress(OSError):
                _hidden(out, token).unlink()


def _held(path: Path) -> bool:
    """Whether the run that made a hidden file is alive."""
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
    return False


def _name(hidden: Path, out: Path, force: bool) -> None:
    """Give a file its name: in one step, and without `force` only if nothing has it."""
    if force:
        os.replace(hidden, out)
        return
    try:
        os.link(hidden, out)
    except FileExistsError as error:
        raise OutputExistsError(
            "appeared while this run was writing", path=out, hint="name another place with -o"
        ) from error
    except OSError:  # a file system without links
        if os.path.lexists(out):
            raise OutputExistsError(
                "appeared while this run was writing", path=out, hint="name another place with -o"
            ) from None
        os.rename(hidden, out)
