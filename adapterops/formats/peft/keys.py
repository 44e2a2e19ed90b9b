"""Tensor names of PEFT LoRA adapters: `base_model.model.<module>.lora_A.weight`, and everything near it that is not
LoRA.

Reads what PEFT writes, and its variants: no prefix, the adapter's name left in (`lora_A.default.weight`), a per-module
`alpha`. What wrappers of a training left in a name is taken out of it. Whatever else is in the file is refused by its name.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from adapterops.errors import AdapterWarning, InputError, UnsupportedError, count
from adapterops.formats.models.vocabulary import TOKEN_ROWS, is_end
from adapterops.formats.models.wrappers import inner_name
from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.peft.types import ARRAYS, BEGINNING, IN_TRAINING
from adapterops.regex import Regex
from adapterops.storage.tensors import TensorHeader
from adapterops.updates.kinds import KINDS

PREFIX = "base_model.model."
ALPHA = Regex(r"(?P<module>.+)\.alpha")

TRAINED = Regex(r"\.modules_to_save\.(?P<adapter>[^.]+)\.")
"""What PEFT puts into the name of a trained copy: the name of the adapter, too."""

ONE_LAYER = {f"{head}.{role}" for head in ("score", "qa_outputs") for role in ("weight", "bias")}
"""The tensors of heads that are one layer in every class of transformers; a `classifier` may be several."""

SPELLINGS = [
    re.compile(r"\.modules_to_save(?:\.default)?\."),
    re.compile(r"\.original_module\."),
    re.compile(r"(?:\.token_adapter)?\.base_layer\."),
    NORM := re.compile(r"\.ln_tuning_layers(?:\.default)?\."),
]
"""What PEFT puts into the name of a tensor: of a module that modules_to_save names, of the one that this was before it
was trained, of a module that is adapted, as it was before, and of a norm that is trained by itself. A name without them
comes first, then these in turn.
"""

BIAS = "lora_bias"
"""The role of the bias of `lora_B`, which is the update of a tensor of its own."""


ROWS = Regex(r"(?:\.token_adapter)?\.trainable_tokens_delta(?:\.(?P<adapter>[^.]+))?$")
"""How rows of an embedding are called: next to LoRA, and in an adapter of nothing else."""

KOHYA = r"^lora_(?:unet|te\d?)_"
"""How kohya's names begin."""

UNANNOUNCED = (
    "if it was trained, name its module in modules_to_save of the config, or set bias; else take it out of the file"
)

OTHER_KINDS = [
    (r"\.hada_t|\.lora_mid\b", "LoHa or LoRA of a convolution (Tucker)", "convert it to LoRA with PEFT first"),
    (r"\.lokr_t", "LoKr of a convolution (Tucker)", "merge it into its base with PEFT"),
    (rf"{KOHYA}.*\.hada_", "LoHa in the names of kohya or LyCORIS", "convert its names to PEFT's first"),
    (rf"{KOHYA}.*\.lokr_", "LoKr in the names of kohya or LyCORIS", "convert its names to PEFT's first"),
    (r"\.dora_scale$", "DoRA in the names of kohya or diffusers", "convert its names to PEFT's first"),
    (r"\.oft_embedding_R", "OFT of an embedding", "merge it into its base with PEFT: merge_and_unload"),
    (r"^oft_|\.oft_", "OFT, which rotates the weights of the base", "merge it with the tool that trained it"),
    (r"\.on_input$", "(IA)3, which scales the weights of the base", "merge it with the tool that trained it"),
    (rf"{KOHYA}.*\.[ab][12]\.weight$", "GLoRA", "merge it with the tool that trained it"),
    (
        rf"{KOHYA}.*\.(?:diff(?:_b)?|[wb]_norm)$",
        "full differences of weights",
        "merge them with the tool that trained them",
    ),
    *ARRAYS,
    (rf"{KOHYA}|\.lora_(?:down|up)\.", "a kohya or diffusers LoRA", "convert it to PEFT's format first"),
    (
        r"\.adapter\.linear_(?:in|out)\.",
        "LoRA in the names of NeMo and Megatron",
        "export it to PEFT's format with the program that trained it",
    ),
    (
        r"^base_model\..*\.lora_[ab]\b",
        "LoRA in small letters, and PEFT loads lora_A and lora_B alone",
        "give its tensors these names, or save the adapter again",
    ),
    (
        r"\.lora_[ab]\.weight$",
        "LoRA in the names of torchtune",
        "save it in PEFT's format: torchtune writes adapter_model.safetensors, too",
    ),
    (
        r"\.lora_[ab]\b",
        "lower-case LoRA names, as MLX writes them",
        "keep it in a folder of its own, with its adapter_config.json",
    ),
    (
        r"base_layer\.(?!base_layer\.|(?:out_proj\.)?lora_[AB]\.)",
        "a weight of the base model (a resized or trained layer)",
        "it replaces the base's and cannot be added",
    ),
    (
        r"\bv(?:alue)?_head\.",
        "the value head of a critic or a reward model, which the config does not announce",
        UNANNOUNCED,
    ),
    (r"\.bias$", "a trained bias that the config does not announce", UNANNOUNCED),
    (r"\.weight$", "a full tensor that the config does not announce", UNANNOUNCED),
]
"""What a name that is not LoRA's gives away: pattern, kind, what to do; kinds before the names that they are in. The
last holds for LoRA's names, too.
"""

