"""How the modules of an adapter are called and stored in llama.cpp's format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from adapterops.arrays.dtypes import WIDE
from adapterops.arrays.ggml import Q8
from adapterops.errors import IncompatibleError, UnsupportedError, count
from adapterops.formats.diffusion.written import of_no_layer
from adapterops.formats.llama_cpp import (
    ARCHITECTURES,
    EMBEDDING,
    HEAD,
    MODEL_TYPES,
    SEVERAL,
    STACKED,
    UNAPPLIED,
    architecture_of,
)
from adapterops.formats.models.ties import says_tied
from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.stacks import padded
from adapterops.regex import Regex
from adapterops.storage.tensors import Spec, Stored
from adapterops.updates.layout import MAGNITUDE, Layout, magnitudes_of

if TYPE_CHECKING:
    from adapterops.formats.registry import Factors
    from adapterops.updates.protocol import Array

OUTER = r"(?:(?:model|language_model)\.)*"
LAYER = Regex(OUTER + r"layers\.(?P<layer>\d+)\.(?P<inner>.+)")
WORDS = Regex(OUTER + r"embed_tokens")
COUNTS = ("num_experts", "num_local_experts", "n_routed_experts")
"""Fields of config.json that say how many experts a layer has."""

WITH_CONVERTER = (
    "write PEFT's format with adapterops normalize, and convert that with llama.cpp's convert_lora_to_gguf.py"
)
FUSE = "fuse the adapter into its base, and convert that"
CODE = "E-UNAPPLIED"
"""What llama.cpp ends with, does not load, or loads and does not apply."""


class Name(NamedTuple):
    """Which weight of llama.cpp a module is, the last part of its name, and of all experts which one."""

    tensor: str
    inner: str
    expert: int | None = None


@dataclass(frozen=True)
class TensorPair:
    """What is stored in one pair of tensors: a module, or all experts of one projection of a layer.

    Attributes:
        experts: module → which expert it is.
        count: how many experts the model has, 0 for a module that is none; those that the adapter lacks are zeros.
        dtypes: of the two tensors.
    """

    name: Name
    shape: tuple[int, int]
    rank: int
    dtypes: tuple[str, str]
    experts: Mapping[str, int]
    count: int = 0

    @property
    def embedding(self) -> bool:
        return self.name.inner == EMBEDDING

    def specs(self) -> dict[str, Spec]:
        """`lora_a` (r, in) and `lora_b` (out, r); of experts with an axis of these before; of an embedding (words, r) and (width, r)."""
        out, into = self.shape
        shapes = ((out, self.rank), (into, self.rank)) if self.embedding else ((self.rank, into), (out, self.rank))
        above = (self.count,) if self.count else ()
        each = zip(self._keys, self.dtypes, shapes, strict=True)
        return {key: _stored(dtype, (*above, *shape)) for key, dtype, shape in each}

    def joined(self, factors: Mapping[str, Factors]) -> dict[str, Array]:
        from adapterops.arrays import q8

        pairs = {module: self._padded(*each) for module, each in factors.items()}
        if self.count:
            pair: Sequence[Array] = [
                self._stacked({self.experts[m]: each[role] for m, each in pairs.items()}) for role in (0, 1)
            ]
        else:
            ((A, B),) = pairs.values()
            pair = (B, A.T) if self.embedding else (A, B)
        each = zip(self._keys, self.dtypes, pair, strict=True)
        return {
            key: q8.encode(array) if dtype == WIDE and array.dtype != q8.BYTE else array for key, dtype, array in each
        }

    def _padded(self, A: Array, B: Array) -> tuple[Array, Array]:
        """A and B of the rank of the file; B may be the bytes of Q8_0, of which those of zeros are zeros."""
        from adapterops.arrays import q8

        width = self.rank // Q8.entries * Q8.bytes if B.dtype == q8.BYTE else self.rank
        return padded(A, B, self.rank, width)

    def _stacked(self, found: Mapping[int, Array]) -> Array:
        import numpy as np

        some = next(iter(found.values()))
        stacked = np.zeros((self.count, *some.shape), some.dtype)
        for number, each in found.items():
            stacked[number] = each
        return stacked

    @property
    def _keys(self) -> tuple[str, str]:
        return f"{self.name.tensor}.weight.lora_a", f"{self.name.tensor}.weight.lora_b"


def groups(
    layout: Mapping[str, Layout], architecture: str, model: Mapping[str, Any], dtype: str | None
) -> dict[str, TensorPair]:
    """What is stored together, of one rank: by the name of the module, or of the tensor of all experts."""
    rank = max(each.rank for each in layout.values())
    names = {module: named(module, architecture, model) for module in layout}
    found: dict[str, list[str]] = {}
    for module, name in names.items():
        found.setdefault(module if name.expert is None else name.tensor, []).append(module)
    return {
        group: _group(modules, {m: names[m] for m in modules}, {m: layout[m] for m in modules}, rank, model, dtype)
        for group, modules in found.items()
    }


def _group(
    modules: Sequence[str],
    names: Mapping[str, Name],
    layouts: Mapping[str, Layout],
    rank: int,
    model: Mapping[str, Any],
    dtype: str | None,
) -> TensorPair:
    name, shape = names[modules[0]], layouts[modules[0]].shape
    experts = {module: each.expert for module, each in names.items() if each.expert is not None}
    count = _experts(model, modules, experts) if experts else 0
    for module, each in layouts.items():
        if each.shape != shape:
            raise IncompatibleError(
                f"is {list(each.shape)}, and {modules[0]} is {list(shape)}", tensor=module, code="E-SHAPE"
            )
    kinds = {"F32" if each.dtype == "F64" else each.dtype for each in layouts.values()}
    wanted = dtype or (kinds.pop() if len(kinds) == 1 else "F32")
    if name.inner == EMBEDDING:
        dtypes = ("F16", "F16") if wanted == WIDE else (wanted, wanted)
    else:
        dtypes = _in_rows(wanted, shape[1]), _in_rows(wanted, rank)
    return TensorPair(name, shape, rank, dtypes, experts, count)


def _experts(model: Mapping[str, Any], modules: Sequence[str], experts: Mapping[str, int]) -> int:
    """How many experts a layer of the model has: llama.cpp reads a factor of each, and does not look whether it is there."""
    inner = model.get("text_config")
    parts = [each for each in (model, inner) if isinstance(each, Mapping)]
    found = next((part[field] for field in COUNTS for part in parts if part.get(field) is not None), None)
    last = max(modules, key=lambda module: experts[module])
    if type(found) is not int or found <= experts[last]:
        raise IncompatibleError(
            f"is expert {experts[last]}, and config.json of the base says {found!r} for their number",
            tensor=last,
            hint="give the base that the adapter was trained on, with its config.json",
            code="E-EXPERTS",
        )
    return found


def written_for(model: Mapping[str, Any]) -> str:
    """The architecture that llama.cpp has a model as."""
    found = architecture_of(model)
    if found not in ARCHITECTURES:
        known = ", ".join(sorted({*ARCHITECTURES, *MODEL_TYPES}))
        raise UnsupportedError(
            f"the model_type of the base is {model.get('model_type')!r}, and the names of {known} are known",
            hint=WITH_CONVERTER,
        )
    return found


def named(module: str, architecture: str, model: Mapping[str, Any]) -> Name:
    """What llama.cpp calls a module.

    Raises:
        UnsupportedError: it has no such module, applies no LoRA to it, or ends with it.
    """
    found = _place(module, architecture)
    if found is None:
        fact = f"is not a linear layer of {architecture} whose name in llama.cpp is known here"
    elif found.inner == HEAD and says_tied(model):
        fact = "is the head of a model that ties it, which has no tensor of its own in llama.cpp"
    elif found.inner == EMBEDDING and says_tied(model) is not False:
        fact = (
            "is an embedding, and config.json of the base does not say that the model has a head of its own "
            "(tie_word_embeddings): llama.cpp ends where one weight is both"
        )
    elif found.inner in UNAPPLIED.get(architecture, ()):
        fact = f"is {found.tensor} of {architecture}, to which llama.cpp applies no LoRA, though it loads it"
    else:
        return found
    raise UnsupportedError(fact, tensor=module, hint=FUSE, code=CODE)


def unapplied(modules: Iterable[str], architecture: str) -> tuple[str, ...]:
    """Those of which llama.cpp loads LoRA, and does not apply it."""
    own = UNAPPLIED.get(architecture, ())
    return tuple(each for each in modules if own and (found := _place(each, architecture)) and found.inner in own)


def _place(module: str, architecture: str) -> Name | None:
    if module == "lm_head":
        return Name(HEAD, HEAD)
    if WORDS.fullmatch(module):
        return Name(EMBEDDING, EMBEDDING)
    match = LAYER.fullmatch(module)
    for inner, tensor in _inner(architecture) if match else ():
        found = re.fullmatch(re.escape(inner).replace(re.escape(SEVERAL), r"(\d+)"), match["inner"]) if match else None
        if match and found:
            return Name(f"blk.{int(match['layer'])}.{tensor}", tensor, int(found[1]) if found.groups() else None)
    return None


def _inner(architecture: str) -> Iterator[tuple[str, str]]:
    """The names of modules in a layer, and those of llama.cpp; of experts those of one projection."""
    yield from ((module, tensor) for tensor, module in ARCHITECTURES[architecture].items())
    for tensor, modules in STACKED.get(architecture, {}).items():
        if len(modules) == 1:
            yield modules[0], tensor


def check_held(layout: Mapping[str, Layout], config: AdapterConfig, full: Mapping[str, Stored]) -> None:
    """Raise UnsupportedError for what such files cannot hold."""
    cannot = {
        **dict.fromkeys(full, "a full tensor"),
        **dict.fromkeys(config.experts, "a parameter of experts"),
        **dict.fromkeys(magnitudes_of(layout), MAGNITUDE),
        **{module: f"a difference of {what}" for module, what in of_no_layer(layout).items()},
    }
    for name, what in cannot.items():
        hint = "fuse the adapter into its base"
        if what == MAGNITUDE:
            hint += "; or add --rank 32, which writes the best LoRA of that rank and prints what is lost"
        raise UnsupportedError(f"is {what}, which is not written to GGUF", tensor=name, hint=hint)


def _in_rows(dtype: str, width: int) -> str:
    """The dtype of a tensor whose rows have so many numbers: Q8_0 has whole blocks, and the rest is stored in F16."""
    return "F16" if dtype == WIDE and width % Q8.entries else dtype


def note(found: Mapping[str, TensorPair]) -> str | None:
    """How many tensors are not in Q8_0, where that is asked for."""
    dtypes = [dtype for group in found.values() for dtype in group.dtypes]
    narrow = sum(each != WIDE for each in dtypes)
    why = f"rows are not whole blocks of {Q8.entries} numbers"
    if any(group.embedding for group in found.values()):
        why += ", or they are of an embedding"
    return f"{narrow} of {count(len(dtypes), 'tensor')} in float16: their {why}" if narrow else None


def _stored(dtype: str, shape: tuple[int, ...]) -> Spec:
    """What is written: blocks are rows of bytes."""
    return Spec("U8", (*shape[:-1], shape[-1] // Q8.entries * Q8.bytes)) if dtype == WIDE else Spec(dtype, shape)
