"""A request, done: its inputs opened and checked, its result computed lazily, planned, and saved."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.planning import arrangement, in_file, plan_adapter
from adapterops.adapters.saved import Saved
from adapterops.adapters.saving import save_adapter
from adapterops.engine.execution import DEFAULT, Execution, check_device
from adapterops.engine.plan import Plan
from adapterops.errors import OptionError
from adapterops.provenance.history import Source, sources
from adapterops.provenance.manifest import Origin
from adapterops.requests.places import HERE, Opened, anonymous, open_inputs, seen_from
from adapterops.requests.request import MERGE, Request
from adapterops.requests.results import result
from adapterops.storage.lazy import Lazy
from adapterops.storage.outputs import RECIPE, check_output, named_file

if TYPE_CHECKING:
    from adapterops.checkpoints.checkpoint import Checkpoint
    from adapterops.checkpoints.saving import SavedCheckpoint

    Written: TypeAlias = Saved | SavedCheckpoint


@dataclass(frozen=True)
class Made:
    """What a request makes, lazily. `folder` is what its paths are relative to."""

    request: Request
    folder: Path
    opened: Opened
    result: Adapter | Checkpoint

    @property
    def inputs(self) -> list[Source]:
        """All that is read."""
        return sources(self.result.history)

    def single(self, out: Path) -> bool:
        """Whether the output is a single file, and no folder."""
        if isinstance(self.result, Adapter):
            return named_file(out)
        from adapterops.checkpoints.gguf import is_file

        return is_file(self.result, out)

    def seen_from(self, out: Path) -> Request:
        """The request with paths as they are from `out`, or from the folder that it is a file in."""
        return seen_from(out.parent if self.single(out) else out, self.request, self.folder, self.opened)


def make(
    request: Request,
    out: Path | None,
    *,
    folder: Path = HERE,
    force: bool = False,
    verify: bool = False,
    planning: bool = False,
    streamed: bool = False,
    shared: bool = False,
    how: Execution = DEFAULT,
) -> Made:
    """What a request makes. Nothing is computed yet, unless there is a budget, or a difference to look for.

    Args:
        out: the folder that it is to be written to; None where nothing is to stay here.
        folder: what the paths in the request are relative to.
        force: an output of adapterops that is there may be replaced.
        verify: compare all inputs that come from the Hub with its hashes first.
        planning: read headers only. The result has its layout, and where that depends on numbers, the largest that it
            can have.
        streamed: tensors of models on the Hub are read as they pass, and not kept.
        shared: several processes make it, which needs a folder.

    Raises:
        OptionError, IncompatibleError: the request does not fit its inputs.
        OutputExistsError, NotFoundError, InputError: as `check_output` and `open_inputs` do.
    """
    check_device(how)
    opened = open_inputs(request, folder, verify=verify, streamed=streamed)
    if out is not None:
        check_output(out, opened.paths, force)
        if named_file(out):
            with warnings.catch_warnings(action="ignore"):  # they are given when the result is made
                planned = Made(request, folder, opened, result(request, opened, planning=True, how=how))
            _check_name(planned, out)
            if shared:
                check_no_file(planned, out)
    return Made(request, folder, opened, result(request, opened, planning=planning, how=how))


def _check_name(made: Made, out: Path) -> None:
    """Raise OptionError where the name of the output is that of a file, of another kind than what is written."""
    if isinstance(made.result, Adapter):
        form = made.request.output.format
        in_file(arrangement(made.result, made.request.output.dtype, form), out, form or made.result.config.format)
        return
    from adapterops.checkpoints.gguf import called

    called(made.result, out)


def check_no_file(made: Made, out: Path) -> None:
    """Raise OptionError for a single file, where the output is made by many: that needs a folder."""
    if made.single(out):
        raise OptionError("is a single file, and work in parts needs a folder", path=out, hint="name one with -o")


Files: TypeAlias = Callable[[Made, Path], Mapping[str, bytes]]
"""What else there is to be in an output."""


def plan(made: Made, how: Execution = DEFAULT) -> Plan:
    """What saving it will do, from headers only.

    Raises:
        ResourceError: there is no room for the downloads, or too little memory.
    """
    merges = made.request.kind == MERGE
    for source in made.opened.adapter_sources if merges else made.opened.sources:
        source.check_room()
    if not isinstance(made.result, Adapter):
        from adapterops.checkpoints.saving import (
            plan_checkpoint,  # here, as below: what merges adapters needs no models
        )

        return plan_checkpoint(made.result, how)
    output = made.request.output
    return plan_adapter(made.result, dtype=output.dtype, exact=output.exact, format=output.format, how=how)


def save(
    made: Made,
    out: Path,
    *,
    force: bool = False,
    resume: bool = False,
    command: Sequence[str] = (),
    files: Mapping[str, bytes] | None = None,
    norms: bool = True,
    how: Execution = DEFAULT,
) -> Written:
    """Write what was made, with the request in its manifest, and other `files`, which are asked for at the end.

    Args:
        norms: of an adapter, measure ‖ΔW‖_F of every module; see `save_adapter`.

    Raises:
        As `save_adapter` and `save_checkpoint` do.
    """

    single = made.single(out)
    names = {f"{out.name}.{name}" if single else name: name for name in files or {}}
    others = Lazy(names, lambda name: (files or {})[names[name]])
    place = out.parent if single else out
    origin = Origin(command, anonymous(made.seen_from(out), place).as_json(), others)
    if isinstance(made.result, Adapter):
        output = made.request.output
        return save_adapter(
            made.result,
            out,
            dtype=output.dtype,
            exact=output.exact,
            format=output.format,
            force=force,
            norms=norms,
            origin=origin,
            how=how,
        )
    from adapterops.checkpoints.saving import save_checkpoint

    loss = made.request.accept_loss
    return save_checkpoint(made.result, out, resume=resume, force=force, accept_loss=loss, origin=origin, how=how)


def recipe_command(out: Path) -> tuple[str, ...]:
    """The command line that a manifest notes of what a recipe made: it is in the output, or next to it.

    >>> recipe_command(Path("out/merged"))[2], recipe_command(Path("out/style.safetensors"))[2]
    ('recipe.yaml', 'style.safetensors.recipe.yaml')
    """
    return "adapterops", "run", f"{out.name}.{RECIPE}" if named_file(out) else RECIPE
