"""Fusing: correctly rounded, once; every other tensor byte for byte; several adapters before the one rounding."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import tree, write_adapter
from fused_models import (
    DTYPES,
    FORMATS,
    SLACK,
    Folders,
    Layer,
    adapter_of,
    any_seed,
    assert_between,
    base_of,
    few,
    layer,
    models,
    read_folder,
    rounded,
    save,
    step,
    wide,
    write_model,
)
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from adapterops import Adapter, LowRank, merge
from adapterops.checkpoints.layouts import cast
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.cli.main import run
from adapterops.errors import IncompatibleError
from adapterops.operations.fusion import fuse, unfuse
from adapterops.storage.safetensors import CHUNK
from adapterops.updates.dense import Dense
from adapterops.updates.layout import TILE

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
