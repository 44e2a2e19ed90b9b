"""How a command goes about its work."""

from __future__ import annotations

from adapterops.cli.running import Running, run_with
from adapterops.cli.spreading import Spread
from adapterops.engine.execution import Execution, Share


def test_options_become_one_value() -> None:
    how = Execution(workers=2, memory=4 * 10**9)
    assert run_with(True, False, 2, 4 * 10**9, False, True) == Running(True, False, True, how)
    assert not run_with(True, False, 2, 4 * 10**9, True, True).how.sync
    assert run_with(True, False, 2, 4 * 10**9, False, True, part="2/3").spread == Spread(Share.read("2/3"))
