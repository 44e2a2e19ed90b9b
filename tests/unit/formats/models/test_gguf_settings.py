"""config.json, as far as a GGUF file says it."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf_models import MODELS, model, write
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from adapterops.checkpoints.opening import open_checkpoint
from adapterops.errors import UnsupportedError
from adapterops.formats.models.gguf_settings import complete, config_of
from adapterops.storage.gguf import GgufFile

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@pytest.mark.parametrize("architecture", MODELS)
def test_what_is_said_is_what_the_model_has(architecture: str, tmp_path: Path) -> None:
    file = GgufFile(write(tmp_path / "a.gguf", architecture))
    known = model(architecture).config.to_dict()
    for name, value in complete(config_of(architecture, [file]), [file]).items():
        if name in known and name not in ("dtype", "architectures"):
            assert known[name] == (pytest.approx(value) if isinstance(value, float) else value), name


def frequencies(factor: float) -> np.ndarray:
    """What llama.cpp's converter stores for Llama 3.1: by how much a frequency is divided, from transformers' own."""
    fields = {"rope_theta": 5000.0, "head_dim": 64, "max_position_embeddings": 131072}
    scaled = LlamaConfig(**fields, rope_scaling={**LLAMA3, "factor": factor})
    found, _ = ROPE_INIT_FUNCTIONS["llama3"](scaled, torch.device("cpu"))
    plain = 5000.0 ** (-torch.arange(0, 64, 2, dtype=torch.float64) / 64)
    return (plain / found).float().numpy()


def test_the_positions_of_llama_3_are_recognised(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", alter=lambda writer: writer.add_tensor("rope_freqs.weight", frequencies(32.0)))
    file = GgufFile(path)
    found = complete(config_of("llama", [file]), [file])
    assert found["rope_scaling"] == LLAMA3
    assert "rope_freqs.weight" in open_checkpoint(path).layout


def test_other_positions_are_not_guessed(tmp_path: Path) -> None:
    def other(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("rope_freqs.weight", frequencies(8.0) * np.float32(1.01))

    def scaled(writer: gguf.GGUFWriter) -> None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)

    for name, alter in (("a", other), ("b", scaled)):
        file = GgufFile(write(tmp_path / f"{name}.gguf", alter=alter))
        with pytest.raises(UnsupportedError, match="positions"):
            complete(config_of("llama", [file]), [file])
