"""A few of the classes of benchmarks/architectures.py: what is extracted is loaded whole by PEFT, and what PEFT trains is fused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import architectures

CLASSES = [
    "BartForConditionalGeneration",
    "BertForMaskedLM",
    "DeepseekV3ForCausalLM",
    "EncoderDecoderModel",
    "Gemma3ForConditionalGeneration",
    "GPTNeoXForCausalLM",
    "GptOssForCausalLM",
    "GraniteMoeForCausalLM",
    "JambaForCausalLM",
    "LagunaForCausalLM",
    "Lfm2MoeForCausalLM",
    "Llama4ForConditionalGeneration",
    "LlavaForConditionalGeneration",
    "MixtralForCausalLM",
    "NeoMMEForMaskedLM",
    "Qwen2MoeForCausalLM",
    "Qwen2_5_VLForConditionalGeneration",
    "Qwen3VLMoeForConditionalGeneration",
    "TrOCRForCausalLM",
    "WhisperForCausalLM",
    "ZambaForCausalLM",
]


OTHERWISE = {
    "ZambaForCausalLM": {"fuse": "refused", "extract": "refused"},  # one layer at several depths
    "NeoMMEForMaskedLM": {"embeddings": "refused", "back": "refused"},  # no Linear layer that is not tied changed
}


@pytest.mark.parametrize("name", CLASSES)
def test_models_and_adapters_agree_with_peft(name: str) -> None:
    row = architectures.check("", "", name)
    assert "built" not in row
    found = {what: row[what].partition(":")[0] for what in architectures.WHAT if row[what] not in ("yes", "none")}
    assert found == OTHERWISE.get(name, {})
