"""What a checkpoint is saved as: the dtype of its tensors, and the files they are divided into."""

from __future__ import annotations

from dataclasses import replace

from adapterops.arrays.dtypes import FLOATS
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import OptionError, UnsupportedError
from adapterops.formats.models.weight_files import shard_names
from adapterops.provenance.history import Step


def check_dtype(dtype: str) -> None:
    """Raise OptionError for a name that is not one of safetensors' for floats."""
    if dtype not in FLOATS:
        raise OptionError(f"the dtype must be one of {', '.join(FLOATS)}, got {dtype!r}")


def cast(checkpoint: Checkpoint, dtype: str) -> Checkpoint:
    """The checkpoint with every tensor of floats in `dtype`, each number rounded once; those in a scheme keep it."""
    check_dtype(dtype)
    layout = {
        name: spec._replace(dtype=dtype) if spec.dtype in FLOATS and name not in checkpoint.schemes else spec
        for name, spec in checkpoint.layout.items()
    }
    keys = {name: FLOATS[dtype] for name in ("dtype", "torch_dtype") if name in (checkpoint.config or {})}
    config = None if checkpoint.config is None else {**checkpoint.config, **keys}
    return replace(
        checkpoint, layout=layout, config=config, history=Step("cast", {"dtype": dtype}, (checkpoint.history,))
    )


def sharded(checkpoint: Checkpoint, most: int) -> Checkpoint:
    """The checkpoint divided into files of at most `most` bytes of tensors, or one tensor.

    Raises:
        UnsupportedError: it is a pipeline, or a GGUF model.
    """
    checkpoint.check_one("divided again")
    if checkpoint.gguf:
        raise UnsupportedError("a GGUF model is written in the files that it is read from", hint="leave the size out")
    parts: list[list[str]] = []
    size = 0
    for shard in checkpoint.shards.values():
        for name in shard:
            size += checkpoint.bytes(name)
            if not parts or size > most:
                parts.append([])
                size = checkpoint.bytes(name)
            parts[-1].append(name)
    return replace(checkpoint, shards=dict(zip(shard_names(len(parts)), parts, strict=True)))
