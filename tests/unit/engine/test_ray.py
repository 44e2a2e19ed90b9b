"""The engine where Ray is not: what it needs of a cluster is tested in tests/fault/test_ray.py."""

from __future__ import annotations

import sys

import pytest

from adapterops.engine import ray
from adapterops.errors import NotFoundError


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NotFoundError, match="not installed") as caught:
        list(ray.run(str.upper, ["a"], memory=1))
    assert "adapterops[ray]" in str(caught.value)


def test_nothing_to_do_needs_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert list(ray.run(str.upper, [], memory=1)) == []
