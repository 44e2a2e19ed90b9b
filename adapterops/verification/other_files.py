"""The files next to the tensors of a fused model: they are the base's, and the tokenizer is the adapter's if it has one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.provenance.history import sources
from adapterops.storage.checksums import BLAKE3, file_digests

CONFIG = "config.json"
OF_CODES = {"quantize_config.json", "quant_config.json", "hf_quant_config.json"}
"""What says how the base is quantized, and goes where a model is not any more."""


def other_files(model: Checkpoint, base: Checkpoint, adapter: Adapter, *, grown: bool) -> Iterator[tuple[str, str]]:
    """Files of a model with a manifest, and what is wrong with them: one of the base that is missing, or has other bytes
    than the base's and the adapters'. What is not on this disk is left out.

    Args:
        grown: the adapter has other words than the base, so that a tokenizer next to it has to be the model's.

    Cost: these files are read once in both places.
    """
    if model.files is None or base.files is None or not (model.files.path.is_dir() and base.files.path.is_dir()):
        return
    trained: dict[str, list[Path]] = {}
    for source in sources(adapter.history):
        for path in source.tokenizer:
            trained.setdefault(path.name, []).append(path)
    one = all(_same(paths[0], other) for paths in trained.values() for other in paths[1:])
    before = {path.relative_to(base.files.path).as_posix(): path for path in base.files.others}
    for name in sorted({*before, *(trained if one and grown else ())} - {CONFIG}):
        path, allowed = model.files.path / name, trained.get(name, []) if one else []
        known = [*([] if grown and allowed else [before[name]] if name in before else []), *allowed]
        if not all(each.is_file() for each in known):
            continue
        if not path.is_file():
            if name not in OF_CODES or model.schemes == base.schemes:
                yield name, f"is missing, and {known[0]} is there"
        elif not any(_same(path, each) for each in known):
            yield name, f"is not the bytes of {' or '.join(map(str, known))}"


def _same(one: Path, other: Path) -> bool:
    if not (one.is_file() and other.is_file()):
        return False
    sizes = {path.stat().st_size for path in (one, other)}
    return len(sizes) == 1 and file_digests(one, BLAKE3) == file_digests(other, BLAKE3)
