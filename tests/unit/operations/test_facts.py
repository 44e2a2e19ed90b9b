"""What is collected of an adapter before it is judged."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf_files
import numpy as np
import pytest
import torch
from corpus import MODULES, PREFIX, config, factors, write_adapter
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

import adapterops as ao
from adapterops.formats.registry import FORMATS, format_of
from adapterops.formats.runtimes.rules import FACTS, FINE, REFUSED, UNKNOWN, WRONG
from adapterops.formats.runtimes.table import RUNTIMES
from adapterops.operations.facts import Fact, facts_of
from adapterops.storage.place import Place

LENGTHS = {f"{PREFIX}{module}.lora_magnitude_vector": torch.ones(12) for module in MODULES}
NORM, BIAS = ({f"{PREFIX}{name}": torch.ones(8)} for name in ("norm.weight", "layers.0.q_proj.bias"))
EMBEDDING = {f"{PREFIX}model.embed_tokens.weight": torch.ones(9, 8)}
ON_EMBEDDING = {
    f"{PREFIX}model.embed_tokens.lora_embedding_A": torch.ones(2, 9),
    f"{PREFIX}model.embed_tokens.lora_embedding_B": torch.ones(8, 2),
}


def facts(path: Path, base: ao.Checkpoint | None = None) -> dict[str, Fact]:
    place = Place.of(path)
    kind = format_of(place)
    found = list(facts_of(place, FORMATS[kind].read(place, None), kind, base))
    assert len({fact.name for fact in found}) == len(found)
    assert {fact.name for fact in found} <= FACTS.keys()
    return {fact.name: fact for fact in found}


ALWAYS = {"format", "rank", "architecture", "config_scale"}

CASES: dict[str, tuple[dict[str, Any], dict[str, torch.Tensor], set[str]]] = {
    "plain": ({}, {}, set()),
    "a task of language": ({"task_type": "CAUSAL_LM"}, {}, {"language", "bare"}),
    "another task": ({"task_type": "FEATURE_EXTRACTION"}, {}, set()),
    "rslora": ({"use_rslora": True}, {}, {"rslora"}),
    "patterns": ({"alpha_pattern": {"v_proj": 2}}, {}, {"alpha_pattern"}),
    "an alpha with a point": ({"lora_alpha": 4.0}, {}, {"float_alpha"}),
    "replicated layers": ({"layer_replication": [[0, 1], [0, 1]]}, {}, {"replication"}),
    "dora": ({"use_dora": True}, LENGTHS, {"dora"}),
    "full": ({"modules_to_save": ["norm"]}, NORM, {"saved"}),
    "full, and not there": ({"modules_to_save": ["classifier", "score"]}, {}, {"saved"}),
    "biases": ({"bias": "all"}, BIAS, {"biases"}),
    "biases that are not there": ({"bias": "all"}, {}, {"biases"}),
    "embeddings": ({}, EMBEDDING, {"embeddings"}),
    "lora on embeddings": ({}, ON_EMBEDDING, {"lora_embeddings", "embeddings_unsaid"}),
    "full names": ({"target_modules": list(MODULES)}, {}, {"full_names"}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_config_and_its_tensors_say(case: str, tmp_path: Path) -> None:
    fields, more, expected = CASES[case]
    found = facts(write_adapter(tmp_path / "a", {**factors(), **more}, {**config(2), **fields}))
    assert found.keys() == ALWAYS | expected
    assert found["format"].found == "peft"
    assert found["rank"].found == "2"


def test_names_of_image_models(tmp_path: Path) -> None:
    module = "transformer_blocks.0.attn.to_q"
    found = facts(write_adapter(tmp_path / "a", factors([module]), config(2, target_modules=["to_q"])))
    assert found["images"].found == module
    assert "language" not in found


def test_a_scale_of_one_is_none(tmp_path: Path) -> None:
    assert "config_scale" not in facts(write_adapter(tmp_path / "a", fields=config(2, lora_alpha=2)))


def test_which_modules_have_it(tmp_path: Path) -> None:
    unequal = {**factors(["layers.0.q_proj"], rank=3), **factors(["layers.0.v_proj"], rank=2)}
    fields = config(3, rank_pattern={"v_proj": 2}, alpha_pattern={"q_proj": 9}, lora_alpha=2)
    found = facts(write_adapter(tmp_path / "a", unequal, fields))
    assert found["rank_pattern"] == Fact("rank_pattern", "2, 3", ("layers.0.v_proj",))
    assert found["alpha_pattern"] == Fact("alpha_pattern", "9 for layers.0.q_proj", ("layers.0.q_proj",))
    assert found["config_scale"].modules == ("layers.0.q_proj",)
    assert found["rank"].found == "3"


def test_names_and_shapes(tmp_path: Path) -> None:
    tensors = {name.replace(".weight", ".style.weight"): each for name, each in factors(["lm_head"], rank=10).items()}
    found = facts(write_adapter(tmp_path / "a", tensors, config(10, target_modules=["lm_head"])))
    assert found["adapter_name"].found == "lora_A.style.weight"
    assert found["head"].modules == found["wide"].modules == ("lm_head",)


def begun(change: Callable[[str], str], modules: Sequence[str] = MODULES) -> dict[str, torch.Tensor]:
    return {change(name): tensor for name, tensor in factors(modules).items()}


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda name: name, ""),
        (lambda name: name.removeprefix(PREFIX), "unprefixed"),
        (lambda name: "_orig_mod." + name, "wrapped"),
        (lambda name: name.replace(PREFIX, f"{PREFIX}_fsdp_wrapped_module."), "wrapped"),
        (lambda name: name.replace(PREFIX, "module."), "wrapped"),
    ],
    ids=["plain", "no prefix", "compiled", "sharded", "parallel"],
)
def test_names_that_programs_have_no_module_of(change: Callable[[str], str], fact: str, tmp_path: Path) -> None:
    found = facts(write_adapter(tmp_path / "a", begun(change), config(2)))
    assert found.keys() - ALWAYS == {fact} - {""}
    assert not fact or set(found[fact].modules) == set(MODULES)


def test_factors_with_an_axis_of_experts_are_lora_on_all_of_them(tmp_path: Path) -> None:
    stem = f"{PREFIX}model.layers.0.mlp.experts.w1.lora_"
    tensors = {f"{stem}A.weight": torch.ones(1, 2, 8), f"{stem}B.weight": torch.ones(3, 6, 2)}
    found = facts(write_adapter(tmp_path / "a", tensors, config(2, target_modules="all-linear")))
    assert found["experts"].modules == tuple(f"model.layers.0.mlp.experts.{expert}.w1" for expert in range(3))


def test_lora_on_what_sees_or_hears(tmp_path: Path) -> None:
    seen = "model.vision_tower.encoder.layers.0.q_proj"
    found = facts(write_adapter(tmp_path / "a", factors(["model.language_model.layers.0.q_proj", seen]), config(2)))
    assert found["senses"] == Fact("senses", f"1 of 2, such as {seen}", (seen,))


def test_a_lone_file_has_no_config(tmp_path: Path) -> None:
    tensors = {**factors(["layers.0.q_proj"]), f"{PREFIX}layers.0.q_proj.alpha": torch.tensor(4.0)}
    save_file(tensors, tmp_path / "a.safetensors")
    found = facts(tmp_path / "a.safetensors")
    assert found.keys() == {"format", "rank", "architecture", "no_config"}


def test_other_formats(tmp_path: Path) -> None:
    folder = tmp_path / "mlx"
    folder.mkdir()
    arrays = {"model.layers.0.q_proj.lora_a": np.ones((8, 2), "float32")}
    save_arrays(
        {**arrays, "model.layers.0.q_proj.lora_b": np.ones((2, 12), "float32")}, folder / "adapters.safetensors"
    )
    (folder / "adapter_config.json").write_text(json.dumps({"lora_parameters": {"rank": 2, "scale": 20.0}}))
    assert facts(folder).keys() == {"format", "language", "rank", "architecture", "mlx_scale"}
    assert facts(gguf_files.write(tmp_path / "a.gguf")).keys() == {"format", "language", "rank"}
    A, B = torch.ones(2, 8), torch.ones(12, 2)
    kohya = {"lora_unet_mid_block_conv.lora_down.weight": A, "lora_unet_mid_block_conv.lora_up.weight": B}
    save_file({**kohya, "lora_unet_mid_block_conv.alpha": torch.tensor(1.0)}, tmp_path / "kohya.safetensors")
    assert facts(tmp_path / "kohya.safetensors").keys() == {"format", "images", "rank"}
    start = "diffusion_model.blocks.0.self_attn.q"
    comfy = {f"{start}.lora_A.weight": A, f"{start}.lora_B.weight": B}
    save_file(comfy, tmp_path / "header.safetensors", {"lora_alpha": "4"})
    assert facts(tmp_path / "header.safetensors").keys() == {"format", "images", "rank", "header_entries"}
    save_file({**comfy, f"{start}.alpha": torch.tensor(1.0)}, tmp_path / "comfy.safetensors")
    assert facts(tmp_path / "comfy.safetensors").keys() == {"format", "images", "rank"}


@pytest.mark.parametrize(
    ("model", "expected"),
    [("llama", {"rotated", "tied"}), ("gemma2", {"tied"}), ("qwen2", {"architecture", "tied"})],
)
def test_what_a_base_says(model: str, expected: set[str], tmp_path: Path) -> None:
    modules = ("model.layers.0.self_attn.q_proj", "lm_head")
    adapter = write_adapter(
        tmp_path / "a", factors(modules), config(2, target_modules=["q_proj", "lm_head"], lora_alpha=2)
    )
    (tmp_path / "base").mkdir()
    weights = {f"{modules[0]}.weight": torch.ones(12, 8), "model.embed_tokens.weight": torch.ones(12, 8)}
    save_file(weights, tmp_path / "base/model.safetensors", {"format": "pt"})
    (tmp_path / "base/config.json").write_text(json.dumps({"model_type": model, "tie_word_embeddings": True}))
    base = ao.open_checkpoint(tmp_path / "base")
    assert facts(adapter, base).keys() == {"format", "rank", "head", *expected}
    other = write_adapter(tmp_path / "other", factors(["model.layers.7.self_attn.q_proj"]))
    assert "not in the base" in facts(other, base)["base"].found or "0 of 1" in facts(other, base)["base"].found


@pytest.mark.parametrize(
    ("stored", "adapted", "expected"),
    [
        ({"gate_up_proj": 24}, {"gate_proj": 12}, {"gate_proj"}),
        ({"gate_proj": 12, "up_proj": 12}, {"gate_up_proj": 24}, {"gate_up_proj"}),
        ({"gate_up_proj": 24}, {"gate_up_proj": 24}, set()),
    ],
)
def test_projections_that_the_base_divides_otherwise(
    stored: dict[str, int], adapted: dict[str, int], expected: set[str], tmp_path: Path
) -> None:
    above = "model.layers.0.mlp"
    pair = {
        f"{PREFIX}{above}.{name}.lora_{half}.weight": torch.ones(*shape)
        for name, rows in adapted.items()
        for half, shape in (("A", (2, 8)), ("B", (rows, 2)))
    }
    adapter = write_adapter(tmp_path / "a", pair, config(2, target_modules=sorted(adapted)))
    (tmp_path / "base").mkdir()
    weights = {f"{above}.{name}.weight": torch.ones(rows, 8) for name, rows in stored.items()}
    save_file(weights, tmp_path / "base/model.safetensors", {"format": "pt"})
    (tmp_path / "base/config.json").write_text(json.dumps({"model_type": "phi3"}))
    base = ao.open_checkpoint(tmp_path / "base")
    found = facts(adapter, base).get("divided", Fact("divided", ""))
    assert {*found.modules} == {f"{above}.{name}" for name in expected}
    assert (ao.check(adapter, ["vllm"], base=base)["vllm"].severity == REFUSED) == bool(expected)


STORED = {"dora_vector", "dora_peft", "dora_magnitude", "modulation"}


@pytest.mark.parametrize(
    ("name", "shape", "fact"),
    [
        ("diffusion_model.blocks.0.attn.q.dora_scale", (16,), "dora_vector"),
        ("diffusion_model.blocks.0.attn.q.dora_scale", (16, 1), None),
        ("diffusion_model.blocks.0.attn.q.lora_magnitude_vector", (16,), "dora_peft"),
        ("diffusion_model.blocks.0.attn.q.magnitude", (16,), "dora_magnitude"),
        ("diffusion_model.blocks.0.diff_m", (1, 6, 12), "modulation"),
        ("diffusion_model.blocks.0.norm3.diff", (16,), None),
    ],
)
def test_how_lengths_and_modulations_are_stored(
    tmp_path: Path, name: str, shape: tuple[int, ...], fact: str | None
) -> None:
    start = "diffusion_model.blocks.0.attn.q"
    own = {f"{start}.lora_A.weight": torch.ones(4, 12), f"{start}.lora_B.weight": torch.ones(16, 4)}
    save_file({**own, name: torch.ones(shape)}, tmp_path / "a.safetensors")
    assert facts(tmp_path / "a.safetensors").keys() & STORED == ({fact} if fact else set())
    known = RUNTIMES["comfyui"].rules
    assert fact is None or known[fact].severity == WRONG


@pytest.mark.parametrize(
    ("stated", "fact"),
    [({"tie_word_embeddings": True}, "tied"), ({"tie_word_embeddings": False}, "own"), ({}, "unsaid")],
)
def test_whether_an_embedding_is_tied_is_said_by_the_base(stated: dict[str, bool], fact: str, tmp_path: Path) -> None:
    module = "model.embed_tokens"
    ends = {"a": np.ones((9, 2), np.float32), "b": np.ones((8, 2), np.float32)}
    tensors = {f"token_embd.weight.lora_{end}": array for end, array in ends.items()}
    adapter = gguf_files.write_tensors(tmp_path / "a.gguf", "qwen3", tensors)
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text(json.dumps({"model_type": "qwen3", **stated}))
    weights = {f"{each}.weight": np.ones((9, 8), np.float32) for each in (module, "lm_head")}
    save_arrays(weights, tmp_path / "base/model.safetensors")
    on = ao.open_checkpoint(tmp_path / "base")
    found = facts(adapter, on)
    assert {each for each in found if each.startswith("embeddings_")} == {f"embeddings_{fact}"}
    severity = {"tied": REFUSED, "own": FINE, "unsaid": UNKNOWN}
    assert ao.check(adapter, base=on)["llama.cpp"].severity == severity[fact]


def test_what_llama_cpp_loads_and_does_not_apply(tmp_path: Path) -> None:
    ends = {"a": np.ones((2, 8), np.float32), "b": np.ones((8, 2), np.float32)}
    names = ("blk.0.attn_q", "blk.0.attn_output", "output")
    tensors = {f"{name}.weight.lora_{end}": array for name in names for end, array in ends.items()}
    adapter = gguf_files.write_tensors(tmp_path / "a.gguf", "deepseek2", tensors)
    assert set(facts(adapter)["unapplied"].modules) == {"lm_head", "model.layers.0.self_attn.q_proj"}
    assert ao.check(adapter)["llama.cpp"].severity == WRONG


def test_another_architecture_is_no_missing_module(tmp_path: Path) -> None:
    adapter = gguf_files.write(tmp_path / "a.gguf", architecture="qwen2")
    on = ao.open_checkpoint(gguf_files.write_base(tmp_path / "base"))
    found = facts(adapter, on)
    assert "base" not in found
    assert "which llama.cpp has as 'llama'" in found["other_architecture"].found
    assert ao.check(adapter, base=on)["llama.cpp"].severity == REFUSED


def test_names_that_programs_do_not_find(tmp_path: Path) -> None:
    """Of a transformer of diffusers, of a model that diffusers does not convert, and some in a file of others that are right."""
    first = {"lora_unet_double_blocks_18_img_attn_qkv", "lora_unet_single_blocks_37_linear1"}
    for names, expected in (
        ({"lora_transformer_transformer_blocks_0_attn_to_q"}, {"comfyui_unsure", "diffusers_unsure"}),
        ({"lora_transformer_transformer_blocks_18_ff_net_2"}, {"diffusers_stops"}),
        ({"lora_unet_joint_blocks_0_x_block_attn_qkv"}, {"diffusers_left"}),
        ({"lora_unet_blocks_0_attn1_to_q"}, {"diffusers_stops", "comfyui_left"}),
        (first, set()),
        (first | {"lora_unet_double_blocks_3_other"}, {"diffusers_stops", "comfyui_unsure"}),
        ({"transformer.blocks.0.attn1.to_q"}, {"comfyui_left"}),
        (
            {"transformer.transformer_blocks.0.attn.to_q", "transformer.transformer_blocks.0.ff.linear1"},
            {"diffusers_left", "comfyui_unsure"},
        ),
        ({"transformer.patch_embed.unheard_of"}, {"diffusers_unsure", "comfyui_left"}),
        ({"unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"}, {"comfyui_unet"}),
    ):
        pair = {
            f"{name}.lora_{half}.weight": torch.ones(shape)
            for name in names
            for half, shape in zip(("A", "B") if "." in name else ("down", "up"), ((2, 8), (8, 2)), strict=True)
        }
        save_file(pair, tmp_path / "a.safetensors")
        found = facts(tmp_path / "a.safetensors")
        assert found.keys() == {"format", "images", "rank", *expected}
    save_file(
        pair | {"unet.conv_in.lora_A.weight": torch.ones(2, 8), "unet.conv_in.lora_B.weight": torch.ones(8, 2)},
        tmp_path / "a.safetensors",
    )
    (module,) = names
    assert facts(tmp_path / "a.safetensors")["comfyui_unet"] == Fact(
        "comfyui_unet", f"1 of 2, such as {module}", (module,)
    )


def test_a_pipeline_says_which_model_its_denoiser_is(tmp_path: Path) -> None:
    """Its text encoders have blocks, too, which are of no model of images."""
    q = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    names = {f"lora_unet_{q.replace('.', '_')}": "unet"}
    halves = {"lora_down": torch.ones(2, 8), "lora_up": torch.ones(8, 2)}
    save_file({f"{n}.{half}.weight": each for n in names for half, each in halves.items()}, tmp_path / "a.safetensors")
    weights = {
        "unet": [q],
        "text_encoder": [f"text_model.encoder.layers.{n}.mlp.fc{i}" for n in range(9) for i in (1, 2)],
    }
    for part, modules in weights.items():
        (tmp_path / "base" / part).mkdir(parents=True)
        file = "diffusion_pytorch_model" if part == "unet" else "model"
        save_file(
            {f"{each}.weight": torch.ones(8, 8) for each in modules}, tmp_path / f"base/{part}/{file}.safetensors"
        )
        (tmp_path / "base" / part / "config.json").write_text("{}")
    classes = {"unet": ["diffusers", "UNet2DConditionModel"], "text_encoder": ["transformers", "CLIPTextModel"]}
    (tmp_path / "base/model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **classes}))
    found = facts(tmp_path / "a.safetensors", ao.open_checkpoint(tmp_path / "base"))
    assert found.keys() == {"format", "images", "rank"}
