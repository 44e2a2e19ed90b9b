"""An opened checkpoint: tensor name → tensor, read or computed when asked for, however it is stored."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from adapterops.arrays.columns import BAND, BANDS
from adapterops.arrays.scratch import Scratch
from adapterops.checkpoints.stored import StoredTensor
from adapterops.errors import UnsupportedError, at, count
from adapterops.formats.models.model_files import ModelFiles
from adapterops.provenance.history import Source, Step
from adapterops.quant.ggml import Ggml
from adapterops.quant.grid import held_by_columns
from adapterops.quant.header import key
from adapterops.quant.registry import kept, writable
from adapterops.quant.scheme import CALIBRATED, STOCHASTIC, Encoder, Scheme
from adapterops.quant.used import unrounded
from adapterops.storage.gguf import SUFFIX
from adapterops.storage.grams import check_gram
from adapterops.storage.lazy import Lazy, itself, not_pickled
from adapterops.storage.safetensors import CHUNK
from adapterops.storage.tensors import Spec

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.arrays.floats import Array
    from adapterops.updates.survival import Block, Survival

    Facts: TypeAlias = Mapping[str, Survival]
    Rows: TypeAlias = Callable[[int, int], Block]

KEPT = (STOCHASTIC, CALIBRATED)
"""What leaves the scales of codes as they are."""

BLOCK = 1 << 19
"""Entries of a weight that are computed at a time:
few enough for a core's cache, enough that Python between two kernels does not count.
"""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A mapping from tensor names to tensors, by which file they belong to. A quantized weight is one tensor, whatever
    its parts.

    Attributes:
        layout: tensor → dtype and shape, known without reading any tensor; of a quantized weight what it is when used.
        shards: file name → its tensors, in their order.
        stored: tensor → where its numbers come from.
        schemes: tensor → how it is to be saved, where that is not as it is; as it was read, unless told otherwise.
        edits: tensor → what computes it: a function of two row numbers that returns those rows, not yet rounded, and
            the updates in them; all dimensions but the last are taken for one.
        config: config.json.
        history: the inputs and operations it is made of.
        files: the folder it was opened from, whose other files go along.
        names: tensor → what it is called in its file, where that is another: in a pipeline without its component.
        documents: name → file that goes along, in place of one of that name in the folder.
        holding: edited tensor → about the bytes that its edit keeps in memory.
        entire: edited tensors all rows of which are computed together.
        views: tensor → where the numbers come from that an update is added to, where that is not as it is stored here.
        rounding: of a changed weight to the grid that it is on already, or to 16 bits: `nearest`, which erases small
            updates, `stochastic` with `seed`, `calibrated` with `grams`, which is nearest in 16 bits, or None, which is that,
            too, and which saving refuses on a grid of codes.
        grams: tensor → where the Gram matrix of its inputs is.
        types: of a GGUF model, tensor of its files → the type of ggml that it is to get.
    """

    layout: Mapping[str, Spec]
    shards: Mapping[str, Sequence[str]]
    stored: Mapping[str, StoredTensor]
    schemes: Mapping[str, Scheme] = field(default_factory=dict)
    edits: Mapping[str, Rows] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    history: Step | Source = field(default_factory=lambda: Step("memory"))
    files: ModelFiles | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    holding: Mapping[str, int] = field(default_factory=dict)
    entire: Collection[str] = ()
    views: Mapping[str, StoredTensor] = field(default_factory=dict)
    documents: Mapping[str, Path] = field(default_factory=dict)
    rounding: str | None = None
    seed: int = 0
    grams: Mapping[str, StoredTensor] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)

    @property
    def gguf(self) -> bool:
        """Whether it is written as GGUF: as the files that it was read from, with other numbers."""
        return any(name.endswith(SUFFIX) for name in self.shards)

    @property
    def needs_torch(self) -> bool:
        """Whether computing its tensors needs torch, as quantized ones do."""
        return any(name in self.schemes or self.stored[name].scheme for name in self.changed)

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Tensor name → tensor, computed on every access, rounded to its dtype; a quantized weight before it is
        quantized. Integers and booleans are as they are stored.
        """

        def compute(name: str) -> Tensor:
            import numpy as np

            from adapterops.arrays.floats import STORED, tensor
            from adapterops.updates.survival import rounded

            rows, spec, memory = self.rows(name), self.layout[name], Scratch()
            result = np.empty(spec.matrix, STORED[spec.dtype])
            with at(tensor=name):
                for begin, end in self.blocks(name):
                    result[begin:end] = rounded(rows(begin, end), spec.dtype, memory, self.draws(name, begin, end))
            return tensor(result, spec.dtype).reshape(spec.shape)

        def found(name: str) -> Tensor:
            if name not in self.views and self.stored[name].scheme is None and not self.computed(name):
                return self.stored[name].parts[""].tensor()
            return compute(name)

        return Lazy(self.layout, found)

    def rows(self, name: str) -> Rows:
        """Rows of one tensor as it is to be saved, as a function of the first and the one after the last; of codes that
        become floats what they stand for, unrounded. They are good until the next ones are asked for.
        """
        stored = self.views.get(name, self.stored[name])
        if name in self.edits or name in self.schemes or stored.scheme is None:
            return self.used(name)
        return original(replace(stored, scheme=unrounded(stored.scheme)))

    def used(self, name: str) -> Rows:
        """Rows of one tensor as a model computes with them: those that an update is added to."""
        return self.edits[name] if name in self.edits else original(self.views.get(name, self.stored[name]))

    def computed(self, name: str) -> bool:
        """Whether a tensor is computed, rather than copied byte for byte."""
        stored = self.stored[name]
        return name in self.edits or self.schemes.get(name) != stored.scheme or self.layout[name].dtype != stored.dtype

    @property
    def changed(self) -> list[str]:
        """The tensors that are computed."""
        return [name for name in self.layout if self.computed(name)]

    def parts(self, name: str) -> dict[str, tuple[str, Spec]]:
        """What a tensor is saved as: role → name and spec; a whole tensor has the role ""."""
        kept = self.rounding in KEPT and self.on_grid(name)
        scheme, called = self.schemes.get(name), self.names.get(name, name)
        if self.stored[name].scheme and (kept or not self.computed(name)):
            return {role: (key(called, role), part.spec) for role, part in self.stored[name].parts.items()}
        if scheme is None:
            return {"": (called, self.layout[name])}
        return {role: (key(called, role), Spec(*part)) for role, part in scheme.parts(self.layout[name].shape).items()}

    def bytes(self, name: str) -> int:
        """Bytes that a tensor takes when saved."""
        return sum(spec.bytes for _, spec in self.parts(name).values())

    def on_grid(self, name: str) -> bool:
        """Whether a tensor is computed from numbers on the very grid that it is to be rounded to."""
        return (
            name in self.edits
            and name not in self.views
            and name in self.schemes
            and self.schemes[name] == self.stored[name].scheme
        )

    def gram(self, name: str) -> Callable[[], Array] | None:
        """What reads the Gram matrix of the inputs of a weight whose codes are chosen by it."""
        if self.rounding != CALIBRATED or not self.on_grid(name):
            return None
        stored = self.grams[name]

        def read() -> Array:
            found = stored.rows(0, stored.shape[0], Scratch())
            with at(path=stored.parts[""].file.path, tensor=name):
                check_gram(found)
            return found

        return read

    def draws(self, name: str, begin: int, end: int) -> Array | None:
        """What decides between the neighbours of every number of some rows, where chance does and they have 16 bits."""
        if self.rounding != STOCHASTIC or name in self.schemes or self.layout[name].dtype not in ("F16", "BF16"):
            return None
        if self.types and name not in self.edits:
            return None  # it only gets another type
        from adapterops.arrays.random import uniform

        return uniform(f"{self.seed}:{name}", begin, (end - begin, self.layout[name].matrix[1]))

    def encoder(self, name: str) -> Encoder | None:
        """What turns the rows of a tensor that is computed into its parts; None where it is whole."""
        scheme, stored, shape = self.schemes.get(name), self.stored[name], self.layout[name].shape
        if scheme is None:
            return None
        if self.rounding == STOCHASTIC and self.on_grid(name):
            return kept(scheme).on_grid(shape, stored.read, f"{self.seed}:{name}")
        if gram := self.gram(name):
            from adapterops.quant.calibrated import calibrated

            return calibrated(kept(scheme), shape, stored.read, gram)
        if isinstance(scheme, Ggml):
            return scheme.encoder(
                shape, f"{self.seed}:{name}" if self.rounding == STOCHASTIC and name in self.edits else None
            )
        return writable(scheme).encoder(shape)

    def blocks(self, name: str) -> Iterator[tuple[int, int]]:
        """Row ranges that make up a tensor, each of about `BLOCK` entries.
        They depend on its shape and schemes alone.
        """
        height, width = self.layout[name].matrix
        group = self.group(name)
        step = max(1, BLOCK // max(1, width * group)) * group
        return ((begin, min(begin + step, height)) for begin in range(0, height, step))

    def group(self, name: str) -> int:
        """Rows that are computed together at least."""
        if name in self.entire or (self.rounding == CALIBRATED and self.on_grid(name)):
            return max(1, self.layout[name].matrix[0])
        schemes = {self.schemes.get(name), self.stored[name].scheme}
        return math.lcm(*(scheme.granularity(self.layout[name].shape) for scheme in schemes if scheme))

    def working_memory(self, workers: int) -> int:
        """About how many bytes saving holds at a time:
        for each worker a few tiles in float32, more where they become codes, most where chance chooses these, and what the
        largest edit keeps, with the tiles that it is made of.
        """
        kept, codes = max(self.holding.values(), default=0), bool(self.schemes)
        arrays, wide = 8 + 4 * codes + 8 * bool(kept) + 16 * (codes and self.rounding == STOCHASTIC), 4
        return workers * (arrays * wide * max(BLOCK, self.joint_entries) + kept + self.by_columns) + CHUNK

    @property
    def by_columns(self) -> int:
        """Bytes of what is stored by columns and written when all rows of these are there, in the weight with most of it, and
        of the bands in which such parts are read.
        """
        found = [self.stored[name] for name in self.changed]
        sizes = [held for each in found if (held := held_by_columns(each.scheme, each.shape)) is not None]
        return max(sizes) + BANDS * BAND if sizes else 0

    @property
    def joint_entries(self) -> int:
        """The entries that have to be computed together, at most."""
        return max((self.group(name) * self.layout[name].matrix[1] for name in self.changed), default=0)

    def check_one(self, what: str) -> None:
        """Raise UnsupportedError for a pipeline, of which only a single component can be `what`: quantized, divided."""
        components = list(self.files.components) if self.files else []
        if self.files and components:
            raise UnsupportedError(
                f"is a pipeline of {', '.join(components)}, and only one of them can be {what} at a time",
                path=self.files.path,
                hint=f"name the folder of one: {self.files.path / components[0]}",
            )

    __copy__ = __deepcopy__ = itself
    __reduce__ = not_pickled

    def __repr__(self) -> str:
        return f"<Checkpoint of {count(len(self.layout), 'tensor')} in {count(len(self.shards), 'file')}>"


def original(stored: StoredTensor) -> Rows:
    """Rows as they were read."""
    memory = Scratch()

    def rows(begin: int, end: int) -> Block:
        from adapterops.updates.survival import Block

        return Block(stored.rows(begin, end, memory))

    return rows
