"""LoKr against np.kron in float64, in each way that its matrices are stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from adapterops.errors import AdapterOpsError, InputError
from adapterops.testing import check_update
from adapterops.updates.dense import Dense
from adapterops.updates.kinds import kind_of
from adapterops.updates.kronecker import Kronecker
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array

ONE, TWO = (3, 4), (7, 5)
RANK = 2
FORMS = {
    "both whole": {"lokr_w1": ONE, "lokr_w2": TWO},
    "the second factored": {"lokr_w1": ONE, "lokr_w2_a": (TWO[0], RANK), "lokr_w2_b": (RANK, TWO[1])},
    "the first factored": {"lokr_w1_a": (ONE[0], RANK), "lokr_w1_b": (RANK, ONE[1]), "lokr_w2": TWO},
    "both factored": {
        "lokr_w1_a": (ONE[0], RANK),
        "lokr_w1_b": (RANK, ONE[1]),
        "lokr_w2_a": (TWO[0], RANK),
        "lokr_w2_b": (RANK, TWO[1]),
    },
}
BOUNDS = {"both whole": 15, "the second factored": 6, "the first factored": 10, "both factored": 4}


def arrays(form: str, dtype: Any = np.float64) -> dict[str, Array]:
    random = np.random.default_rng(1)
    return {role: random.standard_normal(shape).astype(dtype) for role, shape in FORMS[form].items()}


def formula(found: Mapping[str, Array], scale: float) -> Array:
    wide = {role: each.astype(np.float64) for role, each in found.items()}
    one, two = (
        wide[role] if role in wide else wide[f"{role}_a"] @ wide[f"{role}_b"] for role in ("lokr_w1", "lokr_w2")
    )
    return scale * np.kron(one, two)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", FORMS)
def test_the_laws_hold_and_entries_are_those_of_the_formula(form: str, dtype: Any) -> None:
    found, kind = arrays(form, dtype), kind_of(FORMS[form])
    update = kind.build(found, -0.75)
    assert kind.name == "LoKr"
    check_update(update)
    check_update(update.T)
    check_update(update + LowRank(np.ones((21, 2), dtype), np.ones((2, 20), dtype)))
    np.testing.assert_allclose(update.dense(), formula(found, -0.75), atol=64 * np.finfo(dtype).eps)
    measured = kind.measure(FORMS[form])
    factors = update.lowrank()
    assert factors is not None
    assert measured.shape == update.shape == (21, 20)
    assert measured.rank == (None if form == "both whole" else RANK)
    assert factors.rank == measured.bound == BOUNDS[form]
    assert np.linalg.matrix_rank(formula(found, 1)) == BOUNDS[form]


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (slice(0, 21), slice(0, 20)),
        (slice(5, 16), slice(0, 20)),
        (slice(6, 7), slice(3, 18)),
        (slice(0, 21, 4), slice(0, 20, 3)),
        (slice(0, 0), slice(0, 20)),
    ],
)
def test_a_part_is_written_where_it_belongs(rows: slice, columns: slice) -> None:
    found = arrays("the second factored")
    update, expected = kind_of(found).build(found, 1.5), formula(found, 1.5)
    around = np.full((21, 20), np.nan)
    np.testing.assert_allclose(update.change((rows, columns), around, around[rows, columns]), expected[rows, columns])
    assert np.isnan(around).sum() == around.size - expected[rows, columns].size


def test_more_dimensions_than_a_matrix_has_are_not_kept() -> None:
    shapes = {"lokr_w1": (2, 2), "lokr_w2_a": (9, 4), "lokr_w2_b": (4, 3)}
    random = np.random.default_rng(2)
    update = kind_of(shapes).build({role: random.standard_normal(shape) for role, shape in shapes.items()}, 1.0)
    check_update(update)
    factors = update.lowrank()
    assert factors is not None
    assert factors.rank == kind_of(shapes).measure(shapes).bound == 6


def test_norm_is_in_float64() -> None:
    update = Kronecker(Dense(np.full((200, 300), 1e-25, np.float32)), Dense(np.full((2, 3), 1e-25, np.float32)))
    assert update.norm() == pytest.approx(6e-48, rel=1e-6)


@pytest.mark.parametrize(
    ("shapes", "kind", "said"),
    [
        ({"lokr_w1": ONE, "lokr_w2_a": (7, 2), "lokr_w2_b": (3, 5, 3)}, InputError, "lokr_w2_b has rank 3"),
        ({"lokr_w1": ONE, "lokr_w2": (7,)}, InputError, r"lokr_w2 has the shape \[7\], expected two dimensions"),
        ({"lokr_w1": ONE, "lokr_w2_a": (7, 2), "lokr_w2_b": (3, 5)}, InputError, "lokr_w2_b has rank 3"),
        (
            {"lokr_w1_a": (3, 2), "lokr_w1_b": (2, 4), "lokr_w2_a": (7, 3), "lokr_w2_b": (3, 5)},
            InputError,
            "its two matrices have the ranks 2 and 3",
        ),
    ],
)
def test_shapes_that_do_not_fit(shapes: dict[str, tuple[int, ...]], kind: type[AdapterOpsError], said: str) -> None:
    with pytest.raises(kind, match=said):
        kind_of(shapes).measure(shapes)
