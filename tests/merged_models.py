"""Models merged by other programs' arithmetic, written out in torch, and what can go wrong in one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from adapterops.verification.diagnosis.grounds import fp8, int8, nf4

WIDTH, INNER, WORDS, LAYERS = 64, 96, 80, 2
SHAPES = {
    "self_attn.q_proj": (WIDTH, WIDTH),
    "self_attn.k_proj": (WIDTH, WIDTH),
    "self_attn.v_proj": (WIDTH, WIDTH),
    "self_attn.o_proj": (WIDTH, WIDTH),
    "mlp.gate_proj": (INNER, WIDTH),
    "mlp.up_proj": (INNER, WIDTH),
    "mlp.down_proj": (WIDTH, INNER),
}
MODULES = {f"model.layers.{layer}.{name}": shape for layer in range(LAYERS) for name, shape in SHAPES.items()}
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class LoRA:
    """An adapter in memory: B and A of every module, in its dtype."""

    factors: Mapping[str, tuple[Tensor, Tensor]]
    alpha: float
    rank: int
    rslora: bool = False

    @property
    def scale(self) -> float:
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)

    def save(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        tensors = {}
        for module, (B, A) in self.factors.items():
            tensors[f"base_model.model.{module}.lora_B.weight"] = B.contiguous()
            tensors[f"base_model.model.{module}.lora_A.weight"] = A.contiguous()
        save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
        config = {
            "peft_type": "LORA",
            "base_model_name_or_path": "some/base",
            "r": self.rank,
            "lora_alpha": self.alpha,
            "use_rslora": self.rslora,
            "target_modules": sorted({module.rpartition(".")[2] for module in self.factors}),
            "bias": "none",
        }
        (folder / "adapter_config.json").write_text(json.dumps(config))
        return folder


def lora(
    seed: int,
    rank: int = 4,
    alpha: float = 6.0,
    size: float = 0.02,
    dtype: torch.dtype = torch.float32,
    modules: Sequence[str] = tuple(MODULES),
    rslora: bool = False,
) -> LoRA:
    """Updates of about `size` times the weights of `base`."""
    chance, factors = torch.Generator().manual_seed(seed), {}
    scale = alpha / (rank**0.5 if rslora else rank)
    for module in modules:
        out, into = MODULES[module]
        B = torch.randn(out, rank, generator=chance) * (0.05 * size / scale / rank**0.5)
        factors[module] = (B.to(dtype), torch.randn(rank, into, generator=chance).to(dtype))
    return LoRA(factors, alpha, rank, rslora)


def base(seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(1000 + seed)
    found = {f"{module}.weight": 0.05 * torch.randn(shape, generator=chance) for module, shape in MODULES.items()}
    found["model.embed_tokens.weight"] = torch.randn(WORDS, WIDTH, generator=chance)
    found["lm_head.weight"] = torch.randn(WORDS, WIDTH, generator=chance)
    found["model.norm.weight"] = torch.ones(WIDTH)
    return {name: each.to(dtype) for name, each in found.items()}


def write(folder: Path, tensors: Mapping[str, Tensor], tied: bool = False) -> Path:
    folder.mkdir(parents=True)
    save_file(
        {name: each.contiguous() for name, each in tensors.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "tie_word_embeddings": tied,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "vocab_size": WORDS,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


Sum = Callable[[Tensor, Sequence[tuple[Tensor, Tensor, float]]], Tensor]
"""W, and (B, A, scale) of each adapter → W', in the dtype of W or another."""


def once(W: Tensor, added: Sequence[tuple[Tensor, Tensor, float]]) -> Tensor:
    return (W.float() + sum(scale * (B.float() @ A.float()) for B, A, scale in added)).to(W.dtype)


def peft(W: Tensor, added: Sequence[tuple[Tensor, Tensor, float]]) -> Tensor:
    """`merge` of PEFT on a CPU: ΔW in the adapter's dtype, added in place, one adapter after another."""
    result = W.clone()
    for B, A, scale in added:
        result += ((B.float() @ A.float()) * scale).to(B.dtype)
    return result


def peft_safe(W: Tensor, added: Sequence[tuple[Tensor, Tensor, float]]) -> Tensor:
    """With `safe_merge`: ΔW in the base's dtype."""
    result = W.clone()
    for B, A, scale in added:
        result += ((B.float() @ A.float()) * scale).to(B.dtype).to(W.dtype)
    return result


def cast(W: Tensor, added: Sequence[tuple[Tensor, Tensor, float]]) -> Tensor:
    """The adapter in the base's dtype, multiplied there."""
    return peft(W, [(B.to(W.dtype), A.to(W.dtype), scale) for B, A, scale in added])


