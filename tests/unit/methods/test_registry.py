from __future__ import annotations

import inspect
import subprocess
import sys
from fractions import Fraction
from importlib import import_module
from itertools import chain

import numpy as np
import pytest

from adapterops.cli.commands import COMMANDS
from adapterops.errors import OptionError, factor
from adapterops.expressions.functions import EXAMPLES
from adapterops.methods.registry import FUNCTIONS, METHODS, OPTIONS, RESERVED, Parameter, find, method, parameters
from adapterops.operations.algebra import merge


def test_names_are_found_and_guessed() -> None:
    assert find("dare-ties") is METHODS["dare_ties"]
    with pytest.raises(OptionError) as caught:
        find("tise")
    assert caught.value.hint == "did you mean ties?"


def test_every_method_says_what_it_does_and_where_it_is_from() -> None:
    for each in METHODS.values():
        assert each.summary.endswith(".")
        assert each.source
        assert each.defaults.keys() == each.parameters.keys()


def test_a_name_is_given_once_and_parameters_have_a_meaning() -> None:
    with pytest.raises(ValueError, match="already"):
        method("ties", source="-")(lambda deltas, weights: None)
    with pytest.raises(ValueError, match="takes \\['sharpness'\\], and declares \\[\\]"):
        method("new", source="-")(lambda deltas, weights, *, sharpness=1: None)
    with pytest.raises(ValueError, match="'density' of 'new' is another in 'breadcrumbs': take its Parameter"):
        method("new", source="-", density=Parameter("Something else."))(lambda deltas, weights, *, density=1: None)
    assert "new" not in METHODS


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"density": 1.5}, "above 0 and at most 1, got 1.5"),
        ({"density": 0}, "above 0 and at most 1, got 0"),
        ({"density": 1e-320}, "expected 1e-30 and more"),
        ({"density": float("nan")}, "above 0"),
        ({"density": True}, "a number"),
        ({"majority": "most"}, "one of total, frequency"),
        ({"seed": 1}, "no parameter seed"),
    ],
)
def test_impossible_parameters(given: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        METHODS["ties"].complete(given)


def test_defaults_fill_what_is_not_given() -> None:
    assert METHODS["ties"].complete({"density": 1, "convention": None}) == {
        "density": 1.0,
        "majority": "total",
        "convention": None,
        "disjoint": None,
    }
    with pytest.raises(OptionError, match="whole number"):
        METHODS["dare_ties"].complete({"seed": 0.5})


def test_a_parameter_of_every_merge_is_not_a_method_s_own() -> None:
    with pytest.raises(ValueError, match="has a parameter 'scale', as every method has"):
        method("new", source="-", scale=Parameter("Own."))(lambda deltas, weights, *, scale=1.0: None)
    assert "new" not in METHODS
    taken = [each.name for each in inspect.signature(merge).parameters.values() if each.kind is each.KEYWORD_ONLY]
    assert {*taken} <= RESERVED


def test_what_a_method_declares_is_no_parameter_of_it() -> None:
    """`rank` would be taken for that of its results."""
    with pytest.raises(ValueError, match="has a parameter 'rank', as every method has"):
        method("new", source="-", rank=lambda parameters, ranks: 1)(lambda deltas, weights, *, rank=1: None)
    assert "new" not in METHODS


def test_other_options_are_no_methods_and_no_parameters() -> None:
    """Of every command that has one for each of these."""
    with pytest.raises(ValueError, match="'workers', of the method 'new', is the name of another option"):
        method("new", source="-", workers=Parameter("Own."))(lambda deltas, weights, *, workers=1.0: None)
    with pytest.raises(ValueError, match="'ties' is both a method and a parameter, of 'new' and 'ties'"):
        method("new", source="-", ties=Parameter("Own."))(lambda deltas, weights, *, ties=1.0: None)
    assert "new" not in METHODS
    commands = [import_module(f"adapterops.cli.{name}").command for name in COMMANDS]
    options = [
        each for command in commands if any(each.name == "space" for each in command.params) for each in command.params
    ]
    names = {str(each.name): {name[2:].replace("-", "_") for name in each.opts if name[:2] == "--"} for each in options}
    others = names.keys() - METHODS.keys() - parameters().keys()
    assert {*others, *chain.from_iterable(names[each] for each in others)} - RESERVED <= OPTIONS
    assert OPTIONS.isdisjoint({*METHODS, *parameters()})


def test_a_method_is_not_called_as_another_function_of_expressions() -> None:
    assert EXAMPLES.keys() == FUNCTIONS
    with pytest.raises(ValueError, match="'truncate' has the name of another function"):
        method("truncate", source="-")(lambda deltas, weights: None)
    assert "truncate" not in METHODS


def test_the_order_does_not_depend_on_what_was_imported_first() -> None:
    code = "import adapterops.methods.families.tsv, adapterops.methods as m; print(*m.METHODS)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found == sorted(found)
    assert found == [name for name in METHODS if name in found]


@pytest.mark.parametrize(
    ("parameter", "wrong", "span"),
    [
        (Parameter("", low=1e-6), 0.0, "at least 1e-06"),
        (Parameter("", low=0, above=True), 0.0, "above 0"),
        (Parameter("", high=2), 3.0, "at most 2"),
        (Parameter("", low=0, high=1), -1.0, "between 0 and 1"),
        (Parameter("", low=0, high=1, above=True), 0.0, "above 0 and at most 1"),
    ],
)
def test_what_a_number_may_be_names_no_bound_that_there_is_not(parameter: Parameter, wrong: float, span: str) -> None:
    with pytest.raises(OptionError) as raised:
        parameter.check("x", wrong)
    assert f"x must be {span}, got" in str(raised.value)


def test_what_a_method_acts_on_is_known() -> None:
    with pytest.raises(ValueError, match="'new' acts on 'rows': expected one of updates, products"):
        method("new", source="-", acts="rows")(lambda deltas, weights: None)
    assert "new" not in METHODS


def test_fractions_are_numbers_and_text_is_none() -> None:
    assert METHODS["ties"].complete({"density": Fraction(1, 2)})["density"] == 0.5
    with pytest.raises(OptionError, match="density must be above 0 and at most 1, got 3"):
        METHODS["ties"].complete({"density": Fraction(3)})
    with pytest.raises(OptionError, match="a weight must be a number, got 'x'"):
        factor("x", "a weight")


def test_numbers_of_numpy_are_numbers() -> None:
    complete = METHODS["dare_ties"].complete({"seed": np.int64(3), "density": np.float32(0.5)})
    assert complete["seed"] == 3
    assert complete["density"] == 0.5
    assert {type(complete["seed"]), type(complete["density"])} == {int, float}  # as they stand in a manifest
