"""What was put around a model is taken out of names, and nothing else is."""

from __future__ import annotations

import pytest

from adapterops.formats.models.wrappers import AROUND, WRAPPERS, held, inner_name, unwrapped

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
    ["model.model.layers.0.q", "layers.0.module.q", "model", "module", "base_model.model", "x.base_model.model.q"],
)
def test_names_of_models_stay(name: str) -> None:
    assert unwrapped(name) == name


@pytest.mark.parametrize("before", ["transformer.", "backend.", "base_model.", "llm.module.", "actor.model."])
def test_whatever_holds_the_model_of_peft(before: str) -> None:
    assert inner_name(before + PEFT + NAME) == NAME


def test_a_model_of_peft_in_another_keeps_its_place() -> None:
    assert inner_name(f"{PEFT}encoder.{PEFT}{NAME}") == f"encoder.{PEFT}{NAME}"


@pytest.mark.parametrize("around", sorted(AROUND))
def test_what_models_have_around_their_layers(around: str) -> None:
    assert not held(f"{around}.layers.0.q_proj".removeprefix("."))


@pytest.mark.parametrize("around", ["transformer.model", "model.base_model", "model.model", "pretrained_model.model"])
def test_what_trainers_hold_a_model_in(around: str) -> None:
    assert held(f"{around}.layers.0.q_proj")
