"""What single experts take in: transformers has all of a layer in one module, whose inputs say who gets which token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from adapterops.formats.stacks import DOWN, GATE_UP, WRAPPED

if TYPE_CHECKING:
    from torch import Tensor


class Taken(NamedTuple):
    """Rows that one projection of one expert takes in."""

    projection: str
    rows: Tensor


def experts_of(network: Any) -> dict[str, Any]:
    """Name → module, of the experts that transformers holds in the parameters `gate_up_proj` and `down_proj`."""
    return {
        name.replace(WRAPPED, ""): each
        for name, each in network.named_modules()
        if getattr(each, "has_gate", False) and hasattr(each, "_apply_gate") and hasattr(each, GATE_UP)
    }


def widths(name: str, module: Any) -> dict[str, int]:
    """Projection of each expert → how many numbers it takes in."""
    side = 1 if module.is_transposed else 2
    sizes = {GATE_UP: module.gate_up_proj.shape[side], DOWN: module.down_proj.shape[side]}
    return {
        f"{name}.{number}.{projection}": int(size)
        for number in range(len(module.down_proj))
        for projection, size in sizes.items()
    }


def taken_in(name: str, module: Any, given: tuple[Any, ...], mask: Tensor) -> Iterator[Taken]:
    """What the experts take in when the module gets (tokens, numbers of experts, weights), of tokens that count.

    The second projection takes in what the first one and the gate make, which is computed here once more.

    Cost: as much as the first projection.
    """
    import torch

    if len(given) < 2:  # who gets what is not said here
        return
    tokens, numbers = (each.reshape(-1, each.shape[-1]) for each in given[:2])
    counts = mask.reshape(-1) if mask.numel() == len(tokens) else torch.ones(len(tokens), dtype=torch.bool)
    weights = module.gate_up_proj  # of PEFT this is the sum, made again at every access
    for number in numbers.unique().tolist():
        if number >= len(weights):  # who stands for none
            continue
        rows = tokens[(numbers == number).any(dim=-1) & counts]
        W = weights[number]
        inner = rows @ (W if module.is_transposed else W.T)
        if module.has_bias:
            inner = inner + module.gate_up_proj_bias[number]
        yield Taken(f"{name}.{number}.{GATE_UP}", rows)
        yield Taken(f"{name}.{number}.{DOWN}", module._apply_gate(inner))
