"""How requests are read: what is wrong is named with its place. All that is written is read in test_request.py."""

from __future__ import annotations

from typing import Any

import pytest

from adapterops.errors import OptionError
from adapterops.requests.reading import read_request

GOOD: dict[str, Any] = {"inputs": {"a": "x"}, "result": "a"}


@pytest.mark.parametrize(
    ("output", "fact"),
    [
        ({"max_shard_size": "2"}, "output.max_shard_size: max_shard_size is '2', expected a size"),
        ({"max_shard_size": 0}, "output.max_shard_size is 0, expected a size"),
        ({"budget": "2TBB"}, "output.budget: --budget is '2TBB', expected a number"),
        ({"budget": 1.5}, "output.budget is 1.5, expected a number"),
    ],
    ids=str,
)
def test_no_amounts(output: dict[str, Any], fact: str) -> None:
    with pytest.raises(OptionError) as caught:
        read_request({**GOOD, "output": output})
    assert fact in str(caught.value)


def test_amounts() -> None:
    model = {"base": "m", **GOOD, "output": {"max_shard_size": "1KiB"}}
    assert read_request(model).output.max_shard_size == 1024
    assert read_request({**GOOD, "output": {"budget": "1MiB"}}).output.budget == "1048576B"
