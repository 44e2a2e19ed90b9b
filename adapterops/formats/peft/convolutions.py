"""What LoRA of PEFT computes of a convolution, which its base may compute otherwise."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

from adapterops.errors import AdapterWarning, listed
from adapterops.updates.layout import DORA, LORA, Layout

SHOWN = 3
"""How many modules the warning names."""


def say_undilated(layout: Mapping[str, Layout], config: Mapping[str, Any] | None) -> None:
    """Warn of LoRA on kernels: PEFT gives its own convolution kernel size, stride and padding of the layer, and neither
    dilation nor padding mode, so that on a layer that has these no weight does what was trained. Files say nothing of them;
    no UNet of diffusers has such a layer.
    """
    if "UNet" in str((config or {}).get("_class_name")):
        return
    kernels = [name for name, each in layout.items() if each.kind in (LORA, DORA) and math.prod(each.kernel[1:]) > 1]
    if kernels:
        warnings.warn(
            f"LoRA of a convolution ({listed(kernels, SHOWN)}) is trained by PEFT without dilation, and with zeros around its "
            "input: if the layer has dilation or another padding_mode, which no file says, the fused model is not the one "
            "that was trained, neither here nor by PEFT's merge",
            AdapterWarning,
            stacklevel=4,
        )
