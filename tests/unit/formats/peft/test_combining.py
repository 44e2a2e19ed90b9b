"""What several configs have in common."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adapterops.errors import IncompatibleError
from adapterops.formats.peft.combining import combine
from adapterops.formats.peft.config import AdapterConfig

NAMES = ["a", "b"]


def test_what_all_say_is_kept() -> None:
    configs = [AdapterConfig("base", fields={"task_type": "CAUSAL_LM", "lora_dropout": rate}) for rate in (0.0, 0.1)]
    found = combine(configs, NAMES)
    assert (found.base_model, found.fields) == ("base", {"task_type": "CAUSAL_LM"})


def test_other_bases() -> None:
    configs = [AdapterConfig("one"), AdapterConfig("two")]
    with pytest.raises(IncompatibleError, match="different base models"):
        combine(configs, NAMES)
    assert combine(configs, NAMES, allow_base_mismatch=True).base_model is None


def test_one_folder_by_two_names_is_one_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PEFT writes what from_pretrained was given, here and there."""
    (tmp_path / "base").mkdir()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    assert combine([AdapterConfig("base/"), AdapterConfig(str(tmp_path / "base"))], NAMES).base_model == "base/"
    with pytest.raises(IncompatibleError, match="different base models"):
        combine([AdapterConfig("base"), AdapterConfig("other")], NAMES)


def test_other_architectures() -> None:
    qwen, gemma = (AdapterConfig(architecture=each) for each in ("qwen2", "gemma"))
    with pytest.raises(IncompatibleError, match="different architectures: b: gemma; a: qwen2") as raised:
        combine([qwen, gemma], NAMES)
    assert raised.value.code == "E-BASE"
    assert combine([qwen, AdapterConfig()], NAMES).architecture == "qwen2"


def test_suffixes_and_an_expression_are_an_expression_for_both() -> None:
    configs = [AdapterConfig(targets=("q_proj",)), AdapterConfig(targets=r".*\.v_proj")]
    targets = combine(configs, NAMES).targets
    assert isinstance(targets, str)
    assert [bool(re.fullmatch(targets, f"layers.0.{each}")) for each in ("q_proj", "v_proj", "o_proj")] == [1, 1, 0]


def test_other_numbers_of_experts() -> None:
    configs = [AdapterConfig(experts={"experts.down_proj": count}) for count in (4, 8)]
    with pytest.raises(IncompatibleError, match="8 experts here, and 4"):
        combine(configs, NAMES)
