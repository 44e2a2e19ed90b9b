"""The laws of schemes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from adapterops.testing.examples import SEEDS

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.quant.scheme import Encoder, Kept, Read, Scheme, Writable


def check_scheme(scheme: Writable, seeds: Iterable[int] = SEEDS, bound: float = 0.25) -> None:
    """The laws of a scheme that is written; it should be one with dtype F32, which loses nothing in decoding.

    Encoding gives the declared parts; decode · encode errs by at most `bound` times the largest entry of W; rows decode
    one group at a time as they do at once; encoding decoded numbers on the stored grid changes no code; stochastic
    rounding is unbiased.

    Args:
        bound: half the largest distance of two codes, over the largest code.
    """
    import torch

    shape = (64, 128)
    for seed in seeds:
        W = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))
        stored = _encode(scheme.encoder(shape), W)
        read, where = _reader(stored), f"{scheme.name} at seed {seed}"
        declared = {role: math.prod(part.shape) for role, part in scheme.parts(shape).items()}
        found = {role: each.numel() for role, each in stored.items()}
        assert found == declared, f"{where}: parts have {found} entries, expected {declared}"
        decoded = scheme.decode(shape, read, 0, shape[0]).clone()
        error = float((decoded.float() - W).abs().max() / W.abs().max())
        assert error <= bound, (
            f"{where}: decode · encode errs by {error:.3g} of the largest entry, expected at most {bound:g}"
        )
        check_decoding(scheme, shape, read)
        check_grid(scheme, shape, read, draws=0)
    check_grid(scheme, shape, read)


def check_grid(scheme: Kept, shape: tuple[int, ...], read: Read, draws: int = 30) -> None:
    """The laws of a scheme whose stored grid takes other numbers: encoding decoded numbers changes no code, and
    stochastic rounding is unbiased.

    Args:
        read: the bytes of a part of a weight of that shape.
        draws: how often numbers are rounded at random, to see the mean.
    """
    height = math.prod(shape[:-1])
    decoded = scheme.decode(shape, read, 0, height).clone().float()
    again, _ = scheme.on_grid(shape, read, "law").rows(decoded, 0)
    changed = scheme.changed(shape, read, 0, again)
    assert not bool(changed.any()), f"{scheme.name}: {int(changed.sum())} codes change when decoded numbers are encoded"
    if draws:
        _check_unbiased(scheme, shape, read, decoded, draws)


def check_decoding(scheme: Scheme, shape: tuple[int, ...], read: Read) -> None:
    """The law of every scheme, also one that is only read: rows decode a group at a time as they do at once.

    Args:
        read: the bytes of a part of a weight of that shape.
    """
    import torch

    height, group = math.prod(shape[:-1]), scheme.granularity(shape)
    decoded = scheme.decode(shape, read, 0, height).clone()
    assert decoded.shape == (height, shape[-1]), f"{scheme.name}: decodes to {tuple(decoded.shape)}, expected {shape}"
    for begin in range(0, height, group):
        end = min(begin + group, height)
        same = torch.equal(scheme.decode(shape, read, begin, end), decoded[begin:end])
        assert same, f"{scheme.name}: rows {begin} to {end} decode otherwise on their own"


def _check_unbiased(scheme: Kept, shape: tuple[int, ...], read: Read, decoded: Tensor, draws: int) -> None:
    """E[decode(on_grid(W))] = W, for a W inside the grid: along W, within five standard errors."""
    W = 0.9 * decoded
    gains = []
    for draw in range(draws):
        stored = {role: part.contiguous() for role, part in _encode(scheme.on_grid(shape, read, str(draw)), W).items()}
        found = scheme.decode(shape, _over(read, stored), 0, len(decoded)).float()
        gains.append(float(((found - W) * W).sum() / (W * W).sum()))
    error, spread = float(np.mean(gains)), float(np.std(gains)) / draws**0.5
    assert abs(error) <= 5 * spread + 1e-6, (
        f"{scheme.name}: stochastic rounding has the gain {1 + error:.5f}, expected 1 ± {spread:.2g}"
    )


def _over(read: Read, parts: Mapping[str, Tensor]) -> Read:
    """The stored parts with some written again."""
    written = _reader(parts)
    return lambda role, begin, end: (written if role in parts else read)(role, begin, end)


def _encode(encoder: Encoder, W: Tensor) -> dict[str, Tensor]:
    parts, _ = encoder.rows(W, 0)
    return {role: each.clone() for role, each in {**encoder.written(parts), **encoder.rest()}.items()}


def _reader(parts: Mapping[str, Tensor]) -> Read:
    import torch

    return lambda role, begin, end: parts[role].contiguous().reshape(-1).view(torch.uint8)[begin:end]
