"""An opened checkpoint: tensor name → tensor, read or computed when asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from adapterops import engine
from adapterops.errors import OptionError, at
from adapterops.formats.model_files import SINGLE, ModelFiles, read_model
from adapterops.history import Source, Step
from adapterops.storage.lazy import Lazy
from adapterops.storage.safetensors import CHUNK, TORCH_NAMES, Spec, TensorFile

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.updates.application import Survival

    Facts: TypeAlias = Mapping[str, Survival]
    Rows: TypeAlias = Callable[[int, int], tuple[Tensor, Facts]]


BLOCK = 1 << 19
"""Entries of a weight that are computed at a time: few enough for a core's cache, enough that Python between two kernels does not count."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A mapping from tensor names to tensors, by which file they belong to.

    Attributes:
        layout: tensor → dtype and shape, known without reading any tensor.
        shards: file name → its tensors, in their order.
        stored: tensor → the file whose bytes it has, or is computed from.
        edits: tensor → what computes it: a function of two row numbers that returns those rows and what survived in them
            of the update of each module; all dimensions but the last are taken for one. Tensors without are copied.
        config: config.json.
        history: the inputs and operations it is made of.
        files: the folder it was opened from, whose other files go along.
        holding: edited tensor → about the bytes that its edit keeps in memory.
    """

    layout: Mapping[str, Spec]
    shards: Mapping[str, Sequence[str]]
    stored: Mapping[str, TensorFile]
    edits: Mapping[str, Rows] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    history: Step | Source = field(default_factory=lambda: Step("memory"))
    files: ModelFiles | None = None
    holding: Mapping[str, int] = field(default_factory=dict)

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Tensor name → tensor, computed on every access."""

        def compute(name: str) -> Tensor:
            import torch

            rows = self.rows(name)
            blocks = [rows(begin, end)[0] for begin, end in blocks_of(self.layout[name])] or [rows(0, 0)[0]]
            return torch.cat(blocks).reshape(self.layout[name].shape)

        return Lazy(self.layout, compute)

    def rows(self, name: str) -> Rows:
        """Rows of one tensor, as a function of the first and the one after the last."""
        if name in self.edits:
            return self.edits[name]
        file = self.stored[name]
        return lambda begin, end: (file.tensor(name, (begin, end)), {})

    def __repr__(self) -> str:
        return f"<Checkpoint of {len(self.layout)} tensors in {len(self.shards)} files>"


def blocks_of(spec: Spec) -> Iterator[tuple[int, int]]:
    """Row ranges that make up a tensor, each of about `BLOCK` entries. They depend on the shape alone."""
    height, width = spec.matrix
    step = max(1, BLOCK // max(1, width))
    return ((begin, min(begin + step, height)) for begin in range(0, height, step))


def open_checkpoint(source: str | os.PathLike[str], *, allow_pickle: bool = False) -> Checkpoint:
    """The checkpoint in a folder or a safetensors file. Reads and checks the headers; tensors are read when asked for.

    Raises:
        NotFoundError, InputError: as `read_model` does.
    """
    files = read_model(Path(source), allow_pickle)
    return Checkpoint(
        layout={name: entry.spec for name, entry in files.entries().items()},
        shards={shard: sorted(file.entries, key=lambda name: file.entries[name].begin) for shard, file in files.shards.items()},
        stored={name: file for file in files.shards.values() for name in file.entries},
        config=files.config,
        history=Source(files.path, tuple(files.shards.values()), files.others),
        files=files,
    )


def check_dtype(dtype: str) -> None:
    """Raise OptionError for a name that is not one of safetensors' for floats."""
    if dtype not in TORCH_NAMES:
        raise OptionError(f"the dtype must be one of {', '.join(TORCH_NAMES)}, got {dtype!r}")


def cast(checkpoint: Checkpoint, dtype: str) -> Checkpoint:
    """The checkpoint with every tensor of floats in `dtype`, each number rounded once."""
    check_dtype(dtype)
    changed = {name for name, spec in checkpoint.layout.items() if spec.dtype in TORCH_NAMES and spec.dtype != dtype}
    layout = {name: spec._replace(dtype=dtype) if name in changed else spec for name, spec in checkpoint.layout.items()}

    def edit(name: str) -> Rows:
        import torch

        from adapterops.updates.application import checked

        rows, target = checkpoint.rows(name), getattr(torch, TORCH_NAMES[dtype])

        def narrowed(begin: int, end: int) -> tuple[Tensor, Facts]:
            block, facts = rows(begin, end)
            with at(tensor=name):
                return checked(block, target), facts

        return narrowed if name in changed else rows

    keys = {key: TORCH_NAMES[dtype] for key in ("dtype", "torch_dtype") if key in (checkpoint.config or {})}
    config = None if checkpoint.config is None else {**checkpoint.config, **keys}
    edits = Lazy(sorted(changed | set(checkpoint.edits)), edit)
    return replace(checkpoint, layout=layout, edits=edits, config=config, history=Step("cast", {"dtype": dtype}, (checkpoint.history,)))


def sharded(checkpoint: Checkpoint, most: int) -> Checkpoint:
    """The checkpoint divided into files of at most `most` bytes of tensors, or one tensor."""
    parts: list[list[str]] = []
    size = 0
    for shard in checkpoint.shards.values():
        for name in shard:
            size += checkpoint.layout[name].bytes
            if not parts or size > most:
                parts.append([])
                size = checkpoint.layout[name].bytes
            parts[-1].append(name)
    names = [SINGLE] if len(parts) == 1 else [f"model-{i + 1:05}-of-{len(parts):05}.safetensors" for i in range(len(parts))]
    return replace(checkpoint, shards=dict(zip(names, parts, strict=True)))


def working_memory(checkpoint: Checkpoint, workers: int | None = None) -> int:
    """About how many bytes saving holds at a time: for each worker a few tiles in float32, and what the largest edit keeps."""
    wide = 4
    kept = max(checkpoint.holding.values(), default=0)
    return (workers or engine.default_workers()) * (8 * wide * BLOCK + kept) + CHUNK
