"""A model as a delta: what it is made of, and the hash of every file of it, instead of its weights.

    delta.json         the request, and what its numbers depend on
    files/             every file of the model but the weights; its manifest has the hashes of all
    adapters/NAME/     the adapters that are not on the Hub themselves

Whoever has the base makes the same bytes of it, or gets an error: nothing is taken for the model that has other hashes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.checkpoints.saving import plan_checkpoint
from adapterops.engine import local
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.engine.plan import rounding_device
from adapterops.errors import InputError, UnsupportedError, VerificationError, at
from adapterops.hub import pulling
from adapterops.hub.card import render_delta
from adapterops.hub.package import ADAPTERS, DELTA, FILES, Payload
from adapterops.hub.pulling import Pulled
from adapterops.hub.pushing import Push, Pushed, There, may_write_card, ready
from adapterops.hub.references import COMMIT, SCHEME, Reference, referred
from adapterops.hub.snapshot import Known, locate
from adapterops.provenance.history import Source
from adapterops.provenance.manifest import described, versions, write_file
from adapterops.provenance.reader import read_manifest
from adapterops.regex import Regex
from adapterops.requests.divided import DividedModel
from adapterops.requests.fields import Input, Model
from adapterops.requests.reading import stated_request
from adapterops.requests.request import Request
from adapterops.requests.running import Made, make
from adapterops.storage.checksums import SHA256, file_digests
from adapterops.storage.outputs import CARD, MANIFEST
from adapterops.storage.place import Place, check_inside
from adapterops.storage.staging import staged
from adapterops.storage.strict import json_text, read_json
from adapterops.storage.writer import read_back

SCHEMA = 1
INSIDE = Regex(rf"{ADAPTERS}/[^/\\]+(/[^/\\]+)?")
"""Where an adapter of a delta may be that is not on the Hub."""


@dataclass(frozen=True)
class DeltaUpload:
    """A delta on its way to a repository, which held `before` when this began. Weights are made for their hashes, and not
    sent; see `Publication`.
    """

    target: Reference
    before: There
    made: Made

    @classmethod
    def begin(
        cls, made: Made, repo: Reference | str, private: bool | None = None, how: Execution = DEFAULT
    ) -> DeltaUpload:
        """
        Args:
            how: the model is to be made for its hashes.

        Raises:
            UnsupportedError: a model that it is made of is not on the Hub, its bytes depend on the device, or pickles were
                allowed.
            InputError: a link leads out of the folder of an adapter.
            NotFoundError, OutputExistsError: as `push` does.
        """
        if device := rounding_device(made.result.history, how):
            raise UnsupportedError(
                f"a merge rounds otherwise on {device} than on a processor, so that a delta of it could not be pulled there",
                hint="leave --device or --as-delta out",
                code="E-DEVICE",
            )
        for name, model in made.seen_from(Path()).models.items():
            if not model.path.startswith(SCHEME):
                raise UnsupportedError(
                    f"is the {name}, a path on this machine: to pull the delta it has to be on the Hub",
                    path=model.path,
                    hint="name it on the Hub, hf://OWNER/NAME, or leave --as-delta out",
                )
        if made.request.allow_pickle:
            raise UnsupportedError(
                "a delta names no pickles, which run code where it is pulled, and --allow-pickle was given",
                hint="save the inputs as safetensors, or leave --as-delta out",
            )
        for path in _sent(made)[1].values():
            check_inside(path)
        target = referred(repo)
        return cls(target, ready(target, private), made)

    def waiting(self, finished: Mapping[str, Known]) -> set[str]:
        """What need not be made again: all whose hashes are known."""
        return set(finished)

    def send(self, name: str, path: Path) -> str:
        """The sha256 of a finished file, which is all that is needed of it."""
        return file_digests(path, SHA256)[SHA256]

    def finish(self, folder: Path, sent: Mapping[str, Mapping[str, str | int]]) -> Pushed:
        """One commit of the delta: `folder` holds every file but the weights that were `sent`."""
        checkpoint, files = self.made.result, {CARD: Payload.of(render_delta(self.target.repo, self._bases()).encode())}
        assert isinstance(checkpoint, Checkpoint)
        request, adapters = _sent(self.made)
        torch = checkpoint.needs_torch
        about = {"versions": versions(torch=torch), "kernels": local.kernels(torch=torch)}
        files[DELTA] = Payload.of(json_text({"schema": SCHEMA, **about, "request": request.as_json()}, indent=2))
        files |= {name: Payload.of(path) for name, path in adapters.items()}
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                files[f"{FILES}/{path.relative_to(folder).as_posix()}"] = Payload.of(path)
        if not may_write_card(self.target, self.before):
            del files[CARD]
        message = f"Upload {self.target.repo.partition('/')[2]} as a delta with adapterops"
        return Push(self.target, files, self.before, (), False, message).run(dry_run=False)

    def _bases(self) -> list[str]:
        paths = (model.path for model in self.made.seen_from(Path()).models.values())
        return list(dict.fromkeys(referred(path).repo for path in paths))


def _sent(made: Made) -> tuple[Request, dict[str, Path]]:
    """The request as a repository has it, and the files of its adapters that come along, by their names there."""
    seen, files = made.seen_from(Path()), dict[str, Path]()
    inputs = {}
    for name, stated in seen.inputs.items():
        source = made.opened.adapters[name].history
        if not stated.path.startswith(SCHEME):
            assert isinstance(source, Source)
            there = f"{ADAPTERS}/{name}"
            own = [file.path for file in source.tensors] + list(source.others)
            files |= {f"{there}/{source.named(path)}": path for path in own}
            inside = there if source.path.is_dir() else f"{there}/{source.path.name}"
            stated = replace(stated, path=str(Place(Path(inside), member=source.member)))
        inputs[name] = stated
    return replace(seen, inputs=inputs), files


def pull(
    source: Reference | str,
    out: str | os.PathLike[str] | None = None,
    *,
    force: bool = False,
    dry_run: bool = False,
    command: Sequence[str] = (),
    how: Execution = DEFAULT,
) -> Pulled:
    """What is on the Hub, as a folder here: its files, or, of a delta, the model that it stands for.

    Raises:
        VerificationError: a model that a delta stands for has other bytes when it is made here.
        As `hub.pulling.pull`; of a delta as `make` and `save_checkpoint` do.
    """
    place = locate(source)
    if not place.has(place.path / DELTA):
        return pulling.pull(place, out, force=force, dry_run=dry_run, command=command)
    return _materialised(place, place.sibling("") if out is None else Path(out), force=force, dry_run=dry_run, how=how)


def _materialised(place: Place, out: Path, *, force: bool, dry_run: bool, how: Execution) -> Pulled:
    assert place.remote
    folder = place.path
    for path in place.remote.sizes:
        place.here(path)
    stated = read_json(folder / DELTA)
    made = make(_safe(stated, folder), out, folder=folder, force=force, planning=dry_run, how=how)
    checkpoint, manifest = made.result, read_manifest(folder / FILES)
    if not isinstance(checkpoint, Checkpoint):
        raise InputError(f"has a {DELTA} that makes an adapter, expected a model", path=place, code="E-DELTA")
    if manifest is None:
        raise InputError(f"has no {FILES}/{MANIFEST}", path=place, hint="push it again", code="E-DELTA")
    model, outputs = DividedModel(checkpoint, plan_checkpoint(checkpoint, how)), manifest["outputs"]
    for name in outputs:
        _check_name(name, folder)
    pulled = Pulled(
        out,
        place.remote.reference,
        place.remote.revision,
        (*outputs, MANIFEST),
        sum(e["size"] for e in outputs.values()),
    )
    if dry_run:
        return pulled
    for source in made.inputs:
        source.fetch()
    with staged(out, force=force, sync=how.sync) as staging:
        for name in {*outputs, MANIFEST} - {job.file for job in model.plan.jobs}:
            (staging / name).parent.mkdir(exist_ok=True)  # a component's
            write_file(staging / name, folder / FILES / name, how.sync)
        finished = _Finished([])
        model.write(model.plan.jobs, staging, finished, how)
        for source in made.inputs:
            source.check_unchanged()
        shards = model.noted(finished.entries, model.plan.jobs)
        weights = {name: {"size": shard.size, "blake3": shard.blake3} for name, shard in shards.items()}
        other = [name for name in outputs if outputs[name] != (weights.get(name) or described(staging / name))]
        if other or not weights.keys() <= outputs.keys():
            raise _differs(place, other or sorted(weights.keys() - outputs.keys()), stated, checkpoint.needs_torch)
        with read_back():
            open_checkpoint(staging)
    return pulled


@dataclass(frozen=True)
class _Finished:
    """What is noted of finished files, which are not kept if others fail."""

    entries: list[Mapping[str, Any]]

    def add(self, entry: Mapping[str, Any]) -> None:
        self.entries.append(entry)


def _safe(stated: Any, folder: Path) -> Request:
    """The request of a delta, which comes from a stranger: its inputs are commits on the Hub, or in the delta itself.

    Raises:
        InputError: something else is.
    """
    with at(path=folder / DELTA):
        if not isinstance(stated, dict) or stated.get("schema") != SCHEMA or "request" not in stated:
            raise InputError(
                f"is not a delta of schema {SCHEMA}", hint="pull it with a newer adapterops", code="E-DELTA"
            )
        request = stated_request(stated["request"])
        models: list[Model | Input] = list(request.models.values())
        for each in [*models, *request.inputs.values()]:
            remote = each.path.startswith(SCHEME)
            pinned = remote and COMMIT.fullmatch(referred(each.path).revision or "")
            inside = (
                isinstance(each, Input) and INSIDE.fullmatch(each.path) and ".." not in PurePosixPath(each.path).parts
            )
            if not (pinned or inside):
                fact = f"names the input {each.path}, which is neither a commit on the Hub nor in {ADAPTERS}/"
                raise InputError(fact, hint="a delta that was pushed with --as-delta has no such input", code="E-DELTA")
        if request.allow_pickle:
            raise InputError(
                "asks for pickles, which can run code", hint="make the model with adapterops fuse", code="E-DELTA"
            )
    return request


def _check_name(name: str, folder: Path) -> None:
    parts = name.split("/")
    if len(parts) > 2 or any(part.startswith(".") or not part for part in parts) or not name.isprintable():
        raise InputError(
            f"names the file {name!r}", path=folder / FILES / MANIFEST, hint="it is damaged", code="E-DELTA"
        )


def _differs(place: Place, files: Sequence[str], stated: Mapping[str, Any], torch: bool) -> VerificationError:
    there = [stated.get("versions"), stated.get("kernels")]
    here = [versions(torch=torch), local.kernels(torch=torch)]
    same = "by the same versions and kernels" if there == here else f"by {there}, and here by {here}"
    return VerificationError(
        f"{', '.join(files[:5])} would have other bytes than where the delta was made: {same}",
        path=place,
        hint="install those versions; OPENBLAS_CORETYPE chooses kernels" if there != here else "push the delta again",
        code="E-DELTA",
    )
