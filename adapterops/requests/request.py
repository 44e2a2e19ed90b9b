"""A request: all that decides what an output is.
The command line, recipes, the manifest and `verify` have this one form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from shlex import quote
from typing import Any

from adapterops.errors import OptionError
from adapterops.expressions.expression import Expression
from adapterops.operations.truncation import check_cut
from adapterops.quant.scheme import CALIBRATED, STOCHASTIC
from adapterops.requests.amounts import budget
from adapterops.requests.fields import DEQUANTIZED, ORIGINAL, Extract, Input, Layers, Model, Output, Quantize

MERGE, FUSE, UNFUSE, EXTRACT, QUANTIZE, DEQUANTIZE, STACK = KINDS = (
    "merge",
    "fuse",
    "unfuse",
    "extract",
    "quantize",
    "dequantize",
    "stack",
)


@dataclass(frozen=True)
class Request:
    """What is to be made, of what. Which fields are set decides its `kind`.

    Attributes:
        inputs: adapters by the names that `result` has for them.
        result: the adapter that is made of them.
        base: the model that the result goes into, or comes out of; or the model to extract against or to (de)quantize.
            With `output.adapter` the model whose names the result has.
        unfuse: take the result out of the base.
        extract: the adapter is the difference of another model and the base.
        original: the 16-bit model that a quantized base was made from.
        base_view: what an update is added to, for a quantized base; by default the original, where there is one.
        rounding: how changed weights are rounded, onto the base's own codes or to 16 bits: `nearest`, `stochastic` with
            `seed`, or `calibrated` with `grams`.
        grams: a file of Gram matrices of the inputs of its modules.
        precision: of ΔW and the sum.
        quantize: the scheme to write the model in.
        dequantize: write the base in 16 or 32 bits.
        stack: layers of models, one above the other.
        accept_loss: write even if too little of an update survives in codes.

    Raises:
        OptionError: fields exclude each other, or one needs another.

    """

    inputs: Mapping[str, Input] = field(default_factory=dict)
    result: Expression | None = None
    allow_base_mismatch: bool = False
    base: Model | None = None
    unfuse: bool = False
    extract: Extract | None = None
    original: Model | None = None
    base_view: str | None = None
    rounding: str | None = None
    seed: int | None = None
    grams: Model | None = None
    precision: str = "float32"
    quantize: Quantize | None = None
    dequantize: bool = False
    stack: tuple[Layers, ...] = ()
    accept_loss: bool = False
    allow_pickle: bool = False
    output: Output = field(default_factory=Output)

    def __post_init__(self) -> None:
        if self.rounding == STOCHASTIC and self.seed is None:
            object.__setattr__(self, "seed", 0)
        _check_fields(self)
        _check_components(self)
        _check_output(self)
        _check_codes(self)
        _check_tuned(self)

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        if self.result is not None:
            return MERGE if self.base is None or self.output.adapter else UNFUSE if self.unfuse else FUSE
        return EXTRACT if self.extract else QUANTIZE if self.quantize else STACK if self.stack else DEQUANTIZE

    @property
    def models(self) -> dict[str, Model]:
        """The checkpoints it names, by what they are."""
        tuned = self.extract.tuned if self.extract else None
        named = {"tuned": tuned, "base": self.base, "original": self.original, "grams": self.grams}
        named |= {grams_of(name): each.grams for name, each in self.inputs.items()}
        named |= {layers_of(each.model): each.model for each in self.stack}
        return {name: model for name, model in named.items() if model is not None}

    def as_json(self) -> dict[str, Any]:
        """What `read_request` reads as this request. Defaults are in it; what is None or empty is not."""
        content: dict[str, Any] = _plain(self)
        return content


def grams_of(name: str) -> str:
    """What the Gram matrices of an input are called among the models of a request."""
    return f"grams of {name}"


def layers_of(model: Model) -> str:
    """What a model whose layers are stacked is called among the models of a request."""
    return f"layers of {model.path}"


def _plain(value: Any) -> Any:
    if isinstance(value, Expression):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if not is_dataclass(value):
        return value
    given = {each.name: getattr(value, each.name) for each in fields(value)}
    given = given | given.pop("hashes", {})
    return {
        name: _plain(inner)
        for name, inner in given.items()
        if inner is not None
        and (name, inner) not in (("inputs", {}), ("tuned", False), ("stack", ()), ("tensor_types", ()))
    }


OF_A_BASE = {
    "quantize": "only models are quantized: ",
    "dequantize": "only models are quantized: ",
    "unfuse": "adapters come out of models: ",
    "extract": "a difference is from a model: ",
    **dict.fromkeys(("rounding", "original", "base_view", "grams"), ""),
}
"""Fields that need a base, and why, as the hint says it."""


def _check_fields(request: Request) -> None:
    """What each kind of work needs, and what would mean nothing to it."""
    for name, why in OF_A_BASE.items():
        if getattr(request, name) and request.base is None:
            raise OptionError(f"{name} needs a base", hint=f"{why}name the one to fuse the result into")
    if request.result is None:
        sets = [name for name in ("extract", "quantize", "dequantize", "stack") if getattr(request, name)]
        if len(sets) != 1:
            both = f"{' and '.join(sets)} exclude each other" if sets else "there is no result, and nothing else to do"
            raise OptionError(both, hint="give a result, or one of extract, quantize, dequantize and stack")
        for name in ("inputs", "unfuse", "rounding", "original", "base_view", "grams"):
            if getattr(request, name):
                raise OptionError(f"{name} needs a result", hint="such as result: a")
        if request.stack and request.base is not None:
            raise OptionError("base and stack exclude each other", hint="name models in stack alone")
    else:
        for name in ("extract", "dequantize", "stack"):
            if getattr(request, name):
                raise OptionError(f"{name} and result exclude each other", hint="leave one of them out")
    for name in ("unfuse", "quantize", "rounding", "original", "base_view", "grams") if request.output.adapter else ():
        if getattr(request, name):
            raise OptionError(f"{name} is for models, and output.adapter asks for an adapter", hint="leave one out")


def _check_components(request: Request) -> None:
    """Raise OptionError for a component of no pipeline."""
    named = next((each.component for each in request.inputs.values() if each.component), None)
    if named is not None and request.base is None:
        raise OptionError(
            f"the component {named!r} is one of a base that is a pipeline, and there is no base",
            hint="name the pipeline with --base, or leave --component out",
        )


def _check_output(request: Request) -> None:
    """What of the output would mean nothing to this kind of work."""
    output, kind = request.output, request.kind
    makes_adapter = kind in (MERGE, EXTRACT)
    if output.adapter and not makes_adapter:
        raise OptionError("output.adapter asks for an adapter, and this makes a model", hint="leave it out")
    if output.names is not None and not output.adapter:
        raise OptionError("names are those of a base", hint="name it with --base, or leave names out")
    if output.max_shard_size is not None and makes_adapter:
        raise OptionError("max_shard_size is for models, and this makes an adapter", hint="leave it out")
    if output.tensor_types and kind not in (FUSE, UNFUSE):
        raise OptionError("tensor_types are for adapters in a GGUF model", hint="leave them out")
    if output.tensor_types and (output.dtype or request.quantize):
        fact = "tensor_types are for a GGUF model, and dtype and quantize write a checkpoint of transformers"
        raise OptionError(fact, hint="leave one of them out")
    of_adapters = []
    if not makes_adapter:
        of_adapters += ["a format"] * bool(output.format) + ["normalize"] * bool(output.normalize)
    if kind in (QUANTIZE, DEQUANTIZE, STACK):
        of_adapters += output.cut
    for name in of_adapters:
        raise OptionError(f"{name} is for adapters, and this makes a model", hint="leave it out")
    if kind == EXTRACT:
        check_cut(**output.cut)


def _check_tuned(request: Request) -> None:
    """What only adapters are for, where the inputs are whole models."""
    tuned = [name for name, each in request.inputs.items() if each.tuned]
    if not tuned:
        return
    if request.kind != FUSE:
        what = f"{tuned[0]} is a tuned model: it is merged with others into their base"
        raise OptionError(
            what, hint="name that, and no adapter as the output; adapterops extract makes an adapter of one"
        )
    if len(tuned) < len(request.inputs):
        adapter = next(each.path for each in request.inputs.values() if not each.tuned)
        raise OptionError(
            f"{tuned[0]} is a tuned model, and {adapter} an adapter: one merge takes models or adapters",
            hint=f"fuse the adapter first, with adapterops fuse BASE {quote(adapter)} -o fused, and merge --tuned fused",
        )


def _check_codes(request: Request) -> None:
    """What contradicts itself about a quantized base, whatever it is."""
    if request.base_view == ORIGINAL and request.original is None:
        raise OptionError(
            "--base-view original needs the model that the base was quantized from", hint="name it with --original"
        )
    if request.original is not None and request.base_view != DEQUANTIZED and request.rounding is not None:
        path = request.base.path if request.base else None
        raise OptionError(
            "--rounding keeps the codes of the base, and --original computes new ones",
            path=path,
            hint="leave one of them out",
        )
    if (request.rounding == CALIBRATED) != (request.grams is not None):
        raise OptionError(
            "--rounding calibrated and --grams need each other",
            hint="give both --rounding calibrated and --grams FILE, which adapterops gram makes; or, for a merge by the inputs of "
            "each adapter, --regmean and one --grams FILE for each",
        )
    if request.seed is not None and request.rounding != STOCHASTIC:
        raise OptionError(
            "the seed is that of stochastic rounding", hint="add rounding: stochastic; methods have a seed of their own"
        )


def spelled(most: str | None) -> str | None:
    """A budget in one way of the several that it can be written in.

    >>> spelled("2M"), spelled("1.5kB")
    ('2000000', '1500B')
    """
    number, unit = budget(most)
    return None if number is None else f"{number}B" if unit == "bytes" else str(number)
