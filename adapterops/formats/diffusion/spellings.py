"""How the tensors of such adapters are spelled: module and role of a name, and what is known and not handled."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from adapterops.errors import InputError, UnsupportedError
from adapterops.formats.adapter_files import CONFIG
from adapterops.formats.diffusion.flat import without_part
from adapterops.formats.models.wrappers import unwrapped
from adapterops.formats.peft.header import ALPHAS, packed
from adapterops.formats.peft.keys import BIAS, updates
from adapterops.formats.peft.types import ARRAYS
from adapterops.regex import Regex
from adapterops.updates.kinds import KINDS
from adapterops.updates.layout import BY_INPUTS, BY_OUTPUTS

OF_IMAGES = ("kohya", "comfy", "diffusers")
"""The formats of adapters of image and video models."""

LANGUAGE = {"CAUSAL_LM", "SEQ_CLS", "SEQ_2_SEQ_LM", "TOKEN_CLS", "QUESTION_ANS"}
"""Tasks of PEFT's config that no model of a pipeline has."""

ROLE = {"down": "lora_A", "up": "lora_B", "mid": "lora_mid", "A": "lora_A", "B": "lora_B", None: ""}
OUT = {"to_out": "to_out.0", "to_add_out": "to_add_out"}
"""Projections that diffusers has inside of a list, and names without."""

ENCODERS = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
"""What diffusers once called the projections of a text encoder."""

UNDERSCORED = r"(?:lora_(?:unet|transformer|te\d?|prior_unet|prior_te)|lycoris|Hunyuan_video_I2V_lora|diffusion_model)_"
"""How names begin that have underscores for dots."""

ROOTS = (
    "double_blocks|single_blocks|(?:[a-z]+_)?transformer_blocks|sformer_blocks|joint_blocks|down_blocks|up_blocks|mid_block|input_blocks|output_blocks|middle_block|noise_refiner"
    "|context_refiner|token_refiner|img_in|txt_in|time_in|vector_in|guidance_in|final_layer|x_embedder|context_embedder"
    "|time_text_embed|patch_embedding|text_embedding|time_embedding|time_projection|txtfusion|caption_projection"
    "|adaln_single|text_fusion|mode_blocks|content_mode_blocks|txt_mode_blocks|double_layers|single_layers|(?:double|single)_stream_blocks|vace_blocks"
)
"""What models of images and videos consist of, and models of language do not."""

PROJECTIONS = r"\.(?:to_[qkv]|to_q?kv|to_out|add_[qkv]_proj|attn\.w[qkvo]|(?:self|cross)_attn\.(?:[qkvo]|[kv]_img))\."
COMPONENTS = (
    r"(?:model\.)?diffusion_model|lora_(?:unet|transformer|te\d?)|unet|transformer_2|conditional_transformer|text_encoder(?:_\d)?"
    r"|text_encoders\.\w+|text_conditioner|connectors|text_embedding_projection|conditioner\.embedders"
    r"|cond_stage_model|net\.(?:blocks|llm_adapter)"
)
"""Parts of a pipeline, as programs put them before names."""

AROUND = (
    "patch_embed|time_embed|time_proj|learnable_pos_embed|proj_in|proj_out|norm_out|(?:visual|text|time)_embeddings"
)
"""What is around the blocks of a `transformer` of a pipeline, and in no GPT-2."""

RWKV = r"\.\d+\.(?:att|ffn)\.(?:key|value|receptance|gate|output)\."
"""What follows `blocks` in the names of a model of language, whose adapters state no scale."""

OWN = Regex(
    rf"^(?:{UNDERSCORED})|^(?:{COMPONENTS})\.|^transformer\.(?:{AROUND})\."
    rf"|^(?:transformer\.)?(?:blocks(?!{RWKV})|{ROOTS})\.|{PROJECTIONS}"
    r"|_lora\d?\.(?:down|up)\.weight$"
    r"|\.lora_(?:down|up|mid)\.weight$|\.lora\.(?:down|up)\.weight$|\.lora_linear_layer\.(?:down|up)\.weight$"
    r"|\.(?:diff(?:_[bm])?|[wb]_norm|dora_scale|set_weight)$"
)
"""What only names of such adapters have."""

