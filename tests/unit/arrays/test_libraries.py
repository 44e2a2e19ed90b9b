"""torch is used where somebody else has imported it, all of it."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from adapterops.arrays.libraries import imported_torch


def test_only_a_whole_torch_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert imported_torch() is None
    module = ModuleType("torch")
    monkeypatch.setitem(sys.modules, "torch", module)
    assert imported_torch() is module
    module.__spec__ = type("Spec", (), {"_initializing": True})()
    assert imported_torch() is None, "another thread is importing it"
