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
        assert len(changed) == (12 if architecture == "starcoder2" else 14)
