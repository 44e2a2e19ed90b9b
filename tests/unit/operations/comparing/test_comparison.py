"""What `compare` measures, against dense matrices in float64."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from corpus import config, factors, write_adapter
from hypothesis import given
from hypothesis import strategies as st
from mergekit_models import tensors, write
from safetensors.torch import save_file
from strategies import MODULES, adapters, dense, entries, low_rank

import adapterops as ao
from adapterops import Adapter, LowRank
from adapterops.engine.execution import Execution
from adapterops.errors import IncompatibleError, InputError, OptionError, ShapeError
from adapterops.formats.peft.config import AdapterConfig
from adapterops.operations.comparing.comparison import compare
from adapterops.operations.comparing.sizes import cuts, sizes


def flat(adapter: Adapter) -> torch.Tensor:
    return torch.cat([matrix.reshape(-1) for matrix in dense(adapter).values()])


@given(adapters(3))
def test_cosines_norms_and_signs_are_those_of_the_matrices(found):
    comparison = compare(found, how=Execution(1))
    whole = [flat(adapter) for adapter in found]
    for profile, vector in zip(comparison.profiles, whole, strict=True):
        assert profile.norm == pytest.approx(float(vector.norm()), rel=1e-9, abs=1e-9)
    assert [(pair.first, pair.second) for pair in comparison.pairs] == [(0, 1), (0, 2), (1, 2)]
    for pair in comparison.pairs:
        a, b = whole[pair.first], whole[pair.second]
        size = float(a.norm() * b.norm())
        if size > 1e-12:
            assert pair.cosine == pytest.approx(float(a @ b) / size, abs=1e-9)
        products = a * b
        counted = int((products != 0).sum())
        if pair.conflict:
            assert pair.conflict == (pytest.approx(int((products < 0).sum()) / counted), 0.0)


@given(adapters(2))
def test_overlaps_are_those_of_the_spaces(found):
    comparison = compare(found, how=Execution(1))
    (pair,) = comparison.pairs
    both = dense(found[0]), dense(found[1])
    for module, shared in pair.modules.items():
        spaces = []
        for side in (0, 1):
            bases = []
            for matrices in both:
                matrix = matrices[module] if side == 0 else matrices[module].T
                u, s, _ = torch.linalg.svd(matrix, full_matrices=False)
                bases.append(u[:, s > 1e-4 * s[:1].sum()])
            spaces.append(float((bases[0].T @ bases[1]).square().sum()))
            assert shared.smaller == min(basis.shape[1] for basis in bases)
        assert (shared.columns, shared.rows) == (pytest.approx(spaces[0], abs=1e-6), pytest.approx(spaces[1], abs=1e-6))
    for overlap in (pair.columns, pair.rows):
        assert overlap is None or -1e-9 <= overlap <= 1 + 1e-9


@given(adapters(3))
def test_the_sum_has_the_singular_values_of_the_sum(found):
    comparison = compare(found, how=Execution(1))
    matrices = [dense(adapter) for adapter in found]
    for module, each in comparison.sum.items():
        expected = torch.linalg.svdvals(sum(m[module] for m in matrices))
        values = torch.tensor(each.values, dtype=torch.float64)
        padded = torch.zeros_like(expected)
        padded[: len(values)] = values[: len(expected)]
        torch.testing.assert_close(padded, expected, rtol=1e-8, atol=1e-8 * (1 + float(expected.sum())))


@given(adapters(1), st.integers(1, 12))
def test_cuts_are_the_errors_of_truncation(found, rank):
    comparison = compare(found, how=Execution(1))
    profile = comparison.profiles[0]
    assert not comparison.sum
    for cut in cuts(profile.layout, profile.spectra):
        lost, total = 0.0, 0.0
        for matrix in dense(found[0]).values():
            s = torch.linalg.svdvals(matrix).square()
            lost, total = lost + float(s[cut.rank :].sum()), total + float(s.sum())
        if total:
            assert cut.error == pytest.approx(math.sqrt(lost / total), abs=1e-6)
            assert cut.energy == pytest.approx(1 - lost / total, abs=1e-9)
        assert cut.parameters == sum(
            min(cut.rank, layout.rank) * sum(layout.shape) for layout in profile.layout.values()
        )


def test_equal_and_opposite_adapters():
    a = Adapter.of({name: low_rank(1, *shape, 2) for name, shape in MODULES.items()})
    one, two, three = compare([a, 2.0 * a, -a]).pairs
    assert (one.cosine, one.conflict, one.columns) == (pytest.approx(1), (0.0, 0.0), pytest.approx(1))
    assert (two.cosine, two.conflict) == (pytest.approx(-1), (1.0, 0.0))
    assert three.cosine == pytest.approx(-1)
    assert not one.shared_start  # the B's are the same, too


def test_one_initialisation_of_a():
    A = {name: entries(low_rank(9, 3, shape[1], 3)) for name, shape in MODULES.items()}
    one, two = (
        Adapter.of({name: LowRank(entries(low_rank(seed, shape[0], 3, 3)), A[name]) for name, shape in MODULES.items()})
        for seed in (1, 2)
    )
    other = Adapter.of({name: low_rank(3, *shape, 3) for name, shape in MODULES.items()})
    shared, *independent = compare([one, two, other]).pairs
    assert shared.factors is not None
    assert shared.factors[0] == pytest.approx(1)
    assert shared.shared_start
    assert not any(pair.shared_start for pair in independent)


def test_nothing_depends_on_workers_or_on_names_of_others():
    found = [Adapter.of({name: low_rank(seed, *shape, 2) for name, shape in MODULES.items()}) for seed in (1, 2)]
    one, three = compare(found, how=Execution(1)), compare(found, how=Execution(3))
    assert one.profiles == three.profiles
    assert [pair.modules for pair in one.pairs] == [pair.modules for pair in three.pairs]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_norms_relative_to_the_base(tmp_path: Path, dtype: torch.dtype):
    """Of transposed weights, of tied heads, and of experts in one tensor: of that part of it."""
    tensors = {
        "model.layers.0.q.weight": torch.randn(12, 8),
        "transformer.h.1.c_attn.weight": torch.randn(8, 24),
        "model.layers.0.mlp.experts.gate_up_proj": torch.randn(3, 8, 20),
        "model.embed_tokens.weight": torch.randn(30, 8),
    }
    tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    (tmp_path / "base").mkdir()
    save_file(tensors, tmp_path / "base/model.safetensors")
    (tmp_path / "base/config.json").write_text(json.dumps({"model_type": "x", "tie_word_embeddings": True}))
    base = ao.open_checkpoint(tmp_path / "base")
    experts = tensors["model.layers.0.mlp.experts.gate_up_proj"]
    expected = {
        "layers.0.q": tensors["model.layers.0.q.weight"],
        "h.1.c_attn": tensors["transformer.h.1.c_attn.weight"].T,
        "layers.0.mlp.experts.2.up_proj": experts[2, :, 10:].T,
        "lm_head": tensors["model.embed_tokens.weight"],
    }
    adapter = Adapter.of({name: low_rank(1, *weight.shape, 2) for name, weight in expected.items()})
    found = compare([adapter], base=base)
    for name, weight in expected.items():
        assert found.weights[name] == pytest.approx(float(weight.double().norm()), rel=1e-6)
        assert found.relative(0, [name]) == pytest.approx(
            adapter.updates[name].norm() / float(weight.double().norm()), rel=1e-6
        )
    assert sizes(found).model == sum(tensor.numel() for tensor in tensors.values())


def test_a_base_with_nan_is_named(tmp_path: Path):
    weight = torch.ones(12, 8)
    weight[3, 2] = torch.nan
    save_file({"q.weight": weight}, tmp_path / "model.safetensors")
    with pytest.raises(InputError) as raised:
        compare([Adapter.of({"q": low_rank(1, 12, 8, 2)})], base=ao.open_checkpoint(tmp_path / "model.safetensors"))
    assert raised.value.tensor == "q.weight"


def test_what_does_not_fit(tmp_path: Path):
    with pytest.raises(OptionError):
        compare([])
    with pytest.raises(ShapeError):
        compare([Adapter.of({"q": low_rank(1, 4, 3, 2)}), Adapter.of({"q": low_rank(1, 3, 4, 2)})])
    save_file({"k.weight": torch.ones(4, 3)}, tmp_path / "model.safetensors")
    with pytest.raises(IncompatibleError):
        compare([Adapter.of({"q": low_rank(1, 4, 3, 2)})], base=ao.open_checkpoint(tmp_path / "model.safetensors"))


def test_experts_are_compared_as_the_base_has_them(tmp_path: Path):
    """gate_up_proj of the adapter, gate_proj and up_proj of each expert in the base."""
    path = "model.layers.0.mlp.experts"
    shapes = {"gate_proj": (4, 6), "up_proj": (4, 6), "down_proj": (6, 4)}
    save_file(
        {f"{path}.{e}.{name}.weight": torch.randn(shape) for e in (0, 1) for name, shape in shapes.items()},
        tmp_path / "m.safetensors",
    )
    base = ao.open_checkpoint(tmp_path / "m.safetensors")
    adapter = Adapter.of(
        {f"{path}.{e}.gate_up_proj": low_rank(e, 8, 6, 2) for e in (0, 1)},
        AdapterConfig(experts={f"{path}.gate_up_proj": 2}),
    )
    found, alone = compare([adapter], base=base), compare([adapter])
    assert set(found.weights) == {f"{path}.{e}.{name}" for e in (0, 1) for name in ("gate_proj", "up_proj")}
    assert found.profiles[0].norm == pytest.approx(alone.profiles[0].norm)
    assert found.weights[f"{path}.1.up_proj"] == pytest.approx(
        float(base.tensors[f"{path}.1.up_proj.weight"].norm()), rel=1e-6
    )


def test_weights_are_those_of_the_layers_that_an_adapter_is_for(tmp_path: Path) -> None:
    """The second layer of this adapter is the third of its base."""
    module = "model.layers.1.self_attn.q_proj"
    fields = config(2, layer_replication=[[0, 1], [2, 3]])
    adapter = ao.open_adapter(write_adapter(tmp_path / "a", factors([module], rank=2, out=16, into=16), fields))
    base = ao.open_checkpoint(write(tmp_path / "base", "chat"))
    weight = torch.from_numpy(tensors("chat")[module.replace(".1.", ".2.") + ".weight"])
    assert compare([adapter], base=base).weights == pytest.approx({module: float(weight.double().norm())})


@pytest.mark.parametrize("width", [1, 3])
def test_the_norm_of_a_kernel_is_that_of_all_its_entries(tmp_path: Path, width: int) -> None:
    W = torch.randn(8, 6, width)
    save_file({"conv.weight": W}, tmp_path / "base.safetensors")
    own = {"lora_A.weight": torch.randn(2, 6, width), "lora_B.weight": torch.randn(8, 2, 1)}
    tensors = {f"base_model.model.conv.{name}": each for name, each in own.items()}
    adapter = ao.open_adapter(write_adapter(tmp_path / "a", tensors, config(2, target_modules=["conv"])))
    found = compare([adapter], base=ao.open_checkpoint(tmp_path / "base.safetensors"))
    assert found.weights["conv"] == pytest.approx(float(W.norm()))
