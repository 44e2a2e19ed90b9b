"""Arrays on a device have the bits that numpy computes; and what is not computed there is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from pretended import Gpu, pretend

from adapterops.arrays import device as module
from adapterops.arrays.device import ELEMENTWISE, DeviceArray, computing, device, empty, home, placed_like, sent, way_of
from adapterops.engine import local
from adapterops.engine.execution import Execution
from adapterops.errors import ResourceError, UnsupportedError

random = np.random.default_rng(0)
X, Y = random.standard_normal((2, 5, 7)).astype(np.float32)
X[0, :3] = [0.0, -0.0, np.nan]
WHETHER = X > 0
NEARLY = {"exp", "log", "power", "sqrt", "matmul"}
"""What libraries round as they like; all else has one right answer."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    with monkeypatch.context() as patch:
        gpu = pretend(patch)
        with computing("cuda"):
            yield gpu


def same(function: Callable[..., Any], *arrays: Any, exact: bool = True) -> None:
    """A function of arrays on a device is what it is of those of numpy, in values and dtype."""
    with np.errstate(all="ignore"):
        expected = function(*arrays)
    found = function(*(sent(each, device()) if isinstance(each, np.ndarray) and each.ndim else each for each in arrays))
    found = home(found)
    assert found.dtype == expected.dtype
    if exact:
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=3e-7, atol=3e-6)


def operands(ufunc: np.ufunc) -> list[tuple[Any, ...]]:
    if ufunc.nin == 1:
        return [(WHETHER,)] if ufunc is np.logical_not else [(X,), *([(WHETHER,)] if ufunc is np.invert else [])]
    if ufunc is np.matmul:
        return [(Y, Y.T)]
    if ufunc.__name__.startswith(("bitwise", "logical")):
        return [(WHETHER, Y > 0)]
    more = [] if ufunc is np.subtract else [(X, WHETHER)]
    if ufunc is np.power:
        return [(np.abs(Y), 2.0)]
    return [(X, Y), (X, 0.3), (2, Y), (X, np.float64(0.1)), (X, np.float32(0.1)), (X, Y.astype(np.float64)), *more]


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_functions_of_entries_have_the_bits_of_numpy(name: str, gpu: Gpu) -> None:
    ufunc = getattr(np, name)
    for arrays in operands(ufunc):
        if ufunc is np.invert and arrays[0].dtype != bool:
            arrays = (arrays[0].view(np.int32),)
        same(ufunc, *arrays, exact=name not in NEARLY)


@pytest.mark.parametrize(
    "function",
    [
        np.zeros_like,
        lambda x: np.var(np.stack([x, 2 * x, x * x]), axis=0),
        lambda x: np.argsort(np.argsort(x, axis=1, kind="stable"), axis=1, kind="stable"),
        lambda x: np.concatenate([x, x], axis=1),
        lambda x: np.where(x > 0, x, 0.0),
        lambda x: np.where(x > 0, 1.0, 0.0),
        lambda x: np.where(x > 0, x, np.float64(0.1)),
        lambda x: np.where(x > 0, x, (x > 0).view(np.uint8)),
        lambda x: np.where(np.True_, x, 0.0),
        lambda x: np.stack([x, x.astype(np.float64)]),
        lambda x: x[np.flatnonzero(x[:, 0] > 0)],
        lambda x: x[1:, ::2].T.reshape(-1),
        lambda x: (x > 0).view(np.uint8) + (x < 0.5).view(np.uint8),
        lambda x: np.divide(x, x > 0, out=np.zeros_like(x), where=x > 0),
        lambda x: np.multiply((x > 0).view(np.uint8), 0.3, dtype=np.float32),
        lambda x: x.astype(np.float64) / 3,
        lambda x: np.asarray(x[1:].reshape(-1).sum(dtype=np.float64)),
        lambda x: np.asarray(x[1:].max(initial=0.0)),
        lambda x: np.asarray(x.max(initial=0.0)),
        lambda x: np.asarray(np.count_nonzero(x)),
        lambda x: np.asarray((x > 0).any()),
    ],
)
def test_other_functions_do_too(function: Callable[[Any], Any], gpu: Gpu) -> None:
    same(function, X)


def test_what_is_written_to_changes_where_it_is(gpu: Gpu) -> None:
    there = sent(X.copy(), device())
    np.multiply(there, 2, out=there)
    there[1] = 0.0
    there[2:] += there[2:]
    expected = 2 * X
    expected[1], expected[2:] = 0, expected[2:] * 2
    np.testing.assert_array_equal(home(there), expected)
    here = np.empty_like(X)
    assert np.multiply(there, 1.0, out=here) is here
    np.testing.assert_array_equal(here, expected)
    np.copyto(there, X)
    np.copyto(here, there)
    np.testing.assert_array_equal(here, X)
    assert (len(there), there.ndim, there.size) == (5, 2, 35)
    assert repr(there) == "<float32 [5, 7] on cuda>"


