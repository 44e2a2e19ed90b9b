"""The format of mlx-examples' FLUX: one file of transposed factors, with the rank and the number of blocks in its header.

ΔW = (a b)ᵀ, with `lora_a` (in, r) and `lora_b` (r, out): there is no scale, and no other file. Names are those of the model's
authors, but for `layers`, which MLX puts before what is in a sequence. It is read, and not written.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapterops.arrays.dtypes import FLOATS
from adapterops.errors import AdapterOpsError, InputError, UnsupportedError, at
from adapterops.formats.adapter_files import AdapterFiles
from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.peft.parts import Parts
from adapterops.formats.peft.scaling import Scaling
from adapterops.formats.registry import FORMATS
from adapterops.regex import Regex
from adapterops.storage.place import Place
from adapterops.storage.tensors import Entry, no_numbers
from adapterops.updates.kinds import KINDS
from adapterops.updates.layout import LORA

NAME = Regex(r"(?P<module>(?:double|single)_blocks\.\d+\..+)\.(?P<role>lora_[ab])")
ROLES = {"lora_a": "lora_B", "lora_b": "lora_A"}
"""The factors are those of ΔWᵀ."""

RANK, BLOCKS = "lora_rank", "lora_blocks"
"""Entries of the header."""


class MlxFlux:
    """What flux/dreambooth.py of mlx-examples saves, and its txt2image.py loads with --adapter."""

    over = ("mlx", "comfy")

    def claims(self, place: Place) -> bool:
        try:
            file = None if place.folder else place.open(place.path)
        except AdapterOpsError:
            return False  # whoever reads it says what is wrong
        return file is not None and {RANK, BLOCKS} <= file.metadata.keys() and any(map(NAME.fullmatch, file.entries))

    def read(self, place: Place, alpha: float | None) -> AdapterFiles:
        file = place.open(place.path)
        with at(path=place.path):
            modules = _modules(file.entries)
            for module, parts in modules.items():
                if str(parts.rank) != (stated := file.metadata[RANK]):
                    raise InputError(
                        f"has rank {parts.rank}, and the header says {RANK} {stated}",
                        tensor=module,
                        hint="give the file that was saved by the training",
                        code="E-RANK",
                    )
                for name in parts.tensors.values():
                    if file.entries[name].dtype not in FLOATS:
                        raise no_numbers(file.entries[name].dtype, place.path, name)
        scalings = {module: Scaling(parts.rank or 1, parts.rank or 1) for module, parts in modules.items()}
        return AdapterFiles(file, (place.path,), AdapterConfig(format="comfy"), modules, scalings, {})


def _modules(entries: Mapping[str, Entry]) -> dict[str, Parts]:
    found: dict[str, dict[str, str]] = {}
    for name in sorted(entries):
        if (match := NAME.fullmatch(name)) is None:
            raise UnsupportedError(
                "is not the name of a LoRA tensor of mlx-examples' FLUX",
                tensor=name,
                hint="fuse it with txt2image.py --fuse-adapter",
            )
        found.setdefault(match["module"].replace(".layers.", "."), {})[ROLES[match["role"]]] = name
    return {module: _parts(module, names, entries) for module, names in found.items()}


def _parts(module: str, names: Mapping[str, str], entries: Mapping[str, Entry]) -> Parts:
    with at(tensor=module):
        for role, stored in {"lora_B": "lora_a", "lora_A": "lora_b"}.items():
            if role not in names:
                raise InputError(f"has no {stored}", hint="save the adapter again", code="E-KEY")
        a, b = (entries[names[role]].shape for role in ("lora_B", "lora_A"))
        shape, rank, bound, kernel = KINDS[LORA].measure({"lora_A": a[::-1], "lora_B": b[::-1]})
    return Parts(KINDS[LORA], names, None, shape, rank, bound, transposed=True, kernel=kernel)


FORMATS.add("mlx-flux", MlxFlux())
