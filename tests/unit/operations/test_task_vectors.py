from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import load, qwen

from adapterops import fuse, merge, open_checkpoint, task_vector
from adapterops.adapters.adapter import Adapter
from adapterops.errors import AdapterWarning, IncompatibleError, InputError

Tensors = dict[str, torch.Tensor]
NORM, Q = "model.norm.weight", "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base in bfloat16, and two models in which every tensor moved."""
    folder = tmp_path_factory.mktemp("models")
    found = {"base": qwen(folder / "base", torch.bfloat16)}
    for seed, name in enumerate("ab"):
        model = load(found["base"])
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
        model.to(torch.bfloat16).save_pretrained(folder / name)
        found[name] = folder / name
    return found


def numbers(folder: Path) -> Tensors:
    return {name: value for file in sorted(folder.glob("*.safetensors")) for name, value in load_file(file).items()}


def deltas(models: dict[str, Path], name: str) -> list[np.ndarray]:
    base = numbers(models["base"])[name].float()
    return [(numbers(models[each])[name].float() - base).numpy() for each in "ab"]


def vectors(models: dict[str, Path]) -> list[Adapter]:
    base = open_checkpoint(models["base"])
    return [task_vector(open_checkpoint(models[name]), base) for name in "ab"]


def trimmed(x: np.ndarray, density: float) -> np.ndarray:
    order = np.argsort(-np.abs(x.reshape(-1)), kind="stable")[: int(density * x.size)]
    kept = np.zeros(x.size, x.dtype)
    kept[order] = x.reshape(-1)[order]
    return kept.reshape(x.shape)


def ties(models: dict[str, Path], name: str, density: float) -> np.ndarray:
    first, second = (trimmed(x, density) for x in deltas(models, name))
    positive = first + second >= 0
    agree = [(x > 0) & positive | (x < 0) & ~positive for x in (first, second)]
    return (first * agree[0] + second * agree[1]) / np.maximum(agree[0].astype(np.float32) + agree[1], 1)


def test_ties_of_every_tensor_is_the_dense_formula_bit_for_bit(models: dict[str, Path]) -> None:
    base = open_checkpoint(models["base"])
    fused = fuse(base, merge(vectors(models), "ties", density=0.3, scale="sum"))
    before = numbers(models["base"])
    assert set(fused.changed) == set(before)
    for name, W in before.items():
        wanted = (W.float() + torch.from_numpy(ties(models, name, 0.3))).bfloat16()
        assert torch.equal(fused.tensors[name], wanted), name


def test_one_model_at_weight_1_is_that_model(models: dict[str, Path]) -> None:
    base = open_checkpoint(models["base"])
    fused = fuse(base, vectors(models)[0], precision="float64")
    for name, value in numbers(models["a"]).items():
        assert torch.equal(fused.tensors[name], value), name


def test_the_papers_cut_is_one_for_the_whole_model(models: dict[str, Path]) -> None:
    merged = merge(vectors(models), "ties", density=0.2, convention="paper")
    flat = [np.concatenate([deltas(models, name)[i].reshape(-1) for name in numbers(models["base"])]) for i in range(2)]
    kept = int(0.2 * flat[0].size) + 1
    cuts = [np.sort(np.abs(each))[-kept] for each in flat]
    for name in (Q, NORM):
        first, second = (x * (np.abs(x) >= cut) for x, cut in zip(deltas(models, name), cuts, strict=True))
        total = first + second
        sign = np.where(total == 0, 1.0, np.sign(total))
        agree = [np.sign(x) == sign for x in (first, second)]
        wanted = (first * agree[0] + second * agree[1]) / np.maximum(1, agree[0].astype(np.float32) + agree[1])
        assert np.array_equal(merged.updates[name].dense().reshape(wanted.shape), wanted)


def test_spectral_methods_merge_the_weights_of_linear_layers_and_take_the_mean_of_the_rest(
    models: dict[str, Path],
) -> None:
    merged = merge(vectors(models), "iso_c", scale="sum", weights=[1.0, 3.0])
    first, second = (x.astype(np.float64) for x in deltas(models, Q))
    u, s, vt = np.linalg.svd(first + 3 * second, full_matrices=False)
    values = np.where(s > 1e-3 * s[0], s[s > 1e-3 * s[0]].mean(), s)
    assert np.allclose(merged.updates[Q].dense(), (u * values) @ vt, atol=1e-6)
    for name in (NORM, "model.embed_tokens.weight", "lm_head.weight", f"{Q.removesuffix('weight')}bias"):
        first, second = deltas(models, name)
        assert np.allclose(merged.updates[name].dense().reshape(first.shape), (first + 3 * second) / 4, atol=1e-7)