def scaled_after(W: Tensor, added: Sequence[tuple[Tensor, Tensor, float]]) -> Tensor:
    """As on a GPU: products of the base's dtype, rounded, then scaled and rounded again."""
    result = W.clone()
    for B, A, scale in added:
        product = (B.to(W.dtype).float() @ A.to(W.dtype).float()).to(W.dtype)
        result += product * scale
    return result


def through_float16(W: Tensor, added: Sequence[tuple[Tensor, Tensor, float]]) -> Tensor:
    return once(W, added).half() if W.dtype == torch.float32 else once(W.float(), added).half().to(W.dtype)


def widened(W: Tensor, added: Sequence[tuple[Tensor, Tensor, float]]) -> Tensor:
    """Saved in float32, and never rounded."""
    return once(W.float(), added)


CONVENTIONS: dict[str, Sum] = {
    "once": once,
    "peft": peft,
    "peft-safe": peft_safe,
    "cast": cast,
    "scaled-after": scaled_after,
    "through-float16": through_float16,
    "widened": widened,
}


@dataclass
class Merge:
    """A merge to be made: what is added where, by which arithmetic; faults change it before it is made."""

    base: dict[str, Tensor]
    adapters: Sequence[LoRA]
    sum: Sum
    weights: Sequence[float] = (1.0,)
    under: dict[str, Tensor] = field(default_factory=dict)

    def added(self, module: str) -> list[tuple[Tensor, Tensor, float]]:
        return [
            (*each.factors[module], weight * each.scale)
            for each, weight in zip(self.adapters, self.weights, strict=True)
            if module in each.factors
        ]

    def one(self, module: str, source: str | None = None, factor: float = 1.0, transposed: bool = False) -> Tensor:
        """The weight of a module, with the update of another, or a multiple of it."""
        W = self.under.get(f"{module}.weight", self.base[f"{module}.weight"])
        added = [(B, A, factor * scale) for B, A, scale in self.added(source or module)]
        added = [(A.T, B.T, scale) for B, A, scale in added] if transposed else added
        return self.sum(W, added) if added else W.clone()

    def made(self) -> dict[str, Tensor]:
        wide = self.one(next(iter(MODULES))).dtype
        found = {name: each.clone().to(wide) for name, each in self.base.items()}
        return found | {f"{module}.weight": self.one(module).to(wide) for module in MODULES}


LAYER = "model.layers.0."
Q, K, V, OUT = (f"{LAYER}self_attn.{name}_proj" for name in "qkvo")
GATE, UP, DOWN = (f"{LAYER}mlp.{name}_proj" for name in ("gate", "up", "down"))
Q1, UP1, DOWN1 = ("model.layers.1." + name for name in ("self_attn.q_proj", "mlp.up_proj", "mlp.down_proj"))


@dataclass(frozen=True)
class Fault:
    """Something wrong with a merge: the tensors that it gives, and what a diagnosis has to name."""

    plant: Callable[[Merge], dict[str, Tensor]]
    says: str
    places: tuple[str, ...] = ()
    weights: tuple[float, ...] = (1.0,)
    """Of the adapters that it is merged from."""


def replaced(modules: Sequence[str], make: Callable[[Merge, str], Tensor]) -> Callable[[Merge], dict[str, Tensor]]:
    def plant(merge: Merge) -> dict[str, Tensor]:
        found = merge.made()
        wide = found["model.norm.weight"].dtype
        return found | {f"{module}.weight": make(merge, module).to(wide) for module in modules}

    return plant


def missing(*modules: str) -> Fault:
    return Fault(
        replaced(modules, lambda merge, module: merge.base[f"{module}.weight"]), "the update is not in it", modules
    )


def swapped(one: str, other: str) -> Fault:
    return Fault(
        replaced([one, other], lambda merge, module: merge.one(module, other if module == one else one)),
        "holds the update of",
        (one, other),
    )


def transposed(module: str) -> Fault:
    return Fault(replaced([module], lambda merge, module: merge.one(module, transposed=True)), "transposed", (module,))


def factor(by: float, *modules: str) -> Fault:
    return Fault(
        replaced(modules, lambda merge, module: merge.one(module, factor=by)), f"holds {by:.3g} times", modules
    )


def all_by(by: Callable[[LoRA], float], says: str) -> Fault:
    return Fault(replaced(list(MODULES), lambda merge, module: merge.one(module, factor=by(merge.adapters[0]))), says)