@pytest.mark.parametrize("small", [1, 100])
def test_decompositions_are_done_there_where_they_are_large(
    small: int, gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SMALL", small)
    W = sent(random.standard_normal((9, 6)), device())
    before = gpu.returned
    u, s, vt = np.linalg.svd(W, full_matrices=False)
    assert (gpu.returned > before) == (small > 6)
    Q, R = np.linalg.qr(W)
    np.testing.assert_allclose(home((u * s) @ vt), home(W), atol=1e-13)
    np.testing.assert_allclose(home(Q @ R), home(W), atol=1e-13)
    gram = W.T @ W
    np.testing.assert_allclose(home(np.linalg.eigvalsh(gram))[::-1], home(s) ** 2)
    L = np.linalg.cholesky(gram)
    np.testing.assert_allclose(home(L @ L.T), home(gram))
    np.testing.assert_allclose(home(np.linalg.inv(L) @ L), np.eye(6), atol=1e-12)
    assert np.linalg.norm(W) == pytest.approx(np.linalg.norm(home(W)))
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(-1.0 * gram)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda x: np.cumsum(x), "numpy.cumsum"),
        (lambda x: np.arctan(x), "numpy.arctan"),
        (lambda x: np.add.reduce(x), "numpy.add.reduce"),
        (lambda x: np.asarray(x), "used as one of numpy"),
        (lambda x: np.var(np.stack([x, x]), axis=1), "numpy.var"),
        (lambda x: np.add(x, x, order="C"), "numpy.add order"),
        (lambda x: x.mean(), "mean of an array"),
        (lambda x: x.min(), "min of an array"),
        (lambda x: x.all(), "all of an array"),
        (lambda x: x.max(), "max of an array"),
        (lambda x: x.max(0, initial=0.0), "max of an array"),
        (lambda x: x.sum(0), "sum of an array"),
        (lambda x: x.any(axis=0), "any of an array"),
        (lambda x: x.reshape(7, 5, order="F"), "reshape of an array"),
        (lambda x: np.linalg.norm(x, axis=1), "numpy.linalg.norm"),
        (lambda x: np.zeros_like(x, dtype=np.float64), "numpy.zeros_like"),
        (lambda x: np.where(x), "numpy.where"),
        (lambda x: np.where(WHETHER, x, 0), r"an array of numpy \(5, 7\)"),
        (lambda x: np.where(x > 0, Y, 0), r"an array of numpy \(5, 7\)"),
        (lambda x: np.stack([Y, x]), r"an array of numpy \(5, 7\)"),
    ],
)
def test_what_has_no_counterpart_is_an_error(wrong: Callable[[Any], Any], named: str, gpu: Gpu) -> None:
    with pytest.raises(UnsupportedError, match=named) as caught:
        wrong(sent(X, device()))
    assert (caught.value.code, caught.value.hint) == ("E-DEVICE", "leave --device out")


def test_nothing_is_sent_unnoticed(gpu: Gpu) -> None:
    there = sent(X, device())
    for wrong in (lambda: there + Y, lambda: Y * there):
        with pytest.raises(UnsupportedError, match="was not sent first"):
            wrong()


def test_what_no_array_has_is_a_mistake(gpu: Gpu) -> None:
    with pytest.raises(AttributeError, match="meen"):
        sent(X, device()).meen()
    assert not hasattr(sent(X, device()), "__array_interface__")


def test_an_option_that_torch_has_not_is_an_error(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL", 1)
    with pytest.raises(UnsupportedError, match=r"numpy\.linalg\.svd with compute_uv"):
        np.linalg.svd(sent(Y, device()), compute_uv=False)


def test_where_this_thread_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device() is device(double=True) is None
    assert sent(X, None) is X
    assert home(X) is X
    assert placed_like(X, Y) is X
    assert way_of(X) is None
    assert empty((2,), np.float32, None).shape == (2,)
    pretend(monkeypatch)
    with computing("cuda"):
        there = sent(X, device())
        assert isinstance(there, DeviceArray)
        assert way_of(placed_like(Y, there)) is device() is not None
        with computing("cuda", to_the_bit=True):
            assert device() is None
            assert device(double=True) is way_of(there)
        assert device() is way_of(there)
    assert device() is None


def test_too_little_memory_is_named(gpu: Gpu) -> None:
    with pytest.raises(ResourceError, match="too little memory: CUDA out of memory") as caught, computing("cuda"):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB. GPU 0 has ...")
    assert "--workers" in str(caught.value.hint)


def test_what_allows_no_more_memory_is_named(gpu: Gpu) -> None:
    def work(item: int) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB. GPU 0 has ...")

    with pytest.raises(ResourceError, match="--memory allows 1000 bytes, also of the GPU: CUDA") as caught:
        list(local.run(work, [1], how=Execution(1, "cuda", memory=1000)))
    assert "allow more --memory" in str(caught.value.hint)
