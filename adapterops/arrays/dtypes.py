"""Dtypes, by the names that safetensors has for them."""

from __future__ import annotations

BITS = {
    "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F32": 32, "U32": 32, "I32": 32, "BF16": 16, "F16": 16, "U16": 16, "I16": 16,
    "F8_E5M2FNUZ": 8, "F8_E4M3FNUZ": 8, "F8_E8M0": 8, "F8_E4M3": 8, "F8_E5M2": 8, "I8": 8, "U8": 8, "BOOL": 8, "F4": 4,
}  # fmt: skip
"""Bits an entry takes, in the order in which safetensors lays dtypes out in a file."""

FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""The dtypes that algebra is done in, and torch's names for them; others are carried as bytes."""

ALIASES = {"fp64": "F64", "fp32": "F32", "fp16": "F16"}
"""What people call dtypes, besides the names of safetensors, in any case, and torch."""

CARRIED = {
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "BOOL": "bool", "C64": "complex64",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
"""torch's names for the others; F4 has none, two of its entries are one byte."""

EIGHTH = ("F8_E4M3", "F8_E5M2")
"""Floats in 8 bits, which adapters are read in and nothing is written in."""

WIDE = "Q8_0"
"""The blocks of ggml that adapters are stored in, where a row is a multiple of 32 entries."""


def bits(dtype: str) -> float:
    """Bits an entry takes of a dtype, or of `WIDE`."""
    return 8.5 if dtype == WIDE else BITS[dtype]
