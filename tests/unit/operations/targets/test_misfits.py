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
