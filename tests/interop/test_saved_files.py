"""What older versions of PEFT saved, and modules that are saved whole with all that is in them: loaded as PEFT loads it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    RobertaConfig,
    RobertaForSequenceClassification,
)

import adapterops as ao
from adapterops.cli.main import run
from adapterops.errors import InputError

TEXT = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
IDS = torch.tensor([[3, 4, 95, 95, 95, 95, 5, 6]])


def trained(model: torch.nn.Module, folder: Path, **config: object) -> PeftModel:
    """Numbers in every tensor that training would change, saved by PEFT."""
    torch.manual_seed(1)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, **config)).eval()
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape)
    return adapted


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**TEXT)).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@torch.no_grad()
def test_a_pickled_adapter(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    adapted = trained(LlamaForCausalLM.from_pretrained(llama), tmp_path, target_modules=["q_proj"])
    adapted.save_pretrained(tmp_path / "bin", safe_serialization=False)
    assert not list((tmp_path / "bin").glob("*.safetensors"))
    expected = adapted(IDS).logits
    source, base = "bin", "base"
    for command in (["show", source], ["fuse", base, source], ["merge", source, source], ["truncate", source, "--rank", "2"],
                    ["compare", source, source], ["calc", "0.5*a", f"a={source}"], ["report", source]):  # fmt: skip
        output = [] if command[0] in ("show", "compare") else ["-o", f"{command[0]}.html"]
        assert run([*command, *output]) == 3
        assert "--allow-pickle" in capsys.readouterr().err
        assert run([*command, *output, "--allow-pickle"]) == 0
        capsys.readouterr()
    fused = LlamaForCausalLM.from_pretrained(tmp_path / "fuse.html").eval()(IDS).logits
    torch.testing.assert_close(fused, expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(InputError, match="pickle"):
        ao.open_adapter(source)
    assert run(["verify", "fuse.html"]) == 0


@torch.no_grad()
def test_a_pickle_that_holds_more_than_tensors(llama: Path, tmp_path: Path) -> None:
    trained(LlamaForCausalLM.from_pretrained(llama), tmp_path, target_modules=["q_proj"]).save_pretrained(
        tmp_path / "bin", safe_serialization=False
    )
    torch.save({"q_proj.lora_A.weight": print}, tmp_path / "bin/adapter_model.bin")
    with pytest.raises(InputError) as caught:
        ao.open_adapter(tmp_path / "bin", allow_pickle=True)
    assert caught.value.code == "E-PICKLE"


@torch.no_grad()
def test_a_projector_that_is_saved_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vision = CLIPVisionConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                              image_size=28, patch_size=14, projection_dim=32)  # fmt: skip
    config = LlavaConfig(
        text_config=LlamaConfig(**TEXT), vision_config=vision, image_token_index=95, vision_feature_layer=-1
    )
    model = LlavaForConditionalGeneration(config).eval()
    model.save_pretrained(tmp_path / "base")
    adapted = trained(
        model,
        tmp_path,
        target_modules=r".*language_model.*\.(q_proj|v_proj)",
        modules_to_save=["multi_modal_projector"],
    )
    adapted.save_pretrained(tmp_path / "lora")
    images = torch.randn(1, 3, 28, 28)
    assert run(["fuse", str(tmp_path / "base"), str(tmp_path / "lora"), "-o", str(tmp_path / "fused")]) == 0
    fused = LlavaForConditionalGeneration.from_pretrained(tmp_path / "fused").eval()
    expected = adapted(input_ids=IDS, pixel_values=images).logits
    torch.testing.assert_close(fused(input_ids=IDS, pixel_values=images).logits, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_head_of_several_layers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = RobertaForSequenceClassification(RobertaConfig(**TEXT, num_labels=3)).eval()
    model.save_pretrained(tmp_path / "base")
    adapted = trained(model, tmp_path, task_type="SEQ_CLS", target_modules=["query", "value"])
    adapted.save_pretrained(tmp_path / "lora")
    ids = torch.arange(3, 13)[None]
    expected = adapted(ids).logits
    assert run(["fuse", str(tmp_path / "base"), str(tmp_path / "lora"), "-o", str(tmp_path / "fused")]) == 0
    fused = RobertaForSequenceClassification.from_pretrained(tmp_path / "fused").eval()(ids).logits
    torch.testing.assert_close(fused, expected, atol=1e-5, rtol=1e-4)
