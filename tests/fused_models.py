"""Models and adapters of a few layers, in memory and in files, for the laws of fusing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from corpus import MODULES, file_bytes, write_adapter
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from adapterops import Adapter, LowRank
from adapterops.arrays.dtypes import BITS, FLOATS
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.checkpoints.saving import SavedCheckpoint, save_checkpoint
from adapterops.engine.execution import Execution

Numbers = NDArray[np.float64]
Folders = pytest.TempPathFactory

DTYPES = ["F32", "F16", "BF16", "F64"]
FORMATS = {"F64": (53, -1022), "F32": (24, -126), "F16": (11, -14), "BF16": (8, -126)}
"""Bits of the significand, and the smallest exponent."""

SLACK = {"float32": 1e-6, "float64": 1e-14}
"""What a few operations in a precision lose, of |W| + |s| |B| |A|: some steps of 2^-24 and of 2^-53."""

few = settings(max_examples=25)
any_seed = st.integers(0, 10**6)


def step(x: Numbers, dtype: str) -> Numbers:
    """The distance of numbers like `x` in a dtype."""
    bits, lowest = FORMATS[dtype]
    exponents = np.where(x == 0, lowest, np.frexp(x)[1] - 1)
    return np.ldexp(1.0, np.maximum(exponents, lowest) - bits + 1)


def rounded(x: Numbers, dtype: str) -> Numbers:
    """`x` to nearest, ties to even: scaling by a power of two is exact, and `rint` rounds to even."""
    return x if dtype == "F64" else np.rint(x / step(x, dtype)) * step(x, dtype)


def wide(tensor: Tensor) -> Numbers:
    numbers: Numbers = torch.as_tensor(tensor).double().numpy()
    return numbers


class Layer(NamedTuple):
    """A weight as it is stored, and its update; `turned`: it is stored as (in, out)."""

    W: Tensor
    update: LowRank
    turned: bool = False

    @property
    def delta(self) -> Numbers:
        """ΔW in float64, as the weight is stored."""
        delta = self.update.scale * wide(self.update.B) @ wide(self.update.A)
        return delta.T if self.turned else delta

    @property
    def size(self) -> Numbers:
        """|W| + |s| |B| |A|, of which rounding errors are a fraction."""
        terms = abs(self.update.scale) * abs(wide(self.update.B)) @ abs(wide(self.update.A))
        return abs(wide(self.W)) + (terms.T if self.turned else terms)


def layer(
    seed: int, out: int, into: int, rank: int, scale: float, dtype: str, kind: torch.dtype, turned: bool, whole: bool
) -> Layer:
    """With `whole`, small whole numbers over powers of two:
    W + ΔW is exact in float32, and often half between two numbers.
    """
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int, most: int, over: int = 1) -> Tensor:
        if whole:
            return torch.randint(-most, most + 1, shape, generator=generator).double() / over
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    W, B, A = random(out, into, most=120, over=16), random(out, rank, most=3), random(rank, into, most=3)
    W = (W.T.contiguous() if turned else W).to(getattr(torch, FLOATS[dtype]))
    return Layer(W, LowRank(B.to(kind), A.to(kind), scale), turned)


@st.composite
def models(draw: st.DrawFn, whole: bool = False, dtypes: Sequence[str] = DTYPES) -> dict[str, Layer]:
    """Up to three layers of any shape, stored as (out, in) or as (in, out)."""
    dtype, turned = draw(st.sampled_from(dtypes)), draw(st.booleans())
    kind = draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64]))
    scales = [0.25, 1.0, -2.0] if whole else [0.37, 1.0, -16 / 7**0.5]
    found = {}
    for index in range(draw(st.integers(1, 3))):
        out, into, rank = draw(st.integers(1, 12)), draw(st.integers(1, 12)), draw(st.integers(1, 4))
        name = f"h.{index}.mlp.{'c_fc' if turned else 'up_proj'}"
        found[name] = layer(draw(any_seed), out, into, rank, draw(st.sampled_from(scales)), dtype, kind, turned, whole)
    return found


OTHERS = {
    "norm.weight": ("BF16", (5,)),
    "norm.bias": ("F32", (5,)),
    "wte.weight": ("F16", (4, 5)),
    "conv.weight": ("F64", (2, 3, 2)),
    "positions": ("I64", (3,)),
    "mask": ("BOOL", (2, 3)),
    "attn.bias": ("U8", (1, 1, 6, 1)),
    "eighth": ("F8_E4M3", (9,)),
    "scale": ("F32", ()),
    "empty.weight": ("BF16", (0, 4)),
    "narrow.weight": ("F32", (4, 0)),
}


def random_bytes(dtype: str, shape: tuple[int, ...], generator: torch.Generator) -> bytes:
    count = int(np.prod(shape)) * BITS[dtype] // 8
    return torch.randint(2 if dtype == "BOOL" else 256, (count,), generator=generator).to(torch.uint8).numpy().tobytes()


def write_file(path: Path, raw: dict[str, tuple[str, tuple[int, ...], bytes]]) -> None:
    """A safetensors file whose tensors lie in the order of the dict."""
    header, position = {}, 0
    for name, (dtype, shape, content) in raw.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, position + len(content)]}
        position += len(content)
    path.write_bytes(file_bytes(header, b"".join(content for _, _, content in raw.values())))


def read_file(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Every tensor of a safetensors file, as its bytes."""
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    return {
        name: (
            entry["dtype"],
            tuple(entry["shape"]),
            content[begin + entry["data_offsets"][0] : begin + entry["data_offsets"][1]],
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


def read_folder(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    found: dict[str, tuple[str, tuple[int, ...], bytes]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        new = read_file(path)
        assert not found.keys() & new.keys()
        found |= new
    return found


def raw_of(model: dict[str, Layer], seed: int = 0) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """The layers of a model and tensors of every other kind, of random bytes:
    NaN, infinite and denormal numbers too.
    """
    generator = torch.Generator().manual_seed(seed)
    names = {f"torch.{long}": short for short, long in FLOATS.items()}
    weights = {
        f"transformer.{name}.weight": (
            names[str(each.W.dtype)],
            tuple(each.W.shape),
            each.W.reshape(-1).view(torch.uint8).numpy().tobytes(),
        )
        for name, each in model.items()
    }
    return weights | {
        name: (dtype, shape, random_bytes(dtype, shape, generator)) for name, (dtype, shape) in OTHERS.items()
    }


def write_model(folder: Path, model: dict[str, Layer], seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "model.safetensors", raw_of(model, seed))
    kind = "gpt2" if any(each.turned for each in model.values()) else "llama"
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    (folder / "tokenizer.json").write_text("{}")
    return folder


def base_of(folders: Folders, model: dict[str, Layer]) -> Checkpoint:
    return open_checkpoint(write_model(folders.mktemp("base"), model))


def adapter_of(model: dict[str, Layer]) -> Adapter:
    return Adapter.of({name: each.update for name, each in model.items()})


FAST = Execution(sync=False)


def save(checkpoint: Checkpoint, out: Path, how: Execution = FAST, **options: Any) -> SavedCheckpoint:
    return save_checkpoint(checkpoint, out, how=how, **options)


def assert_between(found: Numbers, exact: Numbers, slack: Numbers, dtype: str) -> None:
    """`found` is `exact` rounded once, unless that is within `slack` of where the rounding turns:
    then it may be either side.
    """
    assert (rounded(exact - slack, dtype) <= found).all()
    assert (found <= rounded(exact + slack, dtype)).all()


def write_pair(folder: Path) -> None:
    """A base and two adapters."""
    folder.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(1)
    (folder / "base").mkdir()
    weights = {f"model.{name}.weight": torch.randn(12, 8, generator=generator).bfloat16() for name in MODULES}
    save_file({**weights, "model.norm.weight": torch.ones(8)}, folder / "base/model.safetensors", {"format": "pt"})
    (folder / "base/config.json").write_text('{"model_type": "llama", "torch_dtype": "bfloat16"}')
    for seed, name in enumerate("ab"):
        write_adapter(folder / name, seed=seed)
