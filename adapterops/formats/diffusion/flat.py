"""One name for a weight that is spelled with dots, with underscores, and under prefixes of several programs.

kohya and LyCORIS write `lora_unet_blocks_0_attn_q` for `blocks.0.attn.q`, and what was a dot can no longer be told from
what was an underscore. So names are compared flat, and what two weights of a base have in common is refused.
"""

from __future__ import annotations

from typing import NamedTuple

from adapterops.formats.wrappers import unwrapped

DENOISER = "denoiser"
"""The part that makes the image: a UNet or a transformer."""

WEIGHT = ".weight"

PREFIXES = {
    "model.diffusion_model.": DENOISER,
    "diffusion_model.": DENOISER,
    "transformer.text_model.": "",  # of CLIP: no prefix of a denoiser
    "unet.": DENOISER,
    "transformer.": DENOISER,
    "lora_unet_": DENOISER,
    "lora_transformer_": DENOISER,
    "lora_te1_": "1",
    "lora_te2_": "2",
    "lora_te3_": "3",
    "lora_te_": "1",
    "lycoris_": "",
    "text_encoder_2.": "2",
    "text_encoder_3.": "3",
    "text_encoder.": "1",
    "cond_stage_model.transformer.": "1",
    "conditioner.embedders.0.transformer.": "1",
    "conditioner.embedders.1.model.": "2",
    "text_encoders.clip_l.transformer.": "1",
    "net.": DENOISER,
    "model.": "",
}
"""What a name may begin with → the part of a pipeline that it is in; empty where it says nothing."""

KEPT = {"transformer.text_model.": "text_model."}
"""What is left of a prefix."""


class Flat(NamedTuple):
    """A name without dots, and the part of a pipeline that it is in; empty where that is not known."""

    key: str
    part: str = ""

    def meets(self, other: Flat) -> bool:
        """Whether both may name one weight."""
        return self.key == other.key and (not self.part or not other.part or self.part == other.part)


def flat(name: str) -> Flat:
    """
    >>> flat("lora_unet_blocks_0_attn_q"), flat("model.diffusion_model.blocks.0.attn.q.weight")
    (Flat(key='blocks_0_attn_q', part='denoiser'), Flat(key='blocks_0_attn_q', part='denoiser'))
    >>> flat("lora_te_text_model_encoder_layers_0_mlp_fc1").part
    '1'
    """
    name, part = unwrapped(name.removesuffix(WEIGHT)), ""
    while found := next((prefix for prefix in PREFIXES if name.startswith(prefix) and name != prefix), None):
        name = KEPT.get(found, "") + name.removeprefix(found)
        part = part or PREFIXES[found]
        if found in KEPT:
            break
    return Flat(name.replace(".", "_").strip("_"), part)