def _base_in_rows(rows: slice) -> Callable[[Merge, str], Tensor]:
    def make(merge: Merge, module: str) -> Tensor:
        found = merge.one(module).clone()
        found[rows] = merge.base[f"{module}.weight"][rows]
        return found

    return make


def _noise(merge: Merge, module: str) -> Tensor:
    W = merge.one(module)
    return (W.float() + 0.002 * torch.randn(W.shape, generator=torch.Generator().manual_seed(9))).to(W.dtype)


def _only_noise(merge: Merge, module: str) -> Tensor:
    W = merge.base[f"{module}.weight"]
    return (W.float() + 0.002 * torch.randn(W.shape, generator=torch.Generator().manual_seed(9))).to(W.dtype)


def other(name: str, change: Callable[[Tensor], Tensor | None], says: str) -> Fault:
    def plant(merge: Merge) -> dict[str, Tensor]:
        found = merge.made()
        new = change(found.pop(name))
        return found if new is None else found | {name: new}

    return Fault(plant, says, (name,))


def _one_entry(tensor: Tensor) -> Tensor:
    found = tensor.clone()
    found.view(-1)[3] += 0.5
    return found


def _rows_rolled(merge: Merge, module: str) -> Tensor:
    W, delta = merge.base[f"{module}.weight"], merge.one(module).float() - merge.base[f"{module}.weight"].float()
    return (W.float() + delta.roll(1, 0)).to(W.dtype)


def _twice(merge: Merge) -> dict[str, Tensor]:
    return replace(merge, base=merge.made()).made()


def _through_nf4(merge: Merge) -> dict[str, Tensor]:
    names = [f"{module}.weight" for module in MODULES]
    under = {
        name: torch.from_numpy(nf4(merge.base[name].double().numpy())).to(merge.base[name].dtype) for name in names
    }
    return replace(merge, under=under).made()


def _factors(module: str, B: str, A: str) -> Fault:
    """A module gets the factors of two."""

    def plant(merge: Merge) -> dict[str, Tensor]:
        (adapter,) = merge.adapters
        mixed = {**adapter.factors, module: (adapter.factors[B][0], adapter.factors[A][1])}
        return replace(merge, adapters=[replace(adapter, factors=mixed)]).made()

    return Fault(plant, "and the A of" if module == B else "and the B of", (module,))


def _swapped_layers(merge: Merge) -> dict[str, Tensor]:
    (adapter,) = merge.adapters
    other = {"0": "1", "1": "0"}
    names = {module: re.sub(r"(?<=layers\.)\d", lambda found: other[found[0]], module) for module in adapter.factors}
    factors = {module: adapter.factors[name] for module, name in names.items()}
    return replace(merge, adapters=[replace(adapter, factors=factors)]).made()


def _more_words(merge: Merge) -> dict[str, Tensor]:
    found, names = merge.made(), ("model.embed_tokens.weight", "lm_head.weight")
    return found | {name: torch.cat([found[name], found[name][:4]]) for name in names}


def _tied_back(merge: Merge) -> dict[str, Tensor]:
    found = merge.made()
    return found | {"lm_head.weight": found["model.embed_tokens.weight"].clone()}


def _extra(merge: Merge) -> dict[str, Tensor]:
    found = merge.made()
    return found | {"model.layers.0.extra.weight": found["model.norm.weight"].clone()}


def by_delta(change: Callable[[Tensor], Tensor], *modules: str, says: str) -> Fault:
    """ΔW is changed before it is added, in float32."""

    def make(merge: Merge, module: str) -> Tensor:
        W = merge.base[f"{module}.weight"]
        delta = sum(scale * (B.float() @ A.float()) for B, A, scale in merge.added(module))
        return (W.float() + change(torch.as_tensor(delta))).to(merge.one(module).dtype)

    return Fault(replaced(modules, make), says, modules)


def _some_dropped(delta: Tensor) -> Tensor:
    return 2 * delta * (torch.rand(delta.shape, generator=torch.Generator().manual_seed(4)) < 0.5)


def _lower(delta: Tensor) -> Tensor:
    left, values, right = torch.linalg.svd(delta, full_matrices=False)
    return (left[:, :3] * values[:3]) @ right[:3]


def _first_ranks(merge: Merge) -> dict[str, Tensor]:
    (adapter,) = merge.adapters
    factors = {module: (B[:, :4], A[:4]) for module, (B, A) in adapter.factors.items()}
    return replace(merge, adapters=[replace(adapter, factors=factors)]).made()


