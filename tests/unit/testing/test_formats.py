"""Formats keep their laws."""

from __future__ import annotations

import pytest

from adapterops.formats.registry import FORMATS, written
from adapterops.testing import check_format

OF_A_MODEL = {"gguf"}
"""Formats that are written for a model; see tests/unit/formats/test_gguf.py."""


@pytest.mark.parametrize("name", [name for name in written() if name not in OF_A_MODEL])
def test_every_format_keeps_its_laws(name: str) -> None:
    check_format(name)


def test_a_claim_of_another_format_is_found() -> None:
    class Greedy(type(FORMATS["mlx"])):  # the class of a member
        def claims(self, place: object) -> bool:
            return True

    FORMATS.add("greedy", Greedy())
    try:
        with pytest.raises(AssertionError, match=r"could be .*greedy"):
            check_format("peft")
    finally:
        FORMATS.remove("greedy")
