"""Every command that writes, whatever befalls the disk, the process or its inputs: the output is whole or absent, nothing
else is left, the inputs are as they were, and a second try succeeds.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from commands import Command, Fault, faulty
from corpus import config, tree, write_adapter
from interrupted import removed, replaced
from mergekit_models import write
from quantized_layouts import LAYOUTS, Q, write_layout
from tiny_models import write_base, write_tuned
from turns import ALL

from adapterops.cli.main import run

RECIPE = {"adapterops": 1, "inputs": {"x": "a", "y": "b"}, "result": "ties(x, y)"}
MERGEKIT = {
    "merge_method": "linear",
    "models": [{"model": f"mk-{name}", "parameters": {"weight": 0.5}} for name in ("chat", "code")],
}


class Kind(NamedTuple):
    """A command, its outputs, and one of its inputs."""

    command: list[str]
    outputs: tuple[str, ...] = ("out",)
    input: str = "a/adapter_model.safetensors"


SHARD, WIDE = "fused/model-00001-of-00004.safetensors", "wide/adapter_model.safetensors"
STOCHASTIC = ["--rounding", "stochastic", "--accept-loss", "-o", "out"]
FILE = ("out.safetensors", "out.safetensors.adapterops.json")
KINDS = {
    "merge": Kind(["merge", "a", "b", "--ties", "-o", "out"]),
    "calc": Kind(["calc", "x - y", "x=a", "y=b", "-o", "out"]),
    "truncate": Kind(["truncate", "a", "--rank", "1", "-o", "out"]),
    "normalize": Kind(["normalize", "a", "-o", "out"]),
    "compress": Kind(["compress", "a", "b", "-o", "out"]),
    "convert to MLX": Kind(["convert", "a", "--to", "mlx", "-o", "out"]),
    "convert from MLX": Kind(["convert", "mlx", "--to", "peft", "-o", "out"], input="mlx/adapters.safetensors"),
    "convert to kohya": Kind(["convert", "image", "--to", "kohya", "-o", "out.safetensors"], FILE, "image/adapter_model.safetensors"),
    "extract": Kind(["extract", "fused", "--base", "base", "--rank", "1", "-o", "out"], input=SHARD),
    "unfuse": Kind(["unfuse", "fused", "a", "-o", "out"]),
    "fuse": Kind(["fuse", "base", "a", "b", "--ties", "-o", "out"]),
    "fuse a tuned model": Kind(["fuse", "base", "--tuned", "fused", "-o", "out"], input=SHARD),
    "fuse into FP8": Kind(["fuse", "fp8", "wide", *STOCHASTIC], input=WIDE),
    "fuse into MXFP4": Kind(["fuse", "mxfp4", "wide", *STOCHASTIC], input=WIDE),
    "quantize": Kind(["quantize", "base", "--to", "int8", "-o", "out"], input="base/model-00001-of-00004.safetensors"),
    "dequantize": Kind(["dequantize", "fp8", "-o", "out"], input="fp8/model-00001-of-00002.safetensors"),
    "run": Kind(["run", "recipe.json", "-o", "out"]),
    "run of mergekit": Kind(["run", "mergekit.json", "-o", "out"], input="mk-code/model.safetensors"),
    "report": Kind(["report", "a", "b", "-o", "out.html"], ("out.html", "out.json")),
    "figures": Kind(["report", "a", "-o", "out.html", "--figures", "out"], ("out.html", "out.json", "out")),
    "plan": Kind(["compare", "a", "b", "--plan", "out.yaml"], ("out.yaml",)),
    "check": Kind(["check", "a", "--for", "vllm", "--sarif", "out.sarif"], ("out.sarif",)),
    "verify": Kind(["verify", "fused", "--base", "base", "--adapter", "a", "--sarif", "out.sarif"], ("out.sarif",)),
    "diagnose": Kind(["diagnose", "fused", "--base", "base", "--adapter", "a", "--sarif", "out.sarif"], ("out.sarif",)),
    "card": Kind(["card", "fused", "-o", "out.md"], ("out.md",), SHARD),
}  # fmt: skip
"""Those of `test_other_outputs.py` are not in it, and what is sent to the Hub is in `test_hub_faults.py`."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands read."""
    place, before = tmp_path_factory.mktemp("inputs"), os.getcwd()
    os.chdir(place)
    write_base(Path("base"))
    write_tuned(Path("a"))
    write_tuned(Path("b"), seed=1)
    write_adapter(Path("wide"), fields=config(2), modules=[Q], rank=2, out=256, into=512)
    write_adapter(Path("image"), fields=config(2), modules=["transformer.blocks.0.attn.to_q"])
    for folder, name in (("fp8", "deepseek"), ("mxfp4", "mxfp4 by row")):
        write_layout(Path(folder), LAYOUTS[name]())
    for name in ("chat", "code"):
        write(Path(f"mk-{name}"), name)
    Path("recipe.json").write_text(json.dumps(RECIPE))
    Path("mergekit.json").write_text(json.dumps(MERGEKIT))
    for command in (
        ["fuse", "base", "a", "-o", "fused"],
        ["convert", "a", "--to", "mlx", "-o", "mlx"],
    ):
        assert run(command) == 0
    os.chdir(before)
    return place


