"""One name for a weight that is spelled with dots, with underscores, and under prefixes of several programs.

kohya and LyCORIS write `lora_unet_blocks_0_attn_q` for `blocks.0.attn.q`, and what was a dot can no longer be told from
what was an underscore. So names are compared flat, and what two weights of a base have in common is refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple

from adapterops.errors import UnsupportedError
from adapterops.formats.models.wrappers import unwrapped
from adapterops.regex import Regex

DENOISER = "denoiser"
"""The part that makes the image: a UNet or a transformer."""

WEIGHT = ".weight"

PREFIXES = {
    "model.diffusion_model.": DENOISER,
    "diffusion_model.": DENOISER,
    "transformer.text_model.": "",  # of CLIP: no prefix of a denoiser
    "diffusion_model_": DENOISER,
    "unet.": DENOISER,
    "transformer.": DENOISER,
    "transformer_2.": "denoiser of the last steps",
    "conditional_transformer.": DENOISER,
    "text_conditioner.": DENOISER,
    "sformer_blocks.": DENOISER,
    "lora_unet_": DENOISER,
    "lora_transformer_": DENOISER,
    "lora_prior_unet_": DENOISER,
    "Hunyuan_video_I2V_lora_": DENOISER,
    **{f"lora_te{number}_": number for number in "1234"},
    "lora_te_": "1",
    "lora_prior_te_": "1",
    "lycoris_": "",
    **{f"text_encoder_{number}.": number for number in "234"},
    "text_encoder.": "1",
    "connectors.": "connectors",
    "text_embedding_projection.": "connectors",
    "cond_stage_model.transformer.": "1",
    "cond_stage_model.model.": "1",
    "conditioner.embedders.0.transformer.": "1",
    "conditioner.embedders.1.model.": "2",
    "text_encoders.clip_g.transformer.": "2",
    "net.": DENOISER,
    "pipe.dit.": DENOISER,
    "pipe.dit2.": "denoiser of the last steps",
    "model.": "",
}
"""What a name may begin with → the part of a pipeline that it is in; empty where it says nothing."""

PREFIX = Regex(f"(?:{'|'.join(map(re.escape, PREFIXES))})(?=.)")
"""The first of them that leaves something of the name."""

KEPT = {
    "transformer.text_model.": "text_model.",
    "text_conditioner.": "llm_adapter.",
    "sformer_blocks.": "transformer_blocks.",
}
"""What is left of a prefix."""

ENCODER = Regex(r"text_encoders\.(?:\w+\.)?transformer\.")
"""How ComfyUI begins the names of any other text encoder, with or without what it calls it."""

T5 = re.compile(r"encoder[._]block[._]\d")
"""What only T5 has, which is the second encoder of some pipelines and the third of others."""


class Flat(NamedTuple):
    """A name without dots, and the part of a pipeline that it is in; empty where that is not known."""

    key: str
    part: str = ""

    def meets(self, other: Flat) -> bool:
        """Whether both may name one weight."""
        return self.key == other.key and (not self.part or not other.part or self.part == other.part)


@lru_cache(1 << 16)  # a name is asked for several times
def flat(name: str) -> Flat:
    """
    >>> flat("lora_unet_blocks_0_attn_q"), flat("model.diffusion_model.blocks.0.attn.q.weight")
    (Flat(key='blocks_0_attn_q', part='denoiser'), Flat(key='blocks_0_attn_q', part='denoiser'))
    >>> flat("lora_te_text_model_encoder_layers_0_mlp_fc1"), flat("text_encoder.encoder.layers.0.mlp.fc1.weight")
    (Flat(key='encoder_layers_0_mlp_fc1', part='1'), Flat(key='encoder_layers_0_mlp_fc1', part='1'))
    """
    name, part = _divided(name.removesuffix(WEIGHT))
    if encoder := ENCODER.match(name):
        name, part = name[encoder.end() :], "1"
    name = re.sub(r"^text_model[._](?=encoder[._]layers)", "", name)  # which transformers 5 has no more
    if part.isdecimal():
        name = re.sub(r"^model[._](?=layers[._])", "", name)  # of a language model
    if T5.match(name) and part != DENOISER:
        part = "3"
    return Flat(name.replace(".", "_").strip("_"), part)


def without_part(name: str) -> str:
    """A name as the model of its part has it.

    >>> without_part("diffusion_model.blocks.0.attn.q")
    'blocks.0.attn.q'
    """
    return _divided(name)[0]


def stated_part(name: str) -> str:
    """The part of a pipeline that a name begins with: T5 may be any of its encoders.

    >>> stated_part("text_encoder_2.encoder.block.0.layer.0.SelfAttention.q"), stated_part("blocks.0.attn.q")
    ('2', '')
    """
    return _divided(name)[1]


def inner_names(modules: Collection[str]) -> dict[str, str]:
    """What each module is called in the model that it is in: that is what PEFT wraps. Modules that would have one name
    keep what tells them apart.

    Raises:
        UnsupportedError: they are in several models of a pipeline.

    >>> inner_names(["diffusion_model.blocks.0.attn.q", "blocks.1.attn.q"])
    {'diffusion_model.blocks.0.attn.q': 'blocks.0.attn.q', 'blocks.1.attn.q': 'blocks.1.attn.q'}
    """
    parts = {module: flat(module).part for module in modules}
    names = {module: without_part(module) if part else module for module, part in parts.items()}
    found = {part or DENOISER: module for module, part in parts.items()}
    if len(found) > 1:
        raise UnsupportedError(
            f"are in {len(found)} models of a pipeline, and PEFT wraps one: it would load nothing",
            tensor=" and ".join(sorted(found.values())),
            hint="write diffusers' format, which holds all of them: --to diffusers",
        )
    return names if len(set(names.values())) == len(names) else {module: module for module in modules}


def in_model(name: str) -> str:
    """The flat name of a module in the model of its part, which may have modules that are called like a part.

    >>> in_model("diffusion_model.transformer.layers.0.to_q"), in_model("transformer.layers.0.to_q")
    ('transformer_layers_0_to_q', 'layers_0_to_q')
    """
    return _divided(name.removesuffix(WEIGHT), once=True)[0].replace(".", "_").strip("_")


IN_FILE = Regex(r"(?:(?:model\.)?diffusion_model|net)\.")


def in_file(name: str) -> str:
    """The flat name of a weight in the file of a denoiser, of which nothing else is taken for a part.

    >>> in_file("transformer.layers.0.to_q.weight"), in_file("model.diffusion_model.transformer.layers.0.to_q.weight")
    ('transformer_layers_0_to_q', 'transformer_layers_0_to_q')
    """
    found = IN_FILE.match(name)
    return name[found.end() if found else 0 :].removesuffix(WEIGHT).replace(".", "_").strip("_")


def _divided(name: str, *, once: bool = False) -> tuple[str, str]:
    """A name without what programs put before it, and the part that this means.

    Args:
        once: without the first that means a part alone.
    """
    name, part = unwrapped(name), ""
    while found := PREFIX.match(name):
        prefix = found[0]
        name = KEPT.get(prefix, "") + unwrapped(name.removeprefix(prefix))
        part = part or PREFIXES[prefix]
        if prefix in KEPT or (once and part):
            break
    return name, part
