from __future__ import annotations

import re

import peft
import pytest

from adapterops.formats.peft.types import ARRAYS, BEGINNING, TYPES, of_peft
from adapterops.updates.kinds import KINDS


@pytest.mark.parametrize("kind", [each.value for each in peft.PeftType])
def test_every_type_of_peft_is_read_or_known_by_name(kind: str) -> None:
    read = {"TRAINABLE_TOKENS", *(each.peft_type for each in KINDS.values())}
    assert (kind in TYPES) != (kind in read)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("base_model.model.q_proj.hra_u", "HRA"),
        ("base_model.model.q_proj.glora_A.Xd", "GLoRA"),
        ("base_model.unilora_theta_d", "UniLoRA"),
        ("prompt_embeddings", "a prompt of virtual tokens"),
        ("prefix_task_cols", "a prompt of virtual tokens"),
        ("base_model.model.q_proj.shadow_down.default.weight", "Shadow, a second network next to the base"),
        ("base_model.shadow_backbone.layers.0.q_proj.weight", "Shadow, a second network next to the base"),
        ("base_model.internal_xlora_classifier.inner.0.weight", "X-LoRA, which mixes several LoRAs by token"),
        ("model.layers.0.shadow_proj.0.weight", None),
        ("base_model.model.prompt_encoder.fc.lora_A.weight", None),
        ("base_model.model.prompt_encoder.lora_A.weight", None),
        *((f"lora_unet_prompt_adaln.{end}", None) for end in ("alpha", "hada_w1_a", "lokr_w2", "w_norm", "set_weight")),
    ],
)
def test_arrays_are_known_by_their_own_names(name: str, kind: str | None) -> None:
    assert next((what for pattern, what, _ in ARRAYS if re.search(pattern, name)), None) == kind


@pytest.mark.parametrize("before", ["", "x.", "base_model.model.x_", "lora_unet_", "x.lora_unet_"])
@pytest.mark.parametrize("after", ["", "u", "u.weight", "u.v.weight", "u.alpha", ".diff_b"])
def test_one_pattern_finds_what_each_finds(before: str, after: str) -> None:
    begins = [each.begins for each in TYPES.values()]
    for name in (f"{before}{each}{after}" for each in (*begins, "norm", "prefix_task_cols", "shadow_down.")):
        found = [pattern for pattern, _, _ in ARRAYS if re.search(pattern, name)]
        assert bool(of_peft().search(name)) == any("prompt" not in pattern for pattern in found), name
        assert re.search(BEGINNING, name) or not found, name
