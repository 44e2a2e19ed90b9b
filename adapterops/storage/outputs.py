"""What adapterops writes next to tensors, and what of it may be replaced."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from adapterops.errors import AdapterOpsError, NotFoundError, OptionError, OutputExistsError, ResourceError
from adapterops.storage.checksums import BLAKE3, file_digests
from adapterops.storage.hidden import hidden, next_to
from adapterops.storage.strict import check_path, read_all, read_json, reading

MANIFEST = "adapterops.json"
REPLACED = ".replaced.json"
"""In a hidden folder, the manifest of the single file that what is in the folder was replacing."""

RECIPE = "recipe.yaml"
"""What an output is made by, written next to it."""

CARD = "README.md"
MARK = "<!-- Written by adapterops from adapterops.json. Without this line, the next push keeps your text. -->"
"""What a card that adapterops wrote has in it."""

MANIFEST_LIMIT = 1 << 26

HASHED = 1 << 24
"""Bytes of the largest file that is hashed before it is replaced: of larger ones the size says whether they were written
here, so that to replace a model does not cost reading it."""


FILES = (".gguf", ".safetensors")
"""Ends of the name of an output that is a single file, where what is written can be one."""


def named_file(out: Path) -> bool:
    """Whether an output has the name of a single file.

    >>> named_file(Path("out/style.gguf")), named_file(Path("style-v1.5"))
    (True, False)
    """
    return out.suffix in FILES


def manifest_of(out: Path) -> Path:
    """Where the manifest of an output is: in its folder, or next to its file."""
    return out.with_name(f"{out.name}.{MANIFEST}") if out.is_file() else out / MANIFEST


def check_output(out: Path, inputs: list[Path], force: bool) -> None:
    """Raise what `staged` would, before any work: the output exists, is inside an input, or cannot be created.

    Raises:
        OptionError: `out` is no path, is an input, is inside one, or, to be replaced, holds one.
        OutputExistsError: `out` exists and may not be replaced.
        NotFoundError, ResourceError: the folder it would go to is missing or not writable.
    """
    check_path(out)
    place = Path(os.path.realpath(out))
    for source in (Path(os.path.realpath(path)) for path in inputs):
        if place == source:
            raise OptionError("the output is an input, too", path=out, hint="name another place with -o")
        if source.is_dir() and source in place.parents:
            raise OptionError(
                f"the output would be inside the input {source.name}", path=out, hint="name another place with -o"
            )
        if place in source.parents and place.exists():
            raise OptionError(
                f"the output would replace the input {source.name}", path=out, hint="name another place with -o"
            )
    if os.path.lexists(out) and not empty(out):
        if not force:
            replaced = "" if _not_ours(out) else ", or replace it with --force"
            raise OutputExistsError("already exists", path=out, hint=f"name another place with -o{replaced}")
        check_replaceable(out)
    check_parent(place)


def finalized(out: Path) -> OutputExistsError:
    """What stops a process that works on an output when another one has finished it."""
    return OutputExistsError("was finalized while this was running", path=out, hint="nothing is left to do")


def check_parent(out: Path, option: str = "-o") -> None:
    """Raise what making something at `out`, a real path, would raise of the name and of the folder it would go to.

    Raises:
        InputError: the name is too long, or a folder on the way may not be looked into.
        NotFoundError, ResourceError: the folder is missing or not writable.
    """
    parent = out.parent
    with reading(out):
        if not parent.is_dir():
            if parent.exists():
                raise NotFoundError(
                    "is a file, and not a folder to write into", path=parent, hint=f"name another place with {option}"
                )
            raise NotFoundError("the folder to write into does not exist", path=parent, hint="create it first")
        hidden(out).exists()
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ResourceError(
            "the folder to write into is not writable", path=parent, hint=f"name another place with {option}"
        )


def check_replaceable(out: Path) -> None:
    """Raise OutputExistsError unless `out` is an output of which nothing would be lost but what adapterops wrote.

    Another run may put its own there at any time: what is found is found of one output, or looked for again.
    """
    while seen := _identity(out):
        with suppress(FileNotFoundError):
            if not (fact := _not_ours(out)):
                return
            if _identity(out) == seen:
                raise OutputExistsError(
                    f"{fact}, so --force does not replace it",
                    path=out,
                    hint="remove it yourself, or name another place with -o",
                )


def _identity(out: Path) -> list[tuple[int, int]]:
    """Which folder or file, and which manifest, has the name; nothing, where nothing has."""
    found = []
    for path in (out, manifest_of(out)):
        with suppress(OSError):
            status = path.lstat()
            found.append((status.st_dev, status.st_ino))
    return found


def _not_ours(out: Path) -> str | None:
    """What says that something would be lost that adapterops did not write."""
    if not manifest_of(out).is_file():
        return f"was not written by adapterops (it has no {MANIFEST})"
    if (named := _outputs(manifest_of(out))) is None:
        return f"its {MANIFEST} does not say which files adapterops wrote"
    before = [each for folder in next_to(out) if (each := _outputs(folder / REPLACED)) is not None]
    others = [
        name for name, path in _inside(out, named) if not any(_written(name, path, each) for each in (named, *before))
    ]
    if not others:
        return None
    listed = f"{', '.join(others[:5])}{' ...' if len(others) > 5 else ''}"
    fact = (
        "files are not as adapterops wrote them"
        if named.keys() >= set(others)
        else "holds what adapterops did not write"
    )
    return f"{fact}: {listed}"


def _outputs(manifest: Path) -> dict[str, Any] | None:
    """The files that a manifest names, and what it says of each; None where it does not say, or is not there."""
    try:
        content = read_json(manifest, MANIFEST_LIMIT)
    except AdapterOpsError:
        return None
    outputs = content.get("outputs") if isinstance(content, dict) else None
    return outputs if isinstance(outputs, dict) else None


def _inside(out: Path, named: Collection[str]) -> Iterator[tuple[str, Path]]:
    """What is in an output, by its name there: the files of a folder one by one, where any of them is named;
    and a single file with those next to it that are named."""
    if out.is_file():
        yield from (
            (name, path) for name in {out.name: 0, **dict.fromkeys(named)} if (path := out.with_name(name)).exists()
        )
        return
    for path in sorted(out.iterdir()):
        inner = {name.removeprefix(f"{path.name}/") for name in named if name.startswith(f"{path.name}/")}
        if inner and path.is_dir() and not path.is_symlink():
            yield from ((f"{path.name}/{name}", each) for name, each in _inside(path, inner))
        else:
            yield path.name, path


def _written(name: str, path: Path, named: Mapping[str, Any]) -> bool:
    """Whether a file is the manifest, one that it describes, or a card of ours, which comes from the Hub with an output."""
    if path.is_symlink() or not path.is_file():
        return False
    if path.name == CARD and MARK.encode() in read_all(path):
        return True
    return name == MANIFEST or _described(path, named.get(name))


def _described(path: Path, stated: Any) -> bool:
    """Whether a file is the one that a manifest describes, by its size, and by its hash where that is read at once."""
    size = path.stat().st_size
    if not isinstance(stated, dict) or stated.get("size") != size:
        return False
    return size > HASHED or stated.get(BLAKE3) == file_digests(path, BLAKE3)[BLAKE3]


def plain_name(name: str) -> bool:
    """Whether a name is one of a file in a folder, and no way out of it.

    >>> plain_name("a.json"), plain_name("../a.json"), plain_name("..")
    (True, False, False)
    """
    return name not in ("", ".", "..") and not any(letter in name for letter in "/\\\0")


def empty(path: Path) -> bool:
    """Whether it is a folder with nothing in it."""
    with suppress(FileNotFoundError):
        return path.is_dir() and not path.is_symlink() and not any(path.iterdir())
    return False
