"""What `check` says that diffusers does with the names of an adapter is what its pipelines do: models of full size, without
their weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from adapterops import open_checkpoint
from adapterops.operations.serving import check

diffusers = pytest.importorskip("diffusers")

QKV = ("to_q", "to_k", "to_v")
MODELS: dict[str, tuple[str, str, dict[str, int], dict[str, tuple[str, ...]]]] = {
    "flux-1": (
        "FluxPipeline",
        "FluxTransformer2DModel",
        {"num_layers": 1, "num_single_layers": 1},
        {
            "double_blocks.0.img_attn.qkv": tuple(f"transformer_blocks.0.attn.{each}" for each in QKV),
            "single_blocks.0.modulation.lin": ("single_transformer_blocks.0.norm.linear",),
        },
    ),
    "flux-2": (
        "Flux2Pipeline",
        "Flux2Transformer2DModel",
        {"num_layers": 1, "num_single_layers": 1},
        {
            "double_blocks.0.txt_mlp.2": ("transformer_blocks.0.ff_context.linear_out",),
            "single_blocks.0.linear1": ("single_transformer_blocks.0.attn.to_qkv_mlp_proj",),
        },
    ),
    "hunyuan": (
        "HunyuanVideoPipeline",
        "HunyuanVideoTransformer3DModel",
        {"num_layers": 1, "num_single_layers": 1},
        {
            "double_blocks.0.img_attn_qkv": tuple(f"transformer_blocks.0.attn.{each}" for each in QKV),
            "double_blocks.0.img_mod.linear": ("transformer_blocks.0.norm1.linear",),
            "final_layer.linear": ("proj_out",),
        },
    ),
    "wan": (
        "WanPipeline",
        "WanTransformer3DModel",
        {"num_layers": 1},
        {
            **{
                f"blocks.0.{one}_attn.{mine}": (f"blocks.0.attn{number}.{its}",)
                for number, one in ((1, "self"), (2, "cross"))
                for mine, its in zip("qkvo", (*QKV, "to_out.0"), strict=True)
            },
            "blocks.0.ffn.0": ("blocks.0.ffn.net.0.proj",),
            "blocks.0.ffn.2": ("blocks.0.ffn.net.2",),
        },
    ),
    "z-image": (
        "ZImagePipeline",
        "ZImageTransformer2DModel",
        {"n_layers": 1, "n_refiner_layers": 1},
        {
            "layers.0.attention.qkv": tuple(f"layers.0.attention.{each}" for each in QKV),
            "layers.0.attention.out": ("layers.0.attention.to_out.0",),
            "layers.0.feed_forward.w1": ("layers.0.feed_forward.w1",),
            "noise_refiner.0.feed_forward.w2": ("noise_refiner.0.feed_forward.w2",),
        },
    ),
    "qwen": (
        "QwenImagePipeline",
        "QwenImageTransformer2DModel",
        {"num_layers": 1},
        {f"transformer_blocks.0.{each}": (f"transformer_blocks.0.{each}",) for each in ("attn.to_q", "img_mlp.net.2")},
    ),
    "krea-2": (
        "Krea2Pipeline",
        "Krea2Transformer2DModel",
        {"num_layers": 1},
        {"blocks.0.attn.wq": ("transformer_blocks.0.attn.to_q",), "tproj.1": ("time_mod_proj",)},
    ),
    "stable-diffusion-3": (
        "StableDiffusion3Pipeline",
        "SD3Transformer2DModel",
        {"num_layers": 2},
        {"joint_blocks.0.x_block.mlp.fc1": ("transformer_blocks.0.ff.net.0.proj",)},
    ),
}
LAYOUTS = {
    "kohya": ("lora_unet_", "lora_down lora_up", 2.0),
    "OneTrainer": ("lora_transformer_", "lora_down lora_up", 2.0),
    "LyCORIS": ("lycoris_", "lora_down lora_up", 2.0),
    "ComfyUI": ("diffusion_model.", "lora_A lora_B", None),
    "ComfyUI with alphas": ("diffusion_model.", "lora_A lora_B", 2.0),
    "ComfyUI as kohya": ("diffusion_model.", "lora_down lora_up", 2.0),
    "bare": ("", "lora_A lora_B", None),
    "bare with alphas": ("", "lora_A lora_B", 2.0),
    "PEFT": ("base_model.model.", "lora_A lora_B", None),
    "diffusers": ("transformer.", "lora_A lora_B", None),
    "diffusers with alphas": ("transformer.", "lora_A lora_B", 2.0),
    "PEFT in a pipeline": ("transformer.base_model.model.", "lora_A lora_B", None),
}


OTHERS = {
    "lengths": {"dora_scale": (0, 1)},
    "lengths of PEFT": {"lora_magnitude_vector": (0,)},
    "lengths of ai-toolkit": {"magnitude": (0,)},
    "a bias": {"diff_b": (0,)},
}
"""What may be next to the factors → its shape, with 0 for the rows of the weight."""

PRODUCTS = {
    "LoHa": {f"hada_w{n}_{part}": shape for n in (1, 2) for part, shape in (("a", (0, 2)), ("b", (2, -1)))},
    "LoKr": {"lokr_w1": (64, 64), "lokr_w2": (-2, -3)},
}
"""What may be in the place of the factors; -1 are the columns of the weight, -2 and -3 a 64th of its rows and columns."""


def written(
    path: Path, model: Any, names: dict[str, tuple[str, ...]], layout: str, stated: str, kind: str = ""
) -> Path:
    """An adapter of rank 2, with the header of a model."""
    (start, ends, alpha), tensors = LAYOUTS[layout], {}
    for name, parts in names.items():
        out, into = zip(*(model.get_submodule(each).weight.shape for each in parts), strict=True)
        key = start + (name if start.endswith(".") or not start else name.replace(".", "_"))
        for end, shape in zip(ends.split(), ((2, into[0]), (sum(out), 2)), strict=True):
            tensors |= {} if kind in PRODUCTS else {f"{key}.{end}.weight": torch.ones(shape)}
        for end, shape in {**OTHERS, **PRODUCTS}.get(kind, {}).items():
            sides = {0: sum(out), -1: into[0], -2: sum(out) // 64, -3: into[0] // 64}
            tensors[f"{key}.{end}"] = torch.ones([sides.get(each, each) for each in shape])
        tensors |= {f"{key}.alpha": torch.tensor(alpha)} if alpha else {}
    save_file(tensors, path, {"modelspec.architecture": stated})
    return path


def loaded(pipeline: str, model: Any, file: Path) -> set[str] | None:
    """The layers that have got LoRA; None where the pipeline ends with an error."""
    pipe = object.__new__(type(pipeline, (getattr(diffusers, pipeline),), {"components": {}}))
    parts = {"transformer": model, "transformer_2": None, "text_encoder": None, "text_encoder_2": None}
    vars(pipe).update(_internal_dict={}, **parts)
    try:
        pipe.load_lora_weights(str(file.parent), weight_name=file.name, low_cpu_mem_usage=True)
    except (ValueError, KeyError, IndexError, RuntimeError, NotImplementedError):
        return None
    return {name for name, module in model.named_modules() if hasattr(module, "lora_A")}


@pytest.mark.parametrize("names", ["authors", "diffusers"])
@pytest.mark.parametrize("stated", MODELS)
@pytest.mark.filterwarnings("ignore")
def test_what_its_pipelines_do_with_names(tmp_path: Path, stated: str, names: str) -> None:
    pipeline, made, fields, table = MODELS[stated]
    own = {part: (part,) for parts in table.values() for part in parts}
    wanted, said = {}, {}
    for layout in LAYOUTS:
        with torch.device("meta"):
            model = getattr(diffusers, made)(**fields)
        file = written(tmp_path / "a.safetensors", model, table if names == "authors" else own, layout, stated)
        found = loaded(pipeline, model, file)
        wanted[layout] = "refused" if found is None else "fine" if found == own.keys() else "silently wrong"
        said[layout] = check(file, ["diffusers"])["diffusers"].severity
    assert said == wanted
    assert len({*wanted.values()}) > 1


@pytest.mark.parametrize("stated", ["flux-1", "flux-2", "wan", "z-image", "stable-diffusion-3"])
@pytest.mark.filterwarnings("ignore")
def test_what_ends_its_pipelines(tmp_path: Path, stated: str) -> None:
    """Other tensors than factors of LoRA, and other kinds, in the names of layers."""
    pipeline, made, fields, table = MODELS[stated]
    own = {part: (part,) for parts in table.values() for part in parts}
    names = own if stated not in ("flux-1", "wan") else table  # whose pipelines end at theirs in all but one layout
    for kind in (*OTHERS, *PRODUCTS):
        for layout in ("kohya", "diffusers"):
            with torch.device("meta"):
                model = getattr(diffusers, made)(**fields)
            file = written(tmp_path / "a.safetensors", model, names, layout, stated, kind)
            refused = loaded(pipeline, model, file) is None
            severity = check(file, ["diffusers"])["diffusers"].severity
            assert (kind, layout, severity == "refused") == (kind, layout, refused)


def test_a_bias_of_lora_is_its_own_and_not_one_of_the_base(tmp_path: Path) -> None:
    """The layers of attention have none."""
    model = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8,),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
    )
    tensors = {}
    for name, layer in model.named_modules():
        if name.endswith("attn1.to_q"):
            tensors[f"unet.{name}.lora_A.weight"] = torch.randn(2, layer.in_features)
            tensors[f"unet.{name}.lora_B.weight"] = torch.randn(layer.out_features, 2)
            tensors[f"unet.{name}.lora_B.bias"] = torch.randn(layer.out_features)
    save_file(tensors, tmp_path / "a.safetensors")
    model.save_pretrained(tmp_path / "base/unet")
    (tmp_path / "base/model_index.json").write_text(
        '{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}'
    )
    loader = diffusers.loaders.StableDiffusionLoraLoaderMixin
    loaded, alphas = loader.lora_state_dict(tmp_path / "a.safetensors")[:2]
    loader.load_lora_into_unet(loaded, network_alphas=alphas, unet=model)
    there = [name for name, _ in model.named_parameters() if name.endswith("lora_B.default_0.bias")]
    assert len(there) == len(tensors) // 3 > 0
    assert check(tmp_path / "a.safetensors", ["diffusers"], base=open_checkpoint(tmp_path / "base"))["diffusers"].ok
