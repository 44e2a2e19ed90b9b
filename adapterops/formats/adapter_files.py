"""What is known of an adapter from its headers and its config."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.peft.parts import Parts
from adapterops.formats.peft.scaling import Scaling
from adapterops.storage.several import SeveralFiles
from adapterops.storage.tensors import Stored, TensorFile
from adapterops.updates.layout import Layout, widest

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
"""PEFT's names of the two files of an adapter."""


@dataclass(frozen=True)
class AdapterFiles:
    """An adapter of which the headers and the config have been read and checked, and no tensor.

    `paths` are the files it consists of, `full` are full tensors of the model by their names there. `alpha` is the
    one that was given, if it was needed. `further` are other files of weights in its folder, which are not read, and
    `tokenizer` are those of the tokenizer that it was trained with.
    Where it is in several files, `file` is all of them as one.
    `interleaved` are the modules whose rows are in another order than the model's; see `Adapter`.
    """

    file: TensorFile
    paths: tuple[Path, ...]
    config: AdapterConfig
    modules: Mapping[str, Parts]
    scalings: Mapping[str, Scaling]
    full: Mapping[str, str]
    alpha: float | None = None
    further: tuple[str, ...] = ()
    tokenizer: tuple[Path, ...] = ()
    interleaved: Mapping[str, str] = field(default_factory=dict)

    @property
    def tensors(self) -> tuple[TensorFile, ...]:
        """The files of its tensors."""
        return self.file.files if isinstance(self.file, SeveralFiles) else (self.file,)

    @cached_property
    def _holders(self) -> Mapping[str, TensorFile]:
        return {name: file for file in self.tensors for name in file.entries}

    def stored(self, name: str) -> Stored:
        """A tensor, in the file that has it."""
        return Stored(self._holders[name], name)

    @property
    def others(self) -> tuple[Path, ...]:
        """Its other files."""
        own = {file.path for file in self.tensors}
        return tuple(path for path in self.paths if path not in own)

    def layout(self, module: str) -> Layout:
        parts = self.modules[module]
        dtype = widest([self.file.entries[name].dtype for name in parts.tensors.values()])
        kind = parts.kind
        return Layout(parts.shape, parts.bound, dtype, kind.dense, kind.name, kind.reads, parts.kernel)

    def parameters(self, module: str) -> int:
        """Numbers that are stored for a module."""
        parts = self.modules[module]
        return sum(math.prod(self.file.entries[name].shape) for name in parts.tensors.values()) // parts.experts
