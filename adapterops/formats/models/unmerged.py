"""A model that was saved with PEFT's layers in it: which of its tensors are the base's, and which the adapter's.

PEFT wraps a module: the weight is in `q_proj.base_layer` then, and the factors are next to that. What modules_to_save names is
there twice, as `original_module` and trained.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from adapterops.errors import InputError, UnsupportedError
from adapterops.formats.models.vocabulary import is_end
from adapterops.formats.models.wrappers import unwrapped
from adapterops.formats.peft.keys import PREFIX, ROWS, Key, parse, plain, render, updates
from adapterops.formats.stacks import WRAPPED
from adapterops.regex import Regex
from adapterops.updates.kinds import KINDS

TRAINED = Regex(r"\.modules_to_save\.(?P<adapter>[^.]+)(?=\.)")
"""What PEFT puts into the name of a trained copy: the name of the adapter."""

BASE = Regex(r"(?:\.token_adapter)?\.(?:base_layer|original_module)(?=\.)")
"""What it puts into the name of a tensor of the base."""

ORIGINAL = Regex(r"\.original_module(?=\.)")

MARKS = Regex(rf"{TRAINED.pattern}|{BASE.pattern}")


@dataclass(frozen=True)
class Division:
    """The tensors of a model, by what they are called where they belong: → what they are called here.

    `base` has the names of the model without PEFT; `updates` and `full` those that PEFT saves an adapter under: the arrays of
    its updates, and full tensors and rows. `saved` are the modules that modules_to_save names.
    """

    base: Mapping[str, str]
    updates: Mapping[str, str]
    full: Mapping[str, str]
    saved: tuple[str, ...] = ()


def is_adapters(name: str) -> bool:
    """Whether a tensor of this name is PEFT's, or of the base inside what PEFT put around it."""
    return bool(updates().fullmatch(name) or MARKS.search(name))


def holds_base(names: Iterable[str]) -> bool:
    """Whether there are weights of the base among tensors of an adapter.

    An adapter has base_layer in the names of embeddings that it trains or that were resized, and of biases; original_module
    in those of what it has the trained tensors of, too.

    >>> holds_base(["q_proj.base_layer.weight", "q_proj.lora_A.default.weight"]), holds_base(["lm_head.base_layer.weight"])
    (True, False)
    """
    names = list(names)
    trained = {TRAINED.sub("", name) for name in names if TRAINED.search(name)}
    return any(
        BASE.search(name)
        and ORIGINAL.sub("", name) not in trained
        and not updates().fullmatch(name)
        and not name.endswith("bias")
        and not is_end(plain(unwrapped(name)))
        for name in names
    )


def divided(names: Collection[str]) -> Division:
    """Which tensors are the base's, and which the adapter's.

    Raises:
        InputError: there are several adapters, or one tensor twice, or nothing but an adapter.
        UnsupportedError: the adapter is of a kind that is not handled.
    """
    base: dict[str, str] = {}
    arrays: dict[str, str] = {}
    full: dict[str, str] = {}
    saved, adapters = set(), set()
    wrapped = {name[: match.start()] for name in names for match in re.finditer(re.escape(WRAPPED) + r"(?=\.)", name)}
    for name in sorted(names):
        if updates().fullmatch(name):
            key = parse(name)
            adapters.add(key.adapter)
            ends = [kind.roles[key.role] for kind in KINDS.values() if kind.peft_type and key.role in kind.roles]
            end = key.end if key.end in ends else ends[0]
            _put(arrays, render(Key(unwrapped(key.module), key.role, end=end)), name)
        elif match := ROWS.search(name):
            adapters.add(match["adapter"])
            _put(full, PREFIX + unwrapped(name.removesuffix(f".{match['adapter']}")), name)
        elif match := TRAINED.search(name):
            adapters.add(match["adapter"])
            saved.add(unwrapped(name[: match.start()]))
            _put(full, PREFIX + unwrapped(name[: match.start()] + name[match.end() :]), name)
        elif not BASE.search(name) and any(name.startswith(f"{module}.") for module in _above(name) & wrapped):
            parse(name)  # which names the kind, where it is known
            raise UnsupportedError(
                "belongs to an adapter of a kind that is not handled",
                tensor=name,
                hint="merge it with the program that saved the model (merge_and_unload), or save the adapter by itself",
            )
        else:
            _put(base, BASE.sub("", unwrapped(name)), name)
    if len(adapters - {None}) > 1:
        found = ", ".join(sorted(adapter for adapter in adapters if adapter))
        raise InputError(
            f"holds several adapters: {found}",
            hint="save it again with one of them: delete_adapter of PEFT removes the others",
            code="E-KEY",
        )
    if not base:
        raise InputError(
            "has no tensors of a base: it is an adapter", hint="give it to a command on adapters", code="E-FOLDER"
        )
    return Division(base, arrays, full, tuple(sorted(saved)))


def _above(name: str) -> set[str]:
    """The modules that a tensor is in."""
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts))}


def _put(found: dict[str, str], name: str, source: str) -> None:
    if name in found:
        raise InputError(
            f"is the same tensor as {found[name]}",
            tensor=source,
            hint="keep one of the two, the one that was trained",
            code="E-KEY",
        )
    found[name] = source
