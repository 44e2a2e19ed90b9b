"""GGUF models: written as the file that was read, with other numbers; or as a checkpoint of transformers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import AdapterWarning, OptionError, UnsupportedError, at
from adapterops.formats.llama_cpp import CONSTANTS
from adapterops.formats.models.gguf_settings import complete
from adapterops.formats.models.weight_files import shard_names
from adapterops.quant.ggml import Ggml
from adapterops.storage.gguf import SUFFIX
from adapterops.storage.gguf_copy import retyped
from adapterops.storage.gguf_rows import GgufRows

OTHERWISE = "--dtype bfloat16 writes a checkpoint of transformers, which llama.cpp converts"


def like(checkpoint: Checkpoint, shard: str) -> GgufRows:
    """The file that a file of a GGUF model is written like."""
    file = next(iter(checkpoint.stored[checkpoint.shards[shard][0]].parts.values())).file
    assert isinstance(file, GgufRows)
    return file


def is_file(checkpoint: Checkpoint, out: Path) -> bool:
    """Whether an output is a single file, and no folder."""
    return checkpoint.gguf and out.suffix == SUFFIX


def called(checkpoint: Checkpoint, out: Path) -> Checkpoint:
    """The checkpoint in a file of the name of the output, where that is one.

    Raises:
        OptionError: it is no GGUF model, or in several files.

    Warns:
        AdapterWarning: the output has the name of a file, and is a folder.
    """
    if out.suffix == ".safetensors":
        fact = f"{out} is a folder: its weights are in {out / next(iter(checkpoint.shards), '')}"
        warnings.warn(fact, AdapterWarning, stacklevel=2)
    if out.suffix != SUFFIX:
        return checkpoint
    if not checkpoint.gguf:
        raise OptionError(
            "ends in .gguf, and what is written is a checkpoint of transformers",
            path=out,
            hint="name a folder with -o; llama.cpp's convert_hf_to_gguf.py makes a GGUF file of it",
        )
    if len(checkpoint.shards) > 1:
        raise OptionError(
            f"is one file, and the model is in {len(checkpoint.shards)}", path=out, hint="name a folder with -o"
        )
    (names,) = checkpoint.shards.values()
    return replace(checkpoint, shards={out.name: names})


def check_fits(checkpoint: Checkpoint) -> None:
    """Raise UnsupportedError for a GGUF model that is to have a tensor which its file has not, or another shape or type, or
    whose tensors in a type that is not decoded are to change.
    """
    if not checkpoint.gguf:
        return
    for name, scheme in _blocks(checkpoint, checkpoint.changed):
        with at(path=like(checkpoint, next(iter(checkpoint.shards))).path, tensor=name):
            if checkpoint.schemes.get(name) == scheme:
                _ = scheme.kind
            scheme.check_decoded()
    for shard, names in checkpoint.shards.items():
        file = like(checkpoint, shard)
        places = file.placed(retyped(file.file, checkpoint.types)) if checkpoint.types else file.entries
        for name in names:
            with at(path=file.path, tensor=name, hint=OTHERWISE):
                if name not in file.entries:
                    raise UnsupportedError("is not in the file, and a GGUF model is written with the tensors it has")
                for _, spec in checkpoint.parts(name).values():
                    if spec != (there := places[name].spec):
                        raise UnsupportedError(
                            f"would be {spec.dtype} {list(spec.shape)}, and is {there.dtype} {list(there.shape)}; "
                            "a GGUF model is written with the tensors it has"
                        )


def _blocks(checkpoint: Checkpoint, names: Iterable[str]) -> Iterator[tuple[str, Ggml]]:
    """Those of some tensors that are stored in blocks."""
    for name in names:
        scheme = checkpoint.stored[name].scheme
        if isinstance(scheme, Ggml):
            yield name, scheme


def in_safetensors(checkpoint: Checkpoint) -> Checkpoint:
    """A GGUF model in the files of a checkpoint of transformers; any other one as it is.

    Raises:
        UnsupportedError: its config.json is not known.

    Warns:
        AdapterWarning: its tokenizer is not written.
    """
    if not checkpoint.gguf:
        return checkpoint
    assert checkpoint.files
    files = [like(checkpoint, shard).file for shard in checkpoint.shards]
    with at(path=checkpoint.files.path):
        config = complete(checkpoint.config or {}, files)
    for name, scheme in _blocks(checkpoint, checkpoint.stored):
        with at(path=checkpoint.files.path, tensor=name):
            scheme.check_decoded()
    parts = [[name for name in names if name not in CONSTANTS] for names in checkpoint.shards.values()]
    shards = dict(zip(shard_names(len(parts)), parts, strict=True))
    warnings.warn(
        f"{files[0].path}: the tokenizer is in this file alone, and is not written; "
        "AutoTokenizer.from_pretrained(FOLDER, gguf_file=NAME) reads it there",
        AdapterWarning,
        stacklevel=3,
    )
    return replace(
        checkpoint,
        shards=shards,
        layout={name: checkpoint.layout[name] for names in parts for name in names},
        stored={name: checkpoint.stored[name] for names in parts for name in names},
        schemes={name: scheme for name, scheme in checkpoint.schemes.items() if name not in CONSTANTS},
        config=config,
        files=replace(checkpoint.files, config=None),
    )
