"""What a program does with a fact, how bad that is, and the command that fixes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

REFUSED, WRONG, IGNORED, UNKNOWN, FINE = SEVERITIES = (
    "refused",
    "silently wrong",
    "ignored",
    "not established",
    "fine",
)
"""From the worst on."""

BAD = (REFUSED, WRONG)
"""What makes `check` fail."""

NOT_KNOWN = "what it does then is not known"

FACTS = {
    "format": "the format",
    "first_mlx_vlm": "names and config of the first versions of MLX-VLM",
    "constants": "constants of the model among the tensors",
    "language": "an adapter of a language model",
    "images": "an adapter of an image or video model",
    "no_config": "no adapter_config.json",
    "config_scale": "a scale that adapter_config.json says",
    "header_scale": "a scale that the header of the file says",
    "header_entries": "a scale that entries of the header say, and no lora_adapter_metadata",
    "header_untargeted": "lora_adapter_metadata without target_modules",
    "mlx_scale": "a scale that MLX's config says",
    "rslora": "use_rslora",
    "rslora_experts": "use_rslora on experts",
    "alpha_pattern": "alpha_pattern",
    "rank_pattern": "unequal ranks (rank_pattern)",
    "float_alpha": "a lora_alpha that is not written as an integer",
    "dora": "DoRA",
    "dora_peft": "DoRA with a lora_magnitude_vector",
    "dora_magnitude": "DoRA with a tensor called magnitude",
    "dora_inputs": "DoRA with a magnitude for each input",
    "dora_vector": "DoRA with a dora_scale of one dimension",
    "comfyui_left": "names that ComfyUI does not have",
    "comfyui_unet": "names of diffusers of a UNet that ComfyUI does not have",
    "comfyui_unsure": "names that ComfyUI has of some models alone, or of none that is known here",
    "diffusers_left": "names that diffusers does not have",
    "diffusers_stops": "names that stop diffusers",
    "diffusers_changed": "names that diffusers takes for something else",
    "diffusers_encoders": "LoRA on text encoders that diffusers does not load",
    "diffusers_parts": "LoRA on a part of a text encoder",
    "diffusers_unsure": "names that diffusers has of some models alone",
    "alphas": "alphas that differ in a UNet or CLIP",
    "tucker": "LoRA with a kernel between its factors (Tucker)",
    "flattened": "LoRA of convolutions in matrices",
    "loha": "LoHa",
    "lokr": "LoKr",
    "other": "a kind that is LoRA in another form",
    "started": "LoRA that was trained on a changed base",
    "gain": "(IA)³",
    "rotation": "OFT or BOFT",
    "attention": "LoRA on a MultiheadAttention of torch",
    "difference": "differences of whole tensors",
    "modulation": "differences of modulations (diff_m)",
    "set": "tensors that replace the base's (set_weight)",
    "norms": "trained norms (LN_TUNING)",
    "saved": "modules_to_save",
    "biases": "trained biases",
    "embeddings": "whole embeddings or heads",
    "head": "LoRA on lm_head",
    "lora_embeddings": "LoRA on embeddings",
    "embeddings_tied": "LoRA on the embedding of a model that ties it",
    "embeddings_own": "LoRA on the embedding of a model that has a head of its own",
    "embeddings_unsaid": "LoRA on an embedding where no base says whether the model ties it",
    "unapplied": "LoRA on q, k, v or the head of DeepSeek",
    "experts": "LoRA on fused experts (target_parameters)",
    "several_files": "an adapter in several files",
    "adapter_name": "the adapter's name in the names of tensors",
    "unprefixed": "names without base_model.model.",
    "bare": "names of a model without its head",
    "wrapped": "names that the model itself does not have",
    "senses": "LoRA on what sees or hears",
    "further": "other files that may hold trained weights",
    "replication": "layers of the base that are replicated (layer_replication)",
    "full_names": "full names in target_modules",
    "rank": "the rank",
    "wide": "a rank above a dimension of its module",
    "base": "modules that the base does not have",
    "divided": "projections that the base has joined, or in parts",
    "mlx_names": "names that MLX-LM does not have",
    "other_architecture": "a base of another architecture",
    "architecture": "the architecture of the base",
    "rotated": "LoRA on q and k",
    "tied": "LoRA on the lm_head of a model that ties it",
}
"""What is looked at, and what people call it."""

ELSEWHERE = ("language", "images")
"""Facts that, where a program has a rule for one, leave nothing else to say: it is for other models."""

NORMALIZE = "adapterops normalize {source}{names} -o normalized"
FUSE = "adapterops fuse BASE {source} -o fused"
EACH_EXPERT = "adapterops normalize {source} --base BASE --names files -o normalized"
TRUNCATE = "adapterops truncate {source}{names} --rank {limit} -o truncated"
TO_PEFT = "adapterops convert {source}{names} --to peft -o converted"
CUT_TO_PEFT = "adapterops convert {source}{names} --to peft --rank 32 -o converted"
TO_PEFT_BASED = "adapterops convert {source} --base BASE --to peft -o converted"
CUT_TO_DIFFUSERS = "adapterops convert {source} --base BASE --to diffusers --rank 32 -o converted"
TO_KOHYA = "adapterops convert {source}{names} --to kohya -o converted"
TO_COMFY = "adapterops convert {source}{names} --to comfy -o converted"
WITH_AUTHORS = "adapterops convert {source} --base BASE --to comfy -o converted"
TO_DIFFUSERS = "adapterops convert {source} --base BASE --to diffusers -o converted"
TO_MLX = "adapterops convert {source}{names} --to mlx -o converted"
TO_GGUF = "adapterops convert {source} --to gguf --base BASE -o converted"
MLX_BASED = "adapterops convert {source} --base BASE --to mlx -o converted"
BASED = "adapterops normalize {source} --base BASE -o normalized"
WITH_FURTHER = "where they were trained, give the program the whole model: save it with what trained it"
OWN_BASE = "give the base that the adapter was trained on"
OTHERS_SHOWN = "adapterops check {source}, which shows the programs of all kinds"

DORA = {"dora", "dora_peft", "dora_magnitude", "dora_inputs", "dora_vector"}
TRAINED = {"norms", "saved", "biases", "embeddings", "difference", "set"}
STOPS = {
    NORMALIZE: {*DORA, "gain", "replication", *TRAINED},
    BASED: {*DORA, "gain", "replication", *TRAINED},
    TO_GGUF: {*DORA, "gain", "replication", *TRAINED},
    TRUNCATE: {*DORA, "gain"},
    TO_PEFT: {*DORA, "gain"},
    CUT_TO_PEFT: {*DORA, "gain"},
    CUT_TO_DIFFUSERS: {*DORA, "gain", "experts", "replication", *TRAINED},
    TO_COMFY: {*DORA, "gain", "experts", "replication", *TRAINED},
    WITH_AUTHORS: {*DORA, "gain", "experts", "replication", *TRAINED},
    TO_DIFFUSERS: {*DORA, "gain", "experts", "replication", *TRAINED},
    TO_KOHYA: {*DORA, "gain", "experts", "replication", *TRAINED},
    TO_MLX: {*DORA, "gain", "experts", "replication", "senses", *TRAINED},
    MLX_BASED: {*DORA, "gain", "experts", "replication", "senses", *TRAINED},
}
"""Remedy → facts of which any makes it impossible; what is left then is to fuse."""

NAMED_BY_BASE = ("gguf", "kohya")
"""Formats whose modules only a base can name in another."""


@dataclass(frozen=True)
class Rule:
    """What a program does, how bad that is, and the command that fixes it."""

    severity: str
    says: str
    remedy: str = ""


@dataclass(frozen=True)
class Runtime:
    """One program.

    Attributes:
        title: its name, as people write it.
        source: the versions that were read.
        formats: what it does with each; any other one is refused.
        into: the command that makes one of these.
        rules: fact → what it does. What has no rule here does not concern it.
        limit: the largest rank that it takes where nothing else is set.
    """

    title: str
    source: str
    formats: Mapping[str, Rule]
    into: str
    rules: Mapping[str, Rule] = field(default_factory=dict)
    limit: int | None = None

    @property
    def reads(self) -> list[str]:
        """The formats that are no fault."""
        return [name for name, rule in self.formats.items() if rule.severity not in BAD]


def refused(says: str, remedy: str = "") -> Rule:
    return Rule(REFUSED, says, remedy)


def wrong(says: str, remedy: str = NORMALIZE) -> Rule:
    return Rule(WRONG, says, remedy)


def ignored(says: str, remedy: str = "") -> Rule:
    return Rule(IGNORED, says, remedy)


def unknown(says: str = NOT_KNOWN, remedy: str = "") -> Rule:
    return Rule(UNKNOWN, says, remedy)


def fine(says: str = "applied right") -> Rule:
    return Rule(FINE, says)


STARTED = wrong("takes the factors for LoRA on the base as it is", BASED)
OTHERS = {
    "other": refused("reads LoRA alone", BASED),
    "started": STARTED,
    "gain": refused("reads LoRA alone", FUSE),
    "rotation": refused("reads LoRA alone", FUSE),
    "norms": refused("reads LoRA alone", FUSE),
    "attention": refused("adapts Linear layers, and not what is inside of a MultiheadAttention", FUSE),
}
