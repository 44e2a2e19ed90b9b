"""Tensor names of PEFT LoRA adapters: `base_model.model.<module>.lora_A.weight`, and everything near it that is not
LoRA.

Reads what PEFT writes, and its variants: no prefix, the adapter's name left in (`lora_A.default.weight`), a per-module
`alpha`. What wrappers of a training left in a name is taken out of it. Whatever else is in the file is refused by its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from adapterops.errors import InputError, UnsupportedError
from adapterops.formats.architectures import EMBEDDINGS, HEAD
from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.wrappers import unwrapped
from adapterops.storage.safetensors import Header
from adapterops.updates.kinds import KINDS

PREFIX = "base_model.model."
ALPHA = re.compile(r"(?P<module>.+)\.alpha")

SAVED = re.compile(r"\.modules_to_save\.(?:default\.)?")
"""What PEFT puts into the name of a tensor of a module that modules_to_save names; with PEFT's name of the adapter, or not."""

ORIGINAL = ".original_module."
"""What stands in its place for the tensor of the base."""

ENDS = tuple(f"{each}.weight" for each in dict.fromkeys(name.rpartition(".")[2] for name in (HEAD, *EMBEDDINGS)))
"""How the names of embeddings end that PEFT saves whole, unannounced (`save_embedding_layers`)."""

KOHYA = r"^lora_(?:unet|te\d?)_"
"""How kohya's names begin."""

OTHER_KINDS = [
    (r"\.lora_embedding_[AB]", "LoRA on an embedding", "only Linear layers are handled"),
    (r"\.lora_diag", "KaSA", "KaSA depends on the base weight and cannot be added"),
    (r"\.lora_E\b", "AdaLoRA", "convert it to LoRA with PEFT first"),
    (r"\.lora_B\.(?:[^.]+\.)?bias$", "a LoRA bias (lora_bias=true)", "train without lora_bias"),
    (
        r"\.lora_monteclora_sampler|\.lora_velora",
        "MonteCLoRA or VeLoRA state",
        "save the adapter for inference, without it",
    ),
    (r"\.trainable_tokens_", "trained token rows", "merge them into the base with PEFT"),
    (r"\.hada_t|\.lora_mid\b", "LoHa or LoRA of a convolution (Tucker)", "convert it to LoRA with PEFT first"),
    (r"\.lokr_t", "LoKr of a convolution (Tucker)", "merge it into its base with PEFT"),
    (rf"{KOHYA}.*\.hada_", "LoHa in the names of kohya or LyCORIS", "convert its names to PEFT's first"),
    (rf"{KOHYA}.*\.lokr_", "LoKr in the names of kohya or LyCORIS", "convert its names to PEFT's first"),
    (r"\.dora_scale$", "DoRA in the names of kohya or diffusers", "convert its names to PEFT's first"),
    (r"^oft_|\.b?oft_", "OFT, which rotates the weights of the base", "merge it with the tool that trained it"),
    (r"\.ia3_|\.on_input$", "(IA)3, which scales the weights of the base", "merge it with the tool that trained it"),
    (rf"{KOHYA}.*\.[ab][12]\.weight$", "GLoRA", "merge it with the tool that trained it"),
    (
        rf"{KOHYA}.*\.(?:diff(?:_b)?|[wb]_norm)$",
        "full differences of weights",
        "merge them with the tool that trained them",
    ),
    (
        r"\.(?:vera_|hra_|ln_tuning|randlora_|fourierft_|vblora_)",
        "an adapter that is not LoRA",
        "only LoRA is handled",
    ),
    (r"prompt_embeddings|prompt_encoder", "a prompt adapter", "prompts change no weight and cannot be merged"),
    (rf"{KOHYA}|\.lora_(?:down|up)\.", "a kohya or diffusers LoRA", "convert it to PEFT's format first"),
    (
        r"\.lora_[ab]\b",
        "lower-case LoRA names, as MLX writes them",
        "keep it in a folder of its own, with its adapter_config.json",
    ),
    (
        r"base_layer\.(?!base_layer\.|lora_[AB]\.)",
        "a weight of the base model (a resized or trained layer)",
        "it replaces the base's and cannot be added",
    ),
    (r"\.bias$", "a trained bias", "train with bias='none'"),
    (r"\.weight$", "a full tensor (modules_to_save)", "it replaces the base's and cannot be added"),
]
"""What a name that is not LoRA's gives away: pattern, kind, what to do; kinds before the names that they are in. The
last holds for LoRA's names, too.
"""

