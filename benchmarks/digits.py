"""Tasks for `quality.py`: eight views of scikit-learn's digits, one network, one head, a LoRA for each view."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from suites import Suite, trained
from torch import Tensor
from torch.nn import functional

WIDTH, HIDDEN, BLOCKS = 128, 256, 3
SHAPES = {"embed": (WIDTH, 64)} | {
    f"block{block}.{side}": (HIDDEN, WIDTH) if side == "up" else (WIDTH, HIDDEN)
    for block in range(BLOCKS)
    for side in ("up", "down")
}
"""The linears that are adapted; the head is not."""


def views(seed: int) -> dict[str, object]:
    """Images (n, 8, 8) as each task sees them."""
    rows = torch.from_numpy(np.random.default_rng(seed).permutation(8))

    def edges(x: Tensor) -> Tensor:
        return 2 * (x - functional.avg_pool2d(x[:, None], 3, 1, 1)[:, 0])

    return {
        "rotated": lambda x: x.rot90(1, (1, 2)),
        "turned": lambda x: x.rot90(2, (1, 2)),
        "mirrored": lambda x: x.flip(2),
        "inverted": lambda x: 1 - x,
        "transposed": lambda x: x.transpose(1, 2),
        "rows": lambda x: x[:, rows],
        "rolled": lambda x: x.roll((3, 3), (1, 2)),
        "edges": edges,
    }


def forward(weights: dict[str, Tensor], linear: object, x: Tensor) -> Tensor:
    """x (tasks, n, 64) → logits (tasks, n, 10)."""
    h = linear("embed", x)
    for block in range(BLOCKS):
        inside = functional.gelu(linear(f"block{block}.up", functional.layer_norm(h, (WIDTH,))))
        h = h + linear(f"block{block}.down", inside)
    return functional.layer_norm(h, (WIDTH,)) @ weights["head"].T


def digits(seed: int, shared: bool = False) -> Suite:
    """The base is trained on 40 images in all views, so that it knows a little of each task; the LoRAs on 1100."""
    data = load_digits()
    images, labels = torch.from_numpy(data.images).float() / 16, torch.from_numpy(data.target)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(images)))
    train, validation, test = order[:1100], order[1100:1400], order[1400:]
    tasks = list(views(seed).values())

    def seen(chosen: Tensor, own: list[object] = tasks) -> Tensor:
        return torch.stack([view(images[chosen]).flatten(1) for view in own])

    few = train[:40]
    every = seen(few, [*tasks, lambda x: x]).reshape(1, -1, 64)
    return trained(
        "digits, shared A" if shared else "digits",
        seed,
        SHAPES,
        {"head": (10, WIDTH)},
        forward,
        base=(every, labels[few].repeat(len(tasks) + 1)[None]),
        tasks=(seen(train), labels[train].expand(len(tasks), -1)),
        validation=(seen(validation), labels[validation].expand(len(tasks), -1)),
        test=(seen(test), labels[test].expand(len(tasks), -1)),
        noise=0.03,
        shared=shared,
    )
