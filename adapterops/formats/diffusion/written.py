"""What modules are called in the files that are written: by kohya, by ComfyUI, and by diffusers.

Names of diffusers' models have a prefix of their own in all three: `transformer.` and `lora_transformer_`, or `unet.` and
`lora_unet_`; `diffusion_model.` and `lora_unet_` are for names of a model's authors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

from adapterops.errors import UnsupportedError
from adapterops.formats.diffusion.families import JOINED, RENAMED, forms
from adapterops.formats.diffusion.flat import DENOISER, flat, in_model, stated_part
from adapterops.formats.diffusion.layers import is_layer
from adapterops.formats.diffusion.spellings import check_dotted, is_underscored
from adapterops.regex import Regex
from adapterops.updates.layout import BY_INPUTS, DIFFERENCE, MAGNITUDE, Layout

COMPONENT = Regex(r"(?:transformer\.(?!text_model\.)|transformer_2\.|unet\.|text_encoder(?:_[23])?\.)")
"""The component of a pipeline that a name of diffusers begins with."""

LEVELS = Regex(r"(?:down_blocks|up_blocks|mid_block)\.")
UNET = Regex(rf"{LEVELS.pattern}|(?:conv_in|conv_out)$|(?:time|add)_embedding\.linear_")
BLOCKS = Regex(r"(?:single_)?transformer_blocks\.")
"""How names of diffusers' models begin."""

SAME = Regex(
    r"transformer_blocks\.\d+\.(?:(?:img|txt)_m(?:lp|od)\b|audio_|video_|cross_attn\.)|(?:audio_)?patchify_proj\b"
)
"""Names of models whose authors have transformer_blocks, too: Qwen-Image, LTX, LTX-2 and ACE-Step."""

ENCODER = Regex(r"(?:text_model|encoder\.block|transformer\.resblocks)\.")
"""How the names of text encoders begin, of which a pipeline has several."""

CLIP = Regex(
    r"(text_encoder(?:_[23])?\.)(?=(?:encoder\.layers|embeddings\.(?:token|position)_embedding|final_layer_norm)(?:\.|$))"
)
"""How a name of CLIP begins whose model has no `text_model`, as in transformers 5; files of adapters have it."""

NOT_CLIP = Regex(r"^text_encoder(?:_[23])?\.(?=encoder\.block\.|model\.layers\.)")
"""Before the names of T5 and of language models in a pipeline: ComfyUI has none of diffusers' names of these."""

ATTENTION = Regex(rf"((?:unet\.)?{LEVELS.pattern}(?:.*\.)?attn[12])\.(to_[qkv]|to_out)(?:\.0)?$")
"""Attention of a UNet in diffusers' names, which ComfyUI has as diffusers once had it: below a processor."""

HALVES = ("input_blocks.", "output_blocks.", "middle_block.")
"""How the authors of the UNet call its blocks."""

SINGLE_FILE = Regex(r"^(?:model\.(?:diffusion_)?model|net)\.")
"""Before the names of a denoiser in the file of a whole model, for which ComfyUI has a prefix of its own."""

TRANSFORMER, OF_UNET = "transformer", "unet"


def component_of(names: Collection[str]) -> str:
    """The component of a pipeline of diffusers that has such names, none of which says it: all of them together tell, for
    what is around the blocks is called alike everywhere. Empty where they are, or may be, those of a model's authors.

    >>> component_of(["transformer_blocks.0.attn.to_q", "time_embedding.linear_1"]), component_of(["time_embedding.linear_1"])
    ('transformer', 'unet')
    >>> component_of(["transformer_blocks.0.attn.to_q", "transformer_blocks.0.img_mod.1"])
    ''
    """
    if any(map(LEVELS.match, names)):
        return OF_UNET
    if any(map(BLOCKS.match, names)):
        return "" if any(map(SAME.match, names)) else TRANSFORMER
    return OF_UNET if names and all(map(UNET.match, names)) else ""


