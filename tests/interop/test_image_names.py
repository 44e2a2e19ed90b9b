"""Names of image and video models, judged by diffusers: what its converters make of the authors' names is what `fuse` does
with them, and the other way round.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapterops.cli.main import run

pytest.importorskip("diffusers")
H, M = 16, 32
CONVERTERS = {
    "flux2": {
        "double_blocks.0.img_attn.qkv": (3 * H, H),
        "double_blocks.0.txt_attn.qkv": (3 * H, H),
        "double_blocks.0.img_attn.proj": (H, H),
        "double_blocks.0.img_mlp.0": (2 * M, H),
        "double_blocks.0.txt_mlp.2": (H, M),
        "single_blocks.0.linear1": (3 * H + 2 * M, H),
        "single_blocks.0.linear2": (H, H + M),
        "single_stream_modulation.lin": (3 * H, H),
        "time_in.in_layer": (H, 8),
        "img_in": (H, 8),
    },
    "flux3": {
        "single_blocks.0.q_proj": (H, H),
        "single_blocks.0.attn_out": (H, H),
        "single_blocks.0.mlp_in": (2 * M, H),
        "content_mode_blocks.image.0.k_proj": (H, H),
    },
    "wan": {
        **{f"blocks.0.self_attn.{each}": (H, H) for each in "qkvo"},
        **{f"blocks.0.cross_attn.{each}": (H, H) for each in ("q", "k", "v", "o", "k_img", "v_img")},
        "blocks.0.ffn.0": (M, H),
        "blocks.0.ffn.2": (H, M),
        "time_projection.1": (6 * H, H),
        "text_embedding.0": (H, 24),
        "text_embedding.2": (H, H),
        "time_embedding.0": (H, 8),
        "time_embedding.2": (H, H),
        "img_emb.proj.1": (H, 12),
        "img_emb.proj.3": (H, H),
        "head.head": (12, H),
    },
    "ltx2": {
        "patchify_proj": (H, 8),
        "adaln_single.linear": (6 * H, H),
        "adaln_single.emb.timestep_embedder.linear_1": (H, 8),
        "audio_adaln_single.linear": (6 * H, H),
        "av_ca_a2v_gate_adaln_single.linear": (H, H),
        "av_ca_video_scale_shift_adaln_single.linear": (4 * H, H),
        "audio_prompt_adaln_single.linear": (2 * H, H),
        "transformer_blocks.0.audio_to_video_attn.to_k": (H, H),
    },
    "krea2": {
        "blocks.0.attn.wq": (H, H),
        "blocks.0.attn.wk": (8, H),
        "blocks.0.attn.gate": (H, H),
        "blocks.0.mlp.down": (H, M),
        "first": (H, 8),
        "last.linear": (8, H),
        "tmlp.2": (H, H),
        "tproj.1": (6 * H, H),
        "txtmlp.1": (H, 8),
        "txtfusion.refiner_blocks.0.attn.wo": (H, H),
        "txtfusion.layerwise_blocks.0.mlp.up": (M, H),
    },
    "minimax_h3": {
        "blocks.0.attn.qkv_proj": (3 * H, H),
        "blocks.0.attn.out_proj": (H, H),
        "blocks.0.mlp.fc1": (2 * M, H),
        "blocks.0.mlp.fc2": (H, M),
        "token_refiner.blocks.0.attn.qkv_proj": (3 * H, H),
        "token_refiner.blocks.0.mlp.fc1": (2 * M, H),
        "video_patch_proj": (H, 8),
        "time_embedder.proj_in": (H, 8),
        "final_layer.adaln_proj.linear": (2 * H, H),
        "final_layer.video_out": (8, H),
    },
    "ideogram4": {
        "layers.0.attention.qkv": (3 * H, H),
        "layers.0.attention.o": (H, H),
        "layers.0.feed_forward.w1": (M, H),
    },
    "anima": {
        "blocks.0.adaln_modulation_self_attn.1": (H, H),
        "blocks.0.self_attn.output_proj": (H, H),
        "blocks.0.cross_attn.k_proj": (H, H),
        "blocks.0.mlp.layer1": (M, H),
        "final_layer.adaln_modulation.1": (H, H),
        "final_layer.linear": (8, H),
        "x_embedder.proj.1": (H, 8),
    },
    "hunyuan_video": {
        "double_blocks.0.img_attn_qkv": (3 * H, H),
        "double_blocks.0.txt_attn_qkv": (3 * H, H),
        "double_blocks.0.img_attn_proj": (H, H),
        "double_blocks.0.img_mlp.fc1": (M, H),
        "double_blocks.0.txt_mlp.fc2": (H, M),
        "double_blocks.0.img_mod.linear": (6 * H, H),
        "single_blocks.0.linear2": (H, H + M),
        "single_blocks.0.modulation.linear": (3 * H, H),
        "final_layer.linear": (8, H),
        "time_in.mlp.0": (H, 8),
        "guidance_in.mlp.2": (H, H),
        "vector_in.in_layer": (H, 8),
        "txt_in.individual_token_refiner.blocks.0.self_attn_proj": (H, H),
        "txt_in.individual_token_refiner.blocks.0.mlp.fc1": (M, H),
        "txt_in.input_embedder": (H, 12),
        "txt_in.c_embedder.linear_1": (H, 12),
    },
}


def by_diffusers(model: str, tensors: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The update of every weight, as diffusers names it."""
    from diffusers.loaders import lora_conversion_utils as converters

    kind = "" if model == "hunyuan_video" else "non_diffusers_"
    convert = getattr(converters, f"_convert_{kind}{model}_lora_to_diffusers")
    found = convert({name: each.clone() for name, each in tensors.items()})
    modules = {name.removesuffix(".lora_A.weight") for name in found if name.endswith(".lora_A.weight")}
    return {
        module.removeprefix("transformer."): found[f"{module}.lora_B.weight"] @ found[f"{module}.lora_A.weight"]
        for module in modules
    }


