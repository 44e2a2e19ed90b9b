"""Through the wire: a base is read from the Hub as it passes, and the model goes there file by file. Nothing stays."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from commands import Command
from corpus import tree
from hub_server import SECRET, Fault, Hub, Request
from interrupted import KILLS
from pretended import pretend
from tiny_models import write_base, write_tuned

from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.checkpoints.saving import save_checkpoint
from adapterops.cli.main import run
from adapterops.engine.execution import Execution
from adapterops.hub import ranges
from adapterops.hub.snapshot import locate
from adapterops.operations.fusion import fuse

OURS = "adapterops.json"


@pytest.fixture
def base(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in several files, here and on the Hub, and an adapter; only headers fit into a first request."""
    monkeypatch.setattr(ranges, "FIRST", 512)
    write_base(tmp_path / "base", layers=4)
    write_tuned(tmp_path / "a", layers=4)
    hub.put("me/base", tmp_path / "base")
    return tmp_path / "base"


def weights(requests: list[Request]) -> list[str]:
    return [each.path.rpartition("/")[2] for each in requests if each.path.endswith(".safetensors")]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_base_that_passes_gives_the_same_bytes_and_nothing_stays(
    hub: Hub, base: Path, tmp_path: Path, workers: int
) -> None:
    opened, adapter = open_checkpoint(locate("me/base", streamed=True)), open_adapter(tmp_path / "a")
    hub.log.clear()
    hub.sent = 0
    save_checkpoint(fuse(opened, adapter), tmp_path / "out", how=Execution(workers))
    save_checkpoint(fuse(open_checkpoint(base), adapter), tmp_path / "local")
    passed, local = (tree(tmp_path / name) for name in ("out", "local"))
    notes = [json.loads((tmp_path / name / OURS).read_text()) for name in ("out", "local")]
    assert {**passed, OURS: ""} == {**local, OURS: ""}
    for name, file in notes[1]["inputs"][0]["files"].items():
        assert notes[0]["inputs"][0]["files"][name]["blake3"] == file["blake3"]
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    shards = sorted(each.name for each in base.glob("*.safetensors"))
    if workers == 1:
        assert sorted(weights(hub.asked("GET"))) == shards[:-1], "one request each; the last one came with its header"
        assert hub.sent < 1.05 * sum(path.stat().st_size for path in base.iterdir())


def test_what_breaks_off_goes_on_where_it_was(hub: Hub, base: Path, tmp_path: Path) -> None:
    opened = open_checkpoint(locate("me/base", streamed=True))
    hub.faults = [Fault("GET .*safetensors", "short", count=2), Fault("GET .*safetensors", 503, skip=3)]
    save_checkpoint(fuse(opened, open_adapter(tmp_path / "a")), tmp_path / "out", how=Execution(1))
    save_checkpoint(fuse(open_checkpoint(base), open_adapter(tmp_path / "a")), tmp_path / "local")
    assert {n: d for n, d in tree(tmp_path / "out").items() if n != OURS} == {
        n: d for n, d in tree(tmp_path / "local").items() if n != OURS
    }


TARGET = "me/merged"


