"""Patterns match as PEFT's do, and none of them takes for ever."""

from __future__ import annotations

import re

import pytest

from adapterops.errors import IncompatibleError, InputError
from adapterops.formats.peft.patterns import END, MOST, WHOLE, matches, one_each

NAMES = ["model.layers.0.q_proj", "model.layers.10.q_proj", "model.xq_proj", "q_proj"]


@pytest.mark.parametrize(
    "pattern", ["q_proj", "0.q_proj", "^model.layers.0.q_proj", "layers\\.0\\.q_proj", "[0-9]+.q_proj"]
)
@pytest.mark.parametrize("rule", [END, WHOLE])
def test_a_pattern_matches_as_pythons_engine_says(pattern: str, rule: str) -> None:
    compiled = re.compile(rule.replace("{}", pattern))
    assert matches([pattern], NAMES, rule) == [[0] if compiled.match(name) else [] for name in NAMES]


def test_a_pattern_that_takes_for_ever_is_stopped() -> None:
    with pytest.raises(InputError, match="take more than"):
        matches(["(a+)+$"], ["a" * 60 + "!"], WHOLE)


def test_what_is_no_pattern() -> None:
    with pytest.raises(InputError, match="cannot be used: not a regular expression"):
        matches(["(q"], NAMES)
    with pytest.raises(InputError, match="more than any model has modules"):
        matches(["q"] * (MOST + 1), NAMES)


def test_each_module_has_a_pattern_that_no_other_has() -> None:
    modules = ["model.layers.0.q_proj", "model.layers.10.q_proj", "lm_head"]
    for as_loaded in (True, False):
        patterns = one_each(modules, as_loaded)
        for index, found in enumerate(matches(list(patterns.values()), modules)):
            assert found == [index]


def test_a_name_without_an_end_of_its_own() -> None:
    modules = ["language_model.model.norm", "visual.model.norm", "model.norm", "norm"]
    with pytest.raises(IncompatibleError, match="has a rank of its own"):
        one_each(modules, as_loaded=False)
