"""How tables call modules: by their layer, and by their kind, such as all `q_proj`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from adapterops.regex import Regex

FLAT = Regex(r"_(\d+)(?:_(?!\d+(?:_|$))|(?=_\d|$))")
"""A number in a name that has underscores for dots, with the one after it, unless that begins another number."""


class Located(NamedTuple):
    """Where in a model a module is: what its layers are called, the layer, and its path in there, without numbers."""

    stack: str
    layer: int | None
    path: str


def located(module: str) -> Located:
    """
    >>> tuple(located("model.layers.3.mlp.experts.7.up_proj")), tuple(located("lm_head"))
    (('model.layers', 3, 'mlp.experts.up_proj'), ('', None, 'lm_head'))
    >>> tuple(located("lora_unet_down_blocks_1_attentions_0_attn1_to_q"))
    ('lora_unet_down_blocks', 1, 'attentions.attn1_to_q')
    """
    parts = [part for part in (module.split(".") if "." in module else FLAT.split(module)) if part] or [module]
    number = next((index for index, part in enumerate(parts[:-1]) if _is_number(part)), None)
    path = ".".join(part for part in parts[0 if number is None else number + 1 :] if not _is_number(part))
    if number is None:
        return Located("", None, path or module)
    return Located(".".join(parts[:number]), int(parts[number]), path or parts[-1])


def kinds(modules: Iterable[str]) -> dict[str, str]:
    """Module → its kind: the shortest end of its path that no path of another kind has, or the path.

    >>> kinds(["h.0.attn.out", "h.1.attn.out", "h.0.mlp.out", "h.0.attn.q"])
    {'h.0.attn.out': 'attn.out', 'h.1.attn.out': 'attn.out', 'h.0.mlp.out': 'mlp.out', 'h.0.attn.q': 'q'}
    """
    paths = {module: located(module).path for module in modules}
    shared = Counter(end for path in set(paths.values()) for end in _ends(path))
    names = {path: next((end for end in _ends(path) if shared[end] == 1), path) for path in paths.values()}
    return {module: names[path] for module, path in paths.items()}


def _ends(path: str) -> list[str]:
    """The last part, the last two, ... of a dotted path."""
    parts = path.split(".")
    return [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]


def _is_number(part: str) -> bool:
    return part.isdecimal() and part.isascii()
