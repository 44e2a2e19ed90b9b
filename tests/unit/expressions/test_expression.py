"""The language is arithmetic:
it computes what Python computes on dense matrices, and points at what it does not understand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import MODULES, adapters, dense, entries

import adapterops as ao
from adapterops.errors import OptionError
from adapterops.expressions.expression import LENGTH, parse
from adapterops.expressions.grammar import DEPTH
from adapterops.methods.registry import method
from adapterops.operations.selection import matching
from adapterops.testing.methods import accepted

NAMES = ("a", "b")
PATTERNS = ["*", "*.q", "layers.0", "layers.0-1", "layers.0.q"]


@dataclass(frozen=True)
class Dense:
    """Matrices by their names, in float64: what an adapter is, by definition."""

    matrices: Mapping[str, torch.Tensor]

    def __mul__(self, factor: float) -> Dense:
        return Dense({name: factor * matrix for name, matrix in self.matrices.items()})

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Dense:
        return self * (1 / divisor)

    def __neg__(self) -> Dense:
        return self * -1

    def __pos__(self) -> Dense:
        return self

    def __add__(self, other: Dense) -> Dense:
        return Dense({name: matrix + other.matrices[name] for name, matrix in self.matrices.items()})

    def __sub__(self, other: Dense) -> Dense:
        return self + -other


def linear(*updates: Dense, weights: list[float]) -> Dense:
    total = 0 * updates[0]
    for weight, update in zip(weights, updates, strict=True):
        total += weight * update
    return total


def scale(update: Dense, by: Mapping[str, float]) -> Dense:
    def factor(name: str) -> float:
        return next(value for pattern, value in by.items() if name in matching(pattern, MODULES))

    return Dense({name: factor(name) * matrix for name, matrix in update.matrices.items()})


def select(update: Dense, pattern: str) -> Dense:
    chosen = matching(pattern, MODULES)
    return Dense({name: matrix * (name in chosen) for name, matrix in update.matrices.items()})


def truncate(update: Dense, rank: int) -> Dense:
    """Ranks above that of the matrix: nothing is lost, and nothing depends on equal singular values."""
    assert rank >= 9
    return update


FUNCTIONS = {"linear": linear, "scale": scale, "select": select, "truncate": truncate}
NUMBERS = st.sampled_from(["2", "0.5", "3.25e-1", ".5", "1.", "(1 + 2)/4", "-2", "(2 - 0.5)*2"])


def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Expressions of expressions; all are in Python's grammar too."""
    blank = st.sampled_from(["", " ", "\n "])
    return st.one_of(
        st.builds(lambda x, s, o, y: f"({x}{s}{o}{s}{y})", inner, blank, st.sampled_from("+-"), inner),
        st.builds(
            lambda x, o, y, p, z: f"({x}{o}{y}{p}{z})",
            inner,
            st.sampled_from("+-"),
            inner,
            st.sampled_from("+-"),
            inner,
        ),
        st.builds(lambda n, x: f"{n}*{x}", NUMBERS, inner),
        st.builds(lambda x, o, n: f"{x} {o} ({n})", inner, st.sampled_from("*/"), NUMBERS),
        st.builds(lambda s, x: f"{s}{x}", st.sampled_from(["-", "+", "--"]), inner),
        st.builds(lambda x, y, n: f"linear({x}, {y}, weights=[{n}, -1],)", inner, inner, NUMBERS),
        st.builds(lambda x: f"truncate({x}, rank=3*30)", inner),
        st.builds(lambda x, n, m: f'scale({x}, {{"layers.1": {n}, "*.q": {m}, "*": 1}})', inner, NUMBERS, NUMBERS),
    )


EXPRESSIONS = st.recursive(st.sampled_from(NAMES), compound, max_leaves=6)


def used(text: str) -> set[str]:
    return {name for name in NAMES if re.search(rf"\b{name}\b", text)}


