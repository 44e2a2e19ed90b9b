"""Tensor names of PEFT LoRA adapters: `base_model.model.<module>.lora_A.weight`, and everything near it that is not LoRA.

Reads what PEFT writes, and its variants: no prefix, the adapter's name left in (`lora_A.default.weight`), a per-module
`alpha`. Whatever else is in the file is refused by its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from adapterops.errors import InputError, UnsupportedError, at
from adapterops.formats.peft_config import AdapterConfig
from adapterops.storage.safetensors import Entry, TensorFile

PREFIX = "base_model.model."
LORA = re.compile(r"(?P<module>.+)\.(?P<role>lora_A|lora_B)(?:\.(?P<adapter>[^.]+))?\.weight")
ALPHA = re.compile(r"(?P<module>.+)\.alpha")

OTHER_KINDS = [
    (r"_orig_mod\.", "the names of a compiled model", "remove `_orig_mod.` from the names: PEFT would not load them either"),
    (r"\.lora_magnitude_vector", "DoRA", "merge it into its base with PEFT; DoRA depends on the base weight and cannot be added"),
    (r"\.lora_embedding_[AB]", "LoRA on an embedding", "only Linear layers are handled"),
    (r"\.lora_diag", "KaSA", "KaSA depends on the base weight and cannot be added"),
    (r"\.lora_E\b", "AdaLoRA", "convert it to LoRA with PEFT first"),
    (r"\.lora_B\.(?:[^.]+\.)?bias$", "a LoRA bias (lora_bias=true)", "train without lora_bias"),
    (r"\.lora_monteclora_sampler|\.lora_velora", "MonteCLoRA or VeLoRA state", "save the adapter for inference, without it"),
    (r"\.trainable_tokens_", "trained token rows", "merge them into the base with PEFT"),
    (r"\.hada_|\.lora_mid\b", "LoHa", "convert it to LoRA with PEFT first"),
    (r"\.lokr_", "LoKr", "convert it to LoRA with PEFT first"),
    (r"\.(?:vera_|oft_|boft_|hra_|ia3_|ln_tuning|randlora_|fourierft_|vblora_)", "an adapter that is not LoRA", "only LoRA is handled"),
    (r"prompt_embeddings|prompt_encoder", "a prompt adapter", "prompts change no weight and cannot be merged"),
    (r"^lora_(?:unet|te\d?)_|\.lora_(?:down|up)\.", "a kohya or diffusers LoRA", "convert it to PEFT's format first"),
    (r"\.lora_[ab]\b", "lower-case LoRA names, as mlx writes them", "convert it to PEFT's format first"),
    (
        r"base_layer\.(?!base_layer\.|lora_[AB]\.)",
        "a weight of the base model (a resized or trained layer)",
        "it replaces the base's and cannot be added",
    ),
    (r"\.bias$", "a trained bias", "train with bias='none'"),
    (r"\.weight$", "a whole trained tensor (modules_to_save)", "it replaces the base's and cannot be added"),
]
"""What a name that is not LoRA's gives away: pattern, kind, what to do. The last holds for LoRA's names, too."""

STRANGE = re.compile("|".join(pattern for pattern, _, _ in OTHER_KINDS[:-1]))


@dataclass(frozen=True)
class Key:
    """What a tensor name says. `prefix` and `adapter` are kept so that the name can be rendered again."""

    module: str
    role: str
    prefix: str = PREFIX
    adapter: str | None = None


def parse(name: str) -> Key:
    """Module and role (`lora_A`, `lora_B` or `alpha`) of a tensor.

    >>> parse("base_model.model.layers.0.q_proj.lora_A.default.weight")
    Key(module='layers.0.q_proj', role='lora_A', prefix='base_model.model.', adapter='default')

    Raises:
        UnsupportedError: it belongs to a kind of adapter that is known and not handled.
        InputError: it belongs to nothing that is known.
    """
    match = LORA.fullmatch(name) or ALPHA.fullmatch(name)
    for pattern, kind, hint in OTHER_KINDS if match is None or STRANGE.search(name) else ():
        if re.search(pattern, name):
            raise UnsupportedError(f"belongs to {kind}, which is not handled", tensor=name, hint=hint)
    if match is None:
        raise InputError("is not the name of a LoRA tensor", tensor=name, hint="only PEFT LoRA adapters are read", code="E-KEY")
    groups = match.groupdict()
    prefix = PREFIX if groups["module"].startswith(PREFIX) else ""
    module = groups["module"].removeprefix(PREFIX)
    if not module:
        raise InputError("names no module", tensor=name, code="E-KEY")
    return Key(module, groups.get("role") or "alpha", prefix, groups.get("adapter"))


def render(key: Key) -> str:
    """The name that `parse` takes apart.

    >>> render(Key("layers.0.q_proj", "lora_B"))
    'base_model.model.layers.0.q_proj.lora_B.weight'
    """
    if key.role == "alpha":
        return f"{key.prefix}{key.module}.alpha"
    return ".".join(part for part in (key.prefix + key.module, key.role, key.adapter, "weight") if part)


@dataclass(frozen=True)
class Pair:
    """The tensors of one module, by their names in the file.

    `expert` of `experts`: which of them is this module's, where they hold several: then A has the rows of each together, and
    every so manieth column of B is its. `turned`: they are those of the transposed weight. Shape and rank are the module's.
    """

    A: str
    B: str
    alpha: str | None
    shape: tuple[int, int]
    rank: int
    expert: int = 0
    experts: int = 1
    turned: bool = False


def replaced(file: TensorFile, config: AdapterConfig) -> dict[str, str]:
    """Whole tensors of the model that the config announces (modules_to_save, biases): name in the model → name in the file."""
    found = {}
    for name in sorted(file.entries):
        if not LORA.fullmatch(name) and not ALPHA.fullmatch(name):
            tensor = name.removeprefix(PREFIX).replace(".base_layer.", ".")
            adapted = name.replace(".base_layer.weight", ".lora_A.weight")  # PEFT saves the weight of an adapted embedding, too
            if config.replaces(tensor) or (adapted != name and adapted in file.entries):
                found[tensor] = name
    return found


def pairs(file: TensorFile, apart: Iterable[str] = ()) -> dict[str, Pair]:
    """The factors of every module, their shapes checked; modules in the order of their names. Tensors `apart` are left out.

    Raises:
        UnsupportedError: the file has something other than LoRA on Linear layers.
        InputError: a factor is missing, twice there, empty or does not fit its partner.
    """
    found: dict[str, dict[str, str]] = {}
    adapters = set()
    with at(path=file.path):
        for name in sorted(file.entries.keys() - set(apart)):
            key = parse(name)
            roles = found.setdefault(key.module, {})
            if key.role in roles:
                raise InputError(f"is the same module's {key.role} as {roles[key.role]}", tensor=name, code="E-KEY")
            roles[key.role] = name
            adapters.add(key.adapter)
        if len(adapters - {None}) > 1:
            names = ", ".join(sorted(adapter for adapter in adapters if adapter))
            raise InputError(f"holds several adapters: {names}", hint="save each in a file of its own", code="E-KEY")
        return {module: _pair(module, roles, file.entries) for module, roles in sorted(found.items())}


def _pair(module: str, roles: Mapping[str, str], entries: Mapping[str, Entry]) -> Pair:
    for role in ("lora_A", "lora_B"):
        if role not in roles:
            present = ", ".join(sorted(roles))
            raise InputError(f"has {present} but no {role}", tensor=module, hint="save the adapter again", code="E-KEY")
    A, B = entries[roles["lora_A"]], entries[roles["lora_B"]]
    for role, entry in (("lora_A", A), ("lora_B", B)):
        if 0 in entry.shape:
            raise InputError(
                f"{role} has the empty shape {list(entry.shape)}",
                tensor=module,
                hint="gather the weights before saving (ZeRO-3)",
                code="E-SHAPE",
            )
        if len(entry.shape) > 2:
            raise UnsupportedError(
                f"{role} has the shape {list(entry.shape)} of a convolution, which is not handled",
                tensor=module,
                hint="only Linear layers are",
            )
        if len(entry.shape) < 2:
            raise InputError(f"{role} has the shape {list(entry.shape)}, expected two dimensions", tensor=module, code="E-SHAPE")
    if A.shape[0] != B.shape[1]:
        raise InputError(
            f"A has rank {A.shape[0]} and B has rank {B.shape[1]}", tensor=module, hint="both must come from one training", code="E-SHAPE"
        )
    return Pair(roles["lora_A"], roles["lora_B"], roles.get("alpha"), (B.shape[0], A.shape[1]), A.shape[0])
