"""The full tensors of an adapter (PEFT's modules_to_save, and biases), and the tensors of a base that they replace.

Those of a vocabulary may have more rows, or fewer, than the base's: then all of its tensors have to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterops.adapters.adapter import Adapter, name
from adapterops.errors import IncompatibleError
from adapterops.formats.architectures import HEAD, WEIGHT
from adapterops.formats.classifiers import classifier, is_head
from adapterops.formats.naming import canonical, check_untied, head_of, namesakes, ties
from adapterops.formats.vocabulary import BIAS, input_of, is_end, is_input, is_output
from adapterops.operations.token_rows import apart
from adapterops.storage.safetensors import Spec

Layout = Mapping[str, Spec]
Config = Mapping[str, Any] | None
Replaced = dict[str, tuple[str | None, str | None]]


def counterparts(adapter: Adapter, layout: Layout, config: Config) -> dict[str, tuple[str, str | None]]:
    """Full tensor of an adapter → the tensor whose place it takes, and the one of the base that has been that until
    then; None for the head of a classifier, where the base is made into one.

    Where the base has no output embedding of its own, that is the input embedding that it is tied to; None if there is
    none. Where both ends are one weight, an output embedding that the base lacks takes the place of the input embedding.

    Raises:
        IncompatibleError: a full tensor has no counterpart, or several, or another shape.
    """
    head, embedding = head_of(layout, config) or (None, None)
    joint, known = one_weight(adapter, config), classifier(config, adapter.config.fields) is not None
    found: dict[str, tuple[str, str | None]] = {}
    whole = [full for full in adapter.full if full not in adapter.config.tokens]
    for full, names in namesakes(whole, layout).items():
        shape = adapter.full[full].spec.shape
        if not names and (other := _shared(full, layout, joint)):
            found[full] = other, other
        elif not names and is_head(full) and known:
            found[full] = full, None
        elif not names and is_output(full):
            found[full] = (head or full, embedding) if canonical(full) == HEAD + WEIGHT else (full, None)
        elif len(names) == 1 and (layout[names[0]].shape == shape or _resizes(shape, names[0], layout, known)):
            found[full] = names[0], names[0]
        else:
            there = ", ".join(f"{name} {list(layout[name].shape)}" for name in names) or "nothing"
            raise _misfit(f"is a full tensor of shape {list(shape)}, and the base has {there} of that name", full)
    return found


def one_weight(adapter: Adapter, config: Config) -> bool:
    """Whether input and output embedding stay one weight: a base ties them, and the adapter has no weight of its own for
    either.

    PEFT copies what is not announced into the tensor that they share.
    """
    if ties(config or {}) is False:
        return False
    own = [full for full in adapter.full if full not in adapter.config.unannounced]
    own += [f"{module}{WEIGHT}" for module in adapter.layout]
    return not any(map(_end, own)) and not apart(adapter)


def replacements(adapter: Adapter, layout: Layout, config: Config, stated: Config = None) -> Replaced:
    """Tensor that is replaced, or new → the one of the base that has been that until then, and the full tensor, if any.

    Where a base ties its embeddings and the adapter announces the input embedding alone, the output embedding is a new
    tensor and stays what it was, without a full tensor: that is what the adapter was trained with. One that PEFT saved
    unannounced, below an update of one end alone, is what both had been.

    Args:
        stated: the config of the base, where `config` says that an adapted output embedding is a tensor of its own.

    Raises:
        IncompatibleError: a full tensor has no counterpart, or several, or another shape.
        IncompatibleError: an unannounced one is one end of tied embeddings, alone.
        IncompatibleError: it has another number of words than what else the base has for each of them.
        UnsupportedError: an embedding is tied to others of the base, and it is not known to which.
    """
    if not adapter.full:
        return {}
    found: Replaced = {}
    places = counterparts(adapter, layout, config)
    joint = one_weight(adapter, config)
    if not joint:
        check_untied(
            {tensor: adapter.full[full].spec for full, (tensor, _) in places.items()}, layout, stated or config
        )
    for full in sorted(places, key=lambda each: (is_output(each), canonical(each) != canonical(places[each][0]))):
        tensor, start = places[full]
        if start is None and is_head(full):
            found[tensor] = None, full
            continue
        wanted, shape = layout[start].shape if start else None, adapter.full[full].spec.shape
        if start is None or (wanted != shape and not _grows_with(start, shape, places, adapter)):
            there = f"the embedding in its place is {list(wanted)}" if wanted else "the base has no output embedding"
            raise _misfit(f"is a full tensor of shape {list(shape)}, and {there}", tensor, name(adapter))
        found.setdefault(tensor, (start, full))
    rows = resized(adapter, found, layout)
    head, embedding = head_of(layout, config) or (None, None)
    ends = [full for full, (tensor, _) in places.items() if tensor in (head, embedding)]
    if head and len(ends) == 1 and not rows:
        _check_announced(adapter, ends[0])
    if head and embedding in found and not joint and HEAD + WEIGHT not in map(canonical, found):
        trained = found[embedding][1]
        found[head] = embedding, trained if trained in adapter.config.unannounced else None
    if rows:
        tied = ties((stated or config) or {})
        alone = not any(is_output(tensor) and tensor not in found for tensor in layout)
        _all_resized(rows, found, layout, adapter, alone if tied is None else tied)
    return found


def resized(adapter: Adapter, found: Replaced, layout: Layout) -> tuple[int, int] | None:
    """How many words the vocabulary of the base had, and has then, where full tensors change that.

    Raises:
        IncompatibleError: they have different numbers.
    """
    sizes = {
        tensor: (layout[start].shape[0], adapter.full[full].spec.shape[0])
        for tensor, (start, full) in found.items()
        if full and start and is_end(tensor) and adapter.full[full].spec.shape != layout[start].shape
    }
    if len(set(sizes.values())) > 1:
        shown = ", ".join(f"{tensor} {before} → {after}" for tensor, (before, after) in sizes.items())
        raise IncompatibleError(
            f"has full tensors of vocabularies of different sizes: {shown}",
            path=name(adapter),
            hint="save the adapter again, from a model whose embeddings were resized by resize_token_embeddings",
            code="E-NAMES",
        )
    return next(iter(sizes.values()), None)


def _all_resized(
    rows: tuple[int, int],
    found: Replaced,
    layout: Layout,
    adapter: Adapter,
    tied: bool,
) -> None:
    """Let what is tied to a resized end that was not announced follow it, and raise IncompatibleError for what keeps the
    old number of words.
    """
    before, after = rows
    unannounced = [full for _, full in found.values() if full in adapter.config.unannounced and full and _end(full)]
    source = unannounced[0] if tied and unannounced else None
    for tensor, spec in layout.items():
        kept = tensor not in found or found[tensor][1] is None
        if kept and is_end(tensor) and before in spec.shape:
            if source is None or spec.shape != (before, *adapter.full[source].spec.shape[1:]):
                raise _left(tensor, before, after, name(adapter))
            found[tensor] = tensor, source
    for tensor, (_, full) in found.items():
        if full is None:
            raise _left(tensor, before, after, name(adapter))


def _end(tensor: str) -> bool:
    return is_input(tensor) or is_output(tensor)


def _left(tensor: str, before: int, after: int, path: str) -> IncompatibleError:
    return IncompatibleError(
        f"has {before} rows in the base and is not in the adapter, whose vocabulary has {after}: what its new rows were is not known",
        path=path,
        tensor=tensor,
        hint="save the adapter again with save_embedding_layers=True, or with this module in modules_to_save",
        code="E-NAMES",
    )


def _shared(full: str, layout: Layout, joint: bool) -> str | None:
    """The tensor of the base that a tensor, which it has not under this name, is the same as."""
    if is_output(full):
        return input_of(layout) if joint else None
    bias = full.removesuffix(f".decoder{BIAS}") + BIAS
    return bias if bias != full + BIAS and bias in layout else None


def _resizes(shape: tuple[int, ...], tensor: str, layout: Layout, labels: bool) -> bool:
    """Whether a full tensor differs from the one of the base in the size of the vocabulary alone, or where the `labels`
    may be others, in their number.
    """
    before = layout[tensor].shape
    return (
        (is_end(tensor) or (labels and is_head(tensor)))
        and len(shape) == len(before) in (1, 2)
        and shape[1:] == before[1:]
    )


def _grows_with(
    start: str, shape: tuple[int, ...], places: Mapping[str, tuple[str, str | None]], adapter: Adapter
) -> bool:
    """Whether a tensor of this shape takes the place of `start`, or of what is tied to it, together with one of its shape."""
    return any(place == start and adapter.full[full].spec.shape == shape for full, (place, _) in places.items())


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
