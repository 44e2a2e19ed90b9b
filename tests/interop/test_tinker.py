"""Adapters as Tinker writes them: experts with an axis of their own, `w1`, `w2` and `w3`, one factor that all experts share,
and names that no class of transformers has.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from expert_models import SIZES, assert_answers_alike, load, unmerged
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GptOssConfig, GptOssForCausalLM, NemotronHConfig, NemotronHForCausalLM

from adapterops.cli.main import run

EXPERTS, RANK, INNER, OUTER = 4, 2, 20, 32
"""Experts, the rank, and the rows of an expert and of the model."""


def gpt_oss() -> Any:
    sizes = {"intermediate_size": INNER, "num_local_experts": EXPERTS, "num_experts_per_tok": 2, "sliding_window": 8}
    return GptOssForCausalLM(GptOssConfig(**SIZES, **sizes, max_position_embeddings=64, rope_scaling=None))


def nemotron() -> Any:
    fields = {name: value for name, value in SIZES.items() if name != "num_hidden_layers"}
    moe = {"n_routed_experts": EXPERTS, "moe_intermediate_size": INNER, "moe_shared_expert_intermediate_size": 12}
    config = NemotronHConfig(**fields, **moe, layers_block_type=["full_attention", "moe"], intermediate_size=40)
    return NemotronHForCausalLM(config)


def factors(
    module: str, out: int, into: int, experts: tuple[int, int] | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """The two tensors of a module, and its update times 4, which is 8 over the rank."""
    one, other = ((each,) for each in experts) if experts else ((), ())
    A, B = torch.randn(*one, RANK, into) / 5, torch.randn(*other, out, RANK) / 5
    return {f"base_model.model.{module}.lora_{role}.weight": each for role, each in (("A", A), ("B", B))}, 4 * B @ A


def of_gpt_oss(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gate and up are columns in turn of what transformers has, which is (in, out)."""
    tensors: dict[str, Tensor] = {}
    for layer in range(2):
        above = f"model.layers.{layer}"
        for name in ("q_proj", "o_proj"):
            target = parameters[f"{above}.self_attn.{name}.weight"]
            own, update = factors(f"{above}.attn.{name}", *target.shape)
            tensors |= own
            target += update
        for turn, name in enumerate(("w1", "w3")):
            own, update = factors(f"{above}.mlp.experts.{name}", INNER, OUTER, (1, EXPERTS))
            tensors |= own
            parameters[f"{above}.mlp.experts.gate_up_proj"][:, :, turn::2] += update.mT
        own, update = factors(f"{above}.mlp.experts.w2", OUTER, INNER, (EXPERTS, 1))
        tensors |= own
        parameters[f"{above}.mlp.experts.down_proj"] += update.mT
    own, update = factors("model.unembed_tokens", *parameters["lm_head.weight"].shape)
    parameters["lm_head.weight"] += update
    return tensors | own


def of_nemotron(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """Its experts have no gates: `w1` is up, and `w3` is empty."""
    above = "model.layers.1.mixer.experts"
    up, update = factors(f"{above}.w1", INNER, OUTER, (1, EXPERTS))
    parameters[f"{above}.up_proj"] += update
    down, update = factors(f"{above}.w2", OUTER, INNER, (EXPERTS, 1))
    parameters[f"{above}.down_proj"] += update
    return up | down | {name.replace("w1", "w3"): torch.zeros(0) for name in up}


@pytest.mark.parametrize(
    ("model", "teach"), [(gpt_oss, of_gpt_oss), (nemotron, of_nemotron)], ids=["gpt_oss", "nemotron"]
)
def test_adapters_of_tinker_are_fused_and_written_for_peft(tmp_path: Path, model: Any, teach: Any) -> None:
    torch.manual_seed(0)
    expected = model().eval()
    base, adapter, out, named = (tmp_path / name for name in ("base", "adapter", "out", "named"))
    expected.save_pretrained(base)
    adapter.mkdir()
    with torch.no_grad():
        save_file(teach(dict(expected.named_parameters())), adapter / "adapter_model.safetensors")
    fields = {"peft_type": "LORA", "r": RANK, "lora_alpha": 8, "target_modules": "all-linear", "bias": "none"}
    (adapter / "adapter_config.json").write_text(json.dumps(fields))
    assert run(["fuse", str(base), str(adapter), "-o", str(out)]) == 0
    assert_answers_alike(load(out), expected, base)
    assert run(["verify", str(out), "--base", str(base), "--adapter", str(adapter)]) == 0
    assert run(["normalize", str(adapter), "--base", str(base), "-o", str(named)]) == 0
    assert_answers_alike(unmerged(base, named), expected, base)
    assert len(load_file(named / "adapter_model.safetensors")) <= len(load_file(adapter / "adapter_model.safetensors"))
