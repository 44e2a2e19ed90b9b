"""What people share next to adapters, and models that come in one file without a config: what each is called, by the names of
its tensors.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from adapterops.errors import InputError, UnsupportedError
from adapterops.formats.diffusion.spellings import ROOTS
from adapterops.formats.kinds import are_of_adapter

LOAD_NEXT_TO = "load it next to the model, in the program that it was made for"
PART = "it is a part of a model: a pipeline of diffusers has it in a folder of its own"
TUNED = "name the file of an adapter; the difference of two models is one: adapterops extract TUNED --base BASE"


class Other(NamedTuple):
    """What a file is that is no adapter.

    Attributes:
        own: what the name of one of its tensors has.
        every: what the names of all of them have.
        what: what it is called, and what it does.
        hint: what can be done with it.
        is_model: whether it is a model by itself, or a part of one.
        single: whether it has this tensor and no other.
    """

    own: str
    every: str
    what: str
    hint: str
    is_model: bool = False
    single: bool = False


OTHERS = [
    Other(
        r"^lllite_(?:unet|dit|modules)[_.]",
        "",
        "a ControlNet-LLLite, which adds to what the layers of its base take in",
        LOAD_NEXT_TO,
    ),
    Other(
        r"^(?:image_proj|ip_adapter|ip_adapter_proj_model)\.|\.(?:to_[kv]_ip|ip_adapter_\w+_proj)\.(?!.*lora)",
        "",
        "an IP-Adapter, which is a model next to its base",
        LOAD_NEXT_TO,
    ),
    Other(
        r"^(?:emb_params|clip_[lg]|t5(?:xxl)?|string_to_param\..+|<[^.]+>)$",
        "",
        "a textual inversion, which is vectors of words",
        LOAD_NEXT_TO,
    ),
    Other(
        r"^(?!weight$|bias$)[^.\s]+$",
        "",
        "one tensor under a word, as a textual inversion is stored",
        LOAD_NEXT_TO,
        single=True,
    ),
    Other(
        r"_custom_diffusion\.",
        r"_custom_diffusion\.",
        "Custom Diffusion, whose projections take the place of those of cross-attention",
        "load it with diffusers: pipeline.unet.load_attn_procs",
    ),
    Other(
        r"^(?:320|640|768|1024|1280|2048)\.[01]\.linear\.\d+\.",
        r"^\d+\.[01]\.linear\.\d+\.",
        "a hypernetwork, whose layers change what cross-attention reads",
        LOAD_NEXT_TO,
    ),
    Other(
        r"(?:^|\.)motion_modules?\.",
        r"(?:^|\.)motion_modules?\.(?!.*lora)",
        "a motion module of AnimateDiff, which is layers next to those of its base",
        LOAD_NEXT_TO,
    ),
    Other(
        r"^(?:control_model\.)?(?:input_hint_block|zero_convs|controlnet_[a-z_]+)\.(?!.*lora)",
        "",
        "a ControlNet, which is a model next to its base",
        LOAD_NEXT_TO,
    ),
    Other(
        r"^(?:adapter\.)?body\.\d+\.(?:resnets\.\d+\.)?(?:block1|in_conv)\.",
        "",
        "a T2I-Adapter, which is a model next to its base",
        LOAD_NEXT_TO,
    ),
    Other(r"^id_encoder\.", "", "PhotoMaker, which is a LoRA and a model of faces", LOAD_NEXT_TO),
    Other(r"^pulid_(?:ca|encoder)\.", "", "PuLID, which is a model of faces next to its base", LOAD_NEXT_TO),
    Other(
        r"^(?:params(?:_ema)?\.)?(?:RRDB_trunk\.0\.|(?:model\.1\.sub|body)\.0\.(?:RDB|rdb)1\.|conv_after_body\.)",
        r"^(?:params(?:_ema)?\.)?\w+\.",
        "an upscaler of images, which is a model by itself",
        LOAD_NEXT_TO,
        is_model=True,
    ),
    Other(
        r"^(?:first_stage_model\.)?decoder\.(?:conv_in|mid|middle)\b",
        r"^(?:first_stage_model\.)?(?:(?:encoder|decoder|(?:post_)?quant_conv|conv[12]|bn)\b|loss\.)",
        "a VAE",
        PART,
        is_model=True,
    ),
    Other(
        r"^text_model\.encoder\.", r"^(?:text_model|text_projection)\b", "a text encoder of CLIP", PART, is_model=True
    ),
    Other(
        r"^vision_model\.encoder\.",
        r"^(?:vision_model|visual_projection)\b",
        "an image encoder of CLIP",
        PART,
        is_model=True,
    ),
    Other(
        r"^encoder\.block\.\d+\.layer\.\d+\.SelfAttention\.",
        r"^(?:encoder|shared)\.",
        "a text encoder of T5",
        PART,
        is_model=True,
    ),
    Other(
        r"^model\.diffusion_model\.",
        r"^model\.diffusion_model\.",
        "the denoiser of an image or video model",
        TUNED,
        is_model=True,
    ),
    Other(rf"^(?:{ROOTS})\.", "", "by its names the denoiser of an image or video model", TUNED, is_model=True),
    Other(r"^model\.diffusion_model\.", "", "a checkpoint of a whole image or video model", TUNED, is_model=True),
]


def other(names: Collection[str]) -> tuple[Other, str] | None:
    """What has tensors of these names, and the first by which it is known; None for anything else.

    >>> other(["emb_params"])[0].what
    'a textual inversion, which is vectors of words'
    >>> other(["model.layers.0.mlp.up_proj.weight"])
    """
    for each in OTHERS:
        found = min((name for name in names if re.search(each.own, name)), default=None)
        if (
            found is not None
            and not (each.single and len(names) > 1)
            and all(re.search(each.every, name) for name in names)
        ):
            return each, found
    return None


def check_no_other(names: Collection[str]) -> None:
    """Raise InputError for the tensors of a model, and UnsupportedError for those of what is shared next to adapters."""
    found = other(names)
    if found is None or (found[0].is_model and are_of_adapter(names)):
        return
    each, name = found
    if each.is_model:
        raise InputError(f"is {each.what}, where an adapter is expected", tensor=name, hint=each.hint, code="E-MODEL")
    raise UnsupportedError(f"belongs to {each.what}: it is no adapter", tensor=name, hint=each.hint)
