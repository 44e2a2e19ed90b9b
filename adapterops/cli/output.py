"""What commands print: results to stdout, progress to stderr."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterops.cli.terminal import painted, quiet
from adapterops.engine.execution import Progress
from adapterops.errors import printable
from adapterops.provenance.manifest import SCHEMA, plain

if TYPE_CHECKING:
    from adapterops.reports.findings import Finding
    from adapterops.reports.summary import Summary

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


def percent(fraction: float) -> str:
    """
    >>> percent(1.0), percent(0.99999999), percent(0.8259), percent(0.0)
    ('100%', '99.9999%', '82.59%', '0.00%')
    """
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


def line(text: str = "", end: str = "\n") -> None:
    """A line of a result. Names in it come from files: what a terminal would obey is shown as \ufffd."""
    print(printable(text), end=end)


def text(lines: str) -> None:
    """A document, line by line."""
    for each in lines.splitlines():
        line(each)


def print_json(kind: str, result: Mapping[str, Any]) -> None:
    """One document; `kind` says which fields it has."""
    print(json.dumps(plain({"schema": SCHEMA, "kind": kind, "ok": True, **result}), indent=2))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns of text, alike on a terminal and in a file; the first is aligned left, the others right."""
    lines = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *others in lines:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        line("  ".join(cells).rstrip())


def remark(level: str, text: str) -> None:
    """A sentence of a result, after its level: a note or a warning."""
    print(f"{painted(f'{level}:', level, sys.stdout)} {printable(text)}")


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
    if quiet() or not sys.stderr.isatty():
        yield None
        return
    begin, bar = time.monotonic(), None

    def report(done: int, total: int) -> None:
        nonlocal bar
        if bar is not None and (done == 1 or total != bar.length):  # another part of the work
            bar.render_finish()
            bar = None
        if bar is None and done < total and time.monotonic() - begin > QUIET_SECONDS:
            bar = click.progressbar(length=total, label=label, file=sys.stderr)
            bar.update(done - 1)
        if bar is not None:
            bar.update(1)

    try:
        yield report
    finally:
        if bar is not None:
            bar.render_finish()
