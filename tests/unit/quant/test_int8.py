from __future__ import annotations

import math

import bitsandbytes as bnb
import pytest
import torch
from codes import DTYPES, decode, encode, normal, reader, same, weights
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from recognition import NAME, SHAPE, Tensors, absent, laid, other, recognised
from torch import Tensor

from adapterops.errors import AdapterOpsError, InputError, UnsupportedError
from adapterops.quant.header import key
from adapterops.quant.int8 import Int8

WIDE = Int8("F32")


@examples(max_examples=50)
@given(weights(dtypes=("F16",)))
def test_codes_and_scales_are_those_of_bitsandbytes(W: Tensor) -> None:
    """It divides by the zero of a row of zeros; that such a row has the code 0 is not its doing."""
    found = encode(Int8().encoder(W.shape), W)
    codes, scales, _ = bnb.functional.int8_vectorwise_quant(W)
    assert torch.equal(found["SCB"], scales)
    rows = scales > 0
    assert torch.equal(found["weight"][rows], codes[rows])
    assert not found["weight"][~rows].any()
    assert torch.equal(found["weight_format"], torch.zeros((), dtype=torch.uint8))


@examples(max_examples=30)
@given(weights(largest=60000.0))
def test_a_number_is_rounded_to_half_precision_first(W: Tensor) -> None:
    assert same(encode(WIDE.encoder(W.shape), W), encode(WIDE.encoder(W.shape), W.half()))


@examples(max_examples=30)
@given(weights(largest=60000.0), st.sampled_from(list(DTYPES)), st.data())
def test_any_rows_are_decoded_to_the_formula(W: Tensor, dtype: str, data: st.DataObject) -> None:
    found = encode(Int8(dtype).encoder(W.shape), W)
    begin = data.draw(st.integers(0, len(W)))
    end = data.draw(st.integers(begin, len(W)))
    rows = Int8(dtype).decode(tuple(W.shape), reader(found), begin, end)
    assert rows.dtype == torch.float32
    expected = found["weight"].double() * found["SCB"].double()[:, None] / 127
    bound = 3 * 2.0**-24 * expected.abs() + torch.finfo(torch.float32).smallest_normal * 2**-8
    assert ((rows.double() - expected[begin:end]).abs() <= bound[begin:end]).all()


def test_decoding_agrees_with_bitsandbytes() -> None:
    W = normal(0, 40, 33).half()
    found = encode(WIDE.encoder(W.shape), W)
    theirs = bnb.functional.int8_vectorwise_dequant(found["weight"], found["SCB"])
    torch.testing.assert_close(
        decode(WIDE, (40, 33), found), theirs, rtol=2**-22, atol=0
    )  # it multiplies in another order


@examples(max_examples=30)
@given(weights(largest=60000.0))
def test_the_error_is_half_a_step(W: Tensor) -> None:
    found = encode(WIDE.encoder(W.shape), W)
    error = (decode(WIDE, tuple(W.shape), found).double() - W.half().double()).abs()
    assert (error <= found["SCB"].double()[:, None] / 127 * 0.50001 + 1e-12).all()


@examples(max_examples=30)
@given(weights(largest=60000.0), st.integers(1, 4))
def test_a_weight_may_be_encoded_some_rows_at_a_time(W: Tensor, rows: int) -> None:
    assert same(encode(WIDE.encoder(W.shape), W, rows), encode(WIDE.encoder(W.shape), W))


def test_what_was_decoded_is_encoded_as_it_was() -> None:
    W = normal(1, 50, 200)
    found = encode(WIDE.encoder(W.shape), W)
    assert torch.equal(encode(WIDE.encoder(W.shape), decode(WIDE, (50, 200), found))["weight"], found["weight"])


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 65520.0, -1e30])
def test_numbers_that_no_code_stands_for_are_refused(number: float) -> None:
    W = normal(2, 3, 40)
    W[1, 7] = number
    with pytest.raises(InputError, match="NaN, infinite or, for int8, above 65504"):
        encode(Int8().encoder(W.shape), W)
    if not math.isfinite(number):
        grid = Int8().on_grid(W.shape, reader(encode(Int8().encoder(W.shape), W.nan_to_num(0, 0, 0))), "key")
        with pytest.raises(InputError, match="NaN or infinite"):
            encode(grid, W)


def test_a_weight_without_a_marker_gets_none() -> None:
    W = normal(3, 4, 8)
    found = encode(Int8(marked=False).encoder(W.shape), W)
    assert found.keys() == {"weight", "SCB"} == Int8(marked=False).parts((4, 8)).keys()
    assert found.keys() == encode(Int8(marked=False).on_grid(W.shape, reader(found), ""), W).keys()


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_what_is_on_the_grid_stays_as_it_is(dtype: str) -> None:
    scheme = Int8(dtype)
    found = encode(scheme.encoder((6, 256)), normal(4, 6, 256))
    found["weight"][0] = torch.arange(-128, 128).to(torch.int8)  # all of them
    found["SCB"][5] = 0.0
    W = decode(scheme, (6, 256), found)
    assert same(encode(scheme.on_grid((6, 256), reader(found), "key"), W), found)


