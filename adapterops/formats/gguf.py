"""llama.cpp's format: a GGUF file with one alpha for all, `blk.0.attn_q.weight.lora_a` (r, in) and `.lora_b` (out, r).

ΔW = alpha / r · B A, with the rank r of each tensor; 1 · B A where alpha is 0 or not there. Of architectures that
llama.cpp rotates by neighbouring rows, those of q and k are in an order that depends on the number of heads. All experts of
a layer are in one pair (experts, r, in) and (experts, out, r); `token_embd.weight.lora_a` is (words, r).

Source: convert_lora_to_gguf.py and llama-adapter.cpp of llama.cpp.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterops.arrays.dtypes import WIDE
from adapterops.errors import AdapterWarning, IncompatibleError, InputError, UnsupportedError, at
from adapterops.formats.adapter_files import AdapterFiles
from adapterops.formats.diffusion.spellings import check_language
from adapterops.formats.gguf_experts import experts_in, parts_in
from adapterops.formats.gguf_parts import PART, first_files, opened, opened_parts, part_paths
from adapterops.formats.gguf_written import check_held, groups, note, written_for
from adapterops.formats.llama_cpp import (
    ADAPTER,
    ARCHITECTURES,
    CONSTANTS,
    EMBEDDING,
    ENDS,
    HEAD,
    HEADS,
    INTERLEAVED,
    QUERY,
    SEVERAL,
    STACKED,
    architecture_of,
)
from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.peft.parts import Parts
from adapterops.formats.peft.scaling import Scaling
from adapterops.formats.registry import FORMATS, Arrangement
from adapterops.regex import Regex
from adapterops.storage.gguf import SUFFIX, GgufFile
from adapterops.storage.place import Place
from adapterops.storage.several import SeveralFiles
from adapterops.storage.tensors import Stored, TensorFile
from adapterops.updates.layout import Layout

if TYPE_CHECKING:
    from adapterops.formats.registry import Factors
    from adapterops.updates.protocol import Array

NAME = Regex(r"(?:blk\.(?P<layer>\d+)\.)?(?P<tensor>[a-z0-9_]+)\.weight\.(?P<role>lora_[ab])")
ROLES = {"lora_a": "lora_A", "lora_b": "lora_B"}

TRAINED = "ask for the adapter in PEFT's format, which it was converted from"


class Gguf:
    """What convert_lora_to_gguf.py of llama.cpp writes, and llama-server --lora loads."""

    file = ADAPTER
    dtypes = ("F32", "F16", "BF16", WIDE)

    def claims(self, place: Place) -> bool:
        return bool(_first(place)) if place.folder else place.path.suffix == SUFFIX

    def read(self, place: Place, alpha: float | None) -> AdapterFiles:
        paths = part_paths(place, _first(place)[0] if place.folder else place.path)
        files = opened_parts(place, paths)
        with at(path=paths[0]):
            architecture = _architecture(files[0].fields)
            stated = _alpha(files[0].fields)
        for each in files:
            with at(path=each.path):
                _check_numbers(each)
        file = files[0] if len(files) == 1 else SeveralFiles(files)
        with at(path=paths[0]):
            modules, interleaved = _modules(file, architecture)
            if not modules:
                raise InputError("holds no LoRA", hint=TRAINED, code="E-KEY")
        ranks = {module: parts.rank or parts.bound for module, parts in modules.items()}
        scalings = {module: Scaling(stated or rank, rank) for module, rank in ranks.items()}
        embeddings = frozenset(module for module, parts in modules.items() if parts.kind.embedding)
        config = AdapterConfig(architecture=architecture, embeddings=embeddings)
        return AdapterFiles(file, tuple(paths), config, modules, scalings, {}, interleaved=interleaved)

    def arranged(
        self, layout: Mapping[str, Layout], config: AdapterConfig, full: Mapping[str, Stored], dtype: str | None
    ) -> Arrangement:
        """One rank for all modules, which is alpha: factors of fewer dimensions are filled up with zeros. The scale is 1. In
        Q8_0, what has no rows of whole blocks is stored in F16, as llama.cpp's converter does, and so is an embedding.
        """
        check_language(layout, "llama.cpp")
        model = config.model
        if model is None:
            raise UnsupportedError(
                "a GGUF file depends on the model: on its names, and on how many attention heads it has",
                hint="name the model with --base",
            )
        architecture = written_for(model)
        check_held(layout, config, full)
        found = groups(layout, architecture, model, dtype)
        heads = {
            module: heads_of(module, each.shape[0], HEADS[each.name.inner], model)
            for module, each in found.items()
            if architecture in INTERLEAVED and each.name.inner in HEADS
        }
        rank = next(iter(found.values())).rank

        def joined(group: str, factors: Mapping[str, Factors]) -> tuple[dict[str, Array], int]:
            if group in heads:
                factors = {module: (A, interleaved(B, heads[group])) for module, (A, B) in factors.items()}
            return found[group].joined(factors), rank

        fields: dict[str, str | float] = {
            "general.architecture": architecture,
            "general.type": "adapter",
            "adapter.type": "lora",
            "adapter.lora.alpha": float(rank),
        }
        return Arrangement(
            ADAPTER,
            {group: list(each.experts) or [group] for group, each in found.items()},
            {group: each.dtypes[each.embedding] for group, each in found.items()},
            {key: spec for each in found.values() for key, spec in each.specs().items()},
            {},
            joined,
            lambda ranks: {},
            fields,
            up={group: each.dtypes[not each.embedding] for group, each in found.items()},
            note=note(found) if dtype == WIDE else None,
        )


def _first(place: Place) -> list[Path]:
    """The file of an adapter in a folder: of one in parts the first, where there is no other in parts."""
    if place.has(place.path / ADAPTER):
        return [place.path / ADAPTER]
    parts = [path for path in first_files(place) if PART.fullmatch(path.name)]
    return (
        [path for path in parts if opened(place, path).fields.get("general.type") == "adapter"]
        if len(parts) == 1
        else []
    )


def interleaved(B: Array, heads: int) -> Array:
    """Rows (head, half, row of a half) as rows (head, row of a half, half).

    >>> import numpy as np
    >>> interleaved(np.arange(8.0)[:, None], 2).ravel().tolist()
    [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
    """
    rows, rank = B.shape
    return B.reshape(heads, 2, rows // heads // 2, rank).swapaxes(1, 2).reshape(rows, rank)


def _architecture(fields: Mapping[str, Any]) -> str:
    """The architecture of the model that an adapter of LoRA is for."""
    kind = fields.get("general.type", "model")
    if kind != "adapter":
        raise UnsupportedError(
            f"general.type is {kind!r}, where an adapter is expected",
            hint="name the model before the adapters, or with --base",
        )
    if fields.get("adapter.type") != "lora":
        raise UnsupportedError(
            f"adapter.type is {fields.get('adapter.type')!r}, and only lora is handled", hint=TRAINED
        )
    if "adapter.alora.invocation_tokens" in fields:
        raise UnsupportedError(
            "is an aLoRA, which is active only after certain tokens, and cannot be added",
            hint="load it with llama.cpp, next to its base",
        )
    found = fields.get("general.architecture")
    if not isinstance(found, str) or found not in ARCHITECTURES:
        raise UnsupportedError(
            f"is for the architecture {found!r}, and the names of {', '.join(ARCHITECTURES)} are known", hint=TRAINED
        )
    return found


def check_architecture(architecture: str, config: Mapping[str, Any]) -> None:
    """Raise IncompatibleError where config.json of a base is that of a model of another architecture, as llama.cpp does."""
    base = architecture_of(config)
    if base in ARCHITECTURES and base != architecture:
        raise IncompatibleError(
            f"is for the architecture {architecture!r}, and the base is of the type {config['model_type']!r}, "
            f"which llama.cpp has as {base!r}",
            hint="give the base that the adapter was trained on",
            code="E-BASE",
        )


def _check_numbers(file: GgufFile) -> None:
    """Raise UnsupportedError for factors in blocks that are not read as numbers."""
    for name, kind in file.blocks.items():
        if kind.name != WIDE:
            raise UnsupportedError(
                f"is stored in {kind.name}, and of an adapter only F32, F16, BF16 and {WIDE} are read",
                tensor=name,
                hint=TRAINED,
            )


def _without_constants(file: TensorFile) -> set[str]:
    """The names of tensors, but for those of constants of the model, which are no LoRA.

    Warns:
        AdapterWarning: there are some.
    """
    found = sorted(file.entries.keys() & set(CONSTANTS))
    if found:
        warnings.warn(
            f"{file.path.name}: {', '.join(found)} is left out: a constant of the model, which early converters put into adapters, "
            "and with which llama.cpp loads none",
            AdapterWarning,
            stacklevel=2,
        )
    return file.entries.keys() - found


def _modules(file: TensorFile, architecture: str) -> tuple[dict[str, Parts], dict[str, str]]:
    """The modules in the tensors, and those whose rows are in another order."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    interleaved, words = {}, set()
    for name in sorted(_without_constants(file)):
        match = NAME.fullmatch(name)
        names = _named(match["layer"], match["tensor"], architecture) if match else ()
        if match is None or not names:
            raise UnsupportedError(
                f"is not the name of a LoRA of {architecture} that is known here", tensor=name, hint=TRAINED
            )
        found.setdefault(names, {})[ROLES[match["role"]]] = name
        if architecture in INTERLEAVED and match["tensor"] in HEADS:
            interleaved[names[0]] = HEADS[match["tensor"]]
        if match["tensor"] == EMBEDDING:
            words.add(names[0])
    modules: dict[str, Parts] = {}
    for names, roles in found.items():
        several = SEVERAL in names[0]
        own = (
            experts_in(names, roles, file.entries)
            if several
            else {names[0]: parts_in(names[0], roles, file.entries, names[0] in words)}
        )
        for module in own.keys() & modules.keys():
            raise InputError("is in two tensors", tensor=module, hint=TRAINED, code="E-KEY")
        modules |= own
    return dict(sorted(modules.items())), interleaved


def _named(layer: str | None, tensor: str, architecture: str) -> tuple[str, ...]:
    """The modules in a tensor, with `SEVERAL` for the number of an expert."""
    if layer is None:
        return (ENDS[tensor],) if tensor in (EMBEDDING, HEAD) else ()
    above, one = f"model.layers.{int(layer)}.", ARCHITECTURES[architecture]
    modules = STACKED.get(architecture, {}).get(tensor) or tuple(one[each] for each in [tensor] if each in one)
    return tuple(above + module for module in modules)


def _alpha(fields: Mapping[str, Any]) -> float | None:
    """The numerator of the scale; None where the scale is 1."""
    value = fields.get("adapter.lora.alpha", 0.0)
    if not isinstance(value, float) or not math.isfinite(value):
        raise InputError(f"adapter.lora.alpha is {value!r}, expected a number in float32", hint=TRAINED, code="E-ALPHA")
    return value or None


def heads_of(module: str, rows: int, field: str, config: Mapping[str, Any]) -> int:
    """How many attention heads the rows of a module are of, by config.json of the base.

    Raises:
        IncompatibleError: it does not say it, or the rows are not as many as these have.
    """
    inner: Mapping[str, Any] = next(
        (config[each] for each in ("text_config", "llm_config") if isinstance(config.get(each), Mapping)), {}
    )
    fields = (field, QUERY)  # without key-value heads of their own, there are as many as of queries
    found = next((each[one] for one in fields for each in (config, inner) if each.get(one) is not None), None)
    if type(found) is not int or found < 1 or rows % (2 * found):
        fact = f"says {found!r}" if found is not None else "does not say it"
        raise IncompatibleError(
            f"has {rows} rows in llama.cpp's order, which depends on {field}, and config.json of the base {fact}",
            tensor=module,
            hint="give the base that the adapter was trained on, with its config.json",
            code="E-HEADS",
        )
    return found


FORMATS.add("gguf", Gguf())
