"""GGUF files in parts, `name-00001-of-00003.gguf` and the rest, as llama-gguf-split writes them: which files are one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapterops.errors import InputError, at
from adapterops.regex import Regex
from adapterops.storage.gguf import SUFFIX, GgufFile
from adapterops.storage.place import Place, check_inside

PART = Regex(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
NUMBER, COUNT, TENSORS = "split.no", "split.count", "split.tensors.count"
"""Fields of every part: which it is, from 0 on; of how many; and the tensors in all of them."""

OF_ONE = "take all parts of one split, under the names that llama-gguf-split gave them"


def part_paths(place: Place, path: Path) -> list[Path]:
    """The files that one of them belongs to, by their names, in their order.

    Raises:
        InputError: a part is missing.
    """
    match = PART.fullmatch(path.name)
    if match is None:
        return [path]
    count = int(match["count"])
    found = []
    for number in range(1, count + 1):
        each = path.with_name(f"{match['stem']}-{number:05}-of-{count:05}{SUFFIX}")
        if not place.has(each):
            raise InputError(
                f"is missing, and {path.name} is one of {count} files",
                path=each,
                hint="download it, too",
                code="E-FOLDER",
            )
        if place.remote is None:
            check_inside(each)
        found.append(each)
    if path not in found:
        raise InputError(
            f"is number {match['number']} of {count}, and parts are numbered from 1 on",
            path=path,
            hint=OF_ONE,
            code="E-FOLDER",
        )
    return found


def first_files(place: Place) -> list[Path]:
    """The GGUF files in a folder, of those in parts the first."""
    found = [path for path in place.entries() if path.suffix == SUFFIX]
    return [path for path in found if not (match := PART.fullmatch(path.name)) or int(match["number"]) == 1]


def opened(place: Place, path: Path) -> GgufFile:
    file = place.open(path)
    assert isinstance(file, GgufFile)
    return file


def opened_parts(place: Place, paths: Sequence[Path]) -> list[GgufFile]:
    """The files of `part_paths`, whose headers say the same as their names. The first has the fields of all.

    Raises:
        InputError: they are not the parts of one split.
    """
    files = [opened(place, path) for path in paths]
    for number, file in enumerate(files):
        with at(path=file.path):
            _check_part(file, number, files)
    stated, found = files[0].fields.get(TENSORS), sum(len(file.raw.entries) for file in files)
    if len(files) > 1 and stated != found:
        raise InputError(
            f"says that all {len(files)} parts have {stated} tensors ({TENSORS}), and they have {found}",
            path=paths[0],
            hint=OF_ONE,
            code="E-GGUF",
        )
    names = [name for file in files for name in file.raw.entries]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError("is in two files", path=paths[0], tensor=twice, hint=OF_ONE, code="E-GGUF")
    return files


def _check_part(file: GgufFile, number: int, files: Sequence[GgufFile]) -> None:
    count, own = _stated(file), len(files)
    if own == 1 and count[1] in (None, 0, 1):
        return
    if own == 1 and not PART.fullmatch(file.path.name):
        raise InputError(
            f"is one of {count[1]} files ({COUNT}), and its name does not say which",
            hint="name all of them as llama-gguf-split does: NAME-00001-of-00002.gguf, NAME-00002-of-00002.gguf",
            code="E-GGUF",
        )
    if count != (number, own):
        raise InputError(
            f"is part {number + 1} of {own} by its name, and says {NUMBER} {count[0]} and {COUNT} {count[1]}",
            hint=OF_ONE,
            code="E-GGUF",
        )
    for name, value in file.fields.items():
        if not name.startswith("split.") and files[0].fields.get(name, ...) != value:
            raise InputError(
                f"says {value!r} for {name}, and {files[0].path.name} {files[0].fields.get(name)!r}",
                hint=OF_ONE,
                code="E-GGUF",
            )
    if file.fields.get(TENSORS) != files[0].fields.get(TENSORS):
        raise InputError(
            f"says {file.fields.get(TENSORS)!r} for {TENSORS}, and {files[0].path.name} {files[0].fields.get(TENSORS)!r}",
            hint=OF_ONE,
            code="E-GGUF",
        )


def _stated(file: GgufFile) -> tuple[Any, Any]:
    """Which part a file says it is, and of how many."""
    found = (file.fields.get(NUMBER), file.fields.get(COUNT))
    for name, value in zip((NUMBER, COUNT, TENSORS), (*found, file.fields.get(TENSORS)), strict=True):
        if value is not None and type(value) is not int:
            raise InputError(f"says {value!r} for {name}, expected a whole number", hint=OF_ONE, code="E-GGUF")
    return found
