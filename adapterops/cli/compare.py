"""`adapterops compare`"""

from __future__ import annotations

import click

from adapterops.cli import output, values
from adapterops.cli.looking import Looking, looking
from adapterops.cli.making import NAMES
from adapterops.cli.sections import Sectioned
from adapterops.cli.terminal import verbose
from adapterops.errors import OptionError
from adapterops.operations.comparing import comparison as comparing
from adapterops.operations.uniting import named_as
from adapterops.storage.place import Place


@click.command("compare", cls=Sectioned, short_help="How adapters relate, and what to do about it.")
@click.argument("sources", nargs=-1, required=True, type=values.SOURCE)
@click.option("--base", type=values.SOURCE, help=NAMES)
@looking
def command(sources: tuple[Place, ...], base: Place | None, looking: Looking) -> None:
    """How adapters relate: cosine, sign conflict, overlap of their subspaces, shared initialisation; and what it means.

    Overlaps are ‖Q1ᵀQ2‖² / min(r1, r2) of the columns and rows of ΔW. The sign conflict is that of sampled rows, ± its
    standard error.

    \b
    adapterops compare a b c
    adapterops compare a b --json
    """
    if len(sources) < 2:
        raise OptionError(
            "there is one adapter, and nothing to compare it with",
            hint="name another, or use adapterops report for one",
        )
    adapters = [looking.adapter(source) for source in sources]
    if base is not None:
        model = looking.model(base)
        adapters = [named_as(adapter, model) for adapter in adapters]
    with output.progress("measuring") as progress:
        found = comparing.compare(adapters, how=looking.how(progress))

    from adapterops.reports.diagnosis import diagnose
    from adapterops.reports.numbers import numbers
    from adapterops.reports.rows import joint_line, module_rows, pair_rows, summary_rows
    from adapterops.reports.summary import summary

    findings = diagnose(found)
    short = summary(found, findings)
    if looking.as_json:
        output.print_json("comparison", numbers(found, short, findings))
        return
    output.print_table(*summary_rows(found))
    output.line()
    output.print_table(*pair_rows(found))
    output.line()
    for index in range(len(adapters)) if verbose() else ():
        output.line(found.profiles[index].name)
        output.print_table(*module_rows(found, index))
        output.line()
    output.line(joint_line(found))
    output.print_findings(findings)
    output.print_command(short)
