"""Where a config and the tensors next to it tell of different adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peft_folders import adapter

from adapterops.errors import InputError, UnsupportedError
from adapterops.formats.peft.files import read_files


def test_they_agree(tmp_path: Path) -> None:
    assert read_files(adapter(tmp_path, {})).scalings["q"].scale == 2


@pytest.mark.parametrize(
    ("fields", "others", "message"),
    [
        ({"modules_to_save": ["norm"]}, {}, "modules_to_save names 'norm'"),
        ({"use_dora": True}, {}, "is LoRA, and the config sets use_dora"),
        ({"lora_bias": True}, {}, "there are no biases, and it sets lora_bias"),
        ({}, {"q.lora_B.bias": np.ones(6, np.float32)}, "does not set lora_bias"),
        ({"lora_bias": True}, {"q.lora_B.bias": np.ones(5, np.float32)}, "has a bias of 5 numbers"),
    ],
)
def test_they_do_not(tmp_path: Path, fields: dict[str, Any], others: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_files(adapter(tmp_path, fields, **others))


def test_tied_ends(tmp_path: Path) -> None:
    tensors = {f"lm_head.lora_{each}.weight": np.ones((2, 2), np.float32) for each in "AB"}
    with pytest.raises(UnsupportedError, match="LoRA on tied weights"):
        read_files(adapter(tmp_path, {"ensure_weight_tying": True}, **tensors))
