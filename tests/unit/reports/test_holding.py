"""What a merge holds, in words."""

from __future__ import annotations

import re

import numpy as np
from strategies import low_rank

from adapterops import Adapter, merge
from adapterops.provenance.history import Step
from adapterops.reports.holding import called, held_rows, held_sentences, same
from adapterops.updates.dense import Dense


def of(count: int) -> Step:
    history = merge([Adapter.of({"q": low_rank(seed, 30, 30, 1)}) for seed in range(count)], "linear").history
    assert isinstance(history, Step)
    return history


def test_of_many_those_of_which_least_is_kept_have_rows() -> None:
    step = of(11)
    assert step.holdings
    found = step.holdings.all()
    assert found
    header, rows = held_rows([f"a{index}" for index in range(11)], found, {"mean": 1 / 11})
    assert header == ["adapter", "kept", "rest", "error", "kept at mean"]
    assert len(rows) == 8
    others, read, far = held_sentences(found, 1)
    assert others.startswith("of the 3 others ")
    assert "error: on the inputs that the adapter reads; no forecast of accuracy" in read
    assert far.startswith("condition number of their cosines: 1")
    assert "before the merge is cut to its rank" not in read
    assert "before the merge is cut to its rank" in held_sentences(found, 1, cut=True)[1]
    assert held_sentences(found, 9)[2] == "measured in 1 of 9 modules, spread evenly"
    assert len(held_rows(["a", "b"], (of(2).holdings or step.holdings).all() or {}, {})[1]) == 2


def test_one_that_is_left_out_is_one() -> None:
    holdings = of(9).holdings
    assert holdings
    found = holdings.all()
    assert found
    assert re.fullmatch(r"of the other [\d.]+% is kept", held_sentences(found, 1)[0])


def test_that_any_rule_makes_nearly_the_same_is_said_where_it_is_so() -> None:
    one = Adapter.of({"q": low_rank(0, 30, 30, 2)})
    history = merge([one, one]).history
    assert isinstance(history, Step)
    assert history.holdings
    found = history.holdings.all()
    assert found
    assert held_sentences(found, 1, history.holdings.rule_distance())[-1].endswith(
        "any of them makes nearly the same adapter"
    )
    assert "any of them" not in same(0.06)
    assert not any("--tsv" in each for each in held_sentences(found, 1, 0.06))


def test_what_was_made_in_memory_is_called_by_what_made_it() -> None:
    assert called(of(2).inputs) == ["(memory) (1)", "(memory) (2)"]


def test_an_error_is_explained_where_it_is_known_alone() -> None:
    """Whole matrices have no inputs that they alone read."""
    full = [Adapter.of({"q": Dense(np.random.default_rng(seed).standard_normal((6, 5)))}) for seed in (1, 2)]
    history = merge(full).history
    assert isinstance(history, Step)
    assert history.holdings
    found = history.holdings.all()
    assert found
    assert "error" not in held_rows(["a", "b"], found, {})[0]
    assert not any("error" in each for each in held_sentences(found, 1))
