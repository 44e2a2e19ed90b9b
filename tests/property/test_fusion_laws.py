"""Fusing is W + ΔW, rounded once; everything else stays as it is, byte for byte; the same work gives the same bytes."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from corpus import MODULES, factors, file_bytes, tree, write_adapter
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from adapterops import Adapter, LowRank, merge, open_adapter
from adapterops.arrays.dtypes import BITS, FLOATS
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.layouts import cast, sharded
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.checkpoints.saving import SavedCheckpoint, save_checkpoint
from adapterops.cli.main import run
from adapterops.engine.execution import Execution
from adapterops.errors import IncompatibleError, InputError
from adapterops.operations.fusion import fuse, unfuse
from adapterops.storage.safetensors import CHUNK
from adapterops.storage.strict import read_json
from adapterops.updates.dense import Dense
from adapterops.updates.layout import TILE

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
        name = f"h.{index}.mlp.c_fc"
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


# 6.6: correctly rounded, once


@few
@given(models(whole=True), st.sampled_from(["float32", "float64"]))
def test_a_fused_weight_is_the_sum_correctly_rounded_bit_for_bit(
    tmp_path_factory: Folders, model: dict[str, Layer], precision: str
) -> None:
    base = base_of(tmp_path_factory, model)
    fused = fuse(base, adapter_of(model), precision=precision)
    for name, each in model.items():
        tensor = f"transformer.{name}.weight"
        assert np.array_equal(
            wide(fused.tensors[tensor]), rounded(wide(each.W) + each.delta, base.layout[tensor].dtype)
        )
        assert fused.layout[tensor] == base.layout[tensor]


@few
@given(models(), st.sampled_from(["float32", "float64"]))
def test_a_fused_weight_is_the_sum_rounded_once(
    tmp_path_factory: Folders, model: dict[str, Layer], precision: str
) -> None:
    base = base_of(tmp_path_factory, model)
    fused = fuse(base, adapter_of(model), precision=precision)
    for name, each in model.items():
        tensor = f"transformer.{name}.weight"
        exact, slack = wide(each.W) + each.delta, SLACK[precision] * each.size
        assert_between(wide(fused.tensors[tensor]), exact, slack, base.layout[tensor].dtype)


@few
@given(models(whole=True), st.sampled_from(DTYPES))
def test_a_dtype_that_is_asked_for_is_rounded_to_once_too(
    tmp_path_factory: Folders, model: dict[str, Layer], dtype: str
) -> None:
    """Adapted or not, whatever the base's dtype."""
    base = base_of(tmp_path_factory, model)
    fused = cast(fuse(base, adapter_of(model), dtype=dtype), dtype)
    for name, each in model.items():
        tensor = f"transformer.{name}.weight"
        assert fused.layout[tensor].dtype == dtype
        assert np.array_equal(wide(fused.tensors[tensor]), rounded(wide(each.W) + each.delta, dtype))
    plain = cast(base, dtype)
    for name, each in model.items():
        assert np.array_equal(wide(plain.tensors[f"transformer.{name}.weight"]), rounded(wide(each.W), dtype))


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
def test_numbers_beside_ties_are_rounded_once_whether_they_are_adapted_or_not(tmp_path: Path, dtype: str) -> None:
    """Of which float32 would make ties."""
    half = 2.0 ** -FORMATS[dtype][0]
    W = torch.tensor(
        [[1 + half + 2**-50, 1 + half, 1 + half - 2**-50, -1 - half - 2**-50, 1 + 3 * half - 2**-50]],
        dtype=torch.float64,
    )
    experts = "layers.0.mlp.experts.down_proj"
    save_file({"a.weight": W, "b.weight": W.clone(), experts: torch.stack([W, W])}, tmp_path / "model.safetensors")
    nothing = LowRank(torch.zeros(1, 1), torch.ones(1, 5))
    adapter = Adapter.of({"a": nothing, "layers.0.mlp.experts.1.down_proj": nothing})
    result = dict(cast(fuse(open_checkpoint(tmp_path), adapter, dtype=dtype, precision="float64"), dtype).tensors)
    for tensor in (result["a.weight"], result["b.weight"], *result[experts]):
        assert np.array_equal(wide(tensor), rounded(wide(W), dtype))


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(TILE // 300 + 34, 300), (3, TILE // 2 + 1), (1, 2 * TILE + 1), (TILE + 1, 1)], ids=str
)
def test_weights_of_several_tiles(
    tmp_path_factory: Folders, shape: tuple[int, int], dtype: str, precision: str
) -> None:
    model = {"h.0.mlp.c_fc": layer(3, *shape, 2, 0.25, dtype, torch.float32, False, True)}
    (each,) = model.values()
    fused = fuse(base_of(tmp_path_factory, model), adapter_of(model), precision=precision)
    assert np.array_equal(
        wide(fused.tensors["transformer.h.0.mlp.c_fc.weight"]), rounded(wide(each.W) + each.delta, dtype)
    )


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F64"])
def test_tensors_in_memory_are_those_that_are_saved(tmp_path_factory: Folders, dtype: str) -> None:
    """In several tiles, which share their memory; added to twice, which does not."""
    each = layer(1, 1300, 900, 3, 0.25, dtype, torch.float32, False, True)
    model, name = {"h.0.mlp.c_fc": each}, "transformer.h.0.mlp.c_fc.weight"
    fused = fuse(
        fuse(base_of(tmp_path_factory, model), adapter_of(model)), 0.5 * adapter_of(model), precision="float64"
    )
    out = tmp_path_factory.mktemp("out") / "fused"
    save(fused, out)
    assert len(list(fused.blocks(name))) > 1
    assert torch.equal(fused.tensors[name], open_checkpoint(out).tensors[name])
    assert_between(wide(fused.tensors[name]), wide(each.W) + 1.5 * each.delta, SLACK["float32"] * each.size, dtype)


