"""The laws of engines hold for one that does its work, and are broken by each fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adapterops.engine.registry import ENGINES
from adapterops.testing import check_engine


def good(function: Any, items: Any, **_: Any) -> Iterator[str]:
    yield from map(function, reversed(items))


def forgets(function: Any, items: Any, **_: Any) -> Iterator[str]:
    yield from map(function, items[1:])


def repeats(function: Any, items: Any, **_: Any) -> Iterator[str]:
    yield from map(function, [*items, *items[:1]])


def swallows(function: Any, items: Any, **_: Any) -> Iterator[str]:
    for item in items:
        try:
            yield function(item)
        except Exception:
            return


def check(monkeypatch: pytest.MonkeyPatch, engine: Any) -> None:
    monkeypatch.setitem(ENGINES._members, "toy", engine)
    check_engine("toy")


def test_a_good_one(monkeypatch: pytest.MonkeyPatch) -> None:
    check(monkeypatch, good)


@pytest.mark.parametrize(
    ("engine", "broken"),
    [(forgets, "calls returned"), (repeats, "calls returned"), (swallows, "nothing is raised here")],
)
def test_a_broken_one(monkeypatch: pytest.MonkeyPatch, engine: Any, broken: str) -> None:
    with pytest.raises(AssertionError, match=broken):
        check(monkeypatch, engine)
