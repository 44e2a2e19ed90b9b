"""Requests: JSON both ways, and what contradicts itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapterops.errors import OptionError
from adapterops.expressions.expression import parse
from adapterops.methods import METHODS
from adapterops.operations.extraction import REST
from adapterops.requests.fields import VIEWS, Extract, Input, Layers, Model, Output, Quantize
from adapterops.requests.reading import read_request
from adapterops.requests.request import KINDS, Request, spelled

PATHS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
HASHES = st.dictionaries(st.just("sha256"), DIGESTS | st.dictionaries(PATHS, DIGESTS, min_size=1, max_size=2))
MODELS = st.builds(Model, PATHS, HASHES)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
INPUTS = st.builds(Input, PATHS, HASHES, st.none() | NUMBERS, st.booleans(), grams=st.none() | MODELS)
STACKS = st.lists(st.builds(Layers, MODELS, st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=3).map(tuple)
SCHEMES = st.builds(Quantize, st.sampled_from(["nf4", "fp4", "int8"]), st.booleans(), st.none() | st.integers(1, 4096))
CUTS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"rank": st.integers(1, 99)}),
    st.fixed_dictionaries({"energy": st.floats(0.01, 1)}),
    st.fixed_dictionaries({"budget": st.integers(1, 10**9).flatmap(lambda n: st.sampled_from([str(n), f"{n}B"]))}),
)
DTYPES = st.sampled_from([None, "F32", "BF16"])
TEXTS = [
    "a",
    "-0.3*b + a",
    "ties(a, b, density=0.2)",
    'truncate(select(a, "*.mlp.*") - b, rank=3)',
    'scale(b, {"*": 0.1}) + 1e-7*a',
]


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """A request of any kind."""
    kind = draw(st.sampled_from(KINDS))
    made: dict[str, Any] = {"allow_pickle": draw(st.booleans())}
    dtype = draw(DTYPES)
    if kind in ("merge", "fuse", "unfuse"):
        names = draw(st.sampled_from([text for text in TEXTS if "b" in text] if draw(st.booleans()) else TEXTS[:1]))
        made["inputs"] = {
            name: draw(INPUTS) for name in ("a", "b") if f"{name}" in names.replace("scale", "").replace("mlp", "")
        }
        made["result"] = parse(names, [name for name in ("a", "b") if name in made["inputs"]])
        made["allow_base_mismatch"] = draw(st.booleans())
    if kind == "merge":
        form = draw(
            st.sampled_from([{}, {"format": "mlx"}, {"normalize": True}, {"normalize": True, "format": "peft"}])
        )
        cut = draw(st.just({}) | CUTS)
        return Request(**made, output=Output(dtype=dtype, exact=draw(st.booleans()), **form, **cut))
    if kind == "stack":
        return Request(**made, stack=draw(STACKS), output=Output(dtype=dtype))
    made["base"] = draw(MODELS)
    if kind == "extract":
        return Request(
            **made,
            extract=draw(st.builds(Extract, MODELS, st.sampled_from(REST))),
            output=Output(dtype=dtype, **draw(CUTS)),
        )
    made["output"] = Output(dtype=dtype, max_shard_size=draw(st.none() | st.integers(1, 10**12)))
    if kind == "dequantize":
        return Request(**made, dequantize=True)
    if kind == "quantize":
        return Request(**made, quantize=draw(SCHEMES))
    rounding = draw(st.sampled_from([None, "nearest", "stochastic"]))
    original = draw(MODELS) if rounding is None and draw(st.booleans()) else None
    return Request(
        **made,
        unfuse=kind == "unfuse",
        original=original,
        base_view=draw(st.sampled_from([None, *VIEWS])) if original else None,
        rounding=rounding,
        seed=draw(st.none() | st.integers(0, 2**63 - 1)) if rounding == "stochastic" else None,
        precision=draw(st.sampled_from(["float32", "float64"])),
        quantize=draw(st.none() | SCHEMES),
        accept_loss=draw(st.booleans()),
    )


@given(requests())
def test_what_is_written_is_read_as_the_same(request: Request) -> None:
    """from_json . to_json = identity"""
    again = read_request(json.loads(json.dumps(request.as_json())))
    assert again == request
    assert again.kind == request.kind
    assert again.as_json() == request.as_json()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_one_of_the_language(name: str) -> None:
    request = Request({"a": Input("x"), "b": Input("y")}, parse(f"{name}(a, b)", ["a", "b"]))
    assert read_request(request.as_json()) == request


GOOD = Request({"a": Input("x")}, parse("a", ["a"]), base=Model("base")).as_json()

UNKNOWN = {
    "": {**GOOD, "reslt": "a"},
    "inputs.a.": {**GOOD, "inputs": {"a": {"path": "x", "reslt": 1}}},
    "base.": {**GOOD, "base": {"path": "x", "reslt": 1}},
    "output.": {**GOOD, "output": {"reslt": 1}},
    "quantize.": {**GOOD, "quantize": {"scheme": "nf4", "reslt": 1}},
}


def test_a_base_may_name_the_modules_of_an_adapter_alone() -> None:
    request = read_request({**GOOD, "base": "m", "output": {"adapter": True}})
    assert request.kind == "merge"
    assert read_request(request.as_json()) == request
    assert read_request({**GOOD, "base": "m"}).kind == "fuse"


@pytest.mark.parametrize("place", UNKNOWN)
def test_an_unknown_field_is_named(place: str) -> None:
    with pytest.raises(OptionError, match=f"^{place}reslt is unknown"):
        read_request(UNKNOWN[place])


@pytest.mark.parametrize(
    ("fields", "fact"),
    [
        ([], "the request is a list"),
        ({}, "the request has no inputs"),
        ({"inputs": {"a": "x"}}, "the request has no result"),
        ({"base": "m", "quantize": "nf5"}, "did you mean nf4"),
        ({"base": "m", "quantize": "nf4", "dequantize": True}, "exclude each other"),
        ({"base": "m", "dequantize": True, "rounding": "nearest"}, "rounding needs a result"),
        ({"base": "m", "dequantize": True, "output": {"rank": 3}}, "rank is for adapters"),
        ({**GOOD, "extract": {"tuned": "t"}}, "extract and result exclude each other"),
        ({**GOOD, "seed": 3}, "the seed is that of stochastic rounding"),
        ({**GOOD, "seed": 3.5}, "expected a whole number"),
        ({**GOOD, "base_view": "original"}, "--original"),
        ({**GOOD, "original": "o", "rounding": "nearest"}, "--rounding keeps the codes"),
        ({"inputs": {"a": "x"}, "result": "a", "rounding": "nearest"}, "rounding needs a base"),
        ({"inputs": {"a": "x"}, "result": "a", "output": {"max_shard_size": "2GB"}}, "max_shard_size is for models"),
        ({**GOOD, "output": {"max_shard_size": "many"}}, "output.max_shard_size: max_shard_size is 'many'"),
        ({"base": "m", "extract": {"tuned": "t"}}, "exactly one of rank, energy and budget"),
        ({"base": "m", "extract": {"rest": "keep"}}, "extract has no tuned"),
        ({**GOOD, "base": "m", "quantize": "nf4", "output": {"adapter": True}}, "quantize is for models"),
        ({**GOOD, "base": "m", "unfuse": True, "output": {"adapter": True}}, "unfuse is for models"),
        ({"base": "m", "dequantize": True, "output": {"adapter": True}}, "this makes a model"),
    ],
    ids=str,
)
def test_what_contradicts_itself_is_refused(fields: Any, fact: str) -> None:
    with pytest.raises(OptionError) as caught:
        read_request(fields)
    assert fact in str(caught.value)


def test_stochastic_rounding_has_a_seed() -> None:
    assert read_request({**GOOD, "rounding": "stochastic"}).seed == 0


def test_a_budget_has_one_spelling() -> None:
    assert read_request({"inputs": {"a": "x"}, "result": "a", "output": {"budget": "2M"}}).output.budget == spelled(
        "2000k"
    )
