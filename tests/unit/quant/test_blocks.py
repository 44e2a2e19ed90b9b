"""Codes of four bits: bitsandbytes' own bytes, and formulas for everything that it does not do right, or not at all."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import bitsandbytes.functional as bnb
import pytest
import torch
from codes import DTYPES, KINDS, SHORT_BLOCKS, decode, encode, formula, normal, opened, reader, same, unpacked, weights
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor

from adapterops.errors import InputError
from adapterops.quant.fourbit import NESTED_BLOCK, FourBit
from adapterops.quant.tables import codebook, dynamic_map

BOTH = pytest.mark.parametrize("kind", ["nf4", "fp4"])
Parts = dict[str, Tensor]


def divided(W: Tensor, absmax: Tensor, size: int) -> Tensor:
    """Every number by the largest magnitude of its block, in float64; 0 in a block of zeros."""
    flat = W.double().reshape(-1)
    each = absmax.double()[torch.arange(flat.numel()) // size]
    return torch.where(each > 0, flat / each, 0.0)


# To nearest


@examples(max_examples=30)
@given(weights(), KINDS, SHORT_BLOCKS)
@example(torch.zeros(1, 1), "nf4", 64)
@example(torch.zeros(3, 43), "fp4", 64)
@example(torch.full((1, 65), -2.0), "nf4", 64)
def test_codes_and_absmax_are_those_of_bitsandbytes(W: Tensor, kind: str, size: int) -> None:
    found = encode(FourBit(kind, size).encoder(W.shape), W)
    codes, state = bnb.quantize_4bit(W, blocksize=size, quant_type=kind)
    assert torch.equal(found["weight"], codes.view(-1))
    assert torch.equal(found["weight.absmax"].view(torch.int32), state.absmax.view(torch.int32))
    assert torch.equal(found["weight.quant_map"], state.code)


@examples(max_examples=50)
@given(weights(largest=1e37), KINDS, SHORT_BLOCKS)
def test_a_code_is_the_nearest_one(W: Tensor, kind: str, size: int) -> None:
    """By trying all of them, in float64; where two are as near as float32 can tell, either."""
    found = encode(FourBit(kind, size).encoder(W.shape), W)
    blocks = [block.abs().max() for block in W.float().reshape(-1).split(size)]
    assert torch.equal(found["weight.absmax"].clamp(min=1e-38), torch.stack(blocks).clamp(min=1e-38))
    s = divided(W, torch.stack(blocks).clamp(min=1e-38), size)
    distance = (s[:, None] - codebook(kind).values.double()).abs()
    chosen = distance.gather(1, unpacked(found, W.numel()).long()[:, None])[:, 0]
    assert (chosen <= distance.amin(dim=1) + 3e-7).all()


@BOTH
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_ties_and_their_neighbours_are_decided_as_bitsandbytes_does(kind: str, dtype: torch.dtype) -> None:
    book = codebook(kind)
    ascending = book.values[book.order.long()]
    middles = (ascending[:-1] + ascending[1:]) / 2
    near = torch.cat(
        [torch.nextafter(middles, torch.tensor(9.0)), middles, torch.nextafter(middles, torch.tensor(-9.0)), ascending]
    )
    for absmax in (1.0, 3.0, 0.1, 7e-5):
        blocks = (near * absmax).split(63)
        flat = torch.cat([torch.cat([block, torch.full((64 - len(block),), absmax)]) for block in blocks]).to(dtype)
        codes, state = bnb.quantize_4bit(flat.view(1, -1), quant_type=kind)
        found = encode(FourBit(kind).encoder((1, len(flat))), flat.view(1, -1))
        assert torch.equal(found["weight"], codes.view(-1))
        assert torch.equal(found["weight.absmax"], state.absmax)


@BOTH
@pytest.mark.parametrize("shape", [(512, 1024), (263, 1001)], ids=str)
def test_many_ordinary_numbers(kind: str, shape: tuple[int, int]) -> None:
    W = normal(1, *shape) * 0.02
    codes, state = bnb.quantize_4bit(W, quant_type=kind)
    found = encode(FourBit(kind).encoder(W.shape), W)
    assert torch.equal(found["weight"], codes.view(-1))
    assert torch.equal(found["weight.absmax"], state.absmax)


@examples(max_examples=30)
@given(weights(), KINDS, SHORT_BLOCKS, st.booleans(), st.integers(1, 4))
def test_a_weight_may_be_encoded_some_rows_at_a_time(
    W: Tensor, kind: str, size: int, nested: bool, groups: int
) -> None:
    scheme = FourBit(kind, size, nested)
    rows = groups * scheme.granularity(tuple(W.shape))
    if nested:
        W = W.clamp(-1e4, 1e4)
    assert same(encode(scheme.encoder(W.shape), W, rows), encode(scheme.encoder(W.shape), W))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 63, 64, 199])
def test_numbers_that_no_code_stands_for_are_refused(number: float, place: int) -> None:
    W = normal(3, 2, 100)
    W.view(-1)[place] = number
    for scheme in (FourBit(), FourBit("fp4"), FourBit(nested=True)):
        with pytest.raises(InputError, match="NaN or infinite"):
            encode(scheme.encoder(W.shape), W)
        with pytest.raises(InputError, match="NaN or infinite"):
            encode(scheme.on_grid(W.shape, reader(encode(scheme.encoder(W.shape), W.nan_to_num(0, 0, 0))), "key"), W)


@BOTH
@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
def test_a_weight_of_no_columns(kind: str, nested: bool) -> None:
    scheme = FourBit(kind, nested=nested)
    found = encode(scheme.encoder((3, 0)), torch.empty(3, 0))
    assert found["weight"].numel() == found["weight.absmax"].numel() == 0


@BOTH
@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
def test_a_weight_of_no_rows(kind: str, nested: bool) -> None:
    scheme = FourBit(kind, nested=nested)
    found = scheme.encoder((0, 64)).rest()
    assert len(found[scheme.state_role]) == scheme.parts((0, 64))[scheme.state_role].shape[0]
    assert all(part.isfinite().all() for part in found.values())


@examples(max_examples=40)
@given(weights(largest=1e30), KINDS, st.booleans())
def test_an_encoder_says_what_its_codes_stand_for(W: Tensor, kind: str, nested: bool) -> None:
    """Before absmax is put into eight bits, which is done when all of it is known."""
    scheme = FourBit(kind, nested=nested, dtype="F32")
    pieces, stands_for = scheme.encoder(W.shape).rows(W.float(), 0)
    plain = encode(FourBit(kind, dtype="F32").encoder(W.shape), W)
    assert torch.equal(pieces["weight"], plain["weight"])
    assert torch.equal(stands_for(), decode(FourBit(kind, dtype="F32"), tuple(W.shape), plain))


# Scales of eight bits


@examples(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([1, 3, 256, 257, 700]), KINDS, st.sampled_from([1.0, 1e-4, 1e4, 0.0]))
def test_nested_scales_are_the_nearest_ones(seed: int, blocks: int, kind: str, factor: float) -> None:
    W = normal(seed, 1, blocks * 64) * normal(seed + 1, blocks).abs().repeat_interleave(64) * factor
    scheme = FourBit(kind, nested=True)
    found = encode(scheme.encoder(W.shape), W)
    assert torch.equal(found["weight"], encode(FourBit(kind).encoder(W.shape), W)["weight"])
    absmax = W.view(-1, 64).abs().amax(dim=1)
    offset = json.loads(bytes(found[scheme.state_role]))["nested_offset"]
    assert offset == pytest.approx(float(absmax.double().mean()), rel=1e-5, abs=1e-30)
    rest = absmax - offset
    largest = torch.stack([block.abs().max() for block in rest.split(NESTED_BLOCK)])
    assert torch.equal(found["weight.nested_absmax"], largest)
    numbers = found["weight.nested_quant_map"]
    assert torch.equal(numbers, dynamic_map())
    s = divided(rest, largest, NESTED_BLOCK)
    distance = (s[:, None] - numbers.double()).abs()
    chosen = distance.gather(1, found["weight.absmax"].long()[:, None])[:, 0]
    assert (chosen <= distance.amin(dim=1) + 2e-7).all()


def test_nested_scales_are_those_of_bitsandbytes_or_beside_them() -> None:
    """It finds them by a table that is not exact,
    in which a number may come out as the neighbour of the nearest one.
    """
    W = normal(8, 512, 1024)
    found = encode(FourBit(nested=True).encoder(W.shape), W)
    codes, state = bnb.quantize_4bit(W, quant_type="nf4", compress_statistics=True)
    assert torch.equal(found["weight"], codes.view(-1))
    assert torch.equal(found["weight.nested_quant_map"], state.state2.code)
    torch.testing.assert_close(found["weight.nested_absmax"], state.state2.absmax, rtol=1e-5, atol=0)
    apart = (found["weight.absmax"].int() - state.absmax.int()).abs()
    assert int(apart.max()) <= 1
    assert float((apart > 0).float().mean()) < 0.01


@pytest.mark.parametrize("largest", [1e-44, 1e-38, 1e30, 3e38])
def test_nested_scales_of_extreme_numbers_are_numbers(largest: float) -> None:
    """The state is JSON, which knows no infinity; a mean must not become one."""
    W = torch.full((4, 256), largest)
    scheme = FourBit(nested=True, dtype="F32")
    found = encode(scheme.encoder(W.shape), W)
    assert math.isfinite(json.loads(bytes(found[scheme.state_role]))["nested_offset"])
    assert decode(opened(scheme, found), (4, 256), found).isfinite().all()


# At random, on the stored grid


GRIDS = [
    FourBit(dtype="F32"),
    FourBit("fp4", dtype="F32"),
    FourBit(nested=True),
    FourBit("fp4", 32),
    FourBit(block_size=256),
]
ON_GRIDS = pytest.mark.parametrize(
    "scheme", GRIDS, ids=lambda scheme: f"{scheme.kind} {scheme.block_size} {scheme.nested} {scheme.dtype}"
)


def stored(scheme: FourBit, seed: int = 0, shape: tuple[int, int] = (12, 96)) -> tuple[FourBit, Parts, Tensor]:
    """A scheme as it is read, the parts of a weight, and what they stand for."""
    found = encode(scheme.encoder(shape), normal(seed, *shape))
    return opened(scheme, found), found, decode(opened(scheme, found), shape, found).float()


def ones(scheme: FourBit, found: Parts) -> Parts:
    """The parts of a weight whose entries are all the largest number of their blocks."""
    return {**found, "weight": torch.full_like(found["weight"], 0xFF if scheme.kind == "nf4" else 0x33)}


@ON_GRIDS
def test_what_is_on_the_grid_stays_as_it_is(scheme: FourBit) -> None:
    for seed in range(3):
        scheme, found, W = stored(scheme, seed)
        found["weight"][:16] = torch.arange(16, dtype=torch.uint8) * 17  # every code, and of FP4 both zeros
        W = decode(scheme, (12, 96), found).float()
        assert same(encode(scheme.on_grid((12, 96), reader(found), f"{seed}"), W), found)


@ON_GRIDS
def test_a_number_becomes_one_of_its_two_neighbours(scheme: FourBit) -> None:
    scheme, found, W = stored(scheme)
    target = W + 0.3 * normal(1, 12, 96)
    result = encode(scheme.on_grid((12, 96), reader(found), "key"), target)
    assert same({**result, "weight": found["weight"]}, found)
    assert not same(result, found)
    absmax = formula(replace(scheme, dtype="F32"), (12, 96), ones(scheme, found))
    s = (target.double() / absmax.double()).clamp(-1, 1)
    ascending = codebook(scheme.kind).values.double().unique()
    chosen = codebook(scheme.kind).values.double()[unpacked(result, W.numel()).long()].view(12, 96)
    near = 4e-3 if scheme.dtype == "BF16" else 1e-6  # the step begins at what was used, which is rounded
    below = ascending[(torch.searchsorted(ascending, s - near, right=True) - 1).clamp(min=0)]
    above = ascending[torch.searchsorted(ascending, s + near).clamp(max=len(ascending) - 1)]
    assert ((chosen >= below) & (chosen <= above)).all()
    inner = ascending[(torch.searchsorted(ascending, chosen, right=True) - 1)]
    assert torch.equal(inner, chosen)


@ON_GRIDS
def test_the_mean_over_keys_is_right(scheme: FourBit) -> None:
    scheme, found, W = stored(scheme, shape=(16, 64 if scheme.block_size < 256 else 256))
    step = 0.02 * normal(2, *W.shape).abs()
    step[::2] *= -1
    absmax = formula(replace(scheme, dtype="F32"), tuple(W.shape), ones(scheme, found))
    target = torch.where((W + step).abs() < absmax, W + step, W)
    keys, wide = 190, replace(scheme, dtype="F32")
    total = torch.zeros(W.shape, dtype=torch.float64)
    for key in range(keys):
        result = encode(scheme.on_grid(tuple(W.shape), reader(found), str(key)), target)
        total += decode(wide, tuple(W.shape), result)
    exact = decode(wide, tuple(W.shape), found).double() + (target - W).double()
    exact = torch.minimum(torch.maximum(exact, -absmax.double()), absmax.double())
    gap = float(codebook(scheme.kind).values.sort().values.diff().max())
    error = (total / keys - exact).abs() / absmax
    assert float(error.max()) < 5 * gap / 2 / keys**0.5
    away = float(((total / keys - exact) * step.sign()).mean() / absmax.mean())
    assert away == pytest.approx(0, abs=4 * gap / 2 / (keys * W.numel()) ** 0.5)


def test_small_numbers_beside_zero_are_rounded_up_as_often_as_they_should_be() -> None:
    """FP4 has two zeros, and its least number is a long way from the next one."""
    scheme = FourBit("fp4", dtype="F32")
    W = torch.zeros(8, 4096)
    W[:, ::64] = 1.0
    found = encode(scheme.encoder(W.shape), W)
    for fraction in (-0.75, -0.3, 0.1, 0.3, 0.45, 0.75):
        target = torch.where(W == 0, torch.tensor(fraction / 192), W)
        result = decode(scheme, (8, 4096), encode(scheme.on_grid((8, 4096), reader(found), "key"), target))
        assert float(result[W == 0].mean() * 192) == pytest.approx(fraction, abs=0.02)


@ON_GRIDS
def test_the_same_key_gives_the_same_bytes(scheme: FourBit) -> None:
    scheme, found, W = stored(scheme)
    target = W + 0.05 * normal(3, 12, 96)
    results = [encode(scheme.on_grid((12, 96), reader(found), key), target) for key in ("a", "a", "b")]
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_rows_do_not_depend_on_what_was_encoded_before_them() -> None:
    scheme, found, W = stored(FourBit())
    target = W + 0.05 * normal(4, 12, 96)
    whole = encode(scheme.on_grid((12, 96), reader(found), "key"), target, rows=4)
    for begin in (0, 4, 8):
        alone = scheme.on_grid((12, 96), reader(found), "key").rows(target[begin : begin + 4], begin)[0]["weight"]
        assert torch.equal(alone, whole["weight"][begin * 48 : begin * 48 + 4 * 48])


def test_blocks_of_zeros_have_no_grid_to_go_to() -> None:
    scheme = FourBit()
    found = encode(scheme.encoder((2, 64)), torch.zeros(2, 64))
    result = encode(scheme.on_grid((2, 64), reader(found), "key"), normal(5, 2, 64))
    assert torch.equal(decode(scheme, (2, 64), result), torch.zeros(2, 64, dtype=torch.bfloat16))


@pytest.mark.parametrize("largest", [1e-45, 1e-40, 1e-38])
def test_blocks_of_tiny_numbers_stay_on_their_grid(largest: float) -> None:
    """Whose reciprocal is no number."""
    scheme = FourBit(dtype="F32")
    found = encode(scheme.encoder((2, 64)), torch.stack([torch.full((64,), largest), normal(6, 64)]))
    W = decode(scheme, (2, 64), found)
    assert same(encode(scheme.on_grid((2, 64), reader(found), "key"), W), found)
    target = W.clone()
    target[0, :5] = 1.0
    result = decode(scheme, (2, 64), encode(scheme.on_grid((2, 64), reader(found), "key"), target))
    assert float(result[0].abs().max()) <= largest * 1.01
    assert torch.equal(result[1], W[1])


@pytest.mark.parametrize("shape", [(3, 43), (1, 1), (5, 13)])
def test_an_odd_number_of_entries_keeps_the_half_byte_behind_them(shape: tuple[int, int]) -> None:
    scheme, found, W = stored(FourBit(), shape=shape)
    found["weight"][-1] = (found["weight"][-1] & 0xF0) | 0x0B
    assert same(encode(scheme.on_grid(shape, reader(found), "key"), W), found)
