"""Which Gram matrix is that of the inputs of which module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterops.errors import IncompatibleError
from adapterops.formats.models.architectures import SPLIT
from adapterops.formats.models.naming import expert, namesakes
from adapterops.provenance.history import Source, Step


def matched(shapes: Mapping[str, tuple[int, ...]], widths: Mapping[str, int], file: Step | Source) -> dict[str, str]:
    """Module → the name of the Gram matrix of its inputs, of those modules that have one. Gate and up of an expert take in
    what both together do.

    Args:
        shapes: of the matrices in a file.
        widths: how many numbers a module takes in.

    Raises:
        IncompatibleError: one has not the shape of its inputs.
    """
    found: dict[str, str] = {}
    called = {each: name for name in shapes for each in (*_parts(name), name)}
    for each, modules in namesakes(called, widths).items():
        name = called[each]
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


def _parts(name: str) -> list[str]:
    """What is in one with other projections of its expert.

    >>> _parts("mlp.experts.3.gate_up_proj"), _parts("mlp.gate_up_proj")
    (['mlp.experts.3.gate_proj', 'mlp.experts.3.up_proj'], [])
    """
    above, _, projection = name.rpartition(".")
    return [f"{above}.{part}" for part in SPLIT.get(projection, ())] if expert(name) else []


def file_of(file: Step | Source) -> Any:
    """Where a file is, for messages."""
    return file.path if isinstance(file, Source) else None
