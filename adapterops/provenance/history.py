"""Where an adapter came from: inputs and operations.
The manifest is written from it, and random masks are keyed by it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterops.errors import NotFoundError
from adapterops.storage.checksums import BLAKE3, SHA256, digest, file_digests
from adapterops.storage.content import changed
from adapterops.storage.grams import FORMAT
from adapterops.storage.place import SIZE, FileState, Place, Remote, state_of
from adapterops.storage.tensors import TensorFile

if TYPE_CHECKING:
    from adapterops.methods.holding import Holdings
    from adapterops.methods.scaling import Multipliers


@dataclass(frozen=True, eq=False)
class Source:
    """An adapter or a checkpoint as it was read: its tensors' files, and what other files belong to it.

    `tokenizer` are files next to an adapter that only a model takes along; see `with_tokenizer`. `member` is which one of a
    collection it is. `seen` is what each file without tensors was before it was read; see `Place`.
    """

    path: Path
    tensors: tuple[TensorFile, ...]
    others: tuple[Path, ...] = ()
    alpha: float | None = None
    remote: Remote | None = None
    tokenizer: tuple[Path, ...] = ()
    member: str = ""
    seen: dict[Path, FileState] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for path in (*self.others, *self.tokenizer):
            self._note(path)

    def _note(self, path: Path) -> None:
        if path not in self.seen and (state := state_of(path)):
            self.seen[path] = state

    @property
    def name(self) -> str:
        """How messages call it."""
        return str(Place(self.path, self.remote, member=self.member))

    @property
    def summed(self) -> bool:
        """Whether it may be a term of a sum: a file of Gram matrices is none, and may be that of several adapters."""
        return all(file.metadata.get("format") != FORMAT for file in self.tensors)

    def fetch(self) -> None:
        """Bring the files here that are no tensors' and not here yet.

        Raises:
            ResourceError: there is no room for them and the tensors.
        """
        self.check_room()
        for path in self.others:
            self.here(path)

    def here(self, path: Path) -> Path:
        """The path of a file without tensors, once it is here."""
        Place(self.path, self.remote).here(path)
        self._note(path)
        return path

    def check_room(self) -> None:
        """Raise ResourceError if there is no room for what is not here yet."""
        Place(self.path, self.remote).check_room(self.paths)

    def missing(self) -> dict[Path, int]:
        """The files that are not here yet, with their sizes."""
        return Place(self.path, self.remote).missing(self.paths)

    def digest(self, algorithm: str = BLAKE3) -> str:
        """What identifies the tensors: the hash of their file, or of the hashes of several."""
        hashes = [file.identity.digest(algorithm) for file in self.tensors]
        return hashes[0] if len(hashes) == 1 else digest(" ".join(hashes).encode(), algorithm)

    def digests(self, algorithm: str) -> dict[str, str]:
        """The hash of every file, by its name."""
        hashes = {self.named(file.path): file.identity.digest(algorithm) for file in self.tensors}
        return hashes | {self.named(path): self._described(path, algorithm)[algorithm] for path in self.others}

    def named(self, path: Path) -> str:
        """What a file is called: by its path from the folder that all of them are in."""
        folders = {str(each.parent) for each in (*(file.path for file in self.tensors), *self.others)}
        return path.relative_to(os.path.commonpath(folders)).as_posix()

    def _described(self, path: Path, *algorithms: str) -> dict[str, Any]:
        """Size and hashes of one of `others`, which is still the file that it was when it was opened."""
        try:
            found = file_digests(self.here(path), *algorithms)
        except NotFoundError:  # since then
            raise changed(path) from None
        self._check_unchanged(path)
        return {"size": self.seen[path][SIZE], **found}

    def _check_unchanged(self, path: Path) -> None:
        if path in self.seen and state_of(path) != self.seen[path]:
            raise changed(path)

    def check_unchanged(self) -> None:
        """Raise InputError if a file is no longer the one that was opened."""
        for file in self.tensors:
            file.identity.check_unchanged()
        for path in self.others:
            self._check_unchanged(path)

    @property
    def paths(self) -> list[Path]:
        """Where it is, and all its files."""
        return [self.path, *(file.path for file in self.tensors), *self.others]

    def as_json(self) -> dict[str, Any]:
        """What the manifest says of it; of its path only the name, so that no machine is told of.

        Raises:
            InputError: a file changed since it was opened, or has not the content that is known where it came from.
        """
        self.fetch()
        described: dict[str, Any] = {
            "path": str(Place(Path(Path(os.path.abspath(self.path)).name), member=self.member))
        }
        if self.remote is not None:
            reference = self.remote.reference
            described = {"path": reference, "reference": reference, "revision": self.remote.revision}
        files: dict[Path, dict[str, Any]] = {
            file.path: {"size": file.identity.size, **file.identity.hashes()} for file in self.tensors
        }
        for path in self.others:
            algorithms = (BLAKE3, SHA256) if self.remote and self.remote.sha256(path) else (BLAKE3,)
            files[path] = self._described(path, *algorithms)
        if self.remote is not None:
            for path, file in files.items():
                if SHA256 in file:
                    self.remote.check(path, file[SHA256])
        described["files"] = {self.named(path): file for path, file in files.items()}
        if self.alpha is not None:
            described["alpha"] = self.alpha
        return described


@dataclass(frozen=True, eq=False)
class Step:
    """An operation on other adapters. Without inputs: an adapter that was made in memory.

    `multipliers` and `holdings` are those of a merge, which depend on the numbers; `why` says why its method is the default.
    """

    operation: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Step | Source, ...] = ()
    multipliers: Multipliers | None = None
    holdings: Holdings | None = None
    why: str | None = None

    def as_json(self, sources: list[Source], *, measured: bool = False) -> dict[str, Any]:
        """The tree of operations; its leaves are numbers in `sources`. With what was `measured` of the numbers: whoever
        does the work, in however many parts.
        """
        inputs = [
            {"input": sources.index(node)} if isinstance(node, Source) else node.as_json(sources, measured=measured)
            for node in self.inputs
        ]
        factors = self.multipliers.all() if measured and self.multipliers and self.multipliers.quick else {}
        return {
            "operation": self.operation,
            **self.parameters,
            **({"why": self.why} if self.why else {}),
            **({"multipliers": factors} if factors else {}),
            **(
                {"summed": self.multipliers.of_sum()}
                if factors and self.multipliers and self.multipliers.summed
                else {}
            ),
            **(self._held() if measured else {}),
            **({"inputs": inputs} if inputs else {}),
        }

    def _held(self) -> dict[str, Any]:
        """What a merge of several holds of each, where that is measured."""
        if self.holdings is None:
            return {}
        from adapterops.methods.holding import as_json

        found = self.holdings.all()
        return as_json(found, self.holdings.count) if found else {}


def sources(node: Step | Source) -> list[Source]:
    """All sources, each once, in the order in which they appear."""
    if isinstance(node, Source):
        return [node]
    return list(dict.fromkeys(source for inner in node.inputs for source in sources(inner)))


def with_tokenizer(node: Step | Source, names: Collection[str]) -> Step | Source:
    """The same history, where the tokenizers' files of these names belong to the sources."""
    if isinstance(node, Step):
        return replace(node, inputs=tuple(with_tokenizer(inner, names) for inner in node.inputs))
    taken = tuple(path for path in node.tokenizer if path.name in names and path not in node.others)
    return replace(node, others=(*node.others, *taken)) if taken else node


def key(node: Step | Source) -> str:
    """What identifies the direction of an adapter: its content and operations, not its path, not its scale, and of what is
    left out not the reasons.
    """
    if isinstance(node, Source):
        return digest(f"{node.digest()} {node.member}".encode()) if node.member else node.digest()
    if node.operation == "scale":
        return key(node.inputs[0])
    parameters = {name: sorted(value) if name == "reasons" else value for name, value in node.parameters.items()}
    text = json.dumps([node.operation, parameters, [key(inner) for inner in node.inputs]], sort_keys=True)
    return digest(text.encode())
