"""Mistakes in a command line: what was meant, and where to read about it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

import click

from adapterops.errors import OptionError

WEIGHT = ("-w", "--weight")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)

MEANT = {
    "--4bit": ("--quantize", "--to"),
    "--adapters": ("--adapter",),
    "--bf16": ("--dtype",),
    "--cuda": ("--device",),
    "--fp16": ("--dtype",),
    "--gpu": ("--device",),
    "--jobs": ("--workers",),
    "--lambda": ("--scale",),
    "--load-in-4bit": ("--quantize", "--to"),
    "--lora-alpha": ("--alpha",),
    "--model": ("--base",),
    "--nf4": ("--quantize", "--to"),
    "--out": ("--output",),
    "--outdir": ("--output",),
    "--out-dir": ("--output",),
    "--output-dir": ("--output",),
    "--overwrite": ("--force",),
    "--preview": ("--dry-run",),
    "--r": ("--rank",),
    "--size": ("--budget",),
    "--tau": ("--energy",),
    "--threads": ("--workers",),
    "--trim": ("--density",),
    "-f": ("--force",),
    "-j": ("--workers",),
    "-n": ("--dry-run",),
    "-r": ("--rank",),
}
"""What other tools, and people, call our options."""


def listed(arguments: Sequence[str]) -> Iterator[str]:
    """The arguments with every number of a list an option of its own: -w 0.7 -0.3 is -w 0.7 -w -0.3.

    >>> list(listed(["a", "b", "--weight", "0.7", "-0.3", "--ties"]))
    ['a', 'b', '--weight', '0.7', '-w', '-0.3', '--ties']
    """
    value, number = False, False
    for argument in arguments:
        another = number and NUMBER.fullmatch(argument) is not None and not Path(argument).exists()
        if another:
            yield WEIGHT[0]
        yield argument
        number = value or another or argument.startswith("--weight=")
        value = argument in WEIGHT


PLAINLY = {
    r"^Got unexpected extra arguments? \((.*)\)$": r"too many arguments: \1",
    r"^Option '(.*)' requires an argument$": r"\1 needs a value",
    r"is not a valid integer( range)?$": "is not a whole number",
    r"is not a valid float( range)?$": "is not a number",
}
"""What click says, in other words."""


def explained(error: click.UsageError, command: str) -> OptionError:
    """A mistake in the arguments of a command as an error of ours: the fact, and the next step."""
    page = f"see {command} --help"
    if isinstance(error, click.NoSuchOption):
        meant = _meant(error.option_name, error.ctx)
        return OptionError(
            f"there is no option {error.option_name}", hint=f"did you mean {meant}? {page}" if meant else page
        )
    if isinstance(error, click.MissingParameter) and error.ctx and error.param:
        name = error.param.make_metavar(error.ctx) if error.param.param_type_name == "argument" else error.param.opts[0]
        return OptionError(f"{name.strip('[].')} is missing", hint=f"{_one_of(error.param)}{_usage(error.ctx)}; {page}")
    if isinstance(error, click.BadParameter) and error.ctx and error.param:
        opts = error.param.opts
        name = " / ".join(opts) if error.param.param_type_name == "option" else error.param.make_metavar(error.ctx)
        return OptionError(f"{name}: {_plain(error.message)}", hint=f"{_chosen(error)}{page}")
    return OptionError(_plain(error.format_message()), hint=page)


def _plain(message: str) -> str:
    message = message.rstrip(".")
    for odd, plain in PLAINLY.items():
        message = re.sub(odd, plain, message)
    return message


def _one_of(parameter: click.Parameter) -> str:
    """What may be given, where there is a list of it."""
    names = getattr(parameter.type, "names", None)
    return f"one of {', '.join(names())}; " if names else ""


def _chosen(error: click.BadParameter) -> str:
    """What was probably meant of several that may be chosen."""
    choices = getattr(error.param.type, "choices", ()) if error.param else ()
    given = re.match(r"'(.*?)'", error.message)
    close = get_close_matches(given[1].lower(), map(str, choices), n=1) if given else []
    return f"did you mean {close[0]}? " if close else ""


def _usage(context: click.Context) -> str:
    return " ".join(["usage:", context.command_path, *context.command.collect_usage_pieces(context)])


def _meant(name: str, context: click.Context | None) -> str | None:
    """The option of a command that is called so elsewhere, or is spelled nearly so."""
    there = [each for parameter in context.command.params for each in parameter.opts] if context else []
    for each in MEANT.get(name, ()):
        if each in there:
            return each
    return next(iter(get_close_matches(name, there, n=1)), None)