def _separately(merge: Merge) -> dict[str, Tensor]:
    """As adapters are averaged by their files."""
    one, other = merge.adapters
    mean = {
        module: ((B.float() + other.factors[module][0]) / 2, (A.float() + other.factors[module][1]) / 2)
        for module, (B, A) in one.factors.items()
    }
    return replace(merge, adapters=[replace(one, factors=mean)], weights=(1.0,)).made()


def _with(value: float, count: int | None, module: str) -> Callable[[Merge], dict[str, Tensor]]:
    def make(merge: Merge, _: str) -> Tensor:
        found = merge.one(module).clone()
        found.view(-1)[:count] = value
        return found

    return replaced([module], make)


def _through(back: Callable[[Any], Any]) -> Callable[[Merge], dict[str, Tensor]]:
    def plant(merge: Merge) -> dict[str, Tensor]:
        names = [f"{module}.weight" for module in MODULES]
        before = {name: merge.base[name] for name in names}
        under = {name: torch.from_numpy(back(W.double().numpy())).to(W.dtype) for name, W in before.items()}
        return replace(merge, under=under).made()

    return plant


def _limited(merge: Merge, module: str) -> Tensor:
    return merge.one(module).clamp(-0.0625, 0.0625)


def _weight_transposed(merge: Merge, module: str) -> Tensor:
    return replace(merge, under={f"{module}.weight": merge.base[f"{module}.weight"].T.contiguous()}).one(module)


def _coded(merge: Merge) -> dict[str, Tensor]:
    """Merged, quantized and dequantized."""
    found = merge.made()
    names = [f"{module}.weight" for module in MODULES]
    return found | {name: torch.from_numpy(nf4(found[name].double().numpy())).to(found[name].dtype) for name in names}


