"""`adapterops report`"""

from __future__ import annotations

from pathlib import Path

import click

from adapterops.cli import options, output, values
from adapterops.cli.looking import Looking, reading
from adapterops.cli.sections import Sectioned
from adapterops.cli.terminal import quiet
from adapterops.cli.typed import command_line
from adapterops.errors import count
from adapterops.operations.collections import adapters_in
from adapterops.storage.place import Place


@click.command("report", cls=Sectioned)
@click.argument("sources", nargs=-1, required=True, type=values.SOURCE)
@click.option(
    "--base", type=values.SOURCE, help="The model that the adapters are for: norms are then relative to its weights."
)
@options.output("report.html", help="Page to write; its numbers go into a JSON file of the same name.")
@click.option(
    "--figures", type=click.Path(path_type=Path, readable=False), help="Folder to write the figures into, as SVG."
)
@click.option("--force", is_flag=True, help="Replace a report of adapterops, after the new one is complete.")
@click.option("--dry-run", is_flag=True, help="Print what would be written, and write nothing.")
@reading
def command(
    sources: tuple[Place, ...],
    base: Place | None,
    out: Path,
    figures: Path | None,
    force: bool,
    dry_run: bool,
    looking: Looking,
) -> None:
    """A page about one adapter or several: a diagnosis, spectra, norms, overlaps, memory. One HTML file that needs
    nothing else.

    \b
    adapterops report my-adapter
    adapterops report a b c --base model -o report.html
    adapterops report a b --figures figures
    """
    adapters = [looking.adapter(each) for source in sources for each in adapters_in(source)]
    model = looking.model(base) if base else None

    from adapterops.reports.writing import check_report, report

    json_path = check_report(adapters, out, model, figures, force)
    if dry_run:
        paths = [str(path) for path in (out, json_path, figures) if path]
        if looking.as_json:
            output.print_json("plan", {"dry_run": True, "paths": paths})
        else:
            output.line(f"would write {', '.join(paths)}, about {', '.join(map(str, sources))}")
        return
    with output.progress("measuring") as progress:
        how = looking.how(progress)
        done = report(adapters, out, base=model, figures=figures, force=force, command=command_line(), how=how)
    warned = output.warned_of(done.findings)
    with output.written(out):
        if looking.as_json:
            output.check_strict(warned)
            output.print_json(
                "report",
                {
                    "path": str(done.path),
                    "numbers": str(done.numbers),
                    "figures": None if done.figures is None else str(done.figures),
                    "drawn": list(done.drawn),
                    "bytes": done.bytes,
                    "summary": {"sentences": list(done.summary.sentences), "command": list(done.summary.command)},
                    "findings": [{"rule": each.rule, "level": each.level, "text": each.text} for each in done.findings],
                },
            )
            return
        if quiet():
            output.check_strict(warned)
            return
        output.line(f"wrote {done.path}: {output.amount(done.bytes, 'B')}; its numbers are in {done.numbers}")
        if done.figures:
            output.line(f"wrote {done.figures}: {count(len(done.drawn), 'figure')}")
        output.print_findings(done.findings)
        output.print_command(done.summary)
        output.check_strict(warned)
