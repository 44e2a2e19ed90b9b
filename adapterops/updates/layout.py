"""What is known of an update before any of its numbers are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapterops.arrays.dtypes import bits

TILE = 400_000
"""Entries worked on at a time: several such tiles in float32 fit the last cache of a processor. With half of it two threads wait for
each other's turn with the interpreter three times as often, and with twice as many each computes no faster.
"""

OVERSAMPLING = 2
"""Directions that are searched for beyond those that are wanted."""

LAUNCHED = 5
"""Tiles that a GPU works on at a time: to start a function there takes about as long as it takes to compute one of them."""

DIFFERENCE = "a full difference"
"""The kind that is stored entry by entry."""

REPLACEMENT = "a replaced tensor"
"""The kind that takes the place of the base's tensor."""

LORA = "LoRA"
"""The kind of two factors, and what a sum is called, which may have none."""

PRODUCTS = ("LoHa", "LoKr")
"""Kinds that are stored as matrices of convolutions, too."""

LORA_BIAS = "a bias of LoRA"
"""The kind that is added to the bias of a layer, times the scale of its LoRA."""

DORA, MAGNITUDE = "DoRA", "a magnitude vector of DoRA"
"""The kind that gives the sum of weight and update lengths of its own, and the vector of these by itself."""

BY_OUTPUTS, BY_INPUTS = "lora_magnitude_vector", "dora_scale"
"""What files call the lengths; the second those of inputs, where a shape tells them from those of outputs."""


@dataclass(frozen=True)
class Layout:
    """Shape, rank and dtype of the update of one weight.

    Attributes:
        rank: an upper bound where the rank depends on the numbers (`--energy`, `--budget`); for a `dense` update the
            rank that saving cuts to.
        dense: every entry is its own, and there are no factors.
        kind: what the update is called: LoRA, LoHa, DoRA.
        kernel: of a convolution or a whole tensor the dimensions after the first, where they are known; `shape` has them as one.
        reads: what it has to see of the weight at a time, as `Kind` has it.
        matrix: False for the update of a tensor that is no weight of a Linear layer: a norm, an embedding, a kernel.
        working: bytes that computing it keeps in memory; None for its factors, or all of its entries.
    """

    shape: tuple[int, int]
    rank: int
    dtype: str
    dense: bool = False
    kind: str = LORA
    reads: str = ""
    kernel: tuple[int, ...] = ()
    matrix: bool = True
    working: int | None = None

    @property
    def needs_base(self) -> bool:
        """Whether the update depends on the weight that it is applied to, so that it can neither be scaled nor added."""
        return bool(self.reads)

    @property
    def vector(self) -> bool:
        """Whether it is that of a vector, such as a bias, which is one row; `kernel` tells a weight of one row from it."""
        return self.matrix and self.dense and self.shape[0] == 1 and not self.kernel

    @property
    def parameters(self) -> int:
        """Entries of B and A together: (out + in) · rank."""
        return sum(self.shape) * self.rank

    @property
    def entries(self) -> int:
        """Entries of the weight itself: out · in."""
        return self.shape[0] * self.shape[1]

    @property
    def bytes(self) -> int:
        return int(self.parameters * bits(self.dtype) / 8)

    @property
    def held(self) -> int:
        """About the bytes that are in memory while its entries are computed, beyond a tile."""
        return 4 * (self.entries if self.dense else self.parameters) if self.working is None else self.working


def searched(shape: tuple[int, int], rank: int) -> bool:
    """Whether so many leading directions of a matrix are searched for; where they are no small part of it, all are found.

    >>> searched((4096, 4096), 16), searched((4096, 64), 32)
    (True, False)
    """
    return 3 * (min(rank, *shape) + OVERSAMPLING) < min(shape)


def working(layouts: Sequence[Layout]) -> int | None:
    """What `working` is where all of these are computed together; None where it is of none.

    >>> plain = Layout((4, 6), 1, "F32")
    >>> working([plain, plain]), working([plain, Layout((4, 6), 1, "F32", working=100)])
    (None, 140)
    """
    return None if all(each.working is None for each in layouts) else sum(each.held for each in layouts)


def widest(dtypes: list[str]) -> str:
    """The narrowest dtype that holds all of `dtypes`.

    >>> widest(["BF16", "BF16"]), widest(["BF16", "F16"]), widest(["F16", "F64"])
    ('BF16', 'F32', 'F64')
    """
    distinct = set(dtypes)
    if len(distinct) == 1:
        return distinct.pop()
    return "F64" if "F64" in distinct else "F32"


def magnitudes_of(layout: Mapping[str, Layout]) -> dict[str, str]:
    """The modules that are magnitude vectors of DoRA → the module that each belongs to."""
    return {name: name.rpartition(".")[0] for name, each in layout.items() if each.kind == MAGNITUDE}


def without_biases(layout: Mapping[str, Layout]) -> dict[str, Layout]:
    """Without the biases that the vector of their layer multiplies, too, as in (IA)³: nothing is stored for them.

    >>> vector = Layout((4, 0), 1, "F32", kind="(IA)³", reads="entries")
    >>> list(without_biases({"q": vector, "q.bias": vector, "v.bias": vector}))
    ['q', 'v.bias']
    """

    def repeats(module: str, each: Layout) -> bool:
        owner = layout.get(module.removesuffix(".bias"))
        return module.endswith(".bias") and each.needs_base and owner is not None and owner.kind == each.kind

    return {module: each for module, each in layout.items() if not repeats(module, each)}
