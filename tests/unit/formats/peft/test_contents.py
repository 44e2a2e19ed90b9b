"""What tensors are, by a config, or without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from peft_folders import adapter

from adapterops.errors import InputError
from adapterops.formats.peft.files import read_files


def alone(tmp_path: Path, **others: np.ndarray) -> Path:
    place = adapter(tmp_path, {}, **others)
    (place / "adapter_config.json").unlink()
    return place


def test_without_a_config_a_scale_has_to_be_given(tmp_path: Path) -> None:
    place = alone(tmp_path)
    with pytest.raises(InputError, match="does not state its scale"):
        read_files(place)
    found = read_files(place, alpha=6)
    assert (found.scalings["q"].scale, found.alpha) == (3, 6)


def test_a_module_states_its_own(tmp_path: Path) -> None:
    found = read_files(alone(tmp_path, **{"q.alpha": np.asarray(8, np.float32)}), alpha=6)
    assert (found.scalings["q"].scale, found.alpha) == (4, None)


def test_the_config_and_the_module_state_others(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its alpha tensor says 8, the config says 4"):
        read_files(adapter(tmp_path, {}, **{"q.alpha": np.asarray(8, np.float32)}))
