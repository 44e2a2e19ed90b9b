"""Input and output embeddings, trained whole, of models that share them in different ways."""

from __future__ import annotations

import json
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import TOKENS, adapted, gpt2, load, qwen, save
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    OPTConfig,
    OPTForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

import adapterops as ao
from adapterops.cli.main import run

Capture = pytest.CaptureFixture[str]


def opt(folder: Path, positions: int = 30) -> Path:
    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=96,
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=positions,
    )
    return save(OPTForCausalLM(config), folder)


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=TOKENS).logits.double()
    return found


def unmerged(base: Path, adapter: Path) -> torch.Tensor:
    return logits(peft.PeftModel.from_pretrained(load(base), adapter).eval())


def change(adapter: Path, **tensors: torch.Tensor) -> Path:
    """The adapter with other tensors where a name ends so."""
    path = adapter / "adapter_model.safetensors"
    kept = load_file(path)
    for end, tensor in tensors.items():
        (name,) = (name for name in kept if name.endswith(f"{end}.weight"))
        kept[name] = tensor
    save_file(kept, path, {"format": "pt"})
    return adapter


@pytest.mark.parametrize("whole", [["lm_head"], ["embed_tokens"]])
@pytest.mark.parametrize("family", [opt, lambda folder: qwen(folder, tied=True)], ids=["opt", "qwen"])
def test_a_trained_end_of_a_tied_model_is_what_peft_has(
    family, whole: list[str], tmp_path: Path, capsys: Capture
) -> None:
    base = family(tmp_path / "base")
    adapter = adapted(base, tmp_path / "a", target_modules=["q_proj"], modules_to_save=whole, ensure_weight_tying=False)
    assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path / "out")]) == 0
    torch.testing.assert_close(logits(load(tmp_path / "out")), unmerged(base, adapter), rtol=1e-4, atol=1e-5)
    assert run(["verify", str(tmp_path / "out"), "--base", str(base), "--adapter", str(adapter)]) == 0


