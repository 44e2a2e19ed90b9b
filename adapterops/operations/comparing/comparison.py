"""How adapters look, and how they relate: what `compare` prints and `report` draws.
Nothing is formed that is (out, in).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import combinations
from shlex import quote
from typing import TYPE_CHECKING, Any

from adapterops.adapters.adapter import Adapter, joint, sum_of
from adapterops.adapters.checks import check_named, check_needs_no_base, name, of_base
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.engine import local
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.errors import InputError, OptionError, at, check_opened
from adapterops.operations.comparing.analysis import ModuleSpectrum, measured
from adapterops.operations.comparing.kinds import kinds
from adapterops.operations.comparing.magnitudes import changes, dora, without_magnitudes
from adapterops.operations.comparing.pairs import Pair, SharedModule
from adapterops.operations.comparing.profile import Profile, profiles_of
from adapterops.operations.replication import replicated
from adapterops.operations.targets.added_biases import with_biases
from adapterops.operations.targets.parts import by_part
from adapterops.operations.targets.table import resolve, targets_by_module
from adapterops.operations.targets.target import Target
from adapterops.operations.uniting import united
from adapterops.operations.views import rows_of_view
from adapterops.updates.layout import DIFFERENCE, Layout

if TYPE_CHECKING:
    from adapterops.updates.lowrank import LowRank


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        profiles: the adapters, in their order.
        pairs: all pairs of them.
        sum: the spectra of the sum of all, which is what a merge of them is; empty for one adapter.
        sum_layout: that of the sum.
        weights: module → ‖W₀‖_F, where a base was given.
        base: the base.
        changed: module → (‖W' - W₀‖_F, ‖W₀‖_F) of an adapter with DoRA, where a base was given.
    """

    profiles: Sequence[Profile]
    pairs: Sequence[Pair]
    sum: Mapping[str, ModuleSpectrum]
    sum_layout: Mapping[str, Layout]
    weights: Mapping[str, float]
    base: Checkpoint | None = None
    changed: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @cached_property
    def kinds(self) -> Mapping[str, str]:
        """Module → its kind, in the order of the modules."""
        return kinds(dict.fromkeys(module for profile in self.profiles for module in profile.layout))

    @property
    def rank(self) -> int:
        """The largest of the adapters' ranks."""
        return max(profile.rank for profile in self.profiles)

    @property
    def change(self) -> float:
        """‖W' - W₀‖ / ‖W₀‖ over all modules of an adapter with DoRA, whose base was given."""
        change, W = (math.hypot(*values) for values in zip(*self.changed.values(), strict=True))
        return change / W if W else math.inf

    def relative(self, index: int, modules: Collection[str] | None = None) -> float | None:
        """‖ΔW‖ / ‖W₀‖ over the modules of an adapter, or some of them; None without a base."""
        spectra = self.profiles[index].spectra
        chosen = list(spectra) if modules is None else modules
        if not self.weights:
            return None
        update, weight = (
            math.hypot(*values) for values in ([spectra[m].norm for m in chosen], [self.weights[m] for m in chosen])
        )
        return update / weight if weight else math.inf if update else 0.0


