"""Is this checkpoint W0 + ΔW, and nothing else? Bit for bit, by the merge identity,
and by the bytes of everything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adapterops.adapters.adapter import Adapter
from adapterops.arrays.dtypes import FLOATS
from adapterops.arrays.scratch import Scratch
from adapterops.checkpoints.checkpoint import STOCHASTIC, Checkpoint
from adapterops.checkpoints.layouts import cast
from adapterops.checkpoints.stored import StoredTensor
from adapterops.engine import local
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.errors import InputError, UnsupportedError, VerificationError, at
from adapterops.operations.fusion import Addition, fuse
from adapterops.operations.identity import Probe, near_sum
from adapterops.operations.output_files import Problem, differs, files_of, sums
from adapterops.operations.quantization import as_stored
from adapterops.operations.targets.based import on_base
from adapterops.quant.registry import kept
from adapterops.quant.scheme import torch_dtype
from adapterops.quant.used import decoded_to
from adapterops.storage.tensors import as_bytes
from adapterops.verification.witness import witness

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.arrays.floats import Array
    from adapterops.updates.survival import Survival

EQUAL = 1e-5
"""Two codes whose numbers are as far from what they stand for, up to this fraction, are as good:
float32 cannot tell the nearer one.
"""


@dataclass(frozen=True)
class ModuleCheck:
    """What was found of one adapted weight.

    Attributes:
        entries: compared; `exact` of them are bit for bit the rounded sum, `near` are the other neighbour of a sum so
            close to the middle of two numbers that float32 cannot tell, `wrong` are neither.
        identity: the largest |W'x - (W0 x + B(Ax))| on the probes, as a fraction of its bound; not of a weight in codes.
        survival: of a weight in codes, what is left of the update in them.
    """

    entries: int = 0
    exact: int = 0
    near: int = 0
    wrong: int = 0
    changed: int = 0
    identity: float = 0.0
    survival: Survival | None = None

    def __add__(self, other: ModuleCheck) -> ModuleCheck:
        sums = {
            name: getattr(self, name) + getattr(other, name)
            for name in ("entries", "exact", "near", "wrong", "changed")
        }
        parts = [each.survival for each in (self, other) if each.survival]
        return ModuleCheck(
            **sums, identity=max(self.identity, other.identity), survival=sum(parts[1:], parts[0]) if parts else None
        )

    def as_json(self) -> dict[str, Any]:
        counts = {name: value for name, value in vars(self).items() if name != "survival"}
        return counts | ({"survival": self.survival.as_json()} if self.survival else {})


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


def verify(
    model: Checkpoint,
    base: Checkpoint,
    adapter: Adapter,
    *,
    dtype: str | None = None,
    precision: str = "float32",
    seed: int | None = None,
    how: Execution = DEFAULT,
) -> Verification:
    """Whether `model` is what `fuse` makes of the base and the adapter, and every other byte is the base's.

    Every adapted weight is computed anew and compared bit for bit. The merge identity (W0 + sBA) x = W0 x + s B (A x)
    is tried on random vectors of a fixed seed, within a bound that follows from the dtype and the shape. All other
    tensors are compared by their bytes. A weight in codes is quantized anew, in the scheme that it is found in, and every
    part compared. For the files see `output_files`.

    What `fuse` would make shows damage, and not a fault of `fuse`. So every tensor is judged a second time, in float64,
    by code that shares nothing with it but the readers; see `verification.witness`. Of weights in 16 and 32 bits that
    second judge finds all that is found here, where it is counted. Of codes only this one finds what is within the
    rounding of float32, another seed and any bit of their scales; and only this one knows the dtype that was asked for.

    Args:
        dtype: that was asked for, of the adapted weights or of all.
        precision: of ΔW and the sum, as for `fuse`.
        seed: of the stochastic rounding that was asked for.

    Raises:
        IncompatibleError: the adapter does not fit the base.

    Cost: both checkpoints are read once, and the files of the model once more for their checksums.
    """
    adapter = adapter if adapter.task_vector else on_base(adapter, base)
    expected = fuse(base, adapter, dtype=dtype, precision=precision)
    expected = cast(expected, dtype) if dtype and _all_in(dtype, model, expected) else expected
    expected = as_stored(expected, model, None if seed is None else STOCHASTIC, seed or 0)
    problems, how = [*_names(model, expected)], how.within(expected.working_memory)
    second, doubts = witness(model, base, adapter, chance=seed is not None)
    problems += [Problem(doubt.place, doubt.what) for doubt in doubts]
    common = [name for name in expected.layout if model.layout.get(name) == expected.layout[name]]
    stated, files = sums(model), dict(files_of(model, base, expected))

    def check(job: str | Path) -> tuple[dict[str, ModuleCheck], list[Problem]]:
        if isinstance(job, Path):
            return {}, list(differs(job, stated[job]))
        with at(tensor=job):
            checks, wrong = _tensor(job, model, expected)
            seen = [] if wrong else [Problem(doubt.place, doubt.what, doubt.size) for doubt in second.tensor(job)]
            return checks, [*wrong, *seen]

    modules: dict[str, ModuleCheck] = {}
    jobs: list[str | Path] = [*common, *stated]
    problems += filter(None, files.values())
    others = len(common)
    for found, wrong in local.run(check, jobs, needs_torch=lambda job: expected.needs_torch, how=how):
        modules |= found
        others -= bool(found)
        problems += wrong
    if modules and not any(check.changed or (check.survival and check.survival.dot) for check in modules.values()):
        problems.append(
            Problem(str(_place(model)), "no entry of any adapted weight differs from the base: nothing was fused")
        )
    problems.sort(key=lambda problem: -problem.size)
    return Verification(
        _place(model),
        dict(sorted(modules.items())),
        len(common),
        others,
        len({*files, *(path.name for path in stated)}),
        problems,
    )


def _all_in(dtype: str, model: Checkpoint, expected: Checkpoint) -> bool:
    """Whether tensors that no module adapts were stored in the dtype that was asked for, too."""
    others = [name for name, spec in expected.layout.items() if spec.dtype in FLOATS and spec.dtype != dtype]
    return any(name in model.layout and model.layout[name].dtype == dtype for name in others)


def _place(model: Checkpoint) -> Path:
    return model.files.path if model.files else Path()


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


def _tensor(name: str, model: Checkpoint, expected: Checkpoint) -> tuple[dict[str, ModuleCheck], list[Problem]]:
    if not expected.computed(name):
        return {}, list(_copied(name, model.stored[name], expected.stored[name]))
    from adapterops.updates.survival import rounded

    rows = expected.rows(name)
    if expected.encoder(name):
        return _quantized(name, model.stored[name], expected)
    if isinstance(rows, Addition):
        return _addition(name, model, rows, expected)
    dtype, memory = expected.layout[name].dtype, Scratch()
    for begin, end in expected.blocks(name):
        found, wanted = model.stored[name].stored(begin, end), rounded(rows(begin, end), dtype, memory)
        if np.count_nonzero(_bits(found) != _bits(wanted)):
            return {}, [Problem(name, f"differs from the base's in rows {begin} to {end - 1}")]
    return {}, []


def _copied(name: str, found: StoredTensor, wanted: StoredTensor) -> Iterator[Problem]:
    for role, part in wanted.parts.items():
        other = found.parts[role]
        for index, (mine, base) in enumerate(zip_longest(other.file.chunks(other.name), part.file.chunks(part.name))):
            if mine != base:
                yield Problem(
                    name, f"{role} {_first_difference(mine or b'', base or b'', index * len(base or b''))}".lstrip()
                )
                break


def _quantized(name: str, found: StoredTensor, expected: Checkpoint) -> tuple[dict[str, ModuleCheck], list[Problem]]:
    """A weight that is stored in codes: every part of it, byte by byte, and what its updates came to."""
    import torch

    from adapterops.arrays.floats import narrowed
    from adapterops.updates.survival import survival

    rows, encoder, memory = expected.rows(name), expected.encoder(name), Scratch()
    before, scheme = expected.stored[name], expected.schemes[name]
    dtype = torch_dtype(decoded_to(scheme))
    assert encoder is not None
    offsets = dict.fromkeys(found.parts, 0)
    checks: dict[str, ModuleCheck] = {}
    problems: dict[str, Problem] = {}

    def compare(role: str, piece: Tensor) -> None:
        wanted = bytes(as_bytes(piece))
        got = bytes(as_bytes(found.read(role, offsets[role], offsets[role] + len(wanted))))
        offsets[role] += len(wanted)
        if got != wanted and role not in problems:
            problems[role] = Problem(
                name, f"{role} {_first_difference(got, wanted, offsets[role] - len(wanted), 'what it should be')}"
            )

    for begin, end in expected.blocks(name):
        block = rows(begin, end)
        target, stored = narrowed(block.values, "F32", memory), found.rows(begin, end, memory)
        pieces, decoded = encoder.rows(torch.from_numpy(target), begin)
        wanted = decoded().to(dtype).float().numpy()
        for role, piece in pieces.items():
            compare(role, piece)
        wrong = np.abs(stored - target) > np.abs(wanted - target) * (1 + EQUAL) + EQUAL * np.abs(target).max()
        exact = stored == wanted
        same = block.changes and scheme == before.scheme
        changed_codes = kept(scheme).changed(before.shape, before.read, begin, pieces).numpy() if same else None
        sums = survival(block, stored, "F32", quantized=True, changed_codes=changed_codes)
        for change in block.changes:
            off = int(np.count_nonzero(wrong[change.part] & ~exact[change.part]))
            right = int(np.count_nonzero(exact[change.part]))
            each = sums[change.module]
            check = ModuleCheck(each.entries, right, each.entries - right - off, off, each.changed, survival=each)
            checks[change.module] = checks.get(change.module, ModuleCheck()) + check
    for role, piece in encoder.rest().items():
        compare(role, piece)
    for role in [
        role for role, offset in offsets.items() if offset == 0 and role in before.parts
    ]:  # of a grid that stays as it is
        if not found.parts[role].same_bytes(before.parts[role]):
            problems[role] = Problem(name, f"{role} is not the base's")
    return checks, list(problems.values())


def _first_difference(
    found: bytes | bytearray, wanted: bytes | bytearray, offset: int, what: str = "the base's"
) -> str:
    place = next(
        (i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), min(len(found), len(wanted))
    )
    return f"is not {what}: byte {offset + place} differs"


def _bits(stored: Array) -> Array:
    return np.ascontiguousarray(stored).view({2: np.int16, 4: np.int32, 8: np.int64}[stored.itemsize])


def _changed(wide: Array, before: Array) -> int:
    """Entries that differ from the base's; zeros of another sign do."""
    return int(np.count_nonzero(_bits(wide) != _bits(before) if wide.dtype == before.dtype else wide != before))