SCALE_OF_PART = Regex(rf"(?:{COMPONENTS}|transformer)\.(?:{'|'.join(ALPHAS)})")
"""An entry of a header that says the scale of a part of a pipeline."""

IN_PEFT = Regex(rf"^base_model\.model\.(?:{ROOTS})\.|{PROJECTIONS}")
"""What only those have that begin as PEFT's."""

LORA = Regex(
    r"(?P<module>.+)\.(?:lora_(?P<half>down|up|mid)\.weight|lora_(?P<ab>[AB])(?:\.(?P<adapter>(?!weight$|(?:.+\.)?bias$).+?))?(?:\.weight)?"
    r"|(?:lora|lora_linear_layer)\.(?P<old>down|up)\.weight)"
)
FLAT = Regex(rf"(?P<module>{UNDERSCORED}[^.]+)_lora\.(?P<half>down|up)\.weight")
LORA_BIAS = Regex(r"(?P<module>.+)\.(?:lora_up|lora_B(?:\..+)?)\.bias")
PROCESSOR = Regex(r"(?P<above>.+?)(?:\.processor)?\.(?P<projection>[a-z_]+?)_lora\.(?P<half>down|up)\.weight")
PROCESSED = Regex(r"\.processor\.(?P<projection>to_[qkv]|to_out|add_[qkv]_proj|to_add_out)(?=\.bias$|$)")
XLABS = Regex(r"(?P<module>(?:double|single)_blocks\.\d+\.processor\.(?:qkv|proj)_lora\d?)\.(?P<half>down|up)\.weight")
OTHERS = Regex(
    rf"(?P<module>.+?)(?:[._](?P<role>hada_w[12]_[ab]|hada_t[12]|lokr_(?:w[12](?:_[ab])?|t2))|\.(?P<alpha>alpha)"
    rf"|\.(?P<vector>{BY_INPUTS}|magnitude|{BY_OUTPUTS})(?:\.(?!weight$)[^.]+)?(?:\.weight)?)"
)
DIFFERENCES = {
    "diff": "",
    "diff_b": ".bias",
    "diff_m": ".modulation",
    "w_norm": "",
    "b_norm": ".bias",
}
"""Ends of names of what is added to a tensor, all of it → what the tensor is called after the module."""

SET = "set_weight"
"""The end of the name of what takes the place of a tensor: of a weight after its module, of any other after its own name."""

MERGE = "merge it with the tool that trained it"
NOT_HANDLED = (
    (r"_norm\.scale$", "a control LoRA, which sets norms of its base", MERGE),
    (r"\.reshape_weight$", "a control LoRA that widens its base", MERGE),
    (r"^lora_controlnet$", "a control LoRA, which is a model next to its base", MERGE),
    (
        r"^blocks\.\d+\.attn\.qkv_proj\.lora_[AB]\.default\.",
        "a MiniMax-H3 adapter of DiffSynth, whose rows of q, k and v are interleaved head by head, in an order that only its base has",
        "train it with a program that has q, k and v one after the other",
    ),
    (
        r"\.boft_|\.oft_blocks:4$",
        "BOFT, which rotates the weights of the base",
        MERGE,
    ),
    (r"\.oft_|^oft_", "OFT, which rotates the weights of the base", MERGE),
    (r"\.on_input$|\.ia3_", "(IA)3, which scales the weights of the base", MERGE),
    (r"\.[ab][12]\.weight$|\.bm\.weight$", "GLoRA", MERGE),
    (r"\.(?:q_layer|p_layer)\.weight$|\.lambda_layer(?:\.weight)?$", "T-LoRA", MERGE),
    (
        r"\.lora_(?:down|up)$",
        "an adapter in Nunchaku's format, whose factors are packed for its kernels",
        "give the file that it was converted from",
    ),
    (r"\.bias_(?:indices|values|size)$", "a sparse difference of LyCORIS", MERGE),
    (r"^bundle_emb\.", "a textual inversion that is bundled with it", "take it out, and keep it in a file of its own"),
    *((pattern, kind, MERGE) for pattern, kind, _ in ARRAYS),
    (r"\.(?:lora_down|lora_A(?:\..+)?)\.bias$", "a bias inside of LoRA", MERGE),
)
"""Pattern, kind and way out of what is known by name."""