def full(pair: list[ao.Adapter]) -> dict[str, ao.Adapter]:
    """Adapters that have all modules, so that every pattern matches."""
    everywhere = {
        name: ao.LowRank(torch.ones(out, 1).double(), torch.ones(1, into).double())
        for name, (out, into) in MODULES.items()
    }
    return {name: adapter + ao.Adapter.of(everywhere) for name, adapter in zip(NAMES, pair, strict=True)}


@settings(max_examples=150)
@given(EXPRESSIONS, adapters())
def test_it_computes_what_python_computes(text: str, pair: list[ao.Adapter]) -> None:
    given_ = {name: adapter for name, adapter in full(pair).items() if name in used(text)}
    found = dense(ao.evaluate(text, **given_))
    expected = eval(f"({text})", {**FUNCTIONS, **{name: Dense(dense(adapter)) for name, adapter in given_.items()}})
    for name, matrix in expected.matrices.items():
        torch.testing.assert_close(found[name], matrix, atol=1e-9 * (1 + float(matrix.abs().max())), rtol=1e-9)


@given(EXPRESSIONS)
def test_rendering_means_the_same(text: str) -> None:
    tree = parse(text, used(text))
    assert parse(str(tree), used(text)) == tree
    assert str(parse(str(tree), used(text))) == str(tree)


FULL = [
    'select(a, "*.q", "layers.1") + b',
    "truncate(a + b, energy=0.9, exact=true) - truncate(b, budget=300, unit='bytes')",
    *(f"{name}(a, b, weights=[1, {accepted(name, [1, -2 / 3])[1]}])" for name in ao.METHODS),
    "dare_ties(a, b, density=0.5, seed=7, majority='frequency')",
    "ties(a, b, space='factors')",
    "ties(a, b, convention='mergekit', density=1)",
    """scale(a, {'it"s': 1, "*": 2}) + b""",
]


@pytest.mark.parametrize("text", FULL)
def test_rendering_says_every_default(text: str) -> None:
    tree = parse(text, NAMES)
    assert parse(str(tree), NAMES) == tree
    for name, each in ao.METHODS.items():
        if f"{name}(" in text:
            for parameter, default in each.defaults.items():
                assert (f" {parameter}=" in str(tree)) or default is None


GARBAGE = st.one_of(
    st.text(),
    st.text(alphabet="ab0.1e+-*/()[]{},:=\"' \n"),
    st.lists(st.sampled_from([*"ab()+-*/,=[]{}:2", "ties", "true", "rank", "'*'"])).map(" ".join),
)


@settings(max_examples=500)
@given(GARBAGE)
def test_garbage_is_an_option_error(text: str) -> None:
    error = error_of(text)
    if error is None:
        return
    assert error.details is not None
    assert error.details["expression"] == text
    assert error.details["column"] >= 1
    caret = next(line for line in str(error).splitlines()[1:] if line.strip() == "^")
    assert len(caret) - 2 <= 101


def error_of(text: str) -> OptionError | None:
    try:
        parse(text, NAMES)
    except OptionError as error:
        return error
    return None


@given(st.lists(st.sampled_from(["a + ", "2*", "-b - ", "(a)/4 + ", "\n", "ties(a, b) - "]), max_size=40))
def test_columns_are_right(before: list[str]) -> None:
    start = "".join(before)
    text = f"{start}zebra*a + b"
    with pytest.raises(OptionError, match="no adapter named 'zebra'") as caught:
        parse(text, NAMES)
    error = caught.value
    assert error.details is not None
    assert error.details["column"] == len(start.rpartition("\n")[2]) + 1
    assert error.details.get("line", 1) == start.count("\n") + 1
    shown, caret = str(error).splitlines()[1:3]
    assert shown[caret.index("^") :].startswith("zebra")


