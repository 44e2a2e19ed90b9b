"""Sums over what layers take in."""

import numpy as np
import torch

from adapterops.live.grams import _Seen


def test_padding_does_not_count_and_what_is_shared_is_summed_once() -> None:
    layers = {name: torch.nn.Linear(3, 2) for name in ("q", "k", "o", "expert", "idle")}
    seen = _Seen(layers)
    for name, layer in layers.items():
        layer.register_forward_pre_hook(seen.hook(name))
    x, y, rows = torch.randn(2, 4, 3), torch.randn(2, 4, 3), torch.randn(5, 3)
    seen.mask = torch.tensor([[True] * 4, [True, True, False, False]])
    for inputs in ((x, x, y, rows), (y, y, x, rows)):
        for name, given in zip(("q", "k", "o", "expert"), inputs, strict=True):
            layers[name](given)
    found = dict(seen.means())
    both = torch.cat([x[seen.mask], y[seen.mask]]).double()
    expected = (both.T @ both / 12).numpy()
    assert all(np.allclose(found[name], expected, atol=1e-5) for name in ("q", "k", "o"))
    assert np.allclose(found["expert"], (rows.T @ rows / 5).numpy(), atol=1e-5)
    assert "idle" not in found
    assert set(seen._sums) == {"q", "o", "expert"}
    assert seen.tokens == 12
