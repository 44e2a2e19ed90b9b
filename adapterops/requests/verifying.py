"""Whether an output is what was requested:
the request is read from its manifest, its inputs are found, and the work is checked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.errors import OptionError, at
from adapterops.expressions.expression import Expression
from adapterops.hub.references import SCHEME
from adapterops.operations import verifying
from adapterops.operations.output_files import Problem, read_manifest, sums
from adapterops.operations.quantization import viewed
from adapterops.operations.tensor_types import types_of
from adapterops.operations.verifying import Audit, Verification
from adapterops.provenance import reader
from adapterops.provenance.history import Source, sources
from adapterops.provenance.manifest import described
from adapterops.quant.scheme import STOCHASTIC
from adapterops.requests.adapters import adapter, measured
from adapterops.requests.fields import Input, Model
from adapterops.requests.models import adapters_for, rounding_of
from adapterops.requests.places import HERE, Opened, located, on_layers, open_inputs, seen_from, with_models
from adapterops.requests.reading import stated_request
from adapterops.requests.request import FUSE, UNFUSE, Request, grams_of
from adapterops.storage.checksums import BLAKE3
from adapterops.storage.outputs import manifest_of
from adapterops.storage.place import Place

OPTIONS = {"base": "--base PATH", "original": "--original PATH", "grams": "--grams GRAMS"}


@dataclass(frozen=True)
class Proof:
    """A model, and what a request to fuse or to unfuse makes of its inputs, to be compared. `folder` is what the paths of
    the request are relative to; `adapter` what was added to the base.
    """

    request: Request
    folder: Path
    opened: Opened
    adapter: Adapter
    comparison: Audit

    @property
    def inputs(self) -> list[Source]:
        """All that is read."""
        return [*sources(self.comparison.model.history), *self.opened.sources]

    def seen_from(self, out: Path) -> Request:
        """The request with paths as they are from `out`."""
        return seen_from(out, self.request, self.folder, self.opened)

    def verification(self, how: Execution = DEFAULT) -> Verification:
        """What is found; see `verifying.verify`."""
        with closing(self.comparison.run(self.comparison.items, how)) as findings:
            return self.comparison.verification(findings)


def recorded(folder: Path) -> Request | None:
    """The request in the manifest of an output, with absolute paths; None where there is no manifest, a damaged one, or
    no request.

    Raises:
        InputError: the request is one that is not understood here.
    """
    content = read_manifest(folder)
    if content is None or isinstance(content, Problem) or "request" not in content:
        return None
    with at(path=manifest_of(folder)):
        return absolute(stated_request(content["request"]), folder)


def absolute(request: Request, folder: Path) -> Request:
    """The request with absolute paths, which are relative to a folder so far, or to that of a file."""
    place = Path(folder).resolve()
    place = place.parent if place.is_file() else place

    def there(path: str) -> str:
        return path if path.startswith(SCHEME) else str(located(place, path))

    inputs = {name: replace(each, path=there(each.path)) for name, each in request.inputs.items()}
    models = {name: replace(each, path=there(each.path)) for name, each in request.models.items()}
    return with_models(replace(request, inputs=inputs), models)


def fusion_of(model: str) -> Request | None:
    """The request in the manifest of a model, if it is one to fuse; not for one on the Hub.

    Raises:
        InputError: the manifest is damaged, or the request is one that is not understood here.
    """
    if model.startswith(SCHEME) or not reader.read_manifest(Path(model)):
        return None
    record = recorded(Path(model))
    return record if record and record.kind == FUSE else None


def check_there(request: Request, record: Request | None, model: Path) -> None:
    """Raise OptionError for the first input that is not where the manifest has it:
    whoever asks has to name its place.
    """
    stated: list[Model | Input] = [*record.models.values(), *record.inputs.values()] if record else []
    noted = {each.path for each in stated}
    own = {grams_of(name): "--grams FILE for each adapter, in their order" for name in request.inputs}
    wanted = [(each.path, (OPTIONS | own).get(name)) for name, each in request.models.items()]
    wanted += [(each.path, f"--adapter {name}=PATH") for name, each in request.inputs.items()]
    for path, option in wanted:
        if path in noted and not path.startswith(SCHEME) and not Place.of(path).exists:
            fact = f"was made from {Path(path).name}, and {path} does not exist"
            raise OptionError(fact, path=model, hint=f"name its place: {option}" if option else "put it there again")


def contradiction(record: Request | None, request: Request) -> str | None:
    """What the manifest says of inputs, base and merge, where the request says something else: that looks like damage."""
    if record is None:
        return None
    if other := other_adapters(record, request):
        return f"{other}: leave --adapter out, or name that one"
    stated, given = ([one.base.path] if one.base else [] for one in (record, request))
    if not _same(stated, given):
        return f"{_other('base', stated, given)}: leave --base out, or name that one"
    other = other_merge(record, request)
    return f"{other}: give the same options, leave --adapter out, or fuse again" if other else None


def other_adapters(record: Request, request: Request) -> str | None:
    """The adapters that the manifest of a fused model names, where a request names others."""
    stated, given = ([each.path for each in one.inputs.values()] for one in (record, request))
    return None if _same(stated, given) else _other("adapter", stated, given)


def changed_adapters(folder: Path, request: Request) -> str | None:
    """The file of an adapter that is another one than an output was made from, by the hash in its manifest.

    Inputs are found in the manifest by the name of their file or folder; what is on the Hub is pinned there, and not looked at.
    Reads the files of local adapters whole.
    """
    content = read_manifest(folder)
    if content is None or isinstance(content, Problem):
        return None
    for each in request.inputs.values():
        name, place = Path(os.path.abspath(each.path)).name, Place.of(each.path).path
        stated = [one.get("files", {}) for one in content["inputs"] if one["path"] == name]
        others = [path for files in stated if (path := _changed(place, files))]
        if others and len(others) == len(stated):
            return (
                f"{os.path.relpath(others[0])} is not the file that it was made from: the manifest has another BLAKE3"
            )
    return None


def _changed(place: Path, files: Mapping[str, Mapping[str, Any]]) -> Path | None:
    """The first file of an adapter whose content is not the one that is stated."""
    for name, stated in files.items():
        path = place if place.is_file() else place / name
        if path.is_file() and BLAKE3 in stated and described(path)[BLAKE3] != stated[BLAKE3]:
            return path
    return None


def as_fused(record: Request | None, inputs: Mapping[str, Input]) -> Expression | None:
    """How the manifest of a fused model says that its adapters were merged, where these are the same, under the same names."""
    if record is None or record.inputs.keys() != inputs.keys():
        return None
    same = (_same([record.inputs[name].path], [each.path]) for name, each in inputs.items())
    return record.result if all(same) else None


def other_merge(record: Request, request: Request) -> str | None:
    """How the manifest of a fused model says that adapters were merged, where a request says something else."""
    if record.result is None or str(record.result) == str(request.result):
        return None
    return f"the manifest says that the adapters were merged with {record.result}, and {request.result} is what was asked for"


def _same(stated: Sequence[str], given: Sequence[str]) -> bool:
    """Of what is elsewhere by now, or was given with the whole path of a machine, a manifest has the name alone."""

    def alike(one: str, other: str) -> bool:
        moved = not os.path.exists(one) and Path(one).name == Path(other).name
        return moved or os.path.realpath(one) == os.path.realpath(other)

    return len(stated) == len(given) and all(any(alike(one, other) for other in given) for one in stated)


def _other(what: str, stated: Sequence[str], given: Sequence[str]) -> str:
    """Paths of the manifest are named as a person would write them here; of what is elsewhere by now, the name."""
    names = [
        path if path.startswith(SCHEME) else os.path.relpath(path) if os.path.exists(path) else Path(path).name
        for path in stated
    ]
    was = "was" if len(given) == 1 else "were"
    return f"the manifest names the {what} {', '.join(names)}, and {', '.join(given)} {was} given"


def proof(
    model: Checkpoint, request: Request, opened: Opened, *, folder: Path = HERE, how: Execution = DEFAULT
) -> Proof:
    """What there is to compare of a model: only headers are read, unless an adapter has to be measured.

    Raises:
        IncompatibleError: the inputs do not fit together.
    """
    base, change = base_of(request, opened), expected(request, opened, how)
    output = request.output
    if model.gguf and base.gguf and not (output.tensor_types or output.dtype or request.quantize or sums(model)):
        request = replace(request, output=replace(output, tensor_types=types_of(model, base)))
    rounded, seed = rounding_of(request, base)
    compared = verifying.comparison(
        model,
        base,
        change,
        dtype=request.output.dtype,
        precision=request.precision,
        seed=seed if rounded == STOCHASTIC else None,
        grams=opened.models.get("grams"),
        types=request.output.tensor_types,
    )
    return Proof(request, folder, opened, change, compared)


def base_of(request: Request, opened: Opened) -> Checkpoint:
    """What was added to, and what updates depend on that read the weight: the original of a quantized base, where one was named."""
    base = on_layers(request, opened).models["base"]
    return viewed(base, opened.models["original"]) if "original" in opened.models else base


def proof_of(request: Request, folder: Path, how: Execution = DEFAULT) -> Proof:
    """The proof of the model in a folder, by a request whose paths are relative to that."""
    model = verifying.opened(folder, lambda path: open_checkpoint(path, allow_pickle=request.allow_pickle))
    return proof(model, request, open_inputs(request, folder), folder=folder, how=how)


def expected(request: Request, opened: Opened, how: Execution = DEFAULT) -> Adapter:
    """What was added to the base: the result of the request, or its negative where that was taken out."""
    there = on_layers(request, opened)
    adapters = adapters_for(request, there.adapters, base_of(request, opened))
    change = adapter(request, adapters, measured, how)
    return -replace(change, full={}) if request.kind == UNFUSE else change
