"""Where the updates of an adapter belong in a base, found anew: by rules and tables of this room's own.

Two names mean one weight where they end alike once wrappers are taken away; of several that do, the shape decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.storage.safetensors import Spec
from adapterops.verification.other_names import alike, elsewhere, encoder, in_parts

OUTER = {"base_model", "model", "module", "language_model", "transformer"}
OTHER_WORDS = {"block_sparse_moe": "mlp", "embed_out": "lm_head"}
OF_EXPERTS = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
JOINED = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
    "Wqkv": ("q_proj", "k_proj", "v_proj"),
}
IN_TURN = {"gpt_oss"}
"""Types of models whose experts have a row of gate, then one of up."""
STORED_TRANSPOSED = {"gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp"}
TRANSPOSED_MODULES = {"c_attn", "c_proj", "c_fc", "q_attn"}
LISTS = {"gate_up_projs": "gate_up_proj", "down_projs": "down_proj"}
"""Lists with a module for each expert → the projection."""
HEAD = "lm_head"
EMBEDDINGS = {"embed_tokens", "wte", "embed_in", "word_embeddings", "shared"}
INSIDE = {(), ("decoder",), ("text_model",)}
"""What the input embedding of a model that generates may be in."""


@dataclass(frozen=True)
class Place:
    """tensor[rows, columns] += ΔW[first:], or ΔWᵀ; the tensor as a matrix, all dimensions but the last taken for one."""

    source: str
    rows: range
    columns: slice
    first: int = 0
    transposed: bool = False

    def within(self, begin: int, end: int) -> tuple[slice, slice] | None:
        """Which of the rows [begin, end) of the tensor it covers, and which rows of ΔW these are."""
        start, stop, step = self.rows.start, self.rows.stop, self.rows.step
        skipped = max(0, -(-(begin - start) // step))
        left = max(0, -(-(min(end, stop) - start) // step))
        if skipped >= left:
            return None
        at = start + skipped * step - begin
        return slice(at, min(end, stop) - begin, step), slice(self.first + skipped, self.first + left)


@dataclass
class Wanted:
    """What one tensor should be: a tensor of the base, or a full one of the adapter, and what is added to it."""

    start: str | None
    full: str | None = None
    places: list[Place] = field(default_factory=list)


class UnplacedError(Exception):
    """No tensor of the base is known for a name, or several are."""


def key(name: str) -> tuple[str, ...]:
    """What is left of a name without wrappers: those that begin with `_`, and the outer ones.

    >>> key("base_model.model.model.layers.0._fsdp_wrapped_module.block_sparse_moe.experts.1.w2.weight")
    ('layers', '0', 'mlp', 'experts', '1', 'down_proj')
    """
    parts = [part for part in name.removesuffix(".weight").split(".") if not part.startswith("_")]
    while len(parts) > 1 and parts[0] in OUTER:
        parts = parts[1:]
    kept = [part for i, part in enumerate(parts) if part != "vision_model" or not i or "_tower" not in parts[i - 1]]
    if len(kept) > 1 and kept[-2] in LISTS and kept[-1].isdecimal():
        kept[-2:] = kept[-1], LISTS[kept[-2]]
    if kept[-2:] == ["router", "linear"]:
        kept.pop()
    words = {**OTHER_WORDS, **OF_EXPERTS} if "experts" in kept else OTHER_WORDS
    return tuple(words.get(part, part) for part in kept)


class Base:
    """The tensors of a base by what their names leave."""

    def __init__(self, layout: Mapping[str, Spec], config: Mapping[str, Any]) -> None:
        self.layout, self.config = layout, config
        self.type = str(config.get("model_type", ""))
        self.types = {self.type, *(str(part.get("model_type")) for part in config.values() if isinstance(part, dict))}
        self._keys: dict[tuple[str, ...], list[str]] = {}
        self._ends: dict[str, list[tuple[str, ...]]] = {}
        for name in layout:
            self._keys.setdefault(key(name), []).append(name)
        for each in self._keys:
            self._ends.setdefault(each[-1], []).append(each)

    def find(self, name: str, shapes: tuple[tuple[int, ...], ...] = ()) -> str | None:
        """The tensor that a name means; None where none does.

        Raises:
            UnplacedError: several do, also by their shapes.
        """
        for exact in (name, f"{name}.weight"):
            if exact in self.layout:
                return exact
        wanted = key(name)
        found = list(self._keys.get(wanted, ()))
        if not found:
            found = [
                tensor
                for there in self._ends.get(wanted[-1], ())
                if there[-len(wanted) :] == wanted or wanted[-len(there) :] == there
                for tensor in self._keys[there]
            ]
        if len(found) > 1 and shapes:
            found = [tensor for tensor in found if self.layout[tensor].shape in shapes] or found
        if len(found) > 1:  # two inputs of one name: the one whose tail is shared the farthest
            found = [tensor for tensor in found if tensor.endswith((name, f"{name}.weight"))] or found
        if len(found) > 1:
            raise UnplacedError(f"may be {' or '.join(found[:3])}")
        return found[0] if found else None

    def matrix(self, name: str) -> tuple[int, int]:
        """A tensor as rows and columns; a kernel's rows are its outputs."""
        shape = self.layout[name].shape
        if len(shape) > 3:
            return shape[0], math.prod(shape[1:])
        return math.prod(shape[:-1]), shape[-1] if shape else 1

    def ending(self, end: str, module: str) -> str | None:
        """The tensor whose name ends so, and has least before that, in the part of a pipeline that a module is in.

        Dots are as underscores.
        """
        wanted, part = "_" + end.replace(".", "_"), encoder(module)
        flat = {name: "_" + name.removesuffix(".weight").replace(".", "_") for name in self.layout}
        found = [name for name, each in flat.items() if each.endswith(wanted) and encoder(name) == part]
        return min(found, key=len, default=None)

    def stated(self) -> bool | None:
        """What the config says of sharing, if it says anything."""
        stated = [
            part["tie_word_embeddings"]
            for part in (self.config, self.config.get("text_config"))
            if isinstance(part, dict) and "tie_word_embeddings" in part
        ]
        return any(stated) if stated else None

    def tied(self) -> bool:
        """Whether input and output embedding are one tensor."""
        classes, stated = self.config.get("architectures"), self.stated()
        causal = isinstance(classes, list) and any(str(c).endswith(("ForCausalLM", "LMHeadModel")) for c in classes)
        return causal if stated is None else stated

    def needs_head(self) -> bool:
        """Whether nothing but the input embedding is the output embedding of this model."""
        return not self.config.get("is_encoder_decoder") and not any(each[-1] == HEAD for each in self._keys)

    def shared(self, name: str, shape: tuple[int, ...]) -> str:
        """The tensor that a new one of the model was until now: one of its shape, with the same name in its layer, or else
        in no layer, and an embedding before others; of several the one with the most of the beginning of its name.

        Raises:
            UnplacedError: the base shares nothing, or has no such tensor, or several.
        """
        same = [each for each, spec in self.layout.items() if spec.shape == shape]
        ends = [each for each in same if _tail(key(each)) == _tail(key(name))]
        bias = name.endswith(".bias")
        same = [each for each in same if (bias or len(shape) > 1) and each.endswith(".bias") == bias]
        single = [each for each in same if not any(part.isdecimal() for part in key(each))]
        inputs = [each for each in single if key(each)[-1] in EMBEDDINGS]
        found = next((some for some in (ends, inputs, single) if some), [])
        ranks = {each: (-_alike(key(each), key(name)), len(key(each))) for each in found}
        best = [each for each in found if ranks[each] == min(ranks.values())]
        if self.stated() is False or len(best) != 1:
            raise UnplacedError("is new in the model, and the base has nothing that it was until then")
        return best[0]


