"""A recipe, followed: its inputs opened and checked, its result made, and the recipe itself stored beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterops import engine, hub
from adapterops.adapter import Adapter, open_adapter
from adapterops.adapter_saving import Saved, save_adapter
from adapterops.checkpoint import Checkpoint, cast, open_checkpoint
from adapterops.errors import InputError, OptionError
from adapterops.history import Source, Step
from adapterops.hub.references import SCHEME, referred
from adapterops.hub.snapshot import locate
from adapterops.operations.algebra import budget, truncate
from adapterops.operations.calculator import compute
from adapterops.operations.fusion import fuse, without_copies
from adapterops.operations.quantization import dequantize, quantize
from adapterops.recipes.schema import Ingredient, Recipe, read_recipe
from adapterops.saving import SavedCheckpoint, save_checkpoint
from adapterops.storage.checksums import BLAKE3
from adapterops.storage.lazy import Lazy
from adapterops.storage.place import Place
from adapterops.storage.staging import RECIPE

if TYPE_CHECKING:
    from adapterops.hub.pushing import Pushed

COMMAND = ("adapterops", "run", RECIPE)
"""What makes an output again, as its manifest notes it."""


def run_recipe(
    path: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, *, force: bool = False, workers: int | None = None
) -> Saved | SavedCheckpoint:
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
    made = make(recipe, workers=workers)
    save: Any = save_adapter if isinstance(made.result, Adapter) else save_checkpoint
    saved: Saved | SavedCheckpoint = save(made.result, place, force=force, workers=workers, **made.options(place))
    push(recipe, place)
    return saved


def destination(recipe: Recipe, out: str | os.PathLike[str] | None = None) -> Path:
    """Where the output goes: to `out`, or else to where the recipe says, relative to its folder."""
    if out is not None:
        return Path(out)
    if recipe.output.path is None:
        raise OptionError(
            "the recipe does not say where its output goes", hint="name a folder with -o, or in the recipe with output: {path: out}"
        )
    return recipe.folder / recipe.output.path


@dataclass(frozen=True)
class Made:
    """What a recipe makes, lazily, and what it was made of; the base has the name ""."""

    recipe: Recipe
    result: Adapter | Checkpoint
    sources: Mapping[str, Source]

    def options(self, out: Path) -> dict[str, Any]:
        """What `save_adapter` or `save_checkpoint` has to know besides."""
        extra = Lazy([RECIPE], lambda _: str(self.resolved(out)).encode())
        output = self.recipe.output
        how = {"dtype": output.dtype, "exact": output.exact} if isinstance(self.result, Adapter) else {}
        return {"command": COMMAND, "extra": extra, **how}

    def resolved(self, out: Path) -> Recipe:
        """The recipe as it is stored in `out`: paths as they are from there, and the BLAKE3 of every file."""

        def pinned(name: str, ingredient: Ingredient) -> Ingredient:
            path, remote = ingredient.path, self.sources[name].remote
            if remote is not None:
                path = replace(referred(remote.reference), revision=remote.revision).uri
            elif not os.path.isabs(path):
                path = os.path.relpath(located(self.recipe.folder, path), os.path.realpath(out))
            return replace(ingredient, path=path, hashes={BLAKE3: self.sources[name].digests(BLAKE3)})

        inputs = {name: pinned(name, each) for name, each in self.recipe.inputs.items()}
        base = pinned("", self.recipe.base) if self.recipe.base else None
        return replace(self.recipe, inputs=inputs, base=base)


def make(recipe: Recipe, *, verify: bool = False, workers: int | None = None, progress: engine.Progress | None = None) -> Made:
    """What a recipe makes. Inputs with a hash are read whole and compared; nothing is computed yet, unless there is a budget.

    Args:
        verify: compare all inputs that come from the Hub with its hashes first.

    Raises:
        InputError: an input is not the one that the recipe means.
        NotFoundError: an input is to come from the Hub, and is not there.
    """
    adapters = {
        name: open_adapter(_opened(recipe.folder, each.path, verify), alpha=each.alpha, allow_nonfinite=each.allow_nonfinite)
        for name, each in recipe.inputs.items()
    }
    sources = {name: _checked(adapter.history, recipe.inputs[name]) for name, adapter in adapters.items()}
    if recipe.base is None:
        return Made(recipe, _adapter(recipe, adapters, workers, progress), sources)
    base = open_checkpoint(_opened(recipe.folder, recipe.base.path, verify))
    sources[""] = _checked(base.history, recipe.base)
    dtype, scheme = recipe.output.dtype, recipe.quantize
    if base.schemes and (dtype or scheme) and {each.name for each in base.schemes.values()} != {scheme}:
        base = dequantize(base, dtype)
    adapters = {name: without_copies(adapter, base) for name, adapter in adapters.items()}
    model = fuse(base, _adapter(recipe, adapters, workers, progress), dtype=dtype)
    if scheme and not model.schemes:
        model = quantize(model, scheme)
    return Made(recipe, cast(model, dtype) if dtype else model, sources)


def _adapter(recipe: Recipe, adapters: Mapping[str, Adapter], workers: int | None, progress: engine.Progress | None) -> Adapter:
    adapter = compute(recipe.result, adapters, allow_base_mismatch=recipe.allow_base_mismatch)
    output = recipe.output
    number, unit = budget(output.budget)
    if output.rank is None and output.energy is None and number is None:
        return adapter
    return truncate(
        adapter,
        output.rank,
        energy=output.energy,
        budget=number,
        unit=unit,
        dtype=output.dtype,
        exact=output.exact,
        workers=workers,
        progress=progress,
    )


def _is_reference(path: str) -> bool:
    return path.startswith(SCHEME)


def _opened(folder: Path, path: str, verify: bool) -> Place:
    return locate(path, verify=verify) if _is_reference(path) else Place(located(folder, path))


def located(folder: Path, path: str) -> Path:
    """A path of a recipe as an absolute one, so that nothing depends on the current folder. A link keeps its own name."""
    place = folder / path
    name = place.name if place.name != ".." else ""
    return Path(os.path.realpath(place.parent if name else place)) / name


def _checked(source: Source | Step, ingredient: Ingredient) -> Source:
    """The source, if its files are what the recipe says."""
    assert isinstance(source, Source)
    for algorithm, stated in ingredient.hashes.items():
        if isinstance(stated, str):
            if (found := source.digest(algorithm)) != stated:
                raise _another(source.tensors[0].path if len(source.tensors) == 1 else source.path, algorithm, stated, found)
            continue
        digests = source.digests(algorithm)
        for name, each in stated.items():
            if digests.get(name) != each:
                raise _another(source.tensors[0].path.parent / name, algorithm, each, digests.get(name))
    return source


def _another(path: Path, algorithm: str, stated: str, found: str | None) -> InputError:
    fact = f"is not the file that the recipe means: its {algorithm} is {found}, the recipe says {stated}"
    return InputError(
        fact if found else f"is missing; the recipe says that its {algorithm} is {stated}",
        path=path,
        hint=f"get that file again; if this one is right, leave the {algorithm} out of the recipe",
        code="E-HASH",
    )


def push(recipe: Recipe, out: Path) -> Pushed | None:
    """Send the output to where the recipe says, if it says so."""
    return hub.push(out, recipe.push.repo, private=recipe.push.private) if recipe.push else None
