"""Gram matrices in a file."""

from pathlib import Path

import numpy as np
import pytest

from adapterops import open_checkpoint
from adapterops.adapters.grams import grams_in
from adapterops.errors import InputError
from adapterops.storage.grams import grams_file


def test_they_are_read_when_asked_for(tmp_path: Path) -> None:
    good, bad = np.eye(3, dtype=np.float32), np.full((2, 2), np.nan, np.float32)
    (tmp_path / "grams.safetensors").write_bytes(grams_file({"layers.0.q": good, "layers.0.v": bad}, 7))
    found = grams_in(open_checkpoint(tmp_path / "grams.safetensors"))
    assert found.shapes == {"layers.0.q": (3, 3), "layers.0.v": (2, 2)}
    assert np.array_equal(found.matrices["layers.0.q"], good)
    with pytest.raises(InputError, match=r"grams.safetensors.*layers\.0\.v.*NaN or infinite"):
        found.matrices["layers.0.v"]
