"""`adapterops run`"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from adapterops.cli import options, output, values
from adapterops.cli.running import Running, on_device
from adapterops.cli.sections import Sectioned
from adapterops.cli.writing import write
from adapterops.errors import OptionError
from adapterops.recipes.running import destination, push, stored
from adapterops.recipes.schema import Recipe, read_recipe
from adapterops.requests.running import recipe_command


@click.command("run", cls=Sectioned)
@click.argument("recipe", type=values.LOCAL)
@options.output(help="Folder to write.  [default: output.path of the recipe]")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on where an interrupted run of the same recipe stopped; for outputs that are models.",
)
@on_device
def command(recipe: Path, out: Path | None, resume: bool, running: Running) -> None:
    """What a recipe asks for: a file in YAML or JSON. All of it is checked before any input is opened.

    \b
    adapterops: 1
    inputs: {a: runs/a, b: runs/b}
    result: 0.7*a - 0.3*b
    output: {path: merged, rank: 16}

    Other fields: base, the model to fuse the result into (with adapter: true in the output only its names are used),
    quantize, and every option that decides what is written: --max-shard-size is max_shard_size.

    The output holds the recipe with every default and the BLAKE3 of every input, which makes the same bytes again.

    \b
    adapterops run recipe.yaml --dry-run
    adapterops run merged/recipe.yaml -o again
    adapterops run recipe.yaml --part 1/8
    """
    read = read_recipe(recipe)
    follow(read, destination(read, out), replace(running, resume=resume))


def follow(recipe: Recipe, out: Path, running: Running) -> None:
    """Make what a recipe asks for, or print what would be made.

    Raises:
        OptionError: it sends its output somewhere, which a part is not.
    """
    if running.spread.part and recipe.push:
        raise OptionError(
            "--part makes a share of the output, and the recipe pushes all of it",
            hint="leave push out of the recipe, and push at the end: adapterops push OUT REPO",
        )
    write(
        recipe.request,
        out,
        running,
        folder=recipe.folder,
        command=recipe_command(out),
        stored=stored,
        then=partial(_pushed, recipe, out),
    )
    if running.dry_run and not running.as_json and recipe.request.result:
        output.line(f"  {recipe.request.result}")


def _pushed(recipe: Recipe, out: Path) -> Mapping[str, Any]:
    """Where the output was sent, if the recipe says so."""
    done = push(recipe, out)
    return {"pushed": done.pull_request or done.url or done.repo} if done else {}
