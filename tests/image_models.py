"""Weights of image and video models by their authors and in diffusers, with a number of its own for each entry: as diffusers'
own converters, of checkpoints and of adapters, carry them over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

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


def numbered(shapes: Shapes) -> dict[str, Tensor]:
    """A number of its own for each entry of some weights."""
    found, first = {}, 1
    for module, shape in shapes.items():
        found[f"{module}.weight"] = torch.arange(first, first + prod(shape), dtype=torch.float64).reshape(shape)
        first += prod(shape)
    return found


class Absent(dict[str, Tensor]):
    """A checkpoint that has zeros for whatever else a converter asks of it."""

    def pop(self, key: str, *default: Any) -> Any:
        return super().pop(key, torch.zeros(7 * 3072, 1, dtype=torch.float64))


def both(model: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights by the authors and in diffusers, with a number of its own for each entry."""
    shapes, name = AUTHORS[model]
    authors = numbered(shapes())
    from diffusers.loaders import single_file_utils

    found = getattr(single_file_utils, f"convert_{name}_diffusers")(Absent(authors))
    return authors, {
        key: each for key, each in found.items() if each is not None and each.numel() and each.flatten()[0]
    }


def moved(deltas: Mapping[str, Tensor], there: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries of some updates in the other division of the same weights."""
    every = torch.zeros(1 + int(max(each.max() for each in there.values())), dtype=torch.float64)
    for name, delta in deltas.items():
        every[there[name].long()] = delta
    return {name: every[each.long()] for name, each in here.items()}


CONVERTERS: dict[str, Shapes] = {
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


def carried(model: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Both sides of a model of `CONVERTERS`."""
    authors = numbered(CONVERTERS[model])
    tensors: dict[str, Tensor] = {}
    for name, ids in authors.items():
        module = f"diffusion_model.{name.removesuffix('.weight')}"
        tensors |= {f"{module}.lora_A.weight": torch.eye(ids.shape[1], dtype=torch.float64)}
        tensors |= {f"{module}.lora_B.weight": ids.clone()}
    return authors, {f"{name}.weight": ids.contiguous() for name, ids in by_diffusers(model, tensors).items()}


Table = Mapping[str, tuple[str, ...]]


def in_parts(table: Table, heights: Sequence[int] = ()) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Both sides of a model whose names are written down: that of its authors → what diffusers has it in, part by part.

    Args:
        heights: rows of the parts of a weight of four.
    """
    rows = {name: list(heights) if len(parts) == 4 else [H] * len(parts) for name, parts in table.items()}
    authors = numbered({name: (sum(rows[name]), 8 if name == "pooler.c_proj" else H) for name in table})
    return authors, {
        f"{part}.weight": ids.contiguous()
        for name, parts in table.items()
        for part, ids in zip(parts, authors[f"{name}.weight"].split(rows[name]), strict=True)
    }


def flux() -> Table:
    streams = {
        "img": ("attn", "ff", ("to_q", "to_k", "to_v"), "to_out.0", "norm1"),
        "txt": ("attn", "ff_context", ("add_q_proj", "add_k_proj", "add_v_proj"), "to_add_out", "norm1_context"),
    }
    found: dict[str, tuple[str, ...]] = {}
    for stream, (attention, ff, qkv, out, norm) in streams.items():
        mine, its = f"double_blocks.0.{stream}", "transformer_blocks.0"
        found |= {
            f"{mine}_attn.qkv": tuple(f"{its}.{attention}.{each}" for each in qkv),
            f"{mine}_attn.proj": (f"{its}.{attention}.{out}",),
            f"{mine}_mlp.0": (f"{its}.{ff}.net.0.proj",),
            f"{mine}_mlp.2": (f"{its}.{ff}.net.2",),
            f"{mine}_mod.lin": (f"{its}.{norm}.linear",),
        }
    single = "single_transformer_blocks.0"
    return found | {
        "single_blocks.0.linear1": (*(f"{single}.attn.to_{each}" for each in "qkv"), f"{single}.proj_mlp"),
        "single_blocks.0.linear2": (f"{single}.proj_out",),
        "single_blocks.0.modulation.lin": (f"{single}.norm.linear",),
    }


def hunyuan_image() -> Table:
    single, tokens = "single_transformer_blocks.0", "context_embedder.token_refiner.refiner_blocks.0"
    embedders = {"time_in": "timestep_embedder", "time_r_in": "timestep_embedder_r", "guidance_in": "guidance_embedder"}
    return {
        **{f"single_blocks.0.linear1_{each}": (f"{single}.attn.to_{each}",) for each in "qkv"},
        "single_blocks.0.linear1_mlp": (f"{single}.proj_mlp",),
        "single_blocks.0.linear2.fc": (f"{single}.proj_out",),
        "single_blocks.0.modulation.linear": (f"{single}.norm.linear",),
        "double_blocks.0.img_attn_q": ("transformer_blocks.0.attn.to_q",),
        "double_blocks.0.txt_attn_v": ("transformer_blocks.0.attn.add_v_proj",),
        "double_blocks.0.txt_mlp.fc2": ("transformer_blocks.0.ff_context.net.2",),
        "txt_in.individual_token_refiner.blocks.0.self_attn_qkv": tuple(f"{tokens}.attn.to_{each}" for each in "qkv"),
        **{f"byt5_in.fc{each}": (f"context_embedder_2.linear_{each}",) for each in (1, 2, 3)},
        **{f"{mine}.mlp.0": (f"time_guidance_embed.{its}.linear_1",) for mine, its in embedders.items()},
        **{f"{mine}.mlp.2": (f"time_guidance_embed.{its}.linear_2",) for mine, its in embedders.items()},
    }


HUNYUAN_VIDEO_15: Table = {
    **{f"double_blocks.0.img_attn_{each}": (f"transformer_blocks.0.attn.to_{each}",) for each in "qkv"},
    "double_blocks.0.img_mod.linear": ("transformer_blocks.0.norm1.linear",),
    **{f"byt5_in.fc{each}": (f"context_embedder_2.linear_{each}",) for each in (1, 2, 3)},
    "vision_in.proj.1": ("image_embedder.linear_1",),
    "vision_in.proj.3": ("image_embedder.linear_2",),
    "time_in.mlp.0": ("time_embed.timestep_embedder.linear_1",),
    "time_in.mlp.2": ("time_embed.timestep_embedder.linear_2",),
}

OVIS: Table = {
    **{
        f"transformer_blocks.0.{its}.net.0.proj": tuple(
            f"double_blocks.0.{mine}_mlp.{each}_proj" for each in ("up", "gate")
        )
        for mine, its in (("img", "ff"), ("txt", "ff_context"))
    },
    "transformer_blocks.0.ff.net.2": ("double_blocks.0.img_mlp.down_proj",),
    "timestep_embedder.linear_1": ("time_in.in_layer",),
    "timestep_embedder.linear_2": ("time_in.out_layer",),
}
"""Turned round: what diffusers has joined. It gives the first half times what the second lets through."""

TABLES: dict[str, Table] = {
    "HunyuanImage": hunyuan_image(),
    "HunyuanVideo 1.5": HUNYUAN_VIDEO_15,
    "LongCat-Image": {
        **{name: each for name, each in flux().items() if len(each) < 4 and "_mod" not in name},
        "time_in.in_layer": ("time_embed.timestep_embedder.linear_1",),
        "time_in.out_layer": ("time_embed.timestep_embedder.linear_2",),
    },
    "PRX": {
        **{f"blocks.0.{each}": (f"blocks.0.attention.{each}",) for each in ("img_qkv_proj", "txt_kv_proj")},
        "blocks.0.attn_out": ("blocks.0.attention.to_out.0",),
        "blocks.0.gate_proj": ("blocks.0.gate_proj",),
    },
    "Sana video": {
        "blocks.0.attn.qkv": tuple(f"transformer_blocks.0.attn1.to_{each}" for each in "qkv"),
        "blocks.0.cross_attn.kv_linear": tuple(f"transformer_blocks.0.attn2.to_{each}" for each in "kv"),
        "blocks.0.mlp.t_conv": ("transformer_blocks.0.ff.conv_temp",),
        "x_embedder.proj": ("patch_embedding",),
    },
    "Wan Animate": {
        "face_adapter.fuser_blocks.3.linear1_kv": ("face_adapter.3.to_k", "face_adapter.3.to_v"),
        "face_adapter.fuser_blocks.3.linear1_q": ("face_adapter.3.to_q",),
        "face_adapter.fuser_blocks.3.linear2": ("face_adapter.3.to_out",),
        "blocks.0.self_attn.q": ("blocks.0.attn1.to_q",),
    },
}
"""Models that no converter of the library has: by its scripts, and ComfyUI's forward pass (Ovis)."""

ALIKE = {
    "Qwen-Image": (
        *(
            f"transformer_blocks.0.attn.{each}"
            for each in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "to_add_out")
        ),
        *(f"transformer_blocks.0.{each}" for each in ("img_mlp.net.0.proj", "txt_mlp.net.2", "img_mod.1")),
        "img_in",
        "proj_out",
    ),
    "HiDream": (
        *(f"double_stream_blocks.0.block.{each}" for each in ("attn1.to_q", "attn1.to_out", "ff_i.experts.0.w1")),
        *(f"double_stream_blocks.0.block.{each}" for each in ("ff_i.shared_experts.w2", "adaLN_modulation.1")),
        "single_stream_blocks.0.block.attn1.to_v",
        "caption_projection.0.linear",
    ),
    "Kandinsky 5": (
        *(f"visual_transformer_blocks.0.{each}" for each in ("self_attention.to_query", "self_attention.out_layer")),
        *(f"visual_transformer_blocks.0.{each}" for each in ("cross_attention.to_key", "visual_modulation.out_layer")),
        "text_transformer_blocks.0.feed_forward.in_layer",
        "time_embeddings.in_layer",
        "out_layer.out_layer",
    ),
    "ACE-Step": (
        *(f"transformer_blocks.0.{each}" for each in ("attn.to_q", "cross_attn.to_k", "attn.to_out.0")),
        "lyric_encoder.encoders.0.self_attn.linear_q",
        "speaker_embedder",
    ),
    "Ernie-Image": (
        *(f"layers.0.{each}" for each in ("self_attention.to_q", "self_attention.to_out.0", "mlp.gate_proj")),
        "text_proj",
        "time_embedding.linear_1",
    ),
    "Bria Fibo": (
        *(f"transformer_blocks.0.{each}" for each in ("attn.to_q", "attn.add_q_proj", "ff.net.0.proj")),
        *(f"single_transformer_blocks.0.{each}" for each in ("proj_mlp", "proj_out")),
        "caption_projection.0.linear",
    ),
    "Helios": (
        *(f"blocks.0.{each}" for each in ("attn1.to_q", "attn1.to_out.0", "attn2.to_k", "ffn.net.0.proj")),
        "condition_embedder.time_embedder.linear_1",
    ),
    "OmniGen 2": (
        *(f"layers.0.{each}" for each in ("attn.to_q", "attn.to_out.0", "feed_forward.linear_1")),
        "noise_refiner.0.attn.to_k",
        "context_refiner.0.norm1.linear",
    ),
    "CogVideoX": (
        *(f"transformer_blocks.0.{each}" for each in ("attn1.to_q", "attn1.to_out.0", "ff.net.0.proj", "norm1.linear")),
        "patch_embed.proj",
    ),
    "Stable Diffusion 1.5": (
        *(f"down_blocks.0.attentions.0.transformer_blocks.0.attn1.{each}" for each in ("to_q", "to_out.0")),
        "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj",
        "up_blocks.1.resnets.0.time_emb_proj",
    ),
}
"""Models that have the same names everywhere."""

EVERY: dict[str, Callable[[], tuple[dict[str, Tensor], dict[str, Tensor]]]] = {
    **{model: partial(both, model) for model in AUTHORS},
    **{f"{model}, adapters": partial(carried, model) for model in CONVERTERS},
    "Flux": lambda: in_parts(flux(), [H, H, H, M]),
    "HunyuanDiT": lambda: in_parts(HUNYUAN_DIT),
    **{model: partial(in_parts, table) for model, table in TABLES.items()},
    "Ovis-Image": lambda: in_parts(OVIS)[::-1],
    **{model: partial(in_parts, {name: (name,) for name in names}) for model, names in ALIKE.items()},
}
"""Model → its weights by its authors and in diffusers, with a number of its own for each entry."""
