"""Which model some names are of, by `known_names`, which modules ComfyUI finds the weights of, and which scales diffusers takes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from adapterops.formats.diffusion.families import is_of_authors
from adapterops.formats.diffusion.flat import DENOISER, flat
from adapterops.formats.diffusion.known_names import (
    CLIP_KEY,
    DIFFUSERS,
    ENCODERS,
    LYCORIS,
    NAMES,
    ONE_TRAINER,
    OWN,
    PEFT,
    UNET,
    UNET_IN_DIFFUSERS,
    KnownNames,
)
from adapterops.formats.diffusion.layers import NUMBER
from adapterops.formats.peft.scaling import Scaling
from adapterops.regex import Regex

CASCADE = "lora_prior_unet_"
"""Before the names of Stable Cascade, of which it is not known here what programs make."""

IN_PIPELINE = (DIFFUSERS, "unet.")
"""Before the names of a model in a pipeline of diffusers."""

PREFIXES = (*OWN, LYCORIS, ONE_TRAINER, *(each + PEFT for each in IN_PIPELINE), *IN_PIPELINE, PEFT)

BLOCK = Regex(r"(?P<root>(?:[a-z]+_)*?(?:blocks|layers|refiner))_(?P<number>\d+)_")
ATTENTION = Regex(r"(?:down|up|mid)_block.*_attn[12]_to_")
ATTENTION_OF_CLIP = Regex(r"_self_attn_(?:[qkv]|out)_proj$")
PROCESSOR = ".processor."


class Module(NamedTuple):
    """What is before the name of a module, its flat name, and the name of a tensor of it in the file."""

    prefix: str
    key: str
    spelled: str


class Found(NamedTuple):
    """Modules of which a program finds no weight; those of which only the model would tell, and the models that may be
    meant; whether the program ends with an error; and those that it loads as something else.
    """

    left: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    stops: bool = False
    changed: tuple[str, ...] = ()


def denoiser(spelled: Mapping[str, str]) -> dict[str, Module]:
    """The modules of the part that makes the image, of all modules and the name of a tensor of each. The difference of a bias is
    found where its layer is.

    >>> denoiser({"lora_unet_img_in.bias": "lora_unet_img_in.diff_b"})["lora_unet_img_in.bias"].key
    'img_in'
    """
    found = {}
    for module, name in spelled.items():
        key, part = flat(module.removesuffix(".bias"))
        if part in ("", DENOISER) and not name.startswith(CASCADE):
            prefix = next((each for each in PREFIXES if name.startswith(each)), "")
            found[module] = Module(prefix, key, name)
    return found


def encoders_left(spelled: Mapping[str, str]) -> tuple[str, ...]:
    """The modules of text encoders of which ComfyUI finds no weight, of all modules and the name of a tensor of each.

    >>> t5 = ["text_encoder_2.encoder.block.0.layer.0.SelfAttention.q", "text_encoders.t5xxl.transformer.encoder.block.0.x"]
    >>> encoders_left({module: f"{module}.lora_A.weight" for module in t5})
    ('text_encoder_2.encoder.block.0.layer.0.SelfAttention.q',)
    """
    return tuple(
        module for module, name in spelled.items() if flat(module).part.isdecimal() and not re.match(ENCODERS, name)
    )


def encoders_unread(spelled: Mapping[str, str], known: Collection[KnownNames]) -> tuple[str, ...]:
    """The modules of text encoders that diffusers does not load, of models that may be meant: it has LoRA on CLIP alone, and
    that not in every pipeline, nor by kohya's names.

    >>> clip, t5 = "lora_te1_text_model_encoder_layers_0_mlp_fc1", "lora_te3_encoder_block_0_layer_0_SelfAttention_q"
    >>> encoders_unread({clip: f"{clip}.alpha", t5: f"{t5}.alpha"}, ())
    ('lora_te3_encoder_block_0_layer_0_SelfAttention_q',)
    """

    def unread(module: str, name: str) -> bool:
        key, part = flat(module)
        clip = part in ("1", "2") and re.match(CLIP_KEY, key)
        return part.isdecimal() and not (clip and (not known or any(name.startswith(each.clip) for each in known)))

    return tuple(module for module, name in spelled.items() if unread(module, name))


def encoders_in_part(spelled: Mapping[str, str]) -> tuple[str, ...]:
    """The modules of CLIP that diffusers ends at, or leaves out, for what is missing next to them in their encoder: by kohya's
    names it needs the last projection of attention for the others, by its own any of the four for all, and `text_model` in
    those of the second encoder.

    >>> q, mlp = ("lora_te1_text_model_encoder_layers_0_" + each for each in ("self_attn_q_proj", "mlp_fc1"))
    >>> encoders_in_part({q: f"{q}.alpha", mlp: f"{mlp}.alpha"}), encoders_in_part({mlp: f"{mlp}.alpha"})
    (('lora_te1_text_model_encoder_layers_0_self_attn_q_proj',), ())
    """
    found: dict[str, dict[str, str]] = {}
    for module, name in spelled.items():
        key, part = flat(module)
        if part in ("1", "2") and re.match(CLIP_KEY, key) and (name.startswith("lora_te") or ".lora_A" in name):
            found.setdefault(f"{part}{name.startswith('lora_te')}", {})[module] = key
    left = [module for module, name in spelled.items() if re.match(r"text_encoder_2\.encoder\.layers\.", name)]
    for part, own in found.items():
        attention = [module for module, key in own.items() if ATTENTION_OF_CLIP.search(key)]
        if part.endswith("True") and not any(key.endswith("_out_proj") for key in own.values()):
            left += attention
        elif not part.endswith("True") and not attention:
            left += own
    return tuple(left)


def models(keys: Iterable[str], stated: str = "", base: Collection[str] = ()) -> tuple[KnownNames, ...]:
    """The models that have most of these names, and half of them: by those of blocks, where there are any. Of several those of
    which the last block is there, or which a header names, or that are the model of a base, whoever gave its names.

    >>> [each.model for each in models(["double_blocks_18_img_attn_qkv"])]
    ['Flux']
    >>> [each.model for each in models(["double_blocks_0_img_attn_qkv"])]
    ['Flux', 'FLUX.2', 'HunyuanVideo']
    >>> [each.model for each in models(["double_blocks_0_img_attn_qkv"], base=["transformer_blocks_18_attn_to_q"])]
    ['Flux']
    """
    found = _by_names(keys, stated)
    of_base = _by_names(base, stated) if base else ()
    same = tuple(each for each in found if any(each.is_of(other) for other in of_base))
    return same or found or of_base


def _by_names(keys: Iterable[str], stated: str) -> tuple[KnownNames, ...]:
    keys = list(keys)
    alike = {NUMBER.sub("0", key) for key in keys}
    found = _most(NAMES, {key for key in alike if BLOCK.match(key)} or alike)
    last: dict[str, int] = {}
    for block in filter(None, map(BLOCK.match, keys)):
        last[block["root"]] = max(last.get(block["root"], 0), int(block["number"]))
    found = [
        each
        for each in _most(found, alike)
        if all(last[root] <= max(each.last[root]) for root in last.keys() & each.last)
    ]
    ended = [
        each
        for each in found
        if last.keys() & each.last.keys() and all(last[root] in each.last[root] for root in last.keys() & each.last)
    ]
    named = [each for each in ended or found if re.search(each.stated, stated.lower())]
    return tuple(named or ended or found)


def _most(names: Sequence[KnownNames], keys: Collection[str]) -> list[KnownNames]:
    """Those that have most of some names, and half of them."""
    counts = [sum(re.fullmatch(each.has, key) is not None for key in keys) for each in names]
    most = max(counts, default=0)
    return [each for each, count in zip(names, counts, strict=True) if count == most and 2 * most >= len(keys) > 0]


def by_comfyui(modules: Mapping[str, Module], known: Collection[KnownNames], there: Collection[str] = ()) -> Found:
    """What ComfyUI finds, of models that may be meant, and of a base with the names `there`. What none of these has, of a
    model or among names that are not all known here, is not sure.
    """

    def left(names: KnownNames | None, module: Module) -> bool | None:
        if "_." in module.spelled or module.prefix not in (names.comfy if names else OWN):
            return True
        if names and (_unprocessed(module) or not re.fullmatch(names.comfy_has or ".*", module.key)):
            return True
        has = module.key in there or is_of_authors(module.key) or (names and re.fullmatch(names.has, module.key))
        return False if has else None

    return agreed(modules, known, left)


def of_unet(modules: Mapping[str, Module]) -> tuple[str, ...]:
    """The modules of a UNet in the names of diffusers, after which ComfyUI has all of them in kohya's spelling.

    >>> of_unet(denoiser({"unet.mid_block.attn1.to_q": "unet.mid_block.attn1.to_q"}))
    ('unet.mid_block.attn1.to_q',)
    """
    return tuple(name for name, module in modules.items() if re.fullmatch(UNET_IN_DIFFUSERS, module.key))


def of_one_alpha(modules: Mapping[str, Scaling]) -> tuple[str, ...]:
    """The modules of a UNet's attention, and of CLIP next to a UNet, that diffusers gives another alpha than their own: all of them
    get the most frequent one of their model, and each keeps its rank. Of several that are as frequent the order in the file decides.
    """
    own = {module: flat(module) for module in modules}
    denoisers = {module: key for module, (key, part) in own.items() if part == DENOISER}
    unet = {module: key for module, key in denoisers.items() if re.fullmatch(f"{UNET}|{UNET_IN_DIFFUSERS}", key)}
    attention = [module for module, key in unet.items() if re.search(r"_attn[12]_to_", key)]
    groups = [(unet, attention)]
    for number in ("1", "2") if unet or not denoisers else ():
        clip = [module for module, (key, part) in own.items() if part == number and re.match(CLIP_KEY, key)]
        groups.append((dict.fromkeys(clip, ""), clip))
    found: list[str] = []
    for every, judged in groups:
        counts = Counter(modules[module].alpha for module in every)
        most = {alpha for alpha, count in counts.items() if count == max(counts.values())}
        found += [module for module in judged if most != {modules[module].alpha}]
    return tuple(found)


def agreed(
    modules: Mapping[str, Module],
    known: Collection[KnownNames],
    left: Callable[[KnownNames | None, Module], bool | None],
) -> Found:
    """What all models that may be meant have in common, and what not; of None that is not known."""
    some: Sequence[KnownNames | None] = [*known] or [None]
    each = {name: {left(names, module) for names in some} for name, module in modules.items()}
    unsure = tuple(name for name, found in each.items() if found not in ({True}, {False}))
    shown = tuple(names.model for names in known) if unsure else ()
    return Found(tuple(name for name, found in each.items() if found == {True}), unsure, shown)


def _unprocessed(module: Module) -> bool:
    """Whether it is attention of a UNet in the names that diffusers has now: ComfyUI has those of its processors, which it had
    before.
    """
    spelled = module.prefix in ("unet.", "") and PROCESSOR not in module.spelled
    return spelled and ATTENTION.match(module.key) is not None
