"""What is noted of a portion of an adapter, and the modules that are read from its file again."""

from __future__ import annotations

from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import write_adapter

import adapterops as ao
from adapterops.adapters.factors import factored
from adapterops.adapters.planning import arrangement
from adapterops.adapters.portions import portions, read, stored, write_portions
from adapterops.engine.execution import Execution
from adapterops.errors import InputError


class Noting(list[dict[str, Any]]):
    """Records in memory."""

    def add(self, entry: dict[str, Any]) -> None:
        self.append(entry)


def test_modules_come_back_as_they_were_computed(tmp_path: Path) -> None:
    adapter = ao.merge(
        [ao.open_adapter(write_adapter(tmp_path / name, seed=seed)) for seed, name in enumerate("ab")], "ties"
    )
    arranged, records = arrangement(adapter, "BF16", None), Noting()
    jobs = portions(adapter, arranged)
    assert [list(job.tensors) for job in jobs] == [list(group) for group in arranged.groups.values()]
    assert sum(len(job.inputs) for job in jobs) == 2, "each input file is hashed once"
    write_portions(adapter, arranged, jobs[::-1], tmp_path, records, exact=True, how=Execution(2))
    files = {record["file"]: read(record) for record in records}
    for found in stored(adapter, tmp_path, jobs, files):
        expected = factored(adapter, arranged, exact=True)(found.module)
        assert np.array_equal(found.A, expected.A)
        assert np.array_equal(found.B, expected.B)
        assert (found.A.dtype, found[3:6]) == (expected.A.dtype, expected[3:6])
        assert found.image.distance(expected.image, ordered=True) <= expected.image.within


def test_a_rank_above_the_planned_one_is_refused(tmp_path: Path) -> None:
    """As of a part that was made after another measurement."""
    adapter = ao.open_adapter(write_adapter(tmp_path / "a"))
    arranged, records = arrangement(adapter, None, None), Noting()
    jobs = portions(adapter, arranged)
    write_portions(adapter, arranged, jobs, tmp_path, records, exact=True, how=Execution(1))
    files = {record["file"]: read(record) for record in records}
    assert len(list(stored(adapter, tmp_path, jobs, files))) == len(adapter.layout)
    smaller = ao.truncate(adapter, rank=1)
    with pytest.raises(InputError, match="has not the tensors of its part"):
        list(stored(smaller, tmp_path, portions(smaller, arrangement(smaller, None, None)), files))


def test_figures_to_the_last_bit() -> None:
    figures = {"m": [value.hex() for value in (1 / 3, inf, nan)]}
    found = read({"blake3": "0", "figures": figures, "inputs": []}).figures["m"]
    assert found[:2] == (1 / 3, inf)
    assert isnan(found[2])


@pytest.mark.parametrize("figures", [None, [], {"m": [1.0, 2.0, 3.0]}, {"m": ["0x1p0"]}, {"m": ["x", "y", "z"]}])
def test_a_record_that_is_none(figures: Any) -> None:
    with pytest.raises((KeyError, TypeError, AttributeError, ValueError)):
        read({"blake3": "0", "figures": figures, "inputs": []})
