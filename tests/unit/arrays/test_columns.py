"""Columns of a matrix in a file: the same bytes whatever a band holds, each read once."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.arrays import columns
from adapterops.arrays.columns import BANDS, Columns, kept
from adapterops.engine import local
from adapterops.engine.execution import Execution

MATRIX = np.random.default_rng(0).integers(0, 256, (7, 60), dtype=np.uint8)


@pytest.mark.parametrize("band", [1, 40, 200, 1 << 20])
def test_any_columns_are_those_of_the_matrix(band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "BAND", band)
    found = Columns(lambda begin, end: MATRIX.tobytes()[begin:end], *MATRIX.shape)
    for begin, end in [(0, 4), (3, 9), (9, 9), (40, 60), (0, 60), (59, 60), (5, 6)]:
        assert np.array_equal(found(begin, end), MATRIX[:, begin:end])


def test_columns_in_their_order_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "BAND", 70)
    read = 0

    def bytes_of(begin: int, end: int) -> bytes:
        nonlocal read
        read += end - begin
        return MATRIX.tobytes()[begin:end]

    found = Columns(bytes_of, *MATRIX.shape)
    for begin in range(0, 60, 2):
        found(begin, begin + 2)
    assert read == MATRIX.size


def test_a_thread_keeps_those_it_asked_for_last_until_its_work_ends() -> None:
    made: list[int] = []

    def asked(key: int) -> None:
        kept(key, lambda: made.append(key) or Columns(lambda begin, end: bytes(end - begin), 1, 1))

    keys = [0, 0, *range(BANDS), 0, BANDS, 0]
    list(local.run(asked, keys, how=Execution(1)))
    assert made == [*range(BANDS + 1), 0]
    list(local.run(asked, [0], how=Execution(1)))
    assert made == [*range(BANDS + 1), 0, 0]
