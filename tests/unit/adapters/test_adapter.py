"""An adapter is a vector: sums, factors, and what cannot be added."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpus import MODULES, config, write_adapter

from adapterops.adapters.adapter import Adapter, joint
from adapterops.adapters.checks import check_named, name
from adapterops.adapters.opening import open_adapter
from adapterops.errors import IncompatibleError, OptionError, ShapeError
from adapterops.updates.layout import DIFFERENCE, LORA


def opened(folder: Path, **shape: object) -> Adapter:
    return open_adapter(write_adapter(folder, **shape))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Adapter, Adapter]:
    return opened(tmp_path / "a"), opened(tmp_path / "b", seed=1, rank=3, fields=config(3))


def test_arithmetic_is_that_of_the_entries(pair: tuple[Adapter, Adapter]) -> None:
    a, b = pair
    found = {0: a + b, 1: 2 * a - b, 2: -a, 3: a * 0.5}
    for module in MODULES:
        x, y = a.updates[module].dense(), b.updates[module].dense()
        for number, expected in enumerate((x + y, 2 * x - y, -x, 0.5 * x)):
            np.testing.assert_allclose(found[number].updates[module].dense(), expected, atol=1e-6)
    assert joint([a, b], MODULES[0]).rank == 5
    assert repr(a) == "<Adapter of 3 modules on some/base>"
    assert name(a).endswith("/a")


def test_a_sum_has_the_kernel_that_any_of_its_parts_says(pair: tuple[Adapter, Adapter]) -> None:
    """LoHa is stored in matrices, and LoRA next to it shows the dimensions of the kernel."""
    a, b = pair
    known = replace(b.layout[MODULES[0]], kernel=(2, 4))
    assert joint([a, replace(b, layout={**b.layout, MODULES[0]: known})], MODULES[0]).kernel == (2, 4)


@pytest.mark.parametrize(
    ("kinds", "kind"),
    [(("LoHa", "LoHa"), "LoHa"), (("LoKr", "LoHa"), "LoKr"), (("LoHa", LORA), LORA), ((DIFFERENCE, DIFFERENCE), LORA)],
)
def test_a_sum_shows_no_more_of_kernels_than_its_parts(
    pair: tuple[Adapter, Adapter], kinds: tuple[str, str], kind: str
) -> None:
    """LoRA, or a difference, has the dimensions of the weight."""
    named = [
        replace(each, layout={name: replace(layout, kind=kind) for name, layout in each.layout.items()})
        for each, kind in zip(pair, kinds, strict=True)
    ]
    assert joint(named, MODULES[0]).kind == kind


def test_sum_and_division(pair: tuple[Adapter, Adapter]) -> None:
    a, b = pair
    for module in MODULES:
        x, y = a.updates[module].dense(), b.updates[module].dense()
        np.testing.assert_allclose(sum([a, b]).updates[module].dense(), x + y, atol=1e-6)
        np.testing.assert_allclose((a / np.float32(4)).updates[module].dense(), x / 4, atol=1e-6)
    with pytest.raises(TypeError, match="unsupported operand"):
        a + 1  # type: ignore[operator]  # as a person may write


@pytest.mark.parametrize("by", [0, 1e300, float("inf")])
def test_a_divisor_that_leaves_nothing_or_no_number_is_refused(by: float, pair: tuple[Adapter, Adapter]) -> None:
    with pytest.raises(OptionError, match=r"the divisor of an adapter"):
        pair[0] / by


@pytest.mark.parametrize("by", [float("nan"), float("inf"), 1e-46, -1e-320, 10**400])
def test_a_factor_that_leaves_nothing_is_refused(by: float, pair: tuple[Adapter, Adapter]) -> None:
    with pytest.raises(OptionError, match=r"the factor of an adapter"):
        by * pair[0]


def test_nothing_is_read_before_it_is_asked_for(pair: tuple[Adapter, Adapter], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "adapterops.storage.safetensors.SafetensorsFile._fill", lambda *given: pytest.fail("a tensor was read")
    )
    total = pair[0] + 3 * pair[1]
    assert {each.rank for each in total.layout.values()} == {5}
    with pytest.raises(pytest.fail.Exception):
        total.updates[MODULES[0]]


def test_one_module_of_two_shapes(tmp_path: Path, pair: tuple[Adapter, Adapter]) -> None:
    with pytest.raises(ShapeError, match="12"):
        pair[0] + opened(tmp_path / "wide", out=16)


def test_one_module_under_two_names(tmp_path: Path, pair: tuple[Adapter, Adapter]) -> None:
    other = opened(tmp_path / "other", modules=[f"model.{module}" for module in MODULES])
    check_named(pair)
    with pytest.raises(IncompatibleError, match="may be the same ones under two names") as caught:
        check_named([pair[0], other])
    assert caught.value.code == "E-SPELLING"
