"""`adapterops merge`"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from adapterops.adapter import open_adapter
from adapterops.cli import options, output
from adapterops.errors import OptionError
from adapterops.methods import METHODS, PARAMETERS
from adapterops.methods.registry import SPACES
from adapterops.operations import algebra

Command = Callable[..., Any]


def _method_options(command: Command) -> Command:
    """A flag for each method, an option for each parameter of any, from the registry."""
    for name, parameter in reversed(PARAMETERS.items()):
        takers = [method for method in METHODS.values() if name in method.defaults]
        kind: Any = click.Choice(parameter.choices) if parameter.choices else (int if parameter.whole else float)
        defaults = {method.defaults[name] for method in takers} - {None}
        shown = "  [default: " + ", ".join(f"{default}" for default in sorted(defaults, key=str)) + "]" if len(defaults) == 1 else ""
        if len(defaults) > 1:
            shown = "  [default: " + ", ".join(f"{method.name} {method.defaults[name]}" for method in takers) + "]"
        command = click.option(f"--{name}", type=kind, help=parameter.help + shown)(command)
    for method in reversed(METHODS.values()):
        command = click.option(f"--{method.name.replace('_', '-')}", method.name, is_flag=True, help=method.summary)(command)
    return command


@click.command("merge", short_help="One adapter of several.")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@_method_options
@click.option("-w", "--weight", "weights", multiple=True, type=float, help="One for each adapter, in their order.  [default: 1]")
@click.option(
    "--space", type=click.Choice(SPACES), default="delta", show_default=True, help="Act on ΔW = BA, or on A's and B's as PEFT does."
)
@options.cutting
@click.option("-o", "--output", "out", type=click.Path(path_type=Path), default=Path("merged"), show_default=True, help="Folder to write.")
@click.option("--allow-base-mismatch", is_flag=True, help="Merge adapters of different base models.")
@options.writing
def command(
    sources: tuple[Path, ...],
    weights: tuple[float, ...],
    space: str,
    rank: int | None,
    energy: float | None,
    budget: str | None,
    exact: bool,
    out: Path,
    allow_base_mismatch: bool,
    alpha: float | None,
    allow_nonfinite: bool,
    workers: int | None,
    **rest: Any,
) -> None:
    """One adapter of several: the weighted sum of their updates, or one of the methods since.

    Ranks, scales and targets may differ. A module that an adapter lacks counts as zero.

    \b
    adapterops merge a b c --linear -w 0.5 -w 0.3 -w -0.2 -o merged
    adapterops merge a.safetensors b.safetensors --ties
    adapterops merge a b --dare-ties --density 0.3 --seed 7 --rank 16
    """
    named = [method for method in METHODS if rest.pop(method)]
    if len(named) > 1:
        raise OptionError(f"{' and '.join('--' + name.replace('_', '-') for name in named)} exclude each other")
    parameters = {name: value for name in PARAMETERS if (value := rest.pop(name)) is not None}
    adapters = [open_adapter(source, alpha=alpha, allow_nonfinite=allow_nonfinite) for source in sources]
    merged = algebra.merge(
        adapters,
        named[0] if named else "linear",
        weights=weights or None,
        space=space,
        allow_base_mismatch=allow_base_mismatch,
        **parameters,
    )
    number, unit = options.budget(budget)
    if rank is not None or energy is not None or number is not None:
        with output.progress("measuring") as report:
            merged = algebra.truncate(merged, rank, energy=energy, budget=number, unit=unit, exact=exact, workers=workers, progress=report)
    output.write(merged, out, exact=exact, workers=workers, command=options.command_line(), **rest)
