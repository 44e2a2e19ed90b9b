"""`adapterops finalize`"""

from __future__ import annotations

from pathlib import Path

import click

from adapterops.cli import options, values
from adapterops.cli.output import line, print_json, progress, written
from adapterops.cli.results import print_held, print_result
from adapterops.cli.sections import Sectioned
from adapterops.cli.terminal import quiet
from adapterops.cli.typed import noted
from adapterops.cli.verify import tell
from adapterops.cli.writing import as_result
from adapterops.engine.execution import Execution
from adapterops.operations.verifying import Verification
from adapterops.provenance.reader import read_manifest
from adapterops.recipes.running import stored
from adapterops.requests.divided import Asked, Outcome
from adapterops.requests.parts import finalize
from adapterops.requests.running import Made
from adapterops.requests.verifying import absolute, recorded


@click.command("finalize", cls=Sectioned)
@click.argument("out", type=values.LOCAL)
@click.option("--force", is_flag=True, help="Replace an output of adapterops, after the new one is complete.")
@click.option("--accept-loss", is_flag=True, help="Write the model even if codes keep less than 90 % of an update.")
@options.workers
@options.no_sync
@options.quieted
@options.detailed
@options.as_json
def command(out: Path, force: bool, accept_loss: bool, workers: int | None, no_sync: bool, as_json: bool) -> None:
    """A model or an adapter, from the parts that commands made with --part. Every file is compared with what was noted of it;
    index, config and manifest are written; one rename is the commit. Of the parts of `verify`: what all of them found.

    The bytes are those that one process writes. Done a second time it changes nothing.

    \b
    adapterops fuse base my-adapter -o fused --part 1/2
    adapterops fuse base my-adapter -o fused --part 2/2
    adapterops finalize fused
    """
    with progress("checking") as report:
        how = Execution(workers, sync=not no_sync, progress=report)
        done = finalize(out, force=force, accept_loss=accept_loss, files=stored, how=how)
    with written(out):
        if done is None and as_json:
            print_json("finalized", {"path": str(out)})
        elif done is None:
            line(f"{out} is complete already: there is nothing to do")
        else:
            _print(out, *done, as_json, Execution(workers))


def _print(out: Path, asked: Asked, outcome: Outcome, as_json: bool, how: Execution) -> None:
    if isinstance(outcome, Verification):
        tell(out, absolute(asked.request, out), outcome, recorded(out), as_json)
    elif isinstance(asked, Made) and as_json:
        print_json(*as_result(asked, outcome, {}))
    elif isinstance(asked, Made):
        with noted((read_manifest(out) or {}).get("command", ())):
            if not quiet():
                print_held(asked, how=how)
            print_result(asked, outcome, {})
