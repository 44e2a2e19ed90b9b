"""Rows of embeddings that an adapter replaces (PEFT's trainable_token_indices), and the tensors of a base that they are in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import name
from adapterops.arrays.finite import check_all_finite
from adapterops.arrays.scratch import Scratch
from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.formats.models.architectures import WEIGHT
from adapterops.formats.models.loading import loading
from adapterops.formats.models.naming import canonical, namesakes
from adapterops.formats.models.ties import check_untied, says_tied, ties_of
from adapterops.formats.models.vocabulary import TOKEN_ROWS, is_end, is_output
from adapterops.storage.tensors import Spec, Stored

if TYPE_CHECKING:
    from adapterops.checkpoints.checkpoint import Rows
    from adapterops.updates.survival import Block

Config = Mapping[str, Any] | None


def token_rows(adapter: Adapter, layout: Mapping[str, Spec], config: Config, joint: bool) -> dict[str, tuple[str, str]]:
    """Tensor of which rows are replaced, or that is new → the one of the base that it starts as, and the rows by their
    name in the adapter.

    Args:
        layout: the base, with the shapes that full tensors give it.
        joint: input and output embedding stay one weight; then the rows of one are those of the other.

    Raises:
        IncompatibleError: a tensor is not in the base, has another width, or has fewer rows.
        UnsupportedError: the same tensors have updates; or they are tied to others, and it is not known to which.
    """
    found: dict[str, tuple[str, str]] = {}
    tied = says_tied(config or {}) is not False
    missing = {canonical(end): (end, source) for end, source in ties_of(layout, config).missing.items()}
    for full, indices in _there(adapter).items():
        weight = full.removesuffix(TOKEN_ROWS) + WEIGHT
        _check_single(adapter, weight, tied)
        names = namesakes([weight], layout, loading(config).renamed)[weight]
        if joint and not names and (is_output(weight) or _repeats(adapter, missing.get(canonical(weight)), indices)):
            continue
        end, source = (names[0], names[0]) if len(names) == 1 else missing.get(canonical(weight), (weight, None))
        start = None if len(names) > 1 else source
        shape, there = adapter.full[full].spec.shape, layout[start].shape if start else ()
        if start is None or len(shape) != 2 or shape[1:] != there[1:] or max(indices) >= there[0]:
            raise IncompatibleError(
                f"has rows {list(shape)} of which the last is {max(indices)}, and the base has {list(there) or 'nothing'} there",
                path=name(adapter),
                tensor=weight,
                hint="give the base that the adapter was trained on, with a vocabulary of that size",
                code="E-NAMES",
            )
        found[end] = start, full
    if not joint:
        check_untied({tensor: layout[start] for tensor, (start, _) in found.items()}, layout, config)
    return found


def makes_two_weights(adapter: Adapter) -> bool:
    """Whether the rows that are replaced make two weights of tied embeddings: of the output alone, or other ones of each.

    PEFT keeps both ends tied where their rows are the same, or only those of the input are named.
    """
    rows = {is_output(full.removesuffix(TOKEN_ROWS) + WEIGHT): each for full, each in _there(adapter).items()}
    return True in rows and rows.get(False) != rows[True]


def _there(adapter: Adapter) -> dict[str, tuple[int, ...]]:
    return {full: indices for full, indices in adapter.config.tokens.items() if full in adapter.full}


def _repeats(adapter: Adapter, tie: tuple[str, str] | None, indices: tuple[int, ...]) -> bool:
    """Whether the rows of what is tied to another tensor are those of that one: PEFT saves them for each.

    Raises:
        UnsupportedError: the adapter has other rows of that, or none.
    """
    if tie is None:
        return False
    end, source = tie
    rows = {canonical(full.removesuffix(TOKEN_ROWS)): each for full, each in _there(adapter).items()}
    if rows.get(canonical(source.removesuffix(WEIGHT))) != indices:
        raise UnsupportedError(
            f"has rows that are replaced, and those of {source}, which the base ties it to, are not the same",
            path=name(adapter),
            tensor=end,
            hint="merge it with PEFT",
        )
    return True


def _check_single(adapter: Adapter, weight: str, tied: bool) -> None:
    ends = [module for module in adapter.layout if is_end(module + WEIGHT)] if tied else []
    if ends or weight.removesuffix(WEIGHT) in adapter.layout:
        raise UnsupportedError(
            "has rows that are replaced and an update"
            if not ends
            else f"has rows that are replaced, and {ends[0]} an update",
            path=name(adapter),
            tensor=weight,
            hint="merge it with PEFT",
        )


def with_rows(before: Rows, indices: tuple[int, ...], stored: Stored) -> Rows:
    """The rows of a tensor, of which some are replaced."""

    def rows(begin: int, end: int) -> Block:
        from adapterops.arrays.floats import widened

        block = before(begin, end)
        inside = [place for place, index in enumerate(indices) if begin <= index < end]
        if not inside:
            return block
        values = widened(stored.file.array(stored.name), stored.spec.dtype, Scratch())[inside]
        hint = "use another checkpoint of the training"
        check_all_finite(values, hint=hint, path=stored.file.path, tensor=stored.name)
        block.values[[indices[place] - begin for place in inside]] = values
        return block

    return rows
