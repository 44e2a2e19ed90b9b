"""The place to write to, modes, locales, odd names, and a standard output that nobody reads."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Command, Fault, faulty
from corpus import tree
from interrupted import CLEAN, COMMAND, JOURNAL, SHARDS, Fuse, names
from safetensors import safe_open

WITHOUT_PRIVILEGES = "import ctypes, struct; ctypes.CDLL(None).capset(struct.pack('Ii', 0x20080522, 0), bytes(24))\n"
"""Root may write to any folder, by capabilities that it can lay down."""


def test_a_folder_that_is_not_writable(place: Path) -> None:
    (place / "locked").mkdir(mode=0o555)
    ended = Command(["fuse", "base", "a", "-o", "locked/out"], setup=WITHOUT_PRIVILEGES).end()
    assert ended.code == 7
    assert "not writable" in ended.err
    assert "Traceback" not in ended.err
    assert names(place / "locked") == set()


def test_a_small_file_that_may_not_be_read(place: Path) -> None:
    (place / "base/tokenizer.json").chmod(0)
    ended = Command(COMMAND, setup=WITHOUT_PRIVILEGES).end()
    assert ended.code in (3, 7)
    assert "tokenizer.json" in ended.err
    assert "writing failed" not in ended.err
    assert "Traceback" not in ended.err
    assert names(place) == CLEAN


def test_a_folder_that_is_not_there(place: Path, fuse: Fuse) -> None:
    code, shown = fuse(command=["fuse", "base", "a", "-o", "missing/out"])
    assert code == 5
    assert "does not exist" in shown
    assert names(place) == CLEAN


def test_a_folder_of_another_file_system(place: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere() -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "rename", faulty(Fault("rename"), elsewhere))
    code, shown = fuse()
    assert code == 7
    assert os.strerror(errno.EXDEV) in shown
    assert names(place) == CLEAN


@pytest.mark.parametrize("out", ["base", "base/inside", "a", "a/inside", "."])
def test_the_output_may_not_touch_an_input(place: Path, fuse: Fuse, out: str) -> None:
    before = tree(place)
    assert fuse("--force", command=["fuse", "base", "a", "-o", out])[0] in (2, 6)
    assert tree(place) == before
    assert names(place) == CLEAN


def test_what_is_not_ours_is_not_replaced(place: Path, fuse: Fuse) -> None:
    (place / "out").mkdir()
    (place / "out/mine").write_text("precious")
    assert fuse()[0] == 6
    assert fuse("--force")[0] == 6
    assert tree(place / "out").keys() == {"mine"}
    assert names(place) == {*CLEAN, "out"}


@pytest.mark.parametrize(
    ("mask", "folder", "file"), [(0o077, 0o700, 0o600), (0o000, 0o777, 0o666), (0o022, 0o755, 0o644)]
)
def test_modes_follow_the_umask(place: Path, whole: dict[str, str], mask: int, folder: int, file: int) -> None:
    assert Command(COMMAND, setup=f"import os; os.umask({mask})").end().code == 0
    assert (place / "out").stat().st_mode & 0o777 == folder
    assert {path.stat().st_mode & 0o777 for path in (place / "out").iterdir()} == {file}
    assert tree(place / "out") == whole


def start(*arguments: str | bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """As a shell starts it."""
    return subprocess.run(
        [sys.executable, "-m", "adapterops", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("environment", "out"),
    [
        ({"LC_ALL": "C", "TZ": "Asia/Tokyo", "LANG": "C"}, b"out-\xff"),
        ({"PYTHONIOENCODING": "utf-8:strict"}, b"out-\xff"),  # as en_US.UTF-8 has it
    ],
    ids=["C", "strict UTF-8"],
)
def test_locales(place: Path, whole: dict[str, str], environment: dict[str, str], out: bytes) -> None:
    done = start("fuse", "base", "a", "-o", out, **environment)
    assert tree(place / os.fsdecode(out)) == whole
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""


@pytest.mark.parametrize(
    "name", ["[x]*?", " with space ", "-dash", "line\nbreak", "ü", os.fsdecode(b"\xff"), "o" * 200]
)
def test_odd_names_of_the_output(place: Path, whole: dict[str, str], name: str) -> None:
    command = ["fuse", "base", "a", f"--output={name}"]
    killed = Command(command, Fault("fsync", "kill", JOURNAL, 3, after=True)).end()
    assert killed.code == -signal.SIGKILL
    ended = Command([*command, "--resume"]).end()
    assert tree(place / name) == whole
    assert (ended.code, ended.err) == (0, "")
    assert names(place) == {*CLEAN, name}


@pytest.mark.parametrize("name", ["[x]*?", "with space", "line\nbreak", "ü", os.fsdecode(b"\xff")])
def test_odd_names_of_the_inputs(place: Path, name: str) -> None:
    (place / "base").rename(place / name)
    (place / "a").rename(place / (name + "a"))
    ended = Command(["fuse", name, name + "a", "-o", "out"]).end()
    assert ended.code == 0, ended.err
    with safe_open(place / "out" / SHARDS[0], "pt") as file:
        assert "model.layers.0.q_proj.weight" in file.keys()  # noqa: SIM118  # it is no mapping
    assert json.loads((place / "out/adapterops.json").read_text())["inputs"]


CLOSED = (
    "import os, sys; os.close({0}); sys.was_{1}, sys.{1} = sys.{1}, None\n"  # it lives on: Python would close it, too
)
FULL = "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), {})\n"
NO_READER = "import os; reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 1)\n"
AT_ONCE = "import io, sys; sys.stdout = io.TextIOWrapper(sys.stdout.detach().detach(), write_through=True)\n"
"""Without: as with less output than a buffer holds."""


@pytest.mark.parametrize(
    ("setup", "code"),
    [
        (CLOSED.format(1, "stdout"), 0),
        (CLOSED.format(1, "stdout") + CLOSED.format(2, "stderr") + "os.close(0)", 0),
        (FULL.format(1), 7),
        (FULL.format(1) + AT_ONCE, 7),
        (FULL.format(1) + FULL.format(2), 7),
        (NO_READER, 0),
        (NO_READER + AT_ONCE, 0),
    ],
    ids=["closed", "all closed", "full", "full at once", "both full", "no reader", "no reader at once"],
)
@pytest.mark.parametrize("option", [[], ["--json"]], ids=["text", "json"])
def test_nobody_reads_the_results(place: Path, whole: dict[str, str], setup: str, code: int, option: list[str]) -> None:
    ended = Command([*COMMAND, *option], setup=setup).end()
    assert "Traceback" not in ended.err
    assert "Exception ignored" not in ended.err
    assert tree(place / "out") == whole
    assert names(place) == {*CLEAN, "out"}
    assert ended.code == code


@pytest.mark.parametrize(("setup", "code"), [(FULL.format(1), 7), (NO_READER, 0)], ids=["full", "no reader"])
@pytest.mark.parametrize(
    ("command", "out"),
    [("merge a b -o out", "out"), ("fuse base a b -o out", "out"), ("compare a b --plan plan.yaml", "plan.yaml")],
    ids=["merge", "fuse", "compare"],
)
def test_nobody_reads_what_is_printed_before_the_work(
    place: Path, setup: str, code: int, command: str, out: str
) -> None:
    shutil.copytree(place / "a", place / "b")
    ended = Command(command.split(), setup=setup + AT_ONCE).end()
    assert (ended.code, (place / out).exists()) == (code, True), ended.err