def compare(
    adapters: Sequence[Adapter],
    *,
    base: Checkpoint | None = None,
    how: Execution = DEFAULT,
) -> Comparison:
    """Spectra and norms of adapters, and of every pair cosine, overlap of subspaces, sign conflict and shared
    initialisation.

    Everything is exact and in float64, except the sign conflict, which looks at `geometry.ROWS` rows of each weight,
    the same ones every time, and tells its standard error. A module that an adapter lacks is zero there.

    Args:
        adapters: at least one.
        base: the model they belong to: norms are then known relative to its weights, each of which is read once.

    Raises:
        ShapeError: adapters have different shapes for one module.
        IncompatibleError: a module is not in the base, which has the layers that adapters are for, replicated ones, too.

    One adapter may be DoRA: it is measured without its magnitudes, and with a base also what it changes with them. Of several,
    what depends on the base is W' - W, all of it.

    Cost: O((out + in) R² + ROWS · in · R) a module, R the sum of the ranks; with a base, also reading it. The rank of what has
        no factors is min(out, in).
    """
    given = adapters
    adapters, base, layout, targets = plan(given, base)
    dora_modules = [dora(each) if len(given) == 1 else () for each in given]

    def one(module: str) -> _Module:
        with at(tensor=module):
            found = _module(module, {i: each for i, each in enumerate(adapters) if module in each.layout})
        if base is None:
            return found
        tensor, target = targets[module]
        if tensor not in base.layout:  # a bias that LoRA adds to a layer without one
            return found
        with at(path=base.files.path if base.files else None, tensor=tensor):
            found.weight = weight_norm(base, tensor, target)
        return found

    how = how.within(partial(_working_memory, adapters, layout, base))
    modules = dict(zip(layout, local.run(one, layout, how=how), strict=True))
    spectra = [{module: modules[module].spectra[i] for module in each.layout} for i, each in enumerate(adapters)]
    profiles = profiles_of(adapters, spectra, dora_modules)
    many = len(adapters) > 1
    return Comparison(
        profiles,
        [_pair(i, j, profiles, modules) for i, j in combinations(range(len(adapters)), 2)],
        {module: found.sum for module, found in modules.items()} if many else {},
        layout if many else {},
        {module: found.weight for module, found in modules.items()} if base else {},
        base,
        changes(given[0], base, how=how) if base and dora_modules[0] else {},
    )


def _working_memory(adapters: Sequence[Adapter], layout: Collection[str], base: Checkpoint | None, workers: int) -> int:
    """About how many bytes so many workers hold: of each the factors of one module in all adapters, in float64, with their
    bases and the joint core, what they are computed from, and a few tiles of the base.
    """
    held = max((sum(_held(a.layout[m]) for a in adapters if m in a.layout) for m in layout), default=0)
    return workers * (held + (base.working_memory(1) if base else 0))


def _held(layout: Layout) -> int:
    factors = sum(layout.shape) * _rank(layout)
    return FACTORS * 4 * (max(factors, layout.entries) if layout.dense else factors) + (layout.working or 0)


def _rank(layout: Layout) -> int:
    """The rank that an update is measured with; of a difference that which it has, whatever saving would cut it to."""
    return min(layout.shape) if layout.kind == DIFFERENCE else layout.rank


FACTORS = 12
"""Times the factors of a module, of all adapters: as measured, 9."""


def _pair(i: int, j: int, profiles: Sequence[Profile], modules: Mapping[str, _Module]) -> Pair:
    """How two adapters relate in the modules that both have."""
    both = {m: found.pairs[i, j] for m, found in modules.items() if (i, j) in found.pairs}
    return Pair(i, j, (profiles[i].norm, profiles[j].norm), both)


def plan(
    adapters: Sequence[Adapter], base: Checkpoint | None = None
) -> tuple[list[Adapter], Checkpoint | None, dict[str, Layout], dict[str, tuple[str, Target]]]:
    """The adapters with a module for each target in the base, that with the layers that they are for, the layout of their
    sum, and the tensor and target of each module.

    Raises what `compare` would, before any work.
    """
    if not adapters:
        raise OptionError("there is nothing to compare", hint="name at least one adapter")
    for each in adapters:
        check_opened(each, Adapter, "open_adapter")
    if base is not None:
        check_opened(base, Checkpoint, "open_checkpoint")
    if len(adapters) == 1:
        adapters = [without_magnitudes(adapters[0])]
    if base is not None:
        base = replicated(base, adapters)
        adapters = united(adapters, base)
    for each in adapters:
        way = f"make a difference of it: adapterops convert {quote(name(each))} --base BASE --to comfy -o difference"
        check_needs_no_base(each, "compared", of_base("compared") if len(adapters) > 1 else None, replaced=way)
    if base is None:
        check_named(adapters)
    tables = [resolve(each, with_biases(each, base), only_updates=True) for each in adapters] if base else []
    found = [by_part(each, table) for each, table in zip(adapters, tables, strict=True)] if base else list(adapters)
    layout = {module: joint(found, module) for module in sorted({module for each in found for module in each.layout})}
    return found, base, layout, targets_by_module(tables)


