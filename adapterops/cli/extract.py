"""`adapterops extract`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from adapterops.checkpoint import open_checkpoint
from adapterops.cli import options, output
from adapterops.operations.extraction import REST, extract
from adapterops.storage.place import Place


@click.command("extract", short_help="The difference of two models, as an adapter.")
@click.argument("tuned", type=options.SOURCE)
@click.argument("base", type=options.SOURCE)
@options.cutting
@click.option(
    "--rest", type=click.Choice(REST), default="keep", show_default=True, help="What to do with changed norms, biases and embeddings."
)
@click.option("--allow-pickle", is_flag=True, help="Read pytorch_model.bin, with torch's restricted loader.")
@options.output("extracted")
@options.writing
def command(
    tuned: Place,
    base: Place,
    rank: int | None,
    energy: float | None,
    budget: str | None,
    exact: bool,
    rest: str,
    allow_pickle: bool,
    out: Path,
    workers: int | None,
    **others: Any,
) -> None:
    """TUNED - BASE as a LoRA adapter, and how much of the difference it holds.

    \b
    adapterops extract tuned base --rank 32 -o my-adapter
    adapterops extract tuned base --energy 0.95 --rest drop -o my-adapter
    """
    number, unit = options.budget(budget)
    after, before = (open_checkpoint(path, allow_pickle=allow_pickle) for path in (tuned, base))
    output.check(out, others["force"], after.history, before.history)
    with output.progress("comparing") as report:
        adapter = extract(
            after, before, rank, energy=energy, budget=number, unit=unit, rest=rest, exact=exact, workers=workers, progress=report
        )
    output.write(adapter, out, exact=exact, workers=workers, command=options.command_line(), **others)
