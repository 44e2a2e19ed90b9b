from __future__ import annotations

import itertools

import torch

from adapterops.quant.random import generator


def test_numbers_depend_on_the_key_and_the_place() -> None:
    draws = {
        (key, begin): torch.rand(64, generator=generator(key, begin))
        for key in ("0:a", "0:b", "1:a", "")
        for begin in (0, 1, 512)
    }
    for (place, one), (other, two) in itertools.combinations(draws.items(), 2):
        assert not torch.equal(one, two), (place, other)
    for (key, begin), drawn in draws.items():
        assert torch.equal(torch.rand(64, generator=generator(key, begin)), drawn)


def test_the_state_of_torch_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    torch.rand(3, generator=generator("key", 0))
    assert torch.equal(torch.get_rng_state(), before)
