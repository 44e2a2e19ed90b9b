"""Layers of an encoder are not those of a decoder, nor of a model that is neither, though all of their names end alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers as t
from safetensors.torch import load_file
from transformers.models.bart.modeling_bart import BartEncoder

from adapterops.cli.main import run

BART = t.BartConfig(
    vocab_size=96, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4,
    encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=32,
)  # fmt: skip
OPT = t.OPTConfig(
    vocab_size=96, hidden_size=32, ffn_dim=48, num_hidden_layers=1, num_attention_heads=4, word_embed_proj_dim=32
)
LLAMA = t.LlamaConfig(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4)


def trained(model: Any, targets: str, folder: Path) -> Any:
    torch.manual_seed(1)
    found = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False))
    found.save_pretrained(folder, save_embedding_layers=False)
    return found


@pytest.mark.parametrize(
    ("base", "other", "targets"),
    [
        (BartEncoder(BART), t.BartForConditionalGeneration(BART), r".*\.decoder\..*self_attn\.[qv]_proj"),
        (t.LlamaForCausalLM(LLAMA), t.OPTForCausalLM(OPT), r".*[qv]_proj"),
        (t.OPTForCausalLM(OPT), t.LlamaForCausalLM(LLAMA), r".*[qv]_proj"),
    ],
    ids=["a decoder's on an encoder", "a decoder's on what is in none", "the other way round"],
)
def test_those_of_another_part_are_refused(
    base: Any, other: Any, targets: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base.save_pretrained(tmp_path / "base")
    trained(other, targets, tmp_path / "a")
    assert run(["fuse", str(tmp_path / "base"), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 4
    message = capsys.readouterr().err
    assert "0 of 2 modules of the adapter are in the base" in message
    assert "Renamed, these would fit: 2 of 2" in message


def test_those_of_the_encoder_that_is_the_base_are_fused(tmp_path: Path) -> None:
    model = t.BartForConditionalGeneration(BART)
    model.model.encoder.save_pretrained(tmp_path / "base")
    adapted = trained(model, r".*\.encoder\..*[qv]_proj", tmp_path / "a")
    assert run(["fuse", str(tmp_path / "base"), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 0
    assert (
        run(["verify", str(tmp_path / "out"), "--base", str(tmp_path / "base"), "--adapter", str(tmp_path / "a")]) == 0
    )
    merged = adapted.merge_and_unload().model.encoder.state_dict()
    for name, tensor in load_file(tmp_path / "out" / "model.safetensors").items():
        torch.testing.assert_close(tensor, merged[name])
