"""W + ΔW, rounded once; and back."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import MODULES, config, factors, write_adapter
from safetensors.torch import load_file, save_file
from tiny_models import write_base, write_tuned

import adapterops as ao
from adapterops.errors import IncompatibleError, OptionError
from adapterops.operations.fusion import fuse, unfuse, without_copies


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {name: each for file in sorted(folder.glob("*.safetensors")) for name, each in load_file(file).items()}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a")
    return tmp_path


@pytest.mark.parametrize("dtype", [None, "F32"])
def test_the_sum_is_rounded_once_and_the_rest_is_copied(place: Path, dtype: str | None) -> None:
    base, adapter = ao.open_checkpoint(place / "base"), ao.open_adapter(place / "a")
    fused = fuse(base, adapter, dtype=dtype)
    assert {*fused.changed} == {f"{module}.weight" for module in adapter.layout}
    ao.save_checkpoint(fused, place / "out")
    before, after = tensors(place / "base"), tensors(place / "out")
    for name, tensor in after.items():
        module = name.removesuffix(".weight")
        if module not in adapter.layout:
            assert torch.equal(tensor.to(before[name].dtype), before[name])
            continue
        exact = before[name].double() + torch.from_numpy(adapter.updates[module].dense()).double()
        wanted = exact.to(torch.float32 if dtype else torch.bfloat16)
        assert torch.allclose(tensor.double(), wanted.double(), rtol=1e-6 if dtype else 2**-8)
        assert dtype or (tensor == wanted).float().mean() > 0.99


def test_what_was_added_is_taken_out(place: Path) -> None:
    base, adapter = ao.open_checkpoint(place / "base"), ao.open_adapter(place / "a")
    ao.save_checkpoint(fuse(base, adapter, dtype="F32"), place / "out")
    ao.save_checkpoint(unfuse(ao.open_checkpoint(place / "out"), adapter), place / "back")
    before, back = tensors(place / "base"), tensors(place / "back")
    for name, tensor in before.items():
        np.testing.assert_allclose(back[name].double(), tensor.double(), atol=1e-5)


def test_a_module_that_the_base_lacks_is_named(place: Path) -> None:
    write_base(place / "small", layers=1)
    with pytest.raises(IncompatibleError, match="layers"):
        fuse(ao.open_checkpoint(place / "small"), ao.open_adapter(place / "a"))


def test_a_copy_of_the_base_stays_where_another_adapter_trained_it(tmp_path: Path) -> None:
    """It has a mean with the trained one; where none trained it, all leave it out."""
    own, trained = torch.ones(6, 8), torch.full((6, 8), 2.0)
    (tmp_path / "base").mkdir()
    weights = {f"{module}.weight": torch.zeros(12, 8) for module in MODULES}
    save_file({**weights, "embed_tokens.weight": own}, tmp_path / "base/model.safetensors")
    adapters = []
    for name, full in (("a", trained), ("b", own)):
        tensors = {**factors(), "base_model.model.embed_tokens.weight": full}
        folder = write_adapter(tmp_path / name, tensors, config(2, modules_to_save=["embed_tokens"]))
        adapters.append(ao.open_adapter(folder))
    base = ao.open_checkpoint(tmp_path / "base")
    assert [list(each.full) for each in without_copies(adapters, base)] == 2 * [["embed_tokens.weight"]]
    assert [list(each.full) for each in without_copies(adapters[1:], base)] == [[]]
    assert [list(each.full) for each in without_copies(adapters[:1], base)] == [["embed_tokens.weight"]]


@pytest.mark.parametrize(("kind", "told"), [("mistral", True), ("llama", False), ("qwen2_vl", False)])
def test_a_base_of_another_type_than_the_adapter_s_is_told(tmp_path: Path, kind: str, told: bool) -> None:
    """Names and shapes are those of a Llama in a Mistral, too; a model may be in another."""
    library = {"base_model_class": "LlamaForCausalLM", "parent_library": "transformers.models.llama.modeling_llama"}
    adapter = ao.open_adapter(write_tuned(tmp_path / "a", auto_mapping=library))
    base = ao.open_checkpoint(write_base(tmp_path / "base"))
    base = replace(base, config={"model_type": kind, "text_config": {"model_type": "llama"} if "vl" in kind else None})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fuse(base, adapter)
    assert ["was trained on a LlamaForCausalLM" in str(each.message) for each in caught] == [True] * told


def test_what_was_not_opened_is_said(place: Path) -> None:
    base, adapter = ao.open_checkpoint(place / "base"), ao.open_adapter(place / "a")
    for call, opener in (
        (lambda: ao.fuse("base", adapter), "open_checkpoint"),
        (lambda: ao.fuse(base, "tuned"), "open_adapter"),
        (lambda: ao.fuse(adapter, base), "open_checkpoint"),
        (lambda: ao.unfuse(base, base), "open_adapter"),
        (lambda: ao.truncate("tuned", rank=2), "open_adapter"),
        (lambda: ao.merge(["tuned", adapter]), "open_adapter"),
        (lambda: ao.save_adapter(base, place / "out"), "open_adapter"),
        (lambda: ao.save_checkpoint(adapter, place / "out"), "open_checkpoint"),
        (lambda: ao.verify(base, "base", adapter), "open_checkpoint"),
        (lambda: ao.verify(base, base, [adapter]), "open_adapter"),
        (lambda: ao.diagnose("model", base), "open_checkpoint"),
        (lambda: ao.diagnose(base, base, {"a": "a"}), "open_adapter"),
        (lambda: ao.extract("model", base, rank=2), "open_checkpoint"),
        (lambda: ao.quantize("base"), "open_checkpoint"),
        (lambda: ao.dequantize("base"), "open_checkpoint"),
        (lambda: ao.normalize("a"), "open_adapter"),
        (lambda: ao.named_as(adapter, "base"), "open_checkpoint"),
        (lambda: ao.select("a", ["*"]), "open_adapter"),
        (lambda: ao.drop("a", {"*": "why"}), "open_adapter"),
        (lambda: ao.scale("a", 0.5), "open_adapter"),
        (lambda: ao.spectra("a"), "open_adapter"),
        (lambda: ao.compare("ab"), "open_adapter"),
        (lambda: ao.compare([adapter], base="base"), "open_checkpoint"),
    ):
        with pytest.raises(OptionError, match=f"expected what {opener} returns, got") as caught:
            call()
        assert f"ao.{opener}(PATH)" in str(caught.value)
    with pytest.raises(OptionError, match="merge takes a list of adapters"):
        ao.merge(adapter, adapter)
    with pytest.raises(OptionError, match="the adapters are named"):
        ao.diagnose(base, base, [adapter])
    with pytest.raises(OptionError, match="there is no program 'vlm'"):
        ao.check(place / "a", ["vlm"])
