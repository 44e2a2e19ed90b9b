"""The full tensors of an adapter (PEFT's modules_to_save, and biases), and the tensors of a base that they replace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterops.adapters.adapter import Adapter, name
from adapterops.errors import IncompatibleError
from adapterops.formats.architectures import HEAD, WEIGHT
from adapterops.formats.naming import canonical, check_untied, head_of, namesakes
from adapterops.storage.safetensors import Spec


def counterparts(
    adapter: Adapter, layout: Mapping[str, Spec], config: Mapping[str, Any] | None
) -> dict[str, tuple[str, str | None]]:
    """Full tensor of an adapter → the tensor whose place it takes, and the one of the base that has been that until
    then.

    Where the base has no output embedding of its own, that is the input embedding that it is tied to; None if there is
    none.

    Raises:
        IncompatibleError: a full tensor has no counterpart, or several, or another shape.
    """
    head, embedding = head_of(layout, config) or (None, None)
    found: dict[str, tuple[str, str | None]] = {}
    for full, names in namesakes(adapter.full, layout).items():
        shape = adapter.full[full].spec.shape
        if not names and canonical(full) == HEAD + WEIGHT:
            found[full] = head or full, embedding
        elif len(names) == 1 and layout[names[0]].shape == shape:
            found[full] = names[0], names[0]
        else:
            there = ", ".join(f"{name} {list(layout[name].shape)}" for name in names) or "nothing"
            raise _misfit(f"is a full tensor of shape {list(shape)}, and the base has {there} of that name", full)
    return found


def replacements(
    adapter: Adapter, layout: Mapping[str, Spec], config: Mapping[str, Any] | None
) -> dict[str, tuple[str, str | None]]:
    """Tensor that is replaced, or new → the one of the base that has been that until then, and the full tensor, if any.

    Where a base ties its embeddings and the adapter has the input embedding alone, the output embedding is a new tensor
    and stays what it was, without a full tensor: that is what the adapter was trained with.

    Raises:
        IncompatibleError: a full tensor has no counterpart, or several, or another shape.
        IncompatibleError: an unannounced one is one end of tied embeddings, alone.
        UnsupportedError: an embedding is tied to others of the base, and it is not known to which.
    """
    if not adapter.full:
        return {}
    found: dict[str, tuple[str, str | None]] = {}
    places = counterparts(adapter, layout, config)
    specs = {tensor: adapter.full[full].spec for full, (tensor, _) in places.items()}
    check_untied(specs, layout, config)
    for full, (tensor, start) in places.items():
        wanted, shape = layout[start].shape if start else None, specs[tensor].shape
        if start is None or wanted != shape:
            there = f"the embedding in its place is {list(wanted)}" if wanted else "the base has no output embedding"
            raise _misfit(f"is a full tensor of shape {list(shape)}, and {there}", tensor, name(adapter))
        found[tensor] = start, full
    head, embedding = head_of(layout, config) or (None, None)
    ends = [whole for tensor in (head, embedding) if tensor in found and (whole := found[tensor][1])]
    if head and len(ends) == 1:
        _check_announced(adapter, ends[0])
    if head and embedding in found and HEAD + WEIGHT not in map(canonical, found):
        found[head] = embedding, None
    return found


def _check_announced(adapter: Adapter, full: str) -> None:
    """PEFT copies what is not announced into the tensor that both ends share, and so changes both."""
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
