"""The disk fails, is full or too small: nothing is left, and a second try succeeds."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from commands import Command, Fault, faulty, path_of
from corpus import tree
from interrupted import CLEAN, COMMAND, INPUTS, SHARD, SHARDS, Fuse, names, remove, still_open
from safetensors.torch import load_file
from tiny_models import write_base, write_tuned

from adapterops.checkpoints import shards


def test_what_a_run_writes_is_right(place: Path, fuse: Fuse, whole: dict[str, str]) -> None:
    assert fuse() == (0, "")
    assert tree(place / "out") == whole
    assert set(whole) == {*SHARDS, "adapterops.json", "config.json", "tokenizer.json", "model.safetensors.index.json"}
    base, fused = (
        {name: value for shard in SHARDS for name, value in load_file(place / folder / shard).items()}
        for folder in ("base", "out")
    )
    factors = load_file(place / "a/adapter_model.safetensors")
    for name, W in base.items():
        prefix = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{prefix}.lora_A.weight" in factors:
            delta = 2 * factors[f"{prefix}.lora_B.weight"] @ factors[f"{prefix}.lora_A.weight"]
            torch.testing.assert_close(fused[name], (W.float() + delta).to(torch.bfloat16))
        else:
            assert torch.equal(fused[name], W)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("function", ["mkdir", "posix_fallocate", "pwrite", "fsync", "rename"])
def test_the_disk_fails_at_the_nth_call(
    place: Path, fuse: Fuse, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch, function: str, error: int
) -> None:
    before = tree(place)
    for failing in range(1, 100):
        failed = threading.Event()

        def fail(failed: threading.Event = failed) -> None:
            failed.set()
            raise OSError(error, os.strerror(error))

        with monkeypatch.context() as patch:
            patch.setattr(os, function, faulty(Fault(function, nth=failing), fail))
            code, shown = fuse()
        assert "Traceback" not in shown
        assert still_open(place) == []
        if not failed.is_set() or code == 0:
            assert code == 0
            assert tree(place / "out") == whole
            remove(place / "out")
            if not failed.is_set():  # everything was done without reaching the call that fails
                break
            assert (function, error) == (
                "posix_fallocate",
                errno.EIO,
            )  # preallocation is a courtesy, which a disk may decline
            continue
        assert code == 7
        assert os.strerror(error) in shown
        if (place / "out").exists():  # the rename was done, the last sync was not
            assert function == "fsync"
            assert tree(place / "out") == whole
            assert "nothing was left behind" not in shown
            remove(place / "out")
        assert tree(place) == before
        assert names(place) == CLEAN
        if function == "posix_fallocate":
            assert re.search(r"cannot reserve \d+ bytes.* \d+ bytes are free", shown)
    else:
        raise AssertionError("the calls have no end")
    assert failing > {"mkdir": 1, "rename": 1, "posix_fallocate": 4, "pwrite": 4 + 12, "fsync": 4 + 5 + 4 + 2}[function]


@pytest.mark.parametrize("always", [False, True], ids=["at the end", "as it grows"])
def test_a_sync_that_failed_is_not_tried_again(
    place: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch, always: bool
) -> None:
    """The system reports a failed write to a descriptor once; a second sync would succeed, and the data be lost."""
    if always:
        monkeypatch.setattr(shards, "SYNC_BYTES", 0)
    real = os.fsync
    for failing in range(1, 100):
        synced: list[str] = []

        def fails(descriptor: int, synced: list[str] = synced, failing: int = failing) -> None:
            synced.append(path_of(descriptor))
            if len(synced) == failing:
                time.sleep(0.01)  # a disk that fails is slow
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fails)
        code, _ = fuse()
        if len(synced) < failing:
            break
        assert code == 7
        if re.search(SHARD, synced[failing - 1]):
            assert synced[failing - 1] not in synced[failing:]
        remove(place / "out")


def test_each_file_is_synced_as_it_grows(place: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many grow at a time, each by what was written of it: no file waits with all of its bytes for its end."""
    real, synced, items = os.fsync, Counter[str](), Counter[str]()

    def fsync(descriptor: int) -> None:
        synced[Path(path_of(descriptor)).name] += 1
        real(descriptor)

    def in_turn(
        function: Callable[[Any], Any], all_items: Sequence[Any], lane: Callable[[Any], Path], **others: object
    ) -> Iterator[Any]:
        of_files: dict[Path, list[Any]] = {}
        for item in all_items:
            of_files.setdefault(lane(item), []).append(item)
        items.update({path.name: sum(isinstance(item, str) for item in each) for path, each in of_files.items()})
        yield from (function(item) for row in zip_longest(*of_files.values()) for item in row if item is not None)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(shards, "local", SimpleNamespace(**{**vars(shards.local), "run": in_turn}))
    monkeypatch.setattr(shards.Checkpoint, "bytes", lambda self, tensor: 1)
    monkeypatch.setattr(shards, "SYNC_BYTES", 1)  # less than any two tensors of one file have
    assert fuse()[0] == 0
    assert {name: synced[name] > 1 for name in items} == {name: count > 1 for name, count in items.items()}


