"""A suite of tasks for `quality.py`: a base, a LoRA for each task, and how right a merge of them is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from adapterops import Adapter, LowRank

Shapes = Mapping[str, tuple[int, int]]
Linear = Callable[[str, Tensor], Tensor]
Forward = Callable[[Mapping[str, Tensor], Linear, Tensor], Tensor]
Data = tuple[Tensor, Tensor]
"""Inputs and labels, (tasks, n, ...)."""

RANK, ALPHA = 8, 16
SEEN = 256
"""Inputs of every task, without labels, that Gram matrices are of."""


@dataclass(frozen=True)
class Suite:
    """`accuracy(deltas, split)`: of each task, of the base with these updates: one for all tasks, or one for each."""

    name: str
    adapters: list[Adapter]
    accuracy: Callable[[Mapping[str, np.ndarray], str], np.ndarray]

    @property
    def single(self) -> dict[str, np.ndarray]:
        """Every task with its own adapter: (tasks, out, in)."""
        modules = self.adapters[0].layout
        return {m: np.stack([each.updates[m].dense() for each in self.adapters]) for m in modules}


@dataclass(frozen=True)
class Training:
    steps: int
    rate: float
    decay: float
    noise: float
    batch: int


def trained(
    name: str,
    seed: int,
    shapes: Shapes,
    others: Shapes,
    forward: Forward,
    *,
    tasks: Data,
    validation: Data,
    test: Data,
    base: Data | None = None,
    noise: float = 0.0,
    shared: bool = False,
    pretrained: Mapping[str, Tensor] | None = None,
    steps: tuple[int, ...] = (400, 150),
    batch: int = 128,
    rate: float = 2e-3,
) -> Suite:
    """Train the base, then a LoRA for each task, all at once: of all linears in `shapes`, r 8, alpha 16.

    A `pretrained` base is not trained.
    """
    torch.manual_seed(seed)
    if pretrained:
        weights = dict(pretrained)
    else:
        weights = {key: torch.randn(shape) / shape[-1] ** 0.5 for key, shape in {**shapes, **others}.items()}

    def plain(module: str, x: Tensor) -> Tensor:
        return x @ weights[module].T

    if base is not None:
        training = Training(steps[0], 2e-3, 0.01, noise, batch)
        run(lambda x: forward(weights, plain, x), list(weights.values()), base, training)
    A, B, count = {}, {}, len(tasks[0])
    for module, (out, into) in shapes.items():
        signs = torch.randint(0, 2, (1 if shared else count, RANK, into)) * 2.0 - 1
        A[module] = (signs.expand(count, -1, -1) / into**0.5).clone()
        B[module] = torch.zeros(count, out, RANK)

    def adapted(module: str, x: Tensor) -> Tensor:
        low = x.flatten(1, -2) @ A[module].mT @ B[module].mT
        return x @ weights[module].T + ALPHA / RANK * low.reshape(*x.shape[:-1], -1)

    training = Training(steps[-1], rate, 0.0, noise, batch)
    run(lambda x: forward(weights, adapted, x), [*A.values(), *B.values()], tasks, training)
    grams = {}

    def watched(module: str, x: Tensor) -> Tensor:
        rows = x.flatten(1, -2)
        grams[module] = (rows.mT @ rows / rows.shape[1]).numpy()
        return adapted(module, x)

    with torch.no_grad():
        forward(weights, watched, tasks[0][:, :SEEN])
    adapters = [
        Adapter.of({m: LowRank(B[m][i].numpy(), A[m][i].numpy(), ALPHA / RANK) for m in shapes}).with_grams(
            {m: grams[m][i] for m in shapes}
        )
        for i in range(count)
    ]
    splits = {"validation": validation, "test": test}

    @torch.no_grad()
    def accuracy(deltas: Mapping[str, np.ndarray], split: str) -> np.ndarray:
        def merged(module: str, x: Tensor) -> Tensor:
            W = weights[module] + torch.from_numpy(np.asarray(deltas[module], np.float32))
            return (x.flatten(1, -2) @ W.mT).reshape(*x.shape[:-1], -1)

        x, labels = splits[split]
        return (forward(weights, merged, x).argmax(-1) == labels).float().flatten(1).mean(1).numpy()

    return Suite(name, adapters, accuracy)


def run(model: Callable[[Tensor], Tensor], parameters: list[Tensor], data: Data, how: Training) -> None:
    """AdamW with cosine decay; every task has batches of its own."""
    for each in parameters:
        each.requires_grad_()
    optimizer = torch.optim.AdamW(parameters, lr=how.rate, weight_decay=how.decay)
    schedule: Any = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how.steps)
    x, labels = data
    rows = torch.arange(len(x))[:, None]
    for _ in range(how.steps):
        chosen = torch.randint(0, x.shape[1], (len(x), min(how.batch, x.shape[1])))
        inputs, wanted = x[rows, chosen], labels[rows, chosen]
        if how.noise:
            inputs = inputs + how.noise * torch.randn_like(inputs)
        logits = model(inputs)
        loss = functional.cross_entropy(logits.flatten(0, -2), wanted.flatten()) * len(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    for each in parameters:
        each.requires_grad_(False)
