"""The blocks of ggml, as GGUF models have them. Those of `ggml_blocks` are decoded and take other numbers; the rest is
decoded by the library that owns the format, where it is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from adapterops.arrays.ggml import BLOCKS
from adapterops.errors import NotFoundError, UnsupportedError
from adapterops.quant.checks import check_finite
from adapterops.quant.ggml_blocks import KINDS, BlockType, join, split
from adapterops.quant.ggml_grid import stochastic
from adapterops.quant.ggml_new import NEW, new
from adapterops.quant.header import Claim, Header
from adapterops.quant.registry import scheme
from adapterops.quant.scheme import Encoder, Part, Read, at_once

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.arrays.floats import Array

SMALLEST_STEP = 1e-30
"""What a step of zero is taken for, so that a number over it is finite."""

SIZES = {kind.name: kind for kind in BLOCKS.values()}


@scheme(*SIZES, marks=())
@dataclass(frozen=True)
class Ggml:
    """A type of ggml: blocks of 32 or 256 entries of a row, codes and scales in one part.

    Attributes:
        type: as llama.cpp calls it, such as Q4_K.
    """

    type: str
    dtype: str = "BF16"

    @classmethod
    def detect(cls, header: Header, tensor: str, role: str) -> Claim | None:
        """A GGUF file says the type itself; no other has them."""
        return None

    @property
    def name(self) -> str:
        return self.type

    @property
    def bits(self) -> float:
        """
        >>> Ggml("Q4_K").bits, Ggml("Q8_0").bits
        (4.5, 8.5)
        """
        return 8 * SIZES[self.type].bytes / SIZES[self.type].entries

    def parts(self, shape: tuple[int, ...]) -> dict[str, Part]:
        """
        >>> Ggml("Q4_1").parts((3, 64))
        {'': Part(dtype='U8', shape=(3, 40))}
        """
        return {"": Part("U8", (*shape[:-1], self.row(shape)))}

    def row(self, shape: tuple[int, ...]) -> int:
        """Bytes of a row."""
        return shape[-1] // SIZES[self.type].entries * SIZES[self.type].bytes

    def granularity(self, shape: tuple[int, ...]) -> int:
        return 1

    @property
    def kind(self) -> BlockType:
        """What a block is made of.

        Raises:
            UnsupportedError: that is not known here, so that it takes no other numbers.
        """
        if self.type not in KINDS:
            raise UnsupportedError(
                f"is stored in {self.type}, and only {', '.join(KINDS)} take other numbers here",
                hint="--tensor-type Q8_0 writes adapted tensors of such types in Q8_0; or write 16 bits, with --dtype bfloat16; "
                "or give the checkpoint that the file was converted from",
            )
        return KINDS[self.type]

    def check_decoded(self) -> None:
        """Raise NotFoundError where decoding needs the library, and that is not there."""
        if self.type not in KINDS and find_spec("gguf") is None:
            raise NotFoundError(
                f"is stored in {self.type}, which the library gguf decodes, and it is not installed",
                hint="pip install 'adapterops[gguf]'; or give the checkpoint that the file was converted from",
                code="E-NOT-INSTALLED",
            )

    def stored(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Array:
        """The bytes of rows [begin, end)."""
        found: Array = read("", begin * self.row(shape), end * self.row(shape)).numpy()
        return found

    def decode(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        import torch

        data = self.stored(shape, read, begin, end)
        if self.type in KINDS:
            values = split(self.kind, data).values()
        else:
            self.check_decoded()
            import gguf

            values = gguf.dequantize(data.reshape(end - begin, -1), gguf.GGMLQuantizationType[self.type])
        return torch.from_numpy(values).view(end - begin, shape[-1])

    def numbers(self) -> Tensor:
        import torch

        kind = self.kind
        return torch.tensor(kind.table or range(kind.low, kind.high + 1), dtype=torch.float32)

    def codes(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        import numpy as np
        import torch

        kind = self.kind
        numbers = split(kind, self.stored(shape, read, begin, end)).codes
        places = np.searchsorted(kind.table, numbers) if kind.table else numbers - np.int16(kind.low)
        return torch.from_numpy(places.astype(np.uint8)).view(end - begin, shape[-1])

    def scales(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """Of a step of zero, which holds one number alone, `SMALLEST_STEP` in its place."""
        import numpy as np
        import torch

        fields = split(self.kind, self.stored(shape, read, begin, end))
        step, below = fields.steps()
        step = np.where(step == 0, np.float32(SMALLEST_STEP), step)
        each = (np.broadcast_to(one, fields.codes.shape).reshape(end - begin, -1) for one in (step, below / step))
        scale, zero = (torch.from_numpy(np.ascontiguousarray(one)) for one in each)
        return scale, zero

    def encoded_parts(self, shape: tuple[int, ...], codes: Tensor, read: Read, begin: int) -> dict[str, Tensor]:
        import numpy as np
        import torch

        kind = self.kind
        fields = split(kind, self.stored(shape, read, begin, begin + len(codes)))
        numbers = self.numbers().numpy().astype(np.int16)[codes.numpy()].reshape(fields.codes.shape)
        return {"": torch.from_numpy(join(kind, fields._replace(codes=numbers)))}

    def on_grid(self, shape: tuple[int, ...], read: Read, key: str) -> Encoder:
        return OnBlocks(self, shape, read, key)

    def encoder(self, shape: tuple[int, ...], key: str | None = None) -> Encoder:
        """To blocks with scales of their own: each number to the nearest, or with a key as `on_grid` does.

        Raises:
            UnsupportedError: of this type no blocks are made again.
        """
        if self.type not in NEW:
            raise UnsupportedError(
                f"{self.type} is not written with new codes", hint=f"--tensor-type writes {', '.join(NEW)}"
            )
        return InNewBlocks(self, shape, key)

    def changed(self, shape: tuple[int, ...], read: Read, begin: int, parts: Mapping[str, Tensor]) -> Tensor:
        import torch

        kind, made = self.kind, parts[""].numpy().reshape(-1)
        end = begin + len(made) // self.row(shape)
        before = split(kind, self.stored(shape, read, begin, end)).codes
        return torch.from_numpy(split(kind, made).codes != before).view(end - begin, shape[-1])


@dataclass(frozen=True)
class OnBlocks:
    """To one of the two neighbouring numbers, at random, so that the mean is right; see `ggml_grid`."""

    scheme: Ggml
    shape: tuple[int, ...]
    read: Read
    key: str

    written = at_once

    def rows(self, values: Tensor, begin: int) -> tuple[Mapping[str, Tensor], Callable[[], Tensor]]:
        import torch

        from adapterops.arrays.random import generator

        values = values.cpu()  # where the random numbers are the same on every machine
        check_finite(values)
        kind = self.scheme.kind
        fields = split(kind, self.scheme.stored(self.shape, self.read, begin, begin + len(values)))
        chance = torch.rand(values.shape, generator=generator(self.key, begin))
        target, at_random = (each.numpy().reshape(fields.codes.shape) for each in (values, chance))
        made = stochastic(kind, fields, target, at_random, len(values))
        return {"": torch.from_numpy(join(kind, made))}, lambda: torch.from_numpy(made.values()).view(values.shape)

    def rest(self) -> Mapping[str, Tensor]:
        return {}


@dataclass(frozen=True)
class InNewBlocks:
    """In blocks whose scales are found from their numbers; with a key, codes are chosen at random, so that the mean is right."""

    scheme: Ggml
    shape: tuple[int, ...]
    key: str | None

    written = at_once

    def rows(self, values: Tensor, begin: int) -> tuple[Mapping[str, Tensor], Callable[[], Tensor]]:
        import torch

        from adapterops.arrays.random import generator

        values = values.cpu()
        check_finite(values)
        kind, entries = self.scheme.kind, SIZES[self.scheme.type].entries
        target = values.numpy().reshape(-1, kind.groups, entries // kind.groups)
        made = new(self.scheme.type, target, reaching=self.key is not None)
        if self.key is not None:
            chance = torch.rand(values.shape, generator=generator(self.key, begin))
            made = stochastic(kind, made, target, chance.numpy().reshape(target.shape), len(values), beyond=0)
        return {"": torch.from_numpy(join(kind, made))}, lambda: torch.from_numpy(made.values()).view(values.shape)

    def rest(self) -> Mapping[str, Tensor]:
        return {}
