"""A pipeline of diffusers as base: text encoders answer as PEFT's unmerged ones, any other weight is W + ΔW in float64,
and what no adapter is for stays as it is.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from corpus import tree
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

import adapterops as ao
from adapterops.cli.main import run
from adapterops.errors import IncompatibleError, OptionError, UnsupportedError

SIZES = {"num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64, "max_position_embeddings": 16}
TOKENS = torch.arange(10)[None]
LORA = "pytorch_lora_weights.safetensors"
Q = "blocks.{}.attn1.to_q"


def encoder(folder: Path, hidden: int, seed: int) -> None:
    torch.manual_seed(seed)
    config = CLIPTextConfig(hidden_size=hidden, intermediate_size=2 * hidden, bos_token_id=0, eos_token_id=2, **SIZES)
    CLIPTextModel(config).save_pretrained(folder)


def transformer(folder: Path) -> None:
    """Two files and their index, as diffusers has them."""
    folder.mkdir()
    shards = {}
    for number in range(2):
        name = f"diffusion_pytorch_model-0000{number + 1}-of-00002.safetensors"
        tensors = {
            f"{Q.format(number)}.weight": torch.randn(12, 8),
            f"blocks.{number}.conv.weight": torch.randn(4, 2, 3, 3),
        }
        save_file(tensors, folder / name, {"format": "pt"})
        shards |= dict.fromkeys(tensors, name)
    index = {"metadata": {"total_size": 2 * 4 * (12 * 8 + 4 * 2 * 9)}, "weight_map": shards}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(
        json.dumps(index, indent=2, sort_keys=True) + "\n"
    )
    (folder / "config.json").write_text('{"_class_name": "ToyTransformer"}')


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    encoder(folder / "text_encoder", 32, 1)
    encoder(folder / "text_encoder_2", 48, 2)
    torch.manual_seed(3)
    transformer(folder / "transformer")
    (folder / "vae").mkdir()
    torch.save({"weight": torch.ones(2)}, folder / "vae/diffusion_pytorch_model.bin")  # which nothing is done to
    for name in ("tokenizer/vocab.json", "scheduler/scheduler_config.json"):
        (folder / name).parent.mkdir()
        (folder / name).write_text("{}")
    classes = {
        "text_encoder": "CLIPTextModel", "text_encoder_2": "CLIPTextModel", "transformer": "ToyTransformer", "vae": "Toy",
        "tokenizer": "CLIPTokenizer", "scheduler": "DDIMScheduler",
    }  # fmt: skip
    stated: dict[str, Any] = {name: ["library", each] for name, each in classes.items()}
    (folder / "model_index.json").write_text(
        json.dumps({"_class_name": "Toy", "image_encoder": [None, None], **stated})
    )
    return folder


def trained(pipeline: Path, component: str, folder: Path) -> tuple[Any, Path]:
    """A text encoder with an adapter that is not merged, and that adapter."""
    torch.manual_seed(7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = CLIPTextModel.from_pretrained(pipeline / component)
        model = peft.get_peft_model(base, peft.LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "fc1"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return model.eval(), folder


def answers(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(TOKENS).last_hidden_state
    return found


def as_diffusers(folder: Path, components: dict[str, Path], out: Path) -> Path:
    """Adapters of PEFT in one file, with the names that diffusers gives them, and their configs in its header."""
    tensors, fields = {}, {}
    for component, adapter in components.items():
        old = "" if component == "transformer" else "text_model."  # which older versions of transformers have there
        for name, tensor in load_file(adapter / "adapter_model.safetensors").items():
            tensors[name.replace("base_model.model.", f"{component}.{old}")] = tensor
        config = json.loads((adapter / "adapter_config.json").read_text())
        fields |= {f"{component}.{key}": value for key, value in config.items()}
    save_file(tensors, out, {"format": "pt", "lora_adapter_metadata": json.dumps(fields)})
    return out


def toy(folder: Path, alpha: float) -> Path:
    """An adapter of the transformer alone."""
    folder.mkdir()
    shapes = {"lora_A": (3, 8), "lora_B": (12, 3)}
    tensors = {
        f"base_model.model.{Q.format(number)}.{role}.weight": torch.randn(shape)
        for number in range(2)
        for role, shape in shapes.items()
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 3, "lora_alpha": alpha, "target_modules": ["to_q"]})
    )
    return folder


def assert_only(pipeline: Path, out: Path, changed: set[str]) -> None:
    """Every other file has the same bytes, and nothing is new but the manifest."""
    before, after = tree(pipeline), tree(out)
    assert after.keys() - before.keys() == {"adapterops.json"}
    assert {name.partition("/")[0] for name in before if before[name] != after[name]} == changed
    assert before.keys() <= after.keys()


def test_an_adapter_of_several_components(pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with a scale of its own."""
    monkeypatch.chdir(tmp_path)
    first, one = trained(pipeline, "text_encoder", tmp_path / "one")
    second, two = trained(pipeline, "text_encoder_2", tmp_path / "two")
    blocks = toy(tmp_path / "blocks", alpha=9)
    parts = {"text_encoder": one, "text_encoder_2": two, "transformer": blocks}
    as_diffusers(pipeline, parts, tmp_path / LORA)
    assert run(["fuse", "pipeline", LORA, "-o", "out"]) == 0
    assert_only(pipeline, tmp_path / "out", set(parts))
    for name, expected in (("text_encoder", first), ("text_encoder_2", second)):
        loaded, found = CLIPTextModel.from_pretrained(tmp_path / "out" / name, output_loading_info=True)
        assert not any(found.values()), found
        torch.testing.assert_close(answers(loaded.eval()), answers(expected), atol=2e-5, rtol=1e-5)
        assert not torch.allclose(
            answers(CLIPTextModel.from_pretrained(pipeline / name).eval()), answers(expected), atol=0.1
        )
    factors = load_file(blocks / "adapter_model.safetensors")
    for path in sorted((pipeline / "transformer").glob("*.safetensors")):
        before, after = load_file(path), load_file(tmp_path / "out/transformer" / path.name)
        for name, W in before.items():
            delta = torch.zeros(W.shape, dtype=torch.float64)
            if "to_q" in name:
                A, B = (
                    factors[f"base_model.model.{name[:-7]}.{role}.weight"].double() for role in ("lora_A", "lora_B")
                )
                delta = 9 / 3 * B @ A
            torch.testing.assert_close(after[name].double(), W.double() + delta, atol=1e-6, rtol=1e-6)
    assert run(["verify", "out"]) == 0
    assert run(["unfuse", "out", LORA, "-o", "back"]) == 0
    for path in pipeline.rglob("*.safetensors"):
        for name, tensor in load_file(path).items():
            found_back = load_file(tmp_path / "back" / path.relative_to(pipeline))[name]
            torch.testing.assert_close(found_back, tensor, atol=2e-6, rtol=1e-5)
    (tmp_path / "out/transformer/more.safetensors").write_bytes(b"")
    assert run(["verify", "out"]) == 8


