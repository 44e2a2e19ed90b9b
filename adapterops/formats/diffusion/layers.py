"""What diffusers calls the layers of its models, to which alone it adds LoRA; `layers.txt` has that, by class.

All names are flat (see `flat`), with 0 for every number but the last.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path

from adapterops.regex import Regex

TABLE = Path(__file__).with_name("layers.txt")
NUMBER = Regex(r"(?<=_)\d+(?=_)")


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
