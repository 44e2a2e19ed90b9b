from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import numpy as np
import pytest
import torch
from strategies import entries as matrix
from strategies import low_rank

from adapterops.arrays.parallel import Crew, working
from adapterops.linalg.factor import all_entries
from adapterops.methods import entries, thresholds
from adapterops.methods.entries import Entries, ModelEntries
from adapterops.methods.holding import Holding, hold
from adapterops.methods.registry import find
from adapterops.methods.tiles import Tile
from adapterops.methods.vocabulary import trim
from adapterops.updates.dense import Dense
from adapterops.updates.difference import Difference
from adapterops.updates.lowrank import LowRank
from adapterops.updates.merged import Merged, Tiling
from adapterops.updates.protocol import Linear

DENSITIES = [0.0, 0.013, 0.2, 0.5, 0.999, 1.0]


def trimmed(W: torch.Tensor, keep: int) -> torch.Tensor:
    """The `keep` largest magnitudes, of equal ones the first: by a stable sort."""
    flat = W.flatten()
    order = torch.sort(flat.abs(), descending=True, stable=True).indices[:keep]
    kept = torch.zeros_like(flat)
    kept[order] = flat[order]
    return kept.view_as(W)


def update(shape: tuple[int, int], kind: str) -> LowRank:
    generator = torch.Generator().manual_seed(shape[0])
    B = torch.randn(shape[0], 3, generator=generator, dtype=torch.float64)
    A = torch.randn(3, shape[1], generator=generator, dtype=torch.float64)
    if kind != "random":
        B, A = B.round(), A.round()
    if kind == "mostly zero":
        B[: shape[0] * 3 // 4] = 0
    return LowRank(B, A)


def together(all_entries: Entries, function: Callable[[Tile], np.ndarray]) -> torch.Tensor:
    tile = all_entries.map(function)
    return torch.from_numpy(
        np.concatenate([tile(first) for first in range(0, all_entries.shape[0], all_entries.height)])
    )


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("kind", ["random", "many equal", "mostly zero"])
@pytest.mark.parametrize("shape", [(300, 200), (17, 5), (1, 9)])
@pytest.mark.parametrize("large", [10**6, 0])
def test_a_cut_keeps_exactly_what_a_stable_sort_keeps(
    shape: tuple[int, int], kind: str, density: float, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "TILE", 1000)
    monkeypatch.setattr(entries, "SAMPLE", 500)
    monkeypatch.setattr(thresholds, "LARGE", large)  # above, numbers are counted by their bits
    monkeypatch.setattr(thresholds, "BINS", 1 << 12)
    all_entries = Entries([update(shape, kind)])
    W = together(all_entries, lambda tile: tile.values[0])
    (cut,) = all_entries.largest(int(density * all_entries.size))
    found = together(all_entries, lambda tile: trim(tile, [cut])[0])
    assert torch.equal(found, trimmed(W, int(density * all_entries.size)))


def test_a_pass_over_a_dense_update_sees_its_entries() -> None:
    W = torch.randn(70, 30)
    assert torch.equal(together(Entries([Dense(W)]), lambda tile: tile.values[0]), W)


def test_threads_and_merges_of_merges_do_not_write_into_what_others_compute() -> None:
    """Whose memory for entries is used again."""
    updates = [low_rank(seed, 60, 50, 3) for seed in range(3)]
    inner = find("ties").kernel(Entries(updates[:2]), [1.0, 1.0])
    inside = Merged((60, 50), np.dtype(np.float64), Tiling(60, lambda: inner))
    kernel = find("ties").kernel(Entries([updates[2], inside]), [1.0, 0.5])
    alone = find("ties").kernel(Entries([updates[2], Dense(inside.dense())]), [1.0, 0.5])(0)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: kernel(0), range(40)):
            np.testing.assert_array_equal(found, alone)


