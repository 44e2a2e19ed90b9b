"""Files of adapters of image and video models, and what each adds in float64, by the formula of its layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

Q, FLAT = "blocks.0.attn.q", "blocks_0_attn_q"
K = f"lora_unet_{FLAT}"
CONV = "down_blocks.0.resnets.0.conv1"
FLAT_CONV = CONV.replace(".", "_")
NORM = "double_blocks.0.img_attn.norm.query_norm.scale"
LINEAR, KERNEL = (16, 12), (8, 6, 3, 3)
UP, DOWN = "lora_up.weight", "lora_down.weight"
PEFT_UP, PEFT_DOWN = "lora_B.weight", "lora_A.weight"

Change = Tensor | Callable[[Tensor], Tensor]


class Layout(NamedTuple):
    """A file of one layout.

    Attributes:
        tensors: of the adapter.
        base: tensor of the base → its shape.
        changes: tensor of the base → what is added to it, or a function of the weight that says so. All others stay.
        said: words of the refusal; empty where it is read.
        header: the file's metadata.
    """

    tensors: Mapping[str, Tensor]
    base: Mapping[str, tuple[int, ...]]
    changes: Mapping[str, Change] = {}
    said: str = ""
    header: Mapping[str, str] = {}


def random(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return (0.3 * torch.randn(*shape)).to(dtype)


def pair(
    key: str, shape: tuple[int, ...] = LINEAR, rank: int = 4, down: str = DOWN, up: str = UP, **options: Any
) -> dict[str, Tensor]:
    """A and B of a Linear layer or a convolution."""
    ends = (1,) * (len(shape) - 2)
    return {
        f"{key}.{down}": random(rank, *shape[1:], **options),
        f"{key}.{up}": random(shape[0], rank, *ends, **options),
    }


def product(tensors: Mapping[str, Tensor], scale: float = 1.0) -> Tensor:
    """B A of the first two tensors of a file, which are A and B."""
    A, B = (each.double() for each in list(tensors.values())[:2])
    return scale * (B.flatten(1) @ A.flatten(1)).reshape(B.shape[0], *A.shape[1:])


def of_linear(
    key: str,
    module: str = Q,
    alpha: Tensor | None = None,
    scale: float = 1.0,
    shape: tuple[int, ...] = LINEAR,
    header: Mapping[str, str] = {},
    **ends: Any,
) -> Layout:
    """One pair, for one weight."""
    tensors = pair(key, shape, **ends)
    added = product(tensors, scale)
    stored = tensors if alpha is None else {**tensors, f"{key}.alpha": alpha}
    return Layout(stored, {f"{module}.weight": shape}, {f"{module}.weight": added}, header=header)


def several_of(modules: Mapping[tuple[str, tuple[int, ...]], str], **ends: Any) -> Layout:
    """Pairs, each with the shape of the one weight that it is for."""
    return several(*(of_linear(key, module, shape=shape, **ends) for (key, shape), module in modules.items()))


def refused(said: str, tensors: Mapping[str, Tensor], module: str = Q) -> Layout:
    return Layout(tensors, {f"{module}.weight": LINEAR}, said=said)


PEFT = {"down": PEFT_DOWN, "up": PEFT_UP}


def tucker() -> Layout:
    key = f"lora_unet_{FLAT_CONV}"
    down, up, mid = random(4, 6, 1, 1), random(8, 4, 1, 1), random(4, 4, 3, 3)
    added = 0.5 * torch.einsum("mnkl,im,nj->ijkl", mid.double(), up.double().flatten(1), down.double().flatten(1))
    tensors = {
        f"{key}.{DOWN}": down,
        f"{key}.{UP}": up,
        f"{key}.lora_mid.weight": mid,
        f"{key}.alpha": torch.tensor(2.0),
    }
    return Layout(tensors, {f"{CONV}.weight": KERNEL}, {f"{CONV}.weight": added})


def loha(shape: tuple[int, ...] = LINEAR, dot: str = ".") -> Layout:
    module = Q if len(shape) == 2 else CONV
    key, width = f"lora_unet_{module.replace('.', '_')}", torch.Size(shape[1:]).numel()
    parts = [random(shape[0], 4), random(4, width), random(shape[0], 4), random(4, width)]
    a, b, c, d = (each.double() for each in parts)
    names = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    tensors = {f"{key}{dot}{name}": each for name, each in zip(names, parts, strict=True)}
    added = (0.75 * (a @ b) * (c @ d)).reshape(shape)
    return Layout(
        {**tensors, f"{key}.alpha": torch.tensor(3.0)}, {f"{module}.weight": shape}, {f"{module}.weight": added}
    )


def loha_tucker() -> Layout:
    key, factors, parts = f"lora_unet_{FLAT_CONV}", [], {}
    for number in (1, 2):
        t, a, b = random(4, 4, 3, 3), random(4, 8), random(4, 6)
        parts |= {f"{key}.hada_t{number}": t, f"{key}.hada_w{number}_a": a, f"{key}.hada_w{number}_b": b}
        factors.append(torch.einsum("ijkl,ip,jq->pqkl", t.double(), a.double(), b.double()))
    added = 0.5 * factors[0] * factors[1]
    return Layout({**parts, f"{key}.alpha": torch.tensor(2.0)}, {f"{CONV}.weight": KERNEL}, {f"{CONV}.weight": added})


def lokr(first: str, second: str, alpha: float, scale: float, dot: str = ".") -> Layout:
    """Each of the two is `full`, or `factored` in rank 2; the second may be `tucker`."""
    convolution = second in ("convolution", "tucker")
    shape, module = (KERNEL, CONV) if convolution else (LINEAR, Q)
    key, parts = f"lora_unet_{module.replace('.', '_')}", {}
    out, into = shape[0] // 2, shape[1] // 3
    if first == "full":
        parts["lokr_w1"] = random(2, 3)
        w1 = parts["lokr_w1"].double()
    else:
        parts |= {"lokr_w1_a": random(2, 2), "lokr_w1_b": random(2, 3)}
        w1 = parts["lokr_w1_a"].double() @ parts["lokr_w1_b"].double()
    if second == "full":
        parts["lokr_w2"] = random(out, into)
        w2 = parts["lokr_w2"].double()
    elif second == "tucker":
        parts |= {"lokr_t2": random(2, 2, 3, 3), "lokr_w2_a": random(2, out), "lokr_w2_b": random(2, into)}
        t, a, b = (parts[name].double() for name in ("lokr_t2", "lokr_w2_a", "lokr_w2_b"))
        w2 = torch.einsum("ijkl,ip,jq->pqkl", t, a, b).contiguous()
    else:
        width = into * (9 if convolution else 1)
        parts |= {"lokr_w2_a": random(out, 2), "lokr_w2_b": random(2, width)}
        w2 = (parts["lokr_w2_a"].double() @ parts["lokr_w2_b"].double()).reshape(out, into, *shape[2:])
    added = scale * torch.kron(w1.reshape(2, 3, *(1,) * (len(shape) - 2)), w2)
    tensors = {f"{key}{dot}{name}": each for name, each in parts.items()}
    return Layout(
        {**tensors, f"{key}.alpha": torch.tensor(alpha)}, {f"{module}.weight": shape}, {f"{module}.weight": added}
    )


def dora(name: str, axis: int, keep: bool = True, **ends: str) -> Layout:
    """W' = m V / |V| with V = W + ΔW; the norm is over `axis`."""
    size = (16, 1) if axis == 1 else (1, 12)
    m = 1 + torch.rand(*size)
    key = f"lora_unet_{FLAT}" if not ends else f"diffusion_model.{Q}"
    tensors = pair(key, **ends)
    added = product(tensors)

    def change(W: Tensor) -> Tensor:
        V = W + added
        return m.double() * V / V.norm(dim=axis, keepdim=True) - W

    stored = {**tensors, f"{key}.{name}": m if keep else m.flatten()}
    return Layout(stored, {f"{Q}.weight": LINEAR}, {f"{Q}.weight": change})


