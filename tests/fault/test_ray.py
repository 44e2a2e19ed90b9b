"""A model made on a cluster of Ray of several nodes: workers, nodes and the driver are lost, and the bytes are those of one
process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from corpus import tree
from interrupted import CLEAN, SHARDS, Fuse, made, names, remove
from tiny_models import write_base, write_tuned

from adapterops.requests import parts
from adapterops.testing import check_engine

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
SMALL = {"object_store_memory": 100 << 20}
SOON = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 10000,
    "health_check_failure_threshold": 3,
}
"""A lost node is noticed in seconds, and not in twenty; one that is slow is not taken for lost."""

PATIENCE = 60


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one processor each, and nothing that looks at the cluster for people."""
    from ray.cluster_utils import Cluster

    before = {name: os.environ.get(name) for name in ("RAY_USAGE_STATS_ENABLED",)}
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    alone = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": SOON, **alone, **SMALL})
    try:
        cluster.add_node(num_cpus=1, **SMALL)
        yield cluster
    finally:
        cluster.shutdown()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture
def on_ray(fuse: Fuse, cluster: Any) -> Fuse:
    """The command, done on the cluster."""
    return lambda *more: fuse("--engine", "ray", "--address", cluster.address, *more)


def once(marker: Path, act: Callable[[], None]) -> Callable[[str], str]:
    """The job, before which `act` is called where nobody has called it yet."""
    real, there = parts.do, str(marker)

    def do(text: str) -> str:
        try:
            os.mkdir(there)
        except FileExistsError:
            return real(text)
        act()
        return real(text)

    return do


def test_the_laws(cluster: Any) -> None:
    check_engine("ray", cluster.address)


def test_the_bytes_are_those_of_one_process(place: Path, whole: dict[str, str], on_ray: Fuse) -> None:
    assert on_ray() == (0, "")
    assert tree(place / "out") == whole
    assert names(place) == {*CLEAN, "out"}
    assert on_ray()[0] == 6


