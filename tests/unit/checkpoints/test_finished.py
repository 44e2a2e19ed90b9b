"""What is noted of a finished file, and when it counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adapterops.checkpoints.finished import Shard, read
from adapterops.engine.plan import Job
from adapterops.engine.records import noted
from adapterops.storage.checksums import digest
from adapterops.storage.journal import checked, line
from adapterops.updates.survival import Survival

SHARD = Shard(
    4,
    digest(b"data"),
    {"q": Survival(1 / 3, 2.0, 0.1, 4, 5)},
    {"k": Survival(error=1e-300)},
    [{"blake3": digest(b"input")}],
)


def test_a_record_is_read_as_it_was_written() -> None:
    assert read(checked(line(SHARD.as_json()))) == SHARD


@pytest.mark.parametrize("field", ["size", "blake3", "modules", "quantized", "inputs"])
@pytest.mark.parametrize("value", [None, 3.5, "x", [1], {"a": 1}])
def test_a_record_that_is_none_does_not_count(field: str, value: Any) -> None:
    good = {"file": "a", **SHARD.as_json()}
    job = Job("a", {}, (None,))  # how many there are is what counts
    assert noted([good], [job], read) == {"a": SHARD}
    assert noted([good], [Job("b", {})], read) == {}
    assert noted([good], [Job("a", {})], read) == {}, "of a plan that hashes other files"
    without = {name: each for name, each in good.items() if name != field}
    assert noted([without], [job], read) == {}
    assert noted([{**good, field: value}], [job], read) == {}


@pytest.mark.parametrize("sums", [{"base": -1.0}, {"delta": -1e-9}, {"entries": -5}])
def test_a_record_of_negative_squares_does_not_count(sums: dict[str, float]) -> None:
    shard, job = replace(SHARD, modules={"q": replace(SHARD.modules["q"], **sums)}), Job("a", {}, (None,))
    assert noted([{"file": "a", **shard.as_json()}], [job], read) == {}
    assert noted([{"file": "a", **SHARD.as_json()}], [job], read) == {"a": SHARD}
