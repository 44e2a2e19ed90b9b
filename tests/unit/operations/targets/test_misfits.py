"""What is said of modules that have no place: what was tried, what is nearest, and what would fit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import adapterops as ao
from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.formats.models.naming import Names
from adapterops.operations.targets.misfits import misfits
from adapterops.storage.tensors import Spec

QUERY = "encoder.layer.{}.attention.self.query"


def names(*modules: str) -> Names:
    return Names({f"{module}.weight": Spec("F32", (4, 4)) for module in modules}, {})


def test_how_many_fit_under_which_prefix() -> None:
    base = names(*("bert." + QUERY.format(n) for n in range(2)))
    missing = [QUERY.format(n) for n in range(3)]
    error = str(misfits([], missing, [], 3, base))
    assert "0 of 3 modules" in error
    assert "2 of 3 with the prefix 'bert.'" in error
    assert "architecture" not in error


def test_several_prefixes_are_not_chosen_between() -> None:
    base = names(*(f"{tower}.{QUERY.format(0)}" for tower in ("question", "context")))
    error = str(misfits([], [QUERY.format(0)], [], 1, base))
    assert "'question.'" in error
    assert "'context.'" in error
    assert "which of them is meant is not known" in error


def test_the_nearest_names_come_first() -> None:
    base = names("model.layers.0.a", "model.layers.0.b", *(f"model.other.{n}.c" for n in range(20)), "model.x.q_proj")
    error = str(misfits(["model.q"] * 3, ["model.layers.9.q_proj"], [], 4, base))
    assert "1 of 4 modules" in error
    assert error.index("model.x.q_proj") < error.index("model.other.0.c")
    assert "trained on" in error
    assert "another" not in error


@pytest.mark.parametrize(
    ("module", "there"),
    [
        ("h.0.attn.q_proj", "h.0.attn.c_attn"),
        ("layers.0.attention.v_proj", "layers.0.attention.query_key_value"),
        ("layers.0.mlp.up_proj", "layers.0.mlp.Wi"),
        ("layers.0.linear_attn.in_proj_k", "layers.0.linear_attn.in_proj_qkvz"),
        ("layers.0.self_attn.query_key_value", "layers.0.self_attn.q_proj"),
    ],
)
def test_what_is_joined_or_split_otherwise_is_said(module: str, there: str) -> None:
    error = str(misfits([], [module], [], 1, names(there, "layers.0.norm")))
    assert f"The base has {module} in another division" in error
    assert f"{there}.weight" in error
    assert "architecture" not in error


def test_another_architecture_is_said_of_nothing_else() -> None:
    assert "another architecture" in str(misfits([], ["blocks.0.wq"], [], 1, names("model.layers.0.q_proj")))
    assert "another" not in str(misfits([], [], ["q is [4, 8], q.weight is [8, 4]"], 1, names("q")))


def test_what_transformers_makes_of_other_tensors_is_the_cause() -> None:
    base = {
        f"gte.encoder.layer.0.{name}.weight": Spec("F32", (8, 8)) for name in ("attention.qkv_proj", "mlp.down_proj")
    }
    error = misfits(["model.q"], ["gte.layers.0.self_attn.q_proj"], [], 2, Names(base, {"model_type": "gte"}))
    assert "transformers makes modules of gte.encoder.layer.0.attention.qkv_proj.weight" in error.message
    assert "merge_and_unload" in str(error.hint)


def test_a_layer_that_is_used_twice_is_the_cause() -> None:
    base = {"model.layers.1.shared_transf.self_attn.q_proj.weight": Spec("F32", (8, 8))}
    error = misfits(
        ["model.q"], ["model.layers.3.shared_transf.self_attn.q_proj"], [], 2, Names(base, {"model_type": "zamba"})
    )
    assert "at several depths and its files once" in error.message


def test_what_is_divided_otherwise_is_said_of_an_adapter_on_that_alone() -> None:
    """It may be for another model, too; one in whose names no layer is the same is."""
    base = Names({"gte.encoder.layer.0.attention.qkv_proj.weight": Spec("F32", (8, 8))}, {"model_type": "gte"})
    error = misfits([], ["gte.layers.0.self_attn.q_proj"], [], 1, base)
    assert "transformers makes modules of gte.encoder.layer.0.attention.qkv_proj.weight" in error.message
    assert str(error.hint).startswith("give the base that the adapter was trained on; if this is it, merge it")
    assert "transformers makes" not in misfits([], ["h.0.q_proj"], [], 1, base).message


@pytest.mark.parametrize(
    ("unet", "encoder", "pattern"),
    [
        ("lora_unet_blocks_0_attn_q", "lora_te1_text_model_encoder_layers_0_mlp_fc1", "lora_unet_*"),
        ("transformer.blocks.0.attn.q", "text_encoder.text_model.encoder.layers.0.mlp.fc1", "transformer.*"),
    ],
)
def test_a_text_encoder_that_the_base_has_not(tmp_path: Path, unet: str, encoder: str, pattern: str) -> None:
    """The way on that is named is one."""
    tensors = {}
    for module in (unet, encoder):
        tensors |= {f"{module}.lora_A.weight": torch.ones(2, 8), f"{module}.lora_B.weight": torch.ones(8, 2)}
    save_file(tensors, tmp_path / "a.safetensors")
    save_file({"blocks.0.attn.q.weight": torch.ones(8, 8)}, tmp_path / "base.safetensors")
    base, opened = ao.open_checkpoint(tmp_path / "base.safetensors"), ao.open_adapter(tmp_path / "a.safetensors")
    with pytest.raises(
        UnsupportedError, match="Their names are those of a text encoder, and the base has none"
    ) as error:
        ao.fuse(base, opened)
    assert f'select(a, "{pattern}")' in str(error.value.hint)
    assert len(ao.fuse(base, ao.evaluate(f'select(a, "{pattern}")', a=opened)).changed) == 1
    clip = tmp_path / "clip.safetensors"
    save_file({"text_model.encoder.layers.0.mlp.fc1.weight": torch.ones(8, 8)}, clip)
    with pytest.raises(UnsupportedError, match="those of a UNet or transformer, and the base has none") as error:
        ao.fuse(ao.open_checkpoint(clip), opened)
    (pattern,) = re.findall(r'select\(a, "(.+)"\)', str(error.value.hint))
    assert len(ao.fuse(ao.open_checkpoint(clip), ao.evaluate(f'select(a, "{pattern}")', a=opened)).changed) == 1
    other = tmp_path / "encoder.safetensors"
    save_file({"encoder.layers.1.mlp.fc1.weight": torch.ones(8, 8), "blocks.0.attn.q.weight": torch.ones(8, 8)}, other)
    with pytest.raises(IncompatibleError, match="nearest in the base"):
        ao.fuse(ao.open_checkpoint(other), opened)


def test_a_bias_of_lora_where_the_base_has_none_is_the_cause() -> None:
    base = names("layers.0.q_proj", "layers.0.k_proj")
    error = misfits(["layers.0.q_proj"], ["layers.0.q_proj.bias"], [], 2, base)
    assert isinstance(error, UnsupportedError)
    assert "the base has no biases there" in str(error)
    assert "lora_bias, diff_b" in str(error)
    other = misfits(["layers.0.q_proj"], ["layers.0.v_proj.bias"], [], 2, base)
    assert isinstance(other, IncompatibleError), "its layer is not there either: that is not the cause"