class Place(NamedTuple):
    """A folder with the inputs of a command, as the current one, and what it writes where nothing happens."""

    path: Path
    kind: Kind
    before: dict[str, str]
    whole: dict[str, str]

    def out(self) -> dict[str, str]:
        return {
            name: each
            for name, each in tree(self.path).items()
            if name not in self.before and name[0] != "." and "adapterops.json" not in name
        }

    def again(self) -> None:
        """As it was in the beginning: without what was written, and nothing else may be there."""
        for name in self.kind.outputs:
            path = self.path / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        assert tree(self.path) == self.before


@pytest.fixture(scope="module")
def wholes() -> dict[str, dict[str, str]]:
    """What each command writes where nothing happens, once it was found."""
    return {}


@pytest.fixture(params=KINDS)
def place(
    request: pytest.FixtureRequest,
    inputs: Path,
    wholes: dict[str, dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    folder, kind = tmp_path / "here", KINDS[request.param]
    shutil.copytree(inputs, folder)
    monkeypatch.chdir(folder)
    found = Place(folder, kind, tree(folder), wholes.setdefault(request.param, {}))
    if not found.whole:
        assert run(kind.command) == 0
        found.whole.update(found.out())
        assert found.whole
        found.again()
    yield found
    found.again()


WRITING = ("mkdir", "posix_fallocate", "pwrite", "fsync", "rename", "replace", "link")


def test_the_disk_is_full(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for at, function in enumerate(WRITING, list(KINDS.values()).index(place.kind)):
        for nth in (1, 3) if ALL else ((1, 3)[at % 2],):
            hit = []

            def fail(hit: list[bool] = hit) -> None:
                hit.append(True)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            with monkeypatch.context() as patch:
                patch.setattr(os, function, faulty(Fault(function, nth=nth), fail))
                code = run(place.kind.command)
            shown = capsys.readouterr().err
            assert "Traceback" not in shown
            if code == 0 or place.out():  # what failed was a courtesy, or the last sync
                assert code in (0, 7)
                assert place.out() == place.whole
            else:
                assert (code, os.strerror(errno.ENOSPC) in shown) == (7, True), shown
            place.again()
            if not hit:
                break


def test_a_folder_that_is_read_only(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: real(path, mode) and not mode & os.W_OK)
    assert run(place.kind.command) == 7
    assert "not writable" in capsys.readouterr().err
    place.again()


STOPPED = [(kind, (signal.SIGKILL, signal.SIGHUP)[at % 2]) for at, kind in enumerate(KINDS)]
"""Of two neighbours, which write alike, one is killed, and the other loses its terminal."""


@pytest.mark.parametrize(("place", "end"), STOPPED, indirect=["place"])
def test_it_is_stopped(place: Place, end: signal.Signals) -> None:
    command = Command(place.kind.command, Fault("fsync", where=str(place.path)))
    assert command.paused()
    command.signal(end)
    ended = command.end()
    assert "Traceback" not in ended.err
    assert ended.code == (-end if end == signal.SIGKILL else 128 + end)
    assert not place.out() or end == signal.SIGKILL
    assert run(place.kind.command) == 0  # which removes what a killed run left
    assert place.out() == place.whole


@pytest.mark.parametrize("place", list(KINDS)[::3], indirect=True)
def test_another_run_writes_the_same(place: Place) -> None:
    command = Command(place.kind.command, Fault("fsync", where=str(place.path)))
    assert command.paused()
    assert run(place.kind.command) == 0
    assert place.out() == place.whole
    assert command.end().code == (0 if "--sarif" in place.kind.command else 6)
    assert place.out() == place.whole


CHANGED = [(kind, (replaced, removed)[at % 2]) for at, kind in enumerate(KINDS)]


@pytest.mark.parametrize(("place", "change"), CHANGED, indirect=["place"])
def test_an_input_changes(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: Callable[[Path], None]
) -> None:
    path = place.path / place.kind.input
    data = path.read_bytes()
    for nth in (1, 3):
        done = []

        def act(done: list[bool] = done) -> None:
            change(path)
            done.append(True)

        with monkeypatch.context() as patch:
            patch.setattr(os, "preadv", faulty(Fault("preadv", where=re.escape(place.kind.input), nth=nth), act))
            code = run(place.kind.command)
        shown = capsys.readouterr().err
        assert "Traceback" not in shown
        assert (code == 0 and place.out() == place.whole) or (code == 3 and not place.out()), shown
        path.write_bytes(data)
        place.again()
        if not done:
            break
