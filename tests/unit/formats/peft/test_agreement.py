"""Where a config and the tensors next to it tell of different adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peft_folders import adapter

from adapterops.errors import InputError
from adapterops.formats.peft.files import read_files


def test_they_agree(tmp_path: Path) -> None:
    assert read_files(adapter(tmp_path, {})).scalings["q"].scale == 2


@pytest.mark.parametrize(
    ("fields", "others", "message"),
    [
        ({"use_dora": True}, {}, "is LoRA, and the config sets use_dora"),
        ({"lora_bias": True}, {}, "there are no biases, and it sets lora_bias"),
        ({}, {"q.lora_B.bias": np.ones(6, np.float32)}, "does not set lora_bias"),
        ({"lora_bias": True}, {"q.lora_B.bias": np.ones(5, np.float32)}, "has a bias of 5 numbers"),
    ],
)
def test_they_do_not(tmp_path: Path, fields: dict[str, Any], others: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_files(adapter(tmp_path, fields, **others))


def test_what_is_named_and_not_there_is_noted(tmp_path: Path) -> None:
    """Which may be right: PEFT passes over what a model has not, and takes the names of all usual heads for classifiers."""
    fields = {"modules_to_save": ["norm", "classifier", "lm_head"]}
    read = read_files(adapter(tmp_path, fields, **{"lm_head.weight": np.ones((6, 4), np.float32)}))
    assert read.config.missing == ("norm",)


def test_tied_ends(tmp_path: Path) -> None:
    """One update under the names of both ends, as it is or transposed; PEFT leaves an end that is not tied alone."""
    for folder in ("both", "one", "unlike"):
        (tmp_path / folder).mkdir()
    head = {f"lm_head.lora_{each}.weight": np.ones((2, 2), np.float32) for each in "AB"}
    wide = {f"embed_tokens.lora_embedding_{each}": np.ones((2, 2), np.float32) for each in "AB"}
    both = read_files(adapter(tmp_path / "both", {"ensure_weight_tying": True}, **head, **wide))
    assert {"lm_head", "embed_tokens"} <= both.modules.keys()
    assert both.config.targets is None
    assert "lm_head" in read_files(adapter(tmp_path / "one", {"ensure_weight_tying": True}, **head)).modules
    narrow = {
        "embed_tokens.lora_embedding_A": np.ones((2, 3), np.float32),
        "embed_tokens.lora_embedding_B": np.ones((2, 2), np.float32),
    }
    with pytest.raises(InputError, match=r"no update of one rank and shape: .*lm_head has rank 2 and \[2, 2\]"):
        read_files(adapter(tmp_path / "unlike", {"ensure_weight_tying": True}, **head, **narrow))