STRANGE = Regex("|".join([BEGINNING, *(each[0] for each in OTHER_KINDS[:-1] if each not in ARRAYS)]))
"""What a name has that may be of another kind; most have none of it."""


@cache
def updates() -> re.Pattern[str]:
    """The names of the arrays of every kind of update."""
    roles = {role for kind in KINDS.values() if kind.peft_type for role in kind.roles} - {BIAS}
    role, word = "|".join(sorted(map(re.escape, roles))), r"(?!(?:weight|bias)$)[^.]+"
    adapter = rf"{word}(?:\.{word})??"  # twice, where an adapter was wrapped in another
    return re.compile(
        rf"(?P<module>.+)\.(?:(?P<role>{role})(?:\.(?P<adapter>{adapter}))?(?P<end>\.weight)?"
        rf"|lora_B(?:\.(?P<of>{adapter}))?(?P<bias>\.bias))"
    )


@dataclass(frozen=True)
class Key:
    """What a tensor name says. `prefix`, `adapter` and `end` are kept so that the name can be rendered again."""

    module: str
    role: str
    prefix: str = PREFIX
    adapter: str | None = None
    end: str = ".weight"


@lru_cache(1 << 12)  # what is written is opened again under the names that were read
def parse(name: str) -> Key:
    """Module and role (that of an array of an update, or `alpha`) of a tensor.

    >>> parse("base_model.model.layers.0.q_proj.lora_A.default.weight")
    Key(module='layers.0.q_proj', role='lora_A', prefix='base_model.model.', adapter='default', end='.weight')

    Raises:
        UnsupportedError: it belongs to a kind of adapter that is known and not handled.
        InputError: it belongs to nothing that is known.
    """
    match = updates().fullmatch(name) or ALPHA.fullmatch(name)
    own = name[match.end("module") :] if match else ""
    for pattern, kind, hint in OTHER_KINDS if match is None or STRANGE.search(name) else ():
        of_full = hint == UNANNOUNCED  # the word may be a layer's: v_head is that of values in Funnel's attention
        if not (match and of_full) and re.search(pattern, name) and not re.search(pattern, own):
            what = f"is {kind}" if of_full else f"belongs to {kind}, which is not handled"
            raise UnsupportedError(what, tensor=name, hint=hint)
    if match is None:
        raise InputError(
            "is not the name of a LoRA tensor", tensor=name, hint="merge it with the tool that trained it", code="E-KEY"
        )
    groups = match.groupdict()
    prefix = PREFIX if groups["module"].startswith(PREFIX) else ""
    module = groups["module"].removeprefix(PREFIX)
    if not module:
        raise InputError("names no module", hint="save the adapter again", tensor=name, code="E-KEY")
    if groups.get("bias"):
        return Key(module, BIAS, prefix, groups["of"], ".bias")
    if not groups.get("role"):
        return Key(module, "alpha", prefix, end="")
    return Key(module, groups["role"], prefix, groups["adapter"], groups["end"] or "")


