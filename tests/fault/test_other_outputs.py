"""What is written in other ways than by `fuse` into safetensors: the parts of a model, GGUF files, Gram matrices, files of the
Hub. Each is whole or absent, whatever befalls the disk or the process; nothing is left, and a second try succeeds.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import gguf_files
import gguf_models
import numpy as np
import pytest
import torch
from commands import Command, Fault
from corpus import config, factors, tree, write_adapter
from hub_server import Hub
from safetensors.torch import save_file

from adapterops.cli.main import run

GRAMS = """
import numpy as np
from adapterops.live import grams as live
live.check_runnable = lambda *_: None
live.grams = lambda *_: live.Means({"model.layers.0.q_proj": np.eye(4, dtype=np.float32)}, 3, 1)
"""


class Kind(NamedTuple):
    """A command, the name of its output, and what makes its inputs in the current folder."""

    command: list[str]
    out: str
    prepare: Callable[[Path, Hub], object]


def unmerged(place: Path, hub: Hub) -> None:
    module = "model.layers.0.self_attn.q_proj"
    weights = {f"{module}.base_layer.weight": torch.ones(12, 8), "model.norm.weight": torch.ones(8)}
    lora = {name.replace("base_model.model.", ""): each for name, each in factors([module]).items()}
    named = {name.replace(".weight", ".default.weight"): each for name, each in lora.items()}
    (place / "both").mkdir()
    save_file(weights | named, place / "both/model.safetensors", {"format": "pt"})
    (place / "both/config.json").write_text('{"model_type": "llama"}')


def gguf_model(place: Path, hub: Hub) -> None:
    gguf_models.write(place / "base.gguf", "llama", gguf_models.mixed)
    write_adapter(place / "a", fields=config(2), modules=["model.layers.0.self_attn.k_proj"], rank=2, out=128, into=256)


def gguf_adapter(place: Path, hub: Hub) -> None:
    gguf_files.write_base(place / "base")
    write_adapter(place / "a", fields=config(2), modules=["model.layers.1.self_attn.v_proj"], rank=2, out=32, into=64)


def texts(place: Path, hub: Hub) -> None:
    gguf_files.write_base(place / "base")
    (place / "texts").write_text("a line\n")


def repository(place: Path, hub: Hub) -> None:
    hub.put("me/a", write_adapter(place / "a"))


KINDS = {
    "split": Kind(["split", "both", "--alpha", "4", "-o", "out"], "out", unmerged),
    "a GGUF model": Kind(["fuse", "base.gguf", "a", "-o", "out.gguf"], "out.gguf", gguf_model),
    "a GGUF adapter": Kind(
        ["convert", "a", "--to", "gguf", "--base", "base", "-o", "out.gguf"], "out.gguf", gguf_adapter
    ),
    "gram": Kind(["gram", "base", "texts", "-o", "out.safetensors"], "out.safetensors", texts),
    "pull": Kind(["pull", "me/a", "-o", "out"], "out", repository),
}
WRITING = ("mkdir", "posix_fallocate", "pwrite", "sendfile", "fsync", "rename", "replace", "link")


class Place(NamedTuple):
    """A folder with the inputs of a command, as the current one: what is in it, and how a process of its own gets there."""

    path: Path
    kind: Kind
    before: dict[str, str]
    setup: str

    def left(self) -> set[str]:
        return {path.name for path in self.path.iterdir()}

    def out(self) -> dict[str, str]:
        """What its command wrote, but for manifests, which say what libraries a process had imported."""
        whole = self.path / self.kind.out
        found: dict[str, str] = tree(whole) if whole.is_dir() else {"": whole.read_bytes().hex()}
        return {name: each for name, each in found.items() if not name.endswith("adapterops.json")}

    def remove(self) -> None:
        """Its output, and what is said of a file next to it."""
        for path in self.path.iterdir():
            if path.name.startswith("out"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, str]]]:
    """Where the inputs of each kind are kept, and what each writes where nothing happens, once that was found."""
    return tmp_path_factory.mktemp("prepared"), {}


@pytest.fixture(params=KINDS)
def place(
    request: pytest.FixtureRequest,
    prepared: tuple[Path, dict[str, dict[str, str]]],
    tmp_path: Path,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Place, dict[str, str]]]:
    """Where a command runs, and what it writes where nothing happens."""
    from adapterops.live import grams as live

    folder, kind = tmp_path / "here", KINDS[request.param]
    kept, wholes = prepared[0] / request.param, prepared[1]
    if not kept.exists():
        kept.mkdir()
        kind.prepare(kept, hub)
    shutil.copytree(kept, folder)
    if kind.prepare is repository:
        hub.put("me/a", folder / "a")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(live, "check_runnable", lambda *_: None)
    monkeypatch.setattr(
        live, "grams", lambda *_: live.Means({"model.layers.0.q_proj": np.eye(4, dtype=np.float32)}, 3, 1)
    )
    found = Place(folder, kind, tree(folder), GRAMS + hub.asking(tmp_path / "cache"))
    if request.param not in wholes:
        assert run(kind.command) == 0
        wholes[request.param] = found.out()
        found.remove()
        assert tree(folder) == found.before
    yield found, wholes[request.param]
    found.remove()
    assert tree(folder) == found.before


@pytest.mark.parametrize("function", WRITING)
def test_the_disk_is_full_at_the_nth_call(
    place: tuple[Place, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    function: str,
) -> None:
    here, whole = place
    inputs, real, calls = here.left(), getattr(os, function), 0
    for failing in (*range(1, 12), 20, 40, 80, 160, 320, 10**9):
        calls = 0

        def fails(*arguments: object, failing: int = failing, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **options)

        monkeypatch.setattr(os, function, fails)
        code = run(here.kind.command)
        monkeypatch.setattr(os, function, real)
        shown = capsys.readouterr().err
        assert "Traceback" not in shown
        if calls < failing:  # all was done without reaching the call that fails
            assert code == 0
            assert here.out() == whole
            return
        if (here.path / here.kind.out).exists():  # what failed was a courtesy, or the last sync
            assert code in (0, 7)
            assert here.out() == whole
        else:
            assert code == 7
            assert os.strerror(errno.ENOSPC) in shown
            assert here.left() == inputs
        here.remove()
        assert tree(here.path) == here.before
    raise AssertionError("the calls have no end")


def test_a_file_system_without_links(place: tuple[Place, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    here, whole = place
    monkeypatch.setattr(os, "link", refused)
    assert run(here.kind.command) == 0
    assert here.out() == whole
    assert not [name for name in here.left() if name.startswith(".")]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("function", ["pwrite", "fsync", "rename", "link"])
def test_killed_at_the_nth_call(place: tuple[Place, dict[str, str]], function: str, after: bool) -> None:
    here, whole = place
    for nth in (1, 2, 4, 8):
        fault = Fault(function, "kill", str(here.path), nth, after)
        ended = Command(here.kind.command, fault, setup=here.setup).end()
        assert ended.code in (0, -signal.SIGKILL), ended
        if (here.path / here.kind.out).exists():
            assert here.out() == whole
            here.remove()
        seen = {name for name in here.left() if not name.startswith(".out")}
        assert seen - {f"{here.kind.out}.adapterops.json"} == {name.split("/")[0] for name in here.before}
        assert run(here.kind.command) == 0  # which removes what the killed run left
        assert here.out() == whole
        assert not [name for name in here.left() if name.startswith(".")]
        here.remove()
        if ended.code == 0:
            return


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("function", ["pwrite", "fsync"])
def test_signals(place: tuple[Place, dict[str, str]], function: str, number: signal.Signals) -> None:
    here, whole = place
    command = Command(here.kind.command, Fault(function, "pause", str(here.path)), setup=here.setup)
    if not command.paused():
        assert command.end().code == 0  # it writes in another way
        assert here.out() == whole
        return
    command.signal(number)
    ended = command.end()
    assert "Traceback" not in ended.err
    assert ended.code == 128 + number
    assert f"stopped by {number.name}" in ended.err
    assert not (here.path / here.kind.out).exists()
    assert run(here.kind.command) == 0
    assert here.out() == whole
    assert not [name for name in here.left() if name.startswith(".")]


def test_a_folder_that_is_not_writable(place: tuple[Place, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is on a disk that is read only, where root may not write either."""
    here, _ = place
    real = {name: getattr(os, name) for name in ("mkdir", "open")}

    def refusing(name: str) -> Callable[..., object]:
        def function(path: object, *arguments: object, **options: object) -> object:
            if ".out" in str(path) and not os.path.lexists(str(path)):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return real[name](path, *arguments, **options)

        return function

    with monkeypatch.context() as patch:
        for name in real:
            patch.setattr(os, name, refusing(name))
        code = run(here.kind.command)
    assert code in (0, 7)
    assert code == 7 or here.kind.out == "out.safetensors"  # whose hidden file is opened by Python's own open


@pytest.mark.parametrize("name", ["ü", "with space", "line\nbreak", os.fsdecode(b"\xff")])
def test_odd_names_of_the_output(place: tuple[Place, dict[str, str]], name: str) -> None:
    here, whole = place
    odd = f"out{name}{Path(here.kind.out).suffix}"
    assert run([*here.kind.command[:-1], odd]) == 0
    os.rename(odd, here.kind.out)
    assert here.out() == whole
