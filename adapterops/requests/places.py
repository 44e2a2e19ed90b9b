"""Where the inputs of a request are: opened from one folder, and noted as they are seen from another."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.grams import grams_in
from adapterops.adapters.opening import open_adapter
from adapterops.errors import InputError, OptionError
from adapterops.hub.references import SCHEME, referred
from adapterops.provenance.history import Source, Step
from adapterops.requests.fields import DEQUANTIZED, Input, Model
from adapterops.requests.request import FUSE, MERGE, Request, grams_of, layers_of
from adapterops.storage.checksums import BLAKE3
from adapterops.storage.place import Place

if TYPE_CHECKING:
    from adapterops.checkpoints.checkpoint import Checkpoint

HERE = Path()

Stated = TypeVar("Stated", Input, Model)


@dataclass(frozen=True)
class Opened:
    """The inputs of a request: headers are read, tensors when asked for."""

    adapters: Mapping[str, Adapter]
    models: Mapping[str, Checkpoint]

    @property
    def paths(self) -> list[Path]:
        """All files that are read."""
        return [path for source in self.sources for path in source.paths]

    @property
    def adapter_sources(self) -> list[Source]:
        """What was read of the adapters, and of what goes with them."""
        models = [model for name, model in self.models.items() if name.startswith(grams_of(""))]
        return [*map(_source, self.adapters.values()), *map(_source, models)]

    @property
    def sources(self) -> list[Source]:
        """What was read of each."""
        opened: list[Adapter | Checkpoint] = [*self.adapters.values(), *self.models.values()]
        return list(map(_source, opened))


def on_layers(request: Request, opened: Opened) -> Opened:
    """The inputs, where adapters for replicated layers of the base have a base with these layers. What is fused is for the
    layers of that base, then; a merge is still for replicated ones.

    Raises:
        IncompatibleError: adapters say different ranges, or the base has not these layers.
    """
    adapters = opened.adapters
    replicates = any(each.config.replication for each in adapters.values())
    if not replicates or "base" not in opened.models or request.kind not in (MERGE, FUSE):
        return opened
    from adapterops.operations.replication import of_its_layers, replicated

    models = {**opened.models, "base": replicated(opened.models["base"], list(adapters.values()))}
    kept = adapters if request.kind == MERGE else {name: of_its_layers(each) for name, each in adapters.items()}
    return replace(opened, models=models, adapters=kept)


def open_inputs(request: Request, folder: Path = HERE, *, verify: bool = False, streamed: bool = False) -> Opened:
    """The adapters and models of a request, whose paths are relative to `folder`. What has a hash is read whole and
    compared.

    Args:
        verify: compare all inputs that come from the Hub with its hashes first.
        streamed: tensors of models on the Hub are read as they pass, and not kept.

    Raises:
        NotFoundError: an input is not there, or has to come from the Hub and cannot.
        InputError: an input is not the one that was meant.
        OptionError: a file says its lora_alpha itself, and another was given.
    """

    def adapter(stated: Input) -> Adapter:
        if stated.tuned:
            from adapterops.operations.task_vectors import task_vector

            return task_vector(model(stated), models["base"])
        place = found(folder, stated.path, verify=verify)
        opened = open_adapter(
            place, alpha=stated.alpha, allow_nonfinite=stated.allow_nonfinite, allow_pickle=request.allow_pickle
        )
        return _checked(opened, stated)

    def model(stated: Model | Input) -> Checkpoint:
        from adapterops.checkpoints.opening import open_checkpoint  # here: what merges adapters needs no models

        place = found(folder, stated.path, verify=verify, streamed=streamed)
        return _checked(open_checkpoint(place, allow_pickle=request.allow_pickle), stated)

    used = {
        name: each for name, each in request.models.items() if name != "original" or request.base_view != DEQUANTIZED
    }
    models: dict[str, Checkpoint] = {}
    for name, each in used.items():
        with _expecting_grams() if name.startswith("grams") else nullcontext():
            models[name] = model(each)
    adapters = {name: adapter(each) for name, each in request.inputs.items()}
    for name in adapters:
        if grams_of(name) in models:
            adapters[name] = replace(adapters[name], grams=grams_in(models[grams_of(name)]))
    given = any(each.alpha is not None for each in request.inputs.values())
    if given and all(_source(each).alpha is None for each in adapters.values()):
        raise OptionError(
            "--alpha is for files that do not say their lora_alpha, and all of these do", hint="leave it out"
        )
    return Opened(adapters, models)


@contextmanager
def _expecting_grams() -> Iterator[None]:
    """What is no model is no file of Gram matrices here, and the error says so."""
    try:
        yield
    except InputError as error:
        if error.code not in ("E-FOLDER", "E-ADAPTER"):
            raise
        raise InputError(
            error.message.replace("a model is", "a file of Gram matrices is"),
            path=error.path,
            hint="adapterops gram BASE TEXT --adapter ADAPTER -o FILE makes one",
            code="E-FOLDER",
        ) from None


def found(folder: Path, path: str, *, verify: bool = False, streamed: bool = False) -> Place:
    """The place that a path stands for: in `folder`, or on the Hub."""
    if path.startswith(SCHEME):
        from adapterops.hub.snapshot import locate

        return locate(path, verify=verify, streamed=streamed)
    return Place.of(path if folder == HERE else located(folder, path))


def located(folder: Path, path: str) -> Path:
    """A path in a folder as an absolute one, so that nothing depends on the current folder.
    A link keeps its own name.
    """
    place = folder / path
    name = place.name if place.name != ".." else ""
    return Path(os.path.realpath(place.parent if name else place)) / name


def named_after(path: str, suffix: str) -> Path:
    """A path for what is made of an input: next to it, or in the current folder where it comes from the Hub.

    >>> named_after("runs/a", "-r8").as_posix(), named_after("hf://me/a@v2/sub", "-r8").as_posix()
    ('runs/a-r8', 'sub-r8')
    """
    if not path.startswith(SCHEME):
        return Place.of(path).sibling(suffix)
    return Path(referred(path).place.replace(":", "/").rpartition("/")[2].removesuffix(".safetensors") + suffix)


def seen_from(out: Path, request: Request, folder: Path, opened: Opened) -> Request:
    """The request with paths as they are from `out`. References are pinned to a commit; absolute paths
    stay, and what has nothing but the root in common with `out` gets one."""

    def seen(stated: Stated, there: Adapter | Checkpoint | None) -> Stated:
        remote = _source(there).remote if there else None
        if remote is not None:
            return replace(stated, path=replace(referred(remote.reference), revision=remote.revision).uri)
        if os.path.isabs(stated.path) or stated.path.startswith(SCHEME):
            return stated
        path, place = str(located(folder, stated.path)), os.path.realpath(out)
        far = os.path.commonpath([place, path]) == os.sep
        return replace(stated, path=path if far else os.path.relpath(path, place))

    inputs = {name: seen(each, opened.adapters[name]) for name, each in request.inputs.items()}
    return with_models(
        replace(request, inputs=inputs), {n: seen(m, opened.models.get(n)) for n, m in request.models.items()}
    )


def with_models(request: Request, models: Mapping[str, Model]) -> Request:
    """The request with other models: `base`, `original`, `tuned`, and the Gram matrices of rounding and of inputs."""
    inputs = {
        name: replace(each, grams=models.get(grams_of(name), each.grams)) for name, each in request.inputs.items()
    }
    extract = request.extract and replace(request.extract, tuned=models.get("tuned", request.extract.tuned))
    return replace(
        request,
        inputs=inputs,
        stack=tuple(replace(each, model=models.get(layers_of(each.model), each.model)) for each in request.stack),
        base=models.get("base", request.base),
        original=models.get("original", request.original),
        grams=models.get("grams", request.grams),
        extract=extract,
    )


def hashed(request: Request, opened: Opened) -> Request:
    """The request with the hash of every file of its inputs; of a model that only gives its names nothing is read."""
    inputs = {name: _pinned(each, opened.adapters[name]) for name, each in request.inputs.items()}
    models = {
        name: _pinned(each, opened.models[name])
        if name in opened.models and (name != "base" or request.kind != MERGE)
        else each
        for name, each in request.models.items()
    }
    return with_models(replace(request, inputs=inputs), models)


def anonymous(request: Request, out: Path) -> Request:
    """The request of `seen_from` as a manifest notes it: no hashes, which stand with the inputs, and no place of this
    machine.

    Of an absolute path it has the name only, and so of one that has nothing but the root in common with `out`.
    """

    def noted(stated: Stated) -> Stated:
        path, place = stated.path, os.path.realpath(out)
        there = os.path.normpath(os.path.join(place, path))
        far = not path.startswith(SCHEME) and (os.path.isabs(path) or os.path.commonpath([place, there]) == os.sep)
        return replace(stated, path=Path(path).name if far else path, hashes={})

    inputs = {name: noted(each) for name, each in request.inputs.items()}
    return with_models(replace(request, inputs=inputs), {name: noted(each) for name, each in request.models.items()})


def _pinned(stated: Stated, there: Adapter | Checkpoint) -> Stated:
    return replace(stated, hashes={BLAKE3: _source(there).digests(BLAKE3)})


def _source(opened: Adapter | Checkpoint) -> Source:
    history: Source | Step = opened.history
    assert isinstance(history, Source)
    return history


OpenedInput = TypeVar("OpenedInput", Adapter, "Checkpoint")


def _checked(opened: OpenedInput, stated: Input | Model) -> OpenedInput:
    """What was opened, if its files have the hashes that are stated."""
    source = _source(opened)
    for algorithm, wanted in stated.hashes.items():
        if isinstance(wanted, str):
            if (digest := source.digest(algorithm)) != wanted:
                raise _another(
                    source.tensors[0].path if len(source.tensors) == 1 else source.path, algorithm, wanted, digest
                )
            continue
        digests = source.digests(algorithm)
        for name, each in wanted.items():
            if digests.get(name) != each:
                raise _another(source.tensors[0].path.parent / name, algorithm, each, digests.get(name))
    return opened


def _another(path: Path, algorithm: str, wanted: str, found: str | None) -> InputError:
    fact = f"is not the file that the recipe means: its {algorithm} is {found}, the recipe says {wanted}"
    return InputError(
        fact if found else f"is missing; the recipe says that its {algorithm} is {wanted}",
        path=path,
        hint=f"get that file again; if this one is right, leave the {algorithm} out of the recipe",
        code="E-HASH",
    )
