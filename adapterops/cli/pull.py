"""`adapterops pull`"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

from adapterops.cli import options, output, values
from adapterops.cli.sections import Sectioned
from adapterops.cli.terminal import quiet, verbose
from adapterops.cli.typed import command_line
from adapterops.engine.execution import Execution
from adapterops.errors import count
from adapterops.hub.references import Reference


@click.command("pull", cls=Sectioned)
@click.argument("reference", type=values.REPO)
@options.output(help="Folder to write.  [default: its name]")
@click.option("--force", is_flag=True, help="Replace an output of adapterops, after the new one is complete.")
@click.option("--dry-run", is_flag=True, help="Print what would be written, and write nothing.")
@options.workers
@options.memory
@options.quieted
@options.detailed
@options.as_json
@options.strict
def command(
    reference: Reference,
    out: Path | None,
    force: bool,
    dry_run: bool,
    workers: int | None,
    memory: int | None,
    as_json: bool,
) -> None:
    """An adapter or a model on the Hub, or a folder inside a repository, as a folder here. A delta, which `fuse` pushed
    with --as-delta, becomes the model that it stands for.

    \b
    adapterops pull owner/adapter -o my-adapter
    adapterops pull owner/adapter@v2:subfolder
    """
    from adapterops.requests.deltas import pull

    with output.progress("working") as report:
        how = Execution(workers, memory=memory, progress=report)
        done = pull(reference, out, force=force, dry_run=dry_run, command=command_line(), how=how)
    verb = "would write" if dry_run else "wrote"
    with nullcontext() if dry_run else output.written(done.path):
        if as_json:
            output.print_json("pull", {"dry_run": dry_run, **done.__dict__, "path": str(done.path)})
        elif dry_run or not quiet():
            size = f"{count(len(done.files), 'file')}, {output.amount(done.bytes, 'B')}"
            output.line(f"{verb} {done.path}: {size}, of {done.reference} at {done.revision}")
            for name in done.files if verbose() else ():
                output.line(f"  {name}")
