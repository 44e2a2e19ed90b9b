"""llama.cpp's format: a GGUF file with one alpha for all, `blk.0.attn_q.weight.lora_a` (r, in) and `.lora_b` (out, r).

ΔW = alpha / r · B A, with the rank r of each tensor; 1 · B A where alpha is 0 or not there. Of architectures that
llama.cpp rotates by neighbouring rows, those of q and k are in an order that depends on the number of heads.

Source: convert_lora_to_gguf.py and llama-adapter.cpp of llama.cpp.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterops.arrays.dtypes import WIDE
from adapterops.arrays.ggml import Q8
from adapterops.errors import IncompatibleError, InputError, UnsupportedError, at, count
from adapterops.formats.adapter_files import AdapterFiles
from adapterops.formats.diffusion.written import of_no_layer
from adapterops.formats.gguf_parts import PART, first_files, opened, opened_parts, part_paths
from adapterops.formats.llama_cpp import ADAPTER, ARCHITECTURES, HEADS, INTERLEAVED, MODEL_TYPES, QUERY
from adapterops.formats.models.ties import says_tied
from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.peft.parts import parts_of
from adapterops.formats.peft.scaling import Scaling
from adapterops.formats.registry import FORMATS, Arrangement
from adapterops.formats.stacks import padded
from adapterops.storage.gguf import SUFFIX, GgufFile
from adapterops.storage.place import Place
from adapterops.storage.several import SeveralFiles
from adapterops.storage.tensors import Spec, Stored, TensorFile
from adapterops.updates.layout import MAGNITUDE, Layout, magnitudes_of

if TYPE_CHECKING:
    from adapterops.formats.registry import Factors
    from adapterops.updates.protocol import Array

NAME = re.compile(r"(?:blk\.(?P<layer>\d+)\.)?(?P<tensor>[a-z0-9_]+)\.weight\.(?P<role>lora_[ab])")
ROLES = {"lora_a": "lora_A", "lora_b": "lora_B"}

LAYER = re.compile(r"(?:(?:model|language_model)\.)*layers\.(?P<layer>\d+)\.(?P<inner>.+)")
WITH_CONVERTER = (
    "write PEFT's format with adapterops normalize, and convert that with llama.cpp's convert_lora_to_gguf.py"
)
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
            found, interleaved = _modules(file, architecture)
            modules = {module: parts_of(module, roles, file.entries) for module, roles in sorted(found.items())}
            if not modules:
                raise InputError("holds no LoRA", hint=TRAINED, code="E-KEY")
        ranks = {module: parts.rank or parts.bound for module, parts in modules.items()}
        scalings = {module: Scaling(stated or rank, rank) for module, rank in ranks.items()}
        return AdapterFiles(file, tuple(paths), AdapterConfig(), modules, scalings, {}, interleaved=interleaved)

    def arranged(
        self, layout: Mapping[str, Layout], config: AdapterConfig, full: Mapping[str, Stored], dtype: str | None
    ) -> Arrangement:
        """One rank for all modules, which is alpha: factors of fewer dimensions are filled up with zeros. The scale is 1. In
        Q8_0, what has no rows of whole blocks is stored in F16, as llama.cpp's converter does.
        """
        model = config.model
        if model is None:
            raise UnsupportedError(
                "a GGUF file depends on the model: on its names, and on how many attention heads it has",
                hint="name the model with --base",
            )
        architecture = _written(model)
        _check_held(layout, config, full)
        names = {module: _tensor(module, architecture, model) for module in layout}
        heads = {
            module: heads_of(module, each.shape[0], HEADS[names[module][1]], model)
            for module, each in layout.items()
            if architecture in INTERLEAVED and names[module][1] in HEADS
        }
        rank = max(each.rank for each in layout.values())
        wanted = {module: dtype or ("F32" if each.dtype == "F64" else each.dtype) for module, each in layout.items()}
        dtypes = {module: _in_rows(each, layout[module].shape[1]) for module, each in wanted.items()}
        up = {module: _in_rows(each, rank) for module, each in wanted.items()}
        tensors = {
            f"{names[module][0]}.weight.{role}": _stored(kind, shape)
            for module, each in layout.items()
            for role, kind, shape in (
                ("lora_a", dtypes[module], (rank, each.shape[1])),
                ("lora_b", up[module], (each.shape[0], rank)),
            )
        }

        def joined(module: str, factors: Mapping[str, Factors]) -> tuple[dict[str, Array], int]:
            from adapterops.arrays import q8

            A, B = padded(*factors[module], rank)
            B = interleaved(B, heads[module]) if module in heads else B
            A, B = (q8.encode(each) if kind == WIDE else each for kind, each in ((dtypes[module], A), (up[module], B)))
            return {f"{names[module][0]}.weight.lora_a": A, f"{names[module][0]}.weight.lora_b": B}, rank

        fields: dict[str, str | float] = {
            "general.architecture": architecture,
            "general.type": "adapter",
            "adapter.type": "lora",
            "adapter.lora.alpha": float(rank),
        }
        groups = {module: [module] for module in layout}
        note = _note([*dtypes.values(), *up.values()]) if dtype == WIDE else None
        return Arrangement(ADAPTER, groups, dtypes, tensors, {}, joined, lambda ranks: {}, fields, up=up, note=note)


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


def _in_rows(dtype: str, width: int) -> str:
    """The dtype of a tensor whose rows have so many numbers: Q8_0 has whole blocks, and the rest is stored in F16."""
    return "F16" if dtype == WIDE and width % Q8.entries else dtype


def _note(dtypes: Sequence[str]) -> str | None:
    """How many tensors are not in Q8_0, where that is asked for."""
    narrow = sum(each != WIDE for each in dtypes)
    said = f"{narrow} of {count(len(dtypes), 'tensor')} in float16: their rows are not whole blocks of {Q8.entries} numbers"
    return said if narrow else None


def _stored(dtype: str, shape: tuple[int, int]) -> Spec:
    """What is written: blocks are rows of bytes."""
    return Spec("U8", (shape[0], shape[1] // Q8.entries * Q8.bytes)) if dtype == WIDE else Spec(dtype, shape)


def interleaved(B: Array, heads: int) -> Array:
    """Rows (head, half, row of a half) as rows (head, row of a half, half).

    >>> import numpy as np
    >>> interleaved(np.arange(8.0)[:, None], 2).ravel().tolist()
    [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
    """
    rows, rank = B.shape
    return B.reshape(heads, 2, rows // heads // 2, rank).swapaxes(1, 2).reshape(rows, rank)


def _written(model: Mapping[str, Any]) -> str:
    """The architecture that llama.cpp has a model as."""
    stated = str(model.get("model_type"))
    found = MODEL_TYPES.get(stated, stated)
    if found not in ARCHITECTURES:
        known = ", ".join(sorted({*ARCHITECTURES, *MODEL_TYPES}))
        raise UnsupportedError(
            f"the model_type of the base is {stated!r}, and the names of {known} are known", hint=WITH_CONVERTER
        )
    return found


def _tensor(module: str, architecture: str, model: Mapping[str, Any]) -> tuple[str, str]:
    """llama.cpp's name of a module, and the last part of that."""
    if module == "lm_head" and not says_tied(model):
        return "output", "output"
    inner = {name: tensor for tensor, name in ARCHITECTURES[architecture].items()}
    match = LAYER.fullmatch(module)
    if match is None or match["inner"] not in inner:
        raise UnsupportedError(
            f"is not a linear layer of {architecture} whose name in llama.cpp is known here",
            tensor=module,
            hint="fuse the adapter into its base, and convert that",
        )
    return f"blk.{int(match['layer'])}.{inner[match['inner']]}", inner[match["inner"]]


def _check_held(layout: Mapping[str, Layout], config: AdapterConfig, full: Mapping[str, Stored]) -> None:
    """Raise UnsupportedError for what such files cannot hold."""
    cannot = {
        **dict.fromkeys(full, "a full tensor"),
        **dict.fromkeys(config.experts, "a parameter of experts"),
        **dict.fromkeys(config.embeddings, "an embedding"),
        **dict.fromkeys(magnitudes_of(layout), MAGNITUDE),
        **{module: f"a difference of {what}" for module, what in of_no_layer(layout).items()},
    }
    for name, what in cannot.items():
        raise UnsupportedError(
            f"is {what}, which is not written to GGUF", tensor=name, hint="fuse the adapter into its base"
        )


def _architecture(fields: Mapping[str, Any]) -> str:
    """The architecture of the model that an adapter of LoRA is for."""
    kind = fields.get("general.type", "model")
    if kind != "adapter":
        raise UnsupportedError(
            f"general.type is {kind!r}, where an adapter is expected",
            hint="name the model before the adapters, or with --base",
        )
    if fields.get("adapter.type") != "lora":
        raise UnsupportedError(f"adapter.type is {fields.get('adapter.type')!r}, and only lora is handled")
    if "adapter.alora.invocation_tokens" in fields:
        raise UnsupportedError("is an aLoRA, which is active only after certain tokens, and cannot be added")
    found = fields.get("general.architecture")
    if not isinstance(found, str) or found not in ARCHITECTURES:
        raise UnsupportedError(
            f"is for the architecture {found!r}, and the names of {', '.join(ARCHITECTURES)} are known", hint=TRAINED
        )
    return found


def _check_numbers(file: GgufFile) -> None:
    """Raise UnsupportedError for factors in blocks that are not read as numbers."""
    for name, kind in file.blocks.items():
        if kind.name != WIDE:
            raise UnsupportedError(
                f"is stored in {kind.name}, and of an adapter only F32, F16, BF16 and {WIDE} are read",
                tensor=name,
                hint=TRAINED,
            )


def _modules(file: TensorFile, architecture: str) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """The tensors of each module by their roles, and the modules whose rows are in another order."""
    found: dict[str, dict[str, str]] = {}
    interleaved = {}
    for name in sorted(file.entries):
        match = NAME.fullmatch(name)
        module = _module(match["layer"], match["tensor"], architecture) if match else None
        if match is None or module is None:
            raise UnsupportedError(
                f"is not the name of a LoRA of a linear layer of {architecture}", tensor=name, hint=TRAINED
            )
        found.setdefault(module, {})[ROLES[match["role"]]] = name
        if architecture in INTERLEAVED and match["tensor"] in HEADS:
            interleaved[module] = HEADS[match["tensor"]]
    return found, interleaved


def _module(layer: str | None, tensor: str, architecture: str) -> str | None:
    if layer is None:
        return "lm_head" if tensor == "output" else None
    inner = ARCHITECTURES[architecture].get(tensor)
    return inner and f"model.layers.{int(layer)}.{inner}"


def _alpha(fields: Mapping[str, Any]) -> float | None:
    """The numerator of the scale; None where the scale is 1."""
    value = fields.get("adapter.lora.alpha", 0.0)
    if not isinstance(value, float) or not math.isfinite(value):
        raise InputError(f"adapter.lora.alpha is {value!r}, expected a number in float32", code="E-ALPHA")
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
