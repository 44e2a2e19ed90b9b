"""A mapping that computes on access, and only then."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
from corpus import write_adapter
from tiny_models import write_base

import adapterops as ao
from adapterops.storage.lazy import Lazy


def test_values_are_computed_when_asked_for_each_time() -> None:
    asked: list[str] = []

    def compute(key: str) -> int:
        asked.append(key)
        return len(key)

    lazy = Lazy(["aa", "b", "aa"], compute)
    assert (list(lazy), len(lazy), "b" in lazy, "c" in lazy) == (["aa", "b"], 2, True, False)
    assert not asked
    assert (lazy["aa"], lazy["aa"], lazy.get("c")) == (2, 2, None)
    assert asked == ["aa", "aa"]


def test_an_error_of_a_value_is_not_a_missing_key() -> None:
    def fail(key: str) -> int:
        raise ValueError(key)

    lazy = Lazy(["a"], fail)
    assert "a" in lazy
    with pytest.raises(ValueError, match="a"):
        lazy.get("a")
    with pytest.raises(KeyError):
        lazy["b"]


def test_adapters_and_checkpoints_are_copied_and_not_pickled(tmp_path: Path) -> None:
    write_base(tmp_path / "base")
    for each in (ao.open_adapter(write_adapter(tmp_path / "a")), ao.open_checkpoint(tmp_path / "base")):
        assert copy.copy(each) is copy.deepcopy(each) is each
        with pytest.raises(TypeError, match="is not pickled: pass the path, and open it there"):
            pickle.dumps(each)
