"""A module as it is stored: its numbers are in the dtype of the output, and what that moved is measured."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from corpus import MODULES, write_adapter

import adapterops as ao
from adapterops.adapters.factors import factored
from adapterops.adapters.planning import arrangement
from adapterops.adapters.proof import Exact
from adapterops.arrays import floats, q8
from adapterops.arrays.floats import narrowed
from adapterops.arrays.scratch import Scratch
from adapterops.errors import IncompatibleError
from adapterops.formats.peft.config import AdapterConfig


def test_factors_of_a_module(tmp_path: Path) -> None:
    adapter = ao.open_adapter(write_adapter(tmp_path / "a"))
    found = factored(adapter, arrangement(adapter, "F32", None), exact=False)(MODULES[0])
    dense = adapter.updates[MODULES[0]].dense()
    assert np.allclose(found.B.astype(float) @ found.A.astype(float), dense, rtol=1e-6, atol=1e-6)
    assert np.isclose(found.norm, np.linalg.norm(dense))
    assert (found.error, found.rounding < 1e-6) == (0, True)


def test_a_number_that_does_not_fit(tmp_path: Path) -> None:
    adapter = 1e9 * ao.open_adapter(write_adapter(tmp_path / "a"))
    with pytest.raises(IncompatibleError, match="dtype F32") as caught:
        factored(adapter, arrangement(adapter, "F16", None), exact=False)(MODULES[0])
    assert caught.value.tensor == MODULES[0]


def test_norms_of_what_loses_nothing_are_measured_on_request(tmp_path: Path) -> None:
    adapter = ao.open_adapter(write_adapter(tmp_path / "a"))
    arranged = arrangement(adapter, "F32", None)
    asked, plain = (factored(adapter, arranged, exact=False, norms=norms)(MODULES[0]) for norms in (True, False))
    assert (plain.norm, plain.error, plain.rounding) == (None, 0, 0)
    assert np.isclose(asked.norm or 0, np.linalg.norm(adapter.updates[MODULES[0]].dense()))
    assert (asked.A == plain.A).all()
    assert (asked.B == plain.B).all()


def test_what_rounding_moves_is_measured_in_tiles() -> None:
    wide = ao.Adapter.of(
        {"q": ao.LowRank(np.full((1 << 14, 32), 0.1, np.float32), np.full((32, 1 << 14), 0.1, np.float32))}
    )
    compute = factored(wide, arrangement(wide, "F16", None), exact=False, norms=False)
    tracemalloc.start()
    assert compute("q").rounding
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    factors = 2 * 32 << 14
    assert peak < 6 * factors  # 2 bytes for each number as it is stored, and what tiles take


def test_what_rounding_moves_is_measured_in_any_case(tmp_path: Path) -> None:
    adapter = 0.3 * ao.open_adapter(write_adapter(tmp_path / "a"))
    found = factored(adapter, arrangement(adapter, "BF16", None), exact=False, norms=False)(MODULES[0])
    assert found.norm
    assert 0 < found.rounding < 1e-2


def test_a_module_of_zeros_has_a_norm() -> None:
    zero = ao.Adapter.of({"q": ao.LowRank(np.zeros((4, 2)), np.ones((2, 3)))})
    assert factored(zero, arrangement(zero, None, None), exact=False, norms=False)("q").norm == 0


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
@pytest.mark.parametrize("scale", [2.0, 0.25, -1.0])
def test_what_is_stored_in_the_dtype_that_was_read_is_not_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, scale: float
) -> None:
    """The bits are those that conversion makes, and no number is narrowed for them."""
    made = ao.save_adapter(ao.open_adapter(write_adapter(tmp_path / "a")), tmp_path / "b", dtype=dtype)
    adapter = scale * ao.open_adapter(made.path)
    arranged = arrangement(adapter, dtype, None)
    update = adapter.updates[MODULES[0]]
    expected = [narrowed(each, dtype, Scratch()).tobytes() for each in (update.A, update.folded())]
    monkeypatch.setattr(floats, "narrowed", lambda *_, **__: pytest.fail("a number was converted"))
    monkeypatch.setattr(floats, "exactly", lambda *_: pytest.fail("a number was converted"))
    found = factored(adapter, arranged, exact=False, norms=False)(MODULES[0])
    assert [found.A.tobytes(), found.B.tobytes()] == expected
    assert (found.norm, found.rounding) == (None, 0.0)


def test_what_is_written_as_it_was_read_is_not_widened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy, and B times a power of two, are made of bits, and known by them; normalize takes no other way."""
    made = ao.save_adapter(ao.open_adapter(write_adapter(tmp_path / "a")), tmp_path / "b", dtype="BF16")
    ranks = {"r": 2, "lora_alpha": 4, "rank_pattern": {}, "alpha_pattern": {}}
    config = made.path / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **ranks}))
    adapter = ao.normalize(ao.open_adapter(made.path))
    expected = [adapter.updates[MODULES[0]].A, adapter.updates[MODULES[0]].folded()]
    arranged = arrangement(adapter, None, None)
    monkeypatch.setattr("adapterops.updates.lowrank.widened", lambda *_: pytest.fail("a number was widened"))
    found = factored(adapter, arranged, exact=False, norms=False)(MODULES[0])
    assert isinstance(found.image, Exact)
    assert [found.A.tobytes(), found.B.tobytes()] == [narrowed(each, "BF16", Scratch()).tobytes() for each in expected]


def test_what_waits_in_q8_0_is_its_bytes() -> None:
    """8.5 bits for a number, where the module is stored by itself."""
    module = "model.layers.0.self_attn.v_proj"
    random = np.random.default_rng(0).standard_normal
    update = ao.LowRank(random((64, 32)).astype(np.float32), random((32, 96)).astype(np.float32))
    model = {"model_type": "llama", "num_attention_heads": 4, "tie_word_embeddings": False}
    adapter = ao.Adapter.of({module: update}, AdapterConfig(model=model))
    arranged = arrangement(adapter, "Q8_0", "gguf")
    numbers, packed = (factored(adapter, arranged, exact=True, packed=each)(module) for each in (False, True))
    for of_numbers, of_bytes in ((numbers.A, packed.A), (numbers.B, packed.B)):
        assert (of_numbers.dtype, of_bytes.dtype) == (np.float32, np.uint8)
        assert of_bytes.nbytes * 32 == of_numbers.size * 34
        assert (q8.decode(of_bytes.ravel()).reshape(of_numbers.shape) == of_numbers).all()