STRANGE = re.compile("|".join(pattern for pattern, _, _ in OTHER_KINDS[:-1]))


@cache
def updates() -> re.Pattern[str]:
    """The names of the arrays of every kind of update."""
    ends = {role: end for kind in KINDS.values() if kind.peft_type for role, end in kind.roles.items()}
    inner, bare = (
        "|".join(sorted(map(re.escape, (r for r, end in ends.items() if bool(end) == inside))))
        for inside in (True, False)
    )
    name = r"(?:\.(?P<{}>(?!weight$)[^.]+))?"
    return re.compile(
        rf"(?P<module>.+)\.(?:(?P<inner>{inner}){name.format('adapter')}\.weight|(?P<bare>{bare}){name.format('other')}(?P<weight>\.weight)?)"
    )


@dataclass(frozen=True)
class Key:
    """What a tensor name says. `prefix`, `adapter` and `end` are kept so that the name can be rendered again."""

    module: str
    role: str
    prefix: str = PREFIX
    adapter: str | None = None
    end: str = ".weight"


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
        if re.search(pattern, name) and not re.search(pattern, own):
            raise UnsupportedError(f"belongs to {kind}, which is not handled", tensor=name, hint=hint)
    if match is None:
        raise InputError(
            "is not the name of a LoRA tensor", tensor=name, hint="only PEFT LoRA adapters are read", code="E-KEY"
        )
    groups = match.groupdict()
    prefix = PREFIX if groups["module"].startswith(PREFIX) else ""
    module = groups["module"].removeprefix(PREFIX)
    if not module:
        raise InputError("names no module", tensor=name, code="E-KEY")
    if not groups.get("bare"):
        return Key(module, groups.get("inner") or "alpha", prefix, groups.get("adapter"))
    return Key(module, groups["bare"], prefix, groups["other"], groups["weight"] or "")


def render(key: Key) -> str:
    """The name that `parse` reads.

    >>> render(Key("layers.0.q_proj", "lora_B"))
    'base_model.model.layers.0.q_proj.lora_B.weight'
    """
    if key.role == "alpha":
        return f"{key.prefix}{key.module}.alpha"
    return ".".join(part for part in (key.prefix + key.module, key.role, key.adapter) if part) + key.end


def full_tensors(file: Header, config: AdapterConfig) -> dict[str, str]:
    """Whole tensors of the model, which the config announces (modules_to_save, biases) or PEFT saves unannounced (the
    embeddings): name in the model → name in the file.

    What PEFT kept of the base with them (`.original_module`) is not among them; see `originals`.

    Raises:
        InputError: two names stand for one tensor.
    """
    found: dict[str, str] = {}
    for name in sorted(file.entries.keys() - originals(file)):
        if not updates().fullmatch(name) and not ALPHA.fullmatch(name):
            tensor = SAVED.sub(".", unwrapped(name)).replace(".base_layer.", ".")
            adapted = name.replace(
                ".base_layer.weight", ".lora_A.weight"
            )  # PEFT saves the weight of an adapted embedding, too
            whole = ".base_layer." not in name and tensor.endswith(ENDS)
            if config.replaces(tensor) or whole or (adapted != name and adapted in file.entries):
                if tensor in found:
                    raise InputError(
                        f"is the same tensor of the model as {found[tensor]}", path=file.path, tensor=name, code="E-KEY"
                    )
                found[tensor] = name
    return found


def originals(file: Header) -> set[str]:
    """The tensors that are the base's own, of modules whose trained ones are there, too."""
    trained = {SAVED.sub(ORIGINAL, name) for name in file.entries if SAVED.search(name)}
    return trained & file.entries.keys()
