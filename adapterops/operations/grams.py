"""Which Gram matrix is that of the inputs of which module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterops.errors import IncompatibleError
from adapterops.formats.models.naming import namesakes
from adapterops.provenance.history import Source, Step


def matched(shapes: Mapping[str, tuple[int, ...]], widths: Mapping[str, int], file: Step | Source) -> dict[str, str]:
    """Module → the name of the Gram matrix of its inputs, of those modules that have one.

    Args:
        shapes: of the matrices in a file.
        widths: how many numbers a module takes in.

    Raises:
        IncompatibleError: one has not the shape of its inputs.
    """
    found: dict[str, str] = {}
    for name, modules in namesakes(shapes, widths).items():
        for module in modules:
            if shapes[name] != (widths[module], widths[module]):
                raise IncompatibleError(
                    f"is {list(shapes[name])}, and its module takes inputs of {widths[module]} numbers",
                    path=file_of(file),
                    tensor=name,
                    hint="make it from the model that the adapter is for, with adapterops gram",
                    code="E-NAMES",
                )
            found[module] = name
    return found


def file_of(file: Step | Source) -> Any:
    """Where a file is, for messages."""
    return file.path if isinstance(file, Source) else None
