"""Programs that load adapters of image and video models: a table, and nothing else.

From their source, unless a rule says measured.
"""

from __future__ import annotations

from adapterops.formats.runtimes.rules import (
    CUT_TO_DIFFUSERS,
    FUSE,
    OTHERS,
    OTHERS_SHOWN,
    OWN_BASE,
    TO_COMFY,
    TO_DIFFUSERS,
    TO_KOHYA,
    WITH_AUTHORS,
    Runtime,
    fine,
    ignored,
    refused,
    unknown,
    wrong,
)

IMAGES = {
    "diffusers": Runtime(
        "diffusers",
        "0.42.1, run for conversions",
        {
            "kohya": fine("converted when it is loaded, for the models that it knows"),
            "comfy": fine("converted when it is loaded, for the models and names that it knows"),
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
            "header_entries": wrong(
                "other entries of the header are not read: the scale is 1 (measured)", TO_DIFFUSERS
            ),
            "header_untargeted": refused(
                "PEFT, which gets it, fails without the target_modules of every part (measured)", TO_DIFFUSERS
            ),
            "rank_pattern": fine(
                "ranks are those of the tensors; versions before #14409 (August 2026) take one of them for all alphas, where"
                " none is stated"
            ),
            "dora": wrong(
                "of kohya's Stable Diffusion 1.5 the magnitudes are dropped (OneTrainer #1563); of PEFT right", FUSE
            ),
            "dora_peft": fine("applied right (measured for Flux)"),
            "dora_magnitude": wrong("the magnitudes are silently left out (measured for Flux)", FUSE),
            "dora_inputs": wrong(
                "of Stable Diffusion the magnitudes are dropped, with a line in the log (measured)", FUSE
            ),
            "diffusers_left": wrong(
                "are not loaded: with a line in the log (measured), by some pipelines with an error", TO_DIFFUSERS
            ),
            "diffusers_stops": refused(
                "they, or what is next to lora_A and lora_B, end the loading of the whole file with an error (measured)",
                TO_DIFFUSERS,
            ),
            "diffusers_changed": wrong(
                "something else is loaded: of Flux without the alphas, of HunyuanVideo with rows exchanged (measured)",
                TO_DIFFUSERS,
            ),
            "diffusers_encoders": wrong(
                "are silently left out: of text encoders it loads CLIP's, of Stable Diffusion and Flux (measured)", FUSE
            ),
            "diffusers_parts": refused(
                "by kohya's names q, k and v without out_proj end with an error, or are left out next to others; by its own names"
                " others without these four, and those of the second encoder without text_model, end with an error (measured)",
                FUSE,
            ),
            "diffusers_unsure": unknown("which model it is settles it: name it with --base", TO_DIFFUSERS),
            "alphas": wrong(
                "attention of a UNet, and CLIP next to one, get the most frequent alpha of all, over the rank of each module (measured)",
                TO_DIFFUSERS,
            ),
            "tucker": refused("the kernel is left over, which is a ValueError (measured)", CUT_TO_DIFFUSERS),
            "flattened": refused(
                "end the loading of the whole file with an error: their shapes are not the weights' (measured)",
                TO_KOHYA,
            ),
            "loha": wrong("no pipeline loads it (measured)", CUT_TO_DIFFUSERS),
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
            "header_entries": wrong("the header is not read: the scale is 1", TO_COMFY),
            "comfyui_left": wrong('are left out: "lora key not loaded" in the log', WITH_AUTHORS),
            "comfyui_unet": wrong(
                'are left out: "lora key not loaded" in the log; after lora_unet_ it has all of them, of attention else those with'
                " processor, which diffusers wrote before, and --to comfy does",
                TO_COMFY,
            ),
            "comfyui_unsure": unknown("which model it is settles it: name it with --base", WITH_AUTHORS),
            "dora": wrong(
                "with a magnitude for each output the norm is that of W and not of W + ΔW (#15458, open)", FUSE
            ),
            "dora_peft": wrong('the magnitudes are left out: "lora key not loaded" in the log', FUSE),
            "dora_magnitude": wrong('the magnitudes are left out: "lora key not loaded" in the log', FUSE),
            "dora_inputs": fine(),
            "dora_vector": wrong(
                "is taken for a magnitude of each input: the module is left out with an error in the log where the weight is not"
                " square; a square one is silently wrong (#12938, open)",
                FUSE,
            ),
            "tucker": fine(),
            "flattened": fine("takes the shape of the weight"),
            "loha": fine(),
            "lokr": fine(),
            "difference": fine("diff and diff_b are keys of its own"),
            "modulation": wrong('of modulations is left out: "lora key not loaded" in the log', TO_COMFY),
            "set": fine("set_weight is a key of its own, and has no strength"),
            "base": ignored('"lora key not loaded" in the log', OWN_BASE),
        },
    ),
}
