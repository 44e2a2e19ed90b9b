"""What programs that serve or load adapters do with what an adapter may have: tables, and nothing else.

From the programs' source, unless a rule says measured; no server was run. A rule that holds for some versions says so,
and is applied: which version will load an adapter is not known. `docs/runtimes.md` is printed from these tables.
"""

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
    "language": "an adapter of a language model",
    "images": "an adapter of an image or video model",
    "no_config": "no adapter_config.json",
    "config_scale": "a scale that adapter_config.json says",
    "header_scale": "a scale that the header of the file says",
    "mlx_scale": "a scale that MLX's config says",
    "alpha_beside": ".alpha next to lora_A and lora_B",
    "rslora": "use_rslora",
    "rslora_experts": "use_rslora on experts",
    "alpha_pattern": "alpha_pattern",
    "rank_pattern": "unequal ranks (rank_pattern)",
    "float_alpha": "a lora_alpha that is not written as an integer",
    "dora": "DoRA",
    "dora_inputs": "DoRA with a magnitude for each input",
    "dora_vector": "DoRA with a dora_scale of one dimension",
    "tucker": "LoRA with a kernel between its factors (Tucker)",
    "loha": "LoHa",
    "lokr": "LoKr",
    "other": "a kind that is LoRA in another form",
    "started": "LoRA that was trained on a changed base",
    "gain": "(IA)³",
    "rotation": "OFT or BOFT",
    "attention": "LoRA on a MultiheadAttention of torch",
    "difference": "differences of whole tensors",
    "modulation": "differences of modulations (diff_m)",
    "saved": "modules_to_save",
    "biases": "trained biases",
    "embeddings": "whole embeddings or heads",
    "head": "LoRA on lm_head",
    "lora_embeddings": "LoRA on embeddings",
    "experts": "LoRA on fused experts (target_parameters)",
    "adapter_name": "the adapter's name in the names of tensors",
    "replication": "layers of the base that are replicated (layer_replication)",
    "full_names": "full names in target_modules",
    "rank": "the rank",
    "wide": "a rank above a dimension of its module",
    "base": "modules that the base does not have",
    "architecture": "the architecture of the base",
    "rotated": "LoRA on q and k",
    "tied": "LoRA on the lm_head of a model that ties it",
}
"""What is looked at, and what people call it."""

NORMALIZE = "adapterops normalize {source}{names} -o normalized"
FUSE = "adapterops fuse BASE {source} -o fused"
EACH_EXPERT = "adapterops normalize {source} --base BASE --names files -o normalized"
TRUNCATE = "adapterops truncate {source}{names} --rank {limit} -o truncated"
TO_PEFT = "adapterops convert {source}{names} --to peft -o converted"
CUT_TO_PEFT = "adapterops convert {source}{names} --to peft --rank 32 -o converted"
TO_KOHYA = "adapterops convert {source}{names} --to kohya -o converted"
TO_COMFY = "adapterops convert {source}{names} --to comfy -o converted"
TO_DIFFUSERS = "adapterops convert {source} --base BASE --to diffusers -o converted"
TO_MLX = "adapterops convert {source}{names} --to mlx -o converted"
TO_GGUF = "adapterops convert {source} --to gguf --base BASE -o converted"
BASED = "adapterops normalize {source} --base BASE -o normalized"
OWN_BASE = "give the base that the adapter was trained on"
OTHERS_SHOWN = "adapterops check {source}, which shows the programs of all kinds"
ELSEWHERE = ("language", "images")
"""Facts that, where a program has a rule for one, leave nothing else to say: it is for other models."""

