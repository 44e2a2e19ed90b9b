"""Numbers on axes and in cells: short, and never more than is there."""

from __future__ import annotations

import math

from hypothesis import assume, given
from hypothesis import strategies as st

from adapterops.reports.figures import percent, power_ticks, round_ticks, signed, size

SIZES = st.floats(1e-9, 1e12)


@given(SIZES, SIZES)
def test_round_ticks_are_some_round_numbers_in_between(low: float, reach: float) -> None:
    high = low + reach
    assume(reach > 1e-6 * high)
    ticks = round_ticks(low, high)
    assert 2 <= len(ticks) <= 16
    assert all(low - 1e-6 * reach <= tick <= high + 1e-6 * reach for tick in ticks)
    assert ticks == sorted(ticks)


@given(SIZES, st.floats(1.5, 1e9))
def test_power_ticks_are_few_and_in_between(low: float, ratio: float) -> None:
    ticks = power_ticks(low, low * ratio)
    assert 2 <= len(ticks) <= 7
    assert all(low * (1 - 1e-6) <= tick <= low * ratio * (1 + 1e-6) for tick in ticks)
    assert ticks == sorted(ticks)


@given(st.floats(0, 1, exclude_max=True))
def test_only_all_of_it_is_100_percent(fraction: float) -> None:
    assume(fraction < 1 - 1e-9)
    assert percent(fraction) != "100%"
    assert abs(float(percent(fraction).rstrip("%")) - 100 * fraction) <= max(0.05 * 100 * fraction, 1e-12) + 0.1 * (
        fraction > 0.99
    )


def test_what_is_no_number_has_a_sign_of_its_own() -> None:
    assert [percent(value) for value in (math.inf, -math.inf, math.nan)] == ["∞", "-", "-"]


@given(st.floats(-1, 1))
def test_zero_has_no_sign(value: float) -> None:
    text = signed(value)
    assert (text[0] in "+-") == (text != "0.00")
    assert abs(float(text) - value) <= 0.005 + 1e-9


@given(st.integers(0, 10**14))
def test_sizes_are_right_to_three_digits(count: int) -> None:
    number, unit = size(count).split()
    factor = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}[unit]
    assert abs(float(number) * factor - count) <= 0.005 * count