MISTAKES = [
    ("", 1, "found the end", None),
    ("0.7*aa - b", 5, "no adapter named 'aa'", "did you mean a?"),
    ("a b", 3, "expected an operator or the end, found 'b'", "write * between factors"),
    ("2a + b", 2, "found 'a'", "write * between factors"),
    ("a*b", 2, "added, and not multiplied", "0.5*a"),
    ("a + 2/b", 6, "only a number can divide", None),
    ("a/(1 - 1) + b", 2, "divide by zero", None),
    ("a + b - 1", 7, "cannot be added", "numbers scale adapters"),
    ("a", 1, "b is given and not used", None),
    ("1 + 2", 1, "the number 3", None),
    ("(a + b", 7, "expected an operator or ')'", None),
    ("a − b", 3, "'−' has no meaning", "did you mean - ?"),
    ("0.5*über", 5, "'ü' has no meaning", "names: use letters from a to z"),
    ("a + 'b", 5, "has no end", None),
    ("tis(a, b)", 1, "no function 'tis'", "did you mean ties?"),
    ("dare-ties(a, b)", 1, "no adapter named 'dare'", "did you mean dare_ties?"),
    ("a(b)", 1, "an adapter, not a function", "a * (...)"),
    ("ties + a + b", 1, "ties is a function", "ties(a, b)"),
    ("ties(a, b, densty=1)", 12, "no parameter 'densty'", "did you mean density?"),
    ("ties(a, b, density=1.5)", 12, "above 0 and at most 1", None),
    ("ties(a, b, density='x')", 12, "must be a number", None),
    ("ties(a, b, convention=peft)", 23, "peft", '"peft"'),
    ("ties(a, b, convention='pft')", 12, "one of paper, peft, mergekit", None),
    ("ties(a, b, weights=[1])", 12, "1 weight for 2 adapters", None),
    ("ties(a, b, weights=1)", 12, "expected a list", None),
    ("ties(a, b, weights=[1, a])", 12, "expected a list", None),
    ("ties(a, b, density=.5, density=.5)", 24, "given twice", None),
    ("ties(density=.5, a, b)", 18, "before parameters", None),
    ("ties(a, 2*3, b)", 9, "expected an adapter, found the number 6", None),
    ("cat(a, b, space='factors')", 11, "one of delta", None),
    ("ties(a, b, convention='paper', weights=[1, 2])", 1, "one weight for all", None),
    ("truncate(a, 8) + b", 13, "parameters with names", "rank=8"),
    ("truncate(a + b)", 1, "exactly one of", "rank=8"),
    ("truncate(a + b, rank=8, energy=1)", 1, "exactly one of", "rank=8"),
    ("truncate(a + b, rank=0)", 17, "at least 1", None),
    ("truncate(a + b, rank=1.5)", 17, "expected a whole number", None),
    ("truncate(a + b, energy=2)", 17, "at most 1", None),
    ("truncate(a + b, rank=true)", 17, "rank is true", None),
    ("select(a + b)", 1, "needs a pattern", '"*.mlp.*"'),
    ("select(a + b, 3)", 15, "expected a pattern", '"*.mlp.*"'),
    ("scale(a + b)", 1, "a number or one for each pattern", None),
    ("scale(a + b, {})", 14, "found a table", None),
    ("scale(a + b, {x: 1})", 15, "expected a pattern in quotes", None),
    ("scale(a + b, {'*': 1, '*': 2})", 23, "given twice", None),
    ("scale(a + b, {'*': a})", 14, "found a table", None),
    ("a + true*b", 5, "found 'true'", None),
    ("1e308*10*a + b", 6, "too large", None),
    ("1e999*a + b", 1, "too large", None),
    ("9" * 400 + "*a + b", 1, "too large", None),
    ("a + b + (1e-320/1e300)/1e-320*a/0", 32, "divide by zero", None),
]


