"""Writes adapterops/formats/diffusion/layers.txt: what diffusers calls the layers of each model that takes adapters.

    python benchmarks/image_layers.py

A line for each model: its class, and the flat names of its layers, with 0 for every number but the last. The models are
made without weights, with two blocks of each kind.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import diffusers
import torch
from diffusers.loaders import PeftAdapterMixin
from torch import nn

from adapterops.formats.diffusion.flat import flat
from adapterops.formats.diffusion.layers import NUMBER, TABLE

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding)
COUNTS = re.compile(r"(?:num|n)_.*(?:layers|blocks)|num_layers")
WITHOUT = re.compile(r"ControlNet|RFD4|PriorTransformer|UVit2D")
"""Models that are no denoisers of a pipeline that loads adapters."""

GIVEN: dict[str, list[dict[str, Any]]] = {
    "UNet2DConditionModel": [
        {},
        {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 32,
            "projection_class_embeddings_input_dim": 64,
            "use_linear_projection": True,
        },
    ],
    "WanVACETransformer3DModel": [{"num_layers": 2, "vace_layers": [0, 1]}],
    "WanTransformer3DModel": [{"num_layers": 2}, {"num_layers": 2, "image_dim": 32, "added_kv_proj_dim": 32}],
    "SD3Transformer2DModel": [{"num_layers": 2, "dual_attention_layers": (0,)}],
    "SkyReelsV2Transformer3DModel": [{"num_layers": 2, "inject_sample_info": True}],
    "LTX2VideoTransformer3DModel": [
        {
            "num_layers": 2,
            **dict.fromkeys(["gated_attn", "cross_attn_mod", "audio_gated_attn", "audio_cross_attn_mod"], True),
        }
    ],
    "HiDreamImageTransformer2DModel": [
        {"patch_size": 2, "num_layers": 1, "num_single_layers": 1, "caption_channels": [32, 32], "llama_layers": [0, 1]}
    ],
    "FluxTransformer2DModel": [{"num_layers": 2, "num_single_layers": 2, "guidance_embeds": True}],
}
"""Settings that have further layers, or that have to be given."""


def models() -> Iterator[type[nn.Module]]:
    for name in sorted(dir(diffusers)):
        each = getattr(diffusers, name, None) if re.search(r"Transformer|UNet", name) else None
        if inspect.isclass(each) and issubclass(each, PeftAdapterMixin) and not WITHOUT.search(name):
            yield each


def layers(model: type[nn.Module]) -> list[str]:
    """The names of a model's layers."""
    defaults = {
        name: min(each.default, 2)
        for name, each in inspect.signature(model.__init__).parameters.items()
        if COUNTS.fullmatch(name) and isinstance(each.default, int)
    }
    found = set()
    for given in GIVEN.get(model.__name__, [defaults]):
        with torch.device("meta"):
            made = model(**given)
        found |= {name for name, layer in made.named_modules() if isinstance(layer, LAYERS)}
    return sorted({NUMBER.sub("0", flat(f"transformer.{name}").key) for name in found})


def written(model: type[nn.Module]) -> str:
    return f"{model.__name__}: {' '.join(layers(model))}"


if __name__ == "__main__":
    TABLE.write_text("".join(f"{written(each)}\n" for each in models()))