def test_a_number_becomes_one_of_its_two_neighbours() -> None:
    found = encode(WIDE.encoder((6, 200)), normal(5, 6, 200))
    target = decode(WIDE, (6, 200), found) + 0.1 * normal(6, 6, 200)
    result = encode(WIDE.on_grid((6, 200), reader(found), "key"), target)
    assert torch.equal(result["SCB"], found["SCB"].view(torch.uint8).view(torch.float32))
    exact = (target.double() * 127 / found["SCB"].double()[:, None]).clamp(-127, 127)
    codes = result["weight"].double()
    assert ((codes >= (exact - 1e-4).floor()) & (codes <= (exact + 1e-4).ceil())).all()
    assert (codes > exact).any()
    assert (codes < exact).any()


def test_the_mean_over_keys_is_right() -> None:
    found = encode(WIDE.encoder((4, 64)), normal(7, 4, 64))
    W = decode(WIDE, (4, 64), found)
    step = found["SCB"][:, None].double() / 127
    target = (W + 0.7 * step * torch.linspace(-1, 1, 64)).float()
    keys = 1500
    total = sum(
        decode(WIDE, (4, 64), encode(WIDE.on_grid((4, 64), reader(found), str(key)), target)).double()
        for key in range(keys)
    )
    exact = torch.minimum(torch.maximum(target.double(), -127 * step), 127 * step)
    assert float(((total / keys - exact).abs() / step).max()) < 5 * 0.5 / keys**0.5
    assert float(((total / keys - exact) / step).mean()) == pytest.approx(0, abs=4 * 0.5 / (keys * 256) ** 0.5)


def test_the_same_key_gives_the_same_bytes_and_rows_do_not_depend_on_those_before() -> None:
    found = encode(Int8().encoder((12, 40)), normal(8, 12, 40))
    target = decode(Int8(), (12, 40), found).float() + 0.01 * normal(9, 12, 40)
    results = [encode(Int8().on_grid((12, 40), reader(found), key), target, rows=4) for key in ("a", "a", "b")]
    assert same(results[0], results[1])
    assert not same(results[0], results[2])
    alone = Int8().on_grid((12, 40), reader(found), "a").rows(target[4:8], 4)[0]["weight"]
    assert torch.equal(alone, results[0]["weight"][4:8])


# What is known, and what is broken


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize(
    ("config", "dtype"), [({}, "BF16"), ({"dtype": "float16"}, "F16"), ({"torch_dtype": "float32"}, "F32")]
)
def test_int8_is_known_by_its_scales(marked: bool, config: dict[str, str], dtype: str) -> None:
    weights, others = recognised(laid(Int8(dtype, marked)), **config)
    assert (weights[NAME].scheme, weights[NAME].shape, others) == (Int8(dtype, marked), SHAPE, [])


EIGHT = laid(Int8())
BROKEN_EIGHT: dict[str, tuple[Tensors, type[AdapterOpsError], str]] = {
    "no weight": (absent(EIGHT, "weight"), InputError, "no weight of two dimensions"),
    "a weight of one dimension": (
        other(EIGHT, "weight", torch.ones(6).to(torch.int8)),
        InputError,
        "no weight of two dimensions",
    ),
    "a weight in 16 bits": (
        other(EIGHT, "weight", torch.ones(SHAPE).half()),
        InputError,
        r"should be I8 \[6, 96\]; found F16",
    ),
    "scales in 16 bits": (
        other(EIGHT, "SCB", torch.ones(6).half()),
        InputError,
        r"should be F32 \[6\]; found F16 \[6\]",
    ),
    "too few scales": (other(EIGHT, "SCB", torch.ones(5)), InputError, r"should be F32 \[6\]; found F32 \[5\]"),
    "scales for columns": (other(EIGHT, "SCB", torch.ones(96)), InputError, r"should be F32 \[6\]; found F32 \[96\]"),
    "another layout": (
        other(EIGHT, "weight_format", torch.ones((), dtype=torch.uint8)),
        UnsupportedError,
        "another layout",
    ),
    "a layout of two numbers": (
        other(EIGHT, "weight_format", torch.zeros(2, dtype=torch.uint8)),
        UnsupportedError,
        "another layout",
    ),
    "a huge layout": (
        other(EIGHT, "weight_format", torch.zeros(1 << 17, dtype=torch.uint8)),
        InputError,
        "expected at most 65536",
    ),
    "a layout in 32 bits": (other(EIGHT, "weight_format", torch.zeros(())), UnsupportedError, "another layout"),
}


@pytest.mark.parametrize(("tensors", "kind", "words"), BROKEN_EIGHT.values(), ids=BROKEN_EIGHT)
def test_int8_that_is_broken(tensors: Tensors, kind: type[AdapterOpsError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        recognised(tensors)
    assert caught.value.tensor in (NAME, key(NAME, "weight_format"))
