"""How a command goes about its work."""

from __future__ import annotations

from adapterops.cli.running import Running, run_with
from adapterops.engine.execution import Execution


def test_options_become_one_value() -> None:
    expected = Running(True, False, True, Execution(workers=2, memory=4 * 10**9))
    assert run_with(force=True, dry_run=False, workers=2, memory="4GB", as_json=True) == expected
