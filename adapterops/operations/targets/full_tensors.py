"""The full tensors of an adapter (PEFT's modules_to_save, and biases), and the tensors of a base that they replace.

Those of a vocabulary may have more rows, or fewer, than the base's: then all of its tensors have to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import name
from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.formats.models.architectures import CODERS, WEIGHT
from adapterops.formats.models.classifiers import TASKS, classifier, is_head, is_of_head
from adapterops.formats.models.loading import loading
from adapterops.formats.models.naming import canonical, namesakes
from adapterops.formats.models.ties import Ties, check_untied, says_tied, ties_of
from adapterops.formats.models.vocabulary import (
    BIAS,
    input_of,
    is_buffer,
    is_end,
    is_input,
    is_output,
    made_one,
)
from adapterops.operations.targets.classifiers import same_head
from adapterops.operations.targets.token_rows import makes_two_weights
from adapterops.operations.targets.whole_experts import rows_of_experts
from adapterops.storage.tensors import Spec

Layout = Mapping[str, Spec]
Config = Mapping[str, Any] | None
Replaced = dict[str, tuple[str | None, str]]


def counterparts(adapter: Adapter, layout: Layout, config: Config) -> dict[str, tuple[str, str | None]]:
    """Full tensor of an adapter → the tensor whose place it takes, and the one of the base that has been that until
    then; None for the head of a classifier, where the base is made into one. Without those of `rows_of_experts`.

    Where the base has no tensor of its own for one, that is the one that it is tied to; None if there is none. Where what
    the base ties stays one weight, it takes the place of that one; so does a bias that is not announced.

    Raises:
        IncompatibleError: a full tensor has no counterpart, or several, or another shape.
    """
    ties = ties_of(layout, config)
    missing = {canonical(end): (end, source) for end, source in ties.missing.items()}
    joint, known = one_weight(adapter, layout, config), classifier(config, adapter.config.fields) is not None
    found: dict[str, tuple[str, str | None]] = {}
    divided = {full for full, _ in rows_of_experts(adapter, layout, config).values()}
    whole = [full for full in adapter.full if full not in adapter.config.tokens and full not in divided]
    for full, alike in namesakes(whole, layout, loading(config).renamed).items():
        names = same_head(full, alike)
        shape = adapter.full[full].spec.shape
        follows = joint or (full.endswith(BIAS) and full in adapter.config.unannounced)
        if not names and follows and (other := _shared(full, layout, ties)):
            found[full] = other, other
        elif not names and canonical(full) in missing:
            found[full] = missing[canonical(full)]
        elif not names and ((is_of_head(full) and known) or is_output(full)):
            found[full] = full, None
        elif len(names) == 1 and (layout[names[0]].shape == shape or _resizes(shape, names[0], layout, known)):
            found[full] = names[0], names[0]
        else:
            there = ", ".join(f"{name} {list(layout[name].shape)}" for name in names) or "nothing"
            task = not names and str(adapter.config.fields.get("task_type")) in TASKS
            raise _misfit(
                f"is a full tensor of shape {list(shape)}, and the base has {there} of that name", full, head=task
            )
    return found


def one_weight(adapter: Adapter, layout: Layout, config: Config) -> bool:
    """Whether what the base ties to its input embedding stays one weight: the adapter has no weight of its own for any.

    PEFT copies what is not announced into the tensor that they share.
    """
    if says_tied(config or {}) is False:
        return False
    known = loading(config).name
    ends = {canonical(each) for end in ties_of(layout, config).ends for each in (end, known(end))}
    own = [full for full in adapter.full if full not in {*adapter.config.unannounced, *adapter.config.tokens}]
    own = [full for full in own if full.endswith(WEIGHT)] + [f"{module}{WEIGHT}" for module in adapter.layout]
    return not any(_end(name) or canonical(name) in ends for name in own) and not makes_two_weights(adapter)


def replacements(adapter: Adapter, layout: Layout, config: Config) -> Replaced:
    """Tensor that is replaced, or new → the one of the base that has been that until then, and the full tensor.

    Raises:
        IncompatibleError: a full tensor has no counterpart, or several, or another shape.
        IncompatibleError: an unannounced one is one end of tied embeddings, alone.
        IncompatibleError: it has another number of words than what else the base has for each of them.
        UnsupportedError: an embedding is tied to others of the base, and it is not known to which, or no config can say
            that it is not.
    """
    if not adapter.full:
        return {}
    found: Replaced = {}
    places, ties = counterparts(adapter, layout, config), ties_of(layout, config)
    if not one_weight(adapter, layout, config):
        check_untied({tensor: adapter.full[full].spec for full, (tensor, _) in places.items()}, layout, config)
    if unread := _unread(places, layout):
        found |= unread
    for full in sorted(places, key=lambda each: (is_output(each), canonical(each) != canonical(places[each][0]))):
        tensor, start = places[full]
        if start is None and is_head(full):
            found[tensor] = None, full
            continue
        wanted, shape = layout[start].shape if start else None, adapter.full[full].spec.shape
        if start is None or (
            wanted != shape and start not in unread and not _grows_with(start, shape, places, adapter)
        ):
            there = f"the embedding in its place is {list(wanted)}" if wanted else "the base has no output embedding"
            raise _misfit(f"is a full tensor of shape {list(shape)}, and {there}", tensor, name(adapter))
        found.setdefault(tensor, (start, full))
    if rows := resized(adapter, found, layout):
        if (config or {}).get("share_encoder_decoder_embeddings") is False:
            raise UnsupportedError(
                f"changes a vocabulary from {rows[0]} to {rows[1]} words, and encoder and decoder of the base have one each",
                path=name(adapter),
                hint="merge it into its base with PEFT: merge_and_unload",
            )
        tied = says_tied(config or {})
        only_input = not any(is_output(tensor) and tensor not in found for tensor in layout)
        _all_resized(rows, found, layout, adapter, only_input if tied is None else tied)
        _none_kept(rows, found, adapter, ties)
    else:
        _check_announced(adapter, places, ties)
    return found


def _unread(places: Mapping[str, tuple[str, str | None]], layout: Layout) -> Replaced:
    """The embedding that an encoder and a decoder share, where an adapter has one of each and not that: nothing reads it
    then, and it has as many rows as the encoder's.
    """
    taken = {tensor: full for full, (tensor, _) in places.items()}
    found: Replaced = {}
    for tensor in layout.keys() - taken.keys():
        above, _, last = tensor.removesuffix(WEIGHT).rpartition(".")
        inner = [f"{above}.{part}.embed_tokens{WEIGHT}".removeprefix(".") for part in CODERS]
        if last == "shared" and all(each in taken for each in inner):
            found[tensor] = tensor, taken[inner[0]]
    return found


def resized(adapter: Adapter, found: Replaced, layout: Layout) -> tuple[int, int] | None:
    """How many words the vocabulary of the base had, and has then, where full tensors change that.

    Raises:
        IncompatibleError: they have different numbers.
    """
    sizes = {
        tensor: (layout[start].shape[0], adapter.full[full].spec.shape[0])
        for tensor, (start, full) in found.items()
        if start and is_end(tensor) and adapter.full[full].spec.shape != layout[start].shape
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


def _all_resized(rows: tuple[int, int], found: Replaced, layout: Layout, adapter: Adapter, tied: bool) -> None:
    """Let what is tied to a resized end that was not announced follow it, and raise IncompatibleError for what keeps the
    old number of words.
    """
    before, after = rows
    saved = {tensor: full for tensor, (_, full) in found.items() if full in adapter.config.unannounced and _end(full)}
    for tensor, spec in layout.items():
        if tensor not in found and is_end(tensor) and before in spec.shape and not is_buffer(tensor):
            source = next((full for place, full in saved.items() if tied or made_one(tensor, place)), None)
            if source is None or spec.shape != (before, *adapter.full[source].spec.shape[1:]):
                raise _left(tensor, before, after, adapter)
            found[tensor] = tensor, source


def _none_kept(rows: tuple[int, int], found: Replaced, adapter: Adapter, ties: Ties) -> None:
    """Raise IncompatibleError for what was tied to a resized end, and would stay as it was before."""
    for end, source in ties.missing.items():
        if end not in found and source in found and found[source][1] not in adapter.config.unannounced:
            raise _left(end, *rows, adapter)


def _end(tensor: str) -> bool:
    return is_input(tensor) or is_output(tensor)


def _left(tensor: str, before: int, after: int, adapter: Adapter) -> IncompatibleError:
    inner = made_one(tensor, f"{tensor.partition('encoder.')[0].partition('decoder.')[0]}shared{WEIGHT}")
    saved = inner or any(_end(full) and full in adapter.config.unannounced for full in adapter.full)
    return IncompatibleError(
        f"has {before} rows in the base and is not in the adapter, whose vocabulary has {after}: what its new rows were is not known",
        path=name(adapter),
        tensor=tensor,
        hint="train again with this module in modules_to_save, too"
        if saved
        else "save the adapter again with save_embedding_layers=True, or with this module in modules_to_save",
        code="E-NAMES",
    )


def _shared(full: str, layout: Layout, ties: Ties) -> str | None:
    """The tensor of the base that a tensor, which it has not under this name, is the same as."""
    if source := {canonical(end): source for end, source in ties.missing.items()}.get(canonical(full)):
        return source
    if is_output(full):
        return None if ties.known else input_of(layout)
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


def _check_announced(adapter: Adapter, places: Mapping[str, tuple[str, str | None]], ties: Ties) -> None:
    """PEFT copies what is not announced into the tensor that all its ends share, and so changes all of them."""
    missing = {canonical(end): end for end in ties.missing}
    found = {missing.get(canonical(full), tensor): full for full, (tensor, _) in places.items()}
    for source in set(ties.missing.values()):
        ends = {source, *(end for end, other in ties.missing.items() if other == source)}
        for end in sorted(ends & found.keys()) if not ends <= found.keys() else ():
            full = found[end]
            if full in adapter.config.unannounced and full.removesuffix(WEIGHT) not in adapter.layout:
                raise IncompatibleError(
                    "is one end of embeddings that the base ties, saved without the other and not named by modules_to_save",
                    path=name(adapter),
                    tensor=full,
                    hint="name its module in modules_to_save, or save both ends",
                    code="E-NAMES",
                )


def _misfit(fact: str, tensor: str, path: str | None = None, head: bool = False) -> IncompatibleError:
    hint = "give the base that the adapter was trained on"
    if head or is_head(tensor):
        hint = "fuse it into a checkpoint of the class that it was trained on: save the base of the training as one"
    elif is_end(tensor):
        hint += ", with a vocabulary of that size"
    return IncompatibleError(fact, path=path, tensor=tensor, hint=hint, code="E-NAMES")
