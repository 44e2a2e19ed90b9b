"""MLX-LM itself, on a CPU: what it trains is fused as it applies it, and what is written for it is what it applies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adapterops as ao
from adapterops.cli.main import run

mx = pytest.importorskip("mlx.core", reason="MLX has wheels for Linux on x86 and for macOS")

SIZES = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": 64,
}


def model() -> Any:
    from mlx_lm.models import llama

    mx.random.seed(0)
    return llama.Model(llama.ModelArgs(**SIZES))


def logits(model: Any) -> np.ndarray:
    return np.array(model(mx.array([[1, 2, 3, 5, 8, 13]])))


def fused(folder: Path) -> np.ndarray:
    loaded = model()
    loaded.load_weights(str(folder / "model.safetensors"), strict=True)
    return logits(loaded)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    from mlx.utils import tree_flatten

    (tmp_path / "base").mkdir()
    mx.save_safetensors(str(tmp_path / "base/model.safetensors"), dict(tree_flatten(model().parameters())))
    (tmp_path / "base/config.json").write_text(json.dumps({**SIZES, "architectures": ["LlamaForCausalLM"]}))
    return tmp_path / "base"


def trained(folder: Path, layers: int, dora: bool = False, **parameters: Any) -> np.ndarray:
    """An adapter as mlx_lm.lora saves it, with random numbers; and the logits with it."""
    from mlx.utils import tree_flatten
    from mlx_lm.tuner.utils import linear_to_lora_layers, load_adapters

    fields = {"rank": 4, "scale": 20.0, "dropout": 0.0, **parameters}
    adapted = model()
    adapted.freeze()
    linear_to_lora_layers(adapted, layers, fields, use_dora=dora)
    mx.random.seed(1)
    found = {name: 0.1 * mx.random.normal(each.shape) for name, each in tree_flatten(adapted.trainable_parameters())}
    found |= {name: 1 + mx.abs(each) for name, each in found.items() if name.endswith(".m")}
    folder.mkdir()
    mx.save_safetensors(str(folder / "adapters.safetensors"), found)
    config = {
        "fine_tune_type": "dora" if dora else "lora",
        "num_layers": layers,
        "lora_parameters": fields,
        "model": "base",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return logits(load_adapters(model(), str(folder)))


@pytest.mark.parametrize(
    ("layers", "parameters"),
    [
        (3, {}),
        (2, {"rank": 3, "scale": 1.5, "keys": ["self_attn.q_proj", "mlp.down_proj"]}),
        (2, {"dora": True, "scale": 1.5}),
    ],
)
def test_fused_as_mlx_applies_it(base: Path, tmp_path: Path, layers: int, parameters: dict[str, Any]) -> None:
    expected = trained(tmp_path / "adapter", layers, **parameters)
    assert run(["fuse", str(base), str(tmp_path / "adapter"), "-o", str(tmp_path / "out")]) == 0
    np.testing.assert_allclose(fused(tmp_path / "out"), expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(expected - logits(model())).max() > 1e-2


SPARSE = {
    **SIZES,
    "model_type": "qwen3_moe",
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "moe_intermediate_size": 24,
    "rope_theta": 1e4,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
    "norm_topk_prob": True,
}


def test_experts_are_fused_as_mlx_applies_them(tmp_path: Path) -> None:
    """The checkpoint has every expert by itself, as MLX-LM reads it."""
    from mlx.utils import tree_flatten
    from mlx_lm.models import qwen3_moe
    from mlx_lm.tuner.utils import linear_to_lora_layers

    def sparse() -> Any:
        mx.random.seed(0)
        return qwen3_moe.Model(qwen3_moe.ModelArgs.from_dict(SPARSE))

    def apart(weights: dict[str, Any]) -> dict[str, Any]:
        found = {name: each for name, each in weights.items() if "switch_mlp" not in name}
        for name in weights.keys() - found.keys():
            head, _, end = name.partition("switch_mlp")
            found |= {f"{head}experts.{number}{end}": each for number, each in enumerate(weights[name])}
        return found

    (tmp_path / "base").mkdir()
    mx.save_safetensors(str(tmp_path / "base/model.safetensors"), apart(dict(tree_flatten(sparse().parameters()))))
    (tmp_path / "base/config.json").write_text(json.dumps({**SPARSE, "architectures": ["Qwen3MoeForCausalLM"]}))
    adapted, fields = sparse(), {"rank": 3, "scale": 5.0, "dropout": 0.0}
    adapted.freeze()
    linear_to_lora_layers(adapted, 2, fields)
    mx.random.seed(1)
    found = {name: 0.1 * mx.random.normal(each.shape) for name, each in tree_flatten(adapted.trainable_parameters())}
    assert any("switch_mlp" in name for name in found)
    adapted.load_weights(list(found.items()), strict=False)
    (tmp_path / "adapter").mkdir()
    mx.save_safetensors(str(tmp_path / "adapter/adapters.safetensors"), found)
    config = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": fields, "model": "base"}
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps(config))
    assert run(["fuse", str(tmp_path / "base"), str(tmp_path / "adapter"), "-o", str(tmp_path / "out")]) == 0
    loaded = sparse()
    loaded.load_weights(list(loaded.sanitize(mx.load(str(tmp_path / "out/model.safetensors"))).items()), strict=True)
    expected = logits(adapted)
    np.testing.assert_allclose(logits(loaded), expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(expected - logits(sparse())).max() > 1e-2
    inputs = ["--base", str(tmp_path / "base"), "--adapter", str(tmp_path / "adapter")]
    assert run(["verify", str(tmp_path / "out"), *inputs]) == 0
    anew = ["truncate", str(tmp_path / "adapter"), "--rank", "1", "-o", str(tmp_path / "again")]
    assert run(["convert", str(tmp_path / "adapter"), "--to", "mlx", "--rank", "1", "-o", str(tmp_path / "mlx")]) == 4
    assert run(anew) == 0  # in PEFT's format


def test_dora_goes_there_and_back(base: Path, tmp_path: Path) -> None:
    from mlx_lm.tuner.utils import load_adapters

    expected = trained(tmp_path / "a", 2, dora=True, scale=1.5)
    assert run(["convert", str(tmp_path / "a"), "--to", "peft", "-o", str(tmp_path / "peft")]) == 0
    assert json.loads((tmp_path / "peft/adapter_config.json").read_text())["use_dora"] is True
    assert run(["convert", str(tmp_path / "peft"), "--to", "mlx", "-o", str(tmp_path / "out")]) == 0
    applied = logits(load_adapters(model(), str(tmp_path / "out")))
    np.testing.assert_allclose(applied, expected, atol=1e-4 * np.abs(applied).max())


@pytest.mark.parametrize("options", [[], ["--rank", "3"], ["--dtype", "bfloat16"]], ids=" ".join)
def test_mlx_applies_what_is_written_for_it(base: Path, tmp_path: Path, options: list[str]) -> None:
    from mlx_lm.tuner.utils import load_adapters

    trained(tmp_path / "a", 3)
    trained(tmp_path / "b", 2, keys=["self_attn.q_proj"], rank=2)
    pair = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert run(["merge", *pair, "-w", "0.5", "-w", "1", *options, "--format", "mlx", "-o", str(tmp_path / "out")]) == 0
    applied = logits(load_adapters(model(), str(tmp_path / "out")))
    ao.save_checkpoint(ao.fuse(ao.open_checkpoint(base), ao.open_adapter(tmp_path / "out")), tmp_path / "fused")
    np.testing.assert_allclose(applied, fused(tmp_path / "fused"), atol=1e-4 * np.abs(applied).max())
    if not options:
        exact = ["fuse", str(base), *pair, "-w", "0.5", "-w", "1", "-o", str(tmp_path / "both")]
        assert run(exact) == 0
        np.testing.assert_allclose(applied, fused(tmp_path / "both"), atol=1e-4 * np.abs(applied).max())


def test_a_model_that_mlx_quantized_is_called_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codes, scales, biases = mx.quantize(mx.ones((32, 64)), group_size=32, bits=4)
    parts = {"weight": codes, "scales": scales, "biases": biases}
    mx.save_safetensors(
        str(tmp_path / "model.safetensors"), {f"layers.0.up_proj.{role}": each for role, each in parts.items()}
    )
    assert run(["show", str(tmp_path)]) == 4
    assert "as MLX stores quantized weights" in (said := capsys.readouterr().err)
    assert "--dequantize" in said


def test_lora_on_a_head_that_the_model_ties(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """MLX-LM has no layer for it there, and ends with an error; PEFT saves the weight with it, which the base shows as its own."""
    import peft
    from mlx_lm.tuner.utils import load_adapters
    from mlx_lm.utils import load_model
    from safetensors.torch import load_file, save_file
    from transformers import Gemma2Config, Gemma2ForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    plain, base = Gemma2ForCausalLM(Gemma2Config(**sizes, vocab_size=64, head_dim=8)), tmp_path / "base"
    plain.save_pretrained(base)
    peft.get_peft_model(plain, peft.LoraConfig(r=2, target_modules=["q_proj", "lm_head"])).save_pretrained(
        tmp_path / "a"
    )
    line, told = ["convert", str(tmp_path / "a"), "--to", "mlx"], ["--base", str(base)]
    assert run([*line, "-o", str(tmp_path / "out")]) == 4
    assert "name the model with --base" in capsys.readouterr().err
    assert run([*line, *told, "-o", str(tmp_path / "out")]) == 4
    assert "lm_head: is the head of a model that ties it" in capsys.readouterr().err
    stated = (base / "config.json").read_text()
    silent = {name: each for name, each in json.loads(stated).items() if name != "tie_word_embeddings"}
    (base / "config.json").write_text(json.dumps(silent))
    assert run([*line, *told, "-o", str(tmp_path / "out")]) == 4
    assert "lm_head: is the head of a model that ties it" in capsys.readouterr().err
    weights = tmp_path / "a/adapter_model.safetensors"
    save_file({name: each for name, each in load_file(weights).items() if ".base_layer." not in name}, weights)
    assert run([*line, "-o", str(tmp_path / "out")]) == 0
    for config in stated, json.dumps(silent):
        (base / "config.json").write_text(config)
        assert run(["check", str(tmp_path / "out"), "--for", "mlx", *told]) == 8
        assert "LoRA on the lm_head of a model that ties it" in capsys.readouterr().out
        with pytest.raises(ValueError, match=r"lm_head.lora_a: not an adapter parameter"):
            load_adapters(load_model(base)[0], str(tmp_path / "out"))


@pytest.mark.filterwarnings("ignore")
def test_a_language_model_that_is_a_part_of_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """MLX-LM has it after `language_model.`, files and transformers otherwise: what is written for the base is what it applies."""
    import peft
    import torch
    from mlx_lm.tuner.utils import load_adapters
    from mlx_lm.utils import load_model
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {**SIZES, "model_type": "gemma3_text", "num_hidden_layers": 2, "head_dim": 8}
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    seeing = Gemma3Config(
        text_config=text, vision_config={**sizes, "image_size": 28, "patch_size": 14}, mm_tokens_per_image=1
    )
    Gemma3ForConditionalGeneration(seeing).save_pretrained(tmp_path / "base")
    live = Gemma3ForConditionalGeneration.from_pretrained(tmp_path / "base")
    torch.manual_seed(0)
    fields = peft.LoraConfig(r=2, target_modules=r".*language_model.*(q_proj|up_proj)", init_lora_weights=False)
    adapted = peft.get_peft_model(live, fields)
    adapted.save_pretrained(tmp_path / "a")
    line, based = ["convert", str(tmp_path / "a"), "--to", "mlx"], ["--base", str(tmp_path / "base")]
    assert run([*line, "-o", str(tmp_path / "refused")]) == 4
    assert "name the model with --base" in capsys.readouterr().err
    assert run([*line, *based, "-o", str(tmp_path / "out")]) == 0
    applied = load_adapters(load_model(tmp_path / "base", strict=False)[0], str(tmp_path / "out"))
    for theirs, ours in zip(applied.layers, adapted.base_model.model.model.language_model.layers, strict=True):
        for found, wanted in (theirs.self_attn.q_proj, ours.self_attn.q_proj), (theirs.mlp.up_proj, ours.mlp.up_proj):
            delta = np.array(found.scale * (found.lora_a @ found.lora_b)).T
            np.testing.assert_allclose(delta, wanted.get_delta_weight("default").detach().numpy(), atol=1e-5)
    assert run(["check", str(tmp_path / "out"), "--for", "mlx", *based]) == 0
    seen = peft.LoraConfig(r=2, target_modules=r".*(vision.*|language_model.*)q_proj")
    live = Gemma3ForConditionalGeneration.from_pretrained(tmp_path / "base")
    peft.get_peft_model(live, seen).save_pretrained(tmp_path / "seen")
    line[1] = str(tmp_path / "seen")
    assert run([*line, *based, "-o", str(tmp_path / "refused")]) == 4
    assert "q_proj: is of what sees or hears" in capsys.readouterr().err
    assert run(["check", line[1], "--for", "mlx", *based]) == 8
    assert "to mlx" not in (said := capsys.readouterr().out)
    assert "LoRA on what sees or hears" in said
    written = mx.load(str(tmp_path / "out/adapters.safetensors"))
    inner = {name.removeprefix("language_model."): each for name, each in written.items()}
    mx.save_safetensors(str(tmp_path / "out/adapters.safetensors"), inner)
    with pytest.raises(ValueError, match="not an adapter parameter"):
        load_adapters(load_model(tmp_path / "base", strict=False)[0], str(tmp_path / "out"))
    capsys.readouterr()
    assert run(["check", str(tmp_path / "out"), "--for", "mlx", *based]) == 8
    assert "names that MLX-LM does not have" in capsys.readouterr().out
