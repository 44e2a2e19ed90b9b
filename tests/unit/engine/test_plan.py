"""What saving will do: bytes, downloads, what is measured first, and the hash of all that."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from collections_of import adapters, collection
from corpus import write_adapter
from pretended import pretend

from adapterops.adapters.opening import open_adapter
from adapterops.engine import local, plan
from adapterops.engine.execution import Execution
from adapterops.engine.plan import (
    DIFFERENCES,
    OF_METHOD,
    SPECTRA,
    Job,
    Plan,
    dealt,
    hashed,
    once,
    rounding_device,
    statistics,
    steps,
)
from adapterops.errors import ResourceError
from adapterops.provenance.history import Source, Step


def source(folder: Path, **fields: Any) -> Source:
    found = open_adapter(write_adapter(folder, **fields)).history
    assert isinstance(found, Source)
    return found


def test_bytes_add_up_and_have_to_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan((Job("a", {"x": 10, "y": 5}), Job("b", {"z": 1})), 7, {Path("f"): 3}, (SPECTRA,), "abc")
    assert plan.bytes == 16
    assert plan.as_json()["download"] == {"files": 1, "bytes": 3}
    assert plan.as_json()["shards"]["a"] == {"tensors": 2, "bytes": 15}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=16))
    assert plan.free(tmp_path / "out") == 16
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=15))
    with pytest.raises(ResourceError, match="needs 16 bytes, 15 bytes are free"):
        plan.free(tmp_path / "out")


def test_what_is_measured_first() -> None:
    paper = Step("merge", {"method": "ties", "convention": "paper"}, (Step("memory"),))
    plain = Step("merge", {"method": "ties", "convention": None}, (Step("memory"),))
    assert statistics(Step("truncate", {"budget": 9}, (paper,))) == (SPECTRA, OF_METHOD)
    assert statistics(Step("extract", {}, (plain,))) == (DIFFERENCES,)
    assert [step.operation for step in steps(Step("fuse", {}, (paper, plain)))] == [
        *("fuse", "merge", "memory", "merge", "memory")
    ]


def test_each_input_file_is_hashed_with_the_file_that_reads_most_of_it(tmp_path: Path) -> None:
    one, other = source(tmp_path / "a"), source(tmp_path / "b", seed=1)
    paths = [each.tensors[0].path for each in (one, other)]
    found = dealt(Step("add", {}, (one, other)), ["x", "y"], {paths[0]: {"x": 1, "y": 2}})
    assert {name: [file.path for file in files] for name, files in found.items()} == {"x": [paths[1]], "y": [paths[0]]}


def test_the_hash_is_that_of_inputs_operation_and_details(tmp_path: Path) -> None:
    one, other = source(tmp_path / "a"), source(tmp_path / "b", seed=1)
    hashes = [
        hashed(one),
        hashed(other),
        hashed(Step("scale", {"by": 2.0}, (one,))),
        hashed(Step("scale", {"by": 3.0}, (one,))),
        hashed(one, "F16"),
    ]
    assert len({*hashes}) == len(hashes)
    assert hashed(one) == hashes[0]


def test_adapters_of_one_collection_are_several_inputs(tmp_path: Path) -> None:
    folder = collection(tmp_path, adapters(tmp_path, 2))
    assert len({hashed(open_adapter(f"{folder}#{name}").history) for name in ("task0", "task1")}) == 2


def test_what_is_measured_depends_on_versions_and_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, int] = {}
    how = Execution(once=lambda key, shape, measure: known.setdefault(key, measure()))

    def found(value: int) -> int:
        return once(int, lambda: value, Step("memory"), "name", how=how)

    assert (found(1), found(2)) == (1, 1)
    monkeypatch.setattr(plan, "versions", lambda torch: {"adapterops": "another"})
    assert (found(3), found(4)) == (3, 3)
    monkeypatch.setattr(local, "kernels", lambda torch: ["another"])
    assert (found(5), found(6)) == (5, 5)


@pytest.mark.parametrize(
    ("operation", "parameters", "rounds"),
    [
        ("fuse", {}, False),
        ("merge", {"method": "linear", "space": "delta"}, False),
        ("merge", {"method": "linear", "space": "core"}, True),
        ("merge", {"method": "ties", "space": "delta"}, True),
        ("truncate", {}, True),
        ("extract", {}, True),
    ],
    ids=str,
)
def test_bytes_depend_on_a_device_where_it_merges_or_cuts(
    operation: str, parameters: dict[str, Any], rounds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    history = Step("fuse", {}, (Step(operation, parameters),))
    assert rounding_device(history, Execution()) == ""
    assert bool(rounding_device(history, Execution(device="cuda"))) == rounds
