"""On a GPU the same entries become the same bits, and what is cut to a rank or decomposed is what a processor finds, to 1e-5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from corpus import config, factors, tree, write_adapter
from tiny_models import write_base

from adapterops import open_adapter
from adapterops.arrays.device import ELEMENTWISE, computing, device, home, sent
from adapterops.cli.main import run
from adapterops.linalg.factor import reduced
from adapterops.linalg.singular import svd
from adapterops.methods import METHODS
from adapterops.methods.entries import Entries
from adapterops.updates.dense import Dense
from adapterops.updates.merged import Merged, Tiling

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU; `make test-gpu` looks for one"),
]

BY_ENTRIES = sorted(name for name in METHODS if METHODS[name].acts == "entries")
BY_MATRICES = sorted(name for name in METHODS if METHODS[name].acts == "matrices")
NEARLY = {"exp", "log", "power", "sqrt", "matmul", "invert"}
FLIPPED = 5e-3
"""Of the norm: an entry or two of half a million, which are so near to a threshold that B A, rounded there, is on its other side."""
random = np.random.default_rng(0)


@pytest.mark.parametrize("name", sorted(ELEMENTWISE - NEARLY))
def test_functions_of_entries_have_the_bits_of_numpy(name: str) -> None:
    ufunc, numbers = getattr(np, name), random.standard_normal((2, 300, 500)).astype(np.float32)
    given = [each > 0 if name.startswith(("bitwise", "logical")) else each for each in numbers][: ufunc.nin]
    with computing("cuda"):
        found = home(ufunc(*(sent(each, device()) for each in given)))
    np.testing.assert_array_equal(found, ufunc(*given))


@pytest.mark.parametrize("name", BY_ENTRIES)
def test_the_same_entries_become_the_same_bits(name: str) -> None:
    updates = [Dense(each.astype(np.float32)) for each in random.standard_normal((3, 1400, 1800))]

    def merged() -> Any:
        entries = Entries(updates, ["a", "b", "c"])
        tiling = Tiling(entries.height, lambda: METHODS[name].kernel(entries, [1.0, 0.7, 0.4]))
        return Merged(entries.shape, entries.dtype, tiling).dense()

    here = merged()
    with computing("cuda"):
        there = merged()
    if name == "pcb":  # the exponential function has no one right rounding
        np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-4)
    else:
        np.testing.assert_array_equal(there, here)


@pytest.mark.parametrize("exact", [False, True])
def test_a_cut_is_that_of_the_processor(exact: bool) -> None:
    left, right = (np.linalg.qr(random.standard_normal((side, 400)))[0] for side in (1000, 1200))
    update = Dense(((left * 0.9 ** np.arange(400)) @ right.T).astype(np.float32))
    here = reduced(update, 24, exact)
    with computing("cuda"):
        there = reduced(update, 24, exact)
    assert there.error == pytest.approx(here.error, rel=1e-4)
    assert np.linalg.norm(there.dense() - here.dense()) < 1e-5 * here.norm()


def test_singular_vectors_are_those_of_the_processor() -> None:
    matrix = random.standard_normal((700, 600))
    with computing("cuda"):
        u, s, vt = svd(matrix)
    np.testing.assert_allclose(s, np.linalg.svd(matrix, compute_uv=False), rtol=1e-10)
    np.testing.assert_allclose((u * s) @ vt, matrix, atol=1e-10)


MODULES = [f"model.layers.0.{name}" for name in ("q_proj", "v_proj")]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for seed, name in enumerate("ab"):
        write_adapter(tmp_path / name, factors(MODULES, out=600, into=800, seed=seed))
    write_base(tmp_path / "base", layers=1, out=600, into=800)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        *(["merge", "a", "b", "--method", name, "--rank", "3"] for name in BY_ENTRIES),
        ["merge", "a", "b", "--tsv", "--space", "delta"],
        ["merge", "a", "b", "--ties", "--budget", "12k", "--workers", "4", "--memory", "2GB"],
    ],
    ids=" ".join,
)
def test_adapters_are_those_of_the_processor(command: list[str], place: Path) -> None:
    for name in ("cpu", "cuda", "again"):
        where = "cpu" if name == "cpu" else "cuda"
        assert run([*command, "--dtype", "float32", "-o", name, "--device", where]) == 0
    here, there = open_adapter(place / "cpu"), open_adapter(place / "cuda")
    for name, update in here.updates.items():
        assert np.linalg.norm(there.updates[name].dense() - update.dense()) <= FLIPPED * update.norm()
    bytes_of = [tree(place / name)["adapter_model.safetensors"] for name in ("cuda", "again")]
    assert bytes_of[0] == bytes_of[1], "the same GPU gives the same bytes"


@pytest.mark.parametrize(
    "command",
    [
        *(["merge", "wide a", "wide b", "--method", name] for name in BY_MATRICES),
        ["truncate", "wide a", "--rank", "8"],
        ["extract", "tuned", "--base", "base", "--rank", "8", "--rest", "drop"],
    ],
    ids=" ".join,
)
def test_what_is_decomposed_is_that_of_the_processor(command: list[str], place: Path) -> None:
    """The joint core of two adapters of rank 300 has 600 rows, and is large enough for a GPU."""
    for seed, name in enumerate(("wide a", "wide b")):
        write_adapter(place / name, factors(MODULES, rank=300, out=600, into=800, seed=seed), config(300))
    assert run(["fuse", "base", "a", "-o", "tuned"]) == 0
    for where in ("cpu", "cuda"):
        assert run([*command, "--dtype", "float32", "-o", where, "--device", where]) == 0
    here, there = open_adapter(place / "cpu"), open_adapter(place / "cuda")
    assert here.updates.keys() == there.updates.keys()
    for name, update in here.updates.items():
        assert np.linalg.norm(there.updates[name].dense() - update.dense()) <= 1e-4 * update.norm()


@pytest.mark.parametrize("method", ["ties", "dare_ties", "tsv"])
def test_models_are_verified_without_a_gpu(method: str, place: Path) -> None:
    assert run(["fuse", "base", "a", "b", "--method", method, "--device", "cuda", "-o", "out"]) == 0
    assert run(["verify", "out"]) == 0


def test_too_little_memory_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["merge", "a", "b", "--ties", "--device", "cuda", "--memory", "1MB", "-o", "out"]) == 7
    assert "--memory" in capsys.readouterr().err