@dataclass
class _Module:
    spectra: dict[int, ModuleSpectrum]
    pairs: dict[tuple[int, int], SharedModule]
    sum: ModuleSpectrum
    weight: float = 0.0


def _module(module: str, adapters: Mapping[int, Adapter]) -> _Module:
    """All that is measured of one module, in the adapters that have it."""
    import numpy as np

    from adapterops.linalg.factor import reduced, spectrum
    from adapterops.linalg.geometry import decompose, inner, sampled, shared_energy, signs

    updates = {
        i: _wide(reduced(adapter.updates[module], _rank(adapter.layout[module]))) for i, adapter in adapters.items()
    }
    numbers = list(updates)
    parts = {i: decompose(update) for i, update in updates.items()}
    out, into = updates[numbers[0]].shape
    chosen = sampled(out, zlib.crc32(module.encode(errors="surrogateescape")))
    opposed = (
        signs([update.folded()[chosen] @ update.A for update in updates.values()], out) if len(updates) > 1 else {}
    )
    norms = {i: float(np.linalg.norm(part.values)) for i, part in parts.items()}
    pairs = {}
    for place, sample in opposed.items():
        i, j = numbers[place[0]], numbers[place[1]]
        P, Q = parts[i], parts[j]
        few = (P.U.shape[1], Q.U.shape[1])
        pairs[i, j] = SharedModule(
            inner(updates[i], updates[j]),
            (norms[i], norms[j]),
            shared_energy(P.U, Q.U),
            shared_energy(P.V, Q.V),
            (few[0] * few[1] / out, few[0] * few[1] / into),
            min(few),
            sample,
            _alike(updates[i].A, updates[j].A),
            _alike(updates[i].B, updates[j].B),
        )
    total = spectrum(sum_of(list(updates.values()))) if pairs else parts[numbers[0]].values
    return _Module({i: measured(part.values) for i, part in parts.items()}, pairs, measured(total))


def _wide(update: LowRank) -> LowRank:
    from adapterops.updates.lowrank import LowRank

    return LowRank(update.B.astype("float64"), update.A.astype("float64"), update.scale)


def _alike(one: Any, other: Any) -> tuple[float, float, float] | None:
    """Inner product and norms of two factors of one shape."""
    if one.shape != other.shape or not one.size:
        return None
    return float((one * other).sum()), *(float((each * each).sum()) ** 0.5 for each in (one, other))


def weight_norm(base: Checkpoint, tensor: str, target: Target) -> float:
    """‖W₀‖_F of what a target covers, in float64 from rows in float32, a block at a time; of a quantized tensor what
    its codes stand for.

    Raises:
        InputError: it has numbers that are NaN or infinite.
    """
    from adapterops.updates.protocol import norm

    stored = base.layout[tensor].matrix
    seen = target.seen or stored
    rows, total = rows_of_view(base.used(tensor), stored, seen), 0.0
    for begin, end in base.blocks(tensor) if seen == stored else [(0, seen[0])]:
        part = target.within(begin, end)
        if part is not None:
            values = rows(begin + part[0].start, begin + part[0].stop)[:, part[1]]
            square = norm(values) ** 2
            if not math.isfinite(square):
                square = norm(values.astype("float64")) ** 2  # finite, only its square was not
            if not math.isfinite(square):
                raise InputError(
                    "has numbers that are NaN or infinite", hint="use another checkpoint", code="E-NONFINITE"
                )
            total += square
    return math.sqrt(total)
