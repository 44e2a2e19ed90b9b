"""Options that several commands have, and how their values are read."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from adapterops.errors import OptionError

Command = TypeVar("Command", bound=Callable[..., Any])

DTYPES = ("F64", "F32", "F16", "BF16")

as_json = click.option("--json", "as_json", is_flag=True, help="Print results and errors as JSON.")
strict = click.option("--strict", is_flag=True, expose_value=False, help="Take warnings for errors.")
alpha = click.option("--alpha", type=float, metavar="ALPHA", help="lora_alpha of files that do not say it.")
workers = click.option("--workers", type=click.IntRange(1), help="Modules worked on at a time.  [default: processors, at most 8]")
nonfinite = click.option("--allow-nonfinite", is_flag=True, help="Take NaN and infinite weights as they are.")


def source_argument(**attributes: Any) -> Callable[[Command], Command]:
    return click.argument("source", type=click.Path(path_type=Path), **attributes)


def cutting(command: Command) -> Command:
    """--rank, --energy, --budget and --exact."""
    for option in (
        click.option("--exact", is_flag=True, help="Full SVD of dense updates; the default is randomized, its error measured."),
        click.option("--budget", metavar="N", help="Parameters over all modules, spent where they keep most: 2M, or bytes: 8MB."),
        click.option("--energy", type=float, metavar="E", help="Per module the smallest rank that keeps this fraction of ‖ΔW‖²."),
        click.option("--rank", type=click.IntRange(1), metavar="R", help="Rank of every module."),
    ):
        command = option(command)
    return command


def writing(command: Command) -> Command:
    """Options of every command that writes an adapter."""
    for option in (
        as_json,
        strict,
        workers,
        nonfinite,
        alpha,
        click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing."),
        click.option("--force", is_flag=True, help="Replace an output of adapterops, after the new one is complete."),
        click.option("--dtype", type=click.Choice(DTYPES, case_sensitive=False), help="Dtype of the output.  [default: widest input]"),
    ):
        command = option(command)
    return command


def budget(text: str | None) -> tuple[int | None, str]:
    """A number and its unit, `parameters` or `bytes`.

    >>> budget("2M"), budget("1.5GB"), budget("300")
    ((2000000, 'parameters'), (1500000000, 'bytes'), (300, 'parameters'))
    """
    if text is None:
        return None, "parameters"
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG]?)(B?)", text.strip())
    if match is None:
        raise OptionError(f"--budget is {text!r}, expected a number such as 500k, 2M (parameters) or 8MB (bytes)")
    factor = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[match[2]]
    return round(float(match[1]) * factor), "bytes" if match[3] else "parameters"


HIDDEN = {"-o": 1, "--output": 1, "--workers": 1, "--force": 0, "--json": 0, "--dry-run": 0}
"""Options that do not change what is made, with the number of their values."""


def command_line() -> list[str]:
    """The command as the manifest notes it: without what does not change the result, and of absolute paths the name only."""
    shown, arguments = ["adapterops"], iter(sys.argv[1:])
    for argument in arguments:
        option = argument.partition("=")[0]
        if option in HIDDEN:
            for _ in range(0 if "=" in argument else HIDDEN[option]):
                next(arguments, None)
        elif not (argument.startswith("-o") and not argument.startswith("--")):
            shown.append(Path(argument).name if argument.startswith("/") else argument)
    return shown
