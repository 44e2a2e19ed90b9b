"""`adapterops formats`"""

from __future__ import annotations

import inspect

import click

from adapterops.cli import options, output
from adapterops.cli.sections import Sectioned
from adapterops.formats.registry import FORMATS, Format, dtypes_of, written
from adapterops.quant.registry import SCHEMES


@click.command("formats", cls=Sectioned)
@options.as_json
def command(as_json: bool) -> None:
    """The formats of adapters and of quantized weights: which are read, and which are written.

    \b
    adapterops formats
    adapterops formats --json
    """
    writable = written()
    formats = {
        name: {"summary": _summary(each), "written": name in writable, "dtypes": list(dtypes_of(name))}
        for name, each in FORMATS.items()
    }
    schemes = {name: {"made": each.make is not None, "kept": each.keeps} for name, each in SCHEMES.items()}
    if as_json:
        output.print_json("formats", {"formats": formats, "schemes": schemes})
        return
    output.line("adapters:")
    for name, found in formats.items():
        output.line(f"  {name}: read{' and written' if found['written'] else ''}")
        output.line(f"    {found['summary']}")
    output.line("quantized weights:")
    for names, what in (
        (
            [name for name, each in schemes.items() if each["made"]],
            ", written where the base is in them, and made of 16 and 32 bits",
        ),
        (
            [name for name, each in schemes.items() if each["kept"] and not each["made"]],
            ", and written where the base is in them",
        ),
        ([name for name, each in schemes.items() if not (each["kept"] or each["made"])], ""),
    ):
        if names:
            output.line(f"  {', '.join(names)}: read{what}")


def _summary(format: Format) -> str:
    """The first sentence about a format, or what it says of itself where several are of one class."""
    return getattr(format, "summary", None) or (inspect.getdoc(type(format)) or "").partition("\n")[0]
