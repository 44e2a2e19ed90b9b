"""OFT and BOFT: the inputs of a layer are rotated, in blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from adapterops.errors import IncompatibleError, InputError, UnsupportedError, in_json
from adapterops.updates.kinds import KINDS, Kind, Measure, Shape
from adapterops.updates.protocol import Array, Part, TransposedUpdate, no_factors, unscaled

MERGE = "merge it into its base with PEFT: merge_and_unload"
ROLE, ROTATIONS, LENGTHS = "oft_R", "boft_R", "boft_s"


@dataclass(frozen=True, eq=False)
class Rotation:
    """W' = diag(s) W R₁ᵀ R₂ᵀ ..., each R the Cayley transform (I - Q)(I + Q)⁻¹ of skew-symmetric blocks Q.

    Attributes:
        skew: the blocks of each R, (N, in / b, b, b) in float64; one for all of an R, where they are shared.
        terms: of the series that stands for the Cayley transform, I + 2Q + ... + 2Qᵗ⁻² + Qᵗ⁻¹; None for itself.
        lengths: s, one number for each output; None for ones.
        orders: of each R, which inputs are in its blocks, from the first to the last; none where they are as they come.

    Source: Qiu et al. 2023, arXiv:2306.07280 (OFT); Liu et al. 2024, arXiv:2311.06243 (BOFT).
    """

    skew: Array
    shape: tuple[int, int]
    terms: int | None = None
    lengths: Array | None = None
    orders: Sequence[Array] = ()

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.skew.dtype

    @property
    def T(self) -> TransposedUpdate:
        return TransposedUpdate(self)

    lowrank = no_factors

    @cached_property
    def rotations(self) -> Array:
        """R₁, R₂, ...: (N, in / b, b, b)."""
        Q, one = self.skew, np.eye(self.skew.shape[-1])
        if self.terms is None:
            solved: Array = np.linalg.solve((one + Q).swapaxes(-1, -2), (one - Q).swapaxes(-1, -2))
            return solved.swapaxes(-1, -2)
        powers = [one]
        for _ in range(1, max(2, self.terms)):
            powers.append(powers[-1] @ Q)
        found: Array = np.broadcast_to(one, Q.shape).copy()
        for power in range(1, self.terms):
            found += powers[power] if power == self.terms - 1 > 1 else 2 * powers[power]
        return found

    def change(self, part: Part, W: Array, out: Array) -> Array:
        """The columns must be whole rows of the weight. Cost: O(b) for each entry."""
        (_, into), width = W.shape, self.skew.shape[-1]
        if into % width:
            raise IncompatibleError(
                f"rotates blocks of {width} inputs, and the weight of the base has {into}",
                hint="give the base that the adapter was trained on",
                code="E-SHAPE",
            )
        with np.errstate(all="ignore"):  # what is not finite is found when it is stored
            found = W.astype(out.dtype)
            for index, R in enumerate(self.rotations.astype(out.dtype)):
                order = self.orders[index] if self.orders else slice(None)
                blocks = found[:, order].reshape(len(found), -1, 1, width)
                found[:, order] = (blocks @ R.swapaxes(-1, -2)).reshape(len(found), into)
            if self.lengths is not None:
                found *= self.lengths[part[0], None].astype(out.dtype)
            changed: Array = np.subtract(found, W, out=out)
            return changed

    __mul__ = __rmul__ = unscaled("a rotation")


def oft(*, shared: bool = False, terms: int | None = None, most: float | None = None) -> Kind:
    """OFT by its config: one block for all inputs, the terms of a series, and how long a block may be (COFT)."""

    def measured(shapes: Mapping[str, Shape]) -> Measure:
        """Of a layer, its inputs; of one block for all of them, nothing."""
        shape = shapes[ROLE]
        width = _width(shape[1]) if len(shape) == 2 else 0
        if not width or (shared and shape[0] != 1):
            raise InputError(
                f"{ROLE} has the shape {list(shape)}, expected blocks by b (b - 1) / 2",
                hint="save the adapter again, with PEFT 0.14 or later",
                code="E-SHAPE",
            )
        return Measure((0, 0 if shared else shape[0] * width), None, 1)

    def built(arrays: Mapping[str, Array], scale: float) -> Rotation:
        packed = arrays[ROLE].astype(np.float64)
        width = _width(packed.shape[1])
        skew = np.zeros((len(packed), width, width))
        rows, columns = np.triu_indices(width, 1)
        skew[:, rows, columns] = packed
        skew -= skew.swapaxes(1, 2).copy()
        if most is not None:
            sizes = np.linalg.norm(skew, axis=(1, 2), keepdims=True)
            limit = most / math.sqrt(len(skew))
            skew = np.where(sizes <= limit, skew, limit * skew / np.where(sizes, sizes, 1))
        return Rotation(skew[None], (0, 0 if shared else len(packed) * width), terms)

    return Kind(
        "OFT",
        {ROLE: ".weight"},
        measured,
        built,
        reads="rows",
        peft_type="OFT",
        alpha=None,
        stated=_stated,
        fields=(
            "module_dropout",
            "init_weights",
            "oft_block_size",
            "coft",
            "eps",
            "block_share",
            "use_cayley_neumann",
            "num_cayley_neumann_terms",
        ),
    )


def _stated(fields: Mapping[str, Any]) -> Kind:
    """OFT as the config of PEFT has it."""
    terms, most = fields.get("num_cayley_neumann_terms", 5), fields.get("eps", 6e-5)
    if type(terms) is not int or terms < 1 or isinstance(most, bool) or not isinstance(most, int | float):
        raise InputError(
            f"num_cayley_neumann_terms is {in_json(terms)} and eps is {in_json(most)}, expected numbers",
            hint="write there what it was trained with",
            code="E-CONFIG",
        )
    series = fields.get("use_cayley_neumann", True)
    return oft(
        shared=bool(fields.get("block_share")),
        terms=(4 if terms == 3 else terms) if series else None,  # PEFT adds the power after the last but one of three
        most=float(most) if fields.get("coft") else None,
    )


def _width(entries: int) -> int:
    """b, where b (b - 1) / 2 is a number of entries; 0 where none is."""
    width = (1 + math.isqrt(1 + 8 * entries)) // 2
    return width if width * (width - 1) == 2 * entries > 0 else 0


def _measure(shapes: Mapping[str, Shape]) -> Measure:
    R, s = shapes[ROTATIONS], shapes[LENGTHS]
    if len(s) == 2 and s[0] == 1 < s[1]:
        raise UnsupportedError("is BOFT of a convolution, which is not handled", hint=MERGE)
    if len(R) != 4 or R[2] != R[3] or s != (s[0], 1) or (R[0] > 1 and (R[1] % 2 ** (R[0] - 1) or R[2] % 2)):
        raise InputError(
            f"{ROTATIONS} and {LENGTHS} have the shapes {list(R)} and {list(s)}, expected (N, blocks, b, b) and (out, 1)",
            hint="save the adapter again",
            code="E-SHAPE",
        )
    return Measure((s[0], R[1] * R[2]), None, 1)


def _build(arrays: Mapping[str, Array], scale: float) -> Rotation:
    data, s = arrays[ROTATIONS].astype(np.float64), arrays[LENGTHS]
    skew = (data - data.swapaxes(2, 3)) / 2
    count, blocks, width, _ = data.shape
    orders = [_butterfly(blocks * width, blocks >> level, width // 2) for level in range(count)] if count > 1 else []
    return Rotation(skew, (len(s), blocks * width), None, s.reshape(-1), orders)


def _butterfly(inputs: int, blocks: int, half: int) -> Array:
    """Where the inputs go when in each of some blocks the runs of `half` with even numbers come first, then the odd ones."""
    runs = np.arange(inputs).reshape(blocks, -1, half)
    return np.argsort(np.concatenate([runs[:, ::2], runs[:, 1::2]], axis=1).reshape(-1))


KINDS.add("OFT", oft())
KINDS.add(
    "BOFT",
    Kind(
        "BOFT",
        {ROTATIONS: "", LENGTHS: ""},
        _measure,
        _build,
        reads="rows",
        peft_type="BOFT",
        alpha=None,
        fields=("boft_block_size", "boft_block_num", "boft_n_butterfly_factor", "boft_dropout", "init_weights"),
    ),
)
