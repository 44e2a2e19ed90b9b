"""The scheme of ggml's blocks."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch
from codes import reader
from gguf import GGMLQuantizationType as Type
from gguf_models import CODED, coded

from adapterops.errors import InputError, UnsupportedError
from adapterops.quant.calibrated import calibrated
from adapterops.quant.ggml import SIZES, Ggml
from adapterops.quant.ggml_blocks import KINDS
from adapterops.quant.scheme import Read
from adapterops.testing import check_decoding, check_grid

SHAPE = (64, 512)


def stored(type_: Type) -> tuple[np.ndarray, Read]:
    data = coded(np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32), type_)
    flat = torch.from_numpy(data.reshape(-1))
    return data, lambda role, begin, end: flat[begin:end].clone()


@pytest.mark.parametrize("type_", CODED, ids=lambda each: each.name)
def test_the_laws_of_schemes(type_: Type) -> None:
    _, read = stored(type_)
    check_decoding(Ggml(type_.name), SHAPE, read)
    check_grid(Ggml(type_.name), SHAPE, read)


@pytest.mark.parametrize("type_", CODED, ids=lambda each: each.name)
def test_sizes_and_numbers_are_those_of_gguf(type_: Type) -> None:
    data, read = stored(type_)
    scheme = Ggml(type_.name)
    assert scheme.parts(SHAPE)[""].shape == data.shape
    found = scheme.decode(SHAPE, read, 3, 20).numpy()
    np.testing.assert_array_equal(found, gguf.dequantize(data, type_)[3:20])


@pytest.mark.parametrize("type_", CODED, ids=lambda each: each.name)
def test_codes_and_scales_are_what_is_decoded(type_: Type) -> None:
    data, read = stored(type_)
    scheme = Ggml(type_.name)
    codes, (scale, zero) = scheme.codes(SHAPE, read, 3, 20), scheme.scales(SHAPE, read, 3, 20)
    found = (scheme.numbers()[codes.int()] - zero) * scale
    torch.testing.assert_close(found, scheme.decode(SHAPE, read, 3, 20), rtol=1e-5, atol=1e-5)
    part = scheme.encoded_parts(SHAPE, codes, read, 3)[""]
    assert part.numpy().tobytes() == data[3:20].tobytes()


@pytest.mark.parametrize("type_", CODED, ids=lambda each: each.name)
def test_codes_for_inputs_are_nearer_than_by_chance(type_: Type) -> None:
    """And what is not changed keeps its bytes."""
    _, read = stored(type_)
    scheme, random = Ggml(type_.name), torch.Generator().manual_seed(3)
    W = scheme.decode(SHAPE, read, 0, SHAPE[0]).clone()
    x = torch.randn(300, 40, generator=random) @ torch.randn(40, SHAPE[1], generator=random)
    G = (x.T @ x / len(x)).numpy()
    delta = torch.randn(SHAPE[0], 4, generator=random) @ torch.randn(4, SHAPE[1], generator=random) * 0.02
    delta[10:20] = 0
    far = {}
    for way in (calibrated(scheme, SHAPE, read, lambda: G), scheme.on_grid(SHAPE, read, "key")):
        part, stands = way.rows(W + delta, 0)
        found = scheme.decode(SHAPE, reader({"": part[""].reshape(-1)}), 0, SHAPE[0]).clone()
        torch.testing.assert_close(stands(), found, rtol=1e-4, atol=1e-4)
        assert torch.equal(found[10:20], W[10:20])
        error = found - W - delta
        far[type(way).__name__] = float(((error @ torch.from_numpy(G)) * error).sum())
    assert far["Calibrated"] < 0.7 * far["OnBlocks"], far


def test_the_bytes_depend_on_key_and_place_alone() -> None:
    _, read = stored(Type.Q4_K)
    W = Ggml("Q4_K").decode(SHAPE, read, 0, 64) + 0.01
    one, other, again = (Ggml("Q4_K").on_grid(SHAPE, read, key).rows(W, 0)[0][""] for key in ("a", "b", "a"))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_what_is_not_a_number_is_refused() -> None:
    _, read = stored(Type.Q8_0)
    W = Ggml("Q8_0").decode(SHAPE, read, 0, 64).clone()
    W[3, 5] = torch.nan
    with pytest.raises(InputError):
        Ggml("Q8_0").on_grid(SHAPE, read, "a").rows(W, 0)


OTHERS = [Type[name] for name in SIZES if name not in KINDS]


@pytest.mark.parametrize("type_", OTHERS, ids=lambda each: each.name)
def test_other_types_are_decoded_by_the_library_and_take_no_numbers(type_: Type) -> None:
    scheme = Ggml(type_.name)
    part = scheme.parts((6, 512))[""].shape
    data = np.random.default_rng(0).integers(0, 64, part, dtype=np.uint8)
    read = reader({"": torch.from_numpy(data)})
    found = scheme.decode((6, 512), read, 2, 5).numpy()
    np.testing.assert_array_equal(found, gguf.dequantize(data, type_)[2:5])
    with pytest.raises(UnsupportedError, match=type_.name):
        scheme.on_grid((6, 512), read, "key").rows(torch.zeros(6, 512), 0)
