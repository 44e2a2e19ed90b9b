"""Models in the files of their authors, as diffusers converts them: an adapter in either's names is the same update of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from adapterops.cli.main import run

single_file = pytest.importorskip("diffusers.loaders.single_file_utils")
H, M, TEXT = 16, 32, 24
Shapes = dict[str, tuple[int, ...]]

EMBEDDER: Shapes = {"t_embedder.mlp.0": (H, 8), "t_embedder.mlp.2": (H, H)}
LAST: Shapes = {"final_layer.linear": (8, H)}


def sd3() -> Shapes:
    """The text stream of the last block has no way out, and its modulation is a scale and a shift."""
    image = {"attn.qkv": (3 * H, H), "attn.proj": (H, H), "mlp.fc1": (M, H), "mlp.fc2": (H, M)}
    found: Shapes = {
        **{f"joint_blocks.{number}.x_block.{name}": shape for number in (0, 1) for name, shape in image.items()},
        **{f"joint_blocks.0.context_block.{name}": shape for name, shape in image.items()},
        **{f"joint_blocks.{number}.x_block.adaLN_modulation.1": (6 * H, H) for number in (0, 1)},
        "joint_blocks.0.context_block.adaLN_modulation.1": (6 * H, H),
        "joint_blocks.1.context_block.adaLN_modulation.1": (2 * H, H),
        "joint_blocks.1.context_block.attn.qkv": (3 * H, H),
        "x_embedder.proj": (H, 4, 2, 2),
        "y_embedder.mlp.0": (H, 8),
        "y_embedder.mlp.2": (H, H),
        "context_embedder": (H, TEXT),
        "final_layer.adaLN_modulation.1": (2 * H, H),
    }
    return found | EMBEDDER | LAST


def auraflow() -> Shapes:
    mlp = {"c_fc1": (M, H), "c_fc2": (M, H), "c_proj": (H, M)}
    found: Shapes = {
        **{f"double_layers.0.{stream}.{name}": shape for stream in ("mlpX", "mlpC") for name, shape in mlp.items()},
        **{f"double_layers.0.{each}.1": (6 * H, H) for each in ("modX", "modC")},
        **{f"double_layers.0.attn.w{stream}{each}": (H, H) for stream in "12" for each in "qkvo"},
        **{f"single_layers.0.mlp.{name}": shape for name, shape in mlp.items()},
        **{f"single_layers.0.attn.w1{each}": (H, H) for each in "qkvo"},
        "single_layers.0.modCX.1": (6 * H, H),
        "cond_seq_linear": (H, TEXT),
        "final_linear": (8, H),
        "modF.1": (2 * H, H),
        "init_x_linear": (H, 8),
    }
    return found | EMBEDDER


def mochi() -> Shapes:
    blocks: Shapes = {}
    for number in (0, 47):
        last = number == 47
        blocks |= {f"blocks.{number}.mod_x": (4 * H, H), f"blocks.{number}.mod_y": (H if last else 4 * H, H)}
        for stream in "xy":
            blocks[f"blocks.{number}.attn.qkv_{stream}"] = (3 * H, H)
            if stream == "x" or not last:
                blocks[f"blocks.{number}.attn.proj_{stream}"] = (H, H)
                blocks |= {f"blocks.{number}.mlp_{stream}.w1": (2 * M, H), f"blocks.{number}.mlp_{stream}.w2": (H, M)}
    pooler: Shapes = {"to_kv": (2 * H, TEXT), "to_q": (H, TEXT), "to_out": (H, H)}
    found: Shapes = {
        **{f"t5_y_embedder.{name}": shape for name, shape in pooler.items()},
        "t5_yproj": (H, TEXT),
        "x_embedder.proj": (H, 4, 2, 2),
        "final_layer.mod": (2 * H, H),
    }
    return blocks | found | EMBEDDER | LAST


def sana() -> Shapes:
    found: Shapes = {
        "blocks.0.attn.qkv": (3 * H, H),
        "blocks.0.attn.proj": (H, H),
        "blocks.0.cross_attn.q_linear": (H, H),
        "blocks.0.cross_attn.kv_linear": (2 * H, H),
        "blocks.0.cross_attn.proj": (H, H),
        "blocks.0.mlp.inverted_conv.conv": (2 * M, H, 1, 1),
        "blocks.0.mlp.point_conv.conv": (H, M, 1, 1),
        "x_embedder.proj": (H, 4, 2, 2),
        "t_block.1": (6 * H, H),
        "y_embedder.y_proj.fc1": (H, TEXT),
        "y_embedder.y_proj.fc2": (H, H),
    }
    return found | EMBEDDER | LAST


def wan() -> Shapes:
    attentions = {
        f"{block}.0.{attention}.{each}": (H, H)
        for block in ("blocks", "vace_blocks")
        for attention in ("self_attn", "cross_attn")
        for each in "qkvo"
    }
    found: Shapes = {
        **{f"blocks.0.cross_attn.{each}_img": (H, H) for each in "kv"},
        "blocks.0.ffn.0": (M, H),
        "blocks.0.ffn.2": (H, M),
        "vace_blocks.0.before_proj": (H, H),
        "vace_blocks.0.after_proj": (H, H),
        "time_projection.1": (6 * H, H),
        "img_emb.proj.1": (H, 12),
        "patch_embedding": (H, 4, 1, 2, 2),
        "head.head": (8, H),
    }
    return attentions | found


def flux3() -> Shapes:
    modes = ("image", "image_cond")
    blocks = ["single_blocks.0", "txt_mode_blocks.0", *(f"content_mode_blocks.{mode}.0" for mode in modes)]
    inner = {
        **dict.fromkeys(("q_proj", "k_proj", "v_proj", "attn_out"), (H, H)),
        "mlp_in": (2 * M, H),
        "mlp_out": (H, M),
    }
    return {
        **{f"{block}.{name}": shape for block in blocks for name, shape in inner.items()},
        **{
            f"{each}_stream_modulations.{mode}.lin": (3 * H, H)
            for each in ("early", "single")
            for mode in (*modes, "txt")
        },
        **{f"emb_in.{mode}": (H, 8) for mode in modes},
        **{f"{each}_in.in_layer": (H, 8) for each in ("time", "ref_time")},
        "txt_in": (H, TEXT),
        "final_layer.image.linear": (8, H),
        "final_layer.image.adaLN_modulation.1": (2 * H, H),
    }


def z_image() -> Shapes:
    roots = ("layers.0", "noise_refiner.0", "context_refiner.0")
    return {
        **{f"{root}.attention.qkv": (3 * H, H) for root in roots},
        **{f"{root}.attention.out": (H, H) for root in roots},
        **{f"{root}.feed_forward.w1": (M, H) for root in roots},
        "cap_embedder.1": (H, TEXT),
        "x_embedder": (H, 8),
        "final_layer.adaLN_modulation.1": (H, 8),
    } | LAST


def lumina2() -> Shapes:
    """Keys and values are of fewer heads: 2304, 768 and 768 rows."""
    roots = ("layers.0", "noise_refiner.0", "context_refiner.0")
    return {
        **{f"{root}.attention.qkv": (3840, H) for root in roots},
        **{f"{root}.attention.out": (H, 2304) for root in roots},
        **{f"{root}.feed_forward.w{each}": (M, H) for root in roots for each in "13"},
        "layers.0.adaLN_modulation.1": (4 * H, H),
        "cap_embedder.1": (H, TEXT),
        "final_layer.adaLN_modulation.1": (H, H),
    } | EMBEDDER | LAST  # fmt: skip


def hunyuan_video() -> Shapes:
    tokens = "txt_in.individual_token_refiner.blocks.0"
    double = {
        "attn_qkv": (3 * H, H),
        "attn_proj": (H, H),
        "mlp.fc1": (M, H),
        "mlp.fc2": (H, M),
        "mod.linear": (6 * H, H),
    }
    return {
        **{f"double_blocks.0.{stream}_{name}": shape for stream in ("img", "txt") for name, shape in double.items()},
        "single_blocks.0.linear2": (H, H + M),
        "img_in.proj": (H, 4, 1, 2, 2),
        "final_layer.adaLN_modulation.1": (2 * H, H),
        "txt_in.c_embedder.linear_1": (H, TEXT),
        f"{tokens}.self_attn_qkv": (3 * H, H),
        f"{tokens}.mlp.fc1": (M, H),
        f"{tokens}.adaLN_modulation.1": (2 * H, H),
    } | LAST


def chroma() -> Shapes:
    double = {"attn.qkv": (3 * H, H), "attn.proj": (H, H), "mlp.0": (M, H), "mlp.2": (H, M)}
    approximator = "distilled_guidance_layer"
    return {
        **{f"double_blocks.0.{stream}_{name}": shape for stream in ("img", "txt") for name, shape in double.items()},
        "single_blocks.0.linear2": (H, H + M),
        "img_in": (H, 8),
        "txt_in": (H, TEXT),
        f"{approximator}.in_proj": (H, 8),
        f"{approximator}.out_proj": (H, H),
        f"{approximator}.layers.0.in_layer": (H, H),
        f"{approximator}.layers.0.out_layer": (H, H),
    } | LAST


AUTHORS: dict[str, tuple[Callable[[], Shapes], str]] = {
    "Stable Diffusion 3": (sd3, "sd3_transformer_checkpoint_to"),
    "AuraFlow": (auraflow, "auraflow_transformer_checkpoint_to"),
    "Mochi": (mochi, "mochi_transformer_checkpoint_to"),
    "Sana": (sana, "sana_transformer_to"),
    "Wan VACE": (wan, "wan_transformer_to"),
    "FLUX.3": (flux3, "flux3_transformer_checkpoint_to"),
    "Z-Image": (z_image, "z_image_transformer_checkpoint_to"),
    "Lumina 2": (lumina2, "lumina2_to"),
    "HunyuanVideo": (hunyuan_video, "hunyuan_video_transformer_to"),
    "Chroma": (chroma, "chroma_transformer_checkpoint_to"),
}


class Absent(dict[str, Tensor]):
    """A checkpoint that has zeros for whatever else a converter asks of it."""

    def pop(self, key: str, *default: Any) -> Any:
        return super().pop(key, torch.zeros(7 * 3072, 1, dtype=torch.float64))


def both(model: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights by the authors and in diffusers, with a number of its own for each entry."""
    shapes, name = AUTHORS[model]
    authors, first = {}, 1
    for module, shape in shapes().items():
        authors[f"{module}.weight"] = torch.arange(first, first + prod(shape), dtype=torch.float64).reshape(shape)
        first += prod(shape)
    found = getattr(single_file, f"convert_{name}_diffusers")(Absent(authors))
    return authors, {
        key: each for key, each in found.items() if each is not None and each.numel() and each.flatten()[0]
    }


