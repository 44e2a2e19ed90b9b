"""Opening what was saved is the identity; the same work gives the same bytes; a failure leaves nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import factors, tree, write_adapter
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import MODULES, entries, low_rank

import adapterops as ao
from adapterops import Adapter
from adapterops.engine.execution import Execution
from adapterops.provenance.manifest import Origin, described


@settings(max_examples=25)
@given(
    st.integers(0, 10**6),
    st.sampled_from([1.0, 0.3]),
    st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]),
)
def test_open_after_save(tmp_path_factory: pytest.TempPathFactory, seed: int, scale: float, dtype: torch.dtype) -> None:
    folder = tmp_path_factory.mktemp("round")
    given_updates = {
        name: low_rank(seed + rank, *shape, rank, scale, dtype)
        for rank, (name, shape) in enumerate(MODULES.items(), start=1)
    }
    short = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}[dtype]
    ao.save_adapter(Adapter.of(given_updates, dtype=short), folder / "first")
    found = ao.open_adapter(folder / "first")
    assert set(found.layout) == set(given_updates)
    for name, update in given_updates.items():
        again = found.updates[name]
        assert np.array_equal(again.A, update.A)
        assert found.layout[name].dtype == short
        assert again.scale == 1
        wanted = torch.from_numpy(np.multiply(scale, update.B, dtype=update.B.dtype)).to(dtype)
        assert torch.equal(torch.from_numpy(again.B).to(dtype), wanted)
    ao.save_adapter(found, folder / "second")
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (folder / "first" / file).read_bytes() == (folder / "second" / file).read_bytes()


WORK = """
import sys, adapterops as ao
from adapterops.engine.execution import Execution
how = Execution(int(sys.argv[1]))
pair = [ao.open_adapter(path) for path in ("a", "b")]
ao.save_adapter(ao.merge(pair, "dare_ties", weights=[1, 0.5], seed=3), "masked", how=how)
ao.save_adapter(ao.truncate(0.7 * pair[0] - pair[1], budget=120, how=how), "small", how=how)
"""


def test_same_work_same_bytes(tmp_path: Path) -> None:
    """Whatever the workers, the hash seed, and the order of the tensors in the input."""
    results = []
    for place, (workers, hash_seed, turned) in enumerate(
        [(1, "0", False), (2, "1", False), (5, "2", False), (2, "3", True)]
    ):
        folder = tmp_path / str(place)
        for seed, name in enumerate("ab"):
            write_adapter(folder / name, seed=seed)
            if turned:  # the header lists the tensors in another order, the data is the same
                path = folder / name / "adapter_model.safetensors"
                content = path.read_bytes()
                length = int.from_bytes(content[:8], "little")
                header = json.loads(content[8 : 8 + length])
                text = json.dumps(dict(reversed(header.items())), separators=(",", ":")).encode().ljust(length)
                path.write_bytes(content[:8] + text + content[8 + length :])
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", WORK, str(workers)], cwd=folder, env=environment, check=True)
        results.append({name: tree(folder / name) for name in ("masked", "small")})
    assert results[0] == results[1] == results[2]
    for name in ("masked", "small"):
        for file in (
            ("adapter_config.json",) if name == "masked" else ("adapter_config.json", "adapter_model.safetensors")
        ):
            assert (
                results[3][name][file] == results[0][name][file]
            )  # the input is another file, so its hash and masks differ


def test_a_manifest_names_no_machine(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a")
    ao.save_adapter(
        ao.truncate(ao.open_adapter(tmp_path / "a"), 1), tmp_path / "out", origin=Origin(["adapterops", "truncate"])
    )
    text = (tmp_path / "out/adapterops.json").read_text()
    assert str(tmp_path) not in text
    manifest = json.loads(text)
    assert manifest["inputs"][0]["path"] == "a"
    assert manifest["operation"] == {"operation": "truncate", "rank": 1, "exact": False, "inputs": [{"input": 0}]}
    assert manifest["inputs"][0]["files"]["adapter_model.safetensors"] == described(
        tmp_path / "a/adapter_model.safetensors"
    )
    assert manifest["outputs"]["adapter_model.safetensors"] == described(tmp_path / "out/adapter_model.safetensors")


def test_the_energy_noted_is_the_truth(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a", rank=4)
    adapter = ao.open_adapter(tmp_path / "a")
    saved = ao.save_adapter(ao.truncate(adapter, 2), tmp_path / "out")
    small, total, lost = ao.open_adapter(tmp_path / "out"), 0.0, 0.0
    for module in adapter.layout:
        before, after = entries(adapter.updates[module]).double(), entries(small.updates[module]).double()
        total, lost = total + before.norm() ** 2, lost + (before - after).norm() ** 2
        assert saved.modules[module].energy == pytest.approx(
            1 - float((before - after).norm() ** 2 / before.norm() ** 2), abs=1e-6
        )
    assert saved.energy == pytest.approx(1 - float(lost / total), abs=1e-6)


@pytest.mark.parametrize("workers", [1, 3])
def test_an_exception_in_the_middle_leaves_nothing(tmp_path: Path, workers: int) -> None:
    tensors = factors()
    tensors["base_model.model.layers.1.q_proj.lora_B.weight"][0, 0] = float("nan")
    write_adapter(tmp_path / "a", tensors)
    before = tree(tmp_path)
    with pytest.raises(ao.AdapterOpsError, match="NaN"):
        ao.save_adapter(ao.truncate(ao.open_adapter(tmp_path / "a"), 1), tmp_path / "out", how=Execution(workers))
    assert tree(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_factors_too_large_for_the_dtype_are_an_error(tmp_path: Path) -> None:
    adapter = Adapter.of({"m": 1e6 * low_rank(0, 4, 3, 2)})
    with pytest.raises(ao.AdapterOpsError, match=r"B: .* too large for float16"):
        ao.save_adapter(adapter, tmp_path / "out", dtype="F16")
    assert not (tmp_path / "out").exists()
