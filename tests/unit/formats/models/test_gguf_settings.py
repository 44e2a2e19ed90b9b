"""config.json, as far as a GGUF file says it."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import transformers
from gguf_models import LLAMA3, MODELS, frequencies, model, write

from adapterops.checkpoints.opening import open_checkpoint
from adapterops.errors import UnsupportedError
from adapterops.formats.models.gguf_settings import complete, config_of
from adapterops.storage.gguf import GgufFile


@pytest.mark.parametrize("architecture", MODELS)
def test_what_is_said_is_what_the_model_has(architecture: str, tmp_path: Path) -> None:
    file = GgufFile(write(tmp_path / "a.gguf", architecture))
    known = model(architecture).config.to_dict()
    for name, value in complete(config_of(architecture, [file]), [file]).items():
        if name in known and name not in ("dtype", "architectures"):
            assert known[name] == (pytest.approx(value) if isinstance(value, float) else value), name


def test_the_positions_of_llama_3_are_recognised(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", alter=lambda writer: writer.add_tensor("rope_freqs.weight", frequencies(32.0)))
    file = GgufFile(path)
    found = complete(config_of("llama", [file]), [file])
    assert found["rope_scaling"] == LLAMA3
    assert "rope_freqs.weight" in open_checkpoint(path).layout


def test_what_is_not_known_is_not_guessed(tmp_path: Path) -> None:
    def other(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("rope_freqs.weight", frequencies(8.0) * np.float32(1.01))

    def scaled(writer: gguf.GGUFWriter) -> None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)

    def partly(writer: gguf.GGUFWriter) -> None:
        writer.add_rope_dimension_count(32)

    def biased(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("blk.0.attn_output.bias", np.zeros(256, np.float32))

    cases = {"positions": (other, scaled), "rotates 32 of the 64": (partly,), "is a bias": (biased,)}
    for number, (message, alter) in enumerate((m, each) for m, those in cases.items() for each in those):
        file = GgufFile(write(tmp_path / f"{number}.gguf", alter=alter))
        with pytest.raises(UnsupportedError, match=message):
            complete(config_of("llama", [file]), [file])


@pytest.mark.parametrize(
    ("gating", "bias", "model_type"),
    [(2, False, "deepseek_v3"), (None, True, "deepseek_v3"), (1, False, "deepseek_v2"), (None, False, "deepseek_v2")],
)
def test_deepseek_is_the_second_or_the_third(gating: int | None, bias: bool, model_type: str, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(str(tmp_path / "a.gguf"), "deepseek2")
    writer.add_type("model")
    if gating is not None:
        writer.add_uint32("deepseek2.expert_gating_func", gating)
    writer.add_tensor("token_embd.weight", np.zeros((8, 32), np.float32))
    if bias:
        writer.add_tensor("blk.1.exp_probs_b.bias", np.zeros(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    config = config_of("deepseek2", [GgufFile(tmp_path / "a.gguf")])
    assert config["model_type"] == model_type
    assert getattr(transformers, config["architectures"][0]).config_class.model_type == model_type