@pytest.fixture
def expected(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The sha256 of every file of tensors of the model, made here; and an empty folder to be in, with a token."""
    monkeypatch.setenv("HF_TOKEN", SECRET)
    save_checkpoint(fuse(open_checkpoint(base), open_adapter(tmp_path / "a")), tmp_path / "local")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    files = sorted((tmp_path / "local").glob("model*"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


COMMAND = ["fuse", "hf://me/base", "../a", "--push", TARGET]


def pushed(hub: Hub) -> dict[str, str]:
    """What the repository holds of the model, and that nothing else of it is left anywhere."""
    repo = hub.repos[TARGET]
    assert list(repo.refs) == ["main"]
    assert not list(Path().iterdir())
    return {name: file.sha256 for name, file in repo.at("main").files.items() if name.startswith("model")}


def test_one_commit_of_the_same_bytes_and_nothing_here(
    hub: Hub, expected: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    most: list[int] = []
    disk = lambda: most.append(sum(path.stat().st_size for path in Path().rglob("*.safetensors")))  # noqa: E731
    hub.faults = [Fault("PUT /lfs", disk, count=100)]
    assert run(COMMAND) == 0
    assert pushed(hub) == expected
    largest = max(path.stat().st_size for path in (tmp_path / "local").glob("*.safetensors"))
    assert most
    assert max(most) <= largest
    assert len(hub.repos[TARGET].history()) == 2
    card, noted = (hub.content(hub.repos[TARGET].at("main").files[name]).decode() for name in ("README.md", OURS))
    assert "base_model: me/base" in card
    assert json.loads(noted)["request"]["base"]["path"].startswith("hf://me/base@")
    assert f"commit/{hub.repos[TARGET].at('main').sha}" in capsys.readouterr().out
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    assert run(["pull", TARGET, "-o", "../got"]) == 0
    assert run(["verify", "../got", "--base", "../base", "--adapter", "../a"]) == 0


def untouched(hub: Hub, expected: dict[str, str]) -> set[str]:
    """The files of tensors that are the base's own."""
    there = hub.repos["me/base"].at("main").files
    return {n for n, sha256 in expected.items() if n.endswith(".safetensors") and there[n].sha256 == sha256}


def test_what_the_base_has_is_copied_on_the_hub_and_not_sent(hub: Hub, expected: dict[str, str]) -> None:
    same = untouched(hub, expected)
    assert same
    assert run(COMMAND) == 0
    assert pushed(hub) == expected
    assert len(hub.asked("POST .*me/base/lfs-files/duplicate")) == len(same)
    sent = {hashlib.sha256(each.body).hexdigest() for each in hub.asked("PUT /lfs")}
    assert sent & set(expected.values()) == {expected[n] for n in expected if n.endswith(".safetensors")} - {
        expected[n] for n in same
    }


def test_what_the_hub_does_not_copy_is_sent(
    hub: Hub, expected: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    hub.faults = [Fault("POST .*duplicate", 400, count=100)]
    assert run(COMMAND) == 0
    assert pushed(hub) == expected
    assert "does not copy" in capsys.readouterr().err
    sent = {hashlib.sha256(each.body).hexdigest() for each in hub.asked("PUT /lfs")}
    assert {expected[name] for name in untouched(hub, expected)} <= sent


def test_into_the_repository_of_the_base_nothing_of_it_is_sent(hub: Hub, expected: dict[str, str]) -> None:
    same = untouched(hub, expected)
    assert run(["fuse", "hf://me/base", "../a", "--push", "me/base"]) == 0
    sent = {hashlib.sha256(each.body).hexdigest() for each in hub.asked("PUT /lfs")}
    assert not sent & {expected[name] for name in same}
    there = hub.repos["me/base"].at("main").files
    assert {name: there[name].sha256 for name in expected} == expected


def test_again_sends_nothing_twice(hub: Hub, expected: dict[str, str]) -> None:
    assert run(COMMAND) == 0
    hub.log.clear()
    assert run(COMMAND) == 0
    assert not hub.asked("PUT /lfs")
    assert len(hub.repos[TARGET].history()) == 2
    assert pushed(hub) == expected


@pytest.mark.parametrize(
    "request_", ["PUT /lfs", "POST .*commit", "POST .*branch", "GET .*safetensors", "POST .*batch"]
)
@pytest.mark.parametrize("skip", [0, 2, 4])
def test_a_run_that_the_hub_refused_goes_on(hub: Hub, expected: dict[str, str], request_: str, skip: int) -> None:
    hub.faults = [Fault(request_, 500, count=100, skip=skip)]
    assert run(COMMAND) in (0, 5)
    sent = hub.asked("PUT /lfs")
    hub.faults = []
    assert run(COMMAND) == 0
    assert pushed(hub) == expected
    assert len(hub.repos[TARGET].history()) == 2
    assert len(hub.asked("PUT /lfs")) <= len(sent) + len(expected)


@pytest.mark.parametrize(("method", "mixes"), [("ties", False), ("linear", True)])
def test_files_of_a_merge_are_not_of_two_devices(
    hub: Hub,
    expected: dict[str, str],
    method: str,
    mixes: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What a GPU has begun is not gone on with by a processor, whose merges round otherwise; sums are the same on both."""
    pretend(monkeypatch)
    merge = ["fuse", "hf://me/base", "../a", "../a", "--method", method, "--push", TARGET]
    hub.faults = [Fault("PUT /lfs", 500, count=100, skip=1)]
    assert run([*merge, "--device", "cuda"]) == 5
    assert hub.asked("PUT /lfs")
    hub.faults = []
    capsys.readouterr()
    assert run(merge) == (0 if mixes else 4)
    if not mixes:
        error = capsys.readouterr().err
        assert "device" in error
        assert "a GPU that is not there" in error
        assert run([*merge, "--device", "cuda"]) == 0
    assert pushed(hub).keys() == expected.keys()


def begun(hub: Hub, tmp_path: Path) -> Command:
    """The command, which goes on to its first request when it is told to."""
    command = Command(COMMAND, setup=f"{hub.asking(tmp_path / 'cache')}\npause()")
    assert command.paused()
    return command


def test_killed_again_and_again(hub: Hub, expected: dict[str, str], tmp_path: Path) -> None:
    """After more requests each time: the one commit comes, and no file is sent again that was noted as sent."""
    killed = 0
    for skip in range(6, 200, 7):
        command = begun(hub, tmp_path)
        hub.faults = [Fault(".", partial(command.signal, signal.SIGKILL), skip=skip)]
        ended = command.end()
        if ended.code == 0:
            break
        assert ended.code == -signal.SIGKILL, ended
        assert len(hub.repos[TARGET].history() if TARGET in hub.repos else []) <= 2
        killed += 1
    assert killed > 3
    hub.faults = []
    assert pushed(hub) == expected
    assert len(hub.repos[TARGET].history()) == 2
    assert len(hub.asked("PUT /lfs")) <= len(expected) + 2 + killed  # tokenizer.json, and what was on its way


def test_killed_between_the_commit_and_the_end(hub: Hub, expected: dict[str, str], tmp_path: Path) -> None:
    """Whoever runs it again, in whatever process, makes no other commit."""
    command = begun(hub, tmp_path)
    hub.faults = [Fault("DELETE .*branch", partial(command.signal, signal.SIGKILL))]
    assert command.end().code == -signal.SIGKILL
    assert run(COMMAND) == 0
    assert pushed(hub) == expected
    assert len(hub.repos[TARGET].history()) == 2


def test_killed_at_any_time(hub: Hub, expected: dict[str, str], tmp_path: Path) -> None:
    """At random: whoever runs it again gets one commit, of the same bytes."""
    chance, killed, length = random.Random(19), 0, 0.0
    while killed < (KILLS or 6):
        begin = time.monotonic()
        command = Command(COMMAND, setup=hub.asking(tmp_path / "cache"))
        if length:
            threading.Event().wait(chance.random() * length)
            command.signal(signal.SIGKILL)
        ended = command.end()
        killed += ended.code == -signal.SIGKILL
        assert ended.code in (0, -signal.SIGKILL), ended
        history = hub.repos[TARGET].history() if TARGET in hub.repos else []
        assert len(history) <= 2
        if ended.code == 0:
            assert len(history) == 2
            assert pushed(hub) == expected
            length = length or time.monotonic() - begin
            del hub.repos[TARGET]
    assert run(COMMAND) == 0
    assert pushed(hub) == expected
    assert len(hub.repos[TARGET].history()) == 2


def test_main_that_was_changed_meanwhile_is_left_as_it_is(
    hub: Hub, expected: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    def change() -> None:
        repo = hub.repos[TARGET]
        repo.add("main", "somebody else", {**repo.at("main").files, "notes.txt": hub.stored("notes.txt", b"x")})

    hub.faults = [Fault("PUT /lfs", change, skip=1)]
    assert run(COMMAND) == 5
    assert "was changed by someone else" in capsys.readouterr().err
    assert set(hub.repos[TARGET].at("main").files) == {".gitattributes", "notes.txt"}
    assert run(COMMAND) == 0
    assert pushed(hub) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "out"], "--push keeps nothing here"),
        (["--part", "1/2"], "--push makes the model here"),
        (["--engine", "ray"], "--push makes the model here"),
    ],
)
def test_options_that_exclude_each_other(
    hub: Hub, expected: dict[str, str], options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*COMMAND, *options]) == 2
    assert message in capsys.readouterr().err