def with_dots(layout: Layout, name: str) -> Layout:
    """One tensor of the module of `K` by a name that has kept the last dot of it."""
    stored = {each.replace("_attn_q.", "_attn.q.") if each == name else each: T for each, T in layout.tensors.items()}
    return layout._replace(tensors=stored)


def added(suffix: str, tensor: str, shape: tuple[int, ...], module: str = Q) -> Layout:
    """The difference of a whole tensor, next to LoRA of another module."""
    difference = random(*shape)
    other = of_linear("diffusion_model.blocks.1.attn.q", "blocks.1.attn.q", **PEFT)
    return Layout(
        {**other.tensors, f"diffusion_model.{module}.{suffix}": difference},
        {**other.base, tensor: shape},
        {**other.changes, tensor: difference.double()},
    )


def biases(modules: Mapping[str, str], shapes: Sequence[tuple[int, ...]], prefix: str = "diffusion_model.") -> Layout:
    """Differences of the biases of layers: each name of the adapter → that of the base, and the shape of its weight."""
    found = [(random(shape[0]), each, shape) for each, shape in zip(modules.values(), shapes, strict=True)]
    return Layout(
        {f"{prefix}{module}.diff_b": change for module, (change, *_) in zip(modules, found, strict=True)},
        {f"{each}.{end}": shape[:size] for _, each, shape in found for end, size in (("weight", None), ("bias", 1))},
        {f"{each}.bias": change.double() for change, each, _ in found},
    )