@few
@given(models())
def test_a_dense_update_is_fused_whole(tmp_path_factory: Folders, model: dict[str, Layer]) -> None:
    base = base_of(tmp_path_factory, model)
    dense = Adapter.of(
        {name: Dense(each.update.scale * wide(each.update.B) @ wide(each.update.A)) for name, each in model.items()}
    )
    fused = fuse(base, dense, precision="float64")
    for name, each in model.items():
        tensor = f"transformer.{name}.weight"
        assert_between(
            wide(fused.tensors[tensor]),
            wide(each.W) + each.delta,
            SLACK["float64"] * each.size,
            base.layout[tensor].dtype,
        )


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_entry_whose_update_is_zero_keeps_its_bits(tmp_path_factory: Folders, dtype: str, precision: str) -> None:
    each = layer(5, 8, 6, 2, 1.0, dtype, torch.float32, False, False)
    each.update.B[3:] = 0
    model = {"h.0.mlp.c_fc": each}
    fused = fuse(base_of(tmp_path_factory, model), adapter_of(model), precision=precision).tensors[
        "transformer.h.0.mlp.c_fc.weight"
    ]
    assert torch.equal(fused[3:], each.W[3:])
    assert not torch.equal(fused[:3], each.W[:3])


@few
@given(models(), any_seed)
def test_every_other_tensor_is_byte_identical(tmp_path_factory: Folders, model: dict[str, Layer], seed: int) -> None:
    folder = tmp_path_factory.mktemp("other")
    base = write_model(folder / "base", model, seed)
    before = tree(base)
    changed = {f"transformer.{name}.weight" for name in model}
    save(fuse(open_checkpoint(base), adapter_of(model), precision="float64"), folder / "out")
    found, expected = read_folder(folder / "out"), read_folder(base)
    assert list(found) == list(expected)
    for name, raw in expected.items():
        if name in changed:
            assert found[name][:2] == raw[:2]
        else:
            assert found[name] == raw
    assert tree(base) == before
    assert (folder / "out/tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert (folder / "out/config.json").read_bytes() == (base / "config.json").read_bytes()


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "pickle"])
def test_a_tensor_that_is_copied_in_several_pieces_is_byte_identical(tmp_path: Path, pickled: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    large = torch.randint(256, (2 * CHUNK + 4099,), generator=generator).to(torch.uint8)
    tensors = {"h.0.weight": torch.zeros(2, 2), "large": large, "last": torch.arange(3)}
    (tmp_path / "base").mkdir()
    if pickled:
        torch.save(tensors, tmp_path / "base/pytorch_model.bin")
    else:
        save_file(tensors, tmp_path / "base/model.safetensors")
    update = LowRank(torch.ones(2, 1), torch.ones(1, 2))
    save(fuse(open_checkpoint(tmp_path / "base", allow_pickle=pickled), Adapter.of({"h.0": update})), tmp_path / "out")
    found = read_folder(tmp_path / "out")
    assert found["large"] == ("U8", (len(large),), large.numpy().tobytes())
    assert found["last"][2] == tensors["last"].numpy().tobytes()
    assert found["h.0.weight"][2] == torch.ones(2, 2).numpy().tobytes()


@few
@given(models(), st.sampled_from(["float32", "float64"]))
def test_unfusing_what_was_fused_is_within_the_rounding_of_both(
    tmp_path_factory: Folders, model: dict[str, Layer], precision: str
) -> None:
    base = base_of(tmp_path_factory, model)
    fused = fuse(base, adapter_of(model), precision=precision)
    restored = unfuse(fused, adapter_of(model), precision=precision)
    for name, each in model.items():
        tensor = f"transformer.{name}.weight"
        dtype = base.layout[tensor].dtype
        there, back = wide(fused.tensors[tensor]), wide(restored.tensors[tensor])
        bound = (step(there, dtype) + step(back, dtype)) / 2 + 2 * SLACK[precision] * (each.size + abs(there))
        assert (abs(back - wide(each.W)) <= bound).all()


@few
@given(models(whole=True, dtypes=["F32", "F64"]))
def test_unfusing_is_exact_where_nothing_was_rounded(tmp_path_factory: Folders, model: dict[str, Layer]) -> None:
    base = base_of(tmp_path_factory, model)
    restored = unfuse(fuse(base, adapter_of(model)), adapter_of(model))
    for name, each in model.items():
        assert torch.equal(restored.tensors[f"transformer.{name}.weight"], each.W)


@few
@given(models(dtypes=["F16", "BF16"]))
def test_what_survived_is_what_the_files_show(tmp_path_factory: Folders, model: dict[str, Layer]) -> None:
    """The gain, the ratio and the counts that are noted, from the bytes that were written."""
    folder = tmp_path_factory.mktemp("survival")
    base = open_checkpoint(write_model(folder / "base", model))
    saved = save(fuse(base, adapter_of(model)), folder / "out")
    written = open_checkpoint(folder / "out")
    noted = json.loads((folder / "out/adapterops.json").read_text())["modules"]
    assert saved.modules.keys() == noted.keys() == model.keys()
    for name, each in model.items():
        moved = wide(written.tensors[f"transformer.{name}.weight"]) - wide(each.W)
        found = saved.modules[name]
        assert (found.entries, found.changed) == (moved.size, int((moved != 0).sum()))
        assert found.gain == pytest.approx(
            float((moved * each.delta).sum() / (each.delta**2).sum()), rel=1e-4, abs=1e-4
        )
        assert found.relative == pytest.approx(
            float(np.linalg.norm(each.delta) / np.linalg.norm(wide(each.W))), rel=1e-4
        )
        assert noted[name] == {
            "relative": found.relative,
            "gain": found.gain,
            "changed": found.changed,
            "entries": found.entries,
        }


@pytest.mark.parametrize("place", ["adapted", "another tensor", "another expert"])
def test_a_number_that_does_not_fit_the_dtype_is_an_error_wherever_it_is(tmp_path: Path, place: str) -> None:
    experts = "layers.0.mlp.experts.down_proj"
    tensors = {"a.weight": torch.ones(2, 3), "b.weight": torch.ones(2, 3), experts: torch.ones(2, 2, 3)}
    {"adapted": tensors["a.weight"], "another tensor": tensors["b.weight"], "another expert": tensors[experts][0]}[
        place
    ][1, 1] = 1e5
    (tmp_path / "base").mkdir()
    save_file(tensors, tmp_path / "base/model.safetensors")
    update = LowRank(torch.ones(2, 1), torch.ones(1, 3))
    model = fuse(
        open_checkpoint(tmp_path / "base"),
        Adapter.of({"a": update, "layers.0.mlp.experts.1.down_proj": update}),
        dtype="F16",
    )
    with pytest.raises(IncompatibleError, match="too large"):
        save(cast(model, "F16"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


# Several adapters


SUMS: dict[str, Callable[[Adapter, Adapter, tuple[float, float]], Adapter]] = {
    "+": lambda one, two, weights: weights[0] * one + weights[1] * two,
    "cat": lambda one, two, weights: merge([one, two], "cat", weights=weights),
    "linear": lambda one, two, weights: merge([one, two], weights=weights),
}


@pytest.mark.parametrize("summed", SUMS.values(), ids=SUMS)
@few
@given(models(whole=True), any_seed, st.sampled_from([(1.0, 1.0), (0.5, -1.0), (2.0, 0.25)]))
def test_several_adapters_are_summed_before_the_one_rounding(
    tmp_path_factory: Folders,
    summed: Callable[[Adapter, Adapter, tuple[float, float]], Adapter],
    model: dict[str, Layer],
    seed: int,
    weights: tuple[float, float],
) -> None:
    """Bit for bit, also where their ranks add up to more than that of the matrix."""
    base = base_of(tmp_path_factory, model)
    other = {
        name: layer(seed, *each.update.shape, 2, 0.5, "F32", torch.float32, each.turned, True)
        for name, each in list(model.items())[: 1 + seed % 3]
    }
    fused = fuse(base, summed(adapter_of(model), adapter_of(other), weights))
    for name, each in model.items():
        tensor = f"transformer.{name}.weight"
        delta = weights[0] * each.delta + (weights[1] * other[name].delta if name in other else 0)
        assert np.array_equal(wide(fused.tensors[tensor]), rounded(wide(each.W) + delta, base.layout[tensor].dtype))


def test_two_updates_of_half_a_step_make_a_whole_one(tmp_path: Path) -> None:
    """One after the other, rounding would erase each."""
    module = "layers.0.q_proj"
    (tmp_path / "base").mkdir()
    save_file({f"{module}.weight": torch.full((2, 2), 256.0).bfloat16()}, tmp_path / "base/model.safetensors")
    ones = {
        f"base_model.model.{module}.lora_A.weight": torch.ones(1, 2),
        f"base_model.model.{module}.lora_B.weight": torch.ones(2, 1),
    }
    for name in "ab":
        write_adapter(tmp_path / name, ones, {"peft_type": "LORA", "r": 1, "lora_alpha": 1})
    arguments = [str(tmp_path / name) for name in ("base", "a", "b")]
    assert run(["fuse", *arguments, "--scale", "sum", "-o", str(tmp_path / "both")]) == 0
    assert open_checkpoint(tmp_path / "both").tensors[f"{module}.weight"].eq(258).all()
    assert run(["fuse", *arguments[:2], "-o", str(tmp_path / "one")]) == 8
    assert run(["fuse", *arguments, "--scale", "sum", "--dtype", "float32", "-o", str(tmp_path / "wide")]) == 0
    assert (
        run(["unfuse", str(tmp_path / "both"), *arguments[1:], "--scale", "sum", "-o", str(tmp_path / "restored")]) == 0
    )
    assert open_checkpoint(tmp_path / "restored").tensors[f"{module}.weight"].eq(256).all()


# 6.2: the merge identity, for every kind of layer


class Kind(NamedTuple):
    """A base, the modules of an adapter for it, and where the (out, in) weight of each is."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]
    weights: dict[str, Callable[[dict[str, Tensor]], Tensor]]


def linear(random: Callable[..., Tensor]) -> Kind:
    return Kind(
        {"model.layers.0.q_proj.weight": random(7, 5)},
        {},
        {"layers.0.q_proj": lambda t: t["model.layers.0.q_proj.weight"]},
    )


def conv1d(random: Callable[..., Tensor]) -> Kind:
    shapes = {"h.0.attn.c_attn": (4, 12), "h.0.attn.c_proj": (4, 4), "h.0.mlp.c_fc": (4, 16), "h.0.mlp.c_proj": (16, 4)}
    return Kind(
        {f"transformer.{name}.weight": random(*shape) for name, shape in shapes.items()},
        {"model_type": "gpt2"},
        {f"transformer.{name}": lambda t, name=name: t[f"transformer.{name}.weight"].T for name in shapes},  # type: ignore[misc]
    )


def fused_experts(turned: bool) -> Callable[[Callable[..., Tensor]], Kind]:
    E, H, I, place = 3, 5, 4, "model.layers.0.mlp.experts"  # noqa: E741  # the letters of the reference

    def expert(e: int, part: str) -> Callable[[dict[str, Tensor]], Tensor]:
        def weight(tensors: dict[str, Tensor]) -> Tensor:
            values = tensors[f"{place}.{'down' if part == 'down' else 'gate_up'}_proj"][e]
            matrix = values.T if turned else values
            return {"gate": matrix[:I], "up": matrix[I:], "down": matrix}[part]

        return weight

    def kind(random: Callable[..., Tensor]) -> Kind:
        shapes = {"gate_up_proj": (2 * I, H), "down_proj": (H, I)}
        modules = {f"{place}.{e}.{part}_proj": expert(e, part) for e in (0, 2) for part in ("gate", "up", "down")}
        tensors = {f"{place}.{name}": random(E, *(shape[::-1] if turned else shape)) for name, shape in shapes.items()}
        return Kind(tensors, {"model_type": "qwen3_moe"}, modules)

    return kind


def experts(random: Callable[..., Tensor]) -> Kind:
    parts = {"w1": (4, 5), "w2": (5, 4), "w3": (4, 5)}
    names = {
        f"model.layers.0.block_sparse_moe.experts.{e}.{part}": shape for e in (0, 1) for part, shape in parts.items()
    }
    return Kind(
        {f"{name}.weight": random(*shape) for name, shape in names.items()},
        {"model_type": "mixtral"},
        {name: lambda t, name=name: t[f"{name}.weight"] for name in names},  # type: ignore[misc]
    )


def tied_head(random: Callable[..., Tensor]) -> Kind:
    config = {"model_type": "llama", "tie_word_embeddings": True}
    # before it is fused the head is the embedding
    head = {"lm_head": lambda t: t.get("lm_head.weight", t["model.embed_tokens.weight"])}
    return Kind({"model.embed_tokens.weight": random(9, 4), "model.norm.weight": random(4)}, config, head)


KINDS = {
    "linear": linear,
    "conv1d": conv1d,
    "experts by themselves": experts,
    "experts (out, in)": fused_experts(False),
    "experts (in, out)": fused_experts(True),
    "tied head": tied_head,
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=8)
@given(any_seed, st.integers(1, 4), st.sampled_from([0.37, -2.0]))
def test_merge_identity(
    tmp_path_factory: Folders,
    kind: Callable[[Callable[..., Tensor]], Kind],
    dtype: str,
    seed: int,
    rank: int,
    scale: float,
) -> None:
    """(W0 + sBA) x = W0 x + s B (A x):
    each entry of W contributes at most half a step of its dtype, and what float32 loses.
    """
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(getattr(torch, FLOATS[dtype]))

    tensors, config, weights = kind(random)
    folder = tmp_path_factory.mktemp("identity")
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    updates = {}
    for module, weight in weights.items():
        out, into = weight(tensors).shape
        updates[module] = LowRank(
            torch.randn(out, rank, generator=generator), torch.randn(rank, into, generator=generator), scale
        )
    fused = dict(fuse(open_checkpoint(folder), Adapter.of(updates)).tensors)
    for module, weight in weights.items():
        W0, W = wide(weight(tensors)), wide(weight(fused))
        B, A = wide(updates[module].B), wide(updates[module].A)
        x = torch.randn(W.shape[1], generator=generator).double().numpy()
        loss = step(W, dtype) / 2 + SLACK["float32"] * (abs(W0) + abs(scale) * abs(B) @ abs(A))
        assert (
            abs(W @ x - (W0 @ x + scale * (B @ (A @ x)))) <= 1.01 * loss @ abs(x)
        ).all()  # of this test's own rounding: 1.01


@pytest.mark.parametrize("turned", [False, True])
@given(seed=any_seed)
@settings(max_examples=8)
def test_experts_without_an_adapter_keep_their_bits(tmp_path_factory: Folders, turned: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensors, config, weights = fused_experts(turned)(lambda *shape: torch.randn(shape, generator=generator).bfloat16())
    folder = tmp_path_factory.mktemp("experts")
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    module = "model.layers.0.mlp.experts.2.up_proj"
    shape = weights[module](tensors).shape
    update = {module: LowRank(torch.ones(shape[0], 1), torch.ones(1, shape[1]))}
    fused = dict(fuse(open_checkpoint(folder), Adapter.of(update)).tensors)
    for name, weight in weights.items():
        assert torch.equal(weight(fused), weight(tensors)) == (name != module)
    assert torch.equal(
        fused["model.layers.0.mlp.experts.gate_up_proj"][1], tensors["model.layers.0.mlp.experts.gate_up_proj"][1]
    )


# 6.9: the same bytes


@settings(max_examples=10)
@given(models(), st.sampled_from([None, "BF16"]))
def test_the_number_of_workers_changes_no_byte(
    tmp_path_factory: Folders, model: dict[str, Layer], dtype: str | None
) -> None:
    folder = tmp_path_factory.mktemp("workers")
    base = write_model(folder / "base", model)
    for workers in (1, 2, 3):
        fused = fuse(open_checkpoint(base), adapter_of(model), dtype=dtype)
        save(fused, folder / str(workers), Execution(workers, sync=False))
    assert tree(folder / "1") == tree(folder / "2") == tree(folder / "3")


def write_split(folder: Path, raw: dict[str, tuple[str, tuple[int, ...], bytes]], places: Sequence[int]) -> Path:
    """The same tensors in several files."""
    folder.mkdir()
    files: dict[str, dict[str, Any]] = {}
    for (name, content), place in zip(raw.items(), itertools.cycle(places), strict=False):
        files.setdefault(f"model-{place + 1:05}-of-00004.safetensors", {})[name] = content
    for file, tensors in files.items():
        write_file(folder / file, tensors)
    where = {name: file for file, tensors in files.items() for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    return folder


@settings(max_examples=10)
@given(models(), st.lists(st.integers(0, 3), min_size=1, max_size=14), any_seed, st.sampled_from([1, 60, 300, 10**6]))
def test_how_the_base_and_the_output_are_divided_changes_no_tensor(
    tmp_path_factory: Folders, model: dict[str, Layer], places: list[int], seed: int, most: int
) -> None:
    model = {name: replace_turned(each) for name, each in model.items()}
    folder, raw = tmp_path_factory.mktemp("split"), raw_of(model, seed)
    shuffled = dict(sorted(raw.items(), key=lambda item: hash((seed, len(item[0]), item[1][2]))))
    results = []
    for index, given_raw in enumerate((raw, dict(reversed(raw.items())), shuffled)):
        base = write_split(folder / f"base{index}", given_raw, places if index else [0])
        fused = fuse(open_checkpoint(base), adapter_of(model))
        for name, checkpoint in ((f"as{index}", fused), (f"anew{index}", sharded(fused, most))):
            save(checkpoint, folder / name)
            results.append(read_folder(folder / name))
    assert all(result == results[0] for result in results)
    check_divided(folder / "anew2", most)


def replace_turned(each: Layer) -> Layer:
    """The same layer stored as (in, out)."""
    return each if each.turned else each._replace(W=each.W.T.contiguous(), turned=True)


def check_divided(folder: Path, most: int) -> None:
    """Each file has at most `most` bytes of tensors or one tensor, and the index says what is where."""
    files = {path.name: read_file(path) for path in folder.glob("*.safetensors")}
    for tensors in files.values():
        assert len(tensors) == 1 or sum(len(content) for _, _, content in tensors.values()) <= most
    if len(files) == 1:
        assert list(files) == ["model.safetensors"]
        assert not (folder / "model.safetensors.index.json").exists()
        return
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == {name: file for file, tensors in files.items() for name in tensors}
    assert index["metadata"]["total_size"] == sum(
        len(content) for tensors in files.values() for _, _, content in tensors.values()
    )


@settings(max_examples=5)
@given(models(), any_seed)
def test_the_order_of_the_modules_changes_no_byte(
    tmp_path_factory: Folders, model: dict[str, Layer], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("order")
    base, adapter = open_checkpoint(write_model(folder / "base", model)), adapter_of(model)
    turned = replace(
        adapter, layout=dict(reversed(adapter.layout.items())), updates=dict(reversed(adapter.updates.items()))
    )
    save(fuse(base, adapter), folder / "one")
    save(fuse(base, turned), folder / "other")
    assert tree(folder / "one") == tree(folder / "other")


WORK = """
import os
from adapterops.cli.main import run
for options, out in (([], "sum"), (["--ties", "--density", "0.5"], "ties"), (["--dtype", "float16", "--max-shard-size", "0.3kB"], "half")):
    assert run(["fuse", "base", "a", "b", *options, "-o", out, "--workers", os.environ["WORKERS"], "--no-sync"]) == 0
"""


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


def test_hash_seeds_and_workers_change_no_byte(tmp_path: Path) -> None:
    results = []
    for seed, workers in (("0", "1"), ("1", "3")):
        folder = tmp_path / seed
        write_pair(folder)
        environment = {**os.environ, "PYTHONHASHSEED": seed, "WORKERS": workers}
        subprocess.run([sys.executable, "-c", WORK], cwd=folder, env=environment, check=True, capture_output=True)
        results.append({name: tree(folder / name) for name in ("sum", "ties", "half")})
    assert results[0] == results[1]
    assert len(results[0]["half"]) > 4


# 6.10: whole or absent


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    ("number", "kind"), [(float("nan"), InputError), (float("inf"), InputError), (65504.0, IncompatibleError)]
)
def test_a_weight_that_stops_the_work_leaves_nothing(
    tmp_path: Path, workers: int, number: float, kind: type[Exception]
) -> None:
    for last in ("layers.0.q_proj", "layers.1.q_proj"):
        folder = tmp_path / last
        write_pair(folder)
        generator = torch.Generator().manual_seed(1)
        weights = {f"model.{name}.weight": torch.randn(12, 8, generator=generator).half() for name in MODULES}
        weights[f"model.{last}.weight"][:] = number
        save_file(weights, folder / "base/model.safetensors")
        before = tree(folder)
        with pytest.raises(kind) as caught:
            save(
                fuse(open_checkpoint(folder / "base"), 10 * open_adapter(folder / "a")),
                folder / "out",
                Execution(workers, sync=False),
            )
        assert getattr(caught.value, "tensor", None) in (f"model.{last}.weight", last)
        assert tree(folder) == before
        assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "base"]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_at_any_point_leaves_no_output_and_the_next_run_makes_it(
    tmp_path: Path, workers: int, kind: type[BaseException]
) -> None:
    """After an interruption the next run may go on from there; its bytes are those of a run that nobody stopped."""
    write_pair(tmp_path)
    model = sharded(fuse(open_checkpoint(tmp_path / "base"), open_adapter(tmp_path / "a")), 200)
    save(model, tmp_path / "whole")
    before = {name: tree(tmp_path / name) for name in ("a", "base")}
    for resume in (True, False):
        for stop in (1, 3, 6):

            def progress(done: int, total: int, stop: int = stop) -> None:
                assert total == 6  # three weights, one copy, two files to hash
                if done == stop:
                    raise kind

            with pytest.raises(kind):
                save(model, tmp_path / "out", Execution(workers, progress=progress, sync=False))
            assert not (tmp_path / "out").exists()
            hidden = [path for path in tmp_path.iterdir() if path.name not in ("a", "b", "base", "whole")]
            assert len(hidden) <= (0 if kind is RuntimeError else 1)
            save(model, tmp_path / "out", Execution(workers, sync=False), resume=resume)
            assert tree(tmp_path / "out") == tree(tmp_path / "whole")
            assert {name: tree(tmp_path / name) for name in before} == before
            for path in (tmp_path / "out").iterdir():
                path.unlink()
            (tmp_path / "out").rmdir()
            assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "base", "whole"]


KILLED = """
import os, signal, sys
from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.checkpoints.layouts import sharded
from adapterops.engine.execution import Execution
from adapterops.checkpoints.saving import save_checkpoint
from adapterops.operations.fusion import fuse
def progress(done, total):
    if done == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
model = sharded(fuse(open_checkpoint("base"), open_adapter("a")), 200)
save_checkpoint(model, "out", how=Execution(sync=False, progress=progress))
"""


@pytest.mark.parametrize("resume", [True, False])
def test_a_kill_at_any_point_leaves_no_output_and_the_next_run_makes_it(tmp_path: Path, resume: bool) -> None:
    write_pair(tmp_path)
    model = sharded(fuse(open_checkpoint(tmp_path / "base"), open_adapter(tmp_path / "a")), 200)
    save(model, tmp_path / "whole")
    before = {name: tree(tmp_path / name) for name in ("a", "base")}
    done = subprocess.run([sys.executable, "-c", KILLED, "2" if resume else "3"], cwd=tmp_path, check=False)
    assert done.returncode == -9
    assert not (tmp_path / "out").exists()
    save(model, tmp_path / "out", resume=resume)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert {name: tree(tmp_path / name) for name in before} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "base", "out", "whole"]


# What is opened, and what is noted


@few
@given(any_seed)
def test_the_tensors_of_a_checkpoint_are_those_of_its_files(tmp_path_factory: Folders, seed: int) -> None:
    folder, generator = tmp_path_factory.mktemp("opened"), torch.Generator().manual_seed(seed)
    shapes = {"a": (3, 4), "b": (5,), "c": (), "d": (2, 3, 4), "e": (0, 3), "f": (3, 0), "g": (0,), "h": (1, 1)}
    tensors = {
        f"{name}.{dtype}": torch.randn(shape, generator=generator).to(getattr(torch, FLOATS[dtype]))
        for name, shape in shapes.items()
        for dtype in DTYPES
    }
    save_file(tensors, folder / "model.safetensors")
    found = open_checkpoint(folder).tensors
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].shape == tensor.shape
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("base", [0.0, 2.0**70], ids=["zeros", "numbers whose squares do not fit float32"])
def test_what_is_noted_is_json_that_everybody_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], base: float
) -> None:
    module = "layers.0.q_proj"
    (tmp_path / "base").mkdir()
    save_file({f"{module}.weight": torch.full((12, 8), base).bfloat16()}, tmp_path / "base/model.safetensors")
    scaled = {
        name: tensor * (2.0**70 if base and "lora_B" in name else 1) for name, tensor in factors([module]).items()
    }
    write_adapter(tmp_path / "a", scaled)
    assert run(["fuse", str(tmp_path / "base"), str(tmp_path / "a"), "--json", "-o", str(tmp_path / "out")]) == 0
    read_json(tmp_path / "out/adapterops.json")
    json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
