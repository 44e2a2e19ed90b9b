"""Tasks for `quality.py`: a small transformer that rewrites sequences of digits, a LoRA for each rule."""

from __future__ import annotations

import torch
from suites import Forward, Linear, Suite, trained
from torch import Tensor
from torch.nn import functional

WIDTH, HIDDEN, HEADS, LAYERS, LENGTH = 64, 128, 4, 2, 8
SHAPES = {
    f"layer{layer}.{name}": shape
    for layer in range(LAYERS)
    for name, shape in {
        **dict.fromkeys("qkvo", (WIDTH, WIDTH)),
        "up": (HIDDEN, WIDTH),
        "down": (WIDTH, HIDDEN),
    }.items()
}

RULES = {
    "reverse": lambda x: x.flip(-1),
    "sort": lambda x: x.sort(-1).values,
    "rotate": lambda x: x.roll(3, -1),
    "add three": lambda x: (x + 3) % 10,
    "complement": lambda x: 9 - x,
    "times seven": lambda x: 7 * x % 10,
    "running maximum": lambda x: x.cummax(-1).values,
    "swap": lambda x: x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2),
}
"""Each is named by the first token of its sequences: 10, 11, ..."""


def forward(weights: dict[str, Tensor], linear: Linear, x: Tensor) -> Tensor:
    """Tokens (tasks, n, 1 + length) → logits (tasks, n, length, 10)."""
    h = weights["tokens"][x] + weights["places"]
    for layer in range(LAYERS):
        inside = functional.layer_norm(h, (WIDTH,))
        q, k, v = (
            linear(f"layer{layer}.{name}", inside).unflatten(-1, (HEADS, -1)).transpose(-2, -3) for name in "qkv"
        )
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(-2, -3).flatten(-2)
        h = h + linear(f"layer{layer}.o", mixed)
        h = h + linear(
            f"layer{layer}.down", functional.gelu(linear(f"layer{layer}.up", functional.layer_norm(h, (WIDTH,))))
        )
    return functional.layer_norm(h[..., 1:, :], (WIDTH,)) @ weights["head"].T


def sequences(seed: int) -> Suite:
    """The base is trained shortly on all rules, the LoRAs longer on one. Right is a digit, not a sequence."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(count: int) -> tuple[Tensor, Tensor]:
        digits = torch.randint(0, 10, (len(RULES), count, LENGTH), generator=generator)
        names = torch.arange(10, 10 + len(RULES)).reshape(-1, 1, 1).expand(-1, count, 1)
        wanted = torch.stack([rule(x) for rule, x in zip(RULES.values(), digits, strict=True)])
        return torch.cat([names, digits], -1), wanted

    x, labels = drawn(1000)
    model: Forward = forward  # its weights are read alone
    return trained(
        "sequences",
        seed,
        SHAPES,
        {"tokens": (10 + len(RULES), WIDTH), "places": (1 + LENGTH, WIDTH), "head": (10, WIDTH)},
        model,
        base=(x.flatten(0, 1)[None], labels.flatten(0, 1)[None]),
        tasks=drawn(4000),
        validation=drawn(100),
        test=drawn(300),
        steps=(120, 150),
    )
