"""Files are hashed as they are read: every byte once, whatever is read when."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from tiny_models import write_base, write_tuned

import adapterops as ao
from adapterops.engine.execution import Execution
from adapterops.storage import checksums
from adapterops.storage.checksums import BLAKE3, SHA256, FileHash, digest, file_digests, of
from adapterops.storage.safetensors import SafetensorsFile
from adapterops.storage.tensors import Spec
from adapterops.storage.writer import SafetensorsWriter

DATA = bytes(range(251)) * 40


@given(
    st.lists(st.tuples(st.integers(0, len(DATA)), st.integers(0, 4000)), max_size=8),
    st.sampled_from([1, 1000, 1 << 22]),
    st.sampled_from([BLAKE3, SHA256]),
)
def test_whatever_was_seen_of_a_file_its_hash_is_that_of_the_whole(
    pieces: list[tuple[int, int]], at_once: int, algorithm: str
) -> None:
    with tempfile.TemporaryFile(buffering=0) as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(checksums, "READ_AT_ONCE", at_once)
        patch.setattr(checksums, "FIRST", 7)  # pieces grow from it
        file.write(DATA)
        found = FileHash(of(file.fileno()), algorithm)
        for begin, size in pieces:
            found.saw(begin, memoryview(DATA)[begin : begin + size])
        assert found.hexdigest() == digest(DATA, algorithm) == found.hexdigest()


def test_threads_that_read_the_same_file(tmp_path: Path) -> None:
    save_file({f"t{i}": torch.randn(64, 64) for i in range(20)}, tmp_path / "x.safetensors")
    file = SafetensorsFile(tmp_path / "x.safetensors")
    file.identity.hash_as_read()
    names = sorted(file.entries, key=lambda name: file.entries[name].begin)
    threads = [
        threading.Thread(target=lambda part: [file.read(name) for name in part], args=(names[i::3],)) for i in range(3)
    ]
    threads.append(threading.Thread(target=file.identity.digest))
    threads.append(threading.Thread(target=file.identity.digest, args=(SHA256,)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {algorithm: file.identity.digest(algorithm) for algorithm in (BLAKE3, SHA256)}
    assert found == file_digests(file.path, BLAKE3, SHA256)
    assert found == {algorithm: digest(file.path.read_bytes(), algorithm) for algorithm in found}


@given(st.permutations(range(12)))
def test_a_file_that_is_written_in_any_order_has_the_hash_of_what_is_on_the_disk(order: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.safetensors")
        writer = SafetensorsWriter(path, {"x": Spec("U8", (3000,)), "y": Spec("U8", (3000,))}, {})
        for place in order:
            writer.write("xy"[place // 6], DATA[500 * place : 500 * place + 500], 500 * (place % 6))
        found = writer.blake3()
        writer.check()
        writer.close()
        assert found == digest(path.read_bytes())
        assert path.read_bytes().endswith(DATA[:6000])


def test_sha256_is_not_computed_of_local_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, tuned = tmp_path / "base", tmp_path / "a"
    write_base(base)
    write_tuned(tuned)
    algorithms = set()
    real = checksums.new

    def noted(algorithm: str) -> checksums.Digest:
        algorithms.add(algorithm)
        return real(algorithm)

    monkeypatch.setattr(checksums, "new", noted)
    adapter = ao.open_adapter(tuned)
    ao.save_adapter(ao.truncate(adapter, 1), tmp_path / "small")
    ao.save_checkpoint(ao.fuse(ao.open_checkpoint(base), adapter), tmp_path / "out")
    assert algorithms == {BLAKE3}


@pytest.mark.parametrize("workers", [1, 2])
def test_fusing_reads_every_byte_of_the_base_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    base, tuned = tmp_path / "base", tmp_path / "a"
    write_base(base, layers=4)
    write_tuned(tuned, layers=4)
    read: Counter[str] = Counter()
    real = os.preadv

    def counted(descriptor: int, buffers: list[memoryview], position: int) -> int:
        count = real(descriptor, buffers, position)
        read[os.readlink(f"/proc/self/fd/{descriptor}")] += count
        return count

    monkeypatch.setattr(os, "preadv", counted)
    ao.save_checkpoint(
        ao.fuse(ao.open_checkpoint(base), ao.open_adapter(tuned)), tmp_path / "out", how=Execution(workers)
    )
    shards = sorted(base.glob("*.safetensors"))
    said = json.loads((tmp_path / "out" / "adapterops.json").read_text())["inputs"][0]["files"]
    assert len(shards) > 1
    for shard in shards:
        assert said[shard.name] == {"size": shard.stat().st_size, "blake3": digest(shard.read_bytes())}
        if workers == 1:
            header = 8 + int.from_bytes(shard.read_bytes()[:8], "little")
            assert read[str(shard.resolve())] <= shard.stat().st_size + header + 32  # once more when it is opened
