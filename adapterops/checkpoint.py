"""An opened checkpoint: tensor name → tensor, read or computed when asked for, however it is stored."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from adapterops import engine
from adapterops.dtypes import FLOATS
from adapterops.errors import AdapterWarning, IncompatibleError, OptionError, at
from adapterops.formats.model_files import SINGLE, ModelFiles, read_model
from adapterops.formats.quantized import key, quantized
from adapterops.history import Source, Step
from adapterops.memory import Scratch
from adapterops.quant.scheme import Encoder, Scheme, check_decoded
from adapterops.storage.lazy import Lazy
from adapterops.storage.place import Place
from adapterops.storage.safetensors import CHUNK, Spec, Stored

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.floats import Array
    from adapterops.updates.survival import Block, Survival

    Facts: TypeAlias = Mapping[str, Survival]
    Rows: TypeAlias = Callable[[int, int], Block]

BLOCK = 1 << 19
"""Entries of a weight that are computed at a time: few enough for a core's cache, enough that Python between two kernels does not count."""


NEAREST, STOCHASTIC = "nearest", "stochastic"
ROUNDINGS = (NEAREST, STOCHASTIC)
WRITTEN = ("nf4", "fp4", "int8")

RELATIVE, ANOTHER = 0.03, 0.5
"""How far, as a fraction, what codes stand for may be from the model that was quantized: beyond, a warning, and an error."""


