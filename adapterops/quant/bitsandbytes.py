"""bitsandbytes, whose layout NF4, FP4 and int8 have: what config.json says of it, and its kernel for codes on a GPU."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from adapterops.errors import NotFoundError

if TYPE_CHECKING:
    from torch import Tensor

DEVICES = ("cuda",)
"""Where its kernel is faster than ours."""

ENCODED = ("nf4",)
"""The schemes whose codes its kernel finds, where their scales are new."""

LEAST, MOST = 1e-30, 1e30
"""Between these, scales of blocks have an ordinary reciprocal on a GPU, too."""


def section(
    skip: list[str], *, four: bool, kind: str = "fp4", nested: bool = False, compute: str = "float32"
) -> dict[str, Any]:
    """The `quantization_config` of a model in 4 or 8 bits, as transformers writes it."""
    return {
        "quant_method": "bitsandbytes",
        "load_in_4bit": four,
        "load_in_8bit": not four,
        "_load_in_4bit": four,
        "_load_in_8bit": not four,
        "bnb_4bit_quant_type": kind,
        "bnb_4bit_use_double_quant": nested,
        "bnb_4bit_compute_dtype": compute,
        "bnb_4bit_quant_storage": "uint8",
        "llm_int8_skip_modules": skip,
        "llm_int8_threshold": 6.0,
        "llm_int8_has_fp16_weight": False,
        "llm_int8_enable_fp32_cpu_offload": False,
    }


def check_installed() -> None:
    """Raise NotFoundError where bitsandbytes is not installed, which a GPU needs for the schemes in `ENCODED`."""
    if find_spec("bitsandbytes") is None:
        raise NotFoundError(
            "--device cuda needs bitsandbytes, which is not installed",
            hint="pip install 'adapterops[gpu]', or leave --device out",
            code="E-NOT-INSTALLED",
        )


def four_bit(blocks: Tensor, kind: str) -> tuple[Tensor, Tensor] | None:
    """The codes of whole blocks, two a byte, and absmax, on a GPU; None where its bytes may not be those of a CPU.

    Its CUDA kernel multiplies by an approximate reciprocal of absmax, off by at most two units in the last place. That
    moves no code of NF4 where the numbers are those of bfloat16: the quotients of two such numbers stay at least nine
    units away from every threshold. Quotients of float16 and other float32 numbers do not. FP4 has other thresholds on
    CUDA, one unit of int8's scale moves 1 in 10^4 of its codes, blocks of zeros have another code of zero, and NaN is
    not noticed.

    Args:
        blocks: a row for each block, in float32.
    """
    import torch

    if kind not in ENCODED or blocks.device.type not in DEVICES:
        return None
    narrow = blocks.bfloat16()
    if not torch.equal(narrow.float(), blocks):
        return None
    from bitsandbytes.functional import quantize_4bit

    packed, state = quantize_4bit(narrow, blocksize=blocks.shape[1], quant_type=kind)
    least, most = torch.aminmax(state.absmax)
    if not LEAST <= float(least) <= float(most) <= MOST:
        return None
    return packed.view(-1), state.absmax
