"""What is said of modules that have no place: what was tried, what is nearest, and what would fit."""

from __future__ import annotations

from adapterops.formats.models.naming import Names
from adapterops.operations.targets.misfits import misfits
from adapterops.storage.tensors import Spec

QUERY = "encoder.layer.{}.attention.self.query"


def names(*modules: str) -> Names:
    return Names({f"{module}.weight": Spec("F32", (4, 4)) for module in modules}, {})


def test_how_many_fit_under_which_prefix() -> None:
    base = names(*("bert." + QUERY.format(n) for n in range(2)))
    missing = [QUERY.format(n) for n in range(3)]
    error = str(misfits(0, missing, [], 3, base))
    assert "0 of 3 modules" in error
    assert "2 of 3 with the prefix 'bert.'" in error
    assert "architecture" not in error


def test_several_prefixes_are_not_chosen_between() -> None:
    base = names(*(f"{tower}.{QUERY.format(0)}" for tower in ("question", "context")))
    error = str(misfits(0, [QUERY.format(0)], [], 1, base))
    assert "'question.'" in error
    assert "'context.'" in error
    assert "which of them is meant is not known" in error


def test_the_nearest_names_come_first() -> None:
    base = names("model.layers.0.a", "model.layers.0.b", *(f"model.other.{n}.c" for n in range(20)), "model.x.q_proj")
    error = str(misfits(3, ["model.layers.9.q_proj"], [], 4, base))
    assert "1 of 4 modules" in error
    assert error.index("model.x.q_proj") < error.index("model.other.0.c")
    assert "trained on" in error
    assert "another" not in error


def test_another_architecture_is_said_of_nothing_else() -> None:
    assert "another architecture" in str(misfits(0, ["blocks.0.wq"], [], 1, names("model.layers.0.q_proj")))
    assert "another" not in str(misfits(0, [], ["q is [4, 8], q.weight is [8, 4]"], 1, names("q")))


def test_what_transformers_makes_of_other_tensors_is_the_cause() -> None:
    base = {
        f"gte.encoder.layer.0.{name}.weight": Spec("F32", (8, 8)) for name in ("attention.qkv_proj", "mlp.down_proj")
    }
    error = misfits(1, ["gte.layers.0.self_attn.q_proj"], [], 2, Names(base, {"model_type": "gte"}))
    assert "transformers makes modules of gte.encoder.layer.0.attention.qkv_proj.weight" in error.message
    assert "merge_and_unload" in str(error.hint)


def test_a_layer_that_is_used_twice_is_the_cause() -> None:
    base = {"model.layers.1.shared_transf.self_attn.q_proj.weight": Spec("F32", (8, 8))}
    error = misfits(1, ["model.layers.3.shared_transf.self_attn.q_proj"], [], 2, Names(base, {"model_type": "zamba"}))
    assert "at several depths and its files once" in error.message


def test_no_cause_is_named_where_nothing_fits() -> None:
    """It may be another model."""
    base = {"gte.encoder.layer.0.attention.qkv_proj.weight": Spec("F32", (8, 8))}
    error = misfits(0, ["gte.layers.0.self_attn.q_proj"], [], 1, Names(base, {"model_type": "gte"}))
    assert "transformers makes" not in error.message
