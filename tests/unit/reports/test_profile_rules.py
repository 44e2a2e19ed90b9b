"""Every rule about one adapter, on one of which it is true and on one of which it is not."""

from __future__ import annotations

from dataclasses import replace

from known_spectra import FALLING, FLAT, MODULES, SLOW, adapter, rules

from adapterops.operations.comparing.comparison import Comparison, compare
from adapterops.reports.diagnosis import diagnose


def test_never_trained() -> None:
    assert "was never trained" in rules(adapter(1, [0.0] * 8))["never-trained"]
    partly = rules(adapter(1, SLOW, {MODULES[3]: 0.0}))
    assert f"1 of 24 modules of (memory) were never trained: {MODULES[3]}" in partly["partly-trained"]
    assert not {"never-trained", "partly-trained"} & set(rules(adapter(1, SLOW)))


def test_flat() -> None:
    text = rules(adapter(1, FLAT))["flat"]
    assert "is flat" in text
    assert "A higher rank may help: try one." in text
    assert "flat" not in rules(adapter(1, SLOW))


def test_several_flat_updates_are_one_note() -> None:
    (found,) = [each for each in diagnose(compare([adapter(seed, FLAT) for seed in (1, 2, 3)])) if each.rule == "flat"]
    assert "are flat: their 8 dimensions carry nearly equal shares (effective rank 8.0)" in found.text
    assert found.adapters == (0, 1, 2)


def test_empty_tail() -> None:
    text = rules(adapter(1, FALLING))["empty-tail"]
    assert "Rank 4 keeps at least 99% of its energy" in text
    assert "and rank 2 keeps 94%" in text
    assert "Try ranks 2 to 4 (adapterops truncate --rank 2)." in text
    assert "empty-tail" not in rules(adapter(1, SLOW))


def with_weights(comparison: Comparison, norm: float) -> Comparison:
    return replace(comparison, weights=dict.fromkeys(MODULES, norm))


def test_norms_relative_to_the_base() -> None:
    comparison = compare([adapter(1, SLOW, {MODULES[5]: 20.0})])
    small = comparison.profiles[0].spectra[MODULES[0]].norm

    def found(norm: float) -> dict[str, str]:
        return {finding.rule: finding.text for finding in diagnose(with_weights(comparison, norm))}

    assert "is 4.2 times that of the weights it changes" in found(small)["dwarfs"]
    assert (
        f"above that of the weight in 1 of 24 modules, most in {MODULES[5]} (2 times its weight)"
        in found(10 * small)["dwarfs"]
    )
    assert "large" in found(20.1 * small)
    assert not {"dwarfs", "large"} & set(found(100 * small))
    assert not {"dwarfs", "large"} & set(rules(adapter(1, SLOW)))


def test_layers_and_kinds() -> None:
    late = {module: 6.0 for module in MODULES if ".6." in module or ".7." in module}
    assert "is in these layers: 6, 7 " in rules(adapter(1, SLOW, late))["layers"]
    assert (
        "Most of the update of (memory) is in up_proj"
        in rules(adapter(1, SLOW, dict.fromkeys(MODULES[1::3], 6.0)))["kinds"]
    )
    assert not {"layers", "kinds"} & set(rules(adapter(1, SLOW)))