DORA = {"dora", "dora_inputs", "dora_vector"}
TRAINED = {"saved", "biases", "embeddings", "difference"}
STOPS = {
    NORMALIZE: {*DORA, "gain", "replication", *TRAINED},
    BASED: {*DORA, "gain", "replication", *TRAINED},
    TO_GGUF: {*DORA, "gain", "replication", *TRAINED},
    TRUNCATE: {*DORA, "gain"},
    TO_PEFT: {*DORA, "gain"},
    CUT_TO_PEFT: {*DORA, "gain"},
    TO_COMFY: {*DORA, "gain", "experts", "replication", *TRAINED},
    TO_DIFFUSERS: {*DORA, "gain", "experts", "replication", *TRAINED},
    TO_KOHYA: {*DORA, "gain", "experts", "replication", *TRAINED},
    TO_MLX: {*DORA, "gain", "experts", "replication", *TRAINED},
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


LANGUAGE_ALONE = {"images": refused("serves language models", OTHERS_SHOWN)}
FOLDER = {"peft": fine("a folder of PEFT is what it reads")}
NO_CONFIG = {"no_config": refused("needs an adapter_config.json", TO_PEFT)}
STARTED = wrong("takes the factors for LoRA on the base as it is", BASED)
OTHERS = {
    "other": refused("reads LoRA alone", BASED),
    "started": STARTED,
    "gain": refused("reads LoRA alone", FUSE),
    "rotation": refused("reads LoRA alone", FUSE),
    "attention": refused("adapts Linear layers, and not what is inside of a MultiheadAttention", FUSE),
}
NOT_LORA = {
    **OTHERS,
    "loha": refused("reads LoRA alone", NORMALIZE),
    "lokr": refused("reads LoRA alone", NORMALIZE),
    "base": refused("has nowhere to put them", OWN_BASE),
    "replication": unknown(remedy=FUSE),
    "adapter_name": unknown(remedy=TO_PEFT),
    "full_names": unknown("whether it takes full names in target_modules is not known"),
}

RUNTIMES = {
    "vllm": Runtime(
        "vLLM",
        "its source of about September 2026, some files older",
        FOLDER,
        TO_PEFT,
        {
            **LANGUAGE_ALONE,
            **NO_CONFIG,
            **NOT_LORA,
            "started": refused(
                "the newest ends with an error; older versions take it for LoRA on the base as it is", BASED
            ),
            "replication": refused("the newest ends with an error; what older versions do is not known", FUSE),
            "rslora": fine("alpha over the root of r (since #6909)"),
            "rslora_experts": wrong("on fused experts use_rslora is not read (#55545)"),
            "alpha_pattern": wrong("older versions read one lora_alpha for all; the newest honours the pattern"),
            "rank_pattern": wrong("older versions divide by one r for all; the newest honours the pattern"),
            "dora": refused("use_dora is an error", FUSE),
            "adapter_name": refused("ends with an error: unsupported LoRA weight", TO_PEFT),
            "saved": refused("modules_to_save is an error; the main branch takes classifier and score", FUSE),
            "biases": refused("a bias other than none is an error", FUSE),
            "embeddings": refused("a whole weight of an embedding or a head is an error (#32599, #4186)", FUSE),
            "head": unknown("only modules that the model lists are taken, and not every model lists its head"),
            "lora_embeddings": fine("lora_embedding_A and lora_embedding_B are read"),
            "experts": wrong(
                "depends on the model: silently not applied for Gemma 4 (#41754), the base alone for Qwen 3.5"
                " before #41384, not loaded for Nemotron-H (#47088); models whose files have each expert by itself take LoRA on"
                " every one of them",
                EACH_EXPERT,
            ),
            "rank": refused(
                "is above max_lora_rank: start the server with --max-lora-rank 1, 8, 16, 32, 64, 128, 256, 320 or 512"
                " (#2847), which loses nothing, or cut the rank",
                TRUNCATE,
            ),
        },
        limit=16,
    ),
    "sglang": Runtime(
        "SGLang",
        "its source of about September 2026, some files older",
        FOLDER,
        TO_PEFT,
        {
            "images": unknown("what it does with image models was not read", OTHERS_SHOWN),
            **NO_CONFIG,
            **NOT_LORA,
            "rslora": wrong("use_rslora is not read: alpha over r (#40835, open)"),
            "alpha_pattern": wrong("older versions read one lora_alpha for all; the newest records the pattern"),
            "rank_pattern": unknown("early versions refuse several adapters of unequal ranks or scales", NORMALIZE),
            "dora": refused("use_dora is an error", FUSE),
            "saved": unknown(f"{NOT_KNOWN}; added tokens are an error", FUSE),
            "biases": unknown(remedy=FUSE),
            "embeddings": unknown(f"{NOT_KNOWN}; added tokens are an error", FUSE),
            "head": unknown(),
            "lora_embeddings": unknown(),
            "experts": wrong(
                "names with experts.base_layer are dropped silently, unless --lora-strict-loading (#25528)", FUSE
            ),
            "rank": refused(
                "is above max_lora_rank of the server: raise that, which loses nothing, or cut the rank", TRUNCATE
            ),
        },
    ),
    "llama.cpp": Runtime(
        "llama.cpp",
        "llama-cpp-python 0.3.36; its converter was run",
        {
            "gguf": fine("what it reads"),
            "peft": fine("through convert_lora_to_gguf.py, which reads a folder of PEFT"),
        },
        TO_PEFT,
        {
            **LANGUAGE_ALONE,
            **NO_CONFIG,
            **NOT_LORA,
            "rslora": wrong("the converter writes lora_alpha, which is divided by the rank (measured)"),
            "alpha_pattern": wrong("the converter writes one lora_alpha for all (measured)"),
            "rank_pattern": fine("divides by the rank of each tensor (not run)"),
            "dora": refused("ends the converter with an error (measured)", FUSE),
            "saved": refused("ends the converter with an error (measured)", FUSE),
            "biases": refused("ends the converter with an error", FUSE),
            "embeddings": refused(
                "embed_tokens.weight and lm_head.weight end the converter with an error (measured); those in a base_layer it skips",
                FUSE,
            ),
            "adapter_name": refused("ends the converter with an error (measured)", TO_PEFT),
            "tied": refused("has no tensor of its own to add it to", FUSE),
            "lora_embeddings": unknown(remedy=FUSE),
            "experts": unknown(remedy=FUSE),
        },
    ),
    "ollama": Runtime(
        "Ollama",
        "commit fb30760",
        {
            "gguf": fine("what is best for it"),
            "peft": fine("converted when the model is created; one adapter alone"),
            "mlx": fine("converted when the model is created; one adapter alone"),
        },
        TO_PEFT,
        {
            **LANGUAGE_ALONE,
            **NO_CONFIG,
            **NOT_LORA,
            "mlx_scale": wrong("scale is read and not used: 1 in its place"),
            "rslora": wrong("use_rslora is not read: alpha over the rank"),
            "alpha_pattern": wrong("one lora_alpha for all"),
            "rank_pattern": unknown(remedy=NORMALIZE),
            "float_alpha": refused("reads a whole number, and fails on 16.0 (#17377, open)", NORMALIZE),
            "dora": unknown(remedy=FUSE),
            "saved": unknown(remedy=FUSE),
            "biases": unknown(remedy=FUSE),
            "embeddings": unknown(remedy=FUSE),
            "head": unknown(),
            "lora_embeddings": unknown(remedy=FUSE),
            "experts": unknown(remedy=FUSE),
            "wide": wrong("takes the longer side of A and B for the outer one", TRUNCATE),
            "architecture": refused("converts adapters of llama and gemma2 alone (#6858, #6440)", TO_GGUF),
            "rotated": wrong(
                "of llama, columns of A are permuted and not rows of B: nothing of the update is left (simulated from its"
                " source)",
                TO_GGUF,
            ),
        },
    ),
    "mlx": Runtime(
        "MLX-LM",
        "0.32.2, run",
        {"mlx": fine("what it reads")},
        TO_MLX,
        {
            **LANGUAGE_ALONE,
            "dora": fine("a magnitude for each output"),
            "head": fine("read where the model has the layer"),
            "base": refused("an unknown name is an error", OWN_BASE),
        },
    ),
    "tensorrt-llm": Runtime(
        "TensorRT-LLM",
        "commit 007e181",
        FOLDER,
        TO_PEFT,
        {
            "images": unknown("what it does with image models was not read", OTHERS_SHOWN),
            **NO_CONFIG,
            **NOT_LORA,
            "rslora": fine("alpha over the root of the rank (since 2024-07, #1668)"),
            "alpha_pattern": wrong("one lora_alpha for all"),
            "rank_pattern": fine("a rank for each module"),
            "dora": unknown("of linear layers right; of experts unsupported, and its guard may not fire", FUSE),
            "adapter_name": refused("any other name than those of its layers is a KeyError", TO_PEFT),
            "saved": refused("any other name than those of its layers is a KeyError", FUSE),
            "biases": refused("any other name than those of its layers is a KeyError", FUSE),
            "embeddings": fine("heads and embeddings are read this way alone"),
            "head": refused("heads are read only through modules_to_save", FUSE),
            "lora_embeddings": refused("embeddings are read only through modules_to_save", FUSE),
            "experts": unknown(remedy=FUSE),
            "rank": refused("is above max_lora_rank", TRUNCATE),
        },
        limit=64,
    ),
    "lorax": Runtime(
        "LoRAX",
        "commit a7394ba",
        FOLDER,
        TO_PEFT,
        {
            **LANGUAGE_ALONE,
            **NO_CONFIG,
            **NOT_LORA,
            "rslora": wrong("use_rslora is not read: alpha over r (#700)"),
            "alpha_pattern": wrong("one lora_alpha for all"),
            "rank_pattern": wrong("one r for all"),
            "dora": unknown(remedy=FUSE),
            "saved": unknown(remedy=FUSE),
            "biases": unknown(remedy=FUSE),
            "embeddings": unknown(remedy=FUSE),
            "head": unknown(),
            "lora_embeddings": unknown(remedy=FUSE),
            "experts": ignored("modules that it does not know have no effect", FUSE),
            "base": ignored("modules that it does not know have no effect", OWN_BASE),
            "rank": unknown("its kernels go up to 128", TRUNCATE),
        },
        limit=128,
    ),
    "diffusers": Runtime(
        "diffusers",
        "0.42.1, run for conversions",
        {
            "kohya": fine("converted when it is loaded, for the models that it knows"),
            "comfy": unknown(
                "converted for most models that it knows; of Flux, lora_A under diffusion_model. is left out (measured)",
                TO_DIFFUSERS,
            ),
            "diffusers": fine("what it reads"),
            "peft": wrong(
                "names that begin with base_model.model. are read for few models: Flux fails to load, for a UNet nothing is loaded,"
                " with a line in the log (measured)",
                TO_DIFFUSERS,
            ),
        },
        TO_KOHYA,
        {
            "language": refused(
                "is for image and video models: Flux fails to load, for others nothing is loaded, with a line in the log (measured)",
                OTHERS_SHOWN,
            ),
            **OTHERS,
            "config_scale": wrong("adapter_config.json is not read: the scale is 1"),
            "header_scale": fine("lora_adapter_metadata is read"),
            "alpha_beside": unknown(
                "depends on the model: FLUX.2 and Krea 2 fail to load, Qwen-Image is right since 0.42.1 (measured)",
                TO_KOHYA,
            ),
            "rank_pattern": fine("ranks are those of the tensors"),
            "dora": wrong(
                "of kohya's Stable Diffusion 1.5 the magnitudes are dropped (OneTrainer #1563); of PEFT right", FUSE
            ),
            "dora_inputs": wrong(
                "of Stable Diffusion the magnitudes are dropped, with a line in the log (measured)", FUSE
            ),
            "tucker": refused("the kernel is left over, which is a ValueError (measured)", CUT_TO_PEFT),
            "loha": refused("Z-Image and Stable Diffusion fail to load (measured)", CUT_TO_PEFT),
            "lokr": unknown(
                "depends on the model: SDXL and Qwen-Image fail to load, Z-Image and FLUX.2 are right (measured)",
                CUT_TO_PEFT,
            ),
            "difference": wrong("of Flux and Wan, norms and biases are filtered with a line in the log", FUSE),
            "base": refused("what is left over is a ValueError", OWN_BASE),
        },
    ),
    "comfyui": Runtime(
        "ComfyUI",
        "commit 17358c8",
        {
            "kohya": fine("what it reads"),
            "comfy": fine("what it reads"),
            "diffusers": fine("read for Flux, and for other models whose names of diffusers it knows"),
            "peft": wrong(
                'names that begin with base_model.model. are read for few models; for others "lora key not loaded" in the log',
                TO_COMFY,
            ),
        },
        TO_KOHYA,
        {
            "language": refused('is for image and video models: "lora key not loaded" in the log', OTHERS_SHOWN),
            **OTHERS,
            "config_scale": wrong("adapter_config.json is not read: the scale is 1"),
            "header_scale": wrong("the header is not read: the scale is 1", TO_COMFY),
            "dora": wrong(
                "with a magnitude for each output the norm is that of W and not of W + ΔW (#15458, open)", FUSE
            ),
            "dora_inputs": fine(),
            "dora_vector": wrong(
                "is taken for a magnitude of each input: the module is left out with an error in the log where the weight is not"
                " square; a square one is silently wrong (#12938, open)",
                FUSE,
            ),
            "tucker": fine(),
            "loha": fine(),
            "lokr": fine(),
            "difference": fine("diff and diff_b are keys of its own"),
            "modulation": wrong('of modulations is left out: "lora key not loaded" in the log', FUSE),
            "base": ignored('"lora key not loaded" in the log', OWN_BASE),
        },
    ),
}
