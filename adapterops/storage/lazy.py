"""A mapping whose keys are known and whose values are computed when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, NoReturn, TypeVar

Value = TypeVar("Value")


def itself(each: Value, memo: object = None) -> Value:
    """The copy of what never changes."""
    return each


def not_pickled(each: object) -> NoReturn:
    """Raise TypeError: other processes open files by themselves."""
    kind = type(each).__name__
    raise TypeError(
        f"{kind} reads its files when a value is asked for, and is not pickled: pass the path, and open it there"
    )


class Lazy(Mapping[str, Value], Generic[Value]):
    """`compute(key)` for each of `keys`, on every access: nothing is kept.

    >>> squares = Lazy(["2", "3"], lambda key: int(key) ** 2)
    >>> squares["3"], list(squares), "4" in squares
    (9, ['2', '3'], False)
    """

    def __init__(self, keys: Iterable[str], compute: Callable[[str], Value]) -> None:
        self._keys = dict.fromkeys(keys)
        self._compute = compute

    def __getitem__(self, key: str) -> Value:
        if key not in self._keys:
            raise KeyError(key)
        return self._compute(key)

    def __contains__(self, key: object) -> bool:  # not through __getitem__, which would compute the value
        return key in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
