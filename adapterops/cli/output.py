"""What commands print: results to stdout, progress to stderr."""

from __future__ import annotations

import json
import math
import shlex
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import dropwhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterops.cli.terminal import moving, painted, quiet, width_of
from adapterops.engine.execution import Progress
from adapterops.errors import AdapterWarning, printable
from adapterops.provenance.manifest import SCHEMA, plain

if TYPE_CHECKING:
    from adapterops.reports.findings import Finding
    from adapterops.reports.summary import Summary

AROUND = 24
"""Characters of a progress bar's line around it, besides its label."""

QUIET_SECONDS = 0.5
"""Work that is done sooner shows no progress bar."""


@contextmanager
def written(out: Path) -> Iterator[None]:
    """Whatever ends the printing of a result, the result is there."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"{out} is written")
        raise


@contextmanager
def ahead() -> Iterator[None]:
    """What is printed before something is written, which is done even if nobody reads: what is printed after that meets
    the same stream.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise


def percent(fraction: float) -> str:
    """
    >>> percent(1.0), percent(0.99999999), percent(0.8259), percent(0.0), percent(math.nan)
    ('100%', '99.9999%', '82.59%', '0.00%', 'not a number')
    """
    if math.isnan(fraction):
        return "not a number"
    if fraction >= 1:
        return f"{fraction:.0%}"
    return min(f"{100 * fraction:.2f}%", "99.9999%") if fraction < 0.99995 else f"{min(100 * fraction, 99.9999):.4f}%"


def span(values: Sequence[int]) -> str:
    """
    >>> span([8]), span([4, 6, 8])
    ('8', '4-8')
    """
    return str(values[0]) if values[0] == values[-1] else f"{values[0]}-{values[-1]}"


def amount(number: float, unit: str = "") -> str:
    """
    >>> amount(2_500_000), amount(512, "B"), amount(8_000, "B")
    ('2.5 M', '512 B', '8.0 kB')
    """
    for factor, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= factor:
            return f"{number / factor:.1f} {letter}{unit}"
    return f"{number:.0f} {unit}".strip()


def line(text: str = "") -> None:
    """A line of a result. Names in it come from files: what a terminal would obey is shown as \ufffd."""
    print(printable(text))


def text(lines: str) -> None:
    """A document, line by line."""
    for each in lines.splitlines():
        line(each)


def print_json(kind: str, result: Mapping[str, Any]) -> None:
    """One document; `kind` says which fields it has."""
    print(json.dumps(plain({"schema": SCHEMA, "kind": kind, "ok": True, **result}), indent=2))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns of text; the first is aligned left, the others right. A title that is wider than all that is under it is
    broken between words. Columns that a terminal has no room for follow below, next to the first one again.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    columns = [_column(printable(title), [row[index] for row in cells]) for index, title in enumerate(header)]
    height = max(map(len, columns))
    first, *others = ([""] * (height - len(column)) + column for column in columns)
    for number, block in enumerate(_blocks(first, others, width_of(sys.stdout))):
        if number:
            line("")
        lines = ("  ".join(row).rstrip() for row in zip(*block, strict=True))
        for text in dropwhile(lambda text: not text, lines):
            line(text)


def _column(title: str, cells: Sequence[str]) -> list[str]:
    """A title, in two lines where it is wider than what is under it, and that.

    >>> _column("rank for 99%", ["8", "16"]), _column("norm", ["0.25"])
    (['rank', 'for 99%', '8', '16'], ['norm', '0.25'])
    """
    least = max(map(len, [*cells, *title.split()]))
    broken = (textwrap.wrap(title, width, break_on_hyphens=False) for width in range(least, len(title) + 2))
    return [*next((lines for lines in broken if len(lines) <= 2), [title]), *cells]


def _blocks(first: Sequence[str], others: Sequence[Sequence[str]], room: int | None) -> Iterator[list[list[str]]]:
    """The columns, aligned, in as many blocks as it takes; each begins with the first one."""
    key, used = _aligned(first, str.ljust), 0
    block: list[list[str]] = []
    for column in (_aligned(each, str.rjust) for each in others):
        width = len(column[0]) + 2
        if block and room is not None and len(key[0]) + used + width > room:
            yield [key, *block]
            block, used = [], 0
        block.append(column)
        used += width
    yield [key, *block]


def _aligned(column: Sequence[str], align: Callable[[str, int], str]) -> list[str]:
    width = max(map(len, column))
    return [align(cell, width) for cell in column]


def remark(level: str, text: str) -> None:
    """A sentence of a result, after its level: a note or a warning."""
    print(f"{painted(f'{level}:', level, sys.stdout)} {printable(text)}")


def print_warnings(warned: Iterable[str]) -> None:
    for text in warned:
        remark("warning", text)


def check_strict(warned: Sequence[str]) -> None:
    """Raise AdapterWarning for the first of what is warned of, where --strict makes an error of it: in text after it is
    printed, and in JSON in the place of the document.
    """
    if warned and "--strict" in (click.get_current_context().obj or ()):
        raise AdapterWarning(warned[0])


def warned_of(findings: Iterable[Finding]) -> list[str]:
    """The sentences of a diagnosis that are warnings."""
    return [finding.text for finding in findings if finding.level == "warning"]


def print_findings(findings: Sequence[Finding]) -> None:
    """What a diagnosis says, a sentence or two each."""
    for finding in findings:
        remark(finding.level, finding.text)


def print_command(short: Summary) -> None:
    """The command that may come next, where there is one."""
    if short.command:
        line(f"{short.why} {shlex.join(short.command)}")


@contextmanager
def progress(label: str) -> Iterator[Progress | None]:
    """A bar on stderr, for work that takes a while and a person who watches."""
    if quiet() or not moving(sys.stderr):
        yield None
        return
    begin, bar = time.monotonic(), None

    def report(done: int, total: int) -> None:
        nonlocal bar
        if bar is not None and (done == 1 or total != bar.length):  # another part of the work
            bar.render_finish()
            bar = None
        if bar is None and done < total and time.monotonic() - begin > QUIET_SECONDS:
            width = max(1, min(36, (width_of(sys.stderr) or 80) - len(label) - AROUND))
            bar = click.progressbar(length=total, label=label, file=sys.stderr, width=width)
            bar.update(done - 1)
        if bar is not None:
            bar.update(1)

    try:
        yield report
    finally:
        if bar is not None:
            bar.render_finish()
