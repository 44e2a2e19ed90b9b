"""Adapters that a request asks for: bounded where nothing may be read, and with nothing given that is not asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from corpus import write_adapter

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.grams import Grams
from adapterops.errors import OptionError
from adapterops.expressions.expression import parse
from adapterops.requests.adapters import adapter, bounded, measured
from adapterops.requests.fields import Input, Output
from adapterops.requests.places import Opened
from adapterops.requests.request import Request
from adapterops.storage.lazy import Lazy


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    from adapterops.adapters.opening import open_adapter

    return Opened({name: open_adapter(write_adapter(tmp_path / name, seed=ord(name))) for name in "ab"}, {})


def request(text: str, **output: Any) -> Request:
    return Request({name: Input(name) for name in "ab"}, parse(text, ["a", "b"]), output=Output(**output))


def unread(made: Adapter) -> Adapter:
    """The same, whose updates must not be asked for."""

    def fail(module: str) -> None:
        raise AssertionError(f"{module} was read")

    return Adapter(Lazy(made.layout, fail), made.layout, made.config, made.history)


def test_grams_that_nothing_asks_for_are_refused(opened: Opened) -> None:
    from dataclasses import replace

    given = replace(opened.adapters["a"], grams=Grams.of({}))
    with pytest.raises(OptionError, match="Gram matrices are given for a, and nothing in"):
        adapter(request("a + b"), {**opened.adapters, "a": given}, measured)


def test_a_budget_is_bounded_without_reading(opened: Opened) -> None:
    made = unread(opened.adapters["a"])
    most = bounded(made, budget=10, unit="parameters")
    assert {module: each.rank for module, each in most.layout.items()} == {
        module: min(each.rank, *each.shape) for module, each in made.layout.items()
    }
    assert {each.rank for each in bounded(made, 1).layout.values()} == {1}
