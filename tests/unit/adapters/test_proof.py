"""A file that holds another update than it was to hold never gets its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import adapterops as ao
from adapterops.adapters import factors
from adapterops.adapters.planning import arrangement
from adapterops.adapters.proof import Exact, bits, fingerprint, image, norms, prove
from adapterops.errors import AdapterOpsError
from adapterops.formats.registry import written
from adapterops.updates.lowrank import AsStored


def update(rank: int = 3, seed: int = 0) -> ao.LowRank:
    random = np.random.default_rng(seed)
    return ao.LowRank(random.standard_normal((5, rank)), random.standard_normal((rank, 6)), 2.0)


UPDATES = {"layers.0.q_proj": update(), "layers.1.q_proj": update(seed=1)}
IMAGES = {module: image(each) for module, each in UPDATES.items()}


def test_the_image_of_an_update_does_not_depend_on_its_factors() -> None:
    one = update()
    other = ao.LowRank(one.folded(np.float64), one.A)
    np.testing.assert_allclose(image(one).values, image(other).values, rtol=1e-12)


def test_names_may_have_underscores_for_dots_or_another_prefix() -> None:
    flat = {f"lora_unet_{module.replace('.', '_')}": each for module, each in UPDATES.items()}
    assert prove(ao.Adapter.of(flat), IMAGES) < 1e-12
    assert prove(ao.Adapter.of({f"diffusion_model.{module}": each for module, each in UPDATES.items()}), IMAGES) < 1e-12


def test_a_file_may_lack_a_prefix_of_the_model() -> None:
    images = {f"language_model.{module}": each for module, each in IMAGES.items()}
    assert prove(ao.Adapter.of(UPDATES), images) < 1e-12


def test_rows_in_another_order_are_the_same_rows() -> None:
    turned = ao.LowRank(UPDATES["layers.0.q_proj"].B[::-1], UPDATES["layers.0.q_proj"].A, 2.0)
    other = ao.Adapter.of({**UPDATES, "layers.0.q_proj": turned})
    assert prove(replace(other, interleaved={"layers.0.q_proj": "num_attention_heads"}), IMAGES) < 1e-12
    with pytest.raises(AdapterOpsError, match="another update"):
        prove(other, IMAGES)


WRONG = {
    "scaled": ({"layers.0.q_proj": 1.001 * update()}, "another update"),
    "swapped": ({"layers.0.q_proj": update(seed=1), "layers.1.q_proj": update()}, "another update"),
    "new": ({"layers.2.q_proj": update()}, "was not to be written"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_found(kind: str) -> None:
    changed, said = WRONG[kind]
    with pytest.raises(AdapterOpsError, match=said):
        prove(ao.Adapter.of({**UPDATES, **changed}), IMAGES)


def test_a_module_that_is_missing_is_found_and_one_of_zeros_is_no_matter() -> None:
    with pytest.raises(AdapterOpsError, match="is not in the file"):
        prove(ao.Adapter.of({"layers.0.q_proj": update()}), IMAGES)
    zero = ao.LowRank(np.zeros((5, 1)), np.ones((1, 6)))
    assert prove(ao.Adapter.of({**UPDATES, "layers.7.q_proj": zero}), IMAGES) < 1e-12


@pytest.mark.parametrize("format", [name for name in written() if name != "gguf"])
@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_every_format_is_proven_within_the_rounding(tmp_path: Path, format: str, dtype: str) -> None:
    saved = ao.save_adapter(ao.Adapter.of(UPDATES), tmp_path / "out", format=format, dtype=dtype)
    assert 0 < saved.proven < {"F32": 1e-6, "BF16": 2e-2, "F16": 2e-3}[dtype]


def test_nothing_is_left_of_an_output_that_is_not_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factors, "image", lambda update, distance=0.0: image(2 * update, distance))
    with pytest.raises(AdapterOpsError, match="was written as another update"):
        ao.save_adapter(ao.Adapter.of(UPDATES), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_image_is_the_same_numbers_however_the_factors_are_in_memory() -> None:
    one = ao.LowRank(*(np.random.default_rng(0).standard_normal(shape, np.float32) for shape in ((700, 64), (64, 900))))
    other = ao.LowRank(np.asfortranarray(one.B), np.asfortranarray(one.A))
    assert (image(one).values == image(other).values).all()


def test_norms_are_read_from_the_file() -> None:
    flat = ao.Adapter.of({f"lora_unet_{module.replace('.', '_')}": each for module, each in UPDATES.items()})
    assert norms(flat, IMAGES, ["layers.1.q_proj"]) == {"layers.1.q_proj": UPDATES["layers.1.q_proj"].norm()}


def in_file(seed: int = 0, scale: float = 1.0, columns: bool = False) -> ao.LowRank:
    """What a file in float16 has."""
    random = np.random.default_rng(seed)
    B, A = (random.standard_normal(shape).astype(np.float16) for shape in ((5, 3), (3, 6)))
    return ao.LowRank(AsStored(np.asfortranarray(B) if columns else B, "F16"), AsStored(A, "F16"), scale)


def exactly(update: ao.LowRank, asked: list[str]) -> Exact:
    B, A = update.as_in_file() or pytest.fail("is in no file")

    def other() -> object:
        asked.append("image")
        return image(update)

    return Exact(bits(A.stored, B.stored, ("F16", "F16")), other)


@pytest.mark.parametrize("columns", [False, True])
def test_bits_that_are_stored_as_they_are_need_no_products(columns: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """However they are in memory, such as the transpose of what the file has."""
    asked: list[str] = []
    monkeypatch.setattr("adapterops.adapters.proof.seen", lambda _: pytest.fail("a product was computed"))
    assert prove(ao.Adapter.of({"q": in_file(columns=columns)}), {"q": exactly(in_file(), asked)}) == 0
    assert not asked


def test_other_bits_are_compared_by_their_products() -> None:
    """The same update in another form is the same; another bit, or another scale, is another update."""
    asked: list[str] = []
    one = in_file()
    assert prove(ao.Adapter.of({"q": ao.LowRank(one.B, one.A)}), {"q": exactly(in_file(), asked)}) < 1e-12
    assert asked
    for wrong in (in_file(seed=1), in_file(scale=2.0)):
        with pytest.raises(AdapterOpsError, match="another update"):
            prove(ao.Adapter.of({"q": wrong}), {"q": exactly(in_file(), asked)})


@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (200, 129), (0, 4)])
def test_a_fingerprint_is_of_every_bit_and_of_its_place(shape: tuple[int, int]) -> None:
    stored = np.random.default_rng(0).integers(0, 2**16, shape, np.uint16)
    found = {fingerprint(stored)}
    for place in range(0, stored.size, max(1, stored.size // 50)):
        for bit in (0, 15):
            changed = stored.copy()
            changed.reshape(-1)[place] ^= np.uint16(1 << bit)
            found.add(fingerprint(changed))
    if stored.size > 1:
        found.add(fingerprint(np.roll(stored.reshape(-1), 1).reshape(shape)))
    places = len(range(0, stored.size, max(1, stored.size // 50)))
    assert len(found) == 1 + 2 * places + (stored.size > 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_fingerprint_is_of_every_sign(dtype: type[np.floating]) -> None:
    """Negated numbers differ in the highest bit of each word, and nowhere else."""
    stored = np.random.default_rng(0).standard_normal((8, 64)).astype(dtype)
    few = stored.copy()
    few[0, :4] *= -1
    assert len({fingerprint(each) for each in (stored, few, -stored)}) == 3


def test_bits_are_told_by_rows_or_by_columns() -> None:
    """MLX's files have factors by their columns: one wrong bit of what is read is found there, too, and no factor is turned."""
    random = np.random.default_rng(0)
    A, B = (random.integers(1, 1 << 14, shape).astype(np.uint16) for shape in ((3, 7), (5, 3)))
    rows, columns = bits(A, B, ("BF16", "BF16")), bits(np.asfortranarray(A), np.asfortranarray(B), ("BF16", "BF16"))
    assert (rows.by_columns, columns.by_columns) == ((False, False), (True, True))
    assert rows.hashes == (fingerprint(A), fingerprint(B))
    assert columns.hashes == (fingerprint(A.T), fingerprint(B.T))
    assert bits(A, B, ("BF16", "BF16"), by_columns=(True, True)) == columns
    other = A.copy()
    other[2, 1] ^= 1
    assert bits(other, B, ("BF16", "BF16"), by_columns=(True, True)) != columns


def test_a_format_by_columns_gets_its_factors_turned(tmp_path: Path) -> None:
    """Where they are computed, by all threads: what is written then is copied as it is in memory."""
    ao.save_adapter(ao.Adapter.of(UPDATES), tmp_path / "peft", dtype="BF16")
    opened = ao.open_adapter(tmp_path / "peft")
    arranged = arrangement(opened, None, "mlx")
    for measured in (False, True):
        found = factors.factored(opened, arranged, exact=False, norms=measured)("layers.0.q_proj")
        assert found.A.T.flags.c_contiguous
        assert found.B.T.flags.c_contiguous
