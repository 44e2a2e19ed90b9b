"""Formats keep their laws."""

from __future__ import annotations

import pytest

from adapterops.formats.registry import FORMATS
from adapterops.testing import check_format


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_keeps_its_laws(name: str) -> None:
    check_format(name)


def test_a_claim_of_another_format_is_found() -> None:
    class Greedy(type(FORMATS["mlx"])):  # type: ignore[misc]  # the class of a member
        def claims(self, place: object) -> bool:
            return True

    FORMATS.add("greedy", Greedy())
    try:
        with pytest.raises(AssertionError, match="is claimed by"):
            check_format("peft")
    finally:
        FORMATS.remove("greedy")