@dataclass(frozen=True)
class Lies:
    """A tensor as it lies in files: whole, or quantized, in several parts.

    Attributes:
        parts: by their roles; a whole tensor has one, of role "".
        shape: when used.
        scheme: None for a whole tensor.
    """

    parts: Mapping[str, Stored]
    shape: tuple[int, ...]
    scheme: Scheme | None = None

    @property
    def dtype(self) -> str:
        """When used."""
        return self.scheme.dtype if self.scheme else self.parts[""].spec.dtype

    def stored(self, begin: int, end: int, memory: Scratch | None = None) -> Array:
        """Rows [begin, end) of a whole tensor as they are stored, all dimensions but the last taken for one."""
        return self.parts[""].file.array(self.parts[""].name, (begin, end), memory)

    def rows(self, begin: int, end: int, memory: Scratch) -> Array:
        """Rows [begin, end) in float32, or float64 where that is stored; in scratch memory.

        Raises:
            InputError: codes stand for NaN or infinity.
        """
        if self.scheme is None:
            from adapterops.floats import widened

            return widened(self.stored(begin, end, memory), self.dtype, memory)
        import torch

        decoded = self.scheme.decode(self.shape, self.read, begin, end)
        wide = memory.array("wide", decoded.shape, "float32")
        with at(path=next(iter(self.parts.values())).file.path):
            check_decoded(torch.from_numpy(wide).copy_(decoded))
        return wide

    def read(self, role: str, begin: int, end: int) -> Tensor:
        """Bytes of a part."""
        import torch

        data = self.parts[role].file.read(self.parts[role].name, begin, end)
        return torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)

    def same_bytes(self, other: Lies) -> bool:
        """Whether the two lie in files as the same bytes."""
        return self.parts.keys() == other.parts.keys() and all(part.same_bytes(other.parts[role]) for role, part in self.parts.items())


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A mapping from tensor names to tensors, by which file they belong to. A quantized weight is one tensor, whatever its parts.

    Attributes:
        layout: tensor → dtype and shape, known without reading any tensor; of a quantized weight what it is when used.
        shards: file name → its tensors, in their order.
        stored: tensor → where its numbers come from.
        schemes: tensor → how it is to be saved, where that is not as it is; as it was read, unless told otherwise.
        edits: tensor → what computes it: a function of two row numbers that returns those rows, not yet rounded, and the
            updates in them; all dimensions but the last are taken for one.
        config: config.json.
        history: the inputs and operations it is made of.
        files: the folder it was opened from, whose other files go along.
        holding: edited tensor → about the bytes that its edit keeps in memory.
        views: tensor → where the numbers come from that an update is added to, where that is not as it is stored here.
        rounding: of a changed weight to the grid it lies on already: `nearest`, which erases small updates, `stochastic`, by
            chance with `seed`, or None, which saving refuses.
    """

    layout: Mapping[str, Spec]
    shards: Mapping[str, Sequence[str]]
    stored: Mapping[str, Lies]
    schemes: Mapping[str, Scheme] = field(default_factory=dict)
    edits: Mapping[str, Rows] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    history: Step | Source = field(default_factory=lambda: Step("memory"))
    files: ModelFiles | None = None
    holding: Mapping[str, int] = field(default_factory=dict)
    views: Mapping[str, Lies] = field(default_factory=dict)
    rounding: str | None = None
    seed: int = 0

    @property
    def light(self) -> bool:
        """Whether its tensors are computed without torch, which codes need."""
        return all(name not in self.schemes and self.stored[name].scheme is None for name in self.changed)

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Tensor name → tensor, computed on every access, rounded to its dtype; a quantized weight before it is coded."""

        def compute(name: str) -> Tensor:
            import numpy as np

            from adapterops.floats import STORED, tensor
            from adapterops.updates.survival import rounded

            rows, spec, memory = self.rows(name), self.layout[name], Scratch()
            result = np.empty(spec.matrix, STORED[spec.dtype])
            with at(tensor=name):
                for begin, end in self.blocks(name):
                    result[begin:end] = rounded(rows(begin, end), spec.dtype, memory)
            return tensor(result, spec.dtype).reshape(spec.shape)

        def found(name: str) -> Tensor:
            if name not in self.views and self.stored[name].scheme is None and not self.computed(name):
                return self.stored[name].parts[""].tensor()
            return compute(name)

        return Lazy(self.layout, found)

    def rows(self, name: str) -> Rows:
        """Rows of one tensor, as a function of the first and the one after the last. They are good until the next ones are asked for."""
        if name in self.edits:
            return self.edits[name]
        return original(self.views.get(name, self.stored[name]))

    def computed(self, name: str) -> bool:
        """Whether a tensor is computed, rather than copied byte for byte."""
        lies = self.stored[name]
        return name in self.edits or self.schemes.get(name) != lies.scheme or self.layout[name].dtype != lies.dtype

    @property
    def changed(self) -> list[str]:
        """The tensors that are computed."""
        return [name for name in self.layout if self.computed(name)]

    def parts(self, name: str) -> dict[str, tuple[str, Spec]]:
        """What a tensor is saved as: role → name and spec; a whole tensor has the role ""."""
        by_chance = self.rounding == STOCHASTIC and self.on_grid(name)
        if self.stored[name].scheme and (by_chance or not self.computed(name)):
            return {role: (key(name, role), part.spec) for role, part in self.stored[name].parts.items()}
        scheme = self.schemes.get(name)
        if scheme is None:
            return {"": (name, self.layout[name])}
        return {role: (key(name, role), Spec(*part)) for role, part in scheme.parts(self.layout[name].shape).items()}

    def bytes(self, name: str) -> int:
        """Bytes that a tensor takes when saved."""
        return sum(spec.bytes for _, spec in self.parts(name).values())

    def on_grid(self, name: str) -> bool:
        """Whether a tensor is computed from numbers on the very grid that it is to be rounded to."""
        return name in self.edits and name not in self.views and name in self.schemes and self.schemes[name] == self.stored[name].scheme

    def check_rounding(self) -> None:
        """Raise OptionError where an update would be rounded to nearest on the grid that the weight lies on, unless that was asked for."""
        names = [name for name in self.changed if self.on_grid(name)] if self.rounding is None else []
        if names:
            scheme = self.schemes[names[0]].name
            ways = f"fuse into the 16-bit model, with --quantize {scheme}; or take its numbers, with --original; or round by chance, with "
            ways += "--rounding stochastic; or write 16 bits, with --dtype bfloat16; or leave the adapter as it is, and load both"
            written = scheme in WRITTEN
            raise OptionError(
                f"{len(names)} weights are in {scheme}, "
                + ("and nearest rounding on the same grid erases most of an update" if written else "which is read, and not written"),
                path=self.files.path if self.files else None,
                hint=ways if written else "write 16 bits, with --dtype bfloat16, or 4, with --quantize nf4",
                code="E-GRID",
            )

    def check_views(self) -> None:
        """Whether the model whose numbers are taken is the one that was quantized: coded, the first of them are what is there.

        Raises:
            IncompatibleError: they are another model's. Those of a relative of it are a warning.
        """
        for name in [name for name in self.views if name in self.stored and name in self.edits][:1]:
            import numpy as np
            import torch

            begin, end = next(iter(self.blocks(name)))
            with at(tensor=name):
                stored, original = (lies.rows(begin, end, Scratch()) for lies in (self.stored[name], self.views[name]))
            scheme = self.stored[name].scheme
            if scheme and scheme.name in WRITTEN:
                original = scheme.encoder(self.stored[name].shape).rows(torch.from_numpy(original), begin)[1]().float().numpy()
            apart = float(np.linalg.norm(original - stored) / max(float(np.linalg.norm(stored)), 1e-30))
            if RELATIVE < apart <= ANOTHER and scheme and scheme.name in WRITTEN:
                warnings.warn(
                    f"{name}: the original, quantized, is {apart:.0%} away from the base: was that made from it?",
                    AdapterWarning,
                    stacklevel=2,
                )
            if apart > ANOTHER:
                raise IncompatibleError(
                    f"the original is {apart:.0%} away from what the base's codes stand for",
                    path=self.files.path if self.files else None,
                    tensor=name,
                    hint="give the 16-bit model that this one was quantized from",
                    code="E-NAMES",
                )

    def encoder(self, name: str) -> Encoder | None:
        """What turns the rows of a tensor that is computed into its parts; None where it is whole."""
        scheme, lies, shape = self.schemes.get(name), self.stored[name], self.layout[name].shape
        if scheme is None:
            return None
        if self.rounding == STOCHASTIC and self.on_grid(name):
            return scheme.on_grid(shape, lies.read, f"{self.seed}:{name}")
        return scheme.encoder(shape)

    def blocks(self, name: str) -> Iterator[tuple[int, int]]:
        """Row ranges that make up a tensor, each of about `BLOCK` entries. They depend on its shape and schemes alone."""
        height, width = self.layout[name].matrix
        group = self._group(name)
        step = max(1, BLOCK // max(1, width * group)) * group
        return ((begin, min(begin + step, height)) for begin in range(0, height, step))

    def _group(self, name: str) -> int:
        """Rows that are computed together at least."""
        schemes = {self.schemes.get(name), self.stored[name].scheme}
        return math.lcm(*(scheme.granularity(self.layout[name].shape) for scheme in schemes if scheme))

    def working_memory(self, workers: int | None = None) -> int:
        """About how many bytes saving holds at a time: for each worker a few tiles in float32, and what the largest edit keeps."""
        wide = 4
        kept = max(self.holding.values(), default=0)
        largest = max((self._group(name) * self.layout[name].matrix[1] for name in self.changed), default=0)
        return (workers or engine.default_workers()) * (8 * wide * max(BLOCK, largest) + kept) + CHUNK

    def __repr__(self) -> str:
        return f"<Checkpoint of {len(self.layout)} tensors in {len(self.shards)} files>"


def original(lies: Lies) -> Rows:
    """Rows as they were read."""
    memory = Scratch()

    def rows(begin: int, end: int) -> Block:
        from adapterops.updates.survival import Block

        return Block(lies.rows(begin, end, memory))

    return rows


def open_checkpoint(source: str | os.PathLike[str], *, allow_pickle: bool = False) -> Checkpoint:
    """The checkpoint in a folder or a safetensors file. Reads and checks the headers; tensors are read when asked for.

    Weights in NF4, FP4, int8, FP8 and MXFP4 are known by their parts, and are one tensor each.

    Raises:
        NotFoundError, InputError: as `read_model` does.
        InputError, UnsupportedError: as `quantized` does.
    """
    place = Place.of(source)
    files = read_model(place, allow_pickle)
    entries = {name: entry.spec for name, entry in files.entries().items()}
    where = {name: file for file in files.shards.values() for name in file.entries}
    with at(path=files.path):
        weights, others = quantized(entries, files.config, lambda name: bytes(where[name].read(name)))
    stored = {name: Lies({"": Stored(where[name], name)}, entries[name].shape) for name in others}
    for name, weight in weights.items():
        parts = {role: Stored(where[part], part) for role, part in weight.keys.items()}
        stored[name] = Lies(parts, weight.shape, weight.scheme)
    main = {next(iter(lies.parts.values())).name: name for name, lies in stored.items()}
    shards = {
        shard: [main[entry] for entry in sorted(file.entries, key=lambda name: file.entries[name].begin) if entry in main]
        for shard, file in files.shards.items()
    }
    order = [name for names in shards.values() for name in names]
    return Checkpoint(
        layout={name: Spec(stored[name].dtype, stored[name].shape) for name in order},
        shards={shard: names for shard, names in shards.items() if names},
        stored=stored,
        schemes={name: lies.scheme for name, lies in stored.items() if lies.scheme},
        config=files.config,
        history=Source(files.path, tuple(files.shards.values()), files.others, remote=place.remote),
        files=files,
    )


def check_dtype(dtype: str) -> None:
    """Raise OptionError for a name that is not one of safetensors' for floats."""
    if dtype not in FLOATS:
        raise OptionError(f"the dtype must be one of {', '.join(FLOATS)}, got {dtype!r}")


def cast(checkpoint: Checkpoint, dtype: str) -> Checkpoint:
    """The checkpoint with every tensor of floats in `dtype`, each number rounded once; those in a scheme keep it."""
    check_dtype(dtype)
    layout = {
        name: spec._replace(dtype=dtype) if spec.dtype in FLOATS and name not in checkpoint.schemes else spec
        for name, spec in checkpoint.layout.items()
    }
    keys = {name: FLOATS[dtype] for name in ("dtype", "torch_dtype") if name in (checkpoint.config or {})}
    config = None if checkpoint.config is None else {**checkpoint.config, **keys}
    return replace(checkpoint, layout=layout, config=config, history=Step("cast", {"dtype": dtype}, (checkpoint.history,)))


def sharded(checkpoint: Checkpoint, most: int) -> Checkpoint:
    """The checkpoint divided into files of at most `most` bytes of tensors, or one tensor."""
    parts: list[list[str]] = []
    size = 0
    for shard in checkpoint.shards.values():
        for name in shard:
            size += checkpoint.bytes(name)
            if not parts or size > most:
                parts.append([])
                size = checkpoint.bytes(name)
            parts[-1].append(name)
    names = [SINGLE] if len(parts) == 1 else [f"model-{i + 1:05}-of-{len(parts):05}.safetensors" for i in range(len(parts))]
    return replace(checkpoint, shards=dict(zip(names, parts, strict=True)))
