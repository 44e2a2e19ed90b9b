"""Is this checkpoint W0 + ΔW, and nothing else? Bit for bit, by the merge identity,
and by the bytes of everything else.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.arrays.dtypes import FLOATS
from adapterops.checkpoints.checkpoint import BLOCK, Checkpoint
from adapterops.checkpoints.layouts import cast
from adapterops.engine import local
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.errors import InputError, UnsupportedError, VerificationError, at, check_opened
from adapterops.operations.fusion import fuse
from adapterops.operations.output_files import Problem, differs, files_of, sums
from adapterops.operations.quantization import as_stored, rounding
from adapterops.operations.replication import of_its_layers, replicated
from adapterops.operations.targets.based import on_base
from adapterops.operations.tensor_checks import ModuleCheck, check_tensor
from adapterops.operations.tensor_types import tensor_types
from adapterops.quant.scheme import CALIBRATED, NEAREST, STOCHASTIC
from adapterops.storage.outputs import MANIFEST
from adapterops.storage.safetensors import CHUNK
from adapterops.verification.replicas import replica_doubts
from adapterops.verification.witness import Witness, witness

ARRAYS, OF_CODES = 12, 34
"""Of a block in float32, that are held at a time: the base's, the model's, what it should be, and how they differ."""


@dataclass(frozen=True)
class Verification:
    """What `verify` found: a check for every adapted module, and the problems, the worst first.

    `others` are the tensors that no module adapts.
    """

    path: Path
    modules: Mapping[str, ModuleCheck]
    tensors: int
    others: int
    files: int
    problems: Sequence[Problem]

    @property
    def ok(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "verified": self.ok,
            "tensors": self.tensors,
            "files": self.files,
            "problems": [{"place": problem.place, "what": problem.what} for problem in self.problems],
            "modules": {module: check.as_json() for module, check in self.modules.items()},
        }


@dataclass(frozen=True)
class ItemCheck:
    """What was found of one tensor, or of one file."""

    modules: Mapping[str, ModuleCheck]
    problems: Sequence[Problem]


@dataclass(frozen=True)
class Audit:
    """A model and what it should be, to be compared tensor by tensor and file by file.

    Attributes:
        tensors: those that are there as they should be, as far as headers say.
        stated: the files that the manifest names, with what it says of them.
        files: how many files are looked at.
        problems: what headers alone show.
    """

    model: Checkpoint
    expected: Checkpoint
    second: Witness
    tensors: Sequence[str]
    stated: Mapping[Path, Mapping[str, Any]]
    files: int
    problems: Sequence[Problem]

    @property
    def folder(self) -> Path:
        """Where the model is."""
        return self.model.files.path if self.model.files else Path()

    @property
    def items(self) -> list[str | Path]:
        """All that there is to compare, in the order in which it is told."""
        return [*self.tensors, *self.stated]

    def working_memory(self, workers: int) -> int:
        """About how many bytes so many workers hold at a time: of each what comparing a tensor takes, or judging it."""
        joint_entries, arrays = self.expected.joint_entries, OF_CODES if self.expected.schemes else ARRAYS
        kept = max(self.expected.holding.values(), default=0)
        each = max(arrays * 4 * max(BLOCK, joint_entries) + self.expected.by_columns, self.second.memory(joint_entries))
        return workers * (each + kept) + CHUNK

    def run(self, items: Sequence[str | Path], how: Execution) -> Generator[ItemCheck, None, None]:
        """What is found of some items, in their order."""
        how = how.within(self.working_memory)
        torch = self.expected.needs_torch
        return local.run(self._check, items, needs_torch=lambda item: torch, to_the_bit=True, how=how)

    def _check(self, item: str | Path) -> ItemCheck:
        if isinstance(item, Path):
            return ItemCheck({}, list(differs(item, self.stated[item])))
        with at(tensor=item):
            modules, wrong, elsewhere = check_tensor(item, self.model, self.expected)
            doubts = () if wrong else self.second.tensor(item, elsewhere)
            return ItemCheck(modules, [*wrong, *(Problem(doubt.place, doubt.what, doubt.size) for doubt in doubts)])

    def verification(self, findings: Iterable[ItemCheck]) -> Verification:
        """The whole, of what was found of all items."""
        modules: dict[str, ModuleCheck] = {}
        problems, adapted = list(self.problems), 0
        for found in findings:
            modules |= found.modules
            adapted += bool(found.modules)
            problems += found.problems
        if modules and not any(check.changed or (check.survival and check.survival.dot) for check in modules.values()):
            none = "no entry of any adapted weight differs from the base: nothing was fused"
            problems.append(Problem(str(self.folder), none))
        problems.sort(key=lambda problem: -problem.size)
        total, modules = len(self.tensors), dict(sorted(modules.items()))
        return Verification(self.folder, modules, total, total - adapted, self.files, problems)


def verify(
    model: Checkpoint,
    base: Checkpoint,
    adapter: Adapter,
    *,
    dtype: str | None = None,
    precision: str = "float32",
    seed: int | None = None,
    grams: Checkpoint | None = None,
    types: Sequence[str] = (),
    how: Execution = DEFAULT,
) -> Verification:
    """Whether `model` is what `fuse` makes of the base and the adapter, and every other byte is the base's.

    Every adapted weight is computed again and compared bit for bit. The merge identity (W0 + sBA) x = W0 x + s B (A x)
    is tried on random vectors of a fixed seed, within a bound that follows from the dtype and the shape. All other
    tensors are compared by their bytes. A weight in codes is quantized again, in the scheme that it is found in, and every
    part compared. For the files see `output_files`.

    What `fuse` would make shows damage, and not a fault of `fuse`. So every tensor is judged a second time, in float64,
    by code that shares nothing with it but the readers; see `verification.witness`. Entries of a merge that another
    processor may keep or drop are judged here alone. Of weights in 16 and 32 bits that
    second judge finds all that is found here, where it is counted. Of codes only this one finds what is within the
    rounding of float32, another seed and any bit of their scales; and only this one knows the dtype that was asked for.

    Args:
        dtype: that was asked for, of the adapted weights or of all.
        precision: of ΔW and the sum, as for `fuse`.
        seed: of the stochastic rounding that was asked for.
        grams: of the inputs that rounding was calibrated for, where that was asked for.
        types: of the tensors of a GGUF model, that were asked for; see `tensor_types`.

    Raises:
        IncompatibleError: the adapter does not fit the base.

    Cost: both checkpoints are read once, and the files of the model once more for their checksums.
    """
    for each in (model, base):
        check_opened(each, Checkpoint, "open_checkpoint")
    check_opened(adapter, Adapter, "open_adapter")
    found = comparison(model, base, adapter, dtype=dtype, precision=precision, seed=seed, grams=grams, types=types)
    with closing(found.run(found.items, how)) as findings:
        return found.verification(findings)


def comparison(
    model: Checkpoint,
    base: Checkpoint,
    adapter: Adapter,
    *,
    dtype: str | None = None,
    precision: str = "float32",
    seed: int | None = None,
    grams: Checkpoint | None = None,
    types: Sequence[str] = (),
) -> Audit:
    """What `verify` compares, of which only headers are read: with what `fuse` makes, in the dtypes and the schemes that
    the model is found in.

    Raises:
        IncompatibleError: the adapter does not fit the base.
    """
    plain, ranges = base, adapter.config.replication
    base, adapter = replicated(base, [adapter]), of_its_layers(adapter)
    stated_adapter, adapter = adapter, adapter if adapter.task_vector else on_base(adapter, base)
    expected = fuse(base, adapter, dtype=dtype, precision=precision)
    expected = cast(expected, dtype) if dtype and _all_in(dtype, model, expected) else expected
    how = CALIBRATED if grams is not None else STOCHASTIC if seed is not None else NEAREST
    expected = rounding(expected, how, seed or 0, grams)
    expected = tensor_types(expected, types) if model.gguf and expected.gguf else as_stored(expected, model)
    stated, files = sums(model), dict(files_of(model, base))
    stochastic = seed is not None
    second, doubts = witness(
        model, base, adapter, stochastic=stochastic, grams=expected.grams, own=bool(stated), stated=stated_adapter
    )
    problems = [*_names(model, expected), *(Problem(doubt.place, doubt.what) for doubt in doubts)]
    problems += [Problem(*each) for each in (replica_doubts(plain, base, ranges) if ranges else ())]
    return Audit(
        model,
        expected,
        second,
        [name for name in expected.layout if _stored(name, model) == _stored(name, expected)],
        stated,
        len({*files, *(path.name for path in stated)}),
        [*problems, *filter(None, files.values())],
    )


def _all_in(dtype: str, model: Checkpoint, expected: Checkpoint) -> bool:
    """Whether tensors that no module adapts were stored in the dtype that was asked for, too."""
    others = [name for name, spec in expected.layout.items() if spec.dtype in FLOATS and spec.dtype != dtype]
    return any(name in model.layout and model.layout[name].dtype == dtype for name in others)


def _stored(name: str, checkpoint: Checkpoint) -> tuple[object, object]:
    """Shape, dtype and scheme of a tensor."""
    return checkpoint.layout.get(name), checkpoint.schemes.get(name)


def _names(model: Checkpoint, expected: Checkpoint) -> Iterator[Problem]:
    for name, spec in expected.layout.items():
        found = model.layout.get(name)
        if found is None:
            yield Problem(name, "is missing")
        elif found != spec:
            yield Problem(name, f"is {found.dtype} {list(found.shape)}, expected {spec.dtype} {list(spec.shape)}")
        elif model.schemes.get(name) != expected.schemes.get(name):
            yield Problem(name, f"is stored as {model.schemes.get(name)}, expected {expected.schemes.get(name)}")
    for name in model.layout:
        if name not in expected.layout:
            yield Problem(name, "should not be there")


def opened(path: Path, opening: Any) -> Checkpoint:
    """The checkpoint to verify. Damage that keeps it from being opened is what was looked for.

    Raises:
        InputError: it is an adapter, or a folder with nothing of a model.
        VerificationError: it cannot be opened.
    """
    try:
        checkpoint: Checkpoint = opening(path)
    except (InputError, UnsupportedError) as error:
        if error.code == "E-ADAPTER":
            hint = "verify takes the fused model: adapterops verify MODEL --base BASE --adapter ADAPTER; "
            hint += "adapterops check looks at an adapter"
            raise InputError(error.message, path=error.path, hint=hint, code=error.code) from None
        if error.code == "E-FOLDER" and not any((path / name).exists() for name in (MANIFEST, "config.json")):
            raise
        raise VerificationError(
            error.message, path=error.path, tensor=error.tensor, hint=error.hint, code=error.code
        ) from error
    return checkpoint
