"""NF4 and FP4 as they are stored: recognised by their state, decoded to the formula, refused where they are broken."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import bitsandbytes.functional as bnb
import pytest
import torch
from codes import DTYPES, KINDS, SHORT_BLOCKS, decode, encode, formula, normal, opened, raw, reader, unpacked, weights
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from recognition import NAME, SHAPE, Tensors, absent, laid, other, recognised
from safetensors.torch import save_file
from torch import Tensor

from adapterops.arrays.scratch import Scratch
from adapterops.checkpoints.stored import StoredTensor
from adapterops.errors import InputError
from adapterops.quant.fourbit import BLOCK_SIZES, FourBit
from adapterops.quant.header import key
from adapterops.quant.tables import codebook
from adapterops.storage.safetensors import SafetensorsFile
from adapterops.storage.tensors import Stored

STATE = f"{NAME}.quant_state.bitsandbytes__nf4"


# The layout


@given(st.sampled_from(BLOCK_SIZES), st.integers(1, 300))
def test_the_granularity_is_the_least_number_of_rows_that_end_with_a_block(size: int, width: int) -> None:
    expected = next(rows for rows in range(1, size + 1) if rows * width % size == 0)
    assert FourBit(block_size=size).granularity((7, width)) == expected


@examples(max_examples=30)
@given(weights(), KINDS, SHORT_BLOCKS, st.booleans(), st.sampled_from(list(DTYPES)))
def test_parts_are_as_they_are_said_to_be(W: Tensor, kind: str, size: int, nested: bool, dtype: str) -> None:
    scheme = FourBit(kind, size, nested, dtype)
    found = encode(scheme.encoder(W.shape), W.clamp(-1e4, 1e4))
    names = {torch.uint8: "U8", torch.float32: "F32"}
    said = scheme.parts(tuple(W.shape))
    assert found.keys() == said.keys()
    for role, part in found.items():
        assert (names[part.dtype], part.numel()) == (said[role].dtype, math.prod(said[role].shape)), role
    stated = json.loads(bytes(found[scheme.state_role]))
    assert stated["shape"] == list(W.shape)
    assert (stated["quant_type"], stated["blocksize"]) == (kind, size)
    assert getattr(torch, stated["dtype"]) == DTYPES[dtype]
    assert ("nested_offset" in stated) == nested


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
def test_the_state_says_what_bitsandbytes_says(nested: bool) -> None:
    W = normal(2, 20, 96).bfloat16()
    found = encode(FourBit(nested=nested).encoder(W.shape), W)
    _, state = bnb.quantize_4bit(W, quant_type="nf4", compress_statistics=nested)
    theirs = json.loads(bytes(state.as_dict(packed=True)["quant_state.bitsandbytes__nf4"]))
    ours = json.loads(bytes(found["weight.quant_state.bitsandbytes__nf4"]))
    assert ours.pop("nested_offset", 0) == pytest.approx(theirs.pop("nested_offset", 0), rel=1e-6)
    assert ours == theirs


# Decoding


@examples(max_examples=40)
@given(weights(), KINDS, SHORT_BLOCKS, st.booleans(), st.sampled_from(list(DTYPES)), st.data())
def test_any_rows_are_decoded_to_the_formula(
    W: Tensor, kind: str, size: int, nested: bool, dtype: str, data: st.DataObject
) -> None:
    scheme = FourBit(kind, size, nested, dtype)
    found = encode(scheme.encoder(W.shape), W.clamp(-1e4, 1e4))
    scheme = opened(scheme, found)
    expected = formula(scheme, tuple(W.shape), found)
    begin = data.draw(st.integers(0, len(W)))
    end = data.draw(st.integers(begin, len(W)))
    rows = scheme.decode(tuple(W.shape), reader(found), begin, end)
    assert rows.dtype == DTYPES[dtype]
    assert rows.shape == (end - begin, W.shape[1])
    assert torch.equal(rows, expected[begin:end])


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_rows_of_two_weights_lie_side_by_side(tmp_path: Path, dtype: str) -> None:
    scheme, weights_ = FourBit(dtype=dtype), [normal(seed, 8, 64) for seed in (1, 2)]
    found, tensors = [], []
    for i, W in enumerate(weights_):
        parts = encode(scheme.encoder(W.shape), W)
        save_file(parts, tmp_path / f"{i}.safetensors")
        file = SafetensorsFile(tmp_path / f"{i}.safetensors")
        tensors.append(StoredTensor({role: Stored(file, role) for role in parts}, (8, 64), scheme))
        found.append(decode(scheme, (8, 64), parts).float())
    one, other = (each.rows(0, 8, Scratch()) for each in tensors)
    assert torch.equal(torch.from_numpy(one), found[0])
    assert torch.equal(torch.from_numpy(other), found[1])


def test_only_the_bytes_of_the_rows_are_read() -> None:
    scheme, W = FourBit(), normal(4, 100, 256)
    found = encode(scheme.encoder(W.shape), W)
    asked: dict[str, int] = {}

    def read(role: str, begin: int, end: int) -> Tensor:
        asked[role] = asked.get(role, 0) + end - begin
        return reader(found)(role, begin, end)

    scheme.decode((100, 256), read, 40, 42)
    assert asked == {"weight": 256, "weight.absmax": 4 * 8}


@pytest.mark.parametrize("shape", [(64, 96), (64, 80), (128, 16), (40, 48)])
def test_widths_that_no_block_divides(shape: tuple[int, int]) -> None:
    """Whole rows of these are far off where a processor's own instructions take each row to begin with a block."""
    W = normal(5, *shape)
    scheme = FourBit(dtype="F32")
    found = encode(scheme.encoder(shape), W)
    values = codebook("nf4").values[unpacked(found, W.numel()).long()].double()
    expected = values * W.reshape(-1, 64).abs().amax(dim=1).double().repeat_interleave(64)
    decoded = decode(scheme, shape, found)
    assert torch.equal(decoded.double(), expected.float().double().view(shape))
    assert float((decoded - W).norm() / W.norm()) < 0.1