def _interleaved(merge: Merge, module: str) -> Tensor:
    """As q and k of a Llama that is not transformers'."""
    found = merge.one(module)
    return found.view(4, 2, len(found) // 8, -1).transpose(1, 2).reshape(found.shape).contiguous()


def _weights_swapped(merge: Merge) -> dict[str, Tensor]:
    found = merge.made()
    return found | {f"{GATE}.weight": found[f"{UP}.weight"], f"{UP}.weight": found[f"{GATE}.weight"]}


def _halves(delta: Tensor) -> Tensor:
    return delta.roll(len(delta) // 2, 0)


FAULTS: dict[str, Fault] = {
    "base": Fault(lambda merge: dict(merge.base), "this is the base"),
    "twice": all_by(lambda a: 2.0, "added twice"),
    "subtracted": all_by(lambda a: -1.0, "subtracted"),
    "half": all_by(lambda a: 0.5, "0.5 times"),
    "eight": all_by(lambda a: 8.0, "8 times"),
    "rslora": all_by(lambda a: a.rank**0.5, "alpha / sqrt(r)"),
    "no-scale": all_by(lambda a: 1 / a.scale, "its scale were left out"),
    "scale-twice": all_by(lambda a: a.scale, "its scale were applied twice"),
    "alpha-undivided": all_by(lambda a: float(a.rank), "alpha were not divided"),
    "divided-twice": all_by(lambda a: 1 / a.rank, "divided by r twice"),
    "0.9": all_by(lambda a: 0.9, "0.9 times"),
    **{f"missing-{module}": missing(module) for module in MODULES},
    "missing-attention": missing(Q, K, V, OUT),
    "missing-mlp": missing(GATE, UP, DOWN),
    "missing-layer": missing(Q, K, V, OUT, GATE, UP, DOWN),
    **{
        f"swapped-{one}-{two}": swapped(one, two)
        for one, two in [(Q, K), (Q, V), (K, V), (Q, OUT), (GATE, UP), (Q, Q1), (UP, UP1), (DOWN, DOWN1), (K, OUT)]
    },
    **{f"transposed-{module}": transposed(module) for module in (Q, K, V, OUT, Q1)},
    **{f"twice-{module}": factor(2.0, module) for module in MODULES},
    "third-of-one": factor(1 / 3, Q),
    "opposite-of-one": factor(-1.0, DOWN),
    "half-of-mlp": factor(0.5, GATE, UP, DOWN),
    "first-half-base": Fault(replaced([Q], _base_in_rows(slice(0, 32))), "is the base's in", (Q,)),
    "last-rows-base": Fault(replaced([DOWN], _base_in_rows(slice(48, 64))), "is the base's in", (DOWN,)),
    "one-head-base": Fault(replaced([V], _base_in_rows(slice(16, 32))), "is the base's in", (V,)),
    "noise": Fault(replaced([UP], _noise), "is", (UP,)),
    "only-noise": Fault(replaced([UP], _only_noise), "changed by something else", (UP,)),
    "rolled": Fault(replaced([OUT], _rows_rolled), "changed by something else", (OUT,)),
    "norm": other("model.norm.weight", lambda each: each * 1.25, "no adapter has an update there"),
    "embedding": other("model.embed_tokens.weight", _one_entry, "no adapter has an update there"),
    "head": other("lm_head.weight", lambda each: each * 0.5, "no adapter has an update there"),
    "no-norm": other("model.norm.weight", lambda each: None, "is missing"),
    "no-head": other("lm_head.weight", lambda each: None, "is missing"),
    "head-shape": other("lm_head.weight", lambda each: each[:-1], "expected [80, 64]"),
    "merged-twice": Fault(_twice, "added twice"),
    "base-through-nf4": Fault(_through_nf4, "quantized to NF4 and back"),
    "A-of-another-layer": _factors(Q, Q, Q1),
    "B-of-another-layer": _factors(Q, Q1, Q),
    "A-of-k-for-q": _factors(Q, Q, K),
    "layers-swapped": Fault(_swapped_layers, "holds the update of"),
    "missing-but-one": missing(*[module for module in MODULES if module != Q]),
    "squares-transposed": Fault(
        replaced([Q, K, V, OUT], lambda merge, module: merge.one(module, transposed=True)), "transposed", (Q, K, V, OUT)
    ),
    "tied-back": Fault(_tied_back, "is the input embedding", ("lm_head.weight",)),
    "more-words": Fault(_more_words, "expected [80, 64]", ("model.embed_tokens.weight", "lm_head.weight")),
    "other-of-two": Fault(Merge.made, "an adapter is not in it", weights=(0.0, 1.0)),
    "one-of-two": Fault(Merge.made, "an adapter is not in it", weights=(1.0, 0.0)),
    "limited-updates": by_delta(lambda d: d.clamp(-0.5 * d.max(), 0.5 * d.max()), *MODULES, says="limited to ±"),
    "limited-sums": Fault(replaced(list(MODULES), _limited), "numbers are cut off at a limit", tuple(MODULES)),
    "limited-sum": Fault(replaced([UP], _limited), "what its sum has beyond that is cut off", (UP,)),
    "dropped-at-random": by_delta(_some_dropped, *MODULES, says="as if others were dropped at random"),
    "trimmed": by_delta(lambda d: d * (d.abs() > d.abs().quantile(0.6)), UP, says="in its largest entries alone"),
    "lower-rank": by_delta(_lower, *MODULES, says="3 of its 8 largest singular values"),
    "lower-rank-of-one": by_delta(_lower, DOWN, says="at rank 3 of 8"),
    "first-ranks": Fault(_first_ranks, "4 of its 8 ranks of its factors"),
    "halves-of-rows": by_delta(_halves, GATE, says="two halves of rows swapped"),
    "separately": Fault(_separately, "as if A's and B's were combined separately", weights=(1.0, 1.0)),
    "weight-transposed": Fault(replaced([OUT], _weight_transposed), "the base's weight transposed", (OUT,)),
    "sum-transposed": Fault(replaced([OUT], lambda merge, module: merge.one(module).T), "sum of weight", (OUT,)),
    "one-nan": Fault(_with(float("nan"), 1, Q), "is NaN in 1 of 4096 entries", (Q,)),
    "all-nan": Fault(_with(float("nan"), None, Q), "is NaN in 4096 of 4096 entries", (Q,)),
    "some-infinite": Fault(_with(float("-inf"), 3, DOWN), "is infinite in 3 of 6144 entries", (DOWN,)),
    "norm-nan": other("model.norm.weight", lambda each: each * float("nan"), "is NaN in 64 of 64 entries"),
    "zero": Fault(_with(0.0, None, K), "is zero in all entries", (K,)),
    "one-of-two-twice": Fault(Merge.made, "a1 is in it as if the update were added twice", weights=(0.7, 2.0)),
    "root-of-one-of-two": Fault(
        Merge.made, "a0 is in it as if it were scaled by alpha / sqrt(r)", weights=(8**0.5, 1.0)
    ),
    "sum-through-nf4": Fault(_coded, "it is their sum, quantized and dequantized", tuple(MODULES)),
    "rows-interleaved": Fault(replaced([Q, K], _interleaved), "has its rows in another order", (Q, K)),
    "weights-swapped": Fault(_weights_swapped, f"is near the base's {UP}", (GATE, UP)),
    "base-through-fp8": Fault(_through(fp8), "FP8 in blocks of 128 and back"),
    "base-through-int8": Fault(_through(int8), "int8 and back"),
    "extra": Fault(_extra, "should not be there", ("model.layers.0.extra.weight",)),
}