def render(key: Key) -> str:
    """The name that `parse` reads.

    >>> render(Key("layers.0.q_proj", "lora_B"))
    'base_model.model.layers.0.q_proj.lora_B.weight'
    """
    role = "lora_B" if key.role == BIAS else key.role
    return ".".join(part for part in (key.prefix + key.module, role, key.adapter) if part) + key.end


def full_tensors(file: TensorHeader, config: AdapterConfig) -> tuple[dict[str, str], set[str]]:
    """Whole tensors of the model, which the config announces (modules_to_save, biases) or PEFT saves unannounced (the
    ends of the vocabulary, and what was trained on top of them): name in the model → name in the file; and names of the
    file that repeat one of them, or hold what it was before.

    PEFT loads the name that has no spelling of its own, where a file has a tensor by several.

    Raises:
        InputError: two names of one spelling stand for one tensor.
    """
    found: dict[str, str] = {}
    names = [name for name in file.entries if not updates().fullmatch(name) and not ALPHA.fullmatch(name)]
    word = doubtful(file.entries)
    known = named(file.entries) | ({word} if word else set())
    for name in sorted(names, key=lambda name: (_spelling(name), name)):
        tensor = plain(inner_name(name), known)
        adapted = name.replace(".base_layer.weight", ".lora_A.weight")
        whole = is_end(tensor) or (adapted != name and adapted in file.entries)
        if tensor in found and _spelling(name) == _spelling(found[tensor]):
            raise InputError(
                f"is the same tensor of the model as {found[tensor]}",
                hint="keep one of the two, the one that was trained",
                path=file.path,
                tensor=name,
                code="E-KEY",
            )
        if whole or config.replaces(tensor):
            found.setdefault(tensor, name)
    others = set(names) - set(found.values())
    repeated = {name for name in others if _spelling(name) and plain(inner_name(name), known) in found}
    return dict(sorted(found.items(), key=lambda each: each[1])), repeated


