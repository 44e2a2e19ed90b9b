"""The table of what diffusers converts: it is of models that are known."""

from __future__ import annotations

import re

from adapterops.formats.diffusion.conversions import CONVERSIONS, GIVEN, IGNORED, LEFT, NEEDED, READ, STOP
from adapterops.formats.diffusion.known_names import NAMES


def test_every_model_is_known() -> None:
    assert CONVERSIONS.keys() <= {each.model for each in NAMES}


def test_every_entry_can_be_used() -> None:
    for each in (each for several in CONVERSIONS.values() for each in several):
        assert each.starts
        assert each.others in (LEFT, GIVEN, STOP)
        assert each.alpha in (READ, IGNORED, NEEDED, STOP)
        for pattern in (each.takes, each.left, each.changes, each.needs):
            re.compile(pattern)
        for root, names in each.every.items():
            assert all(re.fullmatch(each.takes, f"{root}_0_{name}") for name in names)
