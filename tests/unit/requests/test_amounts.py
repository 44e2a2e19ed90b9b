"""How sizes and budgets are read."""

from __future__ import annotations

import pytest

from adapterops.errors import OptionError
from adapterops.requests.amounts import budget, size

AMOUNTS = {
    "2GB": 2 * 10**9,
    "1.5 MB": 1_500_000,
    " 1kB ": 1000,
    "20KB": 20_000,
    "2GiB": 2**31,
    "1tb": 10**12,
    "300B": 300,
}


@pytest.mark.parametrize("text", AMOUNTS)
def test_sizes_and_budgets_in_bytes_are_read_alike(text: str) -> None:
    assert (size(text), budget(text)) == (AMOUNTS[text], (AMOUNTS[text], "bytes"))


@pytest.mark.parametrize(("text", "number"), [("300", 300), ("2m", 2_000_000), ("1Ki", 1024), (None, None)])
def test_budgets_of_parameters(text: str | None, number: int | None) -> None:
    assert budget(text) == (number, "parameters")


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1TBB", "1e3MB", "x", "iB", "1iB", "\u0661"])
def test_neither(text: str) -> None:
    with pytest.raises(OptionError, match="expected a size such as 500MB"):
        size(text)
    with pytest.raises(OptionError, match="expected a number such as 500k"):
        budget(text)


@pytest.mark.parametrize("text", ["2", "2M", "0GB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(OptionError, match="expected a size such as 500MB"):
        size(text)


def test_more_than_a_computer_counts() -> None:
    with pytest.raises(OptionError, match="--budget is a number of 19 digits times 1000"):
        budget("9" * 19 + "k")