def underscored(module: str, component: str = "") -> str:
    """kohya's name of a module; one that does not say where it is is one of `component`, which is a denoiser.

    >>> underscored("blocks.0.attn.q"), underscored("text_encoder_2.text_model.encoder.layers.0.mlp.fc1")
    ('lora_unet_blocks_0_attn_q', 'lora_te2_text_model_encoder_layers_0_mlp_fc1')
    >>> underscored("text_encoder.encoder.block.0.layer.0.SelfAttention.q"), underscored("text_encoder.model.layers.0.mlp.up_proj")
    ('lora_te1_encoder_block_0_layer_0_SelfAttention_q', 'lora_te_layers_0_mlp_up_proj')
    >>> underscored("transformer_blocks.0.attn.to_q", "transformer"), underscored("transformer_blocks.0.attn.to_q")
    ('lora_transformer_transformer_blocks_0_attn_to_q', 'lora_unet_transformer_blocks_0_attn_to_q')

    Raises:
        UnsupportedError: it is in another part.
    """
    if is_underscored(module):
        return module
    _check_placed(module)
    key, part = flat(module)
    if part not in ("", DENOISER) and not part.isdecimal():
        raise UnsupportedError(
            "is in a part of a pipeline that kohya's names have no word for", tensor=module, hint="write comfy's format"
        )
    if part.isdecimal():
        language_model = (part, key[:7]) == ("1", "layers_")
        number = "" if language_model else stated_part(module) or part
        return f"lora_te{number}_{'text_model_' * key.startswith('encoder_layers_')}{key}"
    ours = module.startswith("transformer.") or (not part and component == TRANSFORMER)
    return f"lora_{TRANSFORMER if ours else OF_UNET}_{in_model(module)}"


def dotted(module: str, component: str = "") -> str:
    """ComfyUI's name of a module, which diffusers reads, too; one that does not say where it is is one of `component`.

    >>> dotted("blocks.0.attn.q"), dotted("unet.mid_block.conv"), dotted("proj_out", "transformer")
    ('diffusion_model.blocks.0.attn.q', 'unet.mid_block.conv', 'transformer.proj_out')
    >>> dotted("model.diffusion_model.out.2"), dotted("unet.mid_block.attn1.to_out.0")
    ('diffusion_model.out.2', 'unet.mid_block.attn1.processor.to_out')
    >>> dotted("text_encoder_2.encoder.block.0.layer.0.SelfAttention.q")
    'text_encoders.transformer.encoder.block.0.layer.0.SelfAttention.q'

    Raises:
        UnsupportedError: it has underscores for dots, and which were dots is not known.
    """
    check_dotted(module)
    _check_placed(module)
    module = ATTENTION.sub(r"\1.processor.\2", module)
    if SINGLE_FILE.match(module):
        return SINGLE_FILE.sub("diffusion_model.", module)
    if flat(module).part or COMPONENT.match(module):
        return NOT_CLIP.sub("text_encoders.transformer.", of_clip(module))
    return f"{component or 'diffusion_model'}.{module}"


def halves(start: str) -> tuple[str, str]:
    """The names of A and B of a module of ComfyUI's name. Those of a UNet are as diffusers once had them, which loads a file with
    some of these by them alone.

    >>> halves("diffusion_model.out.2")
    ('diffusion_model.out.2.lora_A.weight', 'diffusion_model.out.2.lora_B.weight')
    >>> halves("unet.conv_in")[0], halves("unet.mid_block.attn1.processor.to_q")[0]
    ('unet.conv_in.lora.down.weight', 'unet.mid_block.attn1.processor.to_q_lora.down.weight')
    """
    old = f"{start}_lora" if ".processor." in start else f"{start}.lora"
    return (
        (f"{old}.down.weight", f"{old}.up.weight")
        if start.startswith("unet.")
        else (f"{start}.lora_A.weight", f"{start}.lora_B.weight")
    )


def of_clip(module: str) -> str:
    """The name that other programs, and any version of diffusers, know.

    >>> of_clip("text_encoder.encoder.layers.0.mlp.fc1"), of_clip("text_encoder.encoder.block.0.layer.0.SelfAttention.q")
    ('text_encoder.text_model.encoder.layers.0.mlp.fc1', 'text_encoder.encoder.block.0.layer.0.SelfAttention.q')
    """
    return CLIP.sub(r"\1text_model.", module)


def _check_placed(module: str) -> None:
    """Raise UnsupportedError for a module of a text encoder that does not say of which one."""
    if ENCODER.match(module):
        raise UnsupportedError(
            "is of a text encoder, and does not say which one of a pipeline: no program would find it",
            tensor=module,
            hint="keep the names of the file: leave --base out, or write PEFT's format",
        )