@pytest.mark.parametrize("component", ["text_encoder", "text_encoder_2"])
@pytest.mark.parametrize("named", [True, False])
def test_an_adapter_of_one_component(pipeline: Path, tmp_path: Path, component: str, named: bool) -> None:
    """Its names do not say which: its shapes do, or --component."""
    model, adapter = trained(pipeline, component, tmp_path / "a")
    options = ["--component", component] if named else []
    assert run(["fuse", str(pipeline), str(adapter), *options, "-o", str(tmp_path / "out")]) == 0
    assert_only(pipeline, tmp_path / "out", {component})
    loaded = CLIPTextModel.from_pretrained(tmp_path / "out" / component).eval()
    torch.testing.assert_close(answers(loaded), answers(model), atol=2e-5, rtol=1e-5)
    assert run(["verify", str(tmp_path / "out"), "--base", str(pipeline), "--adapter", f"a={adapter}"]) == 0


def test_a_component_by_itself_keeps_the_names_of_its_files(pipeline: Path, tmp_path: Path) -> None:
    adapter, base = toy(tmp_path / "a", 3), pipeline / "transformer"
    assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path / "out")]) == 0
    assert tree(tmp_path / "out").keys() == tree(base).keys() | {"adapterops.json"}
    assert run(["fuse", str(pipeline), str(adapter), "-o", str(tmp_path / "whole")]) == 0
    for path in base.glob("*.safetensors"):
        assert (tmp_path / "out" / path.name).read_bytes() == (tmp_path / "whole/transformer" / path.name).read_bytes()