def test_random_numbers_depend_on_name_seed_and_place_alone() -> None:
    one = update((300, 200), "random")

    def draw(names: list[str], index: int, seed: int) -> torch.Tensor:
        return together(Entries([one] * len(names), names), lambda tile: tile.uniform(index, seed)).double()

    assert torch.equal(draw(["a", "b"], 1, 7), draw(["b"], 0, 7))
    assert not torch.equal(draw(["a"], 0, 7), draw(["b"], 0, 7))
    assert not torch.equal(draw(["a"], 0, 7), draw(["a"], 0, 8))
    numbers = draw(["a"], 0, 7)
    assert abs(float(numbers.mean()) - 0.5) < 0.01
    assert 0 <= float(numbers.min()) <= float(numbers.max()) < 1


def test_the_cut_of_a_model_is_one_for_all_modules() -> None:
    small, large = update((20, 10), "random"), 10 * update((30, 10), "random")
    model = ModelEntries([lambda: Entries([small]), lambda: Entries([large])])
    (cut,) = model.cuts(0.1)
    magnitudes = torch.cat([matrix(small).flatten(), matrix(large).flatten()]).abs()
    assert cut.value == pytest.approx(
        float(magnitudes.sort(descending=True).values[50])
    )  # ">=" keeps one more than 10% of 500


@pytest.mark.parametrize("method", ["ties", "sce", "dare_ties", "pcb", "breadcrumbs"])
@pytest.mark.parametrize("kind", ["factors", "read"])
def test_tiles_that_other_threads_compute_have_the_same_bits(
    kind: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of updates that are read, each of which has one memory: good until its next rows are asked for."""
    monkeypatch.setattr(entries, "TILE", 1000)
    updates: list[Linear] = [low_rank(seed, 90, 70, 3) for seed in range(3)]
    if kind == "read":
        updates = [Difference(each.shape, each.dtype, read(each.dense()), None) for each in updates]

    def merged(threads: int) -> tuple[np.ndarray, Holding]:
        of = Entries(updates)
        found = Merged(of.shape, of.dtype, Tiling(of.height, lambda: find(method).kernel(of, [1.0] * 3)))
        crew, done = Crew(), threading.Event()

        def help_others() -> None:
            while not done.is_set():
                (crew.open() or partial(time.sleep, 1e-4))()

        with ThreadPoolExecutor(3) as pool, ExitStack() as ended, working(crew), all_entries(found) as W:
            ended.callback(done.set)
            for _ in range(threads):
                pool.submit(help_others)
            return W.weight.copy(), hold(found, [low_rank(seed, 90, 70, 3) for seed in range(3)])

    (alone, one), (helped, other) = merged(0), merged(3)
    assert alone.tobytes() == helped.tobytes()
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, getattr(other, name))


def read(W: np.ndarray) -> Callable[[int, int], np.ndarray]:
    memory = np.empty_like(W)

    def rows(begin: int, end: int) -> np.ndarray:
        some = memory[: end - begin]
        np.copyto(some, W[begin:end])
        time.sleep(1e-4)  # another thread has its turn
        return some

    return rows


def test_what_is_done_to_tiles_is_not_done_to_updates() -> None:
    W = np.random.default_rng(0).standard_normal((40, 30))
    updates = [Dense(W.copy()), Dense(-2 * W)]
    for method in ("ties", "dare_linear", "breadcrumbs"):
        of = Entries(updates)
        tile = find(method).kernel(of, [1.0, 1.0], density=0.5)
        assert np.concatenate([tile(first) for first in range(0, 40, of.height)]).any()
    assert (updates[0].weight == W).all()
    assert (updates[1].weight == -2 * W).all()


def test_a_number_of_all_modules_is_computed_once_and_may_be_known_elsewhere() -> None:
    modules = [Entries([Dense(np.full((2, 3), value))]) for value in (1.0, 2.0)]
    asked: list[tuple[str, object]] = []

    def once(name: str, shape: object, compute: Callable[[], float]) -> float:
        asked.append((name, shape))
        return compute()

    model = ModelEntries([lambda each=each: each for each in modules], once)  # type: ignore[misc]  # no type is inferred for a default

    def sum_of_all() -> float:
        return sum(float(tile.values[0].sum()) for each in model.entries() for tile in each.tiles())

    for _ in range(2):
        assert model.once("sum", float, sum_of_all) == 18
    assert asked == [("sum", float)]