def in_pipeline(module: str, component: str = "") -> str:
    """diffusers' name of a module: after the component of a pipeline that it is in, by default its transformer.

    >>> in_pipeline("blocks.0.attn1.to_q"), in_pipeline("down_blocks.0.resnets.0.conv1", "unet")
    ('transformer.blocks.0.attn1.to_q', 'unet.down_blocks.0.resnets.0.conv1')

    Raises:
        UnsupportedError: it has underscores for dots, or a name that the model has elsewhere alone.
    """
    check_dotted(module)
    if COMPONENT.match(module):
        inner = COMPONENT.sub("", module, count=1)
        _check_own(module, inner)
        return of_clip(module)
    inner = re.sub(r"^(?:model\.)?diffusion_model\.", "", module)
    _check_own(module, inner)
    if inner == module and flat(module).part not in ("", DENOISER):
        raise UnsupportedError(
            "names its part of the pipeline in a way that diffusers does not know", tensor=module, hint=BASE
        )
    return f"{component or TRANSFORMER}.{inner}"


BASE = (
    "name the model in diffusers' names, the transformer or unet of its pipeline, with --base; comfy holds these names"
)


def _check_own(module: str, inner: str) -> None:
    wholes, key = {joined.whole for joined in JOINED}, flat(inner).key
    blocks = {name for name, number in forms(key) if number}
    if inner.startswith(HALVES) or not (blocks.isdisjoint({*dict(RENAMED), *wholes}) or is_layer(key)):
        raise UnsupportedError(
            "is the name that the authors of the model use, and diffusers calls the module otherwise",
            tensor=module,
            hint=BASE,
        )


TABLE = "scale_shift_table"
PARAMETERS = (".modulation", TABLE)
"""Ends of the names of what a block adds to by itself: parameters, and no layers."""


def of_no_layer(layout: Mapping[str, Layout]) -> dict[str, str]:
    """Differences of what is no matrix of a layer, and so cannot be LoRA: what each is of."""
    differences = {module: each for module, each in layout.items() if each.kind == DIFFERENCE}
    vectors = {module: "a vector" for module, each in differences.items() if each.shape[0] == 1}
    return vectors | {module: "a parameter that is no layer's" for module in differences if module.endswith(PARAMETERS)}


BIAS, MODULATION = ".bias", ".modulation"


def single(
    module: str, layout: Layout, named: Callable[[str], str], *, parameters: bool = True
) -> tuple[str, tuple[int, ...]]:
    """Name and shape of what is one tensor: a difference of another one, or a magnitude vector of DoRA.

    Args:
        parameters: whether the names have room for that of any tensor, as ComfyUI's have; kohya's have those of layers, and
            one for a modulation, which ComfyUI does not read.

    >>> single("blocks.0.ffn.0.bias", Layout((1, 8), 1, "F32", True), dotted)
    ('diffusion_model.blocks.0.ffn.0.diff_b', (8,))
    >>> single("head.modulation", Layout((2, 8), 2, "F32", True), dotted)
    ('diffusion_model.head.modulation.diff', (1, 2, 8))

    Raises:
        UnsupportedError: it is a difference of a parameter that the names have none for.
    """
    if layout.kind == MAGNITUDE:
        owner, _, role = module.rpartition(".")
        count = layout.shape[1]
        sides = (1, count) if role == BY_INPUTS else (count, 1)
        return f"{named(owner)}.{BY_INPUTS}", (*sides, *layout.kernel)
    rows, columns = layout.shape
    stack = rows > 1 and not layout.kernel
    shape = (1, rows, columns) if stack else (rows, *layout.kernel) if layout.kernel else (columns,)
    if module.endswith(BIAS) and not stack:
        return f"{named(module.removesuffix(BIAS))}.diff_b", shape
    if stack and module.endswith(MODULATION) and not parameters:
        return f"{named(module.removesuffix(MODULATION))}.diff_m", shape
    if (stack or module.endswith(TABLE)) and not parameters:
        raise UnsupportedError(
            "is a difference of a parameter that is no layer's, for which kohya's names have no place",
            tensor=module,
            hint="write ComfyUI's format, which has one: --to comfy, with --base where dots are to be known",
        )
    return f"{named(module)}.diff", shape
