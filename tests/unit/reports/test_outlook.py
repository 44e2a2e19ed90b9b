"""The words of a merge that is not made yet: facts, and no forecast."""

from __future__ import annotations

from known_spectra import SLOW, adapter

from adapterops.adapters.adapter import Adapter
from adapterops.operations.comparing.comparison import compare
from adapterops.operations.comparing.outlook import outlooks
from adapterops.reports.outlook import EVEN, outlook_numbers, outlook_rows, outlook_sentences
from adapterops.updates.dense import Dense
from adapterops.updates.lowrank import LowRank

FOUND = compare([adapter(seed, SLOW) for seed in (1, 2, 3)])
MERGES = outlooks(FOUND)


def test_a_row_for_every_scale_that_has_a_name() -> None:
    header, rows = outlook_rows(FOUND, MERGES)
    assert header[:2] == ["scale", "times the sum"]
    assert [row[0] for row in rows] == ["auto", "sum", "mean"]
    assert all(len(row) == len(header) for row in rows)
    assert rows[1][1] == "1"


def test_the_advice_has_a_reason_and_promises_nothing() -> None:
    text = "\n".join(outlook_sentences(FOUND, MERGES))
    assert "advice: --scale auto, which" in text
    assert "no forecast of accuracy" in text


def test_even_is_named_where_it_was_measured_ahead_of_the_sum() -> None:
    """Not for one update twice, for the same start, for small updates or for those without factors."""
    large = [100 * adapter(seed, SLOW) for seed in (1, 2, 3)]
    assert even(large)
    assert outlook_numbers(compare(large), outlooks(compare(large)))["also"] == ["even"]
    assert not even([large[0], large[1], large[0]])
    assert not even([1e-4 * each for each in large])
    one = adapter(1, SLOW)
    began = Adapter.of(
        {m: LowRank(each.B[::-1], each.A, 100) for m in one.layout if (each := one.updates[m].lowrank())}
    )
    assert compare([large[0], began]).pairs[0].shared_start
    assert not even([large[0], began])
    dense = Adapter.of({m: Dense(large[1].updates[m].dense()) for m in large[1].layout})
    assert not even([large[0], dense])


def even(adapters: list[Adapter]) -> bool:
    found = compare(adapters)
    return EVEN in outlook_sentences(found, outlooks(found))


def test_the_condition_of_a_combination_is_infinite() -> None:
    one = adapter(1, SLOW)
    found = compare([one, 2 * one])
    assert "infinite: one is a combination of the others" in "\n".join(outlook_sentences(found, outlooks(found)))


def test_json_has_the_factor_of_every_module() -> None:
    found = outlook_numbers(FOUND, MERGES)
    assert [each["scale"] for each in found["merges"]] == ["auto", "sum", "mean"]
    assert found["merges"][0]["factors"].keys() == FOUND.sum_layout.keys()
