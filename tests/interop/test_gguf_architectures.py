"""Models of architectures that go to llama.cpp as they are: named by gguf's own tables, and merged by PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import peft
import pytest
import torch
import transformers

from adapterops.cli.main import run

PLAIN = {
    "seed_oss": "SeedOss",
    "exaone4": "Exaone4",
    "hunyuan-dense": "HunYuanDenseV1",
    "ernie4_5": "Ernie4_5",
    "starcoder2": "Starcoder2",
    "cohere2": "Cohere2",
    "glm4": "Glm4",
}
"""llama.cpp's name → that of the classes of transformers. Its converter changes no number of these."""

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "head_dim": 16,
    "num_key_value_heads": 2,
    "vocab_size": 96,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def built(architecture: str) -> Any:
    torch.manual_seed(0)
    name = PLAIN[architecture]
    config = getattr(transformers, f"{name}Config")(**SIZES)
    return getattr(transformers, f"{name}ForCausalLM")(config).eval()


def named(architecture: str, model: Any) -> dict[str, np.ndarray]:
    """llama.cpp's name → the numbers."""
    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture)
    names = gguf.get_tensor_name_map(arch, 2)
    found = {str(names.get_name(key, (".weight", ".bias"))): each for key, each in model.named_parameters()}
    return {name: each.detach().numpy().copy() for name, each in found.items()}


@pytest.mark.parametrize("architecture", PLAIN)
def test_what_is_fused_is_what_peft_merges(architecture: str, tmp_path: Path) -> None:
    """In F32, and so is the adapter that llama.cpp has of it, there and back."""
    model = built(architecture)
    base = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(str(base), architecture)
    writer.add_type("model")
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    before = named(architecture, model)
    for name, values in before.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model.save_pretrained(tmp_path / "base")
    live = peft.get_peft_model(
        model, peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    )
    live.save_pretrained(tmp_path / "adapter")
    given = ["convert", str(tmp_path / "adapter"), "--to", "gguf", "--base", str(tmp_path / "base")]
    assert run([*given, "-o", str(tmp_path / "lora")]) == 0
    expected = named(architecture, live.merge_and_unload())
    for adapter in ("adapter", "lora"):
        out = tmp_path / f"{adapter}.gguf"
        assert run(["fuse", str(base), str(tmp_path / adapter), "-o", str(out)]) == 0
        assert run(["verify", str(out)]) == 0
        found = {each.name: np.asarray(each.data) for each in gguf.GGUFReader(out).tensors}
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=1e-5)
        changed = {name for name in found if not np.array_equal(found[name], before[name])}
        assert len(changed) == (12 if architecture in ("starcoder2", "glm4") else 14)


EXPERTS: dict[str, tuple[str, dict[str, Any]]] = {
    "glm4moe": ("Glm4Moe", {"use_qk_norm": True}),
    "deepseek2": ("DeepseekV3", {"q_lora_rank": 24, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16}),
    "llama4": ("Llama4Text", {"intermediate_size_mlp": 128, "interleave_moe_layer_step": 2}),
}
"""Those with experts, and fields of their configs."""

OF_EXPERTS = {
    "n_routed_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "v_head_dim": 16,
}


def with_experts(architecture: str) -> Any:
    torch.manual_seed(0)
    name, more = EXPERTS[architecture]
    config_class = getattr(transformers, f"{name}Config")
    fields = {**SIZES, **OF_EXPERTS, **more}
    if architecture == "deepseek2":
        fields.pop("head_dim")
    class_ = getattr(transformers, f"{name.removesuffix('Text')}ForCausalLM")
    model = class_(config_class(**fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    return model


def as_converted(architecture: str, model: Any, split: bool = False) -> dict[str, np.ndarray]:
    """What the converter of llama.cpp makes of it."""
    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture)
    names = gguf.get_tensor_name_map(arch, 2)
    found = {}
    tensors = {**dict(model.named_parameters()), **{n: b for n, b in model.named_buffers() if n.endswith("_bias")}}
    for key, each in tensors.items():
        values, layer = each.detach().numpy().copy(), (key + "...").split(".")[2]
        if ".experts." in key:
            values = values.swapaxes(1, 2) if architecture == "llama4" else values
            half = values.shape[1] // 2
            parts = {"gate": values[:, :half], "up": values[:, half:]} if "gate_up" in key else {"down": values}
            found |= {f"blk.{layer}.ffn_{name}_exps.weight": np.ascontiguousarray(v) for name, v in parts.items()}
        elif key.endswith("e_score_correction_bias"):
            found[f"blk.{layer}.exp_probs_b.bias"] = values
        elif key.endswith("kv_b_proj.weight") and split:
            heads = values.reshape(4, 32, -1)
            found[f"blk.{layer}.attn_k_b.weight"] = np.ascontiguousarray(heads[:, :16].swapaxes(1, 2))
            found[f"blk.{layer}.attn_v_b.weight"] = np.ascontiguousarray(heads[:, 16:])
        else:
            found[str(names.get_name(key, (".weight", ".bias")))] = values
    return found


def write(path: Path, architecture: str, tensors: dict[str, np.ndarray], **fields: list[int]) -> Path:
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_type("model")
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    for field, value in fields.items():
        writer.add_array(f"{architecture}.{field.replace('__', '.')}", value)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("architecture", EXPERTS)
def test_models_with_experts(architecture: str, split: bool, tmp_path: Path) -> None:
    """Attention, dense layers, shared experts, and routed ones where their parameters are those of transformers."""
    model = with_experts(architecture)
    base = write(tmp_path / "a.gguf", architecture, as_converted(architecture, model, split))
    linear = [
        name
        for name, each in model.named_modules()
        if isinstance(each, torch.nn.Linear) and "lm_head" not in name and "router" not in name
        if not (split and "kv_b_proj" in name)
    ]
    experts = [] if architecture == "llama4" else ["experts.gate_up_proj", "experts.down_proj"]
    config = peft.LoraConfig(r=4, target_modules=linear, target_parameters=experts or None)
    live = peft.get_peft_model(model, config)
    with torch.no_grad():
        for name, each in live.named_parameters():
            if "lora_" in name:
                each.normal_(std=0.1)
    live.save_pretrained(tmp_path / "adapter")
    expected = as_converted(architecture, live.merge_and_unload(), split)
    assert run(["fuse", str(base), str(tmp_path / "adapter"), "-o", str(tmp_path / "b.gguf")]) == 0
    assert run(["verify", str(tmp_path / "b.gguf")]) == 0
    found = {each.name: np.asarray(each.data) for each in gguf.GGUFReader(tmp_path / "b.gguf").tensors}
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5, err_msg=name)


def test_what_has_no_place_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An update of `kv_b_proj` in a file that has it in two, and rows of q and k in an order of their own."""
    model = with_experts("deepseek2")
    base = write(tmp_path / "a.gguf", "deepseek2", as_converted("deepseek2", model, split=True))
    live = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["kv_b_proj"], init_lora_weights=False))
    live.save_pretrained(tmp_path / "adapter")
    assert run(["fuse", str(base), str(tmp_path / "adapter"), "-o", str(tmp_path / "b.gguf")]) == 4
    assert "kv_b_proj" in capsys.readouterr().err
    glm = write(tmp_path / "g.gguf", "glm4", named("glm4", built("glm4")), rope__dimension_sections=[8, 12, 12, 0])
    assert run(["show", str(glm)]) == 4
    assert "in another order" in capsys.readouterr().err
