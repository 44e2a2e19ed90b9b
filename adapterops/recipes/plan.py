"""A merge as a recipe that a person edits: the weight of every adapter, and the factor of every module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterops.recipes.schema import VERSION, blocks
from adapterops.requests.request import Request


def plan(request: Request, method: str, factors: Mapping[str, float], reasons: Mapping[str, str] | None = None) -> str:
    """The recipe of the request's inputs, merged by a method, times the factor of each module, without those that are left
    out for reasons.

    The factors are written with all their digits: followed as it is, the recipe makes the merge they come from.

    >>> from adapterops.expressions.expression import parse
    >>> from adapterops.requests.request import Input
    >>> print(plan(Request({"a": Input("x"), "b": Input("y")}, parse("a + b", "ab")), "linear", {"layers.0.q": 0.5}))
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
    """
    stated = request.as_json()
    head: dict[str, Any] = {"inputs": stated["inputs"]}
    if request.base is not None:
        head |= {"base": stated["base"], "output": {"adapter": True}}
    names = ", ".join(request.inputs)
    weights = ", ".join(["1"] * len(request.inputs))
    lines = [f'    "{module}": {float(factor)!r},' for module, factor in factors.items()]
    left_out = [f'    "{module}": "{reason}",' for module, reason in (reasons or {}).items()]
    before, after = ("drop(", ["  }), {", *left_out, "  })"]) if left_out else ("", ["  })"])
    return "\n".join(
        [
            "# Edit the weights and the factor of each module (1 is full size, 0 leaves it out), then: adapterops run THIS -o OUT",
            blocks({"adapterops": VERSION, **head}) + "result: |",
            f'  {before}scale({method}({names}, weights=[{weights}], scale="sum"), {{',
            *lines,
            *after,
            "",
        ]
    )
