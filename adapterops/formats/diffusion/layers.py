"""What diffusers calls the layers of its models, to which alone it adds LoRA; `layers.txt` has that, by class. And which
weights of such models PEFT has no LoRA for.

All names are flat (see `flat`), with 0 for every number but the last.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from adapterops.errors import UnsupportedError
from adapterops.formats.diffusion.flat import flat
from adapterops.regex import Regex

TABLE = Path(__file__).with_name("layers.txt")
NUMBER = Regex(r"(?<=_)\d+(?=_)")

WITHOUT_LORA = {
    r"(?:transformer_)?blocks_\d+_(?:ff_conv_depth|mlp_depth_conv_conv)": "a convolution with a group for each channel",
    r"(?:double|single)_stream_blocks_\d+_block_ff_i_gate": "a parameter of a module that is no layer",
    r"(?:decoder_)?proj_out_(?:conv|1)": "a transposed convolution",
}
"""Weights of Sana, HiDream and ACE-Step, by their authors and in diffusers → why PEFT fails where an adapter has LoRA on one."""


@lru_cache(maxsize=1)
def layers() -> Mapping[str, frozenset[str]]:
    """The layers of every model, by its class."""
    lines = (line.split(": ") for line in TABLE.read_text().splitlines())
    return {model: frozenset(names.split()) for model, names in lines}


def is_layer(key: str) -> bool:
    """Whether any model of diffusers has a layer of this name.

    >>> is_layer("transformer_blocks_7_ff_net_0_proj"), is_layer("double_blocks_7_img_mlp_0")
    (True, False)
    """
    name = NUMBER.sub("0", key)
    return any(name in names for names in layers().values())


def missing(keys: Collection[str]) -> set[str] | None:
    """Those of some names that are no layers of the models that have most of them; None where none has half of them.

    >>> sorted(missing(["transformer_blocks_7_attn_to_q", "transformer_blocks_7_ff_linear1"]))
    ['transformer_blocks_7_ff_linear1']
    >>> missing(["unheard_of_0_layer"]) is None
    True
    """
    alike = {key: NUMBER.sub("0", key) for key in keys}
    own = set(alike.values())
    counts = {model: len(own & names) for model, names in layers().items()}
    most = max(counts.values())
    if 2 * most < len(own):
        return None
    there = frozenset().union(*(layers()[model] for model, each in counts.items() if each == most))
    return {key for key, name in alike.items() if name not in there}


def without_lora(module: str) -> str | None:
    """What a weight is that PEFT has no LoRA for; None for any other.

    >>> without_lora("transformer.transformer_blocks.0.ff.conv_depth"), without_lora("blocks.0.ff.conv_point")
    ('a convolution with a group for each channel', None)
    """
    key = flat(module).key
    return next((what for name, what in WITHOUT_LORA.items() if re.fullmatch(name, key)), None)


def check_wrapped(modules: Iterable[str], program: str) -> None:
    """Raise UnsupportedError for a weight that PEFT has no LoRA for: a program would load nothing of the file."""
    for module in modules:
        if what := without_lora(module):
            raise UnsupportedError(
                f"is {what}, for which PEFT has no LoRA: {program} would end with an error",
                tensor=module,
                hint="--to kohya and --to comfy hold it; or fuse the adapter into its base",
            )