def _addition(
    name: str, model: Checkpoint, rows: Addition, expected: Checkpoint
) -> tuple[dict[str, ModuleCheck], list[Problem]]:
    from adapterops.arrays.floats import widened
    from adapterops.updates.survival import rounded

    checks: dict[str, ModuleCheck] = {piece.target.module: ModuleCheck() for piece in rows.pieces}
    probes = {piece.target.module: Probe(piece) for piece in rows.pieces}
    outside = 0
    dtype, memory = expected.layout[name].dtype, Scratch()
    for begin, end in expected.blocks(name):
        block = rows(begin, end)
        wanted = rounded(block, dtype, memory)
        found = model.stored[name].stored(begin, end)
        different, stored = _bits(found) != _bits(wanted), widened(found, dtype, memory)
        for piece in rows.pieces:
            part = piece.target.within(begin, end)
            if part is None:
                continue
            change, own = block.change(piece.target.module), piece.target.own(begin, part)
            off = int(np.count_nonzero(different[part]))
            near = (
                near_sum(stored[part], dtype, change.W, change.delta, piece, own) & different[part]
                if off
                else different[:0]
            )
            ratio = probes[piece.target.module].ratio(stored[part], dtype, change.W, change.delta, own)
            entries, close = different[part].size, int(np.count_nonzero(near))
            checks[piece.target.module] += ModuleCheck(
                entries, entries - off, close, off - close, _changed(stored[part], change.W), ratio
            )
            different[part] = False
        outside += int(np.count_nonzero(different))
    problems = [_judge(module, name, check) for module, check in checks.items()]
    if outside:
        problems.append(Problem(name, f"entries that no module adapts are not the base's: {outside}"))
    return checks, [problem for problem in problems if problem]


def _judge(module: str, name: str, check: ModuleCheck) -> Problem | None:
    if check.wrong:
        return Problem(
            name, f"{check.wrong} of {check.entries} entries are not W0 + ΔW of {module}", check.wrong / check.entries
        )
    if not check.identity <= 1:  # NaN is wrong, too
        return Problem(
            name, f"the merge identity of {module} fails: {check.identity:.3g} times its bound", check.identity
        )
    return None


def opened(path: Path, opening: Any) -> Checkpoint:
    """The checkpoint to verify. Damage that keeps it from being opened is what was looked for.

    Raises:
        VerificationError: it cannot be opened.
    """
    try:
        checkpoint: Checkpoint = opening(path)
    except (InputError, UnsupportedError) as error:
        raise VerificationError(
            error.message, path=error.path, tensor=error.tensor, hint=error.hint, code=error.code
        ) from error
    return checkpoint
