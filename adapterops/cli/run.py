"""`adapterops run`"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from adapterops.adapter import Adapter
from adapterops.cli import options, output
from adapterops.recipes.running import destination, make, push
from adapterops.recipes.schema import Recipe, read_recipe


@click.command("run", short_help="What a recipe says.")
@click.argument("recipe", type=click.Path(path_type=Path, readable=False))
@options.output(help="Folder to write.  [default: output.path of the recipe]")
@click.option("--resume", is_flag=True, help="Go on where an interrupted run of the same recipe stopped, for models.")
@options.running
def command(recipe: Path, out: Path | None, **how: Any) -> None:
    """What a recipe says: a file in YAML or JSON. All of it is checked before any input is opened.

    \b
    adapterops: 1
    inputs: {a: runs/a, b: runs/b}
    result: 0.7*a - 0.3*b
    output: {path: merged, rank: 16}

    Also base, to fuse the result into, and quantize. What messages call --alpha, --allow-nonfinite, --allow-base-mismatch, --dtype or
    --quantize are fields here, of the same names; what else they name is an option of `fuse` alone.

    The output holds the recipe with every default and the BLAKE3 of every input, which makes the same bytes again.

    \b
    adapterops run recipe.yaml --dry-run
    adapterops run merged/recipe.yaml -o again
    """
    read = read_recipe(recipe)
    follow(read, destination(read, out), **how)


def follow(recipe: Recipe, out: Path, *, dry_run: bool, as_json: bool, workers: int | None, resume: bool = False, **how: Any) -> None:
    """Make what a recipe says, or say what would be made, and print it."""
    with output.progress("measuring") as report:
        made = make(recipe, verify=options.verified(), workers=workers, progress=report)
    shared = {"dry_run": dry_run, "as_json": as_json, "workers": workers, "then": partial(_pushed, recipe, out), **how, **made.options(out)}
    if isinstance(made.result, Adapter):
        output.write(made.result, out, **shared)
    else:
        output.write_model(made.result, out, dtype=None, max_shard_size=None, no_sync=False, resume=resume, **shared)
    if dry_run and not as_json:
        print(f"  {recipe.result}")


def _pushed(recipe: Recipe, out: Path) -> Mapping[str, Any]:
    """Where the output was sent, if the recipe says so."""
    done = push(recipe, out)
    return {"pushed": done.pull_request or done.url or done.repo} if done else {}
