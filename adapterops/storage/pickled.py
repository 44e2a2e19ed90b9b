"""What a file is that is called as a pickle of PyTorch: by its first bytes, and nothing of it is loaded."""

from __future__ import annotations

import os
from pathlib import Path

from adapterops.errors import InputError, at
from adapterops.storage.header import foreign
from adapterops.storage.strict import open_regular, reading

FIRST = 512
"""Bytes that tell."""

ARCHIVE = b"PK\x03\x04"
"""How what torch.save writes begins."""

PICKLED = (ARCHIVE, b"\x80")
"""The same, and any pickle."""

BEFORE_ARCHIVES = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of torch before 1.6 begin."""


def check_called_so(path: Path) -> None:
    """Raise InputError for a file that is no pickle, whatever it is called."""
    with os.fdopen(open_regular(path), "rb") as file, reading(path):
        start = file.read(FIRST)
    with at(path=path):
        check_pickle(start)


def check_pickle(start: bytes) -> None:
    """Raise InputError for a file that begins as no pickle does."""
    if not start:
        raise InputError("is empty", hint="download or save it again", code="E-PICKLE")
    if start.startswith(PICKLED):
        return
    if start[8:9] == b"{":
        hint = "rename it to adapter_model.safetensors, or model.safetensors for a model"
        raise InputError("is not a PyTorch pickle: this is a safetensors file", hint=hint, code="E-PICKLE")
    what, hint = foreign(start) or ("", "download or save it again")
    raise InputError(f"is not a PyTorch pickle{what and f': this is {what}'}", hint=hint, code="E-PICKLE")
