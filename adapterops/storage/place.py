"""Where an adapter or a checkpoint is: a folder or a file, some or all of which may still be elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from adapterops.errors import InputError
from adapterops.storage.gguf import SUFFIX, GgufFile
from adapterops.storage.pickled import check_called_so
from adapterops.storage.safetensors import SafetensorsFile
from adapterops.storage.strict import CONFIG_LIMIT, check_path, read_json, reading
from adapterops.storage.tensors import TensorFile

PICKLES = (".bin", ".pt", ".pth")
"""Ends of files that hold the same as safetensors next to them."""

COLLECTION, SEPARATOR = "collection.safetensors", "#"
"""The file of many adapters in one, and what the name of one of them follows in a path."""


SHOWN = 12
"""Digits of a commit in messages."""


class Remote(Protocol):
    """Where the files of a place come from, pinned to one commit.

    Attributes:
        reference: as a person would write it, without the revision.
        revision: the commit.
        sizes: the size of every file, by the path that it has here, or would have.
    """

    reference: str
    revision: str
    sizes: Mapping[Path, int]

    def open(self, path: Path) -> TensorFile:
        """A file of tensors. Its header is read, and the rest when asked for."""

    def name(self, path: Path) -> str:
        """What a file is called there."""

    def comes(self, path: Path) -> bool:
        """Whether a file is brought here when it is read, and not read as it passes."""

    def fetch(self, path: Path) -> None:
        """Bring a file here."""

    def check_room(self, size: int) -> None:
        """Raise ResourceError if the disk has no room for so many bytes."""

    def sha256(self, path: Path) -> str | None:
        """The sha256 that is stated there of a file, if one is."""

    def check(self, path: Path, sha256: str) -> None:
        """Raise InputError if the file is not the one that is there."""


FileState: TypeAlias = tuple[int, ...]
"""What tells a file from any other, and from itself once it was written to."""

SIZE = 2
"""Where in it the size is."""


def state_of(path: Path) -> FileState | None:
    """What a file is now; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@dataclass(frozen=True, eq=False)
