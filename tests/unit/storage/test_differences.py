"""In what two plans differ, as a message has it."""

from __future__ import annotations

from adapterops.storage.differences import differences, shown


def test_equal_but_for_what_is_free() -> None:
    assert differences({"a": {"b": [1, 2]}, "command": 1}, {"a": {"b": [1, 2]}, "command": 2}, ["command"]) == {}


def test_what_is_only_in_one_of_them() -> None:
    found = differences({"inputs": {"0": {"a.b": 1}}}, {"inputs": {"0": {}, "1": {"c": 2}}}, [])
    assert found == {"inputs.0.a.b": [1, None], "inputs.1.c": [None, 2]}


def test_a_message_is_short() -> None:
    text = shown({f"f{number}": ["x" * 1000, number] for number in range(9)})
    assert len(text) < 500
    assert text.startswith(f'f0 is "{"x" * 69}... here, 0 there; ')
    assert shown({"a": ["0" * 64, None]}) == f'a is "{"0" * 64}" here, null there'
    assert text.endswith("; and 4 more")
    assert shown({"model.safetensors": [[12, 1], None]}) == "model.safetensors differs"
    assert shown({"plan": ["a", "b"]}) == 'plan is "a" here, "b" there'