def test_what_could_be_in_two_components_has_to_be_named(pipeline: Path, tmp_path: Path) -> None:
    shutil.copytree(pipeline / "transformer", pipeline / "transformer_2")
    index = json.loads((pipeline / "model_index.json").read_text())
    (pipeline / "model_index.json").write_text(json.dumps({**index, "transformer_2": ["library", "ToyTransformer"]}))
    adapter = toy(tmp_path / "a", 3)
    base, opened = ao.open_checkpoint(pipeline), ao.open_adapter(adapter)
    with pytest.raises(IncompatibleError, match="transformer and transformer_2 have modules of these names"):
        ao.in_components(opened, base)
    with pytest.raises(OptionError, match="has no component 'unet': it is a pipeline of text_encoder"):
        ao.in_components(opened, base, "unet")
    assert run(["fuse", str(pipeline), str(adapter), "-o", str(tmp_path / "out")]) == 4
    command = ["fuse", str(pipeline), str(adapter), "--component", "transformer_2", "-o", str(tmp_path / "out")]
    assert run(command) == 0
    assert_only(pipeline, tmp_path / "out", {"transformer_2"})
    assert run([*command, "--force"]) == 0
    (tmp_path / "out/vae/mine.txt").write_text("")
    assert run([*command, "--force"]) == 6


def test_an_adapter_of_another_pipeline(pipeline: Path, tmp_path: Path) -> None:
    adapter = toy(tmp_path / "a", 3)
    config = adapter / "adapter_model.safetensors"
    save_file({name.replace("blocks", "layers"): tensor for name, tensor in load_file(config).items()}, config)
    with pytest.raises(IncompatibleError, match="none has all of its 2 modules: text_encoder 0"):
        ao.in_components(ao.open_adapter(adapter), ao.open_checkpoint(pipeline))


