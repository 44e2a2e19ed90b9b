"""Whether one tensor of a model is what is expected: its entries, its codes, or its bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from adapterops.arrays.scratch import Scratch
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.stored import StoredTensor
from adapterops.operations.additions import Addition
from adapterops.operations.identity import Elsewhere, Probe, near_sum
from adapterops.operations.output_files import Problem
from adapterops.quant.registry import kept
from adapterops.quant.scheme import torch_dtype
from adapterops.quant.used import decoded_to
from adapterops.storage.safetensors import CHUNK
from adapterops.storage.tensors import as_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.arrays.floats import Array
    from adapterops.updates.survival import Survival

EQUAL = 1e-5
"""Two codes whose numbers are as far from what they stand for, up to this fraction, are as good:
float32 cannot tell the nearer one.
"""


ELSEWHERE = ", by no more than rounding explains on a processor of another kind: if it was made on one, verify it there"
"""Said of codes that are as near to the sum as those that are expected: each bit of their scales depends on the last one of a sum."""

CLOSE = 1e-3
"""Of the entries of a block, those that a processor may decide otherwise about, or one: about 2^-20 of them are as near to a threshold
as its rounding, and more of them to their next in a row.
"""


@dataclass(frozen=True)
class ModuleCheck:
    """What was found of one adapted weight.

    Attributes:
        entries: compared; `exact` of them are bit for bit the rounded sum, `near` are the other neighbour of a sum so
            close to the middle of two numbers that float32 cannot tell, or of an entry so close to a threshold of its method;
            `wrong` are neither.
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


class Checked(NamedTuple):
    """What was found of each module that adapts a tensor, and what is wrong with it.

    `elsewhere` are the entries, counted through the matrix, that a processor of another kind may have made of it.
    """

    modules: dict[str, ModuleCheck]
    problems: list[Problem]
    elsewhere: Sequence[int] = ()


def check_tensor(name: str, model: Checkpoint, expected: Checkpoint) -> Checked:
    """What was found of a tensor."""
    if not expected.computed(name):
        return Checked({}, list(_copied(name, model.stored[name], expected.stored[name])))
    from adapterops.updates.survival import rounded

    rows = expected.rows(name)
    if expected.encoder(name):
        return _quantized(name, model.stored[name], expected)
    if isinstance(rows, Addition):
        return _addition(name, model, rows, expected)
    dtype, memory = expected.layout[name].dtype, Scratch()
    for begin, end in expected.blocks(name):
        found, wanted = (
            model.stored[name].stored(begin, end),
            rounded(rows(begin, end), dtype, memory, expected.draws(name, begin, end)),
        )
        if np.count_nonzero(_bits(found) != _bits(wanted)):
            return Checked({}, [Problem(name, f"is not what it should be in rows {begin} to {end - 1}")])
    return Checked({}, [])


def _copied(name: str, found: StoredTensor, wanted: StoredTensor) -> Iterator[Problem]:
    for role, part in wanted.parts.items():
        other = found.parts[role]
        for index, (mine, base) in enumerate(zip_longest(other.file.chunks(other.name), part.file.chunks(part.name))):
            if mine != base:
                yield Problem(
                    name, f"{role} {_first_difference(mine or b'', base or b'', index * len(base or b''))}".lstrip()
                )
                break


class _Parts:
    """The parts of a weight in codes, compared piece by piece with what they should be."""

    def __init__(self, name: str, found: StoredTensor) -> None:
        self._name, self._found = name, found
        self._offsets = dict.fromkeys(found.parts, 0)
        self.problems: dict[str, Problem] = {}

    def compare(self, pieces: Mapping[str, Tensor]) -> None:
        for role, piece in pieces.items():
            data = as_bytes(piece)
            for first in range(0, len(data), CHUNK):
                wanted, offset = bytes(data[first : first + CHUNK]), self._offsets[role]
                got = bytes(as_bytes(self._found.read(role, offset, offset + len(wanted))))
                self._offsets[role] += len(wanted)
                if got != wanted and role not in self.problems:
                    what = f"{role} {_first_difference(got, wanted, offset)}"
                    self.problems[role] = Problem(self._name, what)

    def compare_rest(self, before: StoredTensor) -> None:
        """What no piece was of is the base's: a grid that stays as it is."""
        for role in [role for role, offset in self._offsets.items() if offset == 0 and role in before.parts]:
            if not self._found.parts[role].same_bytes(before.parts[role]):
                self.problems[role] = Problem(self._name, f"{role} is not the base's")