class Place:
    """A path, and where its files come from that are not here yet. Pickles are opened where that is allowed. `member` is
    the name of one adapter, where the path is that of a collection. `opened` are files that are open
    already; where it is there, what is opened from now on is added. `seen` is what each small file was when it was read first.

    >>> Place.of("runs/a").sibling("-r8").as_posix()
    'runs/a-r8'
    """

    path: Path
    remote: Remote | None = None
    allow_pickle: bool = False
    member: str = ""
    opened: dict[Path, TensorFile] | None = field(default=None, repr=False)
    seen: dict[Path, FileState] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, source: str | os.PathLike[str]) -> Place:
        if isinstance(source, Place):
            return source
        check_path(source)
        path, separator, member = os.fspath(source).rpartition(SEPARATOR)
        there = separator and member and not os.path.lexists(source)
        if there and (os.path.isfile(os.path.join(path, COLLECTION)) or os.path.basename(path) == COLLECTION):
            return cls(Path(path), member=member)
        return cls(Path(source))

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        if self.remote is None:
            return f"{self.path}{SEPARATOR}{self.member}" if self.member else str(self.path)
        name, colon, inner = self.remote.reference.partition(":")
        return f"{name}@{self.remote.revision[:SHOWN]}{colon}{inner}"

    @property
    def folder(self) -> bool:
        with reading(self.path):
            return self.path.is_dir() if self.remote is None else self.path not in self.remote.sizes

    @property
    def exists(self) -> bool:
        with reading(self.path):
            return self.remote is not None or self.path.exists()

    def has(self, path: Path) -> bool:
        """Whether a file is there, or a link, be it here or elsewhere."""
        with reading(path.parent):
            return (self.remote is not None and path in self.remote.sizes) or path.exists() or path.is_symlink()

    def entries(self) -> list[Path]:
        """What is in the folder, sorted."""
        if self.remote is None:
            with reading(self.path):
                return sorted(self.path.iterdir())
        depth = len(self.path.parts)
        return sorted({Path(*path.parts[: depth + 1]) for path in self.remote.sizes if self.path in path.parents})

    def inner(self, path: Path) -> str:
        """How a person would name something in this place."""
        if self.remote is None:
            return str(path)
        return f"{self}{'/' if ':' in str(self) else ':'}{path.relative_to(self.path).as_posix()}"

    def open(self, path: Path) -> TensorFile:
        """A file of tensors in this place.

        Raises:
            InputError: it is damaged, or a pickle, and these are not allowed.
        """
        if self.opened is not None:
            if path not in self.opened:
                self.opened[path] = replace(self, opened=None).open(path)
            return self.opened[path]
        if path.suffix in PICKLES:
            return self._pickle(path)
        if path.suffix == SUFFIX:
            return GgufFile(self.here(path))
        return SafetensorsFile(path) if self.remote is None else self.remote.open(path)

    def once(self) -> Place:
        """The same, for a while in which no file is opened twice."""
        return self if self.opened is not None else replace(self, opened={})

    def _pickle(self, path: Path) -> TensorFile:
        if self.remote is None:
            check_called_so(path)
        if not self.allow_pickle:
            raise InputError(
                "is a Python pickle, which can run code when it is loaded, and is not read",
                path=self.inner(path) if self.folder else path,
                hint="--allow-pickle takes its tensors and nothing else, by torch's restricted loader; in a recipe: allow_pickle: true",
                code="E-PICKLE",
            )
        from adapterops.storage.pickles import PickleFile

        return PickleFile(self.here(path))

    def here(self, path: Path) -> Path:
        """The path, once the file is here."""
        if self.remote is not None and path in self.remote.sizes:
            self.remote.fetch(path)
        return path

    def json(self, path: Path, limit: int = CONFIG_LIMIT) -> Any:
        """The value of a small JSON file. What it is before it is read is noted in `seen`: one that takes its place later
        is told from it.

        Raises:
            NotFoundError, InputError: as `read_json` does.
        """
        here = self.here(path)
        if path not in self.seen and (state := state_of(here)):
            self.seen[path] = state
        return read_json(here, limit)

    def missing(self, paths: Iterable[Path] | None = None) -> dict[Path, int]:
        """What is not here yet of these files, or of all, with the sizes."""
        sizes = self.remote.sizes if self.remote else {}
        return {
            path: sizes[path] for path in (sizes if paths is None else paths) if path in sizes and not path.exists()
        }

    def check_room(self, paths: Iterable[Path]) -> None:
        """Raise ResourceError if there is no room for what is to come here of these files."""
        if self.remote is not None:
            self.remote.check_room(sum(size for path, size in self.missing(paths).items() if self.remote.comes(path)))

    def local(self) -> Path:
        """The path, once all files are here that another program would load."""
        safe = any(path.suffix == ".safetensors" for path in self.missing())
        for path in self.missing():
            if not (safe and path.suffix in PICKLES):
                self.here(path)
        return self.path

    def sibling(self, suffix: str) -> Path:
        """A path for what is made of this: next to it, under its name and a suffix;
        in the current folder for what came from elsewhere.
        """
        if self.remote is not None:
            return Path(
                self.remote.reference.replace(":", "/").rpartition("/")[2].removesuffix(".safetensors") + suffix
            )
        place = self.path.resolve()
        if self.member:
            return self.path.parent / (self.member + suffix)
        parent = self.path.parent if self.path.name not in ("", "..") else self.path / ".."
        return parent / ((place.name if place.is_dir() else place.stem) + suffix)


def check_inside(path: Path) -> None:
    """Raise InputError for a link that leads out of its folder, to anything but the blobs of the Hub's cache."""
    if not path.is_symlink():
        return
    real, root = Path(os.path.realpath(path)), Path(os.path.realpath(path.parent))
    cached = [above.parent for above in root.parents if above.name == "snapshots"][
        :1
    ]  # of one model; and next to it, shared blobs
    blobs = [folder / "blobs" for each in cached for folder in (each, each.parent)]
    if not any(folder in real.parents for folder in (root, *blobs)):
        raise InputError(
            f"leads out of its folder, to {real}", path=path, hint="copy the file into the folder", code="E-INDEX"
        )
