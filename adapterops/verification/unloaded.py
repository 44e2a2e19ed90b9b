"""Tensors of a base that a model tuned from it may lack: transformers leaves them out when it loads a model, and saves a
shared tensor once.

`tables/unloaded.txt` has which names a class leaves out: buffers of older versions, and layers that no answer comes from.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import count, listed
from adapterops.regex import Regex
from adapterops.tables import ruled

table = partial(ruled, Path(__file__).parent / "tables" / "unloaded.txt")

COMPUTED = Regex(
    r"(?:.*\.)?(?:rotary_emb\.(?:inv_freq|cos_cached|sin_cached)|(?:attn|attention)\.(?:masked_)?bias|causal_mask"
    r"|position_ids|relative_position_index|num_batches_tracked|(?:encoder|decoder)\.version)"
)
"""Buffers that older versions of transformers stored, and every version computes: no training changes them."""

LAYER = Regex(r"(?:(?:model|language_model|transformer)\.)*layers\.(?P<number>\d+)\.(?P<inner>.+)")
SHARED = Regex(r"self_attn\.[kv]_(?:proj|norm)\.")
"""What layers lack that take keys and values from earlier ones, and files have."""


SHOWN = 3
"""Names that a message lists."""

HEADS = Regex(
    r"(?:cls|(?:lm|classification)_head|(?:generator|discriminator|lm|entity)_?predictions|predictions|generator_lm_head"
    r"|(?:\w+_)?classifier|score|qa_outputs|vocab_(?:transform|layer_norm|projector)|(?:\w+\.)?pooler)\."
    r"|(?:decoder\.(?:weight|bias)|final_logits_bias)$"
)
"""What the names begin with of tensors that one class of a type of models has, and another has not."""


def unloaded(name: str, config: Mapping[str, Any], base: Mapping[str, Any] | None = None) -> bool:
    """Whether transformers leaves a tensor out when it loads a model with this config.

    Args:
        base: says how many layers there are, where a model may have fewer than the one whose tensors these are.

    >>> config = {"model_type": "deepseek_v3", "num_hidden_layers": 61}
    >>> unloaded("model.layers.61.eh_proj.weight", config), unloaded("model.layers.60.mlp.up_proj.weight", config)
    (True, False)
    >>> unloaded("h.0.attn.bias", {"model_type": "gpt2"}), unloaded("h.0.attn.c_attn.bias", {"model_type": "gpt2"})
    (True, False)
    """
    types = {str(part.get("model_type")) for part in _parts(config)}
    words = {*map(str, config.get("architectures") or ()), *types}
    patterns = [pattern for word in words for pattern in table("UNLOADED").get(word, ())]
    deep = any(_beyond(name, part) for part in _parts(base or config))
    return deep or any(re.search(pattern, name) for pattern in patterns)


def _classes(config: Mapping[str, Any]) -> set[str]:
    """The classes that a config names."""
    stated = config.get("architectures")
    return set(map(str, stated)) if isinstance(stated, list) else set()


def _parts(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A config and those of the models in it."""
    return [config, *(each for each in config.values() if isinstance(each, Mapping))]


def _beyond(name: str, config: Mapping[str, Any]) -> bool:
    """Whether a tensor is in a layer after the last, or is a key or value of one that takes these from an earlier layer."""
    count, shared, match = config.get("num_hidden_layers"), config.get("num_kv_shared_layers"), LAYER.fullmatch(name)
    if not match or not isinstance(count, int) or config.get("is_encoder_decoder"):
        return False
    first = count - shared if isinstance(shared, int) and SHARED.match(match["inner"]) else count
    return int(match["number"]) >= first


def unloaded_text(left: Sequence[str]) -> str:
    """
    >>> unloaded_text(["mtp.fc.weight", "mtp.norm.weight"])
    'without 2 tensors of the base that transformers does not load: mtp.fc.weight, mtp.norm.weight'
    """
    return f"without {count(len(left), 'tensor')} of the base that transformers does not load: {listed(left, SHOWN)}"


def absent(base: Checkpoint, model: Checkpoint, only: Collection[str]) -> tuple[set[str], list[str]]:
    """Of the tensors that a base has and a model has not, those that transformers does not save; and those of them that
    training may have changed: what it does not load.
    """
    config = model.config or base.config or {}
    computed = {name for name in only if COMPUTED.fullmatch(name)}
    own, its = _classes(config), _classes(base.config or {})
    others = own and its and own.isdisjoint(its)
    left = sorted(
        name
        for name in only
        if name not in computed and (unloaded(name, config, base.config) or (others and HEADS.match(name)))
    )
    gone = {*computed, *left}
    known = base.layout.keys() - only
    shared = only if config.get("tie_word_embeddings") is not False else ()
    return gone | {name for name in shared if name not in gone and copied(base, name, known)}, left


def copied(base: Checkpoint, name: str, among: Collection[str]) -> str | None:
    """That of some tensors of which one is a copy, as files have an embedding, or a bias of all words, that a model shares."""
    spec = base.layout[name]
    if spec.shape[:1] not in [(part.get("vocab_size"),) for part in _parts(base.config or {})]:
        return None
    alike = (each for each in sorted(among) if base.layout[each] == spec)
    return next((each for each in alike if base.stored[name].same_bytes(base.stored[each])), None)


def lacking(base: Checkpoint, model: Checkpoint) -> tuple[Checkpoint, list[str]]:
    """A base without what is `absent` from a model, and what transformers does not load of that."""
    gone, left = absent(base, model, base.layout.keys() - model.layout.keys())
    if not gone:
        return base, left
    return replace(
        base,
        layout={name: spec for name, spec in base.layout.items() if name not in gone},
        stored={name: stored for name, stored in base.stored.items() if name not in gone},
        shards={file: [name for name in names if name not in gone] for file, names in base.shards.items()},
    ), left
