"""An adapter is opened by its headers; numbers are read, scaled and checked when asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import MODULES, PREFIX, A, B, config, factors, write_adapter

from adapterops.adapters.opening import open_adapter
from adapterops.errors import InputError, NotFoundError


@pytest.mark.parametrize(
    ("fields", "scale"),
    [({}, 2.0), ({"use_rslora": True}, 4 / 2**0.5), ({"alpha_pattern": {"layers.0.q_proj": 8}}, 4.0)],
)
def test_the_scale_is_folded_once(tmp_path: Path, fields: dict[str, object], scale: float) -> None:
    tensors = factors()
    found = open_adapter(write_adapter(tmp_path / "a", tensors, config(2, **fields)))
    assert list(found.layout) == sorted(MODULES)
    expected = scale * tensors[B] @ tensors[A]
    np.testing.assert_allclose(found.updates["layers.0.q_proj"].dense(), expected, rtol=1e-5, atol=1e-6)
    assert (found.config.base_model, found.layout[MODULES[0]].rank) == ("some/base", 2)


def test_what_is_not_finite_is_found_when_it_is_read(tmp_path: Path) -> None:
    tensors = factors()
    tensors[A][0, 0] = torch.nan
    folder = write_adapter(tmp_path / "a", tensors, config(2))
    found = open_adapter(folder)
    with pytest.raises(InputError, match="NaN") as caught:
        found.updates["layers.0.q_proj"]
    assert caught.value.tensor == A
    assert np.isnan(open_adapter(folder, allow_nonfinite=True).updates["layers.0.q_proj"].dense()).any()


def test_an_alpha_is_for_files_that_have_none(tmp_path: Path) -> None:
    tensors = {name.removeprefix(PREFIX): each for name, each in factors().items()}
    folder = write_adapter(tmp_path / "a", tensors, config(2))
    (folder / "adapter_config.json").unlink()
    with pytest.raises((InputError, NotFoundError)):
        open_adapter(folder / "adapter_model.safetensors")
    found = open_adapter(folder / "adapter_model.safetensors", alpha=8)
    assert found.scalings["layers.0.q_proj"].scale == 4
