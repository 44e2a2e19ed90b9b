"""The engine where Ray is not: what it needs of a cluster is tested in tests/fault/test_ray.py."""

from __future__ import annotations

import errno
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adapterops.engine import ray
from adapterops.errors import AdapterWarning, NotFoundError, ResourceError


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NotFoundError, match="not installed") as caught:
        list(ray.run(str.upper, ["a"], memory=1))
    assert "adapterops[ray]" in str(caught.value)


def test_what_nobody_caught_is_not_told_to_ray_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hook is set when it is imported; where the cluster is gone, it would try for a minute, and the error not be seen."""
    (tmp_path / "ray.py").write_text("import sys\nsys.excepthook = None\n")
    hook, real = sys.excepthook, sys.modules.get("ray")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        patch.setitem(sys.modules, "ray", None)  # taken back whatever is imported meanwhile
        del sys.modules["ray"]
        with pytest.raises(NotFoundError, match="there is no cluster"):
            list(ray.run(str.upper, ["a"], memory=1, address="127.0.0.1:1"))
        assert sys.excepthook is hook
    assert sys.modules.get("ray") is real  # the tests of a cluster may run in this process, later


def test_asked_for_nothing_it_says_what_is_missing_and_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a command asks before it measures anything."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NotFoundError, match="not installed"):
        list(ray.run(str.upper, [], memory=1))
    monkeypatch.setattr(ray, "find_spec", str.strip)  # it is
    assert list(ray.run(str.upper, [], memory=1)) == []
    with pytest.raises(NotFoundError, match="there is no cluster of Ray at"):
        list(ray.run(str.upper, [], memory=1, address="127.0.0.1:1"))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://localhost:1", "[::1]:1"])
def test_an_address_where_nobody_listens_is_told_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would try for minutes, and write to the terminal."""

    def init(*arguments: Any, **options: Any) -> None:
        raise AssertionError("Ray was asked")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    with pytest.raises(NotFoundError, match="there is no cluster of Ray at") as caught:
        list(ray.run(str.upper, ["a"], memory=1, address=address))
    assert "ray start --head" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EHOSTUNREACH, "No route to host"), "did not answer: No route to host"),
        (TimeoutError("timed out"), "did not answer: timed out"),
        (OverflowError("port must be 0-65535."), "did not answer: port must be 0-65535"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "there is no cluster of Ray at"),
    ],
)
def test_an_address_that_does_not_answer_is_not_found(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(ray.socket, "create_connection", connect)
    with pytest.raises(NotFoundError, match=said):
        ray._reach("10.0.0.1:6379")


@pytest.mark.parametrize("address", ["auto", "local", "session_latest"])
def test_other_addresses_are_looked_up_by_ray(address: str) -> None:
    ray._reach(address)


class Cluster:
    """What a Ray says of its machines."""

    def __init__(self, *machines: dict[str, float]) -> None:
        self.machines = machines

    def nodes(self) -> list[dict[str, Any]]:
        lost = {"Alive": False, "Resources": {"CPU": 64, "memory": 1 << 40}}
        return [lost, *({"Alive": True, "Resources": each} for each in self.machines)]


def test_a_job_that_no_machine_has_room_for_is_told_at_once() -> None:
    """Ray would wait for one that has, and say nothing."""
    cluster = Cluster({"memory": 5e9}, {"CPU": 2, "memory": 2e9}, {"CPU": 1, "memory": 1e9})
    assert ray._most(cluster) == 2_000_000_000, "the head computes nothing"
    assert ray._most(Cluster()) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ray._check_room(2_000_000_000, ray._most(cluster), own=False)
    with pytest.warns(
        AdapterWarning, match="one job takes 3000000000 bytes of memory, and Ray has 2000000000 bytes on"
    ):
        ray._check_room(3_000_000_000, ray._most(cluster), own=False)
    with pytest.raises(ResourceError, match="on this machine"):
        ray._check_room(3_000_000_000, ray._most(cluster), own=True)
