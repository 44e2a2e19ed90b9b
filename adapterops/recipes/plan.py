"""A merge as a recipe that a person edits: the weight of every adapter, and the factor of every module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.engine.local import run
from adapterops.errors import IncompatibleError, InputError, OptionError, UnsupportedError
from adapterops.expressions.formula import literal
from adapterops.methods.holding import Each, Holdings, as_json
from adapterops.methods.scaling import AUTO
from adapterops.operations.algebra import merge
from adapterops.operations.comparing.opposed import Opposed, opposed
from adapterops.provenance.history import Step
from adapterops.recipes.schema import VERSION, blocks
from adapterops.requests.request import Request


def planned(adapters: Sequence[Adapter]) -> Adapter:
    """The merge that a plan is of: by the default method and scale, of adapters of different bases, too.

    Raises:
        IncompatibleError, OptionError: as `merge` does; nothing is computed.
    """
    return merge(adapters, scale=AUTO, allow_base_mismatch=True)


def by_default(adapters: Sequence[Adapter], how: Execution = DEFAULT) -> dict[str, Any] | None:
    """What that merge holds of each adapter, and how far `RULES` are apart, where it takes seconds; None elsewhere, and where
    there is no such merge.
    """
    try:
        step = planned(adapters).history
    except (IncompatibleError, OptionError, UnsupportedError):
        return None
    holdings = step.holdings if isinstance(step, Step) else None
    if holdings is None:
        return None
    each = partial(run, how=how)
    found = holdings.all(each)
    return None if found is None else {**as_json(found, holdings.count), "rules_apart": _rule_distance(holdings, each)}


def _rule_distance(holdings: Holdings, each: Each) -> float | None:
    """How far the rules are apart; None where one of them can make nothing of these numbers."""
    try:
        return holdings.rule_distance(each)
    except InputError:
        return None


def plan(adapters: Sequence[Adapter], merged: Adapter, how: Execution = DEFAULT) -> MergePlan:
    """What `planned` makes of these adapters, module by module.

    Cost: that of the merge, once, and of `opposed` in every module.
    """

    def against(module: str) -> Sequence[float | None]:
        return opposed(merged.updates[module], adapters, module)

    found = dict(zip(merged.layout, run(against, merged.layout, how=how), strict=True))
    step = merged.history
    assert isinstance(step, Step)
    assert step.multipliers
    factors = dict.fromkeys(merged.layout, 1.0) | step.multipliers.all(partial(run, how=how))
    against_some = {module: kept for module, kept in found.items() if any(kept)}
    return MergePlan(step.parameters["method"], factors, against_some, step.multipliers.of_sum())


@dataclass(frozen=True, eq=False)
class MergePlan:
    """A merge of adapters, module by module.

    Attributes:
        method: what merges them.
        factors: module → what its result is multiplied by there, for every module.
        opposed: the modules in which the merge is against an adapter.
        summed: the modules in which it is the sum, as their updates are large: see `Method.small`.
    """

    method: str
    factors: Mapping[str, float]
    opposed: Opposed = field(default_factory=dict)
    summed: Sequence[str] = ()

    def recipe(self, request: Request, reasons: Mapping[str, str] | None = None) -> str:
        """The recipe of the request's inputs, merged by the method, times the factor of each module, without those that are
        left out for reasons.

        The factors are written with all their digits: followed as it is, the recipe makes the merge they come from.

        >>> from adapterops.expressions.expression import parse
        >>> from adapterops.requests.request import Input
        >>> request = Request({"a": Input("x"), "b": Input("y")}, parse("a + b", "ab"))
        >>> print(MergePlan("linear", {"layers.0.q": 0.5}).recipe(request))
        # Edit the weights and the factor of each module (1 is full size, 0 leaves it out), then: adapterops run THIS -o OUT
        adapterops: 1
        inputs:
          a:
            path: 'x'
            allow_nonfinite: false
          b:
            path: 'y'
            allow_nonfinite: false
        result: |
          scale(linear(a, b, weights=[1, 1], scale="sum"), {
            "layers.0.q": 0.5,
          })
        <BLANKLINE>

        Raises:
            OptionError: all modules are left out.
        """
        reasons = reasons or {}
        if reasons and reasons.keys() >= self.factors.keys():
            raise OptionError(
                "every module of the merge would be left out of the plan",
                hint="leave --drop-opposed out, or merge adapters that do not oppose each other",
            )
        stated = request.as_json()
        allowed = [name for name in ("allow_base_mismatch", "allow_pickle") if stated[name]]
        head: dict[str, Any] = {"inputs": stated["inputs"], **{name: stated[name] for name in allowed}}
        if request.base is not None:
            head |= {"base": stated["base"], "output": {"adapter": True}}
        each = f'{", ".join(request.inputs)}, weights=[{", ".join(["1"] * len(request.inputs))}], scale="sum"'
        summed = [module for module in self.factors if module in self.summed]
        rest = [module for module in self.factors if module not in self.summed]
        terms = [
            term
            for method, modules in ((self.method, rest), ("linear", summed))
            for term in self._term(f"{method}({each})", modules)
        ]
        left_out = [f"    {literal(module)}: {literal(reason)}," for module, reason in reasons.items()]
        before, after = ("drop(", [", {", *left_out, "  })"]) if left_out else ("", [""])
        merged = f"  {before}{' + '.join(terms)}{after[0]}"
        return "\n".join(
            [
                "# Edit the weights and the factor of each module (1 is full size, 0 leaves it out), then: adapterops run THIS -o OUT",
                blocks({"adapterops": VERSION, **head}) + "result: |",
                merged,
                *after[1:],
                "",
            ]
        )

    def _term(self, merged: str, modules: Sequence[str]) -> list[str]:
        """Some modules of a merge, each times its factor; nothing for none."""
        if not modules:
            return []
        if len(modules) < len(self.factors):
            merged = f"select({merged}, {', '.join(map(literal, modules))})"
        lines = "".join(f"    {literal(module)}: {float(self.factors[module])!r},\n" for module in modules)
        return [f"scale({merged}, {{\n{lines}  }})"]
