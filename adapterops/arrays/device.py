"""Arrays on a device: what is written for numpy is computed there, by torch.

numpy asks an array that is not its own what its functions are of it (NEP 13 and 18), and these have torch compute them, in
the dtypes that numpy would. So a method is written once. What has no counterpart here is an error: nothing is computed
elsewhere than was asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import DTypeLike, NDArray

from adapterops.arrays.scratch import scratch
from adapterops.arrays.transfer import Transfer, transfer
from adapterops.errors import ResourceError, UnsupportedError

if TYPE_CHECKING:
    from torch import Tensor

SMALL = 512
"""A matrix with fewer rows or columns is decomposed by a processor: a GPU has little to do at a time in such a one, and waits
between the steps. It is sent there and back in less time than that takes.
"""

LEAVE = "leave --device out"

NAMES = {"invert": "bitwise_not", "equal": "eq", "power": "pow"}
"""Functions that torch has under another name; `torch.equal` is another one."""

ELEMENTWISE = {
    *("absolute", "negative", "sign", "square", "sqrt", "exp", "log", "isfinite", "isnan", "invert", "logical_not"),
    *("add", "subtract", "multiply", "divide", "power", "maximum", "minimum", "matmul"),
    *("greater", "greater_equal", "less", "less_equal", "equal", "not_equal"),
    *("bitwise_and", "bitwise_or", "bitwise_xor", "logical_and", "logical_or", "logical_xor"),
}


Function = TypeVar("Function", bound=Callable[..., Any])


def _as_declared(function: Function, name: str = "") -> Function:
    """A function of numpy, or a method of its arrays, that is not computed with other options than it declares."""
    declared = signature(function)

    def called(*arguments: Any, **options: Any) -> Any:
        try:
            declared.bind(*arguments, **options)
        except TypeError as error:
            what = name or f"{function.__name__} of an array"
            raise _unsupported(f"{what} with other options than {declared}") from error
        return function(*arguments, **options)

    return wraps(function)(called)  # type: ignore[return-value]  # of the same signature


class DeviceArray(NDArrayOperatorsMixin):
    """An array on a device, and the way there of the thread that computes with it."""

    __slots__ = ("tensor", "way")

    def __init__(self, tensor: Tensor, way: Transfer) -> None:
        self.tensor, self.way = tensor, way

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def ndim(self) -> int:
        return self.tensor.ndim

    @property
    def size(self) -> int:
        return self.tensor.numel()

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(str(self.tensor.dtype).removeprefix("torch."))

    @property
    def T(self) -> DeviceArray:
        return self._as(self.tensor.T)

    def __len__(self) -> int:
        return len(self.tensor)

    def __float__(self) -> float:
        return float(self.tensor.item())

    def __bool__(self) -> bool:
        return bool(self.tensor.item())

    def __repr__(self) -> str:
        return f"<{self.dtype} {list(self.shape)} on {self.way.device}>"

    def __getitem__(self, key: Any) -> DeviceArray:
        return self._as(self.tensor[_tensors(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.tensor[_tensors(key)] = _tensors(value)

    @_as_declared
    def astype(self, dtype: DTypeLike, copy: bool = True) -> DeviceArray:
        return self._as(self.tensor.to(_torch(dtype), copy=copy))

    @_as_declared
    def copy(self) -> DeviceArray:
        return self._as(self.tensor.clone())

    @_as_declared
    def view(self, dtype: DTypeLike) -> DeviceArray:
        return self._as(self.tensor.view(_torch(dtype)))

    @_as_declared
    def reshape(self, *shape: int) -> DeviceArray:
        return self._as(self.tensor.reshape(*shape))

    @_as_declared
    def sum(self, *, dtype: DTypeLike | None = None) -> Any:
        return home(self).sum(dtype=dtype) if self.ndim == 1 else self._as(self.tensor.reshape(-1)).sum(dtype=dtype)

    @_as_declared
    def max(self, *, initial: float) -> Any:
        """The largest, or `initial`, as a number here; NaN where one is."""
        return (
            np.maximum(self.dtype.type(self.tensor.amax().item()), self.dtype.type(initial)) if self.size else initial
        )

    @_as_declared
    def any(self) -> bool:
        return bool(self.tensor.any())

    def __getattr__(self, name: str) -> Any:
        """What an array of numpy has, and this one does not; nothing else has it, either."""
        if hasattr(np.ndarray, name) and not name.startswith("__"):
            raise _unsupported(f"{name} of an array")
        raise AttributeError(name)

    def __array__(self, *_: Any, **__: Any) -> NDArray[Any]:
        raise _unsupported("an array that is on a GPU is used as one of numpy")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = (), **how: Any) -> Any:
        unknown = how.keys() - {"dtype", "where", "casting"}
        if method != "__call__" or ufunc.__name__ not in ELEMENTWISE or unknown:
            raise _unsupported(f"numpy.{ufunc.__name__}{'' if method == '__call__' else '.' + method}", *unknown)
        import torch

        *loop, result = _dtypes(ufunc, inputs, how.get("dtype"))
        values = [self._operand(each, dtype) for each, dtype in zip(inputs, loop, strict=True)]
        found = getattr(torch, NAMES.get(ufunc.__name__, ufunc.__name__))(*values).to(_torch(result))
        if ufunc is np.sign:  # of NaN it is 0 in torch
            found = torch.where(values[0].isnan(), values[0], found)
        if not out:
            return self._as(found)
        (into,) = out
        if "where" in how:
            found = torch.where(_tensors(how["where"]), found, _tensors(into))
        if isinstance(into, DeviceArray):
            into.tensor.copy_(found)
        else:
            self.way.fetch(found.contiguous(), into)
        return into

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = f"{function.__module__}.{function.__name__}"
        if function not in FUNCTIONS:
            raise _unsupported(name)
        return _as_declared(FUNCTIONS[function], name)(*args, **kwargs)

    def _as(self, tensor: Tensor) -> DeviceArray:
        return DeviceArray(tensor, self.way)

    def _operand(self, value: Any, dtype: np.dtype[Any]) -> Tensor:
        """An operand in a dtype. Only numbers may come from here: what else does is slow, and a mistake.

        A number becomes a tensor there: by one that is here, torch's kernel for CUDA divides as it multiplies by the reciprocal, and
        rounds twice.
        """
        import torch

        if isinstance(value, DeviceArray):
            return value.tensor.to(_torch(dtype))
        if isinstance(value, np.ndarray) and value.ndim:
            raise _unsupported(f"an array of numpy {value.shape}, which was not sent first, with one {self.shape}")
        return torch.full(
            (), value.item() if hasattr(value, "item") else value, dtype=_torch(dtype), device=self.tensor.device
        )


Either = NDArray[Any] | DeviceArray


def _unsupported(what: str, *more: str) -> UnsupportedError:
    return UnsupportedError(f"{' '.join((what, *more))}: this is not computed on a GPU", hint=LEAVE, code="E-DEVICE")


def _torch(dtype: DTypeLike) -> Any:
    import torch

    return getattr(torch, np.dtype(dtype).name)


def _tensors(value: Any) -> Any:
    """Arrays as tensors, also in the parts of an index; all else as it is."""
    if isinstance(value, tuple):
        return tuple(map(_tensors, value))
    return value.tensor if isinstance(value, DeviceArray) else value


def _dtypes(ufunc: np.ufunc, inputs: Sequence[Any], dtype: DTypeLike | None) -> Sequence[np.dtype[Any]]:
    """Those that numpy would compute with."""
    if dtype is not None:
        return [np.dtype(dtype)] * (ufunc.nin + 1)
    kinds = [each.dtype if hasattr(each, "dtype") else type(each) for each in inputs]
    found: Sequence[np.dtype[Any]] = ufunc.resolve_dtypes((*kinds, *[None] * ufunc.nout))
    return found


class _Own(threading.local):
    way: Transfer | None = None
    to_the_bit: bool = False


_OWN = _Own()


@contextmanager
def computing(device: str, to_the_bit: bool = False, memory: int | None = None) -> Iterator[None]:
    """What this thread computes until the end of the block, it may compute on a device.

    Args:
        to_the_bit: but not what has other last bits there, of float32.
        memory: bytes of it that the work may take, as an error says.

    Raises:
        ResourceError: the device has too little memory.
    """
    import torch

    way, before = transfer(device), (_OWN.way, _OWN.to_the_bit)
    _OWN.way, _OWN.to_the_bit = way, to_the_bit
    try:
        with way.working():
            yield
    except torch.cuda.OutOfMemoryError as error:
        fact = "the GPU has too little memory" if memory is None else f"--memory allows {memory} bytes, also of the GPU"
        more = "" if memory is None else "allow more --memory, "
        raise ResourceError(
            f"{fact}: {str(error).partition('. ')[0]}", hint=f"{more}take fewer --workers, or leave --device out"
        ) from error
    finally:
        _OWN.way, _OWN.to_the_bit = before


def device(double: bool = False) -> Transfer | None:
    """The way to the device that this thread computes on; None for the processor.

    Args:
        double: for what is computed in float64, whose last bits hardly any number in float32 depends on.
    """
    return _OWN.way if double or not _OWN.to_the_bit else None


def sent(array: Either, way: Transfer | None) -> Any:
    """An array where a way leads, or where it is already."""
    if way is None or isinstance(array, DeviceArray):
        return array
    return DeviceArray(way.there(np.ascontiguousarray(array)), way)


def placed_like(array: Either, other: Either) -> Any:
    """An array where another one is, if that is on a device."""
    return sent(array, way_of(other))


def empty(shape: Sequence[int], dtype: DTypeLike, way: Transfer | None) -> Any:
    """Memory where a way leads, with anything in it."""
    if way is None:
        return np.empty(shape, dtype)
    import torch

    return DeviceArray(torch.empty(tuple(shape), dtype=_torch(dtype), device=way.device), way)


def own(use: str, array: Any, dtype: DTypeLike | None = None) -> Any:
    """Memory of the shape of an array, where that is, with anything in it: for what no function hands out. Of numpy it is this
    thread's, used again: what one thread has freed and another one takes is in the cache of the wrong processor.
    """
    if way := way_of(array):
        return empty(array.shape, dtype or array.dtype, way)
    return scratch().array(use, array.shape, dtype or array.dtype)


def way_of(array: Any) -> Transfer | None:
    """The way to where an array is; None for one of numpy."""
    return array.way if isinstance(array, DeviceArray) else None


def home(array: Any) -> NDArray[Any]:
    """The same numbers in an array of numpy."""
    if not isinstance(array, DeviceArray):
        found: NDArray[Any] = array
        return found
    return array.way.fetch(array.tensor.contiguous(), np.empty(array.shape, array.dtype))


def _one_there(arrays: Sequence[Any]) -> DeviceArray:
    """The first of some arrays that is on a device: the others are to be there, too."""
    return next(each for each in arrays if isinstance(each, DeviceArray))


def _of_several(name: str) -> Callable[..., Any]:
    def function(arrays: Sequence[Either], axis: int = 0) -> DeviceArray:
        import torch

        there, dtype = _one_there(arrays), np.result_type(*(each.dtype for each in arrays))
        return there._as(getattr(torch, name)([there._operand(each, dtype) for each in arrays], dim=axis))

    return function


def _decomposed(name: str) -> Callable[..., Any]:
    """One of numpy.linalg: by torch, or for a small matrix by numpy itself, and sent back."""

    def function(array: DeviceArray, **options: Any) -> Any:
        if min(array.shape) < SMALL:
            found = getattr(np.linalg, name)(home(array), **options)
            return (
                tuple(sent(each, array.way) for each in found) if isinstance(found, tuple) else sent(found, array.way)
            )
        import torch

        try:
            there = getattr(torch.linalg, name)(array.tensor, **options)
        except TypeError as error:
            raise _unsupported(f"numpy.linalg.{name} with", *options) from error
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # documented, and not exported
            raise np.linalg.LinAlgError(str(error)) from error
        return tuple(map(array._as, there)) if isinstance(there, tuple) else array._as(there)

    return function


def _variance(array: DeviceArray, axis: int) -> Any:
    """In the order in which numpy adds: its bits."""
    if axis != 0:
        raise _unsupported("numpy.var along another axis than the first")
    count, mean = len(array), array[0]
    for index in range(1, count):
        mean = mean + array[index]
    mean = mean / count
    squares = [np.square(array[index] - mean) for index in range(count)]
    for each in squares[1:]:
        squares[0] += each
    return squares[0] / count


def _zeros(array: DeviceArray) -> DeviceArray:
    import torch

    return array._as(torch.zeros_like(array.tensor))


def _where(condition: Either, one: Any, other: Any) -> DeviceArray:
    import torch

    there = _one_there((condition, one, other))
    dtype = np.result_type(*(each.dtype if isinstance(each, DeviceArray) else each for each in (one, other)))
    whether = there._operand(condition, np.dtype(bool))
    return there._as(torch.where(whether, there._operand(one, dtype), there._operand(other, dtype)))


def _sorted_places(array: DeviceArray, axis: int = -1, kind: str | None = None) -> DeviceArray:
    return array._as(array.tensor.argsort(dim=axis, stable=True))


def _copied(into: Any, array: Any) -> None:
    if isinstance(into, DeviceArray):
        into.tensor.copy_(placed_like(array, into).tensor if isinstance(array, np.ndarray) else array.tensor)
    else:
        array.way.fetch(array.tensor.contiguous(), into)


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.zeros_like: _zeros,
    np.where: _where,
    np.copyto: _copied,
    np.var: _variance,
    np.argsort: _sorted_places,
    np.stack: _of_several("stack"),
    np.concatenate: _of_several("cat"),
    np.count_nonzero: lambda array: int(array.tensor.count_nonzero()),
    np.flatnonzero: lambda array: array._as(array.tensor.reshape(-1).nonzero().reshape(-1)),
    np.linalg.norm: lambda array: float(array.tensor.norm()),
    **{getattr(np.linalg, name): _decomposed(name) for name in ("svd", "qr", "eigvalsh", "cholesky", "inv")},
}
"""What torch computes of functions of numpy that are not elementwise."""
