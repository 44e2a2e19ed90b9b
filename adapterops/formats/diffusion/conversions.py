"""What diffusers makes of the names of an adapter when a pipeline loads it, by model: a table, and nothing else.

As 0.42.1 was run, every pipeline that loads LoRA. All names are flat (see `flat`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from adapterops.formats.diffusion.known_names import (
    ACE,
    AROUND,
    ATTENTION,
    COMFY,
    DIFFUSERS,
    ENDS,
    FLUX,
    FLUX_2,
    FLUX_2_IN_DIFFUSERS,
    HUNYUAN,
    KOHYA,
    KREA_BY_AUTHORS,
    LTX_2,
    LYCORIS,
    MINIMAX,
    ONE_TRAINER,
    PEFT,
    QWEN,
    REFINED,
    UNET,
    UNET_IN_DIFFUSERS,
    WAN,
    Z_IMAGE,
    Z_IMAGE_IN_DIFFUSERS,
)

BARE = ""
UP_AND_DOWN, A_AND_B = "lora_down", "lora_A"
READ, IGNORED, STOP, NEEDED = "read", "ignored", "stop", "needed"
"""What becomes of alphas: with STOP the loading ends with an error where there are some, with NEEDED where there are none."""

LEFT, GIVEN = "left", "given"
"""What becomes of other names: with STOP the loading ends with an error, with GIVEN that is so if the model has none of all."""


LENGTHS = "dora_scale"
"""What is left out before, with a line in the log; the LoRA next to it is loaded."""

NO_PRODUCTS = "(?!hada_|lokr_).*"
OF_PEFT = rf"{LENGTHS}|lora_magnitude_vector|lora_[AB]\.bias"
LOKR = r"lokr_\w+"


class Conversion(NamedTuple):
    """What becomes of names, of a model that is known.

    Attributes:
        starts: what is before them.
        factors: how A and B are called; empty for any way.
        takes: those that are loaded.
        layers: whether these are, too, that the layers of a model have in diffusers.
        left: those that are left out without an error.
        changes: those that are loaded as something else.
        others: what becomes of any other.
        alpha: what becomes of alphas.
        also: the ends of other tensors that modules may have; with any other the loading ends with an error.
        needs: what the name of some tensor in the file has, or diffusers does not convert it.
        every: the root of blocks → names of which all are needed in every block, or the loading ends with an error.
    """

    starts: Collection[str]
    factors: str = ""
    takes: str = "(?!)"
    layers: bool = False
    left: str = "(?!)"
    changes: str = "(?!)"
    others: str = STOP
    alpha: str = READ
    also: str = LENGTHS
    needs: str = ""
    every: Mapping[str, Collection[str]] = {}


UNDERSCORED = (ONE_TRAINER, LYCORIS)
ALPHA = r"\.alpha$"
OF_FLUX = (
    Conversion((BARE, PEFT, *UNDERSCORED), UP_AND_DOWN),
    Conversion((PEFT,), A_AND_B),
    Conversion((KOHYA, COMFY), ".diff", left=".*", also="diff_b", needs=UP_AND_DOWN),
    Conversion((COMFY, BARE), others=LEFT, also=NO_PRODUCTS),
    Conversion((DIFFUSERS,), ".diff", left=".*", also=".*"),
    Conversion((DIFFUSERS,), ".set_weight", left=".*", also=".*"),
    Conversion((DIFFUSERS,), UP_AND_DOWN, layers=True, others=GIVEN, alpha=IGNORED, also=NO_PRODUCTS),
    Conversion((DIFFUSERS,), layers=True, others=GIVEN, also=NO_PRODUCTS),
)
"""Of any names of Flux, and of models whose pipeline loads as that of Flux does."""

AROUND_FLUX = AROUND.format("(?:time|vector|guidance)", "|adaLN_modulation_1")
MODULATIONS = r"(?:double|single)_stream_modulation\w*_lin|guidance_in_(?:in|out)_layer|final_layer_adaLN_modulation_1"
OF_FLUX_2 = (
    Conversion(
        (DIFFUSERS, DIFFUSERS + PEFT, COMFY, BARE, PEFT, *UNDERSCORED), UP_AND_DOWN, left=".*", also=NO_PRODUCTS
    ),
    Conversion((COMFY,), "lokr_", f"{FLUX_2}|{MODULATIONS}", also=LOKR),
    Conversion((BARE,), "lokr_", layers=True, others=GIVEN, also=LOKR),
    Conversion((DIFFUSERS,), "lokr_", layers=True, others=GIVEN, alpha=STOP, also=LOKR),
    Conversion((LYCORIS,), "lokr_", rf"(?!.+_embedder|proj_out|norm_out)(?:{FLUX_2_IN_DIFFUSERS})", also=LOKR),
    Conversion((KOHYA,), "lokr_"),
    Conversion((COMFY, PEFT), A_AND_B, f"{FLUX_2}|{MODULATIONS}", alpha=STOP),
    Conversion((COMFY, PEFT), A_AND_B, "(?:single_)?transformer_blocks_.+", alpha=STOP, also=OF_PEFT),
)
ACE_NEEDS = "[qk]_proj"
OTHER_STARTS = (DIFFUSERS, COMFY, PEFT, KOHYA, *UNDERSCORED)
WITH_ALPHAS = Conversion(UNDERSCORED, needs=ALPHA)
OWN_AFTER = (
    Conversion((COMFY,), layers=True, others=GIVEN),
    Conversion((BARE,), layers=True, others=GIVEN, needs=ALPHA),
    WITH_ALPHAS,
)
OF_Z_IMAGE = (
    Conversion((COMFY,), UP_AND_DOWN, f"{REFINED}attention_out", layers=True, others=GIVEN),
    Conversion((COMFY,), "lokr_", layers=True, others=GIVEN, also=LOKR),
    Conversion((BARE,), "lokr_", layers=True, others=GIVEN, also=LOKR, needs=ALPHA),
    Conversion((BARE,), "lokr_", others=LEFT, also=LOKR),
    Conversion((DIFFUSERS,), "lokr_", layers=True, others=GIVEN, alpha=STOP, also=LOKR),
    *OWN_AFTER,
    Conversion((COMFY, BARE), A_AND_B, left=f"{REFINED}attention_out", alpha=STOP, needs=ALPHA),
)
SWAPPED = (
    Conversion(
        (COMFY,),
        A_AND_B,
        layers=True,
        others=GIVEN,
        alpha=STOP,
        also=OF_PEFT,
    ),
    Conversion((COMFY,), UP_AND_DOWN),
)
WAN_BLOCK = rf"blocks_\d+_(?:{'|'.join(WAN)}|cross_attn_[kv]_img)"
WAN_AROUND = r"(?:time|text)_embedding_[02]|time_projection_1|head_head|img_emb_proj_[13]"
WAN_NEEDS = r"(?:\.|_)blocks[._]"
REFINED_BLOCK = ("attention_qkv", "attention_out", *(f"feed_forward_w{each}" for each in (1, 2, 3)))
IDEOGRAM = r"layers_\d+_(?:attention_(?:qkv|o)|feed_forward_w[123]|adaln_modulation)"

CONVERSIONS: Mapping[str, tuple[Conversion, ...]] = {
    "Stable Diffusion XL": (Conversion((KOHYA,), "", rf"(?!output_blocks_\d+_1_conv)(?:{UNET})", others=GIVEN),),
    "Stable Diffusion 1 or Stable Diffusion 2": (
        Conversion((KOHYA,), "", r"input_blocks_0_0|time_embed_\d", others=GIVEN),
    ),
    **dict.fromkeys(
        ("Stable Diffusion XL in diffusers' names", "Stable Diffusion 1 or Stable Diffusion 2 in diffusers' names"),
        (Conversion((KOHYA,), "", rf"(?!add_embedding)(?:{UNET_IN_DIFFUSERS})", others=GIVEN),),
    ),
    "Flux": (
        Conversion(
            (KOHYA, COMFY), UP_AND_DOWN, f"(?!{AROUND_FLUX})(?:{FLUX})", left=AROUND_FLUX, also=f"{LENGTHS}|diff_b"
        ),
        *OF_FLUX,
    ),
    "Flux in diffusers' names": (
        Conversion(
            (ONE_TRAINER,), UP_AND_DOWN, rf"(?:single_)?transformer_blocks_\d+_{ATTENTION}|{ENDS}", alpha=NEEDED
        ),
        Conversion((KOHYA, COMFY), UP_AND_DOWN),
        *OF_FLUX,
    ),
    "FLUX.2": (Conversion((KOHYA,), UP_AND_DOWN, FLUX_2, left=".*", also=NO_PRODUCTS), *OF_FLUX_2),
    "FLUX.2 in diffusers' names": OF_FLUX_2,
    "HunyuanVideo": (
        Conversion(
            (DIFFUSERS, COMFY, BARE),
            A_AND_B,
            rf"(?!final_layer_ada|.+_self_attn_qkv$)(?:{HUNYUAN})",
            changes="final_layer_adaLN_modulation_1",
            alpha=STOP,
            also=OF_PEFT,
            needs="img_attn_qkv",
        ),
        Conversion((BARE, *OTHER_STARTS), needs="img_attn_qkv"),
    ),
    "Qwen-Image": (Conversion((KOHYA,), "", QWEN, left="transformer_blocks_.+"), *OWN_AFTER),
    "Krea 2": (Conversion((COMFY, PEFT), A_AND_B, KREA_BY_AUTHORS, alpha=STOP), Conversion((COMFY, PEFT))),
    "Krea 2 in diffusers' names": (Conversion((COMFY, PEFT)),),
    "Z-Image": (Conversion((KOHYA,), "", Z_IMAGE, others=GIVEN), *OF_Z_IMAGE),
    "Z-Image in diffusers' names": (Conversion((KOHYA,), "", Z_IMAGE_IN_DIFFUSERS, others=GIVEN), *OF_Z_IMAGE),
    "Lumina 2": (
        Conversion(
            (COMFY,),
            A_AND_B,
            rf"{REFINED}(?:{'|'.join(REFINED_BLOCK)})|(?:layers|noise_refiner)_\d+_adaLN_modulation_1",
            alpha=STOP,
            every={
                **dict.fromkeys(("layers", "noise_refiner"), (*REFINED_BLOCK, "adaLN_modulation_1")),
                "context_refiner": REFINED_BLOCK,
            },
        ),
        Conversion((COMFY,)),
    ),
    "Lumina 2 in diffusers' names": (Conversion((COMFY,)),),
    "Ideogram 4 in diffusers' names": (Conversion((COMFY,)),),
    "Ideogram 4": (
        Conversion((COMFY,), "", IDEOGRAM),
        Conversion((BARE,), "", IDEOGRAM, needs=r"\.attention\.qkv\."),
    ),
    "Anima": (Conversion((COMFY,), A_AND_B, ".*", alpha=STOP),),
    "Wan": (
        Conversion((COMFY,), ".diff_b", f"{WAN_BLOCK}|{WAN_AROUND}", left=".*", also="diff_b", needs=WAN_NEEDS),
        Conversion((COMFY,), ".diff", "head_head", left=".*", also="diff|diff_m", needs=WAN_NEEDS),
        Conversion((COMFY,), "", WAN_BLOCK, also="(?!)"),
        Conversion((COMFY,), "", WAN_AROUND, alpha=STOP, also="(?!)", needs=WAN_NEEDS),
        Conversion((KOHYA,), "", WAN_BLOCK, alpha=NEEDED, also="(?!)", every={"blocks": WAN}),
        Conversion((COMFY, KOHYA)),
    ),
    "Wan in diffusers' names": (Conversion((COMFY, KOHYA)),),
    "MiniMax-H3": (Conversion((KOHYA, COMFY, BARE), "", MINIMAX),),
    "LTX": SWAPPED,
    "LTX-2": (SWAPPED[0]._replace(takes=LTX_2), SWAPPED[1]),
    "HiDream": SWAPPED,
    "Ernie-Image": tuple(each._replace(starts=(COMFY, PEFT)) for each in SWAPPED),
    "ACE-Step 1.5": (Conversion((BARE, *OTHER_STARTS), needs=ACE_NEEDS),),
    "ACE-Step 1.5 without decoder": (
        Conversion((BARE, PEFT), A_AND_B, ACE, others=GIVEN, alpha=STOP, needs=ACE_NEEDS),
        Conversion((BARE, *OTHER_STARTS), needs=ACE_NEEDS),
    ),
}
"""By the names of `NAMES`. Of models that are not here, and after what is not here, nothing is converted."""
