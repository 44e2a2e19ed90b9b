"""An adapter is written whole, as PEFT reads it, and says what was kept."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import tree, write_adapter
from safetensors.numpy import load_file

from adapterops.adapters import saving
from adapterops.adapters.adapter import Adapter
from adapterops.adapters.opening import open_adapter
from adapterops.adapters.saving import save_adapter
from adapterops.engine.execution import Execution
from adapterops.errors import OptionError, OutputExistsError, ResourceError
from adapterops.operations.algebra import merge
from adapterops.provenance.history import Source


@pytest.fixture
def pair(tmp_path: Path) -> list[Adapter]:
    return [open_adapter(write_adapter(tmp_path / name, seed=seed)) for seed, name in enumerate("ab")]


def test_what_was_saved_is_what_was_computed(pair: list[Adapter], tmp_path: Path) -> None:
    total = pair[0] + pair[1]
    saved = save_adapter(total, tmp_path / "out")
    again = open_adapter(tmp_path / "out")
    assert (saved.energy, saved.dropped, saved.copied) == (1, (), False)
    assert json.loads((tmp_path / "out/adapter_config.json").read_text())["r"] == 4
    for module, update in again.updates.items():
        np.testing.assert_allclose(update.dense(), total.updates[module].dense(), atol=1e-5)
        assert saved.modules[module].norm == pytest.approx(np.linalg.norm(update.dense()), rel=1e-4)


def test_what_nothing_was_done_to_is_copied(pair: list[Adapter], tmp_path: Path) -> None:
    saved = save_adapter(pair[0], tmp_path / "out")
    assert saved.copied
    files = [folder / "adapter_model.safetensors" for folder in (tmp_path / "a", tmp_path / "out")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_dense_update_is_cut_and_the_loss_is_told(pair: list[Adapter], tmp_path: Path) -> None:
    saved = save_adapter(merge(pair, "ties", density=0.3), tmp_path / "out", dtype="F16")
    assert 0 < saved.energy < 1
    assert {each.dtype for each in load_file(tmp_path / "out/adapter_model.safetensors").values()} == {np.dtype("f2")}


def test_an_output_is_not_replaced_unless_asked_for(pair: list[Adapter], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").touch()
    for force in (False, True):
        with pytest.raises(OutputExistsError):
            save_adapter(pair[0], tmp_path / "mine", force=force)
    save_adapter(pair[0], tmp_path / "out")
    with pytest.raises(OutputExistsError):
        save_adapter(pair[1], tmp_path / "out")
    save_adapter(pair[1], tmp_path / "out", force=True)
    assert (tmp_path / "mine/file").exists()


@pytest.mark.parametrize("given", [{"dtype": "I8"}, {"format": "npz"}])
def test_what_cannot_be_written(pair: list[Adapter], tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        save_adapter(pair[0], tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", ["peft", "mlx"])
def test_files_are_synced_while_they_are_read_again(
    pair: list[Adapter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    """By what wrote them, which is told of every write that failed, and in another thread; before the output has its name."""
    synced: list[tuple[str, int, bool, bool]] = []
    real, out = os.fsync, tmp_path / "out"

    def fsync(descriptor: int) -> None:
        mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        synced.append((name, mode, threading.current_thread() is threading.main_thread(), out.exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    save_adapter(0.5 * pair[0], out, format=format)
    files = [each for each in synced if each[0].endswith((".safetensors", "adapter_config.json"))]
    assert len(files) == 2
    assert {each[1] != os.O_RDONLY for each in files} == {True}
    assert {each[2:] for each in files} == {(False, False)}


@pytest.mark.parametrize("few", [True, False])
def test_few_inputs_are_hashed_when_all_is_written(
    pair: list[Adapter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: bool
) -> None:
    """In another thread, beside what opens the output again; many are hashed among what computes and writes."""
    seen: list[tuple[bool, bool]] = []
    written, hashed = threading.Event(), threading.Event()
    write, describe = saving.write_safetensors, Source.as_json

    def write_safetensors(*args: Any) -> str | None:
        hashed.wait(0.05)
        found = write(*args)
        written.set()
        return found

    def as_json(source: Source) -> dict[str, Any]:
        hashed.set()
        seen.append((threading.current_thread() is threading.main_thread(), written.is_set()))
        return describe(source)

    monkeypatch.setattr(saving, "write_safetensors", write_safetensors)
    monkeypatch.setattr(saving, "FEW", saving.FEW if few else 1)
    monkeypatch.setattr(Source, "as_json", as_json)
    save_adapter(pair[0] + pair[1], tmp_path / "out")
    assert seen[0] == (False, few)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_disk_that_fails_leaves_nothing(
    pair: list[Adapter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(name):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(ResourceError, match="writing failed"):
        save_adapter(0.5 * pair[0], tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_sync_that_waits_for_its_turn_is_the_next_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a file is held once, however large it gets."""
    running, go = threading.Event(), threading.Event()
    synced: list[int] = []

    def fsync(descriptor: int) -> None:
        synced.append(descriptor)
        running.set()
        go.wait()

    monkeypatch.setattr(os, "fsync", fsync)
    with (tmp_path / "a").open("wb") as file, (tmp_path / "b").open("wb") as other, saving._disk(True) as disk:
        disk.later(file.fileno())
        running.wait()
        for _ in range(10):
            disk.later(file.fileno())
        disk.later(other.fileno())
        go.set()
        disk.wait()
        disk.later(file.fileno())
        disk.wait()
    assert len(synced) == 4
    assert len(set(synced)) == 2


@pytest.mark.parametrize("changed", [False, True])
def test_without_syncs_nothing_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    """Whether its files are copied or written anew; the output is the same."""
    adapter = open_adapter(write_adapter(tmp_path / "a"))
    made = 0.5 * adapter if changed else adapter
    save_adapter(made, tmp_path / "synced")
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("the disk was waited for"))
    save_adapter(made, tmp_path / "out", how=Execution(sync=False))
    assert tree(tmp_path / "out") == tree(tmp_path / "synced")
