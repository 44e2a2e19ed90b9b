"""Tensors of GGUF models in other types than they have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.gguf import like
from adapterops.errors import IncompatibleError, OptionError
from adapterops.provenance.history import Step
from adapterops.quant.ggml import SIZES, Ggml
from adapterops.quant.ggml_blocks import KINDS
from adapterops.quant.ggml_new import NEW
from adapterops.storage.gguf_header import DTYPES
from adapterops.storage.gguf_rows import GgufRows

TYPES = (*NEW, *DTYPES.values())
"""What tensors can be written in."""

ROUTER = "ffn_gate_inp"
"""What chooses experts stays in its type, as llama-quantize leaves it."""


def typed(given: str) -> tuple[re.Pattern[str] | None, str]:
    """A pattern of names and a type, of PATTERN=TYPE or TYPE.

    Raises:
        OptionError: it is neither.

    >>> typed("ffn_down=q8_0")
    (re.compile('ffn_down'), 'Q8_0')
    """
    pattern, _, kind = given.rpartition("=")
    if kind.upper() not in TYPES:
        raise OptionError(
            f"--tensor-type {given[:80]}: the type must be one of {', '.join(TYPES)}, got {kind[:80]!r}",
            hint="such as --tensor-type Q8_0, or --tensor-type ffn_down=Q8_0",
        )
    try:
        return re.compile(pattern) if "=" in given else None, kind.upper()
    except re.error as error:
        raise OptionError(
            f"--tensor-type {given[:80]}: {pattern[:80]!r} is not a regular expression: {error}"
        ) from None


def tensor_types(checkpoint: Checkpoint, given: Sequence[str]) -> Checkpoint:
    """A GGUF model with some of its tensors in other types; the first of `given` that a tensor falls under decides.

    Those of more than one dimension, routers not among them, are meant, and of experts all in the tensor. One with an
    update is rounded as the checkpoint says, and every other one to nearest.

    Args:
        given: PATTERN=TYPE, where a regular expression is searched in llama.cpp's name of a tensor, as
            `llama-quantize --tensor-type` does; or TYPE alone: adapted tensors whose own type takes no other numbers.

    Raises:
        OptionError: a type or a pattern is none, or no tensor falls under one.
        IncompatibleError: it is no GGUF model, or rows are no whole blocks.
    """
    rules = [(each, *typed(each)) for each in given]
    if not rules:
        return checkpoint
    path = checkpoint.files.path if checkpoint.files else None
    if not checkpoint.gguf:
        raise IncompatibleError(
            "is not a GGUF model, and --tensor-type is for their tensors", path=path, hint="leave it out"
        )
    files = {name: like(checkpoint, shard) for shard, names in checkpoint.shards.items() for name in names}
    unwritten = {
        _stored(files[name], name) for name in checkpoint.edits if name in files and _only_read(checkpoint, name)
    }
    types: dict[str, str] = {}
    used = set()
    for file in dict.fromkeys(files.values()):
        for stored in dict.fromkeys(span.stored for span in file.spans.values()):
            rule = next((rule for rule in rules if _meant(file, stored, rule[1], unwritten)), None)
            if rule:
                used.add(rule[0])
                types[stored] = rule[2]
                _check_rows(file, stored, rule[2])
    for text, pattern, _ in rules:
        if text not in used:
            what = (
                "no tensor of more than one dimension has a name with it" if pattern else "no adapted tensor needs it"
            )
            way = "adapterops show MODEL -v names the tensors"
            if not pattern:
                layers = "^blk" if any(_stored(files[name], name).startswith("blk.") for name in files) else "blocks"
                way = f"all that are adapted keep their types, which take new numbers; --tensor-type '{layers}={text}' is for all layers"
            raise OptionError(f"--tensor-type {text[:80]}: {what}", path=path, hint=way)
    return _with(checkpoint, files, types)


def types_of(model: Checkpoint, base: Checkpoint) -> tuple[str, ...]:
    """What was asked for, as `tensor_types` takes it, where tensors of a GGUF model have other types than in its base."""
    files = {name: like(base, shard) for shard, names in base.shards.items() for name in names}
    found: dict[str, str] = {}
    for name, file in files.items():
        if name in file.spans and name in model.layout:
            stored, kind = _stored(file, name), _type(model, name)
            if kind != _type(base, name) and kind in TYPES and _is_matrix(file, stored) and _fits(file, stored, kind):
                found[stored] = kind
    return tuple(f"^{re.escape(stored)}$={kind}" for stored, kind in found.items())


def _type(checkpoint: Checkpoint, name: str) -> str:
    scheme = checkpoint.schemes.get(name)
    return scheme.type if isinstance(scheme, Ggml) else checkpoint.layout[name].dtype


def _with(checkpoint: Checkpoint, files: dict[str, GgufRows], types: dict[str, str]) -> Checkpoint:
    layout, schemes = dict(checkpoint.layout), dict(checkpoint.schemes)
    for name, file in files.items():
        kind = types.get(_stored(file, name)) if name in file.spans else None
        if kind is None:
            continue
        schemes.pop(name, None)
        if kind in SIZES:
            schemes[name] = Ggml(kind)
        layout[name] = layout[name]._replace(dtype=Ggml.dtype if kind in SIZES else kind)
    step = Step("tensor_types", {"types": dict(sorted(types.items()))}, (checkpoint.history,))
    return replace(checkpoint, layout=layout, schemes=schemes, types=types, history=step)


def _stored(file: GgufRows, name: str) -> str:
    return file.spans[name].stored


def _only_read(checkpoint: Checkpoint, name: str) -> bool:
    """Whether a tensor is in a type that takes no other numbers."""
    scheme = checkpoint.stored[name].scheme
    return isinstance(scheme, Ggml) and scheme.type not in KINDS


def _meant(file: GgufRows, stored: str, pattern: re.Pattern[str] | None, unwritten: set[str]) -> bool:
    if pattern is None:
        return stored in unwritten
    return _is_matrix(file, stored) and pattern.search(stored) is not None


def _is_matrix(file: GgufRows, stored: str) -> bool:
    return len(file.file.raw.entries[stored].shape) > 1 and stored.endswith(".weight") and ROUTER not in stored


def _fits(file: GgufRows, stored: str, kind: str) -> bool:
    """Whether rows are whole blocks of a type."""
    return kind not in SIZES or file.file.shape(stored)[-1] % SIZES[kind].entries == 0


def _check_rows(file: GgufRows, stored: str, kind: str) -> None:
    if not _fits(file, stored, kind):
        width = file.file.shape(stored)[-1]
        raise IncompatibleError(
            f"has rows of {width}, and {kind} has blocks of {SIZES[kind].entries}",
            path=file.path,
            tensor=stored,
            hint="give F16 for it, before the others: the first --tensor-type that fits decides",
        )
