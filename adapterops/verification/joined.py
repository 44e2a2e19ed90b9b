"""Updates of a part of a joined projection, of one expert among all, or of a projection that the base has in parts."""

from __future__ import annotations

from typing import Any

from adapterops.verification.addends import Addend, Wanted
from adapterops.verification.names import LISTS, OF_EXPERTS, Base, UnplacedError

JOINED = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
    "Wqkv": ("q_proj", "k_proj", "v_proj"),
    "in_proj_qkv": ("in_proj_q", "in_proj_k", "in_proj_v"),
}

AS_FIRST = {"in_proj_qkv"}
"""Joined projections of linear attention: the second of three parts is as high as the first, in others as the last."""

IN_TURN = {"gpt_oss"}
"""Types of models whose experts have a row of gate, then one of up."""


def split(module: str, shape: tuple[int, int], base: Base) -> list[tuple[str, Addend]] | None:
    """An update of a joined projection, in a base that has its parts."""
    above, _, last = module.rpartition(".")
    if last not in JOINED:
        return None
    found = []
    for part in JOINED[last]:
        name = base.find(f"{above}.{part}")
        if name is None or len(base.layout[name].shape) != 2:
            return None
        found.append(name)
    heights = [base.layout[name].shape[0] for name in found]
    transposed = sum(heights) != shape[0]
    result, first = [], 0
    for name, height in zip(found, heights, strict=True):
        place = Addend(module, range(height), slice(0, base.layout[name].shape[1]), first, transposed)
        result.append((name, place))
        first += height
    return result if first == shape[1 if transposed else 0] else None


def inside(
    module: str, shape: tuple[int, int], base: Base, own: Any, found: dict[str, Wanted]
) -> tuple[str, Addend] | None:
    """An update of a part of a joined projection, or of one expert among all."""
    above, _, last = module.rpartition(".")
    path, _, number = above.rpartition(".")
    if number in LISTS:
        last, number = LISTS[number], last
    last = OF_EXPERTS.get(last, last)
    for joined, parts in JOINED.items():
        if last not in parts or (name := base.find(f"{above}.{joined}")) is None or number.isdecimal():
            continue
        stored = base.layout[name].shape
        if len(stored) != 2 or stored[1] != shape[1]:
            continue
        if last == parts[0]:
            start = 0
        elif last == parts[-1]:
            start = stored[0] - shape[0]
        else:
            start = shape[0] if joined in AS_FIRST else stored[0] - 2 * shape[0]
        return name, Addend(module, range(start, start + shape[0]), slice(0, shape[1]))
    if not number.isdecimal():
        return None
    joined, turn = last, -1
    if last in JOINED["gate_up_proj"] and not _is_stack(base.find(f"{path}.{last}"), base):
        joined, turn = "gate_up_proj", JOINED["gate_up_proj"].index(last)
    end = own(f"{path}.{joined}")
    tensor = base.find(f"{path}.{joined}") if end is None else found[end].start
    if tensor is None or len(base.layout[tensor].shape) != 3:
        return None
    return end or tensor, _expert(module, shape, tensor, int(number), turn, base)


def _is_stack(tensor: str | None, base: Base) -> bool:
    """Whether a tensor has all experts of a layer."""
    return tensor is not None and len(base.layout[tensor].shape) == 3


def experts_of(full: str, shape: tuple[int, ...], base: Base) -> list[tuple[str, int]]:
    """The tensors of a base that has each expert by itself, and the row that each begins with in a full tensor of all.

    Raises:
        UnplacedError: they do not fill it.
    """
    above, _, last = full.rpartition(".")
    if len(shape) != 3 or above.split(".")[-1] != "experts" or base.types & IN_TURN:
        return []
    parts = JOINED["gate_up_proj"] if last == "gate_up_proj" else (last,)
    count, height, width = shape
    found, row = [], 0
    for number in range(count):
        for part in parts:
            name = base.find(f"{above}.{number}.{part}")
            if name is None:
                return []
            if base.layout[name].shape != (height // len(parts), width):
                raise UnplacedError(f"is {list(shape)}, and {name} is {list(base.layout[name].shape)}")
            found.append((name, row))
            row += height // len(parts)
    if base.find(f"{above}.{count}.{parts[0]}") is not None:
        raise UnplacedError(f"has {count} experts, and the base has more")
    return found


def _expert(module: str, shape: tuple[int, int], tensor: str, number: int, turn: int, base: Base) -> Addend:
    """The expert of a number, of which `turn` is the half: 0 for gate, 1 for up, -1 for all of it."""
    count, height, width = base.layout[tensor].shape
    joined_shape = (shape[0] * (1 if turn < 0 else 2), shape[1])
    if sorted(joined_shape) != sorted((height, width)) or number >= count:
        raise UnplacedError(f"is {list(shape)}, and {tensor} is {[count, height, width]}")
    transposed = _experts_transposed(tensor, base) if height == width else (height, width) != joined_shape
    if turn < 0:
        inner = slice(0, joined_shape[0], 1)
    elif base.types & IN_TURN:
        inner = slice(turn, joined_shape[0], 2)
    else:
        inner = slice(turn * shape[0], (turn + 1) * shape[0], 1)
    start = number * height
    if transposed:
        return Addend(module, range(start, start + height), inner, transposed=True)
    return Addend(module, range(start + inner.start, start + inner.stop, inner.step), slice(0, width))


def _experts_transposed(tensor: str, base: Base) -> bool:
    """Whether square experts are stored as (in, out), which the longer side of the other parameter shows."""
    above, _, last = tensor.rpartition(".")
    if last != "gate_up_proj" and _is_stack(base.find(f"{above}.up_proj"), base):  # no gates, in Linear layers
        return False
    gate_up = last == "gate_up_proj"
    other = base.layout.get(f"{above}.{'down_proj' if gate_up else 'gate_up_proj'}")
    if other is None:
        raise UnplacedError("is square, and the files do not say which way round")
    _, height, width = other.shape
    return height < width