def pair(name: str, shape: tuple[int, int]) -> dict[str, torch.Tensor]:
    return {f"{name}.lora_A.weight": torch.randn(4, shape[1]), f"{name}.lora_B.weight": torch.randn(shape[0], 4)}


def fused(folder: Path, base: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What `fuse` adds to every weight."""
    (folder / "base").mkdir()
    save_file({f"{name}.weight": each for name, each in base.items()}, folder / "base" / "model.safetensors")
    save_file(tensors, folder / "a.safetensors")
    assert run(["fuse", str(folder / "base"), str(folder / "a.safetensors"), "-o", str(folder / "fused")]) == 0
    found = load_file(folder / "fused" / "model.safetensors")
    return {name: found[f"{name}.weight"] - each for name, each in base.items()}


@pytest.mark.parametrize("model", CONVERTERS)
def test_the_authors_names_on_a_model_of_diffusers(tmp_path: Path, model: str) -> None:
    torch.manual_seed(0)
    tensors: dict[str, torch.Tensor] = {}
    for name, shape in CONVERTERS[model].items():
        tensors |= pair(f"diffusion_model.{name}", shape)
    wanted = by_diffusers(model, tensors)
    found = fused(tmp_path, {name: torch.randn(each.shape) for name, each in wanted.items()}, tensors)
    for name, each in wanted.items():
        torch.testing.assert_close(found[name], each, atol=1e-5, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("model", CONVERTERS)
def test_the_names_of_diffusers_on_the_authors_model(tmp_path: Path, model: str) -> None:
    """Each part of what the authors have joined gets its rows: as the converter cuts them out of the whole."""
    torch.manual_seed(0)
    authors: dict[str, torch.Tensor] = {}
    for name, shape in CONVERTERS[model].items():
        authors |= pair(f"diffusion_model.{name}", shape)
    wanted = {
        name: authors[f"diffusion_model.{name}.lora_B.weight"] @ authors[f"diffusion_model.{name}.lora_A.weight"]
        for name in CONVERTERS[model]
    }
    tensors: dict[str, torch.Tensor] = {}
    for name, each in by_diffusers(model, authors).items():
        tensors |= {
            f"transformer.{name}.lora_A.weight": torch.eye(each.shape[1]),
            f"transformer.{name}.lora_B.weight": each.contiguous(),
        }
    found = fused(tmp_path, {name: torch.randn(each.shape) for name, each in wanted.items()}, tensors)
    for name, each in wanted.items():
        torch.testing.assert_close(found[name], each, atol=1e-5, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


def test_parts_of_a_joined_weight_by_a_name_of_their_own(tmp_path: Path) -> None:
    """XLabs' qkv_lora of a single block is the first rows of the authors' linear1, and three weights of diffusers."""
    from diffusers.loaders.lora_conversion_utils import _convert_xlabs_flux_lora_to_diffusers as convert

    torch.manual_seed(0)
    start = "single_blocks.0.processor.qkv_lora"
    tensors = {f"{start}.down.weight": torch.randn(4, H), f"{start}.up.weight": torch.randn(3 * H, 4)}
    converted = convert({name: each.clone() for name, each in tensors.items()})
    modules = [name.removesuffix(".lora_A.weight") for name in converted if name.endswith(".lora_A.weight")]
    wanted = {
        module.removeprefix("transformer."): converted[f"{module}.lora_B.weight"] @ converted[f"{module}.lora_A.weight"]
        for module in modules
    }
    assert len(wanted) == 3
    others = {"single_transformer_blocks.0.proj_mlp": torch.zeros(M, H)}
    for where, base in (
        ("diffusers", wanted | others),
        ("authors", {"single_blocks.0.linear1": torch.zeros(3 * H + M, H)}),
    ):
        (tmp_path / where).mkdir()
        found = fused(tmp_path / where, {name: torch.randn(each.shape) for name, each in base.items()}, tensors)
        expected = wanted | others
        if where == "authors":
            names = [*(f"single_transformer_blocks.0.attn.to_{part}" for part in "qkv"), *others]
            expected = {"single_blocks.0.linear1": torch.cat([expected[name] for name in names])}
        for name, each in expected.items():
            torch.testing.assert_close(found[name], each, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layer", ["attention_blocks.0.to_q", "attention_blocks.1.to_out.0", "ff.net.2"])
def test_motion_modules(tmp_path: Path, layer: str) -> None:
    """AnimateDiff's motion LoRA, by the names of its authors and by those that diffusers gives the same layers."""
    from diffusers.loaders.single_file_utils import convert_animatediff_checkpoint_to_diffusers as convert

    torch.manual_seed(0)
    module = f"down_blocks.0.motion_modules.1.temporal_transformer.transformer_blocks.0.{layer}"
    (other,) = (name.removesuffix(".weight") for name in convert({f"{module}.weight": torch.zeros(1)}))
    assert other != module
    above, _, part = module.removesuffix(".0" if ".to_out." in module else "").rpartition(".")
    own = f"{above}.processor.{part}_lora" if "attention" in layer else f"{module}.lora"
    down, up = torch.randn(4, H), torch.randn(H, 4)
    for number, (base, file) in enumerate(((module, own), (other, own), (module, f"unet.{other}.lora"))):
        tensors = {f"{file}.down.weight": down, f"{file}.up.weight": up}
        (tmp_path / str(number)).mkdir()
        decoy = base.replace("modules.1", "modules.0")
        found = fused(tmp_path / str(number), {base: torch.randn(H, H), decoy: torch.randn(H, H)}, tensors)
        torch.testing.assert_close(found[base], up @ down, atol=1e-5, rtol=1e-5)
        assert not found[decoy].any()


HUNYUAN_DIT = {
    "blocks.0.attn1.Wqkv": ("blocks.0.attn1.to_q", "blocks.0.attn1.to_k", "blocks.0.attn1.to_v"),
    "blocks.0.attn1.out_proj": ("blocks.0.attn1.to_out.0",),
    "blocks.0.attn2.q_proj": ("blocks.0.attn2.to_q",),
    "blocks.0.attn2.kv_proj": ("blocks.0.attn2.to_k", "blocks.0.attn2.to_v"),
    "blocks.0.attn2.out_proj": ("blocks.0.attn2.to_out.0",),
    "blocks.0.mlp.fc1": ("blocks.0.ff.net.0.proj",),
    "blocks.0.mlp.fc2": ("blocks.0.ff.net.2",),
    "blocks.0.default_modulation.1": ("blocks.0.norm1.linear",),
    "blocks.21.skip_linear": ("blocks.21.skip_linear",),
    "x_embedder.proj": ("pos_embed.proj",),
    "t_embedder.mlp.0": ("time_extra_emb.timestep_embedder.linear_1",),
    "t_embedder.mlp.2": ("time_extra_emb.timestep_embedder.linear_2",),
    "extra_embedder.0": ("time_extra_emb.extra_embedder.linear_1",),
    "extra_embedder.2": ("time_extra_emb.extra_embedder.linear_2",),
    "mlp_t5.0": ("text_embedder.linear_1",),
    "mlp_t5.2": ("text_embedder.linear_2",),
    "pooler.q_proj": ("time_extra_emb.pooler.q_proj",),
    "pooler.c_proj": ("time_extra_emb.pooler.c_proj",),
    "final_layer.linear": ("proj_out",),
}
"""Names by the authors, and in diffusers: as the script of diffusers converts a checkpoint of theirs."""


def test_hunyuan_dit(tmp_path: Path) -> None:
    """By names with underscores, on the authors' weights and on those of diffusers, which has the joined ones in parts."""
    torch.manual_seed(0)
    tensors, whole, apart = {}, {}, {}
    for name, others in HUNYUAN_DIT.items():
        key, (down, up) = name.replace(".", "_"), (torch.randn(4, H), torch.randn(H * len(others), 4))
        tensors |= {f"lora_unet_{key}.lora_down.weight": down, f"lora_unet_{key}.lora_up.weight": up}
        whole[name] = up @ down
        apart |= dict(zip(others, whole[name].chunk(len(others)), strict=True))
    for where, wanted in (("authors", whole), ("diffusers", apart)):
        (tmp_path / where).mkdir()
        found = fused(tmp_path / where, {name: torch.randn(each.shape) for name, each in wanted.items()}, tensors)
        for name, each in wanted.items():
            torch.testing.assert_close(found[name], each, atol=1e-5, rtol=1e-5)
