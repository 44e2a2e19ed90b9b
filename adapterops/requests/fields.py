"""What a request names: models, adapters, and how much is written in which form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adapterops.errors import OptionError
from adapterops.formats.registry import DEFAULT
from adapterops.operations.truncation import check_cut
from adapterops.requests.amounts import budget

IN_MEMORY, IN_FILES = NAMES = ("model", "files")
"""Whose names the modules of an adapter have: those of the model in memory, which PEFT wants, or those of its files, which
programs that serve models want where the two differ.
"""


DEQUANTIZED, ORIGINAL = VIEWS = ("dequantized", "original")
"""What an update is added to, where the base is quantized:
what its codes stand for, or the model it was quantized from.
"""


@dataclass(frozen=True)
class Model:
    """A checkpoint to read.

    Attributes:
        path: relative to the folder of the request, or a reference with a scheme (`hf://`).
        hashes: algorithm → what its tensors must hash to, or each file by its name.
    """

    path: str
    hashes: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Input:
    """An adapter to read; see `Model` and `open_adapter`. `component`: of a pipeline the model that it is for. `tuned`: it
    is a model that was tuned from the base, and stands for their difference. `grams`: the Gram matrices of what its modules
    took in, for methods that ask for them.
    """

    path: str
    hashes: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)
    alpha: float | None = None
    allow_nonfinite: bool = False
    component: str | None = None
    tuned: bool = False
    grams: Model | None = None

    def __post_init__(self) -> None:
        for name in ("alpha", "allow_nonfinite", "component", "grams") if self.tuned else ():
            if getattr(self, name):
                raise OptionError(f"{name} is for adapters, and {self.path} is a tuned model", hint="leave it out")


@dataclass(frozen=True)
class Quantize:
    """The scheme to write; `block_size` None is the one of the scheme."""

    scheme: str
    double_quant: bool = False
    block_size: int | None = None


@dataclass(frozen=True)
class Layers:
    """The layers [first, end) of a model."""

    model: Model
    first: int
    end: int


@dataclass(frozen=True)
class Extract:
    """The model whose difference from the base is wanted, and what becomes of changed norms, biases and embeddings."""

    tuned: Model
    rest: str = "keep"


@dataclass(frozen=True)
class Output:
    """How much is written, and in which form. At most one of rank, energy and budget; a budget is in its `spelled`
    form.

    `format` is that of an adapter; None for that of the inputs. `adapter`: the result itself is written, and a base is not fused
    with it, but says what its modules are called: as the model in memory does, or as its files do.
    `normalize`: in PEFT's format, as every program applies it alike; see `normalization.normalize`.
    `tensor_types`: of a GGUF model, what its tensors are written in; see `tensor_types.tensor_types`.
    """

    dtype: str | None = None
    format: str | None = None
    adapter: bool = False
    names: str | None = None
    normalize: bool = False
    rank: int | None = None
    energy: float | None = None
    budget: str | None = None
    exact: bool = False
    max_shard_size: int | None = None
    tensor_types: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.cut:
            check_cut(**self.cut)
        if self.normalize and self.format not in (None, DEFAULT):
            raise OptionError(
                f"normalize writes {DEFAULT}'s format, and {self.format} is asked for",
                hint="leave one of them out; what is converted has its scale folded in, too",
            )

    @property
    def cut(self) -> dict[str, Any]:
        """The arguments of `truncate`; none where nothing is cut."""
        number, unit = budget(self.budget)
        given = {"rank": self.rank, "energy": self.energy, "budget": number}
        chosen = {name: value for name, value in given.items() if value is not None}
        return {**chosen, "unit": unit} if number is not None else chosen
