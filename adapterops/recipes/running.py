"""A recipe, followed:
its request is done, the recipe itself stored with the output, and the output sent where it goes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from adapterops.engine.execution import DEFAULT, Execution
from adapterops.errors import OptionError
from adapterops.recipes.schema import Recipe, as_yaml, read_recipe
from adapterops.requests import sending
from adapterops.requests.places import hashed
from adapterops.requests.running import Made, make, recipe_command, save
from adapterops.storage.lazy import Lazy
from adapterops.storage.outputs import RECIPE

if TYPE_CHECKING:
    from adapterops.hub.pushing import Pushed
    from adapterops.requests.running import Written


def run_recipe(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    force: bool = False,
    how: Execution = DEFAULT,
) -> Written:
    """Follow the recipe in a file, write what it makes, and push that where the recipe says so.

    Args:
        out: the folder to write; by default the one that the recipe names.
        force: replace an output of adapterops that is there.

    Raises:
        OptionError: the recipe is wrong; see `read_recipe`.
        NotFoundError: the Hub has not what the recipe means, or refuses what it is to take.
        InputError: an input is not the one whose hash the recipe states.
    """
    recipe = read_recipe(path)
    place = destination(recipe, out)
    made = make(recipe.request, place, folder=recipe.folder, force=force, how=how)
    saved = save(made, place, force=force, command=recipe_command(place), files=stored(made, place), how=how)
    push(recipe, place)
    return saved


def destination(recipe: Recipe, out: str | os.PathLike[str] | None = None) -> Path:
    """Where the output goes: to `out`, or else to where the recipe says, relative to its folder."""
    if out is not None:
        return Path(out)
    if recipe.output is None:
        raise OptionError(
            "the recipe does not say where its output goes",
            hint="name a folder with -o, or in the recipe with output: {path: out}",
        )
    return recipe.folder / recipe.output


def stored(made: Made, out: Path) -> Mapping[str, bytes]:
    """The recipe in `out`: paths as they are from there, and the hash of every file.
    It sends nothing, and names no output.
    """
    return Lazy([RECIPE], lambda _: as_yaml(hashed(made.seen_from(out), made.opened)).encode())


def push(recipe: Recipe, out: Path) -> Pushed | None:
    """Send the output to where the recipe says, if it says so."""
    return sending.push(out, recipe.push.repo, private=recipe.push.private) if recipe.push else None
