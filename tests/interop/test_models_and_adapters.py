"""Models and adapters of the real transformers and PEFT:
whole trained tensors, extraction, and what `verify` finds in them.
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
from safetensors.torch import load_file, save_file
from small_models import TOKENS, adapted, gpt2, load, qwen

import adapterops as ao
from adapterops.cli.main import run


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model(input_ids=TOKENS).logits.double()


def unmerged(base: Path, adapter: Path) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return logits(peft.PeftModel.from_pretrained(load(base), adapter).eval())


def files_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


@pytest.mark.parametrize("tied", [False, True], ids=["own head", "tied head"])
@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ["q_proj", "down_proj"], "modules_to_save": ["lm_head", "norm"]},
        {"target_modules": ["q_proj"], "bias": "all"},
        {"target_modules": ["v_proj"], "bias": "lora_only", "modules_to_save": ["embed_tokens"]},
    ],
    ids=["head and norm", "all biases", "embedding"],
)
def test_whole_trained_tensors_take_the_place_of_the_bases(tmp_path: Path, config: dict[str, Any], tied: bool) -> None:
    base = qwen(tmp_path / "base", tied=tied)
    adapter = adapted(base, tmp_path / "adapter", **config)
    assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path / "fused")]) == 0
    torch.testing.assert_close(logits(load(tmp_path / "fused")), unmerged(base, adapter), rtol=1e-4, atol=1e-5)
    assert run(["verify", str(tmp_path / "fused"), "--base", str(base), "--adapter", str(adapter)]) == 0
    assert (
        run(["unfuse", str(tmp_path / "fused"), str(adapter), "-o", str(tmp_path / "restored")]) == 4
    )  # the base's norms are gone


@pytest.mark.parametrize("make", [qwen, gpt2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_an_extracted_adapter_is_the_difference(tmp_path: Path, make: Any, dtype: torch.dtype) -> None:
    """All of the rank, and everything else whole: PEFT then runs the tuned model."""
    base, tuned = make(tmp_path / "base", dtype), make(tmp_path / "tuned", dtype, seed=1)
    assert run(["extract", str(tuned), "--base", str(base), "--energy", "1", "-o", str(tmp_path / "adapter")]) == 0
    torch.testing.assert_close(unmerged(base, tmp_path / "adapter"), logits(load(tuned)), rtol=1e-3, atol=1e-4)
    assert run(["fuse", str(base), str(tmp_path / "adapter"), "-o", str(tmp_path / "again")]) == 0
    found, wanted = files_of(tmp_path / "again"), files_of(tuned)
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=0.01 if dtype == torch.bfloat16 else 1e-4, atol=1e-5)


def tuned_linear(base: Path, folder: Path, rank: int) -> Path:
    """The base with an update of this rank in every Linear weight, and nothing else."""
    shutil.copytree(base, folder)
    generator = torch.Generator().manual_seed(3)
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        for name, tensor in tensors.items():
            if "proj" in name and tensor.ndim == 2:
                out, into = tensor.shape
                tensor += (
                    torch.randn(out, rank, generator=generator) @ torch.randn(rank, into, generator=generator) / into
                )
        save_file(tensors, file, metadata={"format": "pt"})
    return folder


def test_the_rank_that_was_put_in_comes_out(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base")
    tuned = tuned_linear(base, tmp_path / "tuned", 3)
    adapter = ao.extract(ao.open_checkpoint(tuned), ao.open_checkpoint(base), energy=1 - 1e-6)
    saved = ao.save_adapter(adapter, tmp_path / "adapter")
    assert {kept.rank for kept in saved.modules.values()} == {3}
    assert len(saved.modules) == 14
    assert saved.energy > 1 - 1e-6
    assert not adapter.full


@pytest.mark.parametrize("rank", [2, 8])
def test_extraction_is_the_best_of_its_rank(tmp_path: Path, rank: int) -> None:
    base = qwen(tmp_path / "base")
    tuned = tuned_linear(base, tmp_path / "tuned", 20)
    saved = ao.save_adapter(ao.extract(ao.open_checkpoint(tuned), ao.open_checkpoint(base), rank), tmp_path / "adapter")
    before, after = files_of(base), files_of(tuned)
    for module, kept in saved.modules.items():
        s = torch.linalg.svdvals((after[f"{module}.weight"] - before[f"{module}.weight"]).double())
        assert kept.energy == pytest.approx(float(s[:rank].square().sum() / s.square().sum()), rel=0.01)


@pytest.mark.parametrize(
    ("rest", "code", "saved"), [("keep", 0, ["model.norm"]), ("drop", 0, None), ("refuse", 4, None)]
)
def test_what_is_no_linear_layer_is_kept_dropped_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rest: str, code: int, saved: list[str] | None
) -> None:
    base = qwen(tmp_path / "base")
    tuned = tuned_linear(base, tmp_path / "tuned", 2)
    for file in tuned.glob("*.safetensors"):
        tensors = load_file(file)
        if "model.norm.weight" in tensors:
            save_file(
                {**tensors, "model.norm.weight": tensors["model.norm.weight"] * 1.5}, file, metadata={"format": "pt"}
            )
    arguments = [
        "extract",
        str(tuned),
        "--base",
        str(base),
        "--rank",
        "2",
        "--rest",
        rest,
        "-o",
        str(tmp_path / "adapter"),
    ]
    assert run(arguments) == code
    assert ("model.norm.weight" in capsys.readouterr().err) == (rest != "keep")
    if code == 0:
        assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text()).get("modules_to_save") == saved


def test_equal_models_and_other_models_have_no_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, other = qwen(tmp_path / "base"), gpt2(tmp_path / "other")
    assert run(["extract", str(base), "--base", str(base), "--rank", "2", "-o", str(tmp_path / "out")]) == 4
    assert "the same numbers" in capsys.readouterr().err
    assert run(["extract", str(other), "--base", str(base), "--rank", "2", "-o", str(tmp_path / "out")]) == 4
    assert "different tensors" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, an adapter, and a model fused of them."""
    place = tmp_path_factory.mktemp("verify")
    base = qwen(place / "base", torch.bfloat16)
    (base / "tokenizer_config.json").write_text("{}")
    adapter = adapted(base, place / "adapter", torch.float32, target_modules="all-linear")
    assert run(["fuse", str(base), str(adapter), "-o", str(place / "fused")]) == 0
    return place


