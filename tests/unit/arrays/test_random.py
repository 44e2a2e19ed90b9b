"""Random numbers by key and place."""

import itertools

import numpy as np
import torch

from adapterops.arrays.random import generator, uniform


def test_the_numbers_of_a_key_are_the_same_on_every_machine() -> None:
    assert uniform("0:w", 0, (3,)).tolist() == uniform("0:w", 0, (2, 3)).reshape(-1)[:3].tolist()
    assert (uniform("0:w", 0, (2,)) * 2.0**32).astype(np.uint64).tolist() == GOLDEN


def test_another_place_or_key_has_others() -> None:
    draws = [uniform(key, begin, (1000,)) for key, begin in (("0:w", 0), ("0:w", 8), ("1:w", 0))]
    assert all(abs(np.corrcoef(one, other)[0, 1]) < 0.15 for one, other in ((draws[0], draws[1]), (draws[0], draws[2])))
    assert all(0.45 < each.mean() < 0.55 and each.min() >= 0 and each.max() < 1 for each in draws)


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


GOLDEN = [4276442507, 2258097993]