def test_methods_on_inner_products_take_every_tensor(models: dict[str, Path]) -> None:
    merged = merge(vectors(models), "slerp")
    first, second = (x.astype(np.float64) for x in deltas(models, NORM))
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    angle = np.arccos(cosine)
    wanted = np.sin(angle / 2) / np.sin(angle) * (first + second)
    assert np.allclose(merged.updates[NORM].dense()[0], wanted, atol=1e-7)


def test_memory_is_for_tiles_and_of_a_spectral_method_for_its_matrices(models: dict[str, Path]) -> None:
    whole, several = vectors(models), 8 * 2 * 64 * 64
    entrywise, spectral = (merge(whole, method).layout[Q] for method in ("ties", "tsv"))
    assert entrywise.held == sum(each.layout[Q].held for each in whole)
    assert spectral.held >= several


def changed(models: dict[str, Path], folder: Path, tensors: Tensors | None = None, **config: Any) -> Path:
    """A copy of a tuned model with other tensors or another config."""
    shutil.copytree(models["a"], folder)
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **config}))
    if tensors:
        for file in folder.glob("*.safetensors*"):
            file.unlink()
        save_file({**numbers(models["a"]), **tensors}, folder / "model.safetensors", {"format": "pt"})
    return folder


def refused(models: dict[str, Path], tuned: Path) -> str:
    with pytest.raises(IncompatibleError) as caught:
        task_vector(open_checkpoint(tuned), open_checkpoint(models["base"]))
    return str(caught.value)


def test_another_vocabulary_another_type_and_numbers_that_are_no_floats_are_refused(
    models: dict[str, Path], tmp_path: Path
) -> None:
    longer = torch.zeros(104, 64, dtype=torch.bfloat16)
    ends = {"model.embed_tokens.weight": longer, "lm_head.weight": longer.clone()}
    assert "the vocabularies have different sizes" in refused(models, changed(models, tmp_path / "longer", ends))
    assert "of type llama, and the base is qwen2" in refused(
        models, changed(models, tmp_path / "other", model_type="llama")
    )


def words(folder: Path, *words: str) -> Path:
    added = [{"id": i, "content": word} for i, word in enumerate(words)]
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {}}, "added_tokens": added}))
    return folder


def test_tokenizers_are_compared_word_by_word(models: dict[str, Path], tmp_path: Path) -> None:
    tuned, base = changed(models, tmp_path / "tuned"), tmp_path / "base"
    shutil.copytree(models["base"], base)
    words(base, "a", "b")
    words(tuned, "a", "c")
    with pytest.raises(IncompatibleError, match="has 2 words, the base 2, and they differ: 'c' is 1 in it; 'b' is 1"):
        task_vector(open_checkpoint(tuned), open_checkpoint(base))
    words(tuned, "a", "b")
    (tuned / "tokenizer.json").write_text(f" {(tuned / 'tokenizer.json').read_text()}")
    task_vector(open_checkpoint(tuned), open_checkpoint(base))


@pytest.mark.parametrize(
    "text",
    ["[]", "1", '{"model": [1]}', '{"model": {"vocab": 1}}', '{"added_tokens": {}}', '{"added_tokens": ["a"]}', "{"],
)
def test_a_tokenizer_that_is_none_is_refused(models: dict[str, Path], tmp_path: Path, text: str) -> None:
    tuned, base = changed(models, tmp_path / "tuned"), tmp_path / "base"
    shutil.copytree(models["base"], base)
    words(base, "a", "b")
    (tuned / "tokenizer.json").write_text(text)
    with pytest.raises(InputError, match=r"tuned/tokenizer\.json.*(not what a tokenizer is saved as|not JSON)"):
        task_vector(open_checkpoint(tuned), open_checkpoint(base))


def test_other_fields_of_the_config_are_told(models: dict[str, Path], tmp_path: Path) -> None:
    tuned, base = (
        open_checkpoint(changed(models, tmp_path / "theta", rms_norm_eps=0.5)),
        open_checkpoint(models["base"]),
    )
    with pytest.warns(AdapterWarning, match="rms_norm_eps is 0.5, 1e-06 there"):
        task_vector(tuned, base)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vectors(models)


def test_a_model_and_an_adapter_are_not_merged(models: dict[str, Path]) -> None:
    adapter = Adapter.of({Q: vectors(models)[0].updates[Q]})
    with pytest.raises(IncompatibleError, match="is a whole model, and"):
        merge([vectors(models)[0], adapter])
