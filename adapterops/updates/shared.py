"""VeRA: random factors that all modules share, and vectors that scale them."""

from __future__ import annotations

from collections.abc import Mapping

from adapterops.errors import InputError
from adapterops.updates.kinds import KINDS, Kind, Measure, Shape
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array
from adapterops.updates.unfitted import Unfitted

SHARED = ("vera_A", "vera_B")
ROLES = ("vera_lambda_b", "vera_lambda_d", *SHARED)


def _measure(shapes: Mapping[str, Shape]) -> Measure:
    """The factors are as large as the largest module needs: the width of a smaller one only its weight says."""
    b, d, A, B = (shapes[role] for role in ROLES)
    fits = len(b) == len(d) == 1 and len(A) == len(B) == 2 and A[0] == B[1] == d[0] and b[0] <= B[0]
    if not fits:
        shown = ", ".join(f"{role} {list(shapes[role])}" for role in ROLES)
        raise InputError(f"its shapes do not fit: {shown}", hint="all must come from one training", code="E-SHAPE")
    return Measure((b[0], 0), d[0], d[0])


def _build(arrays: Mapping[str, Array], scale: float) -> Unfitted:
    """ΔW = diag(b) B diag(d) A, with as many rows of B as b has, and as many columns of A as the weight."""
    b, d, A, B = (arrays[role] for role in ROLES)

    def on(inputs: int) -> LowRank:
        return LowRank(b[:, None] * B[: len(b)], d[:, None] * A[:, :inputs])

    return Unfitted(on, len(b), A.dtype, "VeRA", arrays)


KINDS.add(
    "VeRA",
    Kind(
        "VeRA",
        dict.fromkeys(ROLES, ""),
        _measure,
        _build,
        reads="shape",
        peft_type="VERA",
        alpha=None,
        fields=("projection_prng_key", "save_projection", "vera_dropout", "d_initial", "init_weights"),
    ),
)
"""Source: Kopiczko et al. 2023, arXiv:2310.11454."""
