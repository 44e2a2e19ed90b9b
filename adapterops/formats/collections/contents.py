"""What the file of a collection says of its adapters and modules, checked: it may be a stranger's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapterops.arrays.collected import Own, Shared, Tables, expected, factors, sliced
from adapterops.arrays.rows import BITS, CODES, Rows, decode, held
from adapterops.errors import InputError, NotFoundError, at, count
from adapterops.storage.place import COLLECTION, SEPARATOR, Place
from adapterops.storage.strict import parse_json
from adapterops.storage.tensors import Spec, TensorFile

Array = NDArray[Any]

FORMAT, SCHEMA = "adapterops-collection", "1"
DTYPES = {
    "uint8": "U8",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "float32": "F32",
    "float64": "F64",
}
"""What files call the dtypes of the arrays."""
NONE = -1
"""The number of an adapter that does not have a module."""


@dataclass(frozen=True, eq=False)
class StoredModule:
    """One module: its shared part, where the codes of each update are, and for each adapter which of them it has, ‖ΔW‖_F
    and ‖ΔW - ΔW'‖_F as they were measured.
    """

    shared: Shared
    tables: Tables
    numbers: Array
    norms: Array
    errors: Array


@dataclass(frozen=True, eq=False)
class Collection:
    """An open collection: the config of each adapter by its name, the shape of each module, the error that was asked for, and
    what the arrays of each module are called. They are read when asked for.
    """

    file: TensorFile
    members: Mapping[str, Mapping[str, Any]]
    modules: Mapping[str, tuple[int, int]]
    error: float
    names: Mapping[str, set[str]]

    def number(self, member: str) -> int:
        """Which adapter has this name.

        Raises:
            NotFoundError: none has.
        """
        if member not in self.members:
            close = get_close_matches(member, self.members, n=1)
            raise NotFoundError(
                f"has no adapter {member!r} among its {len(self.members)}",
                path=self.file.path,
                hint=f"did you mean {close[0]}?"
                if close
                else f"adapterops show {quote(str(self.file.path.parent))} lists them",
            )
        return list(self.members).index(member)

    def stored(self, module: str) -> StoredModule:
        """What is known of a module.

        Raises:
            InputError: it is damaged, or contradicts itself.
        """
        with at(path=self.file.path, tensor=module):
            shared = self._shared(module)
            columns = [
                self._array(module, name, dtype, (len(self.members),))
                for name, dtype in (("numbers", np.int32), ("norms", np.float64), ("errors", np.float64))
            ]
            numbers, norms, errors = columns
            codes = int(numbers.max(initial=NONE)) + 1
            tables = Tables(
                self._array(module, "bits", np.uint8, (codes, shared.rows)),
                self._array(module, "own", np.int32, (codes, len(BITS))),
            )
            if numbers.min(initial=NONE) < NONE or not codes:
                raise _damaged("names updates that are missing")
            if not {*np.unique(tables.bits).tolist()} <= {0, *BITS} or tables.own.min(initial=0) < 0:
                raise _damaged("has rows with an impossible number of bits")
            if not (np.isfinite(norms).all() and np.isfinite(errors).all()):
                raise _damaged("has errors that are not numbers")
            wanted = {name: Spec(_short(dtype), shape) for name, (dtype, shape) in expected(tables, shared).items()}
            for name, spec in wanted.items():
                self._check(module, name, spec)
            known = {*wanted, "numbers", "norms", "errors", "bits", "own", "mean", *_SIDES}
            for name in self.names[module] - known:
                raise _damaged(f"has {name}, which does not belong to it")
            return StoredModule(shared, tables, numbers, norms, errors)

    def factors(self, module: str, stored: StoredModule, number: int) -> tuple[Array, Array]:
        """B (out, r) and A (r, in) of one of the updates of a module, in float32; what was damaged may not be finite."""
        own: Own = sliced(stored.tables, number, partial(self._rows, module))
        with np.errstate(all="ignore"):
            return factors(stored.shared, own)

    def _shared(self, module: str) -> Shared:
        height, width = shape = self.modules[module]
        sides: dict[str, Array] = {}
        for side, length in (("left", height), ("right", width)):
            for bits in (16, 32):
                name = f"{side}.{bits}"
                if f"{module}:{name}" in self.file.entries and side not in sides:
                    many = next(iter(self.file.entries[f"{module}:{name}"].shape), 0)
                    if not 0 < many <= length:
                        raise _damaged(f"shares {many} directions of {length}")
                    codes = self._array(module, name, CODES[bits], (many, held(length, bits)))
                    steps = self._array(module, f"{name}.step", np.float32, (many,))
                    sides[side] = decode(Rows(codes, steps), bits, length)
        shared = Shared(shape, **sides)
        if f"{module}:mean" not in self.file.entries:
            return shared
        return Shared(shape, **sides, mean=self._array(module, "mean", np.float32, (shared.rows, shared.width)))

    def _check(self, module: str, name: str, spec: Spec) -> None:
        entry = self.file.entries.get(f"{module}:{name}")
        if entry is None or entry.spec != spec:
            found = "nothing" if entry is None else f"{entry.dtype} {list(entry.shape)}"
            raise _damaged(f"{name} is {found}, expected {spec.dtype} {list(spec.shape)}")

    def _array(self, module: str, name: str, dtype: type[Any], shape: tuple[int, ...]) -> Array:
        self._check(module, name, Spec(_short(dtype), shape))
        return np.frombuffer(self.file.read(f"{module}:{name}"), dtype).reshape(shape)

    def _rows(self, module: str, name: str, begin: int, end: int) -> Array:
        key = f"{module}:{name}"
        entry = self.file.entries[key]
        row = entry.spec.bytes // entry.shape[0]
        dtype = np.dtype(next(each for each, short in DTYPES.items() if short == entry.dtype))
        return np.frombuffer(self.file.read(key, begin * row, end * row), dtype).reshape(end - begin, *entry.shape[1:])


_SIDES = {f"{side}.{bits}{end}" for side in ("left", "right") for bits in (16, 32) for end in ("", ".step")}


def open_collection(place: Place) -> Collection:
    """The collection at a place: its header is read, and nothing else.

    Raises:
        InputError: it is damaged, or not a collection of this version.
    """
    path = place.path / COLLECTION if place.folder else place.path
    file = place.open(path)
    with at(path=path):
        if file.metadata.get("format") != FORMAT:
            raise InputError(
                f"does not say that it is a collection (format {FORMAT})", hint="compress the adapters again"
            )
        if file.metadata.get("schema") != SCHEMA:
            raise InputError(
                f"has schema {file.metadata.get('schema')!r}, and {SCHEMA!r} is read",
                hint="update adapterops, or compress the adapters again",
            )
        content = parse_json(file.metadata.get("collection", "").encode())
        members, modules, error = _fields(content)
        names: dict[str, set[str]] = {module: set() for module in modules}
        for key in file.entries:
            module, _, name = key.rpartition(":")
            if module not in modules:
                raise _damaged(f"has tensors of {module[:80]!r}, which is not one of its modules")
            names[module].add(name)
    return Collection(file, members, modules, error, names)


def described(
    members: Mapping[str, Mapping[str, Any]], modules: Mapping[str, tuple[int, int]], error: float
) -> dict[str, Any]:
    """What `open_collection` reads in the header."""
    return {"error": error, "members": dict(members), "modules": {name: list(shape) for name, shape in modules.items()}}


def _fields(content: Any) -> tuple[dict[str, Any], dict[str, tuple[int, int]], float]:
    if not isinstance(content, dict) or content.keys() != {"error", "members", "modules"}:
        raise _damaged("its header does not have exactly error, members and modules")
    members, modules, error = content["members"], content["modules"], content["error"]
    if isinstance(error, bool) or not isinstance(error, int | float) or not 0 < error < math.inf:
        raise _damaged("its error is not a number above 0")
    if not isinstance(members, dict) or not members or not all(isinstance(each, dict) for each in members.values()):
        raise _damaged("its members are not configs by names")
    for name in members:
        check_member(name)
    if not isinstance(modules, dict) or not modules or not all(map(_shape, modules.values())):
        raise _damaged("its modules are not shapes by names")
    return members, {name: (shape[0], shape[1]) for name, shape in modules.items()}, float(error)


def check_member(name: str) -> None:
    """Raise InputError for a name that could not be given after a path."""
    if (
        not name
        or not name.isprintable()
        or any(letter in name for letter in f"{SEPARATOR}/\\=")
        or name.strip() != name
    ):
        raise InputError(
            f"{name[:80]!r} cannot be the name of an adapter in a collection", hint="give it another: NAME=SOURCE"
        )


def _short(dtype: type[Any]) -> str:
    return DTYPES[np.dtype(dtype).name]


def _shape(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and all(type(each) is int and 0 < each < 1 << 31 for each in value)
    )


def _damaged(fact: str) -> InputError:
    return InputError(fact, hint="the collection is damaged: compress the adapters again", code="E-COLLECTION")


def listed(collection: Collection) -> Iterator[tuple[str, StoredModule]]:
    """All modules, with what is known of each."""
    for module in collection.modules:
        yield module, collection.stored(module)


def is_a_collection(collection: Collection, place: Place) -> InputError:
    """What is raised where one adapter is expected, and a collection was named."""
    first = next(iter(collection.members))
    hint = f"name one, such as {place}{SEPARATOR}{first}; adapterops show {quote(str(place))} lists them"
    if place.remote:
        hint = f"download it, and name one: adapterops pull {quote(str(place))} -o many, and many{SEPARATOR}{first}"
    return InputError(
        f"is a collection of {count(len(collection.members), 'adapter')}, where one adapter is expected",
        path=place,
        hint=hint,
        code="E-COLLECTION",
    )
