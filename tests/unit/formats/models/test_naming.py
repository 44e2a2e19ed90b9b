from __future__ import annotations

import re
from pathlib import Path

import pytest
import transformers

from adapterops.formats.models.architectures import CONV1D_TYPES
from adapterops.formats.models.naming import Candidate, Names, canonical, expert, namesakes
from adapterops.storage.tensors import Spec

EXPERTS = "model.layers.0.mlp.experts"


def names(**shapes: tuple[int, ...]) -> Names:
    """Of tensors in BF16; keyword arguments have no dots, so `__` stands for one."""
    return Names({name.replace("__", "."): Spec("BF16", shape) for name, shape in shapes.items()}, None)


def test_a_layer_that_is_called_w1_and_no_expert_keeps_its_name() -> None:
    assert canonical("layers.0.feed_forward.w1") == "layers.0.feed_forward.w1"


def test_a_name_stands_for_the_tensor_of_exactly_that_name_or_for_all_of_its_kind() -> None:
    base = ["model.norm.weight", "language_model.norm.weight", "lm_head.weight"]
    assert namesakes(["model.norm.weight", "norm.weight", "other.weight"], base) == {
        "model.norm.weight": ["model.norm.weight"],
        "norm.weight": ["model.norm.weight", "language_model.norm.weight"],
        "other.weight": [],
    }


@pytest.mark.parametrize(
    "module", [f"{EXPERTS}.gate_proj", f"{EXPERTS}.1.router", "layers.0.mlp.1.up_proj", "up_proj", ""]
)
def test_what_is_no_expert(module: str) -> None:
    assert expert(module) is None


def test_a_projection_of_an_expert_may_be_in_the_tensor_of_all() -> None:
    found = names(model__layers__0__mlp__experts__gate_up_proj=(3, 8, 4)).candidates("layers.0.mlp.experts.2.up_proj")
    assert found == [Candidate(f"{EXPERTS}.gate_up_proj", f"{EXPERTS}.gate_up_proj", expert=2, place=1, parts=2)]


def test_experts_are_counted_however_they_are_stored() -> None:
    fused = names(
        model__layers__0__mlp__experts__gate_up_proj=(3, 8, 4), model__layers__0__mlp__experts__down_proj=(3, 4, 4)
    )
    single = {
        f"model__layers__0__block_sparse_moe__experts__{e}__{w}__weight": (4, 4)
        for e in range(5)
        for w in ("w1", "w2", "w3")
    }
    for projection in ("gate_up_proj", "down_proj"):
        assert fused.experts(f"{EXPERTS}.{projection}") == 3
        assert names(**single).experts(f"{EXPERTS}.{projection}") == 5
        assert names().experts(f"{EXPERTS}.{projection}") == 0


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.q_proj",
        "language_model.model.layers.3.mlp.experts.2.w1",
        "transformer.h.0.attn.c_attn",
        "lm_head",
        "model",
        "a.b",
    ],
)
def test_the_canonical_name_of_a_canonical_name_is_itself(name: str) -> None:
    assert canonical(canonical(name)) == canonical(name)


def test_the_models_that_have_conv1d_are_those_of_transformers() -> None:
    folders = Path(transformers.__file__).with_name("models")
    own = [path for path in folders.glob("*/modeling_*.py") if "import Conv1D" in path.read_text()]
    configs = [path.with_name(path.name.replace("modeling", "configuration")).read_text() for path in own]
    types = {each for text in configs for each in re.findall(r'model_type = "(.+)"', text)}
    assert types - {"clvp_encoder"} == CONV1D_TYPES  # which has Linear layers by names of its own
