"""Two checkpoints of one model, tensor by tensor, by headers alone:
what `extract` compares, and what that can become.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import IncompatibleError
from adapterops.formats.architectures import CONV1D_MODULES, HEAD, NOT_LINEAR, WEIGHT
from adapterops.formats.naming import canonical, check_untied, conv1d, head_of, last, namesakes
from adapterops.storage.safetensors import Spec

SHOWN = 5
"""Names that an error lists of each side."""


@dataclass(frozen=True)
class Pair:
    """What is known of a tensor of a tuned checkpoint.

    Attributes:
        before: its counterpart in the base.
        module: of a Linear layer whose weight both are; None for anything else.
        transposed: that weight is stored as (in, out); None where the files do not show it.
    """

    before: str
    module: str | None = None
    transposed: bool | None = False


def pair(tuned: Checkpoint, base: Checkpoint) -> dict[str, Pair]:
    """Every tensor of a tuned checkpoint with its counterpart; prefixes may be those of another version of
    transformers.

    Raises:
        IncompatibleError: one checkpoint has tensors that the other lacks.
    """
    config = {**(base.config or {}), **(tuned.config or {})}
    tied = head_of(base.layout, base.config)
    found: dict[str, str] = {}
    unpaired = []
    for name, names in namesakes(tuned.layout, base.layout).items():
        if not names and tied and canonical(name) == HEAD + WEIGHT:
            names = [tied[1]]
        if len(names) == 1:
            found[name] = names[0]
        else:
            unpaired.append(name)
    paired = set(found.values())
    missing = [name for name in base.layout if name not in paired]
    if unpaired or missing:
        raise IncompatibleError(
            f"the checkpoints have different tensors: {len(unpaired)} only in the tuned one ({', '.join(unpaired[:SHOWN])}), "
            f"{len(missing)} only in the base ({', '.join(missing[:SHOWN])})",
            hint="give the base that the model was tuned from",
            code="E-NAMES",
        )
    return {
        name: _pair(name, before, tuned.layout[name], base.layout[before], config) for name, before in found.items()
    }


def _pair(name: str, before: str, spec: Spec, other: Spec, config: Mapping[str, Any]) -> Pair:
    module = name.removesuffix(WEIGHT)
    if not name.endswith(WEIGHT) or len(spec.shape) != 2 or spec.shape != other.shape or last(module) in NOT_LINEAR:
        return Pair(before)
    unknown = last(module) in CONV1D_MODULES and not config.get("model_type")
    return Pair(before, module, None if unknown else conv1d(module, config))


def full_tensors(changed: Collection[str], adapted: Collection[str], tuned: Checkpoint) -> dict[str, str]:
    """The full tensors of an adapter that hold changes that are no updates: their names there → in the tuned
    checkpoint.

    PEFT replaces modules as they are: with a weight goes its bias. An embedding that is tied goes under both of its
        names.

    Args:
        changed: tensors that are no weights of Linear layers.
        adapted: modules that have an update.

    Raises:
        IncompatibleError: a parameter is neither a weight nor a bias.
        UnsupportedError: an embedding is tied to others, and it is not known to which.
    """
    for name in changed:
        if not name.endswith((WEIGHT, ".bias")):
            raise IncompatibleError(
                "changed, and is a parameter that no adapter can hold",
                tensor=name,
                hint="leave it out with --rest drop",
                code="E-REST",
            )
    chosen = set(changed)
    modules = {name.rpartition(".")[0] for name in changed} - set(adapted)
    full = {
        name: name
        for name in tuned.layout
        if name in chosen or (name.rpartition(".")[0] in modules and name.endswith((WEIGHT, ".bias")))
    }
    check_untied({name: tuned.layout[name] for name in full}, tuned.layout, tuned.config)
    tied = head_of(tuned.layout, tuned.config)
    if tied and tied[1] in full:
        full[tied[0]] = tied[1]
    return full
