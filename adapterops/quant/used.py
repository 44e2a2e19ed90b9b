"""What numbers a model computes with: bitsandbytes rounds those of NF4 and FP4 to a dtype, others are what they are."""

from __future__ import annotations

from dataclasses import replace

from adapterops.quant.fourbit import FourBit
from adapterops.quant.scheme import Scheme
from adapterops.quant.transposed import Transposed


def decoded_to(scheme: Scheme) -> str:
    """The dtype that decoding rounds to, by safetensors' name of it.

    >>> decoded_to(FourBit(dtype="BF16")), decoded_to(Transposed(FourBit(dtype="F16")))
    ('BF16', 'F16')
    """
    if isinstance(scheme, Transposed):
        return decoded_to(scheme.scheme)
    return scheme.dtype if isinstance(scheme, FourBit) else "F32"


def unrounded(scheme: Scheme) -> Scheme:
    """The scheme that decodes the same codes to float32."""
    if isinstance(scheme, Transposed):
        return replace(scheme, scheme=unrounded(scheme.scheme))
    return replace(scheme, dtype="F32") if isinstance(scheme, FourBit) else scheme
