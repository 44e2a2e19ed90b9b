"""Layers that a base has several times, once more: which of its tensors each of them has to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.regex import Regex

LAYER = Regex(r"(?P<list>.*?)\.(?P<number>\d+)\.(?P<inner>.*)")


def replica_doubts(
    base: Checkpoint, replicated: Checkpoint, ranges: Sequence[tuple[int, int]]
) -> Iterator[tuple[str, str]]:
    """Tensors of a base with replicated layers that are not those of the layers that the ranges say: name, and what is wrong.

    The layers are the list that most of its tensors are in.
    """
    order = [number for first, end in ranges for number in range(first, end)]
    lists = Counter(found["list"] for name in base.layout if (found := LAYER.fullmatch(name)))
    ((layers, _),) = lists.most_common(1)
    expected: dict[str, str] = {}
    for name in base.layout:
        found = LAYER.fullmatch(name)
        if found is None or found["list"] != layers:
            expected[name] = name
            continue
        for number, there in enumerate(order):
            if there == int(found["number"]):
                expected[f"{layers}.{number}.{found['inner']}"] = name
    for name in sorted(expected.keys() ^ replicated.layout.keys()):
        yield name, "is missing" if name in expected else "should not be there"
    for name in sorted(expected.keys() & replicated.layout.keys()):
        if replicated.stored[name] != base.stored[expected[name]]:
            yield name, f"is not a copy of {expected[name]}, as layer_replication says"