def replaced(module: str, tensor: str, shape: tuple[int, ...]) -> Layout:
    """ComfyUI's replacement of a whole tensor, next to LoRA of another module."""
    stated = random(*shape)
    other = of_linear("diffusion_model.blocks.1.attn.q", "blocks.1.attn.q", **PEFT)
    return Layout(
        {**other.tensors, f"diffusion_model.{module}.set_weight": stated},
        {**other.base, tensor: shape},
        {**other.changes, tensor: lambda W: stated.double() - W},
    )


def named_twice(times: float) -> Layout:
    """By kohya's name of a module, and by ComfyUI's."""
    first = pair(K)
    A, B = (each.clone() for each in first.values())
    tensors = {**first, f"diffusion_model.{Q}.{PEFT_DOWN}": A, f"diffusion_model.{Q}.{PEFT_UP}": times * B}
    said = "two names" if times != 1 else ""
    return Layout(tensors, {f"{Q}.weight": LINEAR}, {f"{Q}.weight": product(first)}, said)


def biased(key: str, up: str, scale: float) -> Layout:
    """LoRA with a bias, which has the scale of its module."""
    module, bias = "transformer_blocks.0.attn.to_q", random(16)
    tensors = pair(key, up=f"{up}.weight", down=PEFT_DOWN if up == "lora_B" else DOWN)
    changes = {f"{module}.weight": product(tensors, scale), f"{module}.bias": scale * bias.double()}
    alpha = {f"{key}.alpha": torch.tensor(4 * scale)} if scale != 1 else {}
    return Layout(
        {**tensors, f"{key}.{up}.bias": bias, **alpha}, {f"{module}.weight": LINEAR, f"{module}.bias": (16,)}, changes
    )


def prefixed(prefix: str, module: str, flat: bool = False, **options: Any) -> Layout:
    name = module.replace(".", "_") if flat else module
    return of_linear(f"{prefix}{name}", module, **options)


def joined(
    stored: Mapping[str, tuple[int, ...]], whole: str, order: tuple[str | int, ...], width: int, **ends: str
) -> Layout:
    """Pairs of parts, for one weight of the base; a number in `order` stands for as many rows without a part."""
    tensors, rows = {}, []
    for part in order:
        if isinstance(part, int):
            rows.append(torch.zeros(part, width, dtype=torch.float64))
        else:
            own = pair(part, (*stored[part], width), **ends)
            tensors |= own
            rows.append(product(own))
    change, name = torch.cat(rows), whole if whole.endswith("weight") else f"{whole}.weight"
    return Layout(tensors, {name: tuple(change.shape)}, {name: change})


def divided(key: str, parts: Mapping[str, int], width: int, swapped: bool = False, **ends: Any) -> Layout:
    """The pair of a joined weight, for a base that has its parts."""
    tensors = pair(key, (sum(parts.values()), width), **ends)
    rows = product(tensors)
    if swapped:
        rows = torch.cat(rows.chunk(2)[::-1])
    changes = dict(zip(parts, rows.split(list(parts.values())), strict=True))
    return Layout(
        tensors,
        {f"{name}.weight": (size, width) for name, size in parts.items()},
        {f"{name}.weight": each for name, each in changes.items()},
    )


def several(*layouts: Layout) -> Layout:
    """All in one file."""
    found = Layout({}, {}, {})
    for each in layouts:
        found = Layout(
            {**found.tensors, **each.tensors},
            {**found.base, **each.base},
            {**found.changes, **each.changes},
            header={**found.header, **each.header},
        )
    return found


def twice() -> Layout:
    """Z-Image: each update as factors of the parts, and again of the joined weight."""
    parts = [
        pair(f"layers.0.attention.to.{each}", (8, 8), down="lora.down.weight", up="lora.up.weight") for each in "qkv"
    ]
    rows = [product(each) for each in parts]
    alphas = {f"layers.0.attention.to_{each}.alpha": torch.tensor(4.0) for each in "qkv"}
    B = torch.block_diag(*(list(each.values())[1] for each in parts))
    A = torch.cat([next(iter(each.values())) for each in parts])
    whole = {"layers.0.attention.qkv.lora.down.weight": A, "layers.0.attention.qkv.lora.up.weight": B}
    whole["layers.0.attention.qkv.alpha"] = torch.tensor(12.0)
    tensors = {name: each for part in parts for name, each in part.items()} | alphas | whole
    return Layout(
        tensors, {"layers.0.attention.qkv.weight": (24, 8)}, {"layers.0.attention.qkv.weight": torch.cat(rows)}
    )
