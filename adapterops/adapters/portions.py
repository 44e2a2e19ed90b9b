"""An adapter made in portions: a file for each group of modules, whose factors are what is expensive; and the adapter of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.factors import Factors, factored
from adapterops.adapters.planning import stored_sizes
from adapterops.adapters.proof import image
from adapterops.arrays.dtypes import WIDE
from adapterops.arrays.floats import widened
from adapterops.arrays.scratch import Scratch
from adapterops.engine import local
from adapterops.engine.execution import Execution
from adapterops.engine.plan import Job, dealt
from adapterops.engine.records import Records
from adapterops.errors import InputError
from adapterops.formats.registry import Arrangement
from adapterops.storage.checksums import BLAKE3, file_digests
from adapterops.storage.safetensors import SafetensorsFile
from adapterops.storage.tensors import Spec
from adapterops.storage.writer import write_safetensors
from adapterops.updates.lowrank import LowRank

ROLES = "A", "B"


@dataclass(frozen=True)
class Portion:
    """A finished file; see `Noted`. `figures`: of each module the norm, the error, and what rounding moved."""

    size = None  # nobody asks for it
    blake3: str
    figures: Mapping[str, tuple[float, float, float]]
    inputs: Sequence[Mapping[str, str]]


def read(record: Mapping[str, Any]) -> Portion:
    """The portion of a record.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: it is not one that `write_portions` wrote.
    """
    figures = {}
    for module, numbers in record["figures"].items():
        norm, error, rounding = map(float.fromhex, numbers)
        figures[module] = norm, error, rounding
    inputs = [{str(name): str(value) for name, value in hashes.items()} for hashes in record["inputs"]]
    return Portion(str(record["blake3"]), figures, inputs)


def portions(adapter: Adapter, arranged: Arrangement) -> tuple[Job, ...]:
    """The jobs, one for each group of modules that are stored in one."""
    files = {f"modules-{number:05}.safetensors": group for number, group in enumerate(arranged.groups, 1)}
    inputs = dealt(adapter.history, files, {})
    sizes = stored_sizes(adapter, arranged)
    return tuple(
        Job(file, {module: sizes[module] for module in arranged.groups[group]}, inputs[file])
        for file, group in files.items()
    )


def write_portions(
    adapter: Adapter,
    arranged: Arrangement,
    jobs: Sequence[Job],
    folder: Path,
    records: Records,
    *,
    exact: bool,
    how: Execution,
) -> None:
    """The file of each job, and the hashes of its input files.

    Raises:
        IncompatibleError: a number does not fit the dtype of the output.
    """
    dtypes = arranged.of_modules()
    sizes = {module: size for job in jobs for module, size in job.tensors.items()}
    compute = factored(adapter, arranged, exact)
    with closing(local.run(compute, sizes, size=sizes.__getitem__, how=how)) as results:
        for job in jobs:
            found = list(islice(results, len(job.tensors)))
            arrays = [
                (_name(each.module, role), dtype, array)
                for each in found
                for role, dtype, array in zip(ROLES, dtypes[each.module], (each.A, each.B), strict=True)
            ]
            layout = {name: Spec("F32" if dtype == WIDE else dtype, array.shape) for name, dtype, array in arrays}
            named = ((name, array) for name, _, array in arrays)
            write_safetensors(folder / job.file, layout, named, {"format": "pt"}, sync=os.fsync if how.sync else _later)
            record = {
                "file": job.file,
                **file_digests(folder / job.file, BLAKE3),
                "figures": {
                    each.module: [value.hex() for value in (each.norm or 0.0, each.error, each.rounding)]
                    for each in found
                },
                "inputs": [file.identity.hashes() for file in job.inputs],
            }
            records.add(record)


def stored(adapter: Adapter, folder: Path, jobs: Sequence[Job], files: Mapping[str, Portion]) -> Iterator[Factors]:
    """The modules of finished files, in the order of the jobs, as `factored` computed them.

    Raises:
        InputError: a file has tensors other than its job's, or of a higher rank than is planned.
    """
    for job in jobs:
        file = SafetensorsFile(folder / job.file)
        planned = file.entries.keys() == {_name(module, role) for module in job.tensors for role in ROLES}
        if not planned or any(
            file.entries[_name(module, "A")].shape[:1] > (adapter.layout[module].rank,) for module in job.tensors
        ):
            raise InputError(
                "has not the tensors of its part",
                path=file.path,
                hint=f"remove {folder.parent}, and run the parts again",
                code="E-PARTS",
            )
        for module in job.tensors:
            A, B = (file.array(_name(module, role)) for role in ROLES)
            wide = [
                widened(each, file.entries[_name(module, role)].dtype, Scratch())
                for role, each in zip(ROLES, (A, B), strict=True)
            ]
            yield Factors(module, A, B, *files[job.file].figures[module], image(LowRank(wide[1], wide[0])))


def _later(descriptor: int) -> None:
    """The disk may take its time."""


def _name(module: str, role: str) -> str:
    return f"{module}.{role}"
