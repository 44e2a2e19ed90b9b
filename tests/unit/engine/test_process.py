"""The process belongs to whoever calls the library; only the command line sets it up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from corpus import write_adapter

from adapterops.engine import process

WATCH = """
import ctypes, gc, os, sys

class Watched(ctypes.CDLL):
    def __getattr__(self, name):
        assert name != "mallopt", "the allocator was set"
        return super().__getattr__(name)

ctypes.CDLL = Watched

def state():
    return gc.get_threshold(), sys.getswitchinterval(), dict(os.environ)

os.environ.setdefault("KMP_DUPLICATE_LIB_OK", "True")  # threadpoolctl does when it is imported
before = state()
"""

LIBRARY = """
import adapterops as ao
a = ao.open_adapter("a")
ao.save_adapter(ao.merge([a, ao.truncate(a, 1)], "linear"), "out")
from adapterops.engine.execution import Execution
ao.save_adapter(ao.merge([a, a], "ties"), "dense", how=Execution(workers=2))
after = state()
assert after == before, (after, before)
"""

COMMAND = """
import os
exit_, os._exit = os._exit, lambda code: None
from adapterops.cli.main import main
sys.argv = ["adapterops", "methods"]
ctypes.CDLL = Watched.__base__
main()
print(gc.get_threshold()[0], sys.getswitchinterval(), os.environ["OPENBLAS_NUM_THREADS"], file=sys.stderr)
"""


def ran(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", WATCH + code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_library_leaves_the_process_as_it_is(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a")
    ran(LIBRARY, tmp_path)
    assert (tmp_path / "out/adapterops.json").exists()


def test_the_command_line_tunes_its_process(tmp_path: Path) -> None:
    assert ran(COMMAND, tmp_path).split() == ["1000000", "0.0005", "1"]


def test_all_threads_share_one_pool_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one worker has freed, the next one uses: the peak does not grow with how their work is dealt."""
    said: dict[int, int] = {}

    class C:
        @staticmethod
        def mallopt(what: int, value: int) -> None:
            said[what] = value

    monkeypatch.setattr(process.ctypes, "CDLL", lambda _: C)
    process._keep_memory()
    assert said == {-1: 1 << 28, -3: 1 << 25, -8: 1}
