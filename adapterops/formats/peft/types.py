"""Kinds of adapter that PEFT has and that are not read here: what they are called, and what goes on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from adapterops.regex import Regex

CONVERT = "convert it to LoRA with PEFT: peft.convert_to_lora"
MERGE = "merge it into its base with PEFT (merge_and_unload); adapterops extract MERGED BASE makes LoRA of that"
LOAD = "it changes no weight of its base: load it with PEFT, next to that"


class Type(NamedTuple):
    """A type of PEFT: its name, how the names of its own arrays begin, and the way on."""

    name: str
    begins: str
    hint: str


TYPES = {
    "RANDLORA": Type("RandLoRA", "randlora_", CONVERT),
    "VBLORA": Type("VB-LoRA", "vblora_", CONVERT),
    "C3A": Type("C3A", "c3a_", CONVERT),
    "DELORA": Type("DeLoRA", "delora_", CONVERT),
    "GRALORA": Type("GraLoRA", "gralora_", CONVERT),
    "MISS": Type("MiSS", "miss_", CONVERT),
    "BONE": Type("Bone", "bone_", MERGE),  # of an older PEFT
    "PSOFT": Type("PSOFT", "psoft_", CONVERT),
    "TINYLORA": Type("TinyLoRA", "tinylora_", CONVERT),
    "UNILORA": Type("UniLoRA", "unilora_", CONVERT),
    "FOURIERFT": Type("FourierFT", "fourierft_", CONVERT),
    "SHIRA": Type("SHiRA", "shira_", MERGE),
    "WAVEFT": Type("WaveFT", "waveft_", CONVERT),
    "HIRA": Type("HiRA", "hira_", MERGE),
    "HRA": Type("HRA", "hra_", MERGE),
    "ROAD": Type("RoAd", "road_", MERGE),
    "OSF": Type("OSF", "osf_", MERGE),
    "LN_TUNING": Type("LayerNorm tuning", "ln_tuning_", MERGE),
    "FROD": Type("FRoD", "frod_", MERGE),
    "PVERA": Type("PVeRA", "pvera_", MERGE),
    "LILY": Type("LILY, which routes between several factors", "lily_", LOAD),
    "DEFT": Type("DEFT", "deft_", MERGE),
    "GLORA": Type("GLoRA", "glora_", MERGE),
    "ADAMSS": Type("AdaMSS", "adamss_", MERGE),
    "PEANUT": Type("PEANuT", "peanut_", MERGE),
    "BEFT": Type("BEFT", "beft_", MERGE),
    "SUPERTUNING": Type("SuperTuning", "supertuning_", MERGE),
    "SHADOW": Type("Shadow, a second network next to the base", "shadow_", LOAD),
    "POLY": Type("Poly, which chooses among several LoRAs by task", "poly_", LOAD),
    "XLORA": Type("X-LoRA, which mixes several LoRAs by token", "xlora_", LOAD),
    "ADAPTION_PROMPT": Type("an adaption prompt", "adaption_", LOAD),
    **{
        each: Type("a prompt of virtual tokens", "prompt_", LOAD)
        for each in ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "MULTITASK_PROMPT_TUNING", "CPT", "CARTRIDGE")
    },
}

UPDATED = r"\.(?:alpha|dora_scale|diff\w*|magnitude|(?:hada|lokr)_\w+|[wb]_norm|set_weight)$"
"""What comes after a module of such a name, which then is no array."""

FURTHER = [
    (r"(?:^|\.)shadow_(?:down|up|update_transform|update_gate|backbone)\.", "SHADOW"),
    (r"(?:^|\.)(?:internal_)?xlora_classifier\.", "XLORA"),
    (r"^prefix_task_(?:cols|rows)$", "MULTITASK_PROMPT_TUNING"),
]
"""Patterns of names whose arrays are layers below them, or begin otherwise → type."""

BEFORE = r"(?:^|\.|^lora_unet_)"
OF_TYPES = {re.escape(each.begins): each for each in TYPES.values()}
IN_TRAINING = Regex(r"\.lora_(?:monteclora_sampler|velora_embed)(?:\.[^.]+)*$")
"""Tensors of MonteCLoRA and VeLoRA that training alone reads: what it trains is LoRA."""

STATES = [
    (
        r"\.lora_monteclora_sampler|\.lora_velora",
        "MonteCLoRA or VeLoRA state",
        "save the adapter for inference, without it",
    ),
    (
        r"\.trainable_tokens_",
        "trained token rows",
        "train them with LoRA's trainable_token_indices, or merge them with PEFT",
    ),
]
AFTER = rf"[^.]*(?!{UPDATED})(?:\.[^.]+)?$"
ARRAYS = [
    *STATES,
    *((pattern, TYPES[name].name, TYPES[name].hint) for pattern, name in FURTHER),
    *((rf"{BEFORE}{begins}{AFTER}", each.name, each.hint) for begins, each in OF_TYPES.items()),
]
"""Pattern of the names of arrays, kind, way on."""


def _any(begins: Iterable[str], after: str = "") -> str:
    """One pattern for all of them, or for what they begin with, which is a little more: what is before them is looked for once,
    and not by each of them wherever a name may begin.
    """
    return "|".join([rf"{BEFORE}(?:{'|'.join(begins)}){after}", *(each[0] for each in (*STATES, *FURTHER))])


BEGINNING = _any(OF_TYPES)


@cache
def of_peft() -> re.Pattern[str]:
    """The names of all these arrays, but for a word that models have, too."""
    return re.compile(_any((begins for begins in OF_TYPES if "prompt" not in begins), AFTER))