def doubts(full: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Full tensors that may have another name → that one, with the word that is the name of an adapter, or of a layer.

    >>> doubts({"head.weight": "head.modules_to_save.mine.weight"}, ["head.modules_to_save.mine.weight"])
    {'head.weight': 'head.mine.weight'}
    """
    word = doubtful(names)
    of_copies = {tensor: name for tensor, name in full.items() if word and TRAINED.search(name)}
    return {tensor: inner_name(name.replace(".modules_to_save.", ".", 1)) for tensor, name in of_copies.items()}


def are_norms(names: Collection[str]) -> bool:
    """Whether all tensors are trained norms of LN_TUNING."""
    return bool(names) and all(map(NORM.search, names))


def of_norms(fields: Any, names: Collection[str]) -> Any:
    """A config as that of LoRA: where norms alone are trained (LN_TUNING), of LoRA on nothing that has them as full tensors. Of a
    file of these without a config the names say all that one would.

    >>> fields = {"peft_type": "LN_TUNING", "target_modules": ".*norm"}
    >>> of_norms(fields, ["base_model.model.layers.0.norm.ln_tuning_layers.weight"])["modules_to_save"]
    ['layers.0.norm']
    """
    if fields is None and are_norms(names):
        fields = {"peft_type": "LN_TUNING"}
    if not isinstance(fields, dict) or fields.get("peft_type") != "LN_TUNING":
        return fields
    norms = {plain(inner_name(name)).rpartition(".")[0] for name in names if NORM.search(name)}
    own = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": None}
    return {**fields, **own, "modules_to_save": sorted(norms) + list(fields.get("modules_to_save") or [])}


def in_training(names: Collection[str]) -> set[str]:
    """Names of tensors that training alone reads.

    Raises:
        AdapterWarning: there are some, and what they are.
    """
    found = {name for name in names if IN_TRAINING.search(name)}
    if found:
        warnings.warn(
            f"{count(len(found), 'tensor')} of MonteCLoRA or VeLoRA, such as {min(found)}: training alone reads them, and "
            "PEFT's forward pass in evaluation is that of LoRA; they are left out",
            AdapterWarning,
            stacklevel=2,
        )
    return found


def token_rows(file: TensorHeader) -> dict[str, str]:
    """Rows that replace those of an embedding: their name in the model → their name in the file."""
    return {ROWS.sub(TOKEN_ROWS, inner_name(name)): name for name in sorted(file.entries) if ROWS.search(name)}


def _spelling(name: str) -> int:
    """Which of `SPELLINGS` is in a name, counted from 1."""
    return next((place for place, spelling in enumerate(SPELLINGS, 1) if spelling.search(name)), 0)


def plain(name: str, adapters: Collection[str] = ()) -> str:
    """A name without what PEFT puts into it.

    Args:
        adapters: what adapters are called in other names of the file; that of a trained embedding, in which there is nothing
            else, is known without.

    >>> plain("lm_head.base_layer.weight"), plain("embed_tokens.token_adapter.base_layer.weight")
    ('lm_head.weight', 'embed_tokens.weight')
    >>> plain("lm_head.modules_to_save.mine.weight"), plain("projector.modules_to_save.mine.linear.weight", ["mine"])
    ('lm_head.weight', 'projector.linear.weight')
    """
    short = TRAINED.sub(".", name)
    known = TRAINED.search(name)
    if known and known["adapter"] in adapters:
        return short
    for spelling in SPELLINGS:
        name = spelling.sub(".", name)
    return short if known and is_end(short) and not is_end(name) else name


def named(names: Collection[str]) -> set[str]:
    """What adapters are called in the names of updates, where that is left in them, or of trained copies."""
    return _of_updates(names) or _of_copies(names)


def doubtful(names: Collection[str]) -> str | None:
    """What may be the name of an adapter in those of trained copies, or that of a layer: no other name of the file shows it.

    >>> doubtful(["head.modules_to_save.mine.weight"]), doubtful(["head.modules_to_save.mine.weight", "q.lora_A.mine.weight"])
    ('mine', None)

    What PEFT calls an adapter by itself is no doubt:

    >>> doubtful(["head.modules_to_save.default.weight"])
    """
    words = {match["adapter"] for match in _copies(names).values()}
    shown = _of_updates(names) or _of_copies(names) or _has_layers(names) or words == {"default"}
    return words.pop() if len(words) == 1 and not shown else None


def _of_updates(names: Collection[str]) -> set[str]:
    found = (match["adapter"] or match["of"] for name in names if (match := updates().fullmatch(name)))
    return {each.rpartition(".")[2] for each in found if each}


def _copies(names: Collection[str]) -> dict[str, re.Match[str]]:
    """The names of trained copies that have a word in that place."""
    return {name: match for name in names if (match := TRAINED.search(name))}


def _of_copies(names: Collection[str]) -> set[str]:
    """What an adapter is called in the names of trained copies: the one word that all of them have there, where one is an
    embedding or a head of one layer, or the module as it was before has a tensor of the name without it.

    >>> _of_copies(["lm_head.modules_to_save.mine.weight"]), _of_copies(["classifier.modules_to_save.dense.weight"])
    ({'mine'}, set())
    """
    copies = _copies(names)
    words = {match["adapter"] for match in copies.values()}
    shown = any(
        is_end(f"{name[: at.start()]}.{name[at.end() :]}")
        or inner_name(f"{name[: at.start()]}.{name[at.end() :]}") in ONE_LAYER
        or f"{name[: at.start()]}.original_module.{name[at.end() :]}" in names
        for name, at in copies.items()
    )
    return words if len(words) == 1 and shown and not _has_layers(names) else set()


def _has_layers(names: Collection[str]) -> bool:
    """Whether what comes first in a trained copy is a layer of it: others of its tensors have nothing there, or the module
    as it was before has a tensor of this name.
    """
    copies = _copies(names)
    twins = (f"{name[: at.start()]}.original_module.{name[at.start('adapter') :]}" for name, at in copies.items())
    own = {
        name.rpartition(".modules_to_save.")[0] for name in names if ".modules_to_save." in name and name not in copies
    }
    return any(each in names for each in twins) or any(name[: at.start()] in own for name, at in copies.items())
