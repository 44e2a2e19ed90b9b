"""The words of a merge that is not made yet: facts, and no forecast."""

from __future__ import annotations

from known_spectra import SLOW, adapter

from adapterops.operations.comparing.comparison import compare
from adapterops.operations.comparing.outlook import outlooks
from adapterops.reports.outlook import EVEN, opposed_sentences, outlook_numbers, outlook_rows, outlook_sentences

FOUND = compare([adapter(seed, SLOW) for seed in (1, 2, 3)])
MERGES = outlooks(FOUND)


def test_a_row_for_every_scale_that_has_a_name() -> None:
    header, rows = outlook_rows(FOUND, MERGES)
    assert header[:2] == ["scale", "times the sum"]
    assert [row[0] for row in rows] == ["auto", "sum", "mean"]
    assert all(len(row) == len(header) for row in rows)
    assert rows[1][1] == "1"


def test_the_advice_has_a_reason_and_promises_nothing() -> None:
    two = compare([adapter(seed, SLOW) for seed in (1, 2)])
    text = "\n".join(outlook_sentences(two, outlooks(two)))
    assert "advice: --scale auto, which" in text
    assert "no forecast of accuracy" in text
    assert outlook_numbers(two, outlooks(two))["method"] == "linear"


def test_for_three_adapters_it_is_what_a_merge_of_them_does() -> None:
    assert EVEN in outlook_sentences(FOUND, MERGES)
    assert outlook_numbers(FOUND, MERGES)["method"] == "even"


def test_the_condition_of_a_combination_is_infinite() -> None:
    one = adapter(1, SLOW)
    found = compare([one, 2 * one])
    assert "infinite: one is a combination of the others" in "\n".join(outlook_sentences(found, outlooks(found)))


def test_json_has_the_factor_of_every_module() -> None:
    found = outlook_numbers(FOUND, MERGES)
    assert [each["scale"] for each in found["merges"]] == ["auto", "sum", "mean"]
    assert found["merges"][0]["factors"].keys() == FOUND.sum_layout.keys()


def test_modules_that_are_left_out_have_a_reason_and_what_was_not_measured() -> None:
    opposed = {"layers.0.q": [None, -0.12, None], "layers.1.q": [-0.5, None, -0.2]}
    text = "\n".join(opposed_sentences(opposed, "abc", True))
    assert "left out layers.0.q: the merge has -12% of b" in text
    assert "left out layers.1.q: the merge has -50% of a and -20% of c" in text
    assert "not measured" in text
    (kept,) = opposed_sentences(opposed, "abc", False)
    assert "and 1 other; --drop-opposed" in kept
    assert opposed_sentences({}, "abc", False) == []
    assert "no module" in opposed_sentences({}, "abc", True)[0]
