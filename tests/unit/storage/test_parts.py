"""The folder in which several processes make an output; that they may be killed is tested in tests/fault/test_parts.py."""

from __future__ import annotations

import errno
import shutil
import threading
from pathlib import Path

import pytest

from adapterops.errors import (
    DiskError,
    IncompatibleError,
    InputError,
    NotFoundError,
    OutputExistsError,
    VerificationError,
)
from adapterops.storage import parts as module
from adapterops.storage.journal import line
from adapterops.storage.parts import PartsFolder, begin, folder_of, left, opened

PLAN = {
    "schema": 1,
    "plan": "0123456789abcdef" * 4,
    "proves": False,
    "request": {"dtype": "F32"},
    "inputs": {"0": {"a": "b"}},
    "versions": {"numpy": "2"},
    "kernels": ["one"],
    "device": "",
    "command": ["one"],
    "base_model": None,
    "accept_loss": False,
}


def written(parts: PartsFolder, name: str, data: bytes, hash_: str) -> None:
    with parts.working() as work:
        path = work.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        work.add({"file": name, "blake3": hash_})


def test_files_and_records(tmp_path: Path) -> None:
    parts = begin(tmp_path / "out", PLAN)
    assert parts.folder.name == ".out.parts-0123456789abcdef"
    written(parts, "a", b"1", "h")
    written(parts, "inner/a", b"2", "h")
    assert {path.relative_to(parts.files).as_posix() for path in parts.files.rglob("a")} == {"a", "inner/a"}
    assert sorted(record["file"] for record in parts.entries()) == ["a", "inner/a"]
    assert [record["file"] for record in parts.entries(["inner/a", "of nobody"])] == ["inner/a"]
    assert not list(parts.folder.glob("work-*"))
    written(begin(tmp_path / "out", PLAN), "a", b"1", "h")
    with pytest.raises(VerificationError, match="other bytes"):
        written(parts, "a", b"3", "other")
    assert (parts.files / "a").read_bytes() == b"1"


def test_a_record_that_is_not_there_is_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among all others, as the error of a file does that is missing: by their names, and each job would."""
    parts = begin(tmp_path / "out", PLAN)
    written(parts, "a", b"1", "h")
    monkeypatch.setattr("adapterops.storage.strict.similar", lambda path: pytest.fail(f"{path} was looked for"))
    assert parts.entries(["b"]) == []
    written(parts, "b", b"1", "h")


def test_the_folder_of_a_plan(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is not on this machine"):
        folder_of(tmp_path / "out", PLAN["plan"], there=True)
    assert begin(tmp_path / "out", PLAN).folder == folder_of(tmp_path / "out", PLAN["plan"], there=True)


def test_a_thread_that_nobody_waits_for_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may write into the folder while that is removed, after a signal."""
    parts, rmtree, late = begin(tmp_path / "out", PLAN), shutil.rmtree, ["a"]

    def removed(folder: Path, **how: bool) -> None:
        rmtree(folder, **how)
        if late:
            folder.mkdir()
            (folder / late.pop()).touch()

    monkeypatch.setattr(shutil, "rmtree", removed)
    with parts.working():
        pass
    assert not late
    assert not list(parts.folder.glob("work-*"))


def test_the_command_may_differ_and_nothing_else(tmp_path: Path) -> None:
    parts = begin(tmp_path / "out", PLAN)
    assert begin(tmp_path / "out", {**PLAN, "command": ["other"]}).folder == parts.folder
    assert opened(tmp_path / "out", parts.folder).plan == PLAN
    with pytest.raises(IncompatibleError, match=r"request.dtype is \"F16\" here, \"F32\" there"):
        begin(tmp_path / "out", {**PLAN, "request": {"dtype": "F16"}})
    with pytest.raises(IncompatibleError, match="plan is"):
        begin(tmp_path / "out", {**PLAN, "plan": "f" * 64})
    begin(tmp_path / "other", {**PLAN, "plan": "f" * 64})


def test_it_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="not on this machine"):
        begin(tmp_path / "out", PLAN, create=False)
    assert not left(tmp_path / "out")


def test_a_plan_that_cannot_be_read(tmp_path: Path) -> None:
    parts = begin(tmp_path / "out", PLAN)
    (parts.folder / "plan.json").write_text("{}")
    with pytest.raises(InputError, match="remove"):
        opened(tmp_path / "out", parts.folder)


@pytest.mark.parametrize("field", PLAN)
@pytest.mark.parametrize("value", [..., 3.5, [1], {"a": 1}])
def test_a_plan_whose_checksum_fits_and_whose_fields_do_not(tmp_path: Path, field: str, value: object) -> None:
    parts = begin(tmp_path / "out", PLAN)
    others = {name: each for name, each in PLAN.items() if name != field}
    changed = others if value is ... else {**others, field: value}
    (parts.folder / "plan.json").write_bytes(line(changed))
    if field == "request" and value == {"a": 1}:
        assert opened(tmp_path / "out", parts.folder).plan == changed
        return
    with pytest.raises(InputError, match="remove"):
        opened(tmp_path / "out", parts.folder)


def test_after_the_end_nothing_is_handed_over(tmp_path: Path) -> None:
    parts = begin(tmp_path / "out", PLAN)
    with parts.working() as work:
        (work.folder / "a").write_bytes(b"1")
        parts.files.rename(tmp_path / "out")
        with pytest.raises(OutputExistsError, match="was finalized"):
            work.add({"file": "a", "blake3": "h"})


def test_half_of_a_removed_folder_is_not_taken_for_parts(tmp_path: Path) -> None:
    parts = begin(tmp_path / "out", PLAN)
    parts.folder.rename(parts.folder.with_name(f"{parts.folder.name}-done"))
    assert left(tmp_path / "out") == []
    assert list(tmp_path.iterdir()) == []


def test_an_output_whose_name_ends_like_a_folder_of_parts_is_another_one(tmp_path: Path) -> None:
    one, other = (begin(tmp_path / name, PLAN) for name in ("out", "out.parts-1"))
    assert left(tmp_path / "out") == [one.folder]
    assert left(tmp_path / "out.parts-1") == [other.folder]
    other.remove()
    assert left(tmp_path / "out") == [one.folder]


def test_a_record_under_another_name_is_none_of_that_file(tmp_path: Path) -> None:
    """As a copy of a folder that went wrong leaves it: no machine computed differently."""
    parts = begin(tmp_path / "out", PLAN)
    written(parts, "a", b"1", "h")
    shutil.copy(parts.record("a"), parts.record("b"))
    written(parts, "b", b"2", "other")
    assert [entry["file"] for entry in parts.entries()] == ["a", "b"]


def test_a_folder_that_is_new_is_not_taken_for_that_of_a_process_that_died(tmp_path: Path) -> None:
    """Each removes what dead processes left while others are about to begin."""
    parts, failures = begin(tmp_path / "out", PLAN), []

    def work(number: int) -> None:
        for count in range(40):
            try:
                written(parts, f"{number}-{count}", b"1", "h")
            except Exception as error:  # whatever a thread ends with is looked at below
                failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(parts.entries()) == 160


def test_a_disk_that_is_full_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")  # as of a file that is open: without its name

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(DiskError, match="writing failed: No space left") as caught:
        begin(tmp_path / "out", PLAN)
    assert caught.value.path == str(tmp_path / "out")
    assert str(caught.value.hint).startswith("free some space")