def verify(place: Path, model: str, *options: str) -> int:
    return run(
        ["verify", str(place / model), "--base", str(place / "base"), "--adapter", str(place / "adapter"), *options]
    )


def test_what_was_fused_is_verified_down_to_the_logits(fused: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert verify(fused, "fused", "--logits", "--json") == 0
    certificate = json.loads(capsys.readouterr().out)
    assert certificate["verified"] is True
    assert len(certificate["modules"]) == 14
    assert all(
        check["exact"] == check["entries"] and 0 < check["identity"] < 1 for check in certificate["modules"].values()
    )
    assert certificate["logits"]["relative"] < certificate["logits"]["bound"]


@pytest.mark.filterwarnings("ignore")
def test_what_peft_merged_is_verified(fused: Path) -> None:
    """With an adapter in float32, PEFT rounds once, too."""
    model = peft.PeftModel.from_pretrained(load(fused / "base", torch.bfloat16), fused / "adapter")
    model.merge_and_unload().save_pretrained(fused / "by-peft")
    assert verify(fused, "by-peft") == 0


def test_every_flipped_bit_is_found_and_named(fused: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = torch.Generator().manual_seed(0)
    files = sorted(path for path in (fused / "fused").iterdir())
    assert len(files) > 5
    for file in files:
        for _ in range(3):
            place = int(torch.randint(file.stat().st_size, (1,), generator=generator))
            bit = int(torch.randint(8, (1,), generator=generator))
            damaged(fused, file.name, place, 1 << bit)
            assert verify(fused, "damaged") == 8, (file.name, place, bit)
            shown = capsys.readouterr()
            assert file.name in shown.out + shown.err, (file.name, place, bit)
            assert "Traceback" not in shown.err


def damaged(place: Path, name: str, position: int, mask: int) -> None:
    """A copy of the fused model with some bits of one byte flipped."""
    shutil.rmtree(place / "damaged", ignore_errors=True)
    shutil.copytree(place / "fused", place / "damaged")
    data = bytearray((place / "damaged" / name).read_bytes())
    data[position] ^= mask
    (place / "damaged" / name).write_bytes(data)


@pytest.mark.parametrize("weight", [True, False], ids=["adapted", "copied"])
def test_a_flipped_bit_of_a_weight_is_found_without_a_manifest(
    fused: Path, capsys: pytest.CaptureFixture[str], weight: bool
) -> None:
    tensor = "model.layers.1.mlp.down_proj.weight" if weight else "model.layers.1.input_layernorm.weight"
    checkpoint = ao.open_checkpoint(fused / "fused")
    file = checkpoint.stored[tensor].parts[""].file
    start = file.path.stat().st_size - max(entry.end for entry in file.entries.values())
    for offset in (0, 17, file.entries[tensor].spec.bytes - 1):
        damaged(fused, file.path.name, start + file.entries[tensor].begin + offset, 1)
        (fused / "damaged" / "adapterops.json").unlink()
        assert verify(fused, "damaged") == 8
        assert tensor in capsys.readouterr().err


def test_other_weights_or_another_adapter_are_not_verified(fused: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(fused, "fused", "-w", "0.5") == 8
    assert "entries are not W0 + ΔW" in capsys.readouterr().out
    assert verify(fused, "base") == 8
    assert "nothing was fused" in capsys.readouterr().out
    assert verify(fused, "missing") == 5


@pytest.mark.filterwarnings("ignore")
def test_adapters_of_an_output_embedding_are_merged_and_scaled(tmp_path: Path) -> None:
    """PEFT saves the weight of the embedding beside its factors. It is the base's, and no part of the update."""
    base = qwen(tmp_path / "base")
    a = adapted(base, tmp_path / "a", target_modules=["lm_head", "q_proj"])
    b = adapted(base, tmp_path / "b", target_modules=["lm_head", "v_proj"])
    assert "base_model.model.lm_head.base_layer.weight" in load_file(a / "adapter_model.safetensors")
    assert run(["merge", str(a), str(b), "-w", "0.5", "-w", "2", "-o", str(tmp_path / "merged")]) == 0
    assert run(["fuse", str(base), str(a), str(b), "-w", "0.5", "-w", "2", "-o", str(tmp_path / "fused")]) == 0
    torch.testing.assert_close(
        logits(load(tmp_path / "fused")), unmerged(base, tmp_path / "merged"), rtol=1e-3, atol=1e-5
    )
    assert run(["unfuse", str(tmp_path / "fused"), str(tmp_path / "merged"), "-o", str(tmp_path / "restored")]) == 0
    found, wanted = files_of(tmp_path / "restored"), files_of(base)
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor)
    other = qwen(tmp_path / "other", seed=7)
    c = adapted(other, tmp_path / "c", target_modules=["lm_head"])
    assert run(["merge", str(a), str(c), "--allow-base-mismatch", "-o", str(tmp_path / "no")]) == 4


def test_how_much_to_extract_is_asked_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = qwen(tmp_path / "base")
    for cut in ([], ["--rank", "2", "--energy", "0.9"]):
        assert run(["extract", str(base), "--base", str(base), *cut, "-o", str(tmp_path / "out")]) == 2
        assert "exactly one of rank, energy and budget" in capsys.readouterr().err


def test_a_tensor_that_the_index_does_not_name_is_loaded_and_fused(tmp_path: Path) -> None:
    """transformers opens every file that the index names, and takes all that is in it."""
    base = qwen(tmp_path / "base")
    adapter = adapted(base, tmp_path / "adapter", target_modules=["q_proj"])
    index = base / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    del content["weight_map"]["model.layers.1.self_attn.q_proj.weight"]
    index.write_text(json.dumps(content))
    assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path / "out")]) == 0
    torch.testing.assert_close(logits(load(tmp_path / "out")), unmerged(base, adapter), atol=1e-5, rtol=1e-5)
