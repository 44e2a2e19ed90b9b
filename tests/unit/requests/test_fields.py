"""What is named in a request is refused by itself where it contradicts itself."""

from __future__ import annotations

from typing import Any

import pytest

from adapterops.errors import OptionError
from adapterops.requests.fields import Input, Model, Output


@pytest.mark.parametrize(
    "more", [{"alpha": 2.0}, {"allow_nonfinite": True}, {"component": "unet"}, {"grams": Model("g.safetensors")}]
)
def test_what_only_adapters_have(more: dict[str, Any]) -> None:
    assert Input("a", **more).path == "a"
    with pytest.raises(OptionError, match=f"{next(iter(more))} is for adapters, and a is a tuned model"):
        Input("a", tuned=True, **more)


def test_an_output_is_cut_in_one_way() -> None:
    assert Output().cut == {}
    assert Output(rank=4).cut == {"rank": 4}
    assert Output(budget="2000000").cut == {"budget": 2_000_000, "unit": "parameters"}
    with pytest.raises(OptionError):
        Output(rank=4, energy=0.9)


def test_what_is_normalized_is_in_pefts_format() -> None:
    assert Output(normalize=True, format="peft").normalize
    with pytest.raises(OptionError, match="mlx is asked for"):
        Output(normalize=True, format="mlx")
