"""The scale of every module, by PEFT's rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from adapterops.errors import AdapterWarning, InputError
from adapterops.formats.peft.scaling import Scaling, number, scalings
from adapterops.storage.safetensors import SafetensorsFile

RANKS = {"layers.0.q": 4, "layers.1.q": 4}


def test_alpha_over_rank_and_over_its_root() -> None:
    assert Scaling(8, 4).scale == 2
    assert Scaling(8, 4, rslora=True).scale == 4


def test_the_first_pattern_in_the_file_that_matches_wins() -> None:
    patterns = {"layers.1.q": 2.0, r".*\.q": 6.0}
    with pytest.warns(AdapterWarning, match="the first in the file is taken"):
        found = scalings({"r": 4, "lora_alpha": 8, "alpha_pattern": patterns}, RANKS)
    assert {module: each.alpha for module, each in found.items()} == {"layers.0.q": 6, "layers.1.q": 2}


def test_the_tensors_have_another_rank() -> None:
    with pytest.raises(InputError, match="says rank 8, the tensors have rank 4"):
        scalings({"r": 8, "lora_alpha": 8}, RANKS)


def test_a_pattern_that_matches_nothing() -> None:
    with pytest.warns(AdapterWarning, match="matches no module"):
        scalings({"r": 4, "lora_alpha": 8, "rank_pattern": {"other": 2}}, RANKS)


def test_adalora_divides_by_the_rank_that_it_began_with() -> None:
    fields = {"peft_type": "ADALORA", "init_r": 12, "lora_alpha": 24}
    assert scalings(fields, {"q": 3})["q"].scale == pytest.approx(24 / (12 + 1e-5))


@pytest.mark.parametrize(
    ("value", "message"), [(np.zeros(2, np.float32), "expected one number"), (np.float32(np.nan), "is nan")]
)
def test_what_is_not_one_number(tmp_path: Path, value: np.ndarray, message: str) -> None:
    save_file({"alpha": np.asarray(value)}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=message):
        number(SafetensorsFile(tmp_path / "a.safetensors"), "alpha")


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.int32, np.int16, np.int8, np.uint8])
def test_one_number_of_any_dtype(tmp_path: Path, dtype: type) -> None:
    save_file({"alpha": np.asarray([16], dtype)}, tmp_path / "a.safetensors")
    assert number(SafetensorsFile(tmp_path / "a.safetensors"), "alpha") == 16


def test_a_type_that_is_not_known_has_no_scale() -> None:
    with pytest.raises(InputError, match="peft_type 'lora' is not known"):
        scalings({"peft_type": "lora", "r": 4, "lora_alpha": 16}, {"q": 4})
