"""The full tensors of an adapter (PEFT's modules_to_save, and biases), and the tensors of a base that they replace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterops.adapters.adapter import Adapter, name
from adapterops.errors import IncompatibleError
from adapterops.formats.architectures import HEAD, WEIGHT
from adapterops.formats.loading import loading
from adapterops.formats.naming import canonical, namesakes
from adapterops.formats.ties import ties_of
from adapterops.storage.safetensors import Spec


def counterparts(
    adapter: Adapter, layout: Mapping[str, Spec], config: Mapping[str, Any] | None
) -> dict[str, tuple[str, str | None]]:
    """Full tensor of an adapter → the tensor whose place it takes, and the one of the base that has been that until
    then.

    Where the base has no tensor of its own for one, that is the one that it is tied to; None if there is none.

    Raises:
        IncompatibleError: a full tensor has no counterpart, or several, or another shape.
    """
    missing = {canonical(end): (end, source) for end, source in ties_of(layout, config).missing.items()}
    found: dict[str, tuple[str, str | None]] = {}
    for full, names in namesakes(adapter.full, layout, loading(config).name).items():
        shape = adapter.full[full].spec.shape
        if not names and canonical(full) in (*missing, HEAD + WEIGHT):
            found[full] = missing.get(canonical(full), (full, None))
        elif len(names) == 1 and layout[names[0]].shape == shape:
            found[full] = names[0], names[0]
        else:
            there = ", ".join(f"{name} {list(layout[name].shape)}" for name in names) or "nothing"
            raise _misfit(f"is a full tensor of shape {list(shape)}, and the base has {there} of that name", full)
    return found


def replacements(
    adapter: Adapter, layout: Mapping[str, Spec], config: Mapping[str, Any] | None
) -> dict[str, tuple[str, str]]:
    """Tensor that is replaced, or new → the one of the base that has been that until then, and the full tensor.

    Raises:
        IncompatibleError: a full tensor has no counterpart, or several, or another shape.
        IncompatibleError: an unannounced one is one end of tied embeddings, alone.
    """
    if not adapter.full:
        return {}
    found: dict[str, tuple[str, str]] = {}
    places = counterparts(adapter, layout, config)
    specs = {tensor: adapter.full[full].spec for full, (tensor, _) in places.items()}
    for full, (tensor, start) in places.items():
        wanted, shape = layout[start].shape if start else None, specs[tensor].shape
        if start is None or wanted != shape:
            there = f"the embedding in its place is {list(wanted)}" if wanted else "the base has no output embedding"
            raise _misfit(f"is a full tensor of shape {list(shape)}, and {there}", tensor, name(adapter))
        found[tensor] = start, full
    _check_announced(adapter, found, ties_of(layout, config).missing)
    return found


def _check_announced(adapter: Adapter, found: Mapping[str, tuple[str, str]], missing: Mapping[str, str]) -> None:
    """PEFT copies what is not announced into the tensor that all its ends share, and so changes all of them."""
    for source in set(missing.values()):
        ends = {source, *(end for end, other in missing.items() if other == source)}
        for end in sorted(ends & found.keys()) if not ends <= found.keys() else ():
            full = found[end][1]
            if full in adapter.config.unannounced and full.removesuffix(WEIGHT) not in adapter.layout:
                raise IncompatibleError(
                    "is one end of embeddings that the base ties, saved without the other and not named by modules_to_save",
                    path=name(adapter),
                    tensor=full,
                    hint="name its module in modules_to_save, or save both ends",
                    code="E-NAMES",
                )


def _misfit(fact: str, tensor: str, path: str | None = None) -> IncompatibleError:
    hint = "give the base that the adapter was trained on, with a vocabulary of that size"
    return IncompatibleError(fact, path=path, tensor=tensor, hint=hint, code="E-NAMES")
