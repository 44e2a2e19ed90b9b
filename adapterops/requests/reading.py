"""How a request is read from JSON or YAML: strictly.
What is unknown, ambiguous or impossible is named with its place.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from adapterops.arrays.dtypes import ALIASES, FLOATS, WIDE
from adapterops.errors import InputError, OptionError
from adapterops.expressions.expression import check_name, parse
from adapterops.expressions.functions import nearest
from adapterops.formats.registry import written as writable
from adapterops.operations.extraction import REST
from adapterops.operations.fusion import PRECISIONS
from adapterops.operations.tensor_types import typed
from adapterops.provenance.reader import OUTPUT, REQUEST, TRUTH
from adapterops.quant.registry import written
from adapterops.quant.scheme import ROUNDINGS
from adapterops.regex import Regex
from adapterops.requests.amounts import size
from adapterops.requests.fields import NAMES, VIEWS, Extract, Input, Layers, Model, Output, Quantize
from adapterops.requests.request import Request, spelled
from adapterops.storage.checksums import BLAKE3, SHA256

if TYPE_CHECKING:
    from adapterops.storage.strict_yaml import Marks, Place

ALGORITHMS = {BLAKE3: "b3sum", SHA256: "sha256sum"}
"""Hashes that identify an input, and what prints them."""

MODEL = ("path", *ALGORITHMS)
ADAPTER = (*MODEL, "alpha", "allow_nonfinite", "component", "tuned", "grams")
TRUTHS = tuple(name for name, kind in REQUEST.items() if kind is TRUTH)
DTYPES = {
    **{short: short for short in FLOATS},
    **{long: short for short, long in FLOATS.items()},
    **ALIASES,
    **{short.lower(): short for short in FLOATS},
    WIDE: WIDE,
    WIDE.lower(): WIDE,
}
SHOWN = 80
"""Characters of a value that a message shows."""

HASH = Regex(r"[0-9a-f]{64}")


def read_request(fields: Any) -> Request:
    """The request that `Request.as_json` wrote.

    Raises:
        OptionError: a field is unknown, missing or impossible; the message names it.
    """
    return Reader("the request").request(fields)


def stated_request(fields: Any) -> Request:
    """The same of a request that a file of ours has, which nobody typed.

    Raises:
        InputError: it is none.
    """
    try:
        return read_request(fields)
    except OptionError as error:
        raise InputError(error.message, hint="make the output again", code=error.code) from error


class Reader:
    """Checks fields. Each method takes the place of what it checks, for messages.

    Args:
        whole: how messages call all of it.
        marks: line and column of each place, where they are known.
    """

    def __init__(self, whole: str, marks: Marks | None = None, code: str = "E-REQUEST") -> None:
        self._whole, self._marks, self._code = whole, marks or {}, code

    def request(self, fields: Any) -> Request:
        top = self.table((), fields, REQUEST)
        if not any(top.get(name) for name in ("extract", "dequantize", "stack")) and (
            top.get("quantize") is None or "inputs" in top
        ):
            self.table((), top, REQUEST, ("inputs", "result"))
        names = {} if top.get("inputs") is None else top["inputs"]
        if not isinstance(names, dict) or (not names and "inputs" in top):
            self.fail(("inputs",), "needs a name and a path for each adapter", "such as inputs: {a: runs/a, b: runs/b}")
        for name in names:
            self.at(("inputs", name), check_name, name)
        result = self.optional(("result",), top, self.text)
        request: Request = self.at(
            (),
            Request,
            inputs={name: self._input(("inputs", name), value) for name, value in names.items()},
            result=None if result is None else self.at(("result",), parse, result, names),
            base=self.optional(("base",), top, self._model),
            extract=self.optional(("extract",), top, self._extract),
            original=self.optional(("original",), top, self._model),
            base_view=self._choice(("base_view",), top.get("base_view"), VIEWS),
            rounding=self._choice(("rounding",), top.get("rounding"), ROUNDINGS),
            seed=self.optional(("seed",), top, self._whole_number),
            grams=self.optional(("grams",), top, self._model),
            precision=self._choice(("precision",), top.get("precision"), PRECISIONS) or PRECISIONS[0],
            quantize=self.optional(("quantize",), top, self._quantize),
            stack=self.optional(("stack",), top, self._stack) or (),
            output=self._output(top.get("output")),
            **{name: self.truth((name,), top.get(name)) for name in TRUTHS},
        )
        return request

    def where(self, place: Place) -> str:
        """The line and the column, where they are known, and the names of what encloses it."""
        line, column = self._marks.get(place, (0, 0))
        names = ".".join(_shown(str(name)) for name in place)
        return (f"line {line}, column {column}: " if line else "") + (names or self._whole)

    def fail(self, place: Place, fact: str, hint: str | None = None) -> NoReturn:
        raise OptionError(f"{self.where(place)} {fact}", hint=hint, code=self._code)

    def at(self, place: Place, check: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """What `check` returns; what it raises gets the place."""
        try:
            return check(*arguments, **named)
        except OptionError as error:
            error.message = f"{self.where(place)}: {error.message}"
            raise

    def table(self, place: Place, fields: Any, known: Collection[str], needed: Sequence[str] = ()) -> dict[str, Any]:
        if not isinstance(fields, dict):
            self.fail(place, f"is {_kind(fields)}, expected fields: {', '.join(known)}")
        if not place and needed and fields and not set(fields) & {*known}:
            self.fail(
                place, f"has no {needed[0]}", f"is it the right file? It has {', '.join(map(str, [*fields][:4]))} ..."
            )
        for name in fields:
            if name not in known:
                self.fail((*place, name), "is unknown", nearest(str(name), known))
        for name in needed:
            if fields.get(name) is None:
                self.fail(place, f"has no {name}", f"it has {', '.join(fields)}" if fields else None)
        return fields

    def optional(self, place: Place, fields: Mapping[str, Any], read: Callable[[Place, Any], Any]) -> Any:
        """What `read` makes of the field that `place` ends with; None where it is missing."""
        value = fields.get(str(place[-1]))
        return None if value is None else read(place, value)

    def text(self, place: Place, value: Any) -> str:
        if not isinstance(value, str) or not value:
            self.fail(place, f"is {_kind(value)}, expected text", "text that looks like something else goes in quotes")
        if "\0" in value or value != value.encode("utf-8", "replace").decode():
            what = "the character NUL" if "\0" in value else "half of a surrogate pair"
            self.fail(place, f"is {_kind(value)}, which has {what}", "write it without that")
        return value

    def truth(self, place: Place, value: Any) -> bool:
        if value is not None and not isinstance(value, bool):
            self.fail(place, f"is {_kind(value)}, expected true or false")
        return bool(value)

    def _number(self, place: Place, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(place, f"is {_kind(value)}, expected a number")
        return float(value)

    def _whole_number(self, place: Place, value: Any) -> int:
        if type(value) is not int or abs(value) > sys.maxsize:
            self.fail(place, f"is {_kind(value)}, expected a whole number")
        return value

    def _choice(self, place: Place, value: Any, known: Collection[str]) -> str | None:
        if value is not None and (not isinstance(value, str) or value not in known):
            self.fail(place, f"is {_kind(value)}, expected one of {', '.join(known)}", nearest(str(value), known))
        chosen: str | None = value
        return chosen

    def _model(self, place: Place, value: Any) -> Model:
        if isinstance(value, str):
            return Model(self.text(place, value))
        fields = self.table(place, value, MODEL, ("path",))
        return Model(self.text((*place, "path"), fields["path"]), self._hashes(place, fields))

    def _input(self, place: Place, value: Any) -> Input:
        if isinstance(value, str):
            return Input(self.text(place, value))
        if value is None:
            self.fail(place, "is missing, expected the path of an adapter")
        fields = self.table(place, value, ADAPTER, ("path",))
        read: Input = self.at(
            place,
            Input,
            self.text((*place, "path"), fields["path"]),
            self._hashes(place, fields),
            self.optional((*place, "alpha"), fields, self._number),
            self.truth((*place, "allow_nonfinite"), fields.get("allow_nonfinite")),
            self.optional((*place, "component"), fields, self.text),
            self.truth((*place, "tuned"), fields.get("tuned")),
            self.optional((*place, "grams"), fields, self._model),
        )
        return read

    def _hashes(self, place: Place, fields: Mapping[str, Any]) -> dict[str, str | Mapping[str, str]]:
        """The hashes that an input is to have, by algorithm."""
        found: dict[str, str | Mapping[str, str]] = {}
        for algorithm in ALGORITHMS:
            stated, where = fields.get(algorithm), (*place, algorithm)
            if stated == {}:
                self.fail(where, "names no file, so that nothing would be compared", "leave it out, or name a file")
            if isinstance(stated, dict):
                found[algorithm] = {
                    name: self._digest((*where, name), each, algorithm) for name, each in stated.items()
                }
            elif stated is not None:
                found[algorithm] = self._digest(where, stated, algorithm)
        return found

    def _digest(self, place: Place, value: Any, algorithm: str) -> str:
        if not isinstance(value, str) or not HASH.fullmatch(value):
            hint = f"as {ALGORITHMS[algorithm]} prints them"
            self.fail(place, f"is {_kind(value)}, expected 64 hexadecimal digits in quotes", hint)
        return value

    def _extract(self, place: Place, value: Any) -> Extract:
        fields = self.table(place, value, ("tuned", "rest"), ("tuned",))
        rest = self._choice((*place, "rest"), fields.get("rest"), REST)
        return Extract(self._model((*place, "tuned"), fields["tuned"]), rest or REST[0])

    def _quantize(self, place: Place, value: Any) -> Quantize:
        if not isinstance(value, dict):
            return Quantize(str(self._choice(place, value, written())))
        fields = self.table(place, value, ("scheme", "double_quant", "block_size"), ("scheme",))
        return Quantize(
            str(self._choice((*place, "scheme"), fields["scheme"], written())),
            self.truth((*place, "double_quant"), fields.get("double_quant")),
            self.optional((*place, "block_size"), fields, self._whole_number),
        )

    def _stack(self, place: Place, value: Any) -> tuple[Layers, ...]:
        if not isinstance(value, list) or not value:
            self.fail(place, f"is {_kind(value)}, expected a list of layers: {{model: PATH, first: 0, end: 16}}")
        return tuple(self._layers((*place, index), each) for index, each in enumerate(value))

    def _layers(self, place: Place, value: Any) -> Layers:
        fields = self.table(place, value, ("model", "first", "end"), ("model", "first", "end"))
        first, end = (self._whole_number((*place, name), fields[name]) for name in ("first", "end"))
        return Layers(self._model((*place, "model"), fields["model"]), first, end)

    def _output(self, value: Any) -> Output:
        place = ("output",)
        fields = self.table(place, {} if value is None else value, OUTPUT)
        dtype = self._choice((*place, "dtype"), fields.get("dtype"), DTYPES)
        output: Output = self.at(
            place,
            Output,
            dtype=DTYPES[dtype] if dtype else None,
            format=self._choice((*place, "format"), fields.get("format"), writable()),
            adapter=self.truth((*place, "adapter"), fields.get("adapter")),
            names=self._choice((*place, "names"), fields.get("names"), NAMES),
            normalize=self.truth((*place, "normalize"), fields.get("normalize")),
            rank=self.optional((*place, "rank"), fields, self._whole_number),
            energy=self.optional((*place, "energy"), fields, self._number),
            budget=self.optional((*place, "budget"), fields, self._budget),
            exact=self.truth((*place, "exact"), fields.get("exact")),
            max_shard_size=self.optional((*place, "max_shard_size"), fields, self._size),
            tensor_types=self.optional((*place, "tensor_types"), fields, self._types) or (),
        )
        return output

    def _types(self, place: Place, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list):
            self.fail(place, f"is {_kind(value)}, expected a list of types, such as [ffn_down=Q8_0]")
        for index, each in enumerate(value):
            self.at((*place, index), typed, self.text((*place, index), each))
        return tuple(value)

    def _budget(self, place: Place, value: Any) -> str:
        if type(value) not in (int, str):
            self.fail(place, f"is {_kind(value)}, expected a number such as 500k, 2M (parameters) or 8MB (bytes)")
        return str(self.at(place, spelled, str(value)))

    def _size(self, place: Place, value: Any) -> int:
        if type(value) is int and 0 < value <= sys.maxsize:
            return value
        if not isinstance(value, str):
            self.fail(place, f"is {_kind(value)}, expected a size such as 500MB or 2GB")
        return int(self.at(place, size, value, str(place[-1])))


def _kind(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    return "missing" if value is None else json.dumps(value)[:SHOWN]


def _shown(name: str) -> str:
    """A name from a stranger, as a message may print it."""
    return name[:SHOWN] if name.isprintable() else repr(name)[:SHOWN]
