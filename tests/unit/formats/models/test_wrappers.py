"""What was put around a model is taken out of names, and nothing else is."""

from __future__ import annotations

import pytest

from adapterops.errors import InputError
from adapterops.formats.models.wrappers import AROUND, WRAPPERS, held, inner_name, unwrapped, without_wrappers

NAME = "model.layers.0.mlp.up_proj"
PEFT = "base_model.model."


@pytest.mark.parametrize("wrapper", sorted(WRAPPERS))
def test_a_wrapper_is_taken_out_wherever_it_is(wrapper: str) -> None:
    assert unwrapped(f"{wrapper}.{NAME}") == NAME
    assert unwrapped(f"{PEFT}model.layers.0.{wrapper}.mlp.{wrapper}.up_proj") == NAME


@pytest.mark.parametrize(
    "before", ["module.", "model.", "module._orig_mod.", "model.module.", PEFT, "module." + PEFT, "actor.module."]
)
def test_what_holds_the_model_that_peft_wrapped(before: str) -> None:
    assert unwrapped(before + PEFT + NAME) == NAME


@pytest.mark.parametrize(
    "name",
    ["model.model.layers.0.q", "layers.0.module.q", "model", "module", "base_model.model", "x.base_model.model"],
)
def test_names_of_models_stay(name: str) -> None:
    assert unwrapped(name) == name


@pytest.mark.parametrize("before", ["transformer.", "backend.", "base_model.", "llm.module.", "actor.model."])
def test_whatever_holds_the_model_of_peft(before: str) -> None:
    assert inner_name(before + PEFT + NAME) == NAME


def test_a_part_that_peft_wrapped_keeps_its_place_in_the_model() -> None:
    assert inner_name(f"{PEFT}encoder.{PEFT}{NAME}") == unwrapped(f"encoder.{PEFT}{NAME}") == f"encoder.{NAME}"
    names = [f"encoder.{PEFT}{NAME}", "vision_model.norm.weight"]
    assert [*without_wrappers(names)] == [f"encoder.{NAME}", "vision_model.norm.weight"]


@pytest.mark.parametrize("around", sorted(AROUND))
def test_what_models_have_around_their_layers(around: str) -> None:
    assert not held(f"{around}.layers.0.q_proj".removeprefix("."))


@pytest.mark.parametrize("around", ["transformer.model", "model.base_model", "model.model", "pretrained_model.model"])
def test_what_trainers_hold_a_model_in(around: str) -> None:
    assert held(f"{around}.layers.0.q_proj")


NAMES = ["model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight", "lm_head.weight"]


@pytest.mark.parametrize("before", ["_orig_mod.", "module.", "module.module._orig_mod.", "module." + PEFT, PEFT])
def test_what_is_around_a_whole_model_is_taken_away(before: str) -> None:
    inside = [each.replace("layers.1.", "layers.1._fsdp_wrapped_module.") for each in NAMES]
    assert without_wrappers([before + each for each in inside]) == {
        name: before + each for name, each in zip(NAMES, inside, strict=True)
    }


@pytest.mark.parametrize("before", ["model.", "actor.", "policy_model."])
def test_a_program_may_hold_a_model_in_a_class_of_its_own(before: str) -> None:
    names = [before + each for each in NAMES]
    assert without_wrappers(names) == {name: name for name in names}
    assert list(without_wrappers(names, own_class=False)) == NAMES


@pytest.mark.parametrize("names", [NAMES, ["module.a.weight", "b.weight"], ["module.weight", "module"], ["module"], []])
def test_names_of_whole_models_stay(names: list[str]) -> None:
    for own_class in (True, False):
        assert list(without_wrappers(names, own_class)) == names


def test_one_tensor_under_two_names_is_no_model() -> None:
    with pytest.raises(InputError, match=r"module.lm_head.weight: and module._orig_mod.lm_head.weight are one tensor"):
        without_wrappers(["module._orig_mod.lm_head.weight", "module.lm_head.weight"])
