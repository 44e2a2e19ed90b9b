"""What is saved together: the experts of one parameter, as PEFT has them; every other module by itself.

A stack is called by the name of its parameter, `mlp.experts.down_proj`, and a module by its own. `experts` says for
each parameter how many it holds; the two-dimensional weight of a module, where PEFT takes that for a parameter, is a
stack of 1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from adapterops.formats.models.architectures import EXPERTS
from adapterops.formats.peft.keys import Key, render
from adapterops.regex import Regex
from adapterops.updates.layout import Layout

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array

WRAPPED = ".base_layer"
GATE_UP, UP, DOWN = "gate_up_proj", "up_proj", "down_proj"
FIRST = {GATE_UP, UP}
"""What the inner rows of experts are made by: gate and up in one, or up alone in experts that have no gates."""
STACKED = {*FIRST, DOWN}
"""Parameters of all experts of a layer."""


def parameter_of(module: str, experts: Collection[str]) -> str:
    """The stack that a module belongs to, or the module.

    >>> parameter_of("mlp.experts.1.down_proj", {"mlp.experts.down_proj": 2}), parameter_of("mlp.gate", {"mlp.gate.weight": 1})
    ('mlp.experts.down_proj', 'mlp.gate.weight')
    """
    head, _, leaf = module.rpartition(".")
    path, _, expert = head.rpartition(".")
    if expert.isdecimal() and f"{path}.{leaf}" in experts:
        return f"{path}.{leaf}"
    return f"{module}.weight" if f"{module}.weight" in experts else module


def is_plain(module: str, experts: Collection[str]) -> bool:
    """Whether PEFT finds a module by its own name: it is no bias, no parameter, and no expert.

    >>> is_plain("mlp.up_proj", {}), is_plain("mlp.experts.1.up_proj", {}), is_plain("mlp.gate", {"mlp.gate.weight": 1})
    (True, False, False)
    """
    single = parameter_of(module, experts) == module and module not in experts
    return single and not module.endswith(".bias") and not is_single_expert(module)


def stacks(modules: Iterable[str], experts: Collection[str]) -> dict[str, list[str]]:
    """The modules of every stack.

    >>> stacks(["mlp.experts.0.down_proj", "mlp.experts.1.down_proj", "q_proj"], {"mlp.experts.down_proj": 2})
    {'mlp.experts.down_proj': ['mlp.experts.0.down_proj', 'mlp.experts.1.down_proj'], 'q_proj': ['q_proj']}
    """
    found: dict[str, list[str]] = {}
    for module in modules:
        found.setdefault(parameter_of(module, experts), []).append(module)
    return found


def keys(stack: str, experts: Collection[str]) -> tuple[str, str]:
    """PEFT's names of A and B. The first parameter that a module registers is the innermost, which is not down_proj.

    >>> keys("mlp.experts.gate_up_proj", ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])[0]
    'base_model.model.mlp.experts.base_layer.lora_A.weight'
    """
    module, _, leaf = stack.rpartition(".")
    if stack not in experts:
        module = stack
    elif leaf in FIRST and f"{module}.{DOWN}" in experts:
        module += WRAPPED
    return render(Key(module, "lora_A")), render(Key(module, "lora_B"))


def shapes(
    stack: str, layouts: Collection[Layout], experts: Mapping[str, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The largest shapes that A and B can have, by the layouts of the modules."""
    out, into = next(iter(layouts)).shape
    rank = max(layout.rank for layout in layouts) * experts.get(stack, 1)
    return (rank, into), (out, rank)


def stacked_factors(
    stack: str, factors: Mapping[str, tuple[Array, Array]], experts: Mapping[str, int]
) -> tuple[Array, Array, int]:
    """A and B of a stack, and the rank of each expert in it: the largest of all, the others filled up with zeros.

    Args:
        factors: module → A and B.
    """
    A, B = next(iter(factors.values()))
    count = experts.get(stack, 1)
    if count == 1:
        return A, B, A.shape[0]
    import numpy as np

    rank = max(A.shape[0] for A, _ in factors.values())
    rows, columns = np.zeros((count, rank, A.shape[1]), A.dtype), np.zeros((B.shape[0], rank, count), B.dtype)
    for module, (A, B) in factors.items():
        expert = int(module.split(".")[-2])
        rows[expert, : A.shape[0]] = A
        columns[:, : B.shape[1], expert] = B
    return rows.reshape(count * rank, -1), columns.reshape(len(columns), -1), rank


SINGLE = Regex(rf".*\b{EXPERTS}\.\d+\.\w+")


def is_single_expert(stack: str) -> bool:
    """Whether a module is an expert's, and a module by itself.

    >>> is_single_expert("model.layers.0.mlp.experts.3.up_proj"), is_single_expert("model.layers.0.mlp.experts.up_proj")
    (True, False)
    """
    return SINGLE.fullmatch(stack) is not None


def padded(A: Array, B: Array, rank: int, width: int | None = None) -> tuple[Array, Array]:
    """Factors of a higher rank of the same product: filled up with zeros. `width`: of a row of B, where that is not its rank."""
    import numpy as np

    more, wider = rank - A.shape[0], (rank if width is None else width) - B.shape[1]
    if not more and not wider:
        return A, B
    return np.pad(A, ((0, more), (0, 0))), np.pad(B, ((0, 0), (0, wider)))
