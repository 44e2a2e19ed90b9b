"""An output that several processes make, on any machines that share a disk: a hidden folder next to it.

    .OUT.parts-HASH/
        plan.json        what is made, of what, by which versions; HASH is that of the plan
        files/           finished files; those of a model: this folder becomes OUT
        records/         what is known of each of them, one record a file
        work-ID/         what one process is writing
        commit           the hash of the manifest, once the output is complete

A file is written in a folder of its process, and renamed when it is finished; its record comes last. So a process may be
killed at any moment, and two may do the same work: each file is whole, and its bytes are the same.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from adapterops.errors import (
    IncompatibleError,
    InputError,
    NotFoundError,
    ResourceError,
    VerificationError,
    at,
)
from adapterops.storage.checksums import BLAKE3, file_digests
from adapterops.storage.differences import differences, shown
from adapterops.storage.hidden import create_locked, next_to, remove, remove_if_dead
from adapterops.storage.journal import checked, line
from adapterops.storage.measured import forget
from adapterops.storage.outputs import MANIFEST, finalized
from adapterops.storage.shapes import fits, hashed
from adapterops.storage.staging import writing
from adapterops.storage.strict import read_all

PLAN, FILES, RECORDS, WORK, COMMIT = "plan.json", "files", "records", "work", "commit"
DONE = "-done"
OF_PLAN = {
    "schema": int, "plan": hashed, "proves": bool, "request": dict, "inputs": {str: dict}, "versions": {str: str},
    "kernels": [str], "device": str, "command": [str], "base_model": (str, type(None)), "accept_loss": bool,
}  # fmt: skip
"""What a plan says."""

FREE = ("command", "base_model", "accept_loss")
"""What parts of one plan need not agree in."""

LEFT, AGAIN = "finished files are kept: ", "and run the same command again"
KEPT = f"{LEFT}run the same command again to go on"


@dataclass(frozen=True)
class PartsFolder:
    """Where the parts of one output are made, and what their plan is. Without `sync` nothing waits for the disk: a record may
    then be there after a power failure, and its file not, which is compared with it before it is used.
    """

    out: Path
    folder: Path
    plan: Mapping[str, Any]
    sync: bool = True

    @property
    def files(self) -> Path:
        """The finished files; those of a model are where they will be in the output."""
        return self.folder / FILES

    def entries(self, names: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """The records that are whole, whose files may not be: all, or those of some files."""
        paths = sorted((self.folder / RECORDS).glob("*.json")) if names is None else map(self.record, names)
        return [found for path in paths if (found := _read(path))]

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Say that what is finished was kept, where something stops the block."""
        try:
            yield
        except BaseException as error:
            if not isinstance(error, Exception) and self.entries():
                error.add_note(KEPT)
            raise

    @contextmanager
    def working(self) -> Iterator[Work]:
        """A folder of this process to write into. What processes that died on this machine left is removed."""
        machine = f"{WORK}-{_machine()}-"
        for other in self.folder.glob(f"{machine}*"):
            remove_if_dead(other)
        with self.keeping(), writing(self.out, LEFT, AGAIN):
            folder, lock = create_locked(lambda: self.folder / f"{machine}{uuid.uuid4().hex[:12]}")
            try:
                yield Work(self, folder)
            finally:
                os.close(lock)
                remove(folder)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nobody else finalizes meanwhile.

        Raises:
            ResourceError: somebody does.
        """
        lock = os.open(self.folder / PLAN, os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                os.close(lock)
                raise ResourceError(
                    "is being finalized by another process", path=self.out, hint="wait for that one"
                ) from None
        try:
            yield
        finally:
            os.close(lock)

    def record(self, name: str) -> Path:
        """Where the record of a file is."""
        return self.folder / RECORDS / f"{quote(name, safe='')}.json"

    def commit(self, folder: Path) -> None:
        """Note that a complete folder is about to become the output."""
        _write(self.folder / COMMIT, file_digests(folder / MANIFEST, BLAKE3)[BLAKE3].encode(), self.folder, self.sync)

    def committed(self) -> bool:
        """Whether it has: a process may be killed before it removes the parts."""
        with suppress(InputError, NotFoundError):
            return read_all(self.folder / COMMIT).decode() == file_digests(self.out / MANIFEST, BLAKE3)[BLAKE3]
        return False

    def remove(self) -> None:
        """All of it, once it is of no use; half of it would be taken for parts that are damaged."""
        forget(self.out)
        with suppress(OSError):
            os.rename(self.folder, self.folder.with_name(self.folder.name + DONE))
        _clear(self.out)


@dataclass(frozen=True)
class Work:
    """Where one process writes, and hands over what is finished."""

    parts: PartsFolder
    folder: Path

    def add(self, entry: Mapping[str, Any]) -> None:
        """Take over a finished file, and its record.

        Raises:
            VerificationError: another process made the same file, and its bytes are others.
            OutputExistsError: the output was finalized meanwhile.
        """
        name, files = entry["file"], self.parts.files
        before = _read(self.parts.record(name))
        if before and before.get("file") == name and before.get("blake3") != entry["blake3"]:
            raise VerificationError(
                f"{name} has other bytes than when another process made it",
                path=self.parts.out,
                hint=f"the machines compute differently: remove {self.parts.folder}, and use machines of one kind",
                code="E-PARTS",
            )
        try:
            if "/" in name:  # a component's
                (files / name).parent.mkdir(exist_ok=True)
            os.replace(self.folder / name, files / name)
            self.note(entry)
        except FileNotFoundError:
            if files.is_dir():
                raise
            raise finalized(self.parts.out) from None

    def note(self, entry: Mapping[str, Any]) -> None:
        """Write the record of a finished file, wherever that is."""
        _write(self.parts.record(entry["file"]), line(entry), self.folder, self.parts.sync)


def left(out: Path) -> list[Path]:
    """The folders in which parts of an output are made."""
    out = Path(os.path.realpath(out))
    _clear(out)
    return sorted(path for path in _folders(out) if not path.name.endswith(DONE))


def _clear(out: Path) -> None:
    """Remove what is of no use any more: a process may have been killed before it could."""
    for folder in _folders(out, DONE):
        shutil.rmtree(folder, ignore_errors=True)


def _folders(out: Path, end: str = "") -> list[Path]:
    return [path for path in next_to(out, "parts") if path.name.endswith(end)]


def folder_of(out: Path, plan: str, *, there: bool = False) -> Path:
    """Where the parts of a plan with this hash are made. It has to be `there` for whoever works for another machine.

    Raises:
        NotFoundError: it has to be, and is not.
    """
    out = Path(os.path.realpath(out))
    folder = out.with_name(f".{out.name}.parts-{plan[:16]}")
    if there and not folder.is_dir():
        raise NotFoundError(
            f"the folder of its parts, {folder.name}, is not on this machine",
            path=out,
            hint="all machines need the disk that the output is on, at the same path",
        )
    return folder


def begin(out: Path, plan: Mapping[str, Any], *, create: bool = True, sync: bool = True) -> PartsFolder:
    """Where the parts of a plan are made: the folder that is there, or a new one.

    Args:
        plan: the document that all parts agree in; its `plan` is a hash.
        create: it may be missing.

    Raises:
        IncompatibleError: parts of another plan are there; the message says in what the two differ.
        NotFoundError: it is missing, and must not be.
        DiskError: the disk is full or failed.
    """
    out = Path(os.path.realpath(out))
    for other in left(out):
        with suppress(NotFoundError):  # begun this moment, or finalized
            if found := differences(plan, opened(out, other).plan, FREE):
                raise IncompatibleError(
                    f"is being made by parts of another plan: {shown(found)}",
                    path=out,
                    hint=f"give all parts the same command, inputs and versions; or remove {other}, and start again",
                    code="E-PARTS",
                    details={"differences": found},
                )
    folder = folder_of(out, plan["plan"], there=not create)
    if create:
        with writing(out, ""):
            for inner in (folder, folder / FILES, folder / RECORDS):
                inner.mkdir(exist_ok=True)
            if not (folder / PLAN).exists():
                _write(folder / PLAN, line(plan), folder, sync)
    return PartsFolder(out, folder, plan, sync)


def opened(out: Path, folder: Path, sync: bool = True) -> PartsFolder:
    """The parts that are made in a folder.

    Raises:
        NotFoundError: its plan is missing.
        InputError: its plan is damaged.
    """
    with at(path=folder / PLAN):
        try:
            plan = checked(read_all(folder / PLAN))
            if not fits(plan, OF_PLAN):
                raise InputError("is not the plan of an output in parts", code="E-PARTS")
            return PartsFolder(Path(os.path.realpath(out)), folder, plan, sync)
        except (NotFoundError, InputError) as error:
            error.hint = f"remove {folder}, and run the parts again"
            raise


def _read(path: Path) -> dict[str, Any] | None:
    """A record, where one is that is whole."""
    if path.exists():  # the error of a file that is missing searches the folder for another one that may be meant
        with suppress(InputError, NotFoundError):
            return checked(read_all(path))
    return None


def _write(path: Path, data: bytes, folder: Path, sync: bool) -> None:
    """A file that is whole or absent, by way of a name in `folder`."""
    new = folder / f"{path.name[:100]}.{uuid.uuid4().hex[:12]}"
    with open(new, "xb") as file:
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())
    os.replace(new, path)


def _machine() -> str:
    """What tells this machine, since it was started, from any other."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    return quote(socket.gethostname(), safe="")
