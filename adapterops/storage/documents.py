"""Single files that are whole or absent: written next to their place under a hidden name, synced, and renamed."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from adapterops.errors import NotFoundError, OptionError, OutputExistsError, ResourceError

HEAD = 1024
"""Bytes at the start of a file that say what wrote it."""


def check_documents(outputs: Sequence[Path], inputs: Sequence[Path], force: bool, mark: bytes) -> None:
    """Raise what `write_documents` would, before any work.

    Args:
        mark: what a file begins with, or nearly, that `force` may replace.

    Raises:
        OptionError: an output is an input, or is inside one.
        OutputExistsError: an output exists, and may not be replaced.
        NotFoundError, ResourceError: the folder it would go to is missing or not writable.
    """
    for out in outputs:
        place = Path(os.path.realpath(out))
        for source in (Path(os.path.realpath(path)) for path in inputs):
            if place == source or (source.is_dir() and source in place.parents):
                raise OptionError(
                    f"the output would be inside the input {source.name}", path=out, hint="name another place with -o"
                )
        if os.path.lexists(out):
            _check_replaceable(out, force, mark)
        if not place.parent.is_dir():
            raise NotFoundError("the folder to write into does not exist", path=place.parent, hint="create it first")
        if not os.access(place.parent, os.W_OK | os.X_OK):
            raise ResourceError(
                "the folder to write into is not writable", path=place.parent, hint="name another place with -o"
            )


def _check_replaceable(out: Path, force: bool, mark: bytes) -> None:
    if not force:
        raise OutputExistsError(
            "already exists", path=out, hint="name another place with -o, or replace it with --force"
        )
    head = b""
    if out.is_file() and not out.is_symlink():
        with open(out, "rb") as file:
            head = file.read(HEAD)
    if mark not in head:
        raise OutputExistsError(
            "was not written by adapterops, so --force does not replace it",
            path=out,
            hint="remove it yourself, or name another place with -o",
        )


def write_documents(documents: Mapping[Path, bytes], force: bool = False) -> None:
    """Write files, the last one last: all of them are on the disk before any has its name.

    Raises:
        OutputExistsError: somebody else put something there meanwhile.
        ResourceError: the disk failed or is full; what was there before is there still.
    """
    hidden = {out: out.with_name(f".{out.name}.adapterops-{uuid.uuid4().hex[:12]}") for out in documents}
    named: list[Path] = []
    try:
        for out, data in documents.items():
            with open(hidden[out], "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for out in documents:
            _name(hidden[out], out, force)
            named.append(out)
    except BaseException as error:
        for out in () if force else named:
            with suppress(OSError):
                out.unlink()
        if isinstance(error, OSError):
            raise ResourceError(
                f"writing failed: {error.strerror}",
                path=out,
                hint="free some space, or write elsewhere with -o",
            ) from error
        raise
    finally:
        for path in hidden.values():
            with suppress(OSError):
                path.unlink()


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
