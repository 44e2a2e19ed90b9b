"""Whatever happens in a command becomes a message and an exit code."""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from adapterops.cli import main
from adapterops.errors import AdapterWarning, InputError

INTERRUPTED = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r} and "adapterops" in sys.modules:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

for name in list(sys.modules):
    if name.partition(".")[0] in ("json", "logging"):
        del sys.modules[name]
sys.meta_path.insert(0, Interrupt())
"""


@pytest.fixture(autouse=True)
def warnings_as_before() -> Iterator[None]:
    with warnings.catch_warnings():
        yield


def ending(monkeypatch: pytest.MonkeyPatch, event: BaseException | None) -> None:
    """Let `adapterops methods` end with this."""

    @click.command()
    @click.option("--json", is_flag=True)
    @click.option("--strict", is_flag=True)
    def command(json: bool, strict: bool) -> None:
        if isinstance(event, Warning):
            warnings.warn(event, stacklevel=1)
            warnings.warn(type(event)(*event.args), stacklevel=1)  # as a job that does so again
        elif event is not None:
            raise event

    monkeypatch.setattr("adapterops.cli.methods.command", command)


EVENTS = [
    (None, 0, ""),
    (InputError("is damaged", path="a", hint="get another"), 3, "error: a: is damaged\n  get another"),
    (click.UsageError("no such thing"), 2, "no such thing"),
    (MemoryError(), 7, "there is not enough memory"),
    (RuntimeError("std::bad_alloc"), 7, "use fewer --workers"),
    (ModuleNotFoundError("No module named 'torch'", name="torch"), 5, "pip install 'adapterops[torch]'"),
    (ModuleNotFoundError("No module named 'yaml'", name="yaml"), 5, "the library yaml is not installed"),
    (ModuleNotFoundError("No module named 'adapterops.x'", name="adapterops.x"), 1, "this is a bug in adapterops"),
    (RuntimeError("odd"), 1, "this is a bug in adapterops"),
    (OSError(errno.ENOSPC, "No space left on device", "x"), 7, "x: No space left on device"),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), 7, "there is not enough memory"),
    (KeyboardInterrupt(), 130, "stopped by SIGINT; nothing was written"),
    (main.Terminated(signal.SIGTERM), 143, "stopped by SIGTERM; nothing was written"),
]


@pytest.mark.parametrize(("event", "code", "message"), EVENTS, ids=lambda each: repr(each)[:40])
def test_how_a_command_ends(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    event: BaseException | None,
    code: int,
    message: str,
) -> None:
    ending(monkeypatch, event)
    assert main.run(["methods"]) == code
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""
    assert ("Traceback" in printed.err) == (code == 1)


def test_a_bug_in_another_package_is_not_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    point = EntryPoint("toy", "toy_package.methods", "adapterops.methods")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda: EntryPoints([point]))
    toy: dict[str, Any] = {"__name__": "toy_package.methods"}
    exec("def fail(): raise ValueError('odd')", toy)
    with pytest.raises(ValueError, match="odd") as caught:
        toy["fail"]()
    ending(monkeypatch, caught.value)
    assert main.run(["methods"]) == 1
    assert "error: this is a bug in toy_package\n" in capsys.readouterr().err
    assert main.run(["methods", "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["error"]["code"] == "E-BUG"
    assert "ValueError: odd" in printed.err


def test_a_signal_inside_of_what_then_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As locks of Python's do, which are not released twice."""
    failed = RuntimeError("release unlocked lock")
    failed.__context__ = main.Terminated(signal.SIGTERM)
    ending(monkeypatch, failed)
    assert main.run(["methods"]) == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "stopped by SIGTERM; nothing was written\n"


def test_a_library_that_fails_while_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As numpy does where the C++ library is missing, after a page of advice."""
    (tmp_path / "halfway.py").write_text(
        "raise ImportError('Read this.\\n\\nlibx.so.6: cannot open shared object file')"
    )
    monkeypatch.syspath_prepend(tmp_path)

    @click.command()
    def command() -> None:
        importlib.import_module("halfway")

    monkeypatch.setattr("adapterops.cli.methods.command", command)
    assert main.run(["methods"]) == 5
    assert capsys.readouterr().err == (
        "error: the library halfway cannot be imported: libx.so.6: cannot open shared object file\n"
        "  install it again in this environment: pip install --force-reinstall halfway\n"
    )


def test_errors_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ending(monkeypatch, InputError("is damaged", path="a", hint="get another", code="E-X"))
    assert main.run(["methods", "--json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert answer["error"] == {
        "code": "E-X",
        "message": "is damaged",
        "hint": "get another",
        "path": "a",
        "tensor": None,
    }


def test_a_warning_is_an_error_under_strict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ending(monkeypatch, AdapterWarning("half of it is lost"))
    for _ in range(2):
        assert main.run(["methods"]) == 0
        assert capsys.readouterr().err == "warning: half of it is lost\n"
    assert main.run(["methods", "--strict"]) == 3
    assert "half of it is lost (an error under --strict)" in capsys.readouterr().err


def test_a_signal_inside_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may come where the engine is imported in part."""
    monkeypatch.setitem(sys.modules, "adapterops.engine.local", ModuleType("adapterops.engine.local"))
    monkeypatch.delattr("adapterops.engine.local", raising=False)
    before = {number: signal.getsignal(number) for number in main.SIGNALS}
    try:
        with pytest.raises(main.Terminated):
            main._terminate(signal.SIGINT, None)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("module", ["json", "adapterops.cli.commands", "logging"])
def test_ctrl_c_while_the_command_is_imported(module: str, tmp_path: Path) -> None:
    """No traceback, whatever is imported when it comes."""
    path = tmp_path / "sitecustomize.py"
    path.write_text(INTERRUPTED.format(module=module))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "adapterops", "show", "a"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "stopped by SIGINT; nothing was written\n")
