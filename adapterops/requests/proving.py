"""A verification that several processes do: each compares some files of the model, and notes what it found of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar

from adapterops.engine.execution import Execution
from adapterops.engine.plan import Job, Plan, identity
from adapterops.engine.records import Noted, Records, noted
from adapterops.errors import InputError, at
from adapterops.operations.output_files import Problem
from adapterops.operations.tensor_checks import ModuleCheck
from adapterops.operations.verifying import ItemCheck, Verification
from adapterops.provenance.manifest import Origin, write_bytes
from adapterops.regex import Regex
from adapterops.requests.verifying import Proof
from adapterops.storage.checksums import BLAKE3, digest, file_digests
from adapterops.storage.parts import PartsFolder
from adapterops.storage.shapes import Shape, fits
from adapterops.storage.strict import json_text, parse_json, read_all


@dataclass(frozen=True)
class Compared:
    """What is noted of a file of findings; see `Noted`."""

    size = None  # nobody asks for it
    blake3: str
    inputs: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True)
class DividedProof:
    """A comparison: its parts are the files of the model, with the tensors in each."""

    ending: ClassVar[str] = ".json"
    proof: Proof
    out: Path
    how: Execution

    @property
    def memory(self) -> int:
        return self.proof.comparison.working_memory(1)

    @property
    def torch(self) -> bool:
        return self.proof.comparison.expected.needs_torch

    @cached_property
    def plan(self) -> Plan:
        needed, jobs = self.proof.comparison.working_memory, tuple(map(self._job, self._items))
        inputs = list(map(identity, self.proof.inputs))
        text = json_text([inputs, self.proof.seen_from(self.out).as_json(), [list(job.tensors) for job in jobs]])
        workers = self.how.within(needed).threads
        return Plan(jobs, needed(workers), {}, (), digest(text))

    def _job(self, file: str) -> Job:
        model = self.proof.comparison.model
        return Job(file, {item: model.bytes(item) for item in self._items[file] if isinstance(item, str)})

    @cached_property
    def _items(self) -> dict[str, list[str | Path]]:
        """What there is to compare of each file of the model, under the name of the file of what is found."""
        model, folder = self.proof.comparison.model, self.proof.comparison.folder
        files = {tensor: file for file, tensors in model.shards.items() for tensor in tensors}
        found: dict[str, list[str | Path]] = {}
        for item in self.proof.comparison.items:
            file = files[item] if isinstance(item, str) else item.relative_to(folder).as_posix()
            found.setdefault(f"{file}{self.ending}", []).append(item)
        return found

    def noted(self, records: Sequence[Mapping[str, Any]], jobs: Sequence[Job]) -> Mapping[str, Noted]:
        return noted(records, jobs, lambda record: Compared(str(record["blake3"])))

    def write(self, jobs: Sequence[Job], folder: Path, records: Records, how: Execution) -> None:
        items = list(chain(*(self._items[job.file] for job in jobs)))
        with closing(self.proof.comparison.run(items, how)) as findings:
            for job in jobs:
                found = [_as_json(each) for each in islice(findings, len(self._items[job.file]))]
                path = folder / job.file
                path.parent.mkdir(exist_ok=True)  # a component's
                write_bytes(path, json_text(found), how.sync)
                records.add({"file": job.file, **file_digests(path, BLAKE3)})

    def publish(
        self, place: PartsFolder, origin: Origin, *, force: bool, accept_loss: bool, how: Execution
    ) -> Verification:
        """The verification, of all findings; nothing is written."""
        found: dict[str | Path, ItemCheck] = {}
        for file, items in self._items.items():
            with at(path=place.files / file):
                findings = parse_json(read_all(place.files / file))
                if not fits(findings, [_shape()]) or len(findings) != len(items):
                    hint = f"remove {place.folder}, and run the parts again"
                    raise InputError("is not what a part finds", hint=hint, code="E-PARTS")
            found.update(zip(items, map(_finding, findings), strict=True))
        comparison = self.proof.comparison
        return comparison.verification(found[item] for item in comparison.items)


REAL = Regex(r"-?(0x[01]\.[0-9a-f]{1,13}p[+-]([0-9]{1,3}|10[01][0-9]|102[0-3])|inf|nan)")
"""What `float.hex` writes."""


def _real(value: Any) -> bool:
    """A number as `_texts` writes it."""
    return type(value) is int or (fits(value, {"hex": str}) and REAL.fullmatch(value["hex"]) is not None)


def _size(value: Any) -> bool:
    """Such a number that is not negative."""
    return _real(value) and not (value["hex"].startswith("-") if isinstance(value, dict) else value < 0)


def _shape() -> Shape:
    """What `_as_json` writes."""
    from adapterops.updates.survival import SIGNED, Survival

    check = {each.name: _real for each in fields(ModuleCheck) if each.name != "survival"}
    survived = {each.name: _real if each.name in SIGNED else _size for each in fields(Survival)}

    def module(value: Any) -> bool:
        two = isinstance(value, list) and len(value) == 2
        return two and fits(value[0], {**check, "survival": type(None)}) and fits(value[1], ({}, survived))

    return {"modules": {str: module}, "problems": [{"place": str, "what": str, "size": _real}]}


def _as_json(finding: ItemCheck) -> dict[str, Any]:
    """What `_finding` reads: numbers to the last bit, also those that are not finite."""
    modules = {
        module: [_texts(replace(check, survival=None)), _texts(check.survival)]
        for module, check in finding.modules.items()
    }
    return {"modules": modules, "problems": [_texts(each) for each in finding.problems]}


def _finding(content: Mapping[str, Any]) -> ItemCheck:
    from adapterops.updates.survival import Survival

    modules = {
        module: replace(ModuleCheck(**_values(check)), survival=Survival(**_values(survival)) if survival else None)
        for module, (check, survival) in content["modules"].items()
    }
    return ItemCheck(modules, [Problem(**_values(each)) for each in content["problems"]])


def _texts(value: Any) -> dict[str, Any]:
    """The fields of a value, numbers with a point as text."""
    fields = vars(value) if value else {}
    return {name: {"hex": each.hex()} if isinstance(each, float) else each for name, each in fields.items()}


def _values(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: float.fromhex(each["hex"]) if isinstance(each, Mapping) else each for name, each in fields.items()}
