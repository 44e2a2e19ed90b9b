"""Which adapters become which, as tests/interop/test_conversions.py tries every cell: the table of formats.md."""

from __future__ import annotations

import re

YES, BASE, NO = "yes", "with `--base`", "refused"

TARGETS = {
    "peft": "PEFT",
    "mlx": "MLX-LM",
    "gguf": "llama.cpp",
    "kohya": "diffusers",
    "comfy": "diffusers",
    "diffusers": "diffusers",
}
"""Format → the program that the tests load what is written with."""

LANGUAGE, IMAGE = ("peft", "mlx"), ("peft", "kohya", "comfy", "diffusers")

TABLE = {
    "PEFT: LoRA": dict.fromkeys(LANGUAGE, YES) | {"gguf": BASE},
    "PEFT: rsLoRA, rank and alpha patterns": dict.fromkeys(LANGUAGE, YES) | {"gguf": BASE},
    "PEFT: LoHa": dict.fromkeys(LANGUAGE, YES) | {"gguf": BASE},
    "PEFT: LoKr": dict.fromkeys(LANGUAGE, YES) | {"gguf": BASE},
    "PEFT: DoRA": dict.fromkeys(LANGUAGE, YES) | {"gguf": NO},
    "PEFT: VeRA": dict.fromkeys((*LANGUAGE, "gguf"), BASE),
    "PEFT: QA-LoRA": dict.fromkeys((*LANGUAGE, "gguf"), BASE),
    "PEFT: (IA)³": {"peft": YES, "mlx": BASE, "gguf": BASE},
    "PEFT: OFT": {"peft": YES, "mlx": BASE, "gguf": BASE},
    "PEFT: full tensors (modules_to_save)": {"peft": YES, "mlx": NO, "gguf": NO},
    "MLX-LM: LoRA": dict.fromkeys(LANGUAGE, YES) | {"gguf": BASE},
    "llama.cpp: LoRA": dict.fromkeys(LANGUAGE, BASE) | {"gguf": YES},
    "PEFT, image models: LoRA": dict.fromkeys(IMAGE, YES),
    "PEFT, image models: rsLoRA, rank and alpha patterns": dict.fromkeys(IMAGE, YES),
    "PEFT, image models: LoHa": dict.fromkeys(IMAGE, YES),
    "PEFT, image models: LoKr": dict.fromkeys(IMAGE, YES),
    "PEFT, image models: DoRA": {"peft": YES, "diffusers": YES},
    "kohya: LoRA": {"peft": BASE, "kohya": YES, "comfy": BASE, "diffusers": BASE},
    "LyCORIS: LoHa": {"peft": BASE, "kohya": YES, "comfy": BASE, "diffusers": BASE},
    "LyCORIS: LoKr": {"peft": BASE, "kohya": YES, "comfy": BASE, "diffusers": BASE},
    "ComfyUI, ai-toolkit: LoRA": {"peft": BASE, "kohya": YES, "comfy": YES, "diffusers": BASE},
    "diffusers: LoRA": {"peft": BASE, "kohya": YES, "comfy": YES, "diffusers": YES},
}
"""What there is → format → whether it becomes that, as the same function."""

FUSED = ("AdaLoRA", "PiSSA", "OLoRA", "(IA)³", "OFT", "BOFT")
"""Kinds of PEFT that are read and fused, of which test_conversions.py compares each with what PEFT merges."""

PROGRAMS = {
    "kohya": "kohya",
    "comfy": "ComfyUI",
    "diffusers": "diffusers",
    "gguf": "GGUF",
    "mlx": "MLX-LM",
    "peft": "PEFT",
}


def of_readme() -> str:
    """The row of README that says which adapters are read, and written."""
    kinds = [
        kind
        for row in TABLE
        if row.startswith("PEFT: ") and "," not in (kind := row.removeprefix("PEFT: ").partition(" (")[0])
    ]
    others = [row.partition(":")[0] for row in TABLE if not row.startswith("PEFT")]
    read = f"PEFT: {', '.join(dict.fromkeys((*kinds, *FUSED)))}; {', '.join(dict.fromkeys(others))}"
    return f"| adapters | {read} | {', '.join(PROGRAMS[each] for each in TARGETS)} |"


MARKED = re.compile(r"(?<=<!-- conversions -->\n).*?(?=<!-- end of conversions -->)", re.DOTALL)


def table() -> str:
    """A row for each kind of adapter, a column for each format, and who reads what is written in the tests."""
    lines = [f"| | {' | '.join(f'`--to {target}`' for target in TARGETS)} |", "|---" * (len(TARGETS) + 1) + "|"]
    lines += [
        f"| {source} | {' | '.join(cells.get(each, '') for each in TARGETS)} |" for source, cells in TABLE.items()
    ]
    lines.append(f"| loaded in the tests by | {' | '.join(TARGETS.values())} |")
    return "\n".join(lines) + "\n"


def with_conversions(page: str) -> str:
    """A page with the table of now between its marks."""
    return MARKED.sub(lambda _: table(), page)
