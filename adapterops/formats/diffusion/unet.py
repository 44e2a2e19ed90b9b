"""The UNet of Stable Diffusion 1, 2 and XL: what its authors call a block, and what diffusers does. Names are flat.

The authors number all blocks of a half; diffusers has levels of them, with residual blocks, attentions and a sampler.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from adapterops.regex import Regex

LEVELS = range(4)
RESNET = {
    "in_layers_0": "norm1",
    "in_layers_2": "conv1",
    "emb_layers_1": "time_emb_proj",
    "out_layers_0": "norm2",
    "out_layers_3": "conv2",
    "skip_connection": "conv_shortcut",
}
"""Inside of a residual block: authors → diffusers."""

WHOLE = {
    "input_blocks_0_0": "conv_in",
    "time_embed_0": "time_embedding_linear_1",
    "time_embed_2": "time_embedding_linear_2",
    "label_emb_0_0": "add_embedding_linear_1",
    "label_emb_0_2": "add_embedding_linear_2",
    "out_0": "conv_norm_out",
    "out_2": "conv_out",
    **{f"input_blocks_{3 * (i + 1)}_0_op": f"down_blocks_{i}_downsamplers_0_conv" for i in LEVELS},
}
RESNETS = {
    "middle_block_0": "mid_block_resnets_0",
    "middle_block_2": "mid_block_resnets_1",
    **{f"input_blocks_{3 * i + j + 1}_0": f"down_blocks_{i}_resnets_{j}" for i in LEVELS for j in range(2)},
    **{f"output_blocks_{3 * i + j}_0": f"up_blocks_{i}_resnets_{j}" for i in LEVELS for j in range(3)},
}
ATTENTIONS = {
    "middle_block_1": "mid_block_attentions_0",
    **{f"input_blocks_{3 * i + j + 1}_1": f"down_blocks_{i}_attentions_{j}" for i in LEVELS for j in range(2)},
    **{f"output_blocks_{3 * i + j}_1": f"up_blocks_{i}_attentions_{j}" for i in LEVELS for j in range(3)},
}
UPSAMPLERS = [
    (f"output_blocks_{3 * i + 2}_{place}_conv", f"up_blocks_{i}_upsamplers_0_conv") for i in LEVELS for place in (1, 2)
]
"""After the attention of a level, or in its place where the level has none."""

MOTION = Regex(r"(?P<above>.*motion_modules_\d+_)(?P<authors>temporal_transformer_)?(?P<inner>.+)")
"""A layer of a motion module (AnimateDiff), which diffusers has without what its authors hold it in."""

LAYERS = {
    "attention_blocks_0": "attn1",
    "attention_blocks_1": "attn2",
    "norms_0": "norm1",
    "norms_1": "norm2",
    "ff_norm": "norm3",
}
"""Inside of a block of a motion module: authors → diffusers."""

PAIRS = [
    *WHOLE.items(),
    *UPSAMPLERS,
    *((f"{one}_{inner}", f"{other}_{name}") for one, other in RESNETS.items() for inner, name in RESNET.items()),
]


def either_way(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Every name of some pairs → the others that it has."""
    found: dict[str, list[str]] = {}
    for one, other in pairs:
        found.setdefault(one, []).append(other)
        found.setdefault(other, []).append(one)
    return found


OTHERS = either_way(PAIRS)
OTHER_ATTENTIONS = either_way(ATTENTIONS.items())


def renamed(key: str) -> Iterator[str]:
    """What the other names are; those of several may be in no base.

    >>> list(renamed("down_blocks_1_attentions_0_proj_in")), list(renamed("middle_block_0_in_layers_2"))
    (['input_blocks_4_1_proj_in'], ['mid_block_resnets_0_conv1'])
    """
    if found := MOTION.fullmatch(key):
        yield found["above"] + _of_motion(found["inner"], bool(found["authors"]))
    name = key.removesuffix("_bias")
    yield from (other + key.removeprefix(name) for other in OTHERS.get(name, ()))
    for place in (found.start() for found in re.finditer("_", key)):
        yield from (other + key[place:] for other in OTHER_ATTENTIONS.get(key[:place], ()))


def _of_motion(inner: str, authors: bool) -> str:
    """What a layer of a motion module is called elsewhere, by what its `authors` or diffusers call it.

    >>> _of_motion("transformer_blocks_0_attention_blocks_1_to_q", True)
    'transformer_blocks_0_attn2_to_q'
    """
    names = LAYERS if authors else {its: mine for mine, its in LAYERS.items()}
    found = re.fullmatch(rf"(transformer_blocks_\d+_)({'|'.join(names)})(_.+)?", inner)
    changed = f"{found[1]}{names[found[2]]}{found[3] or ''}" if found else inner
    return changed if authors else f"temporal_transformer_{changed}"