def moved(deltas: Mapping[str, Tensor], there: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries of some updates in the other division of the same weights."""
    every = torch.zeros(1 + int(max(each.max() for each in there.values())), dtype=torch.float64)
    for name, delta in deltas.items():
        every[there[name].long()] = delta
    return {name: every[each.long()] for name, each in here.items()}


@pytest.mark.parametrize("names", ["authors", "diffusers"])
@pytest.mark.parametrize("model", AUTHORS)
def test_either_names_on_either_model(tmp_path: Path, model: str, names: str) -> None:
    torch.manual_seed(0)
    authors, diffusers = both(model)
    own, other = (authors, diffusers) if names == "authors" else (diffusers, authors)
    prefix = "diffusion_model." if names == "authors" else "transformer."
    tensors, deltas = {}, {}
    for name, ids in own.items():
        A, B = torch.randn(2, *ids.shape[1:]), torch.randn(len(ids), 2, *(1,) * (ids.dim() - 2))
        module = prefix + name.removesuffix(".weight")
        tensors |= {f"{module}.lora_A.weight": A, f"{module}.lora_B.weight": B}
        deltas[name] = (B.double().flatten(1) @ A.double().flatten(1)).reshape(ids.shape)
    save_file(tensors, tmp_path / "a.safetensors")
    for base, wanted in ((own, deltas), (other, moved(deltas, own, other))):
        folder = tmp_path / ("own" if base is own else "other")
        folder.mkdir()
        save_file({name: torch.zeros(ids.shape) for name, ids in base.items()}, folder / "model.safetensors")
        out = tmp_path / f"{folder.name}-fused"
        assert run(["fuse", str(folder), str(tmp_path / "a.safetensors"), "-o", str(out)]) == 0
        assert run(["verify", str(out), "--base", str(folder), "--adapter", str(tmp_path / "a.safetensors")]) == 0
        for name, each in load_file(out / "model.safetensors").items():
            torch.testing.assert_close(
                each.double(), wanted[name], atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
            )