def _quantized(name: str, found: StoredTensor, expected: Checkpoint) -> Checked:
    """A weight that is stored in codes: every part of it, byte by byte, and what its updates came to."""
    import torch

    from adapterops.arrays.floats import narrowed
    from adapterops.updates.survival import survival

    rows, encoder, memory = expected.rows(name), expected.encoder(name), Scratch()
    before, scheme = expected.stored[name], expected.schemes[name]
    dtype = torch_dtype(decoded_to(scheme))
    assert encoder is not None
    parts, checks = _Parts(name, found), dict[str, ModuleCheck]()
    for begin, end in expected.blocks(name):
        block = rows(begin, end)
        target, stored = narrowed(block.values, "F32", memory), found.rows(begin, end, memory)
        pieces, decoded = encoder.rows(torch.from_numpy(target), begin)
        wanted = decoded().to(dtype).float().numpy()
        parts.compare(encoder.written(pieces))
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
    parts.compare(encoder.rest())
    if checks and not any(check.wrong for check in checks.values()):
        parts.problems = {role: replace(each, what=each.what + ELSEWHERE) for role, each in parts.problems.items()}
    parts.compare_rest(before)
    return Checked(checks, list(parts.problems.values()))


def _first_difference(found: bytes | bytearray, wanted: bytes | bytearray, offset: int) -> str:
    place = next(
        (i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), min(len(found), len(wanted))
    )
    return f"is not what it should be: byte {offset + place} differs"


def _bits(stored: Array) -> Array:
    return np.ascontiguousarray(stored).view({2: np.int16, 4: np.int32, 8: np.int64}[stored.itemsize])


def _changed(wide: Array, before: Array) -> int:
    """Entries that differ from the base's; zeros of another sign do."""
    return int(np.count_nonzero(_bits(wide) != _bits(before) if wide.dtype == before.dtype else wide != before))


def _addition(name: str, model: Checkpoint, rows: Addition, expected: Checkpoint) -> Checked:
    from adapterops.arrays.floats import widened
    from adapterops.updates.survival import rounded

    checks: dict[str, ModuleCheck] = {piece.target.module: ModuleCheck() for piece in rows.pieces}
    probes = {piece.target.module: Probe(piece) for piece in rows.pieces}
    others = {piece.target.module: Elsewhere(piece.update) for piece in rows.pieces}
    outside, elsewhere = 0, list[int]()
    dtype, memory = expected.layout[name].dtype, Scratch()
    for begin, end in expected.blocks(name):
        block = rows(begin, end)
        draws = expected.draws(name, begin, end)
        wanted = rounded(block, dtype, memory, draws)
        found = model.stored[name].stored(begin, end)
        different, stored = _bits(found) != _bits(wanted), widened(found, dtype, memory)
        for piece in rows.pieces:
            part = piece.target.within(begin, end)
            if part is None:
                continue
            change, own = block.change(piece.target.module), piece.target.own(begin, part)
            off = int(np.count_nonzero(different[part]))
            near = (
                near_sum(stored[part], dtype, change, piece, own, None if draws is None else draws[part])
                & different[part]
                if off
                else different[:0]
            )
            left, as_here = off - int(np.count_nonzero(near)), stored
            if draws is None and 0 < left <= max(1, CLOSE * different[part].size):
                there = others[piece.target.module].near(stored[part], dtype, change.W, own, different[part] & ~near)
                near = near | there
                places = np.zeros(different.shape, bool)
                places[part] = there
                elsewhere += (np.flatnonzero(places) + begin * different.shape[1]).tolist()
                as_here = np.where(places, widened(wanted, dtype, Scratch()), stored)
            ratio = probes[piece.target.module].ratio(as_here[part], dtype, change.W, change.delta, own)
            entries, close = different[part].size, int(np.count_nonzero(near))
            checks[piece.target.module] += ModuleCheck(
                entries, entries - off, close, off - close, _changed(stored[part], change.W), ratio
            )
            different[part] = False
        outside += int(np.count_nonzero(different))
    problems = [_judge(module, name, check) for module, check in checks.items()]
    if outside:
        problems.append(Problem(name, f"entries that no module adapts are not the base's: {outside}"))
    return Checked(checks, [problem for problem in problems if problem], elsewhere)


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