@pytest.mark.parametrize(("text", "column", "said", "hint"), MISTAKES, ids=[mistake[0][:40] for mistake in MISTAKES])
def test_mistakes(text: str, column: int, said: str, hint: str | None) -> None:
    with pytest.raises(OptionError) as caught:
        parse(text, NAMES)
    assert said in caught.value.message
    assert caught.value.details is not None
    assert caught.value.details["column"] == column
    assert hint is None or hint in str(caught.value.hint)


def test_limits() -> None:
    deep = "(" * DEPTH + "a" + ")" * DEPTH
    assert str(parse(deep, "a")) == "a"
    with pytest.raises(OptionError, match="more than 50 deep"):
        parse(f"({deep})", "a")
    with pytest.raises(OptionError, match="characters"):
        parse("a" + " + a" * LENGTH, "a")


def one() -> ao.Adapter:
    return ao.Adapter.of({"m": ao.LowRank(torch.ones(2, 1).double(), torch.ones(1, 3).double())})


def test_long_and_deep_expressions_are_computed() -> None:
    long = "a" + "+a" * 3000
    assert entries(ao.evaluate(long, a=one()).updates["m"])[0, 0] == 3001
    deep = "a"
    for index in range(DEPTH):
        deep = f"linear({deep}, a, scale=1)" if index % 2 else f"-(a + {deep})"
    expected = 1
    for index in range(DEPTH):
        expected = expected + 1 if index % 2 else -(1 + expected)
    assert entries(ao.evaluate(deep, a=one()).updates["m"])[0, 0] == expected


@pytest.mark.parametrize("name", ao.METHODS)
@settings(max_examples=10)
@given(pair=adapters())
def test_methods_are_those_of_merge(name: str, pair: list[ao.Adapter]) -> None:
    seed = {"seed": 3} if "seed" in ao.METHODS[name].defaults else {}
    weights = accepted(name, [0.5, -2])
    text = f"{name}(a, b, weights={weights}{', seed=3' if seed else ''})"
    found = ao.evaluate(text, a=pair[0], b=pair[1])
    expected = ao.merge(pair, name, weights=weights, **seed)
    assert found.layout == expected.layout
    for module in found.layout:
        assert torch.equal(entries(found.updates[module]), entries(expected.updates[module]))


def test_a_method_registered_later_is_known() -> None:
    def twice(updates: Any, weights: Any) -> Any:
        """Two times the first."""
        return 2 * updates[0]

    method("twice", source="here", acts="updates", spaces=("delta",))(twice)
    try:
        assert entries(ao.evaluate("twice(a)", a=one()).updates["m"])[0, 0] == 2
    finally:
        ao.METHODS.remove("twice")


def test_nothing_is_read_before_it_is_asked_for() -> None:
    class Unread(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            raise AssertionError("a tensor was read")

    a = one()
    unread = ao.Adapter(Unread(a.updates), a.layout)
    ao.evaluate('0.5*truncate(a, rank=1) - scale(select(a, "m"), {"*": 2}) + ties(a, a, density=0.5)', a=unread)


def test_history_tells_all_parameters() -> None:
    result = ao.evaluate('scale(select(a, "m*"), {"m": 0.5}) + truncate(a, rank=1)', a=one())
    told = result.history.as_json([])
    scaled, cut = told["inputs"]
    assert scaled["by"] == {"m": 0.5}
    assert scaled["inputs"][0]["patterns"] == ["m*"]
    assert cut["rank"] == 1


def test_what_is_no_adapter() -> None:
    with pytest.raises(OptionError, match="a is a str, expected an adapter"):
        ao.evaluate("a", a="runs/a")
    with pytest.raises(OptionError, match="cannot be the name"):
        ao.evaluate("a", **{"1": one()})


def test_errors_of_an_operation_point_at_its_call() -> None:
    with pytest.raises(OptionError) as caught:
        ao.evaluate('a + select(a, "n")', a=one())
    assert caught.value.details is not None
    assert caught.value.details["column"] == 5
