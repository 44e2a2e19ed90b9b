"""Projections that some models store as one matrix, and others in parts: q, k and v; gate and up.

Experts have a table of their own (`architectures.FUSED`), because theirs are tensors of three dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Projection(NamedTuple):
    """A projection that is `parts`, from the first row to the last.

    `equal` are two of them that have as many rows; `types` the models whose rows are known to be in this order, None
    where all of transformers are that have a Linear layer of this name there.
    """

    parts: tuple[str, ...]
    equal: tuple[str, str]
    types: frozenset[str] | None = None


_GATE_UP = Projection(("gate_proj", "up_proj"), ("gate_proj", "up_proj"))
JOINED = {
    "self_attn.qkv_proj": Projection(
        ("q_proj", "k_proj", "v_proj"),
        ("k_proj", "v_proj"),
        frozenset({"phi3", "phi3_v", "phi4mm", "phi4_multimodal"}),
    ),
    "linear_attn.in_proj_qkv": Projection(("in_proj_q", "in_proj_k", "in_proj_v"), ("in_proj_q", "in_proj_k")),
    "mlp.gate_up_proj": _GATE_UP,
    "shared_expert.gate_up_proj": _GATE_UP,
    "shared_experts.gate_up_proj": _GATE_UP,
}
"""Ends of the names of joined projections."""

QKV = {"q_proj", "k_proj", "v_proj", "query", "key", "value", "q", "k", "v", "to_q", "to_k", "to_v"}
ATTENTION = ("qkv_proj", "query_key_value", "Wqkv", "wqkv", "c_attn", "qkv", "to_qkv", "in_proj")
"""What models call q, k and v, and all three in one matrix."""

OF_OTHERS = {
    **dict.fromkeys(("gate_proj", "up_proj"), ("gate_up_proj", "Wi")),
    **dict.fromkeys(("in_proj_q", "in_proj_k", "in_proj_v", "in_proj_z", "in_proj_qkv"), ("in_proj_qkvz",)),
}
"""The same of the parts of other layers."""


def joined(name: str) -> Projection | None:
    """What a projection consists of, by its canonical name.

    >>> joined("layers.0.self_attn.qkv_proj").parts, joined("layers.0.self_attn.q_proj")
    (('q_proj', 'k_proj', 'v_proj'), None)
    """
    return JOINED.get(".".join(name.split(".")[-2:]))


def whole_of(name: str) -> str | None:
    """The joined projection that one may be a part of.

    >>> whole_of("layers.0.self_attn.q_proj"), whole_of("layers.0.self_attn.o_proj")
    ('layers.0.self_attn.qkv_proj', None)
    """
    above, _, part = name.rpartition(".")
    parent = above.rpartition(".")[2]
    for end, each in JOINED.items():
        if part in each.parts and end.startswith(f"{parent}."):
            return f"{above}.{end.rpartition('.')[2]}"
    return None


def wholes_of(name: str) -> list[str]:
    """What matrices a projection may be a part of, in any model: the joined one whose order of rows is known, and those of
    attention, which models call and order otherwise.

    >>> wholes_of("blocks.0.attn.k_proj")[:2], wholes_of("blocks.0.attn.o_proj")
    (['blocks.0.attn.qkv_proj', 'blocks.0.attn.query_key_value'], [])
    """
    above, _, part = name.rpartition(".")
    whole = whole_of(name)
    others = ATTENTION if part in QKV else OF_OTHERS.get(part, ())
    return list(dict.fromkeys([*([whole] if whole else []), *(f"{above}.{each}" for each in others)]))


def parts_of(name: str) -> list[str]:
    """What a matrix of q, k and v may consist of, in any model.

    >>> "blocks.0.attn.k_proj" in parts_of("blocks.0.attn.Wqkv"), parts_of("blocks.0.attn.o_proj")
    (True, [])
    """
    above, _, whole = name.rpartition(".")
    return [f"{above}.{part}" for part in sorted(QKV)] if whole in ATTENTION else []


def divided(above: str, parts: Mapping[str, int], whole: Projection, height: int) -> dict[str, int] | None:
    """The first row of every part in a joined projection; None where the rows of those that are known do not fill it.

    Args:
        above: what the names of the parts begin with.
        parts: names of parts that are known → their rows.
        height: rows of the joined projection.

    >>> divided("mlp", {"mlp.up_proj": 4}, JOINED["mlp.gate_up_proj"], 8)
    {'mlp.gate_proj': 0, 'mlp.up_proj': 4}
    """
    names = [f"{above}.{part}" for part in whole.parts]
    rows = {name: parts[name] for name in names if name in parts}
    one, other = (f"{above}.{part}" for part in whole.equal)
    for mine, its in ((one, other), (other, one)):
        if its in rows:
            rows.setdefault(mine, rows[its])
    missing = [name for name in names if name not in rows]
    left = height - sum(rows.values())
    if left < 0 or (missing and left % len(missing)) or rows.get(one) != rows.get(other):
        return None
    rows |= dict.fromkeys(missing, left // len(missing) if missing else 0)
    if sum(rows.values()) != height or not all(rows.values()):
        return None
    if missing and whole.equal == whole.parts[1:] and rows[names[0]] % rows[one]:
        return None  # of q, k and v: each k serves a whole number of q
    firsts, first = {}, 0
    for name in names:
        firsts[name] = first
        first += rows[name]
    return firsts