@examples(max_examples=40)
@given(weights(largest=1e37), KINDS, SHORT_BLOCKS)
def test_the_error_is_at_most_half_the_widest_gap(W: Tensor, kind: str, size: int) -> None:
    scheme = FourBit(kind, size, dtype="F32")
    found = encode(scheme.encoder(W.shape), W)
    ascending = codebook(kind).values.sort().values
    bound = float(ascending.diff().max()) / 2 * found["weight.absmax"].double()[torch.arange(W.numel()) // size]
    error = (decode(scheme, tuple(W.shape), found).double() - W.double()).abs().view(-1)
    assert (error <= bound * (1 + 1e-6) + 1e-38).all()  # nothing is divided by less
    largest = W.float().abs().view(-1) == found["weight.absmax"][torch.arange(W.numel()) // size]
    if kind == "nf4" and float(found["weight.absmax"].min()) > 1e-37:
        assert (error[largest] == 0).all()


@pytest.mark.parametrize(
    ("scheme", "expected"), [(FourBit(), 0.092), (FourBit(block_size=128), 0.0956), (FourBit("fp4"), 0.122)]
)
def test_the_error_on_normal_numbers_is_what_is_known_of_it(scheme: FourBit, expected: float) -> None:
    W = normal(6, 256, 1024)
    wide = replace(scheme, dtype="F32")
    error = decode(wide, (256, 1024), encode(wide.encoder(W.shape), W)) - W
    assert float(error.norm() / W.norm()) == pytest.approx(expected, rel=0.02)


@examples(max_examples=40)
@given(weights(), SHORT_BLOCKS, st.sampled_from(list(DTYPES)))
def test_what_was_decoded_is_encoded_as_it_was(W: Tensor, size: int, dtype: str) -> None:
    """For NF4, whose largest code stands for absmax itself; ordinary numbers:
    tiny ones have no room for sixteen steps in 16 bits.
    """
    scheme = FourBit("nf4", size, dtype=dtype)
    W = torch.where((W.abs() < 1e-2) | (W.abs() > 1e4), W.sign(), W).float()
    first = encode(scheme.encoder(W.shape), W)
    again = encode(scheme.encoder(W.shape), decode(scheme, tuple(W.shape), first))
    expected = first["weight.absmax"].to(DTYPES[dtype]).float()
    assert torch.equal(again["weight.absmax"][expected > 1e-37], expected[expected > 1e-37])
    assert torch.equal(again["weight"], first["weight"])


@examples(max_examples=20)
@given(st.integers(0, 10**6), KINDS, st.sampled_from(list(DTYPES)))
def test_rounding_twice_is_rounding_once(seed: int, kind: str, dtype: str) -> None:
    """Where absmax is a number of the dtype that weights are used in, as it is when they were in that dtype before."""
    W = normal(seed, 8, 96).to(DTYPES[dtype])
    scheme = FourBit(kind, dtype=dtype)
    first = decode(scheme, (8, 96), encode(scheme.encoder(W.shape), W))
    again = encode(scheme.encoder(W.shape), first)
    assert torch.equal(decode(scheme, (8, 96), again), first)


def test_two_codes_are_stored_as_numbers_of_another_dtype() -> None:
    W = normal(7, 16, 64)
    found = encode(FourBit().encoder(W.shape), W)
    other = {**found, "weight": found["weight"].view(torch.bfloat16)}
    wide = FourBit(storage="BF16")
    assert wide.parts((16, 64))["weight"] == ("BF16", (256, 1))
    assert torch.equal(decode(wide, (16, 64), other), decode(FourBit(), (16, 64), found))


# What is known


def text(tensors: Tensors, name: str = STATE) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(bytes(raw(tensors[name])))
    return state


def restated(tensors: Tensors, name: str = STATE, **fields: Any) -> Tensors:
    """With fields of the state changed, or taken away where they are None."""
    state = {field: value for field, value in {**text(tensors, name), **fields}.items() if value is not None}
    return {**tensors, name: torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)}


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
@pytest.mark.parametrize("size", [32, 64, 4096])
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_four_bits_are_known_by_their_state(kind: str, nested: bool, size: int, dtype: str) -> None:
    scheme = FourBit(kind, size, nested, dtype)
    weights, others = recognised({**laid(scheme), "model.norm.weight": torch.ones(3)})
    assert others == ["model.norm.weight"]
    assert weights[NAME].scheme == scheme
    assert weights[NAME].shape == SHAPE
    assert weights[NAME].keys == {role: key(NAME, role) for role in scheme.parts(SHAPE)}


def test_the_offset_of_nested_scales_is_that_of_the_state() -> None:
    tensors = laid(FourBit(nested=True))
    scheme = recognised(tensors)[0][NAME].scheme
    assert isinstance(scheme, FourBit)
    assert scheme.offset == text(tensors)["nested_offset"] != 0


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
@pytest.mark.parametrize("storage", [torch.uint8, torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_what_bitsandbytes_stores_is_read(nested: bool, storage: torch.dtype) -> None:
    W = normal(1, 16, 64).bfloat16()
    packed, state = bnb.quantize_4bit(W, quant_type="nf4", compress_statistics=nested, quant_storage=storage)
    for stored in (packed, packed.view(1, -1)):  # older versions wrote it the other way round
        tensors = {NAME: stored, **{f"{NAME}.{role}": part for role, part in state.as_dict(packed=True).items()}}
        weight = recognised(tensors)[0][NAME]
        assert weight.shape == (16, 64)
        found = decode(weight.scheme, weight.shape, {role: tensors[name] for role, name in weight.keys.items()})
        torch.testing.assert_close(found, bnb.dequantize_4bit(packed.view(torch.uint8), state), rtol=2**-8, atol=0)


# What is broken

PLAIN, NESTED = laid(FourBit()), laid(FourBit(nested=True))
PLAIN_STATE = bytes(PLAIN[STATE])


def said(content: bytes) -> Tensors:
    return {**PLAIN, STATE: torch.tensor(list(content), dtype=torch.uint8)}


BROKEN: dict[str, tuple[Tensors, str]] = {
    "no weight": (absent(PLAIN, "weight"), rf"{NAME} should be U8 \[288, 1\]; found nothing"),
    "no absmax": (absent(PLAIN, "weight.absmax"), r"weight.absmax should be F32 \[9\]; found nothing"),
    "no table": (absent(PLAIN, "weight.quant_map"), r"weight.quant_map should be F32 \[16\]; found nothing"),
    "no nested absmax": (absent(NESTED, "weight.nested_absmax"), r"nested_absmax should be F32 \[1\]; found nothing"),
    "no nested table": (
        absent(NESTED, "weight.nested_quant_map"),
        r"nested_quant_map should be F32 \[256\]; found nothing",
    ),
    "absmax in 16 bits": (other(PLAIN, "weight.absmax", torch.ones(9).half()), r"should be F32 \[9\]; found F16 \[9\]"),
    "absmax in 8 bits": (other(PLAIN, "weight.absmax", torch.ones(9).byte()), r"should be F32 \[9\]; found U8 \[9\]"),
    "nested absmax in 32 bits": (other(NESTED, "weight.absmax", torch.ones(9)), r"should be U8 \[9\]; found F32 \[9\]"),
    "too few blocks": (other(PLAIN, "weight.absmax", torch.ones(8)), r"should be F32 \[9\]; found F32 \[8\]"),
    "another shape of absmax": (
        other(PLAIN, "weight.absmax", torch.ones(9, 1)),
        r"should be F32 \[9\]; found F32 \[9, 1\]",
    ),
    "too few nested blocks": (
        other(NESTED, "weight.nested_absmax", torch.ones(2)),
        r"should be F32 \[1\]; found F32 \[2\]",
    ),
    "a small table": (other(PLAIN, "weight.quant_map", torch.ones(15)), r"should be F32 \[16\]; found F32 \[15\]"),
    "codes cut off": (
        other(PLAIN, "weight", torch.ones(287, 1).byte()),
        r"should be U8 \[288, 1\]; found U8 \[287, 1\]",
    ),
    "codes of another dtype": (other(PLAIN, "weight", torch.ones(288, 1).to(torch.int8)), "nothing of codes in I8"),
    "an uncoded weight": (other(PLAIN, "weight", torch.ones(SHAPE)), r"should be F32 \[72, 1\]; found F32 \[6, 96\]"),
    "a state of floats": ({**PLAIN, STATE: PLAIN[STATE].float()}, "not UTF-8|not JSON"),
    "a state of nothing": (said(b""), "not JSON"),
    "a state that is cut off": (said(bytes(PLAIN[STATE])[:-5]), "not JSON"),
    "a state of bytes": (said(b"\xff\xfe"), "not UTF-8"),
    "a list for a state": (said(b"[]"), "not an object"),
    "a state that says a thing twice": (said(b'{"shape": [6, 96], "shape": [6, 96]}'), "appears twice"),
    "an empty state": (said(b"{}"), "quant_type None"),
    "another kind": (restated(PLAIN, quant_type="fp4"), "quant_type 'fp4', and its name says nf4"),
    "a kind that is none": (restated(PLAIN, quant_type=4), "quant_type 4"),
    "no block size": (restated(PLAIN, blocksize=None), "blocksize None"),
    "an unknown block size": (restated(PLAIN, blocksize=96), "blocksize 96"),
    "a negative block size": (restated(PLAIN, blocksize=-64), "blocksize -64"),
    "a block size of text": (restated(PLAIN, blocksize="64"), "blocksize '64'"),
    "another block size": (restated(PLAIN, blocksize=128), r"should be F32 \[5\]; found F32 \[9\]"),
    "an unknown dtype": (restated(PLAIN, dtype="float64"), "dtype 'float64'"),
    "a dtype that is none": (restated(PLAIN, dtype=["bfloat16"]), "dtype"),
    "no shape": (restated(PLAIN, shape=None), "shape None"),
    "an empty shape": (restated(PLAIN, shape=[]), r"shape \[\]"),
    "a negative shape": (restated(PLAIN, shape=[-6, -96]), r"shape \[-6, -96\]"),
    "a shape of fractions": (restated(PLAIN, shape=[6.0, 96.0]), r"shape \[6.0, 96.0\]"),
    "a huge shape": (restated(PLAIN, shape=[6, 2**40]), "shape"),
    "another shape": (restated(PLAIN, shape=[6, 98]), r"should be U8 \[294, 1\]; found U8 \[288, 1\]"),
    "nested blocks of another size": (restated(NESTED, nested_blocksize=128), "nested_blocksize 128"),
    "nested scales of another dtype": (restated(NESTED, nested_dtype="float16"), "nested_dtype 'float16'"),
    "an offset of text": (restated(NESTED, nested_offset="0.1"), "nested_offset '0.1'"),
    "a huge offset": (restated(NESTED, nested_offset=10**400), "nested_offset"),
    "no offset": (restated(NESTED, nested_offset=None), "nested_offset None"),
    "an offset of a list": (restated(NESTED, nested_offset=[1]), "nested_offset"),
    "an offset of truth": (restated(NESTED, nested_offset=True), "nested_offset True"),
    "a huge state": (said(PLAIN_STATE + b" " * (1 << 16)), "expected at most 65536"),
    "an infinite offset": (said(b'{"nested_offset": Infinity}'), "Infinity"),
    "an offset beyond floats": (
        said(bytes(NESTED[STATE]).replace(b'_offset": ', b'_offset": 1e999')),
        "nested_offset|not JSON",
    ),
    "no nested fields for nested parts": (
        restated(NESTED, nested_blocksize=None, nested_dtype=None),
        r"should be F32 \[9\]; found U8",
    ),
    "nested fields for plain parts": (
        restated(PLAIN, nested_blocksize=256, nested_dtype="float32", nested_offset=0.0),
        r"should be U8 \[9\]; found F32 \[9\]",
    ),
}


@pytest.mark.parametrize(("tensors", "words"), BROKEN.values(), ids=BROKEN)
def test_four_bits_that_are_broken(tensors: Tensors, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        recognised(tensors)
    assert caught.value.exit_code == 3
    assert caught.value.tensor
    assert caught.value.tensor.startswith(NAME)


@pytest.mark.parametrize("offset", ["abc", [1], 10**300])
def test_the_offset_of_scales_that_are_not_nested_has_no_say(offset: Any) -> None:
    assert recognised(restated(PLAIN, nested_offset=offset))[0][NAME].scheme == FourBit()


def test_a_state_with_a_number_beyond_float64() -> None:
    with pytest.raises(InputError, match=r"nested_offset: .* is beyond the numbers of float64"):
        recognised(restated(PLAIN, nested_offset=10**400))
