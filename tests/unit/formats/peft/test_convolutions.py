"""Of which modules it is said that PEFT trains them without dilation."""

from __future__ import annotations

import warnings

import pytest

from adapterops.errors import AdapterWarning
from adapterops.formats.peft.convolutions import say_undilated
from adapterops.updates.layout import DIFFERENCE, DORA, Layout


def test_lora_on_kernels_is_named() -> None:
    kernel = Layout((8, 36), 2, "F32", kernel=(4, 3, 3))
    with pytest.warns(AdapterWarning, match=r"\(conv, deep\) is trained by PEFT without dilation"):
        say_undilated(
            {"conv": kernel, "linear": Layout((8, 4), 2, "F32"), "deep": Layout(*_sizes(), kind=DORA, kernel=(4, 3))},
            None,
        )


def test_what_has_no_convolution_of_its_own_is_not() -> None:
    point, whole = (
        Layout((8, 4), 2, "F32", kernel=(4, 1, 1)),
        Layout(*_sizes(), dense=True, kind=DIFFERENCE, kernel=(4, 3)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        say_undilated({"point": point, "whole": whole, "loha": Layout(*_sizes(), kind="LoHa", kernel=(4, 3))}, {})
        say_undilated({"conv": Layout((8, 36), 2, "F32", kernel=(4, 3, 3))}, {"_class_name": "UNet2DConditionModel"})


def _sizes() -> tuple[tuple[int, int], int, str]:
    return (8, 12), 2, "F32"
