"""Every method, on a device that is not there: what it makes of the same entries has the same bits, and what is cut to a rank
is what a processor finds, to 1e-5.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import factors, made, tree, write_adapter
from pretended import pretend
from tiny_models import write_base

from adapterops import open_adapter
from adapterops.arrays import device as module
from adapterops.arrays.device import DeviceArray, computing
from adapterops.cli.main import run
from adapterops.linalg.factor import factorize, reduced
from adapterops.methods import METHODS, entries
from adapterops.methods.entries import Entries
from adapterops.updates.dense import Dense
from adapterops.updates.lowrank import LowRank
from adapterops.updates.merged import Merged, Tiling

BY_ENTRIES = sorted(name for name in METHODS if METHODS[name].acts == "entries")
BY_MATRICES = sorted(name for name in METHODS if METHODS[name].acts == "matrices")
SHAPE = 700, 900
"""Several tiles of a processor, and of a device with `LAUNCHED` at most two."""

random = np.random.default_rng(0)


def merged(name: str, updates: list[Any], **parameters: Any) -> Merged:
    three = Entries(updates, ["a", "b", "c"])
    kernel, weights = METHODS[name].kernel, [1.0, 0.7, 0.4]
    weights = [1.0] * 3 if parameters.get("convention") == "paper" else weights
    tiling = Tiling(three.height, lambda: kernel(three, weights, **parameters))
    return Merged(three.shape, three.dtype, tiling)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        *((name, {}) for name in BY_ENTRIES),
        *(("ties", {"convention": each}) for each in ("paper", "peft", "mergekit")),
        ("ties", {"majority": "frequency", "disjoint": "sum"}),
        ("sce", {"convention": "mergekit"}),
    ],
    ids=str,
)
def test_the_same_entries_become_the_same_bits(
    name: str, parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    updates = [Dense(each.astype(np.float32)) for each in random.standard_normal((3, *SHAPE))]
    updates[0].weight[::50] = 0
    here = merged(name, updates, **parameters).dense()
    gpu = pretend(monkeypatch)
    with computing("cuda"):
        there = merged(name, updates, **parameters).dense()
    assert gpu.returned >= here.nbytes
    if name == "pcb":  # the exponential function has no one right rounding
        np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-4)
    else:
        np.testing.assert_array_equal(there, here)


def there() -> list[DeviceArray]:
    """The arrays on a device."""
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, DeviceArray)]


def test_factors_are_sent_once_and_stay_as_long_as_what_is_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    updates = [
        LowRank(*(random.standard_normal(size).astype(np.float32) for size in ((SHAPE[0], 4), (4, SHAPE[1]))))
        for _ in range(2)
    ]
    gc.collect()
    gc.freeze()  # no arrays of other tests are found, which may have failed, and all that is imported is looked through once
    gpu, bytes_ = pretend(monkeypatch), sum(each.B.nbytes + each.A.nbytes for each in updates)
    for times in 1, 2:
        with computing("cuda"):
            entries = Entries(updates)
            for _ in range(2):
                assert all(isinstance(rows, DeviceArray) for tile in entries.tiles() for rows in tile.values)
        assert gpu.sent == times * bytes_
        del entries
        assert not there()


@pytest.mark.parametrize("exact", [False, True])
def test_a_cut_is_that_of_the_processor(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    values = 0.8 ** np.arange(200)
    left, right = (np.linalg.qr(random.standard_normal((side, 200)))[0] for side in (300, 400))
    update = Dense(((left * values) @ right.T).astype(np.float32))
    here = reduced(update, 12, exact)
    gpu = pretend(monkeypatch)
    with computing("cuda"):
        there = reduced(update, 12, exact)
        assert reduced(Dense(update.weight), 0).error == pytest.approx(update.norm())
        assert factorize(Dense(np.zeros((300, 400), np.float32)), 3).norm() == 0
    assert gpu.sent >= update.weight.nbytes
    assert isinstance(there.B, np.ndarray)
    assert there.error == pytest.approx(here.error, rel=1e-4)
    assert np.linalg.norm(there.dense() - here.dense()) < 1e-5 * here.norm()


MODULES = [f"model.layers.{layer}.{name}" for layer in range(2) for name in ("q_proj", "v_proj")]
CUT = ("--rank", "3")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for seed, name in enumerate("ab"):
        small = {each: 0.05 * tensor for each, tensor in factors(MODULES, out=96, into=120, seed=seed).items()}
        write_adapter(tmp_path / name, small)  # large updates are not flattened
    write_base(tmp_path / "base", layers=2, out=96, into=120)
    monkeypatch.chdir(tmp_path)
    assert run(["fuse", "base", "b", "-o", "tuned"]) == 0
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        *(["merge", "a", "b", "--method", name, *CUT] for name in BY_ENTRIES),
        *(["merge", "a", "b", "--method", name] for name in BY_MATRICES),
        *(["merge", "a", "b", "--method", name, "--space", "delta"] for name in ("tsv", "iso_c")),
        ["merge", "a", "b", "--ties", "--density", "0.6", "--energy", "0.9"],
        ["merge", "a", "b", "--ties", "--budget", "4k"],
        ["extract", "tuned", "--base", "base", *CUT, "--rest", "drop"],
        ["truncate", "a", "--rank", "1"],
        ["calc", "truncate(ties(a, b), rank=3)", "a=a", "b=b"],
    ],
    ids=" ".join,
)
def test_adapters_of_a_device_are_those_of_the_processor(
    command: list[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SMALL", 1)
    monkeypatch.setattr(entries, "WORTH", 1)
    assert run([*command, "--dtype", "float32", "-o", "here"]) == 0
    with monkeypatch.context() as patch:
        gpu = pretend(patch)
        patch.setattr("adapterops.linalg.singular.SMALL", 1)
        assert run([*command, "--dtype", "float32", "-o", "there", "--device", "cuda", "--workers", "2"]) == 0
    assert gpu.sent > 0
    here, there = open_adapter(place / "here"), open_adapter(place / "there")
    for name, update in here.updates.items():
        assert np.linalg.norm(there.updates[name].dense() - update.dense()) <= 1e-5 * update.norm()


@pytest.mark.parametrize("method", ["ties", "tsv"])
def test_models_have_the_bytes_of_the_processor(method: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored entry by entry is compared bit by bit by `verify`, on any machine."""
    command = ["fuse", "base", "a", "b", "--method", method]
    assert run([*command, "-o", "here"]) == 0
    with monkeypatch.context() as patch:
        pretend(patch)
        assert run([*command, "-o", "there", "--device", "cuda", "--workers", "2"]) == 0
    assert made(place / "here") == made(place / "there")
    assert run(["verify", "there"]) == 0


def test_parts_are_made_on_devices_of_one_kind(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """And whoever makes the output of them needs none."""
    command = ["merge", "a", "b", "--ties", *CUT, "-o", "out"]
    with monkeypatch.context() as patch:
        pretend(patch)
        assert run([*command[:-1], "alone", "--device", "cuda"]) == 0
        assert run([*command, "--device", "cuda", "--part", "1/2"]) == 0
    assert run([*command, "--part", "2/2"]) == 4
    assert "device" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        pretend(patch)
        assert run([*command, "--device", "cuda", "--part", "2/2"]) == 0
    assert run(["finalize", "out"]) == 0
    file = "adapter_model.safetensors"
    assert tree(place / "alone")[file] == tree(place / "out")[file]