def test_memory_that_no_machine_has_is_told_before_anybody_waits(
    place: Path, on_ray: Fuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --strict it is an error."""
    monkeypatch.setattr("adapterops.requests.divided.DividedModel.memory", 1 << 50)
    code, said = on_ray("--strict")
    assert code == 3
    assert "one job takes 1125899906842624 bytes of memory" in said
    assert "jobs wait until a larger one joins" in said
    assert not (place / "out").exists()


def test_a_worker_that_is_killed(
    place: Path, whole: dict[str, str], on_ray: Fuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it writes: its half of a file is of no use, and in nobody's way."""

    def die() -> None:
        def pwrite(*arguments: Any) -> int:
            os.kill(os.getpid(), signal.SIGKILL)
            return 0

        os.pwrite = pwrite

    monkeypatch.setattr(parts, "do", once(place / "died", die))
    assert on_ray() == (0, "")
    assert tree(place / "out") == whole
    assert names(place) == {*CLEAN, "out", "died"}


def test_a_node_that_is_lost(
    place: Path, whole: dict[str, str], on_ray: Fuse, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, marker, gone = cluster.add_node(num_cpus=1, resources={"lost": 1}, **SMALL), place / "began", place / "gone"
    mine, there, away = node.node_id, str(marker), str(gone)
    real = parts.do

    def do(text: str) -> str:
        import ray

        if ray.get_runtime_context().get_node_id() == mine:
            open(there, "w").close()
            while not os.path.exists(away):
                time.sleep(0.05)
        return real(text)

    def lose() -> None:
        begin = time.monotonic()
        while not marker.exists() and time.monotonic() - begin < PATIENCE:
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)
        gone.touch()

    monkeypatch.setattr(parts, "do", do)
    thread = threading.Thread(target=lose)
    thread.start()
    assert on_ray() == (0, "")
    thread.join()
    assert marker.exists(), "a job was on that node"
    assert tree(place / "out") == whole


def test_an_error_of_a_job_ends_the_work_and_is_not_tried_again(
    place: Path, whole: dict[str, str], on_ray: Fuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove(place / "base")
    write_base(place / "base", nan="model.layers.1.v_proj.weight")
    real, log = parts.do, str(place / "log")

    def do(text: str) -> str:
        with open(log, "a") as file:
            file.write(text.rpartition('"file": ')[2] + "\n")
        return real(text)

    monkeypatch.setattr(parts, "do", do)
    code, said = on_ray()
    assert code == 3
    assert "model.layers.1.v_proj.weight" in said
    assert SHARDS[1] in said
    assert "Traceback" not in said
    tried = (place / "log").read_text().splitlines()
    assert sum(SHARDS[1] in line for line in tried) == 1
    assert not (place / "out").exists()
    remove(place / "base")
    write_base(place / "base")
    code, said = on_ray()
    assert code == 4, "parts of the old base are there"
    remove(next(place.glob(".out.parts-*")))
    assert on_ray() == (0, "")
    assert tree(place / "out") == whole


DRIVER = """
import os, sys, time
from adapterops.cli.main import main
from adapterops.requests import parts
real, shard = parts.do, sys.argv.pop(1)
def do(text):
    if shard in text.rpartition('"file": ')[2]:
        open("{place}/waiting", "w").close()
        while os.path.exists("{place}/waiting"):
            time.sleep(0.05)
    return real(text)
parts.do = do
main()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_is_stopped(
    place: Path, whole: dict[str, str], on_ray: Fuse, cluster: Any, number: signal.Signals
) -> None:
    arguments = ["fuse", "base", "a", "-o", "out", "--engine", "ray", "--address", cluster.address]
    script = DRIVER.format(place=place)
    driver = subprocess.Popen(
        [sys.executable, "-c", script, SHARDS[3], *arguments], cwd=place, stderr=subprocess.PIPE, text=True
    )
    begin = time.monotonic()
    while not ((place / "waiting").exists() and len(list(place.glob(".out.parts-*/records/*"))) == 3):
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() - begin < PATIENCE
        time.sleep(0.05)
    driver.send_signal(number)
    _, said = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == (-number if number == signal.SIGKILL else 128 + number), said
    if number != signal.SIGKILL:
        assert "finished files are kept" in said
        assert "Traceback" not in said
    assert not (place / "out").exists()
    (place / "waiting").unlink()
    (folder,) = place.glob(".out.parts-*")
    before = {path.name: made(path) for path in (folder / "files").iterdir()}
    assert on_ray() == (0, "")
    assert {name: made(place / "out" / name) for name in before} == before
    assert tree(place / "out") == whole
    assert names(place) == {*CLEAN, "out"}


def test_parts_and_ray_complete_each_other(place: Path, whole: dict[str, str], on_ray: Fuse, fuse: Fuse) -> None:
    assert fuse("--part", "1/2") == (0, "")
    assert on_ray() == (0, "")
    assert tree(place / "out") == whole


def test_what_runs_when_another_job_fails_is_ended(place: Path, on_ray: Fuse, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, ended = str(place / "waiting"), str(place / "ended")

    def do(text: str) -> str:
        if SHARDS[0] in text.rpartition('"file": ')[2]:
            while not os.path.exists(waiting):
                time.sleep(0.05)
            raise RuntimeError("of no kind that is known")
        open(waiting, "w").close()
        time.sleep(20)
        open(ended, "w").close()
        return ""

    monkeypatch.setattr(parts, "do", do)
    begin = time.monotonic()
    code, said = on_ray()
    assert (code, "of no kind that is known" in said) == (1, True)
    assert time.monotonic() - begin < 20
    assert not os.path.exists(ended)


def test_an_adapter(place: Path, fuse: Fuse, cluster: Any) -> None:
    write_tuned(place / "b", seed=1)
    merge = ["merge", "a", "b", "--ties", "--rank", "3", "-o"]
    assert fuse(command=[*merge, "whole"]) == (0, "")
    assert fuse("--engine", "ray", "--address", cluster.address, command=[*merge, "out"]) == (0, "")
    assert tree(place / "out") == tree(place / "whole")


def test_options_that_do_not_go_together(place: Path, fuse: Fuse) -> None:
    assert fuse("--engine", "ray", "--part", "1/2")[0] == 2
    assert fuse("--address", "auto")[0] == 2
    assert fuse("--engine", "ray", "--device", "cuda")[0] == 2
    assert names(place) == CLEAN