def test_heads_that_differ_are_averaged_when_asked(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With weights that add up to 1 every weight is the weighted mean of those that PEFT merges."""
    monkeypatch.chdir(tmp_path)
    base = qwen(Path("base"))
    adapters = [
        adapted(base, Path(name), target_modules=["q_proj"], modules_to_save=["lm_head"], bias="lora_only")
        for name in ("a", "b")
    ]
    for seed, adapter in enumerate(adapters):
        torch.manual_seed(seed)
        path = adapter / "adapter_model.safetensors"
        save_file(
            {name: each + 0.05 * torch.randn_like(each) for name, each in load_file(path).items()},
            path,
            {"format": "pt"},
        )
    wholes = [peft.PeftModel.from_pretrained(load(base), each).merge_and_unload().state_dict() for each in adapters]
    model = load(base)
    model.load_state_dict({name: 0.75 * one + 0.25 * wholes[1][name] for name, one in wholes[0].items()})
    expected = logits(model)
    line = ["merge", *map(str, adapters), "-w", "0.75,0.25", "-o", "out"]
    assert run(line) == 4
    assert "--full mean" in capsys.readouterr().err
    assert run([*line, "--full", "mean"]) == 0
    torch.testing.assert_close(unmerged(base, Path("out")), expected, rtol=1e-4, atol=1e-5)
    fused = ["fuse", str(base), *map(str, adapters), "-w", "0.75,0.25", "--full", "mean", "-o", "fused"]
    assert run(fused) == 0
    torch.testing.assert_close(logits(load(Path("fused"))), expected, rtol=1e-4, atol=1e-5)
    assert run(["verify", "fused"]) == 0
    formula = 'linear(a, b, weights=[0.75, 0.25], full="mean")'
    names = [f"{name}={path}" for name, path in zip("ab", adapters, strict=True)]
    assert run(["calc", formula, *names, "-o", "calc"]) == 0
    same = (Path(each) / "adapter_model.safetensors" for each in ("calc", "out"))
    assert next(same).read_bytes() == next(same).read_bytes()


def with_embeddings(base: Path, folder: Path) -> Path:
    """An adapter that PEFT saves with the embeddings of a model, which were trained and not announced."""
    adapted(base, folder, target_modules=["q_proj"])
    model = peft.PeftModel.from_pretrained(load(base), folder)
    for end in {model.get_input_embeddings(), model.get_output_embeddings()}:
        end.weight.data += 0.1 * torch.randn_like(end.weight)
    model.save_pretrained(folder, save_embedding_layers=True)
    return folder


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_embeddings_that_are_saved_unannounced_replace_the_base(tied: bool, tmp_path: Path) -> None:
    base = qwen(tmp_path / "base", tied=tied)
    adapter = with_embeddings(base, tmp_path / "a")
    assert "modules_to_save" not in {
        key for key, value in json.loads((adapter / "adapter_config.json").read_text()).items() if value
    }
    assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path / "out")]) == 0
    fused = logits(load(tmp_path / "out"))
    torch.testing.assert_close(fused, unmerged(base, adapter), rtol=1e-4, atol=1e-5)
    assert (fused - logits(load(base))).abs().max() > 0.1
    assert run(["verify", str(tmp_path / "out"), "--base", str(base), "--adapter", str(adapter)]) == 0


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_unannounced_embeddings_stay_so_in_a_truncated_adapter(tied: bool, tmp_path: Path) -> None:
    base = qwen(tmp_path / "base", tied=tied)
    adapter = with_embeddings(base, tmp_path / "a")
    assert run(["truncate", str(adapter), "--rank", "4", "-o", str(tmp_path / "out")]) == 0
    assert "modules_to_save" not in json.loads((tmp_path / "out/adapter_config.json").read_text())
    torch.testing.assert_close(unmerged(base, tmp_path / "out"), unmerged(base, adapter), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("end", ["lm_head", "embed_tokens"])
def test_one_unannounced_end_of_a_tied_model_is_refused(end: str, tmp_path: Path, capsys: Capture) -> None:
    base = qwen(tmp_path / "base", tied=True)
    path = with_embeddings(base, tmp_path / "a") / "adapter_model.safetensors"
    other = {"lm_head": "embed_tokens", "embed_tokens": "lm_head"}[end]
    save_file({name: value for name, value in load_file(path).items() if other not in name}, path, {"format": "pt"})
    assert run(["fuse", str(base), str(path.parent), "-o", str(tmp_path / "out")]) == 4
    assert "is one end of embeddings that the base ties, saved without the other" in capsys.readouterr().err


@pytest.mark.parametrize("infix", ["modules_to_save", "modules_to_save.default"])
@pytest.mark.parametrize("original", [False, True], ids=["alone", "beside the original"])
def test_a_head_in_the_names_of_the_wrapper_around_it(infix: str, original: bool, tmp_path: Path) -> None:
    base = qwen(tmp_path / "base")
    adapter = adapted(base, tmp_path / "a", target_modules=["q_proj"], modules_to_save=["lm_head"])
    expected = unmerged(base, adapter)
    path = adapter / "adapter_model.safetensors"
    stored = load_file(path)
    stored[f"base_model.model.lm_head.{infix}.weight"] = stored.pop("base_model.model.lm_head.weight")
    if original:
        stored["base_model.model.lm_head.original_module.weight"] = load(base).lm_head.weight.detach().clone()
    save_file(stored, path, {"format": "pt"})
    assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path / "out")]) == 0
    torch.testing.assert_close(logits(load(tmp_path / "out")), expected, rtol=1e-4, atol=1e-5)
    assert run(["verify", str(tmp_path / "out"), "--base", str(base), "--adapter", str(adapter)]) == 0


@pytest.mark.parametrize("shape", [(100, 64), (50, 64), (96, 32)], ids=str)
def test_a_trained_head_of_another_shape(shape: tuple[int, int], tmp_path: Path, capsys: Capture) -> None:
    base = qwen(tmp_path / "base", tied=True)
    adapter = adapted(base, tmp_path / "a", target_modules=["q_proj"], modules_to_save=["lm_head"])
    change(adapter, lm_head=torch.randn(shape))
    for plan in (["--dry-run"], []):
        assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path / "out"), *plan]) == 4
        assert (
            f"is a full tensor of shape {list(shape)}, and the embedding in its place is [96, 64]"
            in capsys.readouterr().err
        )


def test_a_head_that_both_ends_of_an_encoder_and_decoder_share(tmp_path: Path, capsys: Capture) -> None:
    torch.manual_seed(0)
    config = T5Config(vocab_size=96, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, decoder_start_token_id=0)
    base = save(T5ForConditionalGeneration(config), tmp_path / "base")
    model = peft.get_peft_model(
        T5ForConditionalGeneration.from_pretrained(base),
        peft.LoraConfig(r=2, target_modules=["q"], modules_to_save=["lm_head"], init_lora_weights=False),
    )
    model.save_pretrained(tmp_path / "a")
    copied = run(["fuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "copied")])
    assert copied == 0, "a head that was not trained is the base's"
    change(tmp_path / "a", lm_head=torch.randn(96, 32))
    assert run(["fuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 4
    assert "is tied to other tensors of the base" in capsys.readouterr().err


@pytest.mark.parametrize("end", ["lm_head", "shared"])
def test_lora_on_an_end_that_no_file_can_untie_is_written_by_the_names_of_the_base(tmp_path: Path, end: str) -> None:
    """PEFT loads it; what cannot be fused can be cut and merged."""
    torch.manual_seed(0)
    config = T5Config(vocab_size=96, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, decoder_start_token_id=0)
    base = save(T5ForConditionalGeneration(config), tmp_path / "base")
    model = peft.get_peft_model(
        T5ForConditionalGeneration.from_pretrained(base),
        peft.LoraConfig(r=2, target_modules=["q", end], init_lora_weights=False),
    )
    model.save_pretrained(tmp_path / "a", save_embedding_layers=False)

    def answers(adapter: str) -> torch.Tensor:
        loaded = peft.PeftModel.from_pretrained(T5ForConditionalGeneration.from_pretrained(base), tmp_path / adapter)
        with torch.no_grad():
            return loaded.eval()(input_ids=TOKENS, decoder_input_ids=TOKENS).logits

    given = [str(tmp_path / "a"), "--base", str(base)]
    assert run(["truncate", *given, "--rank", "2", "-o", str(tmp_path / "out")]) == 0
    torch.testing.assert_close(answers("out"), answers("a"), rtol=1e-4, atol=1e-5)


def test_ends_that_are_stored_and_said_to_be_tied_are_untied(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base", tied=True)
    names = json.loads((base / "model.safetensors.index.json").read_text())["weight_map"]
    shard = base / names["model.embed_tokens.weight"]
    stored = load_file(shard)
    save_file({**stored, "lm_head.weight": stored["model.embed_tokens.weight"].clone()}, shard, {"format": "pt"})
    names["lm_head.weight"] = shard.name
    (base / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    adapter = adapted(base, tmp_path / "a", target_modules=["q_proj"], modules_to_save=["lm_head"])
    ao.save_checkpoint(ao.fuse(ao.open_checkpoint(base), ao.open_adapter(adapter)), tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text())["tie_word_embeddings"] is False


def test_a_trained_head_that_is_not_finite(tmp_path: Path, capsys: Capture) -> None:
    base = qwen(tmp_path / "base")
    adapter = adapted(base, tmp_path / "a", target_modules=["q_proj"], modules_to_save=["lm_head"])
    bad = torch.randn(96, 64)
    bad[3, 5] = torch.nan
    change(adapter, lm_head=bad)
    assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path / "out")]) == 3
    shown = capsys.readouterr().err
    assert "adapter_model.safetensors: " in shown
    assert "lm_head.weight: has numbers that are NaN or infinite" in shown


def test_unfusing_a_trained_head_says_what_to_use(tmp_path: Path, capsys: Capture) -> None:
    base = qwen(tmp_path / "base")
    adapter = adapted(base, tmp_path / "a", target_modules=["q_proj"], modules_to_save=["lm_head"])
    assert run(["unfuse", str(base), str(adapter), "-o", str(tmp_path / "out")]) == 4
    shown = capsys.readouterr().err
    assert f"error: {tmp_path / 'a'}: " in shown
    assert "use the base itself" in shown


def test_the_difference_of_models_of_which_one_has_no_config(tmp_path: Path, capsys: Capture) -> None:
    base = gpt2(tmp_path / "base")
    tuned = gpt2(tmp_path / "tuned")
    for path in tuned.glob("*.safetensors"):
        moved = {
            name: tensor + 0.01 if name.endswith("attn.c_proj.weight") else tensor
            for name, tensor in load_file(path).items()
        }
        moved = {
            name: tensor.tril() if name.endswith("attn.c_proj.weight") else tensor for name, tensor in moved.items()
        }
        save_file(moved, path, {"format": "pt"})
    expected = logits(load(tuned))
    (tuned / "config.json").unlink()
    assert run(["extract", str(tuned), "--base", str(base), "--rank", "64", "-o", str(tmp_path / "a")]) == 0
    torch.testing.assert_close(unmerged(base, tmp_path / "a"), expected, rtol=1e-3, atol=1e-4)
    (base / "config.json").unlink()
    assert run(["extract", str(tuned), "--base", str(base), "--rank", "64", "-o", str(tmp_path / "b")]) == 4
    assert "may be stored as (in, out)" in capsys.readouterr().err


def test_logits_of_a_model_that_has_none_over_a_vocabulary(tmp_path: Path, capsys: Capture) -> None:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=96, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64)
    base = save(BertForSequenceClassification(config), tmp_path / "base")
    model = peft.get_peft_model(
        BertForSequenceClassification.from_pretrained(base),
        peft.LoraConfig(r=2, target_modules=["query"], init_lora_weights=False),
    )
    model.save_pretrained(tmp_path / "a")
    assert run(["fuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 0
    told = ["verify", str(tmp_path / "out"), "--base", str(base), "--adapter", str(tmp_path / "a")]
    assert run(told) == 0
    capsys.readouterr()
    assert run([*told, "--logits"]) == 0
    assert "logits: relative error" in capsys.readouterr().out
