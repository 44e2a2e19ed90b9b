"""GGUF models: their files, and what is refused by name."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from gguf_files import write as write_adapter
from gguf_models import mixed, write

from adapterops.checkpoints.opening import open_checkpoint
from adapterops.errors import AdapterOpsError, InputError, UnsupportedError
from adapterops.formats.models.model_files import holds_model
from adapterops.operations.quantization import dequantize


def test_tensors_have_the_names_and_types_that_they_have(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write(tmp_path / "a.gguf", "llama", mixed))
    assert checkpoint.layout["model.layers.1.mlp.down_proj.weight"].shape == (256, 512)
    assert checkpoint.schemes["model.layers.0.mlp.down_proj.weight"].name == "Q6_K"
    assert "model.layers.0.self_attn.k_proj.weight" not in checkpoint.schemes  # which is in F16
    assert checkpoint.layout["model.norm.weight"].dtype == "F32"
    assert checkpoint.config is not None
    assert checkpoint.config["num_key_value_heads"] == 2


def test_a_model_in_parts_is_one(tmp_path: Path) -> None:
    whole = open_checkpoint(write(tmp_path / "a.gguf", "llama", mixed))
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts" / "b.gguf", "llama", mixed, split_max_tensors=8)
    first = min((tmp_path / "parts").iterdir())
    for source in (first, tmp_path / "parts"):
        parts = open_checkpoint(source)
        assert len(parts.shards) == 3
        assert parts.layout == whole.layout
        assert all(parts.stored[name].same_bytes(whole.stored[name]) for name in whole.layout)
    max((tmp_path / "parts").iterdir()).unlink()
    with pytest.raises(InputError, match="is missing"):
        open_checkpoint(first)


def test_models_and_adapters_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "adapter").mkdir()
    model, adapter = write(tmp_path / "model" / "a.gguf"), write_adapter(tmp_path / "adapter" / "adapter.gguf")
    assert holds_model(model)
    assert holds_model(model.parent)
    assert not holds_model(adapter)
    assert not holds_model(adapter.parent)
    with pytest.raises(InputError, match="where a model is expected"):
        open_checkpoint(adapter)


def test_of_several_models_in_a_folder_one_has_to_be_named(tmp_path: Path) -> None:
    for name in ("q4", "q8"):
        write(tmp_path / f"{name}.gguf")
    with pytest.raises(InputError) as raised:
        open_checkpoint(tmp_path)
    assert "name the file of one" in str(raised.value.hint)
    assert open_checkpoint(tmp_path / "q4.gguf").layout


def test_what_is_not_known_is_named(tmp_path: Path) -> None:
    def shared(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("blk.0.ffn_gate_shexp.weight", np.zeros((8, 8), np.float32))

    with pytest.raises(UnsupportedError) as raised:
        open_checkpoint(write(tmp_path / "a.gguf", alter=shared))
    assert raised.value.tensor == "blk.0.ffn_gate_shexp.weight"
    strange = tmp_path / "b.gguf"
    strange.write_bytes((tmp_path / "a.gguf").read_bytes().replace(b"llama", b"mamba"))
    with pytest.raises(UnsupportedError, match="'mamba'"):
        open_checkpoint(strange)


@pytest.mark.parametrize("joined", [False, True])
def test_experts_are_weights_each(joined: bool, tmp_path: Path) -> None:
    whole = open_checkpoint(write(tmp_path / "a.gguf", "qwen2moe", mixed, joined=joined))
    known = {each.name: each for each in gguf.GGUFReader(tmp_path / "a.gguf").tensors}
    assert whole.layout["model.layers.1.mlp.shared_expert_gate.weight"].shape == (1, 256)
    for number in range(3):
        for name, end, first in (
            ("gate", "gate_up" if joined else "gate", 0),
            ("up", "gate_up" if joined else "up", 256),
        ):
            tensor = known[f"blk.1.ffn_{end}_exps.weight"]
            expected = gguf.dequantize(tensor.data, tensor.tensor_type)[number]
            found = whole.rows(f"model.layers.1.mlp.experts.{number}.{name}_proj.weight")(0, 256).values
            np.testing.assert_array_equal(found, expected[first if joined else 0 :][:256])
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts" / "b.gguf", "qwen2moe", mixed, joined=joined, split_max_tensors=8)
    parts = open_checkpoint(tmp_path / "parts")
    assert parts.layout == whole.layout
    assert all(parts.stored[name].same_bytes(whole.stored[name]) for name in whole.layout)


def test_experts_in_tensors_of_their_own_are_read(tmp_path: Path) -> None:
    """As the first files of Mixtral had them; twice is refused."""
    values = np.arange(16, dtype=np.float32).reshape(4, 4)

    def first(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("blk.0.ffn_gate.7.weight", values)

    found = open_checkpoint(write(tmp_path / "a.gguf", alter=first))
    name = "model.layers.0.block_sparse_moe.experts.7.w1.weight"
    np.testing.assert_array_equal(found.rows(name)(0, 4).values, values)

    def twice(writer: gguf.GGUFWriter) -> None:
        first(writer)
        writer.add_tensor("blk.0.ffn_gate_exps.weight", np.zeros((8, 4, 4), np.float32))

    def flat(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("blk.0.ffn_gate_exps.weight", values)

    for number, (alter, message) in enumerate(((twice, "and so is"), (flat, "expected experts, rows and columns"))):
        with pytest.raises(InputError, match=message):
            open_checkpoint(write(tmp_path / f"{number}.gguf", alter=alter))


def test_heads_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", "llama")
    data = path.read_bytes()
    place = data.index(b"llama.attention.head_count") + len("llama.attention.head_count") + 4
    for count in (0, 3, 5, 1 << 20):
        path.write_bytes(data[:place] + count.to_bytes(4, "little") + data[place + 4 :])
        with pytest.raises(InputError, match="stored in pairs"):
            open_checkpoint(path)


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_byte_ends_in_an_error_of_ours_or_in_tensors(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", "gemma2", Type.Q8_0)
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(whole)
        for position in random.integers(0, 6000, random.integers(1, 4)):
            data[position] = random.integers(256)
        path.write_bytes(data)
        with suppress(AdapterOpsError):
            assert dequantize(open_checkpoint(path)).layout
