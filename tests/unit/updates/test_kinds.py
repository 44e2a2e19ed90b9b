"""A kind is found by its arrays, or by those that are nearest to them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from adapterops.updates.kinds import KINDS, kind_of


@pytest.mark.parametrize("name", list(KINDS))
def test_every_kind_is_the_one_that_has_its_arrays(name: str) -> None:
    found = kind_of(KINDS[name].roles)
    assert found.roles.keys() == KINDS[name].roles.keys()
    assert not found.reads or all(each.reads for each in KINDS.values() if each.roles.keys() == found.roles.keys())


@pytest.mark.parametrize(
    ("roles", "name"), [(["lora_A"], "LoRA"), (["lora_A", "lora_B", "x"], "LoRA"), (["lora_magnitude_vector"], "DoRA")]
)
def test_what_has_too_few_or_too_many_is_the_nearest(roles: list[str], name: str) -> None:
    assert kind_of(roles).name == name


def test_the_order_of_arrays_does_not_matter() -> None:
    assert kind_of(["lora_B", "lora_A"]) is kind_of({"lora_A", "lora_B"})


@pytest.mark.parametrize("first", ["magnitude", "rotation"])
def test_there_are_the_same_whichever_file_is_imported_first(first: str) -> None:
    """DoRA is of every linear kind."""
    script = f"import adapterops.updates.{first}; from adapterops.updates.kinds import KINDS; print(*KINDS, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == list(KINDS)