OFT = ".oft_blocks"
"""The end of the name of what is another kind with four dimensions than with three."""

PLACE = Regex(r"(?<=[._])\d+(?=[._])")
"""The number of a block in a name."""


class SpelledKey(NamedTuple):
    """What a name says. The module is as the file has it."""

    module: str
    role: str


def parse(name: str, shape: Sequence[int] = ()) -> SpelledKey:
    """Module and role of a tensor, by its name; its shape tells kinds apart that have the same names.

    >>> parse("lora_unet_blocks_0_attn_q.lora_down.weight")
    SpelledKey(module='lora_unet_blocks_0_attn_q', role='lora_A')
    >>> parse("unet.mid_block.attn1.processor.to_out_lora.up.weight")
    SpelledKey(module='unet.mid_block.attn1.to_out.0', role='lora_B')
    >>> parse("diffusion_model.blocks.0.ffn.0.diff_b")
    SpelledKey(module='diffusion_model.blocks.0.ffn.0.bias', role='diff')
    >>> parse("transformer.proj_out.lora_B.bias")
    SpelledKey(module='transformer.proj_out.bias', role='lora_bias')
    >>> parse("unet.mid_block.attn1.processor.to_out.alpha")
    SpelledKey(module='unet.mid_block.attn1.to_out.0', role='alpha')

    Raises:
        UnsupportedError: it is of a kind that is known and not handled.
        InputError: it is of none that is known.
    """
    key = _parsed(name, shape)
    module = PROCESSED.sub(lambda found: f".{OUT.get(found['projection'], found['projection'])}", key.module)
    return key._replace(module=module)


def _parsed(name: str, shape: Sequence[int]) -> SpelledKey:
    check_handled({name: len(shape)})
    if found := XLABS.fullmatch(name) or FLAT.fullmatch(name):
        return SpelledKey(found["module"], ROLE[found["half"]])
    if found := LORA_BIAS.fullmatch(name):
        return SpelledKey(f"{found['module']}.bias", BIAS)
    if found := LORA.fullmatch(name):
        return SpelledKey(found["module"], ROLE[found["half"]] or ROLE[found["ab"]] or ROLE[found["old"]])
    if found := PROCESSOR.fullmatch(name):
        encoder = found["above"].endswith("self_attn")
        projection = (ENCODERS if encoder else OUT).get(found["projection"], found["projection"])
        return SpelledKey(f"{found['above']}.{projection}", ROLE[found["half"]])
    if found := OTHERS.fullmatch(name):
        by_inputs = found["vector"] == BY_INPUTS and len(shape) > 1 and shape[0] == 1 != math.prod(shape)
        return SpelledKey(found["module"], found["role"] or found["alpha"] or (BY_INPUTS if by_inputs else BY_OUTPUTS))
    module, _, end = name.rpartition(".")
    if found := updates().fullmatch(f"{module or 'all'}.{end}"):
        kind = next(kind.name for kind in KINDS.values() if found["role"] in kind.roles)
        raise UnsupportedError(
            f"belongs to {kind}, which is not handled in these names",
            tensor=name,
            hint=f"give it the names that PEFT saves, and its {CONFIG}; or {MERGE}",
        )
    if module and end in DIFFERENCES:
        return SpelledKey(module + DIFFERENCES[end], "diff")
    if module and end == SET:
        return SpelledKey(module, SET)
    raise InputError(
        "is not the name of a tensor of an adapter of an image or video model",
        tensor=name,
        hint="convert the file with the tool that trained it; or take it out of the file, if it is nothing that was trained",
        code="E-KEY",
    )


