"""Programs that serve language models: a table, and nothing else.

From their source, unless a rule says measured; no server was run.
"""

from __future__ import annotations

from adapterops.formats.runtimes.rules import (
    BASED,
    EACH_EXPERT,
    FUSE,
    MLX_BASED,
    NORMALIZE,
    NOT_KNOWN,
    OTHERS,
    OTHERS_SHOWN,
    OWN_BASE,
    TO_GGUF,
    TO_MLX,
    TO_PEFT,
    TO_PEFT_BASED,
    TRUNCATE,
    WITH_FURTHER,
    Runtime,
    fine,
    ignored,
    refused,
    unknown,
    wrong,
)

ONLY_LANGUAGE = {"images": refused("serves language models", OTHERS_SHOWN)}
FOLDER = {"peft": fine("a folder of PEFT is what it reads")}
NO_CONFIG = {"no_config": refused("needs an adapter_config.json", TO_PEFT)}
NOT_TRIED = {
    **dict.fromkeys(("dora", "saved", "biases", "embeddings"), unknown(remedy=FUSE)),
    "head": unknown(),
    "lora_embeddings": unknown(remedy=FUSE),
}
NOT_LORA = {
    **OTHERS,
    "loha": refused("reads LoRA alone", NORMALIZE),
    "lokr": refused("reads LoRA alone", NORMALIZE),
    "base": refused("has nowhere to put them", OWN_BASE),
    "divided": unknown(remedy=BASED),
    "replication": unknown(remedy=FUSE),
    "adapter_name": unknown(remedy=TO_PEFT),
    **dict.fromkeys(("unprefixed", "bare", "wrapped"), unknown(remedy=BASED)),
    "senses": unknown(remedy=FUSE),
    "further": unknown(
        "reads the adapter's own file, and leaves these out; their names do not say what they hold", WITH_FURTHER
    ),
    "full_names": unknown("whether it takes full names in target_modules is not known"),
}

LANGUAGE = {
    "vllm": Runtime(
        "vLLM",
        "its source of about September 2026, some files older",
        FOLDER,
        TO_PEFT,
        {
            **ONLY_LANGUAGE,
            **NO_CONFIG,
            **NOT_LORA,
            "started": refused(
                "the newest ends with an error; older versions take it for LoRA on the base as it is", BASED
            ),
            "replication": refused("the newest ends with an error; what older versions do is not known", FUSE),
            "unprefixed": refused(
                "older versions end with an error: unsupported LoRA weight; the newest take them", BASED
            ),
            **dict.fromkeys(
                ("bare", "wrapped"),
                wrong(
                    "older versions end with an error; the newest look for modules of just these names, find none, and apply"
                    " nothing",
                    BASED,
                ),
            ),
            "divided": refused("a module that its model does not have by this name is an error (#4715, #4915)", BASED),
            "senses": wrong(
                "left out with a warning in its log, unless the server is started with --enable-tower-connector-lora, which"
                " newer versions have for most models (#26674, #31479)",
                FUSE,
            ),
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
                "is above max_lora_rank: a server that was started with the next larger --max-lora-rank of 32, 64, 128, 256, 320 "
                "and 512 takes it, and nothing is lost (#2847); above 512 cut the rank",
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
            "divided": fine("takes q, k and v as parts or as one, and gate and up, too"),
            "senses": wrong(
                "applies LoRA to the language model alone: this is silently dropped, or taken for layers of that (#28784)",
                FUSE,
            ),
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
            **ONLY_LANGUAGE,
            **NO_CONFIG,
            **NOT_LORA,
            "rslora": wrong("the converter writes lora_alpha, which is divided by the rank (measured)"),
            "alpha_pattern": wrong("the converter writes one lora_alpha for all (measured)"),
            "rank_pattern": fine("divides by the rank of each tensor (not run)"),
            "unprefixed": fine("the converter takes base_model.model. off where it is there"),
            "wrapped": refused("ends the converter with an error: it has no tensor of such a name", BASED),
            "divided": refused("has no tensor of such a name, or of such a shape", TO_GGUF),
            "senses": wrong("the converter leaves out the tensors of what sees or hears", FUSE),
            "dora": refused("ends the converter with an error (measured)", FUSE),
            "saved": refused("ends the converter with an error (measured)", FUSE),
            "biases": refused("ends the converter with an error", FUSE),
            "embeddings": refused(
                "embed_tokens.weight and lm_head.weight end the converter with an error (measured); those in a base_layer it skips",
                FUSE,
            ),
            "adapter_name": refused("ends the converter with an error (measured)", TO_PEFT),
            "tied": refused("has no tensor of its own to add it to", FUSE),
            "embeddings_tied": refused("ends (abort) where one weight is both embedding and head (measured)", FUSE),
            "embeddings_own": fine("applied right (measured)"),
            "embeddings_unsaid": unknown(
                "right where the model has a head of its own; ends (abort) where one weight is both (measured): name the base",
                FUSE,
            ),
            "unapplied": wrong("is loaded and not applied", FUSE),
            "other_architecture": refused("loads no adapter that is for another architecture", OWN_BASE),
            "experts": refused("its converter does not know the parameters of experts", TO_GGUF),
            "constants": refused(
                "ends with an error at tensors with other names than those of LoRA (#9114)", TO_PEFT_BASED
            ),
            "several_files": wrong("loads the first file, and takes it for the whole (measured)", TO_GGUF),
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
            **ONLY_LANGUAGE,
            **NO_CONFIG,
            **NOT_LORA,
            "first_mlx_vlm": unknown(remedy=TO_PEFT),
            "mlx_scale": wrong("scale is read and not used: 1 in its place"),
            "rslora": wrong("use_rslora is not read: alpha over the rank"),
            "alpha_pattern": wrong("one lora_alpha for all"),
            "rank_pattern": unknown(remedy=NORMALIZE),
            "float_alpha": refused("reads a whole number, and fails on 16.0 (#17377, open)", NORMALIZE),
            "other_architecture": unknown(remedy=OWN_BASE),
            **NOT_TRIED,
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
            **ONLY_LANGUAGE,
            "first_mlx_vlm": refused(
                "ends with an error, as the config has no lora_parameters; MLX-VLM loads it", TO_MLX
            ),
            "dora": fine("a magnitude for each output"),
            "head": fine("read where the model has the layer"),
            "tied": refused("has no layer for it: an unknown name is an error (measured)", FUSE),
            "senses": refused("has no layers for it: an unknown name is an error (measured)", FUSE),
            "base": refused("an unknown name is an error", OWN_BASE),
            "divided": refused("an unknown name is an error", MLX_BASED),
            "mlx_names": refused("an unknown name is an error (measured)", MLX_BASED),
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
            **ONLY_LANGUAGE,
            **NO_CONFIG,
            **NOT_LORA,
            "rslora": wrong("use_rslora is not read: alpha over r (#700)"),
            "alpha_pattern": wrong("one lora_alpha for all"),
            "rank_pattern": wrong("one r for all"),
            **NOT_TRIED,
            "experts": ignored("modules that it does not know have no effect", FUSE),
            "base": ignored("modules that it does not know have no effect", OWN_BASE),
            "divided": ignored("modules that it does not know have no effect", BASED),
            "rank": unknown("its kernels go up to 128", TRUNCATE),
        },
        limit=128,
    ),
}
