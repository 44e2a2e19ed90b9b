"""Every rule, on an adapter of which it is true and on one of which it is not."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import low_rank

from adapterops import Adapter, LowRank
from adapterops.operations.comparison import Comparison, compare
from adapterops.reports.diagnosis import diagnose

SHAPE = (96, 80)
MODULES = [f"model.layers.{layer}.{name}" for layer in range(8) for name in ("q_proj", "up_proj", "down_proj")]


def orthonormal(seed: int, size: int, rank: int) -> np.ndarray:
    return np.linalg.qr(low_rank(seed, size, rank, rank).B)[0]


def adapter(seed: int, values: list[float], gain: dict[str, float] | None = None, start: int | None = None) -> Adapter:
    """With these singular values in every module, times a gain; its row spaces are those of `start`."""
    updates = {}
    for number, module in enumerate(MODULES):
        U, V = orthonormal(100 * seed + number, SHAPE[0], len(values)), orthonormal(100 * (start or seed) + number, SHAPE[1], len(values))
        updates[module] = LowRank(U * np.array(values) * (gain or {}).get(module, 1.0), V.T)
    return Adapter.of(updates)


FLAT = [1.0] * 8
FALLING = [2.0**-k for k in range(8)]
SLOW = [0.75**k for k in range(8)]


def rules(*adapters: Adapter) -> dict[str, str]:
    return {finding.rule: finding.text for finding in diagnose(compare(list(adapters)))}


def test_never_trained() -> None:
    assert "was never trained" in rules(adapter(1, [0.0] * 8))["never-trained"]
    partly = rules(adapter(1, SLOW, {MODULES[3]: 0.0}))
    assert f"1 of 24 modules of (memory) were never trained: {MODULES[3]}" in partly["partly-trained"]
    assert not {"never-trained", "partly-trained"} & set(rules(adapter(1, SLOW)))


def test_flat() -> None:
    text = rules(adapter(1, FLAT))["flat"]
    assert "is flat" in text
    assert "a higher rank, or another method than LoRA" in text
    assert "flat" not in rules(adapter(1, SLOW))


def test_empty_tail() -> None:
    text = rules(adapter(1, FALLING))["empty-tail"]
    assert "rank 4 would do" in text
    assert "truncate --rank 4" in text
    assert "empty-tail" not in rules(adapter(1, SLOW))


def with_weights(comparison: Comparison, norm: float) -> Comparison:
    from dataclasses import replace

    return replace(comparison, weights=dict.fromkeys(MODULES, norm))


def test_norms_beside_the_base() -> None:
    comparison = compare([adapter(1, SLOW, {MODULES[5]: 20.0})])
    small = comparison.profiles[0].spectra[MODULES[0]].norm

    def found(norm: float) -> dict[str, str]:
        return {finding.rule: finding.text for finding in diagnose(with_weights(comparison, norm))}

    assert "dwarfs W0: it is 4.2 times" in found(small)["dwarfs"]
    assert f"dwarfs W0 in 1 of 24 modules, most in {MODULES[5]} (2 times its weight)" in found(10 * small)["dwarfs"]
    assert "large" in found(20.1 * small)
    assert not {"dwarfs", "large"} & set(found(100 * small))
    assert not {"dwarfs", "large"} & set(rules(adapter(1, SLOW)))


def test_layers_and_kinds() -> None:
    late = {module: 6.0 for module in MODULES if ".6." in module or ".7." in module}
    assert "sits in these layers: 6, 7 " in rules(adapter(1, SLOW, late))["layers"]
    assert "Most of the update of (memory) is in up_proj" in rules(adapter(1, SLOW, dict.fromkeys(MODULES[1::3], 6.0)))["kinds"]
    assert not {"layers", "kinds"} & set(rules(adapter(1, SLOW)))


def test_pairs() -> None:
    a, b = adapter(1, SLOW), adapter(2, SLOW)
    assert "are the same update" in rules(a, a)["same"]
    assert "pull the same way" in rules(a, a + 0.5 * b)["alike"]
    assert "undo each other" in rules(a, -a)["opposed"]
    assert "8.01 times as large" in rules(adapter(1, SLOW), 8.01 * b)["uneven"]
    assert not {"same", "alike", "opposed", "uneven", "colliding", "shared-start"} & set(rules(a, b))


def test_subspaces() -> None:
    a = adapter(1, SLOW)
    turned = Adapter.of({m: LowRank(u.B[:, ::-1], u.A) for m, u in a.updates.items()})  # the same spaces, another map
    colliding = rules(a, turned)
    assert "The subspaces of (memory) (1) and (memory) (2)" in colliding["colliding"]
    assert "collide" in colliding["colliding"]
    assert "One merged rank-8 adapter cannot hold both" in colliding["colliding"]
    apart = rules(a, adapter(2, SLOW))
    assert "are separate" in apart["separate"]
    assert "One merged rank-8 adapter cannot hold the sum of all: it keeps 73%" in rules(adapter(1, FLAT), adapter(2, FLAT))["no-room"]
    assert "agree no more often than by chance" in apart["coin-flip"]
    assert not {"colliding"} & set(apart)
    assert "holds" in rules(a, turned)["room"]


def test_one_start() -> None:
    found = rules(adapter(1, SLOW), adapter(2, SLOW, start=1))
    assert "started from one random A" in found["shared-start"]
    assert "says nothing about their tasks" in found["shared-start"]


def test_different_bases_and_modules() -> None:
    from adapterops.formats.peft_config import AdapterConfig

    a = Adapter.of({"layers.0.q": low_rank(1, 6, 5, 2)}, AdapterConfig(base_model="x/one"))
    b = Adapter.of({"layers.0.k": low_rank(1, 6, 5, 2)}, AdapterConfig(base_model="x/two"))
    found = rules(a, b)
    assert "x/one, x/two" in found["bases"]
    assert "share no module" in found["disjoint"]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_adapters_that_are_zero_break_no_rule(count: int) -> None:
    assert {"never-trained"} == set(rules(*[adapter(1, [0.0] * 8)] * count))


def test_numbers_that_made_it_true_go_along() -> None:
    for finding in diagnose(compare([adapter(1, FLAT), adapter(2, FALLING)])):
        assert finding.numbers
        assert finding.level in ("warning", "note")
