"""Hashes and entries of headers, as sd-scripts and modelspec compute them."""

from __future__ import annotations

import hashlib
import json
from io import BytesIO
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import adapterops as ao

SAID = {"ss_output_name": "größe", "ss_network_dim": "2", "ss_network_args": '{"conv_dim": "4"}', "lora_alpha": "3"}
SPEC = {"modelspec.title": "A", "modelspec.license": "mine", "modelspec.hash_sha256": "0x0"}


def kohya(path: Path, width: int, metadata: dict[str, str], dtype: torch.dtype = torch.float32) -> Path:
    torch.manual_seed(0)
    tensors = {}
    for name in ("lora_unet_blocks_0_attn_q", "lora_unet_blocks_1_attn_q"):
        tensors[f"{name}.lora_down.weight"] = torch.randn(2, width).to(dtype)
        tensors[f"{name}.lora_up.weight"] = torch.randn(5, 2).to(dtype)
    save_file(tensors, path, metadata)
    return path


def header(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())


def model_hash(data: bytes) -> str:
    """`addnet_hash_safetensors` of sd-scripts."""
    return hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()


def legacy_hash(path: Path) -> str:
    """`precalculate_safetensors_hashes` of sd-scripts."""
    own = {name: text for name, text in header(path).items() if name.startswith("ss_")}
    file = BytesIO(safetensors.torch.save(load_file(path), own))
    file.seek(0x100000)
    return hashlib.sha256(file.read(0x10000)).hexdigest()[:8]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [6, 100_000, 400_000])
def test_hashes_are_those_of_kohya_and_modelspec(tmp_path: Path, width: int, dtype: torch.dtype) -> None:
    source = kohya(tmp_path / "a.safetensors", width, {**SAID, **SPEC}, dtype)
    ao.save_adapter(0.5 * ao.open_adapter(source), tmp_path / "out")
    path = tmp_path / "out/lora.safetensors"
    found = header(path)
    assert found["sshs_model_hash"] == model_hash(path.read_bytes())
    assert found["sshs_legacy_hash"] == legacy_hash(path)
    with safe_open(path, "pt") as file:
        names = sorted(file.offset_keys() if hasattr(file, "offset_keys") else file.keys())
    data = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    ordered = sorted(names, key=lambda name: data[name]["data_offsets"])
    hashed, stored = hashlib.sha256(), load_file(path)
    for name in ordered:
        hashed.update(stored[name].view(torch.uint8).numpy().tobytes())
    assert found["modelspec.hash_sha256"] == f"0x{hashed.hexdigest()}"


def test_what_a_header_says_is_kept_and_what_is_no_longer_true_is_not(tmp_path: Path) -> None:
    source = kohya(tmp_path / "a.safetensors", 6, {**SAID, **SPEC})
    ao.save_adapter(0.5 * ao.open_adapter(source), tmp_path / "out")
    found = header(tmp_path / "out/lora.safetensors")
    assert {name: found[name] for name in ("ss_output_name", "modelspec.title", "modelspec.license")} == {
        "ss_output_name": "größe", "modelspec.title": "A", "modelspec.license": "mine"
    }  # fmt: skip
    assert (found["ss_network_dim"], found["ss_network_alpha"], found["ss_network_args"]) == ("2", "2", "{}")
    assert "lora_alpha" not in found


def test_a_merge_says_what_all_say_and_what_it_was_made_of(tmp_path: Path) -> None:
    one = kohya(tmp_path / "one.safetensors", 6, {**SAID, **SPEC})
    two = kohya(tmp_path / "two.safetensors", 6, {**SAID, **SPEC, "modelspec.title": "B"})
    ao.save_adapter(ao.merge([ao.open_adapter(one), ao.open_adapter(two)]), tmp_path / "out")
    found = header(tmp_path / "out/lora.safetensors")
    assert "modelspec.title" not in found
    assert (found["modelspec.license"], found["modelspec.merged_from"]) == ("mine", "one, two")


def test_diffusers_is_told_of_ranks_that_differ(tmp_path: Path) -> None:
    updates = {
        f"transformer.transformer_blocks.{rank}.attn.to_q": ao.LowRank(torch.randn(5, rank), torch.randn(rank, 6))
        for rank in (2, 3)
    }
    ao.save_adapter(ao.Adapter.of(updates), tmp_path / "out", format="diffusers")
    fields = json.loads(header(tmp_path / "out/pytorch_lora_weights.safetensors")["lora_adapter_metadata"])
    assert (
        fields["transformer.rank_pattern"]
        == fields["transformer.alpha_pattern"]
        == {"transformer_blocks.2.attn.to_q": 2}
    )
    assert (fields["transformer.r"], fields["transformer.lora_alpha"]) == (3, 3)