def check_handled(dimensions: Mapping[str, int]) -> None:
    """Raise UnsupportedError for tensors, of so many dimensions, of a kind that is known by name: for what tells most."""
    found_places = {name: _place(PLACE.sub("0", name), count) for name, count in dimensions.items()}
    first = min((place for place in found_places.values() if place is not None), default=None)
    if first is not None:
        _, kind, hint = NOT_HANDLED[first]
        name = next(name for name, place in found_places.items() if place == first)
        raise UnsupportedError(f"belongs to {kind}, which is not handled", tensor=name, hint=hint)


@lru_cache(maxsize=1 << 12)  # of a hundred blocks it is one question
def _place(name: str, dimensions: int) -> int | None:
    """The place of the first pattern that a name has."""
    spelled = f"{name}:{dimensions}" if name.endswith(OFT) else name
    return next((place for place, (pattern, *_) in enumerate(NOT_HANDLED) if re.search(pattern, spelled)), None)


def check_one_adapter(names: Iterable[str]) -> None:
    """Raise InputError for names that have those of several adapters, as PEFT puts them in."""
    adapters = {match["adapter"] for name in names if (match := LORA.fullmatch(name)) and match["adapter"]}
    if len(adapters) > 1:
        raise InputError(
            f"holds several adapters: {', '.join(sorted(adapters))}",
            hint="save each in a file of its own",
            code="E-KEY",
        )


def is_underscored(name: str) -> bool:
    """Whether a name has underscores for dots."""
    return re.match(UNDERSCORED, name) is not None


def check_dotted(module: str) -> None:
    """Raise UnsupportedError for a module whose name has underscores for dots."""
    if is_underscored(module):
        raise UnsupportedError(
            "has underscores in the place of dots, and only the base shows which ones",
            tensor=module,
            hint="name the model that it is for with --base, or write kohya's format, which ComfyUI and diffusers read, too",
        )


def is_of_images(module: str) -> bool:
    """Whether only a model of images or videos has a module of this name.

    >>> is_of_images("transformer.transformer_blocks.0.norm1.linear"), is_of_images("model.layers.0.self_attn.q_proj")
    (True, False)
    """
    return is_underscored(module) or IN_PEFT.search(f"base_model.model.{without_part(module)}.") is not None


def check_language(modules: Iterable[str], program: str) -> None:
    """Raise UnsupportedError where a module is one of an image or video model: a program runs models of language."""
    for module in filter(is_of_images, modules):
        raise UnsupportedError(
            f"is a module of an image or video model, and {program} runs models of language",
            tensor=module,
            hint="--to kohya, comfy and diffusers are for image and video models; or fuse the adapter into its base",
        )


def is_own(names: Collection[str], metadata: Mapping[str, str], configured: bool) -> bool:
    """Whether these are the tensors of an adapter of an image or video model: some are, and none of PEFT's own; or the header
    says a scale of a part of a pipeline.

    Args:
        configured: whether a config of PEFT is stored with them. Trainers of such models write PEFT's names without one.

    >>> is_own(["transformer.h.0.fc.lora_A.weight"], {}, False), is_own(["blocks.0.att.key.lora_A"], {}, False)
    (False, False)
    >>> is_own(["transformer.h.0.fc.lora_A.weight"], {"transformer.lora_alpha": "8"}, False)
    True
    """
    if any(name.startswith("base_model.model.") for name in names):
        return not configured and any(map(IN_PEFT.search, names))
    if any(OWN.search(unwrapped(name)) for name in names):
        return True
    whole = packed(metadata)
    return any(map(SCALE_OF_PART.fullmatch, (*metadata, *(whole if isinstance(whole, dict) else ()))))
