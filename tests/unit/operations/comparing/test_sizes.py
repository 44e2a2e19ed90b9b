"""The arithmetic of memory."""

from __future__ import annotations

from strategies import low_rank

from adapterops import Adapter
from adapterops.operations.comparing.comparison import compare
from adapterops.operations.comparing.sizes import cut, sizes


def test_an_adapter_beside_its_dense_update():
    adapter = Adapter.of({"layers.0.q_proj": low_rank(1, 64, 128, 4), "layers.0.v_proj": low_rank(2, 32, 128, 4)})
    found = sizes(compare([adapter, adapter]))
    assert found.parameters == (4 * (192 + 160),) * 2
    assert found.bytes == (8 * 4 * (192 + 160),) * 2
    assert found.adapted == 96 * 128
    assert (found.dense_16bit, found.model_16bit, found.model) == (2 * 96 * 128, 2 * 96 * 128, None)
    assert found.model_4bit == round(4.5 / 8 * 96 * 128)


def test_a_cut_of_less_than_nothing_more_than_all():
    adapter = Adapter.of({"q": low_rank(1, 6, 5, 3)})
    profile = compare([adapter]).profiles[0]
    none, every = (cut(profile.layout, profile.spectra, rank) for rank in (0, 9))
    assert (none.energy, none.error, none.bytes) == (0, 1, 0)
    assert (every.energy, every.error, every.parameters) == (1, 0, 33)


def test_what_training_takes_is_that_of_the_arithmetic_that_people_know():
    """7 billion parameters in 16 bits: 14 GB of weights, 14 of gradients, 28 of Adam's moments; rank 8 on 4096 x 4096
    has 256 times fewer parameters.
    """
    found = sizes(compare([Adapter.of({"q": low_rank(1, 4096, 4096, 8)})]))
    assert found.training(0, 7 * 10**9) == (14 * 10**9, 14 * 10**9, 28 * 10**9)
    assert found.adapted / found.parameters[0] == 256
    assert found.training(100, 3) == (106, 6, 12)