@pytest.mark.parametrize("command", ["quantize", "extract", "fuse --quantize nf4", "fuse --max-shard-size 1MB"])
def test_what_is_for_a_single_model_names_the_components(
    pipeline: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *options = command.split()
    more = {"quantize": [], "extract": ["--base", str(pipeline), "--rank", "2"], "fuse": [str(toy(tmp_path / "a", 3))]}[
        name
    ]
    assert run([name, str(pipeline), *more, *options, "-o", str(tmp_path / "out")]) == 4
    assert f"name the folder of one: {pipeline / 'text_encoder'}" in capsys.readouterr().err
    with pytest.raises(UnsupportedError):
        ao.cast(ao.open_checkpoint(pipeline), "F16").check_one("quantized")


def test_show_and_plans_name_the_components(pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", str(pipeline)]) == 0
    shown = capsys.readouterr().out
    assert (
        "a pipeline of text_encoder (CLIPTextModel), text_encoder_2 (CLIPTextModel), transformer (ToyTransformer)"
        in shown
    )
    assert "transformer: attn1.to_q" in shown or "transformer: to_q" in shown
    assert run(["fuse", str(pipeline), str(toy(tmp_path / "a", 3)), "--dry-run", "-o", str(tmp_path / "out")]) == 0
    assert "text_encoder_2/model.safetensors: 36 tensors" in capsys.readouterr().out


def test_a_variant_keeps_its_name(pipeline: Path, tmp_path: Path) -> None:
    for path in sorted((pipeline / "transformer").iterdir()):
        if path.name.startswith("diffusion"):
            name = path.name.replace("model-", "model.fp16-").replace("index.json", "index.fp16.json")
            path.write_bytes(
                path.read_bytes().replace(b"model-0", b"model.fp16-0") if path.suffix == ".json" else path.read_bytes()
            )
            path.rename(path.with_name(name))
    model = pipeline / "text_encoder/model.safetensors"
    model.rename(model.with_name("model.fp16.safetensors"))
    assert run(["fuse", str(pipeline), str(toy(tmp_path / "a", 3)), "-o", str(tmp_path / "out")]) == 0
    assert tree(tmp_path / "out").keys() == tree(pipeline).keys() | {"adapterops.json"}


def two_transformers(pipeline: Path) -> Path:
    shutil.copytree(pipeline / "transformer", pipeline / "transformer_2")
    index = json.loads((pipeline / "model_index.json").read_text())
    (pipeline / "model_index.json").write_text(json.dumps({**index, "transformer_2": ["library", "ToyTransformer"]}))
    return pipeline


SPELLED = {
    "kohya": ("lora_unet_blocks_0_attn1_to_q", "lora_down", "lora_up"),
    "comfy": ("diffusion_model.blocks.0.attn1.to_q", "lora_A", "lora_B"),
    "peft": ("base_model.model.blocks.0.attn1.to_q", "lora_A", "lora_B"),
}


def spelled(names: str, out: Path) -> Path:
    module, down, up = SPELLED[names]
    tensors = {f"{module}.{down}.weight": torch.randn(2, 8), f"{module}.{up}.weight": torch.randn(12, 2)}
    save_file(tensors, out, {"lora_alpha": "2"})
    return out


@pytest.mark.parametrize("names", SPELLED)
@pytest.mark.parametrize("component", ["transformer", "transformer_2"])
def test_a_component_is_heeded_whatever_the_names_begin_with(
    pipeline: Path, tmp_path: Path, names: str, component: str
) -> None:
    """Also where the adapter is written by the names of the pipeline, of which PEFT has those of one model alone."""
    adapter, base = spelled(names, tmp_path / "a.safetensors"), two_transformers(pipeline)
    asked = ["--component", component]
    assert run(["fuse", str(base), str(adapter), *asked, "-o", str(tmp_path / "out")]) == 0
    assert_only(pipeline, tmp_path / "out", {component})
    line = ["convert", str(adapter), "--base", str(base)]
    assert run([*line, "--to", "diffusers", "-o", str(tmp_path / "none")]) == 4
    assert run([*line, "--to", "diffusers", *asked, "-o", str(tmp_path / "named")]) == 0
    assert list(ao.open_adapter(tmp_path / "named").layout) == [f"{component}.{Q.format(0)}"]
    assert run([*line, "--to", "peft", *asked, "-o", str(tmp_path / "peft")]) == 0
    assert list(ao.open_adapter(tmp_path / "peft").layout) == [Q.format(0)]
    for made in ("named", "peft"):
        out = tmp_path / f"{made}-fused"
        assert run(["fuse", str(base), str(tmp_path / made), *asked, "-o", str(out)]) == 0
        for path in out.rglob("*.safetensors"):
            assert path.read_bytes() == (tmp_path / "out" / path.relative_to(out)).read_bytes()


def test_adapters_of_two_components_are_merged_into_one_file(pipeline: Path, tmp_path: Path) -> None:
    sources = [str(spelled(names, tmp_path / f"{names}.safetensors")) for names in ("kohya", "comfy")]
    asked = ["--component", "transformer", "--component", "transformer_2"]
    line = ["merge", *sources, "--base", str(two_transformers(pipeline)), *asked]
    assert run([*line, "--format", "diffusers", "-o", str(tmp_path / "out")]) == 0
    assert list(ao.open_adapter(tmp_path / "out").layout) == [f"transformer{end}.{Q.format(0)}" for end in ("", "_2")]
    assert run([*line, "--format", "peft", "-o", str(tmp_path / "none")]) == 4
    assert run(["convert", sources[0], "--to", "peft", "--component", "transformer", "-o", str(tmp_path / "none")]) == 2


@pytest.mark.parametrize("form", ["kohya", "comfy", "diffusers"])
def test_a_text_encoder_gets_the_name_that_every_program_knows(pipeline: Path, tmp_path: Path, form: str) -> None:
    """transformers 5 has no `text_model` in CLIP; the names of files of adapters have it."""
    model, adapter = trained(pipeline, "text_encoder", tmp_path / "a")
    line = ["convert", str(adapter), "--base", str(pipeline), "--to", form, "-o", str(tmp_path / "out")]
    assert run(line) == 0
    (path,) = (tmp_path / "out").glob("*.safetensors")
    start = "lora_te1_text_model_encoder_" if form == "kohya" else "text_encoder.text_model.encoder."
    assert all(name.startswith(start) for name in load_file(path))
    assert run(["fuse", str(pipeline), str(tmp_path / "out"), "-o", str(tmp_path / "fused")]) == 0
    assert_only(pipeline, tmp_path / "fused", {"text_encoder"})
    loaded = CLIPTextModel.from_pretrained(tmp_path / "fused/text_encoder").eval()
    torch.testing.assert_close(answers(loaded), answers(model), atol=2e-5, rtol=1e-5)
