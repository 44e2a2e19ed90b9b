"""A few of the classes of benchmarks/architectures.py: what is extracted is loaded whole by PEFT, and what PEFT trains is fused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import architectures

CLASSES = [
    "DeepseekV3ForCausalLM",
    "Gemma3ForConditionalGeneration",
    "GPTNeoXForCausalLM",
    "GptOssForCausalLM",
    "GraniteMoeForCausalLM",
    "JambaForCausalLM",
    "Llama4ForConditionalGeneration",
    "LlavaForConditionalGeneration",
    "MixtralForCausalLM",
    "Qwen2MoeForCausalLM",
    "Qwen2_5_VLForConditionalGeneration",
    "Qwen3VLMoeForConditionalGeneration",
]


@pytest.mark.parametrize("name", CLASSES)
def test_models_and_adapters_agree_with_peft(name: str) -> None:
    row = architectures.check("", "", name)
    assert [row.get(what) for what in ("built", *architectures.WHAT)] == [None, "yes", "yes", "yes"]
