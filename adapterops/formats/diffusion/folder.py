"""The format of image and video adapters: one safetensors file, whose names and header say all."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from adapterops.arrays.dtypes import FLOATS
from adapterops.errors import AdapterOpsError, AdapterWarning, InputError, UnsupportedError, at
from adapterops.formats.adapter_files import CONFIG, AdapterFiles
from adapterops.formats.adapter_files import WEIGHTS as PEFT_WEIGHTS
from adapterops.formats.diffusion.flat import flat
from adapterops.formats.diffusion.scales import scaling_of_each
from adapterops.formats.diffusion.spellings import UNDERSCORED, is_own, parse
from adapterops.formats.peft.config import AdapterConfig, Scaling
from adapterops.formats.peft.keys import Parts, parts_of
from adapterops.formats.registry import FORMATS, Arrangement
from adapterops.storage.place import Place
from adapterops.storage.safetensors import Entry, Spec, Stored, TensorFile, no_numbers
from adapterops.updates.layout import Layout, widest

if TYPE_CHECKING:
    from adapterops.formats.registry import Factors
    from adapterops.updates.protocol import Array

WRITTEN = "lora.safetensors"
"""What is written."""

DIFFUSERS = "pytorch_lora_weights.safetensors"
"""What diffusers calls the file in a folder."""

TEXT = ("1", "2", "3")
"""Parts of a pipeline that are text encoders."""

SPLIT = {"qkv": 3, "linear1": 4}
"""How many parts kohya trains of a joined weight with split_qkv, by the end of its name."""


class Diffusion:
    """What kohya, LyCORIS, diffusers, ai-toolkit, musubi, SimpleTuner and others save for image and video models."""

    def claims(self, place: Place) -> bool:
        try:
            weights = _weights(place)
            return weights is not None and is_own(place.open(weights).entries)
        except AdapterOpsError:
            return False  # whoever reads it says what is wrong

    def read(self, place: Place, alpha: float | None) -> AdapterFiles:
        weights = _weights(place)
        assert weights is not None
        file = place.open(weights)
        with at(path=weights):
            modules = _modules(file.entries)
            for parts in modules.values():
                for name in parts.tensors.values():
                    if file.entries[name].dtype not in FLOATS:
                        raise no_numbers(file.entries[name].dtype, weights, name)
            known = scaling_of_each(file, modules, alpha)
            _warn_of_split(file, modules, known)
        return AdapterFiles(file, (weights,), AdapterConfig(), modules, known, {}, alpha)

    def arranged(
        self, layout: Mapping[str, Layout], config: AdapterConfig, full: Mapping[str, Stored], dtype: str | None
    ) -> Arrangement:
        """kohya's names: lora_down, lora_up and an alpha that is the rank, so that the scale is 1."""
        for tensor in full:
            raise UnsupportedError(
                "is a full tensor, which is not written for image models",
                tensor=tensor,
                hint="fuse the adapter into its base",
            )
        dtypes = {module: dtype or widest([each.dtype]) for module, each in layout.items()}
        tensors = {}
        for module, each in layout.items():
            out, kernel = each.shape[0], each.kernel or each.shape[1:]
            ones = (1,) * (len(kernel) - 1)
            tensors[_key(module, "lora_down.weight")] = Spec(dtypes[module], (each.rank, *kernel))
            tensors[_key(module, "lora_up.weight")] = Spec(dtypes[module], (out, each.rank, *ones))
            tensors[_key(module, "alpha")] = Spec(dtypes[module], (1,))

        def joined(module: str, factors: Mapping[str, Factors]) -> tuple[dict[str, Array], int]:
            import numpy as np

            A, B = factors[module]
            rank, kernel = len(A), layout[module].kernel
            if kernel:
                A, B = A.reshape(rank, *kernel), B.reshape(*B.shape, *(1,) * (len(kernel) - 1))
            alpha = np.full(1, rank, "float32")
            return {
                _key(module, "lora_down.weight"): A,
                _key(module, "lora_up.weight"): B,
                _key(module, "alpha"): alpha,
            }, rank

        return Arrangement(
            WRITTEN, {module: [module] for module in layout}, dtypes, tensors, {}, joined, lambda ranks: {}
        )


def _weights(place: Place) -> Path | None:
    if not place.folder:
        return place.path
    if any(place.has(place.path / name) for name in (CONFIG, PEFT_WEIGHTS)):
        return None
    return next((place.path / name for name in (DIFFUSERS, WRITTEN) if place.has(place.path / name)), None)


def _modules(entries: Mapping[str, Entry]) -> dict[str, Parts]:
    found: dict[str, dict[str, str]] = {}
    for name in sorted(entries):
        module, role = parse(name)
        roles = found.setdefault(module, {})
        if role in roles:
            raise InputError(
                f"is the same module's {role} as {roles[role]}",
                tensor=name,
                hint="keep one of the two, the one that was trained",
                code="E-KEY",
            )
        roles[role] = name
    alone = [module for module, roles in found.items() if roles.keys() == {"alpha"}]
    for module in alone:
        raise InputError("has an alpha and no factors", tensor=module, hint="save the adapter again", code="E-KEY")
    return {module: parts_of(module, roles, entries) for module, roles in sorted(found.items())}


def _warn_of_split(file: TensorFile, modules: Mapping[str, Parts], known: Mapping[str, Scaling]) -> None:
    """Warn where kohya trained the parts of a joined weight by themselves: every loader reads them weaker than that."""
    try:
        options = json.loads(file.metadata.get("ss_network_args", "{}"))
    except ValueError:
        return
    if not isinstance(options, dict) or str(options.get("split_qkv")).lower() != "true":
        return
    parts = {module: count for module in modules for end, count in SPLIT.items() if module.endswith(end)}
    if parts:
        shown = " and ".join(f"1/{count}" for count in sorted(set(parts.values())))
        warnings.warn(
            f"{file.path.name}: trained with split_qkv, whose alpha is divided by the rank of all parts: the scale that is"
            f" stored, and that every loader takes, is {shown} of the one it was trained with ({len(parts)} modules,"
            f" such as {next(iter(parts))})",
            AdapterWarning,
            stacklevel=2,
        )


def _key(module: str, end: str) -> str:
    """The name of a tensor; a module with dots is one of the denoiser, where nothing else says which.

    >>> _key("blocks.0.attn.q", "alpha"), _key("lora_te1_text_model_x", "alpha")
    ('lora_unet_blocks_0_attn_q.alpha', 'lora_te1_text_model_x.alpha')
    """
    if "." not in module and re.match(UNDERSCORED, module):
        return f"{module}.{end}"
    key, part = flat(module)
    return f"lora_{'te' + part if part in TEXT else 'unet'}_{key}.{end}"


FORMATS.add("kohya", Diffusion())
