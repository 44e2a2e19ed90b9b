"""Whether a file that was written holds the updates that it was written from: before it gets its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from adapterops.errors import AdapterOpsError
from adapterops.formats.diffusion.flat import Flat, flat

if TYPE_CHECKING:
    from adapterops.adapters.adapter import Adapter
    from adapterops.updates.lowrank import LowRank
    from adapterops.updates.protocol import Array

SLACK = 1e-12
"""What two products in float64 may differ by, of the size of their factors: wrong names and scales are far above it."""


class Image(NamedTuple):
    """ΔW x for a random x, and by how much that of a file may differ."""

    values: Array
    within: float


def image(update: LowRank, distance: float = 0.0) -> Image:
    """ΔW x in float64; x is the same for all matrices of so many columns. Updates that differ have different ones, but
    with probability 0.

    Args:
        distance: ‖ΔW - ΔW'‖_F, by what rounding may have moved the update of the file.

    Cost: O((out + in) r).
    """
    import numpy as np

    x = np.random.default_rng(0).standard_normal(update.shape[1])
    B, A = update.B.astype(np.float64), update.A.astype(np.float64)
    with np.errstate(all="ignore"):
        size = abs(update.scale) * np.linalg.norm(B) * np.linalg.norm(A)
        return Image(update.scale * (B @ (A @ x)), float((distance + SLACK * size) * np.linalg.norm(x)))


def prove(written: Adapter, images: Mapping[str, Image]) -> float:
    """The largest ‖ΔW x - ΔW' x‖ / ‖ΔW x‖ over all modules, ΔW' being what is read from the file.

    Args:
        images: those of the modules that were to be written, by their names; the file may have underscores for dots,
            or another prefix.

    Raises:
        AdapterOpsError: a module is missing or new, or another update. That is a bug of ours.
    """
    import numpy as np

    names = _names(written, images)
    worst = 0.0
    for module, expected in images.items():
        update: Any = written.updates[names[module]]
        values, wanted = image(update.lowrank()).values, expected.values
        if names[module] in written.interleaved:  # the rows are the same, and in another order
            values, wanted = np.sort(values), np.sort(wanted)
        size = float(np.linalg.norm(wanted))
        moved = float(np.linalg.norm(values - wanted))
        if not np.isfinite(expected.within):
            continue  # such numbers were asked for
        if moved > expected.within:
            raise _other(
                f"was written as another update: ΔW x differs by {moved / size if size else moved:.2g}", module
            )
        worst = max(worst, moved / size if size else 0.0)
    return worst


def _names(written: Adapter, images: Mapping[str, Image]) -> dict[str, str]:
    """What the file calls each module."""
    if images.keys() == written.layout.keys():
        return {module: module for module in images}
    known = {flat(module): module for module in written.layout}
    by_key: dict[str, list[str]] = {}
    for name, module in known.items():
        by_key.setdefault(name.key, []).append(module)
    found = {module: _one(flat(module), known, by_key) for module in images}
    for module, named in found.items():
        if named is None:
            raise _other("was to be written and is not in the file", module)
    for module in sorted(written.layout.keys() - set(found.values())):  # experts of a parameter that the adapter lacks
        if image(written.updates[module].lowrank()).values.any():
            raise _other("is in the file and was not to be written", module)
    return {module: str(name) for module, name in found.items()}


def _one(name: Flat, known: Mapping[Flat, str], by_key: Mapping[str, list[str]]) -> str | None:
    """The module of a name, in its part of a pipeline; where the file says another, the only one of that name."""
    if name in known:
        return known[name]
    same = by_key.get(name.key, [])
    return same[0] if len(same) == 1 else None


def _other(fact: str, module: str) -> AdapterOpsError:
    hint = "this is a bug in adapterops: nothing was written, and another run would fail in the same way"
    return AdapterOpsError(fact, tensor=module, hint=hint, code="E-WRITTEN")