def test_files_that_may_not_grow(place: Path, whole: dict[str, str]) -> None:
    """Shards are preallocated, what is larger than they are is not."""
    (place / "base/tokenizer.json").write_text(json.dumps({"vocabulary": list(range(2000))}))
    before, setup = tree(place), "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"
    codes = []
    for limit in (0, 100, 500, 1000, 5000, 1 << 20):
        ended = Command(COMMAND, setup=setup.format(limit)).end()
        codes.append(ended.code)
        assert "Traceback" not in ended.err
        if ended.code:
            assert os.strerror(errno.EFBIG) in ended.err
            assert "raise the limit on the size of files" in ended.err
            assert tree(place) == before
            assert names(place) == CLEAN
    assert codes == [7, 7, 7, 7, 7, 0]
    assert {name: tree(place / "out")[name] for name in SHARDS} == {name: whole[name] for name in SHARDS}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting needs privileges")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize("found", ["before the work", "when preallocating", "when writing"])
def test_a_disk_that_is_too_small(
    tmp_path: Path, small_disk: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    shape = {"layers": 3, "out": 1500, "into": 1000}
    write_base(tmp_path / "base", **shape)
    write_tuned(tmp_path / "a", **shape)
    monkeypatch.chdir(tmp_path)
    if found != "before the work":  # others write to it, too: what is free now may not be free then
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1 << 40, 0, 1 << 40))
    if found == "when writing":
        monkeypatch.delattr(os, "posix_fallocate")
    code, shown = fuse(command=["fuse", "base", "a", "-o", "disk/out"])
    assert code == 7
    assert "bytes are free" in shown or os.strerror(errno.ENOSPC) in shown
    assert f"error: {tmp_path / 'disk/out'}: " in shown
    assert "Traceback" not in shown
    assert names(small_disk) == set()
    status = os.statvfs(small_disk)
    assert status.f_bfree == status.f_blocks, "a file that is open still takes space when its name is gone"


def test_reading_fails_at_the_nth_call(
    place: Path, fuse: Fuse, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(place)

    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for failing in range(1, 100):
        with monkeypatch.context() as patch:
            patch.setattr(os, "preadv", faulty(Fault("preadv", where=INPUTS, nth=failing), fail))
            code, shown = fuse()
        if code == 0:
            break
        assert code in (3, 7)
        assert "Traceback" not in shown
        assert tree(place) == before
        assert names(place) == CLEAN
        assert os.strerror(errno.EIO) in shown
        assert re.search(r"\b(base|a)/\S+\.(safetensors|json)", shown), "it names the input"
        assert "writing failed" not in shown
    assert failing > 5
    assert tree(place / "out") == whole
