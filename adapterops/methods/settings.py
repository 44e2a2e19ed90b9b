"""What a merge is made by besides its adapters: the method, weights, the scale, the space, and the method's parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adapterops.errors import OptionError, factor
from adapterops.errors import count as counted
from adapterops.methods.registry import Method, find
from adapterops.methods.scaling import AUTO, MEAN, SUM, Scale, check_scale
from adapterops.methods.spaces import SPACES

SEVERAL = range(3, 9)
"""How many adapters `even` was measured ahead of the sum for, or level with it: docs/decisions/merging.md."""

EVENED = (
    f"the default for {SEVERAL[0]} to {SEVERAL[-1]} adapters: the sum, its singular values made more equal in modules whose updates "
    "are small; of adapters with such modules alone it was more accurate, in the mean of ten seeds, not on each; --linear is the sum "
    "everywhere"
)
ADDED = "the default for two adapters: the sum, a + b: no other method was ahead of it in every suite of tasks that was measured"
MANY = (
    f"the default for more than {SEVERAL[-1]} adapters: the sum; --even was not measured for so many, and its time grows with the "
    "cube of the sum of their ranks"
)
MODELS = "the default for tuned models: the sum; no other was measured on these"
"""Why the default is what it is, and what it is."""


def usual(count: int, task_vectors: bool, *given: Any) -> str:
    """The method where none is named: `even` for three to eight adapters of which nothing else is `given`, neither weights
    nor a scale other than `auto` nor a space nor parameters; else `linear`, the weighted sum.

    >>> usual(2, False), usual(3, False), usual(3, False, [0.5, 0.3, 0.2]), usual(3, True), usual(9, False)
    ('linear', 'even', 'linear', 'linear', 'linear')
    """
    as_it_is = all(each is None or (isinstance(each, str) and each == AUTO) for each in given)
    return "even" if count in SEVERAL and as_it_is and not task_vectors else "linear"


def reason(method: str, count: int, task_vectors: bool, options: Mapping[str, Any]) -> str | None:
    """Why a merge of `count` adapters has this method where nothing says how; None where it has another, or `options`, as
    `settings` completes them, are not those of a merge of which nothing else is given.
    """
    chosen = find(method)
    usually = {"weights": [1.0] * count, "scale": AUTO, "space": chosen.spaces[0], **chosen.defaults}
    if (
        count < 2
        or method != usual(count, task_vectors)
        or {name: each for name, each in options.items() if name != "full"} != usually
    ):
        return None
    if task_vectors:
        return MODELS
    return EVENED if method == "even" else ADDED if count < SEVERAL[0] else MANY


def settings(
    method: str,
    count: int,
    *,
    weights: Sequence[float] | None = None,
    scale: Scale | None = None,
    space: str | None = None,
    full: str | None = None,
    **parameters: Any,
) -> tuple[Method, dict[str, Any]]:
    """The method, and all that `merge` takes besides adapters, checked as far as that needs none of the `count` adapters.

    Raises:
        OptionError: as `merge` does.
    """
    chosen = find(method)
    numbers = _weights(count, weights)
    space = space or chosen.spaces[0]
    if space not in chosen.spaces:
        raise OptionError(f"{chosen.name} does not act in space {space!r}", hint=f"one of {', '.join(chosen.spaces)}")
    given = {name: value for name, value in parameters.items() if value is not None}
    if scale is None:  # PEFT and mergekit multiply by nothing
        as_it_is = weights is not None or count == 1 or chosen.sized or SPACES[space].fixed or "convention" in given
        scale = SUM if as_it_is else AUTO
    for parameter, value in SPACES[space].fixed.items():
        if parameter in chosen.parameters:
            if given.get(parameter, value) != value:
                raise OptionError(f"in space {space} the {parameter} is {value}", hint=f"leave --{parameter} out")
            given[parameter] = value
    complete = chosen.complete(given)
    if chosen.check:
        seen = SPACES[space].weights(numbers)
        try:
            chosen.check(seen, complete)
        except OptionError as error:
            if seen != numbers:
                error.hint = (
                    f"in space {space} the base is one of them, with what the weights leave of 1: {seen[0]:g} here"
                )
            raise
    check_full(full)
    chosen_for_all = {
        "weights": numbers,
        "scale": check_scale(scale),
        "space": space,
        **({"full": full} if full else {}),
    }
    return chosen, {**chosen_for_all, **complete}


def check_full(full: Any) -> None:
    """Raise OptionError for what is none of the ways to combine full tensors."""
    if full not in (None, MEAN):
        raise OptionError(
            f"full is {full!r}, expected {MEAN}", hint="leave it out, and only full tensors that are alike are kept"
        )


def _weights(count: int, weights: Sequence[float] | None) -> list[float]:
    if not count:
        raise OptionError("there is nothing to merge", hint="name at least one adapter")
    given = [1.0] * count if weights is None else [factor(weight, "a weight") for weight in weights]
    if len(given) != count:
        raise OptionError(
            f"{counted(len(given), 'weight')} for {counted(count, 'adapter')}",
            hint="give one -w for each adapter, or none",
        )
    return given
