"""What is shared next to adapters is called by its name, wherever it is given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from adapterops.cli.main import run

BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
TEMPORAL = "down_blocks.0.motion_modules.0.temporal_transformer"
OTHERS = {
    "a ControlNet-LLLite": [
        "lllite_unet_input_blocks_4_1_attn1_to_q.down.0.weight",
        "lllite_unet_conditioning1.conv1.weight",
    ],
    "an IP-Adapter": ["image_proj.proj.weight", "ip_adapter.1.to_k_ip.weight"],
    "an IP-Adapter, which": ["image_proj.proj.0.weight", "ip_adapter.0.to_q_lora.down.weight"],
    "an IP-Adapter, which is a model": ["double_blocks.0.processor.ip_adapter_double_stream_k_proj.weight"],
    "a textual inversion": ["emb_params"],
    "a textual inversion, which": ["clip_g", "clip_l"],
    "a textual inversion, which is vectors": ["<cat-toy>"],
    "one tensor under a word": ["cat-toy"],
    "Custom Diffusion": [f"{BLOCK}.processor.to_k_custom_diffusion.weight"],
    "a hypernetwork": ["320.0.linear.0.weight", "320.1.linear.0.weight"],
    "a motion module of AnimateDiff": [f"{TEMPORAL}.proj_in.weight"],
    "a ControlNet, which": ["controlnet_cond_embedding.conv_in.weight", "conv_in.weight"],
    "a ControlNet, which is a model": ["control_model.zero_convs.0.0.weight"],
    "a T2I-Adapter": ["adapter.body.0.resnets.0.block1.weight", "adapter.conv_in.weight"],
    "PhotoMaker": ["id_encoder.visual_projection.weight", "lora_weights.unet.x.lora.down.weight"],
    "PuLID": ["pulid_ca.0.norm1.weight"],
}
MODELS = {
    "a VAE": ["encoder.conv_in.weight", "decoder.conv_in.weight", "post_quant_conv.weight"],
    "a text encoder of CLIP": ["text_model.encoder.layers.0.self_attn.q_proj.weight"],
    "an image encoder of CLIP": ["vision_model.encoder.layers.0.self_attn.q_proj.weight"],
    "a text encoder of T5": ["encoder.block.0.layer.0.SelfAttention.q.weight", "shared.weight"],
    "an upscaler of images": ["conv_first.weight", "body.0.rdb1.conv1.weight", "conv_last.weight"],
    "an upscaler of images, which": ["model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"],
    "an upscaler of images, which is": ["conv_first.weight", "layers.0.norm.weight", "conv_after_body.weight"],
    "by its names the denoiser": ["double_blocks.0.img_attn.qkv.weight", "guidance_in.in_layer.weight"],
    "by its names the denoiser of": ["blocks.0.self_attn.q.weight", "patch_embedding.weight", "head.head.weight"],
    "by its names the denoiser of an": ["transformer_blocks.0.attn.to_q.weight", "pos_embed.proj.weight"],
    "the denoiser of an image or video model": ["model.diffusion_model.input_blocks.0.0.weight"],
    "a checkpoint of a whole image or video model": [
        "model.diffusion_model.input_blocks.0.0.weight",
        "first_stage_model.decoder.conv_in.weight",
    ],
}


@pytest.mark.parametrize("what", [*OTHERS, *MODELS])
def test_it_is_called_by_its_name(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_file({name: torch.ones(2, 4) for name in (OTHERS | MODELS)[what]}, "x.safetensors")
    run(["show", "x.safetensors"])
    shown = capsys.readouterr()
    assert what in shown.out + shown.err
    assert run(["convert", "x.safetensors", "--to", "peft", "-o", "out"]) == (3 if what in MODELS else 4)
    assert f"{what}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "module",
    [
        f"{TEMPORAL}.transformer_blocks.0.attention_blocks.0.to_q",
        "controlnet_blocks.0",
        f"{BLOCK}.processor.to_k_ip",
        "model.diffusion_model.input_blocks.1.1.proj_in",
    ],
)
def test_lora_on_one_is_an_adapter(module: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({f"{module}.lora_A.weight": torch.ones(2, 4), f"{module}.lora_B.weight": torch.ones(4, 2)}, path)
    assert run(["show", str(path)]) == 0