def _tail(name: tuple[str, ...]) -> tuple[str, ...]:
    """From the layers on, or the last part of a name that is in none."""
    numbers = [place for place, part in enumerate(name) if part.isdecimal()]
    return name[max(numbers[0] - 1, 0) :] if numbers else name[-1:]


def _alike(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many parts two names begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def wanted(adapter: Adapter, base: Checkpoint, model: Checkpoint) -> tuple[dict[str, Wanted], dict[str, str]]:
    """What the tensors that an adapter changes should be; and the names of the adapter that have no place, and why."""
    there, found, lost = Base(base.layout, base.config or {}), dict[str, Wanted](), dict[str, str]()
    new = {key(name): name for name in model.layout if name not in base.layout}

    def own(name: str) -> str | None:
        """What the model has for a name, and the base has not."""
        if (tensor := new.get(key(name))) is not None:
            found.setdefault(tensor, Wanted(there.shared(tensor, model.layout[tensor].shape)))
        return tensor

    for module, layout in adapter.layout.items():
        try:
            places = list(_places(module, layout.shape, there, adapter, own))
        except UnplacedError as problem:
            lost[module] = str(problem)
            continue
        for tensor, place in places:
            found.setdefault(tensor, Wanted(tensor)).places.append(place)
    for full, stored in adapter.full.items():
        try:
            name = own(full) or there.find(full, (stored.spec.shape,))
            if name is None:
                raise UnplacedError("is a full tensor, and the base has no such tensor")
            found.setdefault(name, Wanted(name)).full = full
        except UnplacedError as problem:
            lost[full] = str(problem)
    whole = [name for name, each in found.items() if each.full and there.tied()]
    embeddings = [name for name in whole if key(name)[-1] in EMBEDDINGS and key(name)[:-1] in INSIDE]
    if new:
        for name in new.values():
            try:
                own(name)
            except UnplacedError as problem:
                lost[name] = str(problem)
    elif embeddings and there.needs_head():
        lost[HEAD] = "was tied to the input embedding that was trained, and is not kept as it was"
    return found, lost


def _places(module: str, shape: tuple[int, int], base: Base, adapter: Adapter, own: Any) -> Iterator[tuple[str, Place]]:
    """The tensors that an update goes into, and where.

    Raises:
        UnplacedError: there is none.
    """
    if (end := own(module)) is not None:
        yield end, Place(module, range(shape[0]), slice(0, shape[1]))
        return
    name = base.find(module, (shape, shape[::-1]))
    if name is not None and (len(base.layout[name].shape) == 2 or base.matrix(name) == shape):
        yield name, _whole(module, shape, name, base)
    elif (split := _split(module, shape, base)) is not None:
        yield from split
    elif (inside := _inside(module, shape, base, adapter)) is not None:
        yield inside
    elif (other := _elsewhere(module, shape, base)) is not None:
        yield from other
    else:
        raise UnplacedError("has no tensor in the base")


def _whole(module: str, shape: tuple[int, int], name: str, base: Base) -> Place:
    stored = base.matrix(name)
    own = not base.types.isdisjoint(STORED_TRANSPOSED) and key(module)[-1] in TRANSPOSED_MODULES
    if sorted(stored) != sorted(shape):
        raise UnplacedError(f"is {list(shape)}, and {name} is {list(stored)}")
    transposed = own if stored[0] == stored[1] else stored != shape
    return Place(module, range(stored[0]), slice(0, stored[1]), transposed=transposed)


def _elsewhere(module: str, shape: tuple[int, int], base: Base) -> list[tuple[str, Place]] | None:
    """Where a weight of an image or video model is, by the name that another program has for it."""
    every = slice(0, shape[1])
    if len(same := [name for name in alike(module, base.layout) if base.matrix(name) == shape]) == 1:
        return [(same[0], Place(module, range(shape[0]), every))]
    for rows in elsewhere(module, shape):
        found = base.ending(rows[0].name, module)
        if found is None or base.matrix(found)[1] != shape[1]:
            continue
        height = base.matrix(found)[0]
        starts = [each.row % height if each.row < 0 else each.row for each in rows]
        pairs = zip(rows, starts, strict=True)
        return [(found, Place(module, range(row, row + each.height), every, each.first)) for each, row in pairs]
    for names in in_parts(module):
        tensors = [base.ending(name, module) for name in names]
        heights = [base.matrix(name)[0] for name in tensors if name]
        if len(heights) == len(names) and sum(heights) == shape[0]:
            firsts = [sum(heights[:index]) for index in range(len(heights))]
            return [
                (name, Place(module, range(height), every, first))
                for name, height, first in zip(tensors, heights, firsts, strict=True)
                if name
            ]
    return None


def _split(module: str, shape: tuple[int, int], base: Base) -> list[tuple[str, Place]] | None:
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
        place = Place(module, range(height), slice(0, base.layout[name].shape[1]), first, transposed)
        result.append((name, place))
        first += height
    return result if first == shape[1 if transposed else 0] else None


def _inside(module: str, shape: tuple[int, int], base: Base, adapter: Adapter) -> tuple[str, Place] | None:
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
        heights = {
            part: adapter.layout[f"{above}.{part}"].shape[0] for part in parts if f"{above}.{part}" in adapter.layout
        }
        if len(stored) != 2 or stored[1] != shape[1]:
            continue
        if last == parts[0]:
            start = 0
        elif last == parts[-1]:
            start = stored[0] - shape[0]
        else:  # the one in the middle is as high as the last
            start = stored[0] - 2 * heights[last]
        return name, Place(module, range(start, start + shape[0]), slice(0, shape[1]))
    if not number.isdecimal():
        return None
    joined, turn = (
        ("gate_up_proj", ("gate_proj", "up_proj").index(last)) if last in JOINED["gate_up_proj"] else (last, -1)
    )
    tensor = base.find(f"{path}.{joined}")
    if tensor is None or len(base.layout[tensor].shape) != 3:
        return None
    return tensor, _expert(module, shape, tensor, int(number), turn, base)


def _expert(module: str, shape: tuple[int, int], tensor: str, number: int, turn: int, base: Base) -> Place:
    """The expert of a number, of which `turn` is the half: 0 for gate, 1 for up, -1 for all of it."""
    count, height, width = base.layout[tensor].shape
    together = (shape[0] * (1 if turn < 0 else 2), shape[1])
    if sorted(together) != sorted((height, width)) or number >= count:
        raise UnplacedError(f"is {list(shape)}, and {tensor} is {[count, height, width]}")
    transposed = _experts_transposed(tensor, base) if height == width else (height, width) != together
    if turn < 0:
        inner = slice(0, together[0], 1)
    elif base.types & IN_TURN:
        inner = slice(turn, together[0], 2)
    else:
        inner = slice(turn * shape[0], (turn + 1) * shape[0], 1)
    start = number * height
    if transposed:
        return Place(module, range(start, start + height), inner, transposed=True)
    return Place(module, range(start + inner.start, start + inner.stop, inner.step), slice(0, width))


def _experts_transposed(tensor: str, base: Base) -> bool:
    """Whether square experts are stored as (in, out), which the longer side of the other parameter shows."""
    above, _, last = tensor.rpartition(".")
    gate_up = last == "gate_up_proj"
    other = base.layout.get(f"{above}.{'down_proj' if gate_up else 'gate_up_proj'}")
    if other is None:
        raise UnplacedError("is square, and the files do not say which way round")
    _, height, width = other.shape
    return height < width
