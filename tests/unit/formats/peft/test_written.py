"""The config that is written, as PEFT reads it."""

from __future__ import annotations

import pytest

from adapterops.errors import AdapterWarning
from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.peft.scaling import scalings
from adapterops.formats.peft.written import write_config


@pytest.mark.parametrize("ranks", [{"a.q": 4, "a.v": 4}, {"a.q": 4, "a.v": 2, "a.q.v": 3}])
def test_every_module_has_scale_one(ranks: dict[str, int]) -> None:
    fields = write_config(AdapterConfig(), ranks)
    assert all(each.scale == 1 for each in scalings(fields, ranks).values())


def test_targets_that_do_not_name_a_module_are_replaced() -> None:
    with pytest.warns(AdapterWarning, match="do not name a.v"):
        fields = write_config(AdapterConfig(targets=("q",)), {"a.q": 4, "a.v": 4})
    assert fields["target_modules"] == ["a.q", "a.v"]


def test_a_module_in_another_that_is_saved_is_not_named_once_more() -> None:
    """PEFT wraps the outer one, and finds no inner one in the file then."""
    full = ["embed_tokens.weight", "embed_tokens.embed_norm.weight", "norm.weight"]
    assert write_config(AdapterConfig(), {"a.q": 4}, full)["modules_to_save"] == ["embed_tokens", "norm"]
