"""What a person is shown: colour where there is a terminal, and as much as was asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Any, TextIO

import click

QUIET, VERBOSE = "quiet", "verbose"
LOUDNESS = f"{__name__}.loudness"
"""Under this key a context knows which of the two was asked for."""

STYLES: Mapping[str, Mapping[str, Any]] = {
    "error": {"fg": "red", "bold": True},
    "warning": {"fg": "yellow", "bold": True},
    "note": {"fg": "cyan"},
    "good": {"fg": "green"},
}


def coloured(stream: TextIO) -> bool:
    """Whether to write colours: on a terminal that has them. NO_COLOR says never, and FORCE_COLOR always."""
    if os.environ.get("NO_COLOR"):
        return False
    if forced := os.environ.get("FORCE_COLOR"):
        return forced != "0"
    return moving(stream)


def moving(stream: TextIO) -> bool:
    """Whether it is a terminal that can write over what it shows."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def width_of(stream: TextIO) -> int | None:
    """How many characters a line of a terminal has; None for what is no terminal, which takes lines of any length."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def painted(text: str, style: str, stream: TextIO) -> str:
    """The text in the colour of a style, if the stream shows any."""
    return click.style(text, **STYLES[style]) if coloured(stream) else text


def set_loudness(context: click.Context, option: click.Parameter, given: bool) -> None:
    """Note that an option of this name was given.

    Raises:
        UsageError: the other one was given, too.
    """
    if given and context.meta.setdefault(LOUDNESS, option.name) != option.name:
        raise click.UsageError("--quiet and --verbose exclude each other", context)


def quiet() -> bool:
    """Whether only errors and warnings are to be printed, and results that are asked for."""
    return _asked(QUIET)


def verbose() -> bool:
    """Whether every module or file is to be listed."""
    return _asked(VERBOSE)


def _asked(loudness: str) -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and context.meta.get(LOUDNESS) == loudness
