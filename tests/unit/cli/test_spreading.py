"""Options for parts and engines: which go together."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

from adapterops.cli.spreading import Spread, spread
from adapterops.engine.execution import Share
from adapterops.errors import OptionError


def test_what_the_options_say() -> None:
    assert spread(None, None, None) == Spread()
    assert spread("2/3", None, None) == Spread(Share(2, 3))
    assert spread(None, "processes", None) == Spread(None, "processes")
    if find_spec("ray"):
        assert spread(None, "ray", "auto") == Spread(None, "ray", "auto")


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        (("1/2", "ray", None), "exclude each other"),
        ((None, None, "auto"), "add --engine ray"),
        ((None, "processes", "auto"), "processes are of this machine"),
        (("2", None, None), "expected K/N"),
        (("3/2", None, None), "is not one of 2 parts"),
        (("1/0", None, None), "is not one of 0 parts"),
    ],
)
def test_what_does_not_go_together(given: tuple[Any, ...], fact: str) -> None:
    with pytest.raises(OptionError) as caught:
        spread(*given)
    assert fact in str(caught.value)
