"""Jobs in processes of this machine: each is done, whatever becomes of the process that was at it."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from adapterops.engine import processes
from adapterops.engine.execution import Execution
from adapterops.errors import OptionError, ResourceError
from adapterops.testing import check_engine

PATIENCE = 20


def do(function: Callable[[str], str], *items: str, workers: int = 2) -> list[str]:
    return list(processes.run(function, items, memory=1, how=Execution(workers=workers)))


def setting(item: str) -> str:
    print("this is no answer", flush=True)
    return f"{gc.get_threshold()[0]} {os.environ['OPENBLAS_NUM_THREADS']}"


def killed_at_first(item: str) -> str:
    if item.startswith("/"):
        try:
            os.mkdir(item)
        except FileExistsError:
            return "again"
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def killed(item: str) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return item


def slow_or_wrong(item: str) -> str:
    """One fails when the other is at work; which says so in a file, and would say later that it went on."""
    path = Path(item[1:])
    if item[0] == "+":
        path.with_suffix(".began").touch()
        time.sleep(2)
        path.with_suffix(".ended").touch()
        return item
    wait_for(path.with_suffix(".began"))
    raise UnusualError("neither of ours", 3)


class UnusualError(Exception):
    """An error that cannot be made of its arguments alone."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)


def wait_for(path: Path) -> None:
    begin = time.monotonic()
    while not path.exists():
        assert time.monotonic() - begin < PATIENCE
        time.sleep(0.01)


def test_the_laws() -> None:
    check_engine("processes")


def test_its_processes_are_set_up_as_that_of_a_command() -> None:
    assert do(setting, "a", workers=4) == ["1000000 1"]


def test_what_a_lost_process_was_at_is_done_again(tmp_path: Path) -> None:
    assert sorted(do(killed_at_first, str(tmp_path / "marker"), "b", "c")) == ["again", "b", "c"]


def test_what_kills_each_process_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "RETRIES", 1)
    with pytest.raises(ResourceError, match="its process was killed by SIGKILL, 2 times"):
        do(killed, "a")


def test_an_error_ends_what_still_runs_and_shows_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="neither of ours") as caught:
        do(slow_or_wrong, f"+{tmp_path / 'a'}", f"-{tmp_path / 'a'}")
    assert "in slow_or_wrong" in str(caught.value)
    time.sleep(2.2)
    assert not (tmp_path / "a.ended").exists()


def test_its_processes_end_with_whoever_asked_them(tmp_path: Path) -> None:
    """Killed, too: what they do is of no use then."""
    child = os.fork()
    if not child:
        do(slow_or_wrong, f"+{tmp_path / 'a'}")
        os._exit(0)
    wait_for(tmp_path / "a.began")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    time.sleep(2.2)
    assert not (tmp_path / "a.ended").exists()


def test_processes_of_this_machine_have_no_address() -> None:
    with pytest.raises(OptionError, match="processes are of this machine"):
        list(partial(processes.run, memory=1, address="auto")(str.upper, ["a"]))
