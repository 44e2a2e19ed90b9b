"""Which adapters a collection can hold, all of them and all that they have."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote

from adapterops.adapters.adapter import Adapter, joint
from adapterops.adapters.checks import check_named, check_needs_no_base, name
from adapterops.errors import IncompatibleError, OptionError, UnsupportedError
from adapterops.formats.collections.contents import check_member
from adapterops.formats.diffusion.spellings import OF_IMAGES


def check_compressible(adapters: Mapping[str, Adapter]) -> None:
    """Raise for adapters that are not all LoRA of Linear layers of one base.

    Raises:
        OptionError: there are none.
        InputError: a name could not be given after a path.
        IncompatibleError: they are of several bases, or have modules of several shapes, or one under two names.
        UnsupportedError: one has something that a collection does not hold.
    """
    if not adapters:
        raise OptionError("there is no adapter to compress", hint="name at least one")
    for member, adapter in adapters.items():
        check_member(member)
        _check_carried(adapter)
    bases: dict[str, Adapter] = {}
    for adapter in adapters.values():
        if adapter.config.base_model:
            bases.setdefault(adapter.config.base_model, adapter)
    if len(bases) > 1:
        (first, one), (second, other) = list(bases.items())[:2]
        raise IncompatibleError(
            f"is for {second}, and {name(one)} for {first}: a collection has adapters of one base",
            path=name(other),
            hint="compress the adapters of each base by themselves",
            code="E-BASE",
        )
    check_named(list(adapters.values()))
    for module in sorted({module for adapter in adapters.values() for module in adapter.layout}):
        joint(list(adapters.values()), module)


def _check_carried(adapter: Adapter) -> None:
    """Raise UnsupportedError for an adapter of which a collection could not hold all."""
    leave = "leave it out: it stays an adapter of its own"
    check_needs_no_base(
        adapter,
        "compressed",
        replaced=f"convert it first: adapterops convert {quote(name(adapter))} --base BASE --to peft",
    )
    config = adapter.config
    if config.format in OF_IMAGES:
        raise UnsupportedError(
            f"is in the format {config.format}, whose names a collection does not hold",
            path=name(adapter),
            hint=f"convert it first: adapterops convert {quote(name(adapter))} --to peft",
        )
    if not adapter.layout:
        raise UnsupportedError("has no modules to compress", path=name(adapter), hint=leave)
    dense = {
        module: f"{each.kind}, which has no factors of its rank"
        for module, each in adapter.layout.items()
        if each.dense
    }
    kernels = {module: "of a convolution" for module, each in adapter.layout.items() if len(each.kernel) > 1}
    cannot = {
        **dict.fromkeys(adapter.full, "a full tensor (of modules_to_save, or a bias)"),
        **dict.fromkeys(config.experts, "LoRA on a parameter of experts"),
        **dict.fromkeys(config.embeddings, "LoRA on an embedding"),
        **dense,
        **kernels,
    }
    for tensor, what in cannot.items():
        raise UnsupportedError(
            f"is {what}, and a collection holds LoRA of Linear layers", path=name(adapter), tensor=tensor, hint=leave
        )
