"""A model made in parts: any number, any order, again, killed at any moment; the bytes are those of one process."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Command, Fault
from corpus import tree
from interrupted import (
    CLEAN,
    COMMAND,
    SHARDS,
    Fuse,
    empty,
    longer,
    made,
    names,
    other_adapter,
    other_alpha,
    other_base,
    other_shard_of_the_same_age,
    remove,
    removed,
    rewritten,
    shorter,
)
from tiny_models import write_base, write_tuned

FINALIZE = ["finalize", "out"]


def folder(place: Path) -> Path:
    (found,) = place.glob(".out.parts-*")
    return found


def parts(fuse: Fuse, *shares: str) -> None:
    for share in shares:
        assert fuse("--part", share) == (0, ""), share


def finalized(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    assert fuse(command=FINALIZE) == (0, "")
    assert tree(place / "out") == whole
    assert names(place) == {*CLEAN, "out"}


@pytest.mark.parametrize("of", [1, 2, 3, 4, 9])
def test_any_number_of_parts_in_any_order_and_again(place: Path, whole: dict[str, str], fuse: Fuse, of: int) -> None:
    shares = [f"{number}/{of}" for number in range(1, of + 1)]
    random.Random(of).shuffle(shares)
    parts(fuse, *shares, shares[0])
    finalized(place, whole, fuse)


def test_parts_of_different_numbers_complete_each_other(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    parts(fuse, "2/4", "1/3", "2/2", "1/1")
    finalized(place, whole, fuse)


def test_what_is_finished_is_not_made_again(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    parts(fuse, "1/2")
    before = {path.name: made(path) for path in (folder(place) / "files").iterdir()}
    assert set(before) == {SHARDS[0], SHARDS[2]}
    parts(fuse, "1/1")
    assert {name: made(folder(place) / "files" / name) for name in before} == before
    finalized(place, whole, fuse)


def test_parts_at_the_same_time_that_do_the_same(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    running = [Command([*COMMAND, "--part", share]) for share in ("1/2", "1/1", "2/2", "1/2", "1/1")]
    assert [command.end().code for command in running] == [0] * 5
    finalized(place, whole, fuse)


@pytest.mark.parametrize("function", ["mkdir", "posix_fallocate", "pwrite", "fsync", "replace", "rmdir"])
def test_a_part_that_is_killed_is_run_again(place: Path, whole: dict[str, str], fuse: Fuse, function: str) -> None:
    for nth in range(1, 100):
        killed = Command([*COMMAND, "--part", "1/2"], Fault(function, "kill", "", nth, after=nth % 2 == 0)).end().code
        parts(fuse, "1/1")
        assert not list(folder(place).glob("work-*")), "what a killed process left is removed"
        finalized(place, whole, fuse)
        remove(place / "out")
        if killed == 0:
            break
        assert killed == -signal.SIGKILL
    assert nth > 1


@pytest.mark.parametrize("function", ["fsync", "rename", "unlink", "rmdir"])
def test_finalize_that_is_killed_is_run_again(place: Path, whole: dict[str, str], fuse: Fuse, function: str) -> None:
    for nth in range(1, 100):
        parts(fuse, "1/1")
        killed = Command(FINALIZE, Fault(function, "kill", "", nth, after=nth % 2 == 0)).end().code
        if (place / "out").exists():
            assert tree(place / "out") == whole
        finalized(place, whole, fuse)
        remove(place / "out")
        if killed == 0:
            break
        assert killed == -signal.SIGKILL
    assert nth > 1


def test_finalize_that_replaces_an_output_and_is_killed(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    for nth in range(1, 100):
        assert fuse("-w", "0.5", "--force")[0] == 0
        before = tree(place / "out")
        assert fuse("--part", "1/1")[0] == 6
        assert fuse("--part", "1/1", "--force") == (0, "")
        assert fuse(command=FINALIZE)[0] == 6
        killed = Command([*FINALIZE, "--force"], Fault("unlink", "kill", "", nth)).end().code
        assert tree(place / "out") in (before, whole)
        assert fuse("--force", command=FINALIZE) == (0, "")
        assert tree(place / "out") == whole
        assert names(place) == {*CLEAN, "out"}
        if killed == 0:
            break
    assert nth > 1


def test_finalize_twice_changes_nothing(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    parts(fuse, "1/1")
    finalized(place, whole, fuse)
    before = {path.name: made(path) for path in (place / "out").iterdir()}
    finalized(place, whole, fuse)
    assert {path.name: made(path) for path in (place / "out").iterdir()} == before
    code, said = fuse("--part", "1/2")
    assert code == 6, said


def test_two_that_finalize_at_once(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    parts(fuse, "1/1")
    first = Command(FINALIZE, Fault("fsync", "pause", "/config.json$"))
    assert first.paused()
    code, said = fuse(command=FINALIZE)
    assert code == 7
    assert "by another process" in said
    assert first.end().code == 0
    assert tree(place / "out") == whole


def test_missing_parts_are_named(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    parts(fuse, "2/4")
    code, said = fuse(command=FINALIZE)
    assert code == 5
    assert "3 of 4 files are missing" in said
    assert all(name in said for name in SHARDS if name != SHARDS[1])
    assert not (place / "out").exists()
    parts(fuse, "1/1")
    finalized(place, whole, fuse)


def test_nothing_to_finalize(place: Path, fuse: Fuse) -> None:
    code, said = fuse(command=FINALIZE)
    assert code == 5
    assert "--part" in said


@pytest.mark.parametrize("damage", [rewritten, shorter, longer, empty, removed])
def test_a_file_that_was_damaged_is_found_and_made_again(
    place: Path, whole: dict[str, str], fuse: Fuse, damage: Callable[[Path], None]
) -> None:
    parts(fuse, "1/1")
    damage(folder(place) / "files" / SHARDS[1])
    code, said = fuse(command=FINALIZE)
    assert code == 3
    assert SHARDS[1] in said
    parts(fuse, "1/1")
    finalized(place, whole, fuse)


@pytest.mark.parametrize("damage", [rewritten, shorter, empty, removed])
def test_a_record_that_was_damaged_does_not_count(
    place: Path, whole: dict[str, str], fuse: Fuse, damage: Callable[[Path], None]
) -> None:
    parts(fuse, "1/1")
    damage(folder(place) / "records" / f"{SHARDS[1]}.json")
    code, said = fuse(command=FINALIZE)
    assert code == 5
    assert f"1 of 4 files are missing: {SHARDS[1]}" in said
    parts(fuse, "1/1")
    finalized(place, whole, fuse)


@pytest.mark.parametrize("damage", [rewritten, empty, removed])
def test_a_plan_that_was_damaged_is_named(
    place: Path, whole: dict[str, str], fuse: Fuse, damage: Callable[[Path], None]
) -> None:
    parts(fuse, "1/2")
    damage(folder(place) / "plan.json")
    code, said = fuse(command=FINALIZE)
    assert code in (3, 5)
    assert "plan.json" in said
    assert "remove" in said
    remove(folder(place))
    parts(fuse, "1/1")
    finalized(place, whole, fuse)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["-w", "0.5"], "request.result"),
        (["--dtype", "float32"], "request.output.dtype"),
        (["--precision", "float64"], "request.precision"),
        (["--max-shard-size", "1kB"], "request.output.max_shard_size"),
    ],
    ids=" ".join,
)
def test_parts_of_another_plan(place: Path, whole: dict[str, str], fuse: Fuse, options: list[str], named: str) -> None:
    parts(fuse, "1/2")
    code, said = fuse("--part", "2/2", *options)
    assert code == 4
    assert named in said
    assert folder(place).name in said
    parts(fuse, "2/2")
    finalized(place, whole, fuse)


@pytest.mark.parametrize("change", [other_adapter, other_alpha, other_base, other_shard_of_the_same_age])
def test_inputs_that_change_between_two_parts(place: Path, fuse: Fuse, change: Callable[[Path], None]) -> None:
    parts(fuse, "1/2")
    change(place)
    code, said = fuse("--part", "2/2")
    assert code == 4
    assert "inputs." in said


@pytest.mark.parametrize("change", [other_adapter, other_alpha, other_base, other_shard_of_the_same_age])
def test_inputs_that_change_before_the_end(place: Path, fuse: Fuse, change: Callable[[Path], None]) -> None:
    parts(fuse, "1/1")
    change(place)
    code, said = fuse(command=FINALIZE)
    assert code == 4
    assert "inputs." in said
    assert not (place / "out").exists()


@pytest.mark.parametrize(("module", "name"), [("numpy", "__version__"), ("adapterops", "__version__")])
def test_versions_that_differ(place: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> None:
    parts(fuse, "1/2")
    monkeypatch.setattr(f"{module}.{name}", "9.9")
    code, said = fuse("--part", "2/2")
    assert code == 4
    assert f"versions.{module}" in said
    assert "9.9" in said


def test_a_share_that_is_none(place: Path, fuse: Fuse) -> None:
    for share in ("0/2", "3/2", "1", "a/b", "-1/2", "1/0", ""):
        code, said = fuse("--part", share)
        assert code == 2, share
        assert "part" in said
    assert names(place) == CLEAN


def test_a_part_that_is_stopped_keeps_what_is_finished(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    command = Command([*COMMAND, "--part", "1/1"], Fault("replace", "pause", "/model-", 3))
    assert command.paused()
    command.signal(signal.SIGINT)
    ended = command.end()
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert "finished files are kept" in ended.err
    assert names(folder(place)) == {"plan.json", "files", "records"}
    parts(fuse, "1/1")
    finalized(place, whole, fuse)


def test_a_disk_that_is_full(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    ended = Command([*COMMAND, "--part", "1/1"], Fault("pwrite", 28, SHARDS[1])).end()
    assert ended.code == 7
    assert "finished files are kept" in ended.err
    parts(fuse, "1/1")
    finalized(place, whole, fuse)


def test_a_run_by_one_process_leaves_the_parts_alone(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    parts(fuse, "1/1")
    assert fuse() == (0, "")
    assert tree(place / "out") == whole
    assert fuse(command=FINALIZE)[0] == 6, "the output exists, and is not that of the parts"
    assert fuse("--force", command=FINALIZE) == (0, "")
    finalized(place, whole, fuse)


def test_other_folders_of_the_same_files(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    """Each machine may be in a folder of its own, and mount the disk where it likes."""
    parts(fuse, "1/2")
    link = place.with_name(f"{place.name}-mounted")
    link.symlink_to(place)
    os.chdir(link / "base")
    try:
        code, said = fuse(command=["fuse", "../base", "../a", "-o", "../out", "--part", "2/2"])
        assert (code, said) == (0, "")
        assert fuse(command=["finalize", str(link / "out")]) == (0, "")
    finally:
        os.chdir(place)
    assert tree(place / "out") == whole


def test_the_number_of_records_is_that_of_the_files(place: Path, fuse: Fuse) -> None:
    parts(fuse, "1/2")
    records = sorted((folder(place) / "records").iterdir())
    assert [path.name for path in records] == [f"{SHARDS[0]}.json", f"{SHARDS[2]}.json"]
    entry = json.loads(records[0].read_text())["entry"]
    assert entry["file"] == SHARDS[0]
    assert set(entry) == {"file", "size", "blake3", "modules", "quantized", "inputs"}


def test_parts_in_threads_of_one_process(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    from adapterops.engine.execution import Execution, Share
    from adapterops.expressions.expression import parse
    from adapterops.requests.fields import Input, Model
    from adapterops.requests.parts import write_part
    from adapterops.requests.request import Request
    from adapterops.requests.running import make

    request = Request({"a": Input("a")}, parse("a", ["a"]), base=Model("base"))

    def part(number: int) -> None:
        write_part(make(request, Path("out")), Path("out"), Share(number, 3), how=Execution(1))

    threads = [threading.Thread(target=part, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fuse(command=FINALIZE) == (0, "")
    assert {name: hash_ for name, hash_ in tree(place / "out").items() if name != "adapterops.json"} == {
        name: hash_ for name, hash_ in whole.items() if name != "adapterops.json"
    }


def test_an_adapter_whose_parts_are_killed(place: Path, fuse: Fuse) -> None:
    write_tuned(place / "b", seed=1)
    merge = ["merge", "a", "b", "--ties", "-o"]
    assert fuse(command=[*merge, "whole"]) == (0, "")
    for nth in range(1, 100):
        part, finalize = (["kill", "", nth], ["kill", "", nth])
        killed = Command([*merge, "out", "--part", "1/2"], Fault("replace", *part)).end().code
        for share in ("1/2", "2/2"):
            assert fuse("--part", share, command=[*merge, "out"]) == (0, "")
        ended = Command(FINALIZE, Fault("rename" if nth % 2 else "unlink", *finalize)).end().code
        assert fuse(command=FINALIZE) == (0, "")
        assert tree(place / "out") == tree(place / "whole")
        assert names(place) == {*CLEAN, "b", "out", "whole"}
        remove(place / "out")
        if killed == ended == 0:
            break
    assert nth > 1


@pytest.mark.parametrize("command", [COMMAND[:-2], ["merge", "a", "b", "--ties", "--rank", "3"]], ids=" ".join)
def test_processes_of_this_machine(place: Path, fuse: Fuse, command: list[str]) -> None:
    write_tuned(place / "b", seed=1)
    assert fuse(command=[*command, "-o", "whole"]) == (0, "")
    assert fuse("--engine", "processes", "--workers", "2", command=[*command, "-o", "out"]) == (0, "")
    assert tree(place / "out") == tree(place / "whole")
    assert names(place) == {*CLEAN, "b", "out", "whole"}


def test_an_error_in_a_process_of_this_machine(place: Path, fuse: Fuse) -> None:
    remove(place / "base")
    write_base(place / "base", nan="model.layers.1.v_proj.weight")
    code, said = fuse("--engine", "processes")
    assert code == 3
    assert "model.layers.1.v_proj.weight" in said
    assert "Traceback" not in said
    assert not (place / "out").exists()
    assert fuse("--engine", "processes", "--address", "auto")[0] == 2
