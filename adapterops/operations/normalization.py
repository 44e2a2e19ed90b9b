"""An adapter in the form that every program that serves adapters applies alike."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from adapterops.adapters.adapter import Adapter, if_not_trained
from adapterops.adapters.checks import check_needs_no_base, name, of_base
from adapterops.adapters.planning import FUSE
from adapterops.errors import OptionError, UnsupportedError, check_opened
from adapterops.formats.diffusion.written import of_no_layer
from adapterops.formats.registry import DEFAULT
from adapterops.formats.stacks import padded
from adapterops.provenance.history import Step

if TYPE_CHECKING:
    from adapterops.updates.lowrank import LowRank
    from adapterops.updates.protocol import Linear


def normalize(adapter: Adapter) -> Adapter:
    """The same updates as LoRA of one rank in PEFT's format: ΔW = B A, with the scale in B.

    The rank R is the largest of any module; rows of zeros fill up A, and columns of zeros B, so that no product changes.
    What is saved then says r = lora_alpha = R, no patterns, and no rsLoRA: alpha/r, alpha/sqrt(r) where nobody reads
    that field, alpha over each tensor's rank, and no scale at all are the same number, 1. An update without factors
    (LoHa, LoKr) becomes its best approximation of the rank in its layout.

    Raises:
        UnsupportedError: it has what is no LoRA: an update that depends on the weight, or full tensors.
        OptionError: it has no modules.

    Cost: lazy; (out + in) R numbers a module.
    """
    check_opened(adapter, Adapter, "open_adapter")
    check_needs_no_base(adapter, "written as LoRA", of_base("written as LoRA"))
    if adapter.config.replication:
        raise UnsupportedError(
            "is for replicated layers of its base (layer_replication), which programs that serve adapters do not have",
            path=name(adapter),
            hint=FUSE,
        )
    if adapter.full:
        tensor = next(iter(adapter.full))
        raise UnsupportedError(
            "is a full tensor (of modules_to_save, a bias, or an embedding), which LoRA cannot hold",
            path=name(adapter),
            tensor=tensor,
            hint=if_not_trained(tensor, adapter) + FUSE,
        )
    for module, what in of_no_layer(adapter.layout).items():
        raise UnsupportedError(
            f"is a difference of {what}, which LoRA cannot hold",
            path=name(adapter),
            tensor=module,
            hint=FUSE,
        )
    for module in adapter.layout:
        if module.endswith(".bias"):
            raise UnsupportedError(
                "is a bias (lora_bias), which programs that serve adapters do not take",
                path=name(adapter),
                tensor=module,
                hint=FUSE,
            )
    if not adapter.layout:
        raise OptionError("the adapter has no modules to normalize", path=name(adapter))
    rank = max(each.rank for each in adapter.layout.values())
    layout = {module: replace(each, rank=rank, dense=False, kind="LoRA") for module, each in adapter.layout.items()}

    def widened(module: str, update: Linear) -> LowRank:
        from adapterops.linalg.factor import reduced

        found = reduced(update, adapter.layout[module].rank)
        if found.rank == rank:
            return found
        A, B = padded(found.A, found.B, rank)
        return replace(found, A=A, B=B)

    made = adapter.map(Step("normalize", {}, (adapter.history,)), layout, widened)
    return replace(made, config=replace(adapter.config, format=DEFAULT))
