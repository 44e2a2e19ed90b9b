"""Options of every command that makes an adapter."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from adapterops.cli import options
from adapterops.cli.running import RUNNING, Running, run_with
from adapterops.cli.usage import NUMBER
from adapterops.cli.values import COUNT, FORMAT, REAL, TEXT
from adapterops.errors import NotFoundError, OptionError, count
from adapterops.expressions.expression import Expression, parse
from adapterops.regex import Regex
from adapterops.requests.fields import Input, Model, Output
from adapterops.requests.request import Request, spelled
from adapterops.storage.strict import similar


def _cut(rank: int | None, energy: float | None, budget: str | None, exact: bool, written_as: str | None) -> Output:
    return Output(format=written_as, rank=rank, energy=energy, budget=spelled(budget), exact=exact)


_CUT = (
    click.option("--rank", type=COUNT, metavar="R", help="Rank of every module."),
    click.option(
        "--energy", type=REAL, metavar="E", help="Per module the smallest rank that keeps this fraction of ‖ΔW‖²."
    ),
    click.option(
        "--budget",
        metavar="N",
        help="Parameters over all modules, spent where they keep most: 2M, or bytes of its tensors: 8MB.",
    ),
    click.option(
        "--exact", is_flag=True, help="Full SVD of dense updates; the default is randomized, its error measured."
    ),
)
_FORMAT = "Format of the output.  [default: that of the inputs; peft for mlx and gguf]"
cutting = options.group("cut", _cut, *_CUT, click.option("--format", "written_as", type=FORMAT, help=_FORMAT))
"""How much of an adapter is kept, and in which format it is written: an `Output`, as `cut`."""

converting = options.group(
    "cut", _cut, click.option("--to", "written_as", type=FORMAT, required=True, help="Format of the output."), *_CUT
)
"""The same, where the format is what is asked for."""

SIGNS = ("+", "-", "*", "and", "&")
WEIGHTED = Regex(r"(?P<before>.+)[:=@*](?P<weight>[-+]?\d*\.?\d+)|(?P<times>[-+]?\d*\.?\d+)[*:](?P<after>.+)")
"""An adapter and its weight in one word, as other tools have them."""

NAMES = "The model that the adapters are for: modules get its names, and full tensors that are its own are left out."


@dataclass(frozen=True)
class Making:
    """What adapters are read with, and how the one that is made of them is written."""

    base: Model | None
    components: Sequence[str]
    dtype: str | None
    alpha: float | None
    allow_nonfinite: bool
    allow_pickle: bool
    running: Running

    def inputs(self, sources: Mapping[str, str]) -> dict[str, Input]:
        """Adapters to read, by the names that an expression has for them."""
        return inputs(sources, self.alpha, self.allow_nonfinite, self.components)

    def request(
        self, inputs: Mapping[str, Input], result: Expression, output: Output, *, allow_base_mismatch: bool = False
    ) -> Request:
        """To make `result` of the inputs; with --base, under the names that modules have in that model."""
        written = replace(output, dtype=self.dtype, adapter=self.base is not None)
        return Request(inputs, result, allow_base_mismatch, self.base, allow_pickle=self.allow_pickle, output=written)

    def changed(self, source: str, output: Output) -> Request:
        """To write the adapter at `source` in another size or form."""
        adapters = self.inputs(named([source]))
        return self.request(adapters, parse("a", adapters), output)


def _making(
    base: str | None,
    components: Sequence[str],
    dtype: str | None,
    alpha: float | None,
    allow_nonfinite: bool,
    allow_pickle: bool,
    **running: Any,
) -> Making:
    model = None if base is None else Model(base)
    return Making(model, components, dtype, alpha, allow_nonfinite, allow_pickle, run_with(**running))


making = options.group(
    "making",
    _making,
    click.option("--base", type=TEXT, metavar="BASE", help=NAMES),
    options.component,
    options.dtype_or_blocks,
    options.device,
    *RUNNING,
    options.alpha,
    options.nonfinite,
    options.allow_pickle,
)
"""What adapters are read with, and how the one that is made of them is written, as `making`."""


def named(sources: Sequence[str]) -> dict[str, str]:
    """Names for adapters that have none: a, b, c, ..., z, a26, a27, ...

    Raises:
        OptionError: one is a number, which has come here from an option, a list as one argument, or an adapter with a weight
            or a sign.
        NotFoundError: the last of several is not there, and may be the output.

    >>> named(["runs/x", "runs/y"])
    {'a': 'runs/x', 'b': 'runs/y'}
    """
    for source in sources:
        for listed, what in ((source.split(","), "with commas between them"), (source.split(), "as one argument")):
            if len(listed) > 1 and not Path(source).exists() and all(Path(each).exists() for each in listed):
                hint = (
                    f"put spaces between them{', and no quotes around all' * (',' not in source)}: {' '.join(listed)}"
                )
                raise OptionError(f"{source} is {count(len(listed), 'adapter')} {what}", hint=hint)
        if NUMBER.fullmatch(source) and not Path(source).exists():
            hint = "weights are -w 0.7 -w 0.3, or -w 0.7,0.3"
            raise OptionError(f"{source} stands where an adapter is expected, and is a number", hint=hint)
        _check_no_formula(source, sources)
    *before, last = sources or [""]
    there = len(before) > 1 and all(os.path.lexists(each) for each in before)
    if there and not os.path.lexists(last) and re.fullmatch(r"[\w.-]+", last):
        raise NotFoundError("does not exist", path=last, hint=f"{similar(Path(last))}; if it is the output: -o {last}")
    return {chr(ord("a") + index) if index < 26 else f"a{index}": source for index, source in enumerate(sources)}


def _check_no_formula(source: str, sources: Sequence[str]) -> None:
    """Raise OptionError for a sign between adapters, and for an adapter with its weight."""
    if source in SIGNS and not os.path.lexists(source):
        hint = 'name the adapters alone; adapterops calc "a + b" a=PATH b=PATH takes a formula'
        raise OptionError(f"{source} stands where an adapter is expected", hint=hint)
    found = WEIGHTED.fullmatch(source)
    if found is None or os.path.lexists(source):
        return
    path, weight = found["before"] or found["after"], found["weight"] or found["times"]
    if os.path.lexists(path):
        others = " -w ..." if len(sources) > 1 else ""
        raise OptionError(
            f"{source} is an adapter with a weight", hint=f"weights are options: {path} -w {weight}{others}"
        )


def divided(
    inputs: Mapping[str, Input], files: Sequence[str], *, asked: bool, calibrated: bool
) -> tuple[dict[str, Input], Model | None]:
    """Files of Gram matrices, given to the inputs and to calibrated rounding, which has the last.

    `asked`: whether the method of the merge is computed from those of the inputs.

    Raises:
        OptionError: there are more or fewer files than inputs.
    """
    own = files[: len(files) - calibrated] if asked or calibrated else ()
    rest = files[len(own) :]  # what nothing asks for is refused as a file of rounding
    return with_grams(inputs, own), Model(rest[-1]) if rest else None


def with_grams(inputs: Mapping[str, Input], files: Sequence[str]) -> dict[str, Input]:
    """The inputs, each with a file of Gram matrices, where there are any.

    Raises:
        OptionError: there are more or fewer files than inputs.
    """
    if not files:
        return dict(inputs)
    if len(files) != len(inputs):
        raise OptionError(
            f"{count(len(files), 'file')} of Gram matrices for {count(len(inputs), 'adapter')}",
            hint="give one --grams for each adapter, in their order",
        )
    return {name: replace(each, grams=Model(file)) for (name, each), file in zip(inputs.items(), files, strict=True)}


def inputs(
    sources: Mapping[str, str],
    alpha: float | None = None,
    allow_nonfinite: bool = False,
    components: Sequence[str] = (),
    tuned: bool = False,
) -> dict[str, Input]:
    """Adapters to read, or tuned models, by the names that an expression has for them."""
    each = zip(sources.items(), of_each(components, len(sources)), strict=True)
    return {name: Input(path, {}, alpha, allow_nonfinite, component, tuned) for (name, path), component in each}


def of_each(components: Sequence[str], adapters: int) -> Sequence[str | None]:
    """The component that every adapter is for: that which was typed for all, or for it.

    Raises:
        OptionError: there are several, and more or fewer than adapters.
    """
    if len(components) < 2:
        return [*components, None][:1] * adapters
    if len(components) != adapters:
        raise OptionError(
            f"--component is given {count(len(components), 'time')} for {count(adapters, 'adapter')}",
            hint="give it once for all adapters, or once for each, in their order",
        )
    return components
