"""What PEFT saves is read as PEFT means it;
what is saved here loads in PEFT without a warning, and is what was meant.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft_models import CONFIGS, base, deltas, load, make
from strategies import entries, with_inputs
from torch import nn

import adapterops as ao
from adapterops.testing.methods import accepted

Trained = Callable[[str], Path]
close = torch.testing.assert_close


@pytest.mark.parametrize("name", CONFIGS)
def test_scales_are_those_of_peft(trained: Trained, name: str) -> None:
    adapter, expected = ao.open_adapter(trained(name)), deltas(load(trained(name)))
    assert set(adapter.layout) == set(expected)
    for module, delta in expected.items():
        close(entries(adapter.updates[module]), delta)


def test_an_adapter_with_a_name_lies_in_a_folder_of_its_own(tmp_path: Path) -> None:
    make(tmp_path / "saved", 1, name="style", r=2, target_modules=["q_proj"])
    assert len(ao.open_adapter(tmp_path / "saved").layout) == 2


def test_bf16(tmp_path: Path) -> None:
    adapter = ao.open_adapter(make(tmp_path / "half", 1, dtype=torch.bfloat16, r=4, target_modules=["q_proj"]))
    assert {layout.dtype for layout in adapter.layout.values()} == {"BF16"}
    saved = ao.save_adapter(ao.truncate(adapter, 2), tmp_path / "out")
    assert {layout.dtype for layout in ao.open_adapter(saved.path).layout.values()} == {"BF16"}


WEIGHTS = [0.5, 0.3, -0.2]


def merged(adapters: list[ao.Adapter], name: str) -> ao.Adapter:
    """By a method: a mean has no negative weights, and slerp is between two."""
    if name == "slerp":
        return ao.merge(adapters[:2], name)
    shapes = {module: each.shape for adapter in adapters for module, each in adapter.layout.items()}
    known = [with_inputs(adapter, index, shapes) for index, adapter in enumerate(adapters)]
    return ao.merge(known, name, weights=accepted(name, WEIGHTS))


RESULTS: dict[str, Callable[[list[ao.Adapter]], ao.Adapter]] = {
    **{name: lambda adapters, name=name: merged(adapters, name) for name in ao.METHODS},
    "rank": lambda adapters: ao.truncate(adapters[1], 3),
    "energy": lambda adapters: ao.truncate(adapters[1], energy=0.7),
    "budget": lambda adapters: ao.truncate(adapters[1], budget=1500),
    "ties cut by energy": lambda adapters: ao.truncate(ao.merge(adapters, "ties"), energy=0.8),
    "above the matrix": lambda adapters: ao.truncate(ao.merge(adapters, "ties"), 1000),
    "expression": lambda adapters: ao.truncate(0.7 * adapters[0] - 0.2 * adapters[1], rank=8),
}


@pytest.mark.parametrize("result", RESULTS)
def test_results_load_in_peft(trained: Trained, tmp_path: Path, result: str) -> None:
    adapter = RESULTS[result]([ao.open_adapter(trained(name)) for name in ("plain", "rslora", "all")])
    saved = ao.save_adapter(adapter, tmp_path / "out")
    expected, found = ao.open_adapter(tmp_path / "out"), deltas(load(tmp_path / "out"))
    assert set(found) == set(expected.layout) == set(adapter.layout) - set(saved.dropped)
    for module, delta in found.items():
        close(delta, entries(expected.updates[module]))
        exact = adapter.updates[module]
        if isinstance(exact, ao.LowRank):
            close(delta, entries(exact).float(), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("names", [("regex", "layer"), ("plain", "layer"), ("layer", "all")])
def test_targets_that_no_list_of_suffixes_names(trained: Trained, tmp_path: Path, names: tuple[str, str]) -> None:
    one, other = (ao.open_adapter(trained(name)) for name in names)
    ao.save_adapter(one + other, tmp_path / "out")
    assert set(deltas(load(tmp_path / "out"))) == set(one.layout) | set(other.layout)


def layer_outputs(model: nn.Module, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    layers = {name.removeprefix("base_model.model."): layer for name, layer in model.named_modules()}
    with torch.no_grad():
        return {name: layers[name](x) for name, x in inputs.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_forward_is_the_weighted_sum_of_the_forwards(trained: Trained, tmp_path: Path, dtype: torch.dtype) -> None:
    """(merged - base)(x) = Σ wᵢ (adapterᵢ - base)(x), for every layer."""
    names = ("plain", "rslora", "all")
    ao.save_adapter(ao.merge([ao.open_adapter(trained(name)) for name in names], weights=WEIGHTS), tmp_path / "out")
    linear = {
        name: layer for name, layer in base().named_modules() if isinstance(layer, nn.Linear) and "layers" in name
    }
    generator = torch.Generator().manual_seed(5)
    inputs = {name: torch.randn(3, layer.in_features, generator=generator).to(dtype) for name, layer in linear.items()}
    plain = layer_outputs(base(dtype), inputs)
    merged = layer_outputs(load(tmp_path / "out", dtype), inputs)
    single = [layer_outputs(load(trained(name), dtype), inputs) for name in names]
    for module in inputs:
        expected = sum(w * (each[module] - plain[module]).double() for w, each in zip(WEIGHTS, single, strict=True))
        scale = float(plain[module].abs().max())
        close((merged[module] - plain[module]).double(), expected, atol=8 * torch.finfo(dtype).eps * scale, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_logits_are_those_of_the_summed_weights(trained: Trained, tmp_path: Path, dtype: torch.dtype) -> None:
    names = ("plain", "rslora", "all")
    adapters = [ao.open_adapter(trained(name)) for name in names]
    ao.save_adapter(ao.merge(adapters, weights=WEIGHTS), tmp_path / "out")
    fused = base().double()
    with torch.no_grad():
        for name, layer in fused.named_modules():
            for weight, adapter in zip(WEIGHTS, adapters, strict=True):
                if name in adapter.layout:
                    layer.weight += weight * entries(adapter.updates[name])
        tokens = torch.arange(20)[None]
        expected, found = fused(tokens).logits, load(tmp_path / "out", dtype)(tokens).logits.double()
    tolerance = 1e-5 if dtype == torch.float32 else 0.03
    assert float((found - expected).norm() / expected.norm()) < tolerance


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "hra": (lambda: peft.HRAConfig(r=2, target_modules=["q_proj"]), "HRA"),
    "hira": (lambda: peft.HiraConfig(r=2, target_modules=["q_proj"]), "HiRA"),
    "randlora": (lambda: peft.RandLoraConfig(r=2, target_modules=["q_proj"]), "convert_to_lora"),
    "vb-lora": (lambda: peft.VBLoRAConfig(r=2, num_vectors=4, vector_length=8, target_modules=["q_proj"]), "VB-LoRA"),
    "prompts": (lambda: peft.PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"), "changes no weight"),
    "lokr": (
        lambda: peft.LoKrConfig(r=2, target_modules=["q_proj"], use_effective_conv2d=True),
        "LoKr of convolutions",
    ),
    "pissa": (lambda: peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights="pissa_niter_2"), "pissa"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_other_kinds_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    make_config, said = REFUSED[kind]
    peft.get_peft_model(base(), make_config()).save_pretrained(tmp_path / "other")
    with pytest.raises(ao.AdapterOpsError) as caught:
        ao.open_adapter(tmp_path / "other")
    assert caught.value.exit_code == 4
    assert said in str(caught.value)
