"""Models and adapters, and ways to plant a fault in what fuses them, for tests of what `verify` finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pytest
import torch
from corpus import config, write_adapter
from gptq_models import GPTQWeight, write_gptq
from safetensors.torch import save_file
from torch import Tensor

import adapterops as ao
from adapterops.arrays.floats import narrowed
from adapterops.checkpoints.checkpoint import original
from adapterops.formats.models.naming import Candidate, canonical
from adapterops.operations.targets.output_bias import with_words
from adapterops.operations.targets.target import Edit, Target, Targets
from adapterops.operations.targets.token_rows import with_rows
from adapterops.quant.tables import codebook
from adapterops.quant.used import unrounded
from adapterops.updates.survival import Block

Plant = Callable[[pytest.MonkeyPatch], None]
LAYER = "model.layers.0."
WIDTH = 32


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def folder(place: Path, tensors: dict[str, Tensor], **fields: Any) -> Path:
    place.mkdir()
    save_file(
        {name: each.contiguous() for name, each in tensors.items()}, place / "model.safetensors", {"format": "pt"}
    )
    (place / "config.json").write_text(json.dumps(fields))
    return place


def lora(
    place: Path, modules: dict[str, tuple[int, int]], more: dict[str, Tensor] | None = None, **fields: Any
) -> Path:
    tensors = dict(more or {})
    for seed, (module, (out, into)) in enumerate(modules.items()):
        tensors[f"base_model.model.{module}.lora_A.weight"] = random(seed, 4, into) / 4
        tensors[f"base_model.model.{module}.lora_B.weight"] = random(seed + 50, out, 4) / 4
    return write_adapter(place, tensors, config(4, lora_alpha=6, **fields))


def llama(dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    tensors = {"model.embed_tokens.weight": random(0, 48, WIDTH), "model.other.weight": random(1, 48, WIDTH)}
    for layer in (0, 1):
        for seed, name in enumerate(("q_proj", "k_proj", "v_proj", "o_proj")):
            tensors[f"model.layers.{layer}.self_attn.{name}.weight"] = random(10 * layer + seed, WIDTH, WIDTH) / 8
        for seed, name in enumerate(("input_layernorm", "post_attention_layernorm")):
            tensors[f"model.layers.{layer}.{name}.weight"] = random(70 + 10 * layer + seed, WIDTH)
    return {name: each.to(dtype) for name, each in tensors.items()}


LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True}
ATTENTION = {f"{LAYER}self_attn.q_proj": (WIDTH, WIDTH), f"{LAYER}self_attn.v_proj": (WIDTH, WIDTH)}
Q = {f"{LAYER}self_attn.q_proj": (WIDTH, WIDTH)}
Case = tuple[ao.Checkpoint, ao.Adapter, dict[str, Any]]


def dense(place: Path) -> Case:
    return opened(folder(place / "base", llama(), **LLAMA), lora(place / "a", ATTENTION))


def coders(place: Path) -> Case:
    """A decoder next to an encoder with weights of its shapes and names."""
    name = "model.{}.layers.0.self_attn.q_proj"
    tensors = {
        f"{name.format(half)}.weight": random(seed, WIDTH, WIDTH) for seed, half in enumerate(("encoder", "decoder"))
    }
    config = {"model_type": "bart", "architectures": ["BartForConditionalGeneration"]}
    return opened(
        folder(place / "base", tensors, **config), lora(place / "a", {name.format("decoder"): (WIDTH, WIDTH)})
    )


def opened(base: Path, adapter: Path, **options: Any) -> Case:
    return ao.open_checkpoint(base), ao.open_adapter(adapter), options


def head(place: Path) -> Case:
    return opened(folder(place / "base", llama(), **LLAMA), lora(place / "a", {"lm_head": (48, WIDTH)}))


def whole(place: Path) -> Case:
    """Trained whole: the input embedding of a tied model, and two norms."""
    more = {
        f"base_model.model.{name}": 1.5 * random(9 + seed, *llama()[name].shape)
        for seed, name in enumerate(
            ["model.embed_tokens.weight", f"{LAYER}input_layernorm.weight", f"{LAYER}post_attention_layernorm.weight"]
        )
    }
    saved = ["embed_tokens", "input_layernorm", "post_attention_layernorm"]
    return opened(folder(place / "base", llama(), **LLAMA), lora(place / "a", Q, more, modules_to_save=saved))


EMBEDDING = "base_model.model.model.embed_tokens"


def resized(place: Path) -> Case:
    """An input embedding with more words, saved unannounced, of a model that ties both ends."""
    more = {f"{EMBEDDING}.weight": random(9, 52, WIDTH)}
    return opened(folder(place / "base", llama(), **LLAMA), lora(place / "a", Q, more))


def biased(place: Path) -> Case:
    """The same of a model with a bias of all logits."""
    more = {f"{EMBEDDING}.weight": random(9, 52, WIDTH)}
    base = {**llama(), "final_logits_bias": random(7, 1, 48)}
    return opened(folder(place / "base", base, **LLAMA), lora(place / "a", Q, more))


def ones(before: Any, words: int) -> Any:
    return lambda *_: Block(np.ones((1, words), "float32"), [])


def one_further(before: Any, words: int) -> Any:
    return lambda *rows: Block(np.roll(with_words(before, words)(*rows).values, 1), [])


def embedding(place: Path) -> Case:
    """LoRA on the input embedding of a model that ties both ends."""
    more = {f"{EMBEDDING}.lora_embedding_A": random(8, 4, 48), f"{EMBEDDING}.lora_embedding_B": random(9, WIDTH, 4)}
    return opened(folder(place / "base", llama(), **LLAMA), lora(place / "a", Q, more))


def without_head(place: Path) -> Case:
    """The same of an encoder and decoder without the head that the class of the adapter ties to it."""
    words = "decoder.embed_tokens"
    config = {"architectures": ["WhisperModel"], "is_encoder_decoder": True, "tie_word_embeddings": True}
    base = folder(place / "base", {f"{words}.weight": random(0, 48, WIDTH)}, model_type="whisper", **config)
    name = f"base_model.model.model.{words}.lora_embedding"
    more = {f"{name}_A": random(8, 4, 48), f"{name}_B": random(9, WIDTH, 4)}
    return opened(base, lora(place / "a", {}, more, task_type="SEQ_2_SEQ_LM"))


def rows(place: Path) -> Case:
    """Three rows of the input embedding."""
    more = {f"{EMBEDDING}.token_adapter.trainable_tokens_delta": random(9, 3, WIDTH)}
    return opened(
        folder(place / "base", llama(), **LLAMA), lora(place / "a", Q, more, trainable_token_indices=[40, 2, 9])
    )


def classifier(place: Path) -> Case:
    base = {**llama(), "lm_head.weight": random(3, 48, WIDTH).bfloat16()}
    more = {"base_model.model.score.weight": random(9, 3, WIDTH)}
    adapter = lora(place / "a", Q, more, task_type="SEQ_CLS", modules_to_save=["classifier", "score"])
    return opened(folder(place / "base", base, **{**LLAMA, "tie_word_embeddings": False}), adapter)


def settled(**fields: Any) -> Plant:
    return wrapped("adapterops.operations.fusion.resolve", lambda found, *_: replace(found, **fields))


def head_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def kept(found: Any, *_: Any) -> Any:
        return found and replace(found, dropped=frozenset())

    wrapped("adapterops.operations.targets.table.classifier_of", kept)(monkeypatch)


def moved(before: Any, indices: tuple[int, ...], stored: Any) -> Any:
    return with_rows(before, tuple(index + 1 for index in indices), stored)


def exchanged(before: Any, indices: tuple[int, ...], stored: Any) -> Any:
    return with_rows(before, (*indices[1::-1], *indices[2:]), stored)


def gpt2(place: Path) -> Case:
    base = {"h.0.attn.c_proj.weight": random(1, WIDTH, WIDTH), "h.0.attn.c_attn.weight": random(2, WIDTH, 3 * WIDTH)}
    modules = {"transformer.h.0.attn.c_proj": (WIDTH, WIDTH), "transformer.h.0.attn.c_attn": (3 * WIDTH, WIDTH)}
    return opened(folder(place / "base", base, model_type="gpt2"), lora(place / "a", modules, fan_in_fan_out=True))


def experts(place: Path) -> Case:
    """LoRA on single experts, in a base that has all of a layer in one tensor: square down, gate and up together."""
    path = f"{LAYER}block_sparse_moe.experts."
    base = {
        f"{LAYER}mlp.experts.gate_up_proj": random(1, 3, 2 * WIDTH, WIDTH).bfloat16(),
        f"{LAYER}mlp.experts.down_proj": random(2, 3, WIDTH, WIDTH).bfloat16(),
    }
    modules = {f"{path}{number}.{name}": (WIDTH, WIDTH) for number in (0, 1, 2) for name in ("w1", "w2", "w3")}
    return opened(folder(place / "base", base, model_type="mixtral"), lora(place / "a", modules))


def ungated(place: Path) -> Case:
    """LoRA on single experts that have no gates, in a base that has all of a layer in one tensor: square."""
    path = f"{LAYER}mixer.experts."
    base = {f"{path}{name}_proj": random(seed, 3, WIDTH, WIDTH).bfloat16() for seed, name in enumerate(("up", "down"))}
    modules = {f"{path}{number}.{name}_proj": (WIDTH, WIDTH) for number in (0, 2) for name in ("up", "down")}
    return opened(folder(place / "base", base, model_type="nemotron_h"), lora(place / "a", modules))


def all_turned(found: Target | None, *_: Any) -> Target | None:
    return found and replace(found, transposed=True)


def of_rows(place: Path) -> Case:
    """LoRA on q and k, in a base that has them in one tensor with v."""
    base = {
        f"gte.encoder.layer.{layer}.attention.qkv_proj.weight": random(layer, 3 * WIDTH, WIDTH) for layer in range(2)
    }
    modules = {f"gte.layers.{layer}.self_attn.{name}_proj": (WIDTH, WIDTH) for layer in range(2) for name in "qk"}
    return opened(folder(place / "base", base, model_type="gte"), lora(place / "a", modules))


def experts_saved_whole(place: Path) -> Case:
    """All experts of a layer in one full tensor, in a base that has each by itself: square, of gate, up and down."""
    path = f"{LAYER}mlp.experts."
    base = {
        f"{path}{number}.{name}_proj.weight": random(3 * number + seed, WIDTH, WIDTH).bfloat16()
        for number in range(3)
        for seed, name in enumerate(("gate", "up", "down"))
    }
    whole = {"gate_up_proj": random(20, 3, 2 * WIDTH, WIDTH), "down_proj": random(21, 3, WIDTH, WIDTH)}
    more = {f"base_model.model.{path}{name}": each for name, each in whole.items()}
    adapter = lora(place / "a", Q, more, modules_to_save=["experts"])
    q = {f"{LAYER}self_attn.q_proj.weight": random(30, WIDTH, WIDTH)}
    return opened(folder(place / "base", base | q, model_type="qwen3_moe"), adapter)


def next_expert(edits: dict[str, Edit]) -> dict[str, Edit]:
    """The first expert has the rows of the second."""
    further = {"down_proj": WIDTH, "gate_up_proj": 2 * WIDTH}
    return {
        name: replace(edit, first=edit.first + further[str(edit.full).rpartition(".")[2]])
        if edit.first is not None and ".experts.0." in name
        else edit
        for name, edit in edits.items()
    }


def turned_experts(place: Path) -> Case:
    path = f"{LAYER}mlp.experts."
    base = {f"{path}gate_up_proj": random(1, 2, WIDTH, 40), f"{path}down_proj": random(2, 2, 20, WIDTH)}
    modules = {f"{path}{n}.{name}": (20, WIDTH) for n in (0, 1) for name in ("gate_proj", "up_proj")}
    return opened(folder(place / "base", base, model_type="llama4"), lora(place / "a", modules))


def thirds(place: Path) -> Case:
    """Query, key and value each by itself, in a base that has them in one matrix: 32, 16 and 16 rows."""
    base = {f"{LAYER}self_attn.qkv_proj.weight": random(1, 2 * WIDTH, WIDTH).bfloat16()}
    shapes = {f"{LAYER}self_attn.{name}_proj": (height, WIDTH) for name, height in (("q", 32), ("k", 16), ("v", 16))}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": WIDTH}
    return opened(folder(place / "base", base, model_type="phi3", **heads), lora(place / "a", shapes))


def with_biases(place: Path) -> Case:
    """LoRA with a bias of its own, on layers with biases."""
    names = {module: f"{module}.bias" for module in ATTENTION}
    base = {**llama(), **{name: random(5, WIDTH).bfloat16() for name in names.values()}}
    more = {f"base_model.model.{module}.lora_B.bias": random(6 + n, WIDTH) for n, module in enumerate(names)}
    return opened(folder(place / "base", base, **LLAMA), lora(place / "a", ATTENTION, more, lora_bias=True))


def pairs(place: Path) -> Case:
    """A file of llama.cpp, whose rows of q and k are in pairs."""
    import gguf_models

    place.mkdir(exist_ok=True)
    gguf_models.write(place / "base.gguf")
    modules = {f"{LAYER}self_attn.q_proj": (256, 256), f"{LAYER}self_attn.k_proj": (128, 256)}
    return opened(place / "base.gguf", lora(place / "a", modules, target_modules=["q_proj", "k_proj"]))


def dora(place: Path) -> Case:
    more = {f"base_model.model.{LAYER}self_attn.q_proj.lora_magnitude_vector": random(3, WIDTH).abs() + 1}
    return opened(folder(place / "base", llama(), **LLAMA), lora(place / "a", Q, more, use_dora=True))


def loha(place: Path) -> Case:
    name = f"base_model.model.{LAYER}self_attn.q_proj"
    tensors = {f"{name}.hada_w{n}_{x}": random(2 * n + (x == "b"), 32, 32)[:, :4] / 2 for n in (1, 2) for x in "ab"}
    tensors = {each: value if each.endswith("a") else value.T for each, value in tensors.items()}
    tensors = {each: value.contiguous() for each, value in tensors.items()}
    fields = {"peft_type": "LOHA", "r": 4, "alpha": 6, "target_modules": ["q_proj"]}
    return opened(folder(place / "base", llama(), **LLAMA), write_adapter(place / "a", tensors, fields))


def lokr(place: Path) -> Case:
    name = f"base_model.model.{LAYER}self_attn.q_proj"
    tensors = {f"{name}.lokr_w1": random(1, 4, 4), f"{name}.lokr_w2": random(2, WIDTH // 4, WIDTH // 4)}
    fields = {"peft_type": "LOKR", "r": 20, "alpha": 6, "target_modules": ["q_proj"]}
    return opened(folder(place / "base", llama(), **LLAMA), write_adapter(place / "a", tensors, fields))


def coded(to: str, *, back: bool = False, **options: Any) -> Callable[[Path], Case]:
    """A base in codes; fused in the codes, or `back` in 16 bits."""

    def make(place: Path) -> Case:
        ao.save_checkpoint(
            ao.quantize(ao.open_checkpoint(folder(place / "plain", llama(), **LLAMA)), to), place / "base"
        )
        return opened(place / "base", lora(place / "a", Q), **(options or {"dequantize": back}))

    return make


def packed(kind: str) -> Callable[[Path], Case]:
    """Random words in a scheme that is only read, fused into float32."""

    def make(place: Path) -> Case:
        generator = torch.Generator().manual_seed(3)

        def words(*shape: int) -> Tensor:
            return torch.randint(-(2**31), 2**31 - 1, shape, generator=generator).int()

        def scales(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator) / 16 + 0.01

        module = f"{LAYER}self_attn.q_proj"
        adapter = lora(place / "a", {module: (WIDTH, WIDTH)})
        if kind == "gptq":
            weight = GPTQWeight.random(WIDTH, WIDTH, 4, 16, ordered=True)
            return opened(write_gptq(place / "base", {module: weight}, 16), adapter, dequantize=True)
        if kind == "awq":
            parts = {"qweight": words(WIDTH, 4), "qzeros": words(2, 4), "scales": scales(2, WIDTH).half()}
            said: dict[str, Any] = {"quant_method": "awq", "bits": 4, "group_size": 16, "zero_point": True}
        else:
            parts = {"weight": random(1, WIDTH, WIDTH).to(torch.float8_e4m3fn), "weight_scale_inv": scales(2, 2)}
            said = {"quant_method": "fp8", "weight_block_size": [16, 16]}
        tensors = {f"{module}.{role}": part for role, part in parts.items()}
        fields = {"model_type": "llama", "torch_dtype": "bfloat16", "quantization_config": said}
        return opened(folder(place / "base", tensors, **fields), adapter, dequantize=True)

    return make


def files(model_type: str, modules: dict[str, str], full: dict[str, str] | None = None) -> Callable[[Path], Case]:
    """Square weights under the names that transformers saves a model of this type with, and an adapter with the model's.

    Args:
        modules: module in the model → in the file.
        full: tensors that are trained whole, the same way.
    """

    def make(place: Path) -> Case:
        named = {**{f"{file}.weight": WIDTH for file in modules.values()}, **dict.fromkeys((full or {}).values(), 1)}
        base = {
            name: random(seed, *(WIDTH, width)[: 1 + (width > 1)]) / 8
            for seed, (name, width) in enumerate(named.items())
        }
        more = {f"base_model.model.{name}": random(seed, WIDTH) for seed, name in enumerate(full or {}, 90)}
        saved = {"modules_to_save": [name.split(".")[-2] for name in full]} if full else {}
        adapter = lora(place / "a", dict.fromkeys(modules, (WIDTH, WIDTH)), more, **saved)
        return opened(folder(place / "base", base, model_type=model_type), adapter)

    make.__name__ = model_type
    return make


hunyuan = files(
    "hunyuan_vl",
    {
        f"model.vision_tower.layers.{layer}.mlp.{one}": f"vit.layers.{layer}.mlp.{other}"
        for layer in (0, 1)
        for one, other in (("fc1", "dense_h_to_4h"), ("fc2", "dense_4h_to_h"))
    },
    {
        f"model.vision_tower.layers.0.{one}.weight": f"vit.layers.0.{other}.weight"
        for one, other in (("layer_norm1", "input_layernorm"), ("layer_norm2", "post_attention_layernorm"))
    },
)
deepseek = files(
    "deepseek_v4",
    {
        f"model.layers.0.{one}": f"layers.0.{other}"
        for one, other in (
            ("self_attn.q_a_proj", "attn.wq_a"),
            ("self_attn.q_b_proj", "attn.wq_b"),
            ("self_attn.kv_proj", "attn.wkv"),
            ("mlp.shared_experts.gate_proj", "ffn.shared_experts.w1"),
            ("mlp.shared_experts.down_proj", "ffn.shared_experts.w2"),
            ("mlp.shared_experts.up_proj", "ffn.shared_experts.w3"),
        )
    },
)
PI0 = "paligemma_with_expert."
pi0 = files(
    "pi0",
    {
        "model.dit.layers.0.self_attn.q_proj": f"{PI0}gemma_expert.model.layers.0.self_attn.q_proj",
        "model.vlm.language_model.layers.0.self_attn.q_proj": f"{PI0}paligemma.model.language_model.model.layers.0.self_attn.q_proj",
    },
)
nomic = files(
    "nomic_bert",
    {
        f"nomic_bert.layers.0.mlp.{one}": f"nomic_bert.encoder.layers.0.mlp.{other}"
        for one, other in (("gate_proj", "fc12"), ("up_proj", "fc11"), ("down_proj", "fc2"))
    },
)


def misnamed(one: str, other: str) -> Plant:
    """Two parts of the names that tensors of files have in the model, in each other's place."""

    def change(name: str, *_: Any) -> str:
        return other.join(part.replace(other, one) for part in name.split(one))

    return wrapped("adapterops.formats.models.loading.Loading.renamed", change)


def check(case: Case, out: Path) -> ao.Verification:
    """What `verify` says of what `fuse` makes."""
    base, adapter, options = case
    seed, back = options.get("seed"), options.get("dequantize")
    fused = ao.fuse(base, adapter)
    if back:
        fused = ao.dequantize(fused, "F32")
    elif base.schemes:
        fused = replace(fused, rounding="nearest" if seed is None else "stochastic", seed=seed or 0)
    ao.save_checkpoint(fused, out, accept_loss=True)
    return ao.verify(ao.open_checkpoint(out), base, adapter, seed=seed)


def planted(
    make: Callable[[Path], Case], plant: Plant, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> ao.Verification:
    """The same, with a fault; what names were found to mean without it is forgotten before, and what they mean with it after."""
    case = make(folder)
    plant(monkeypatch)
    canonical.cache_clear()
    try:
        return check(case, folder / "out")
    finally:
        canonical.cache_clear()


def wrapped(path: str, change: Callable[..., Any]) -> Plant:
    """`change` is called with what a function or method returned, and its arguments."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        owner, _, name = path.rpartition(".")
        holder = resolve_name(owner)
        true = getattr(holder, name)
        monkeypatch.setattr(holder, name, lambda *args, **kwargs: change(true(*args, **kwargs), *args, **kwargs))

    return plant


def put(path: str, value: Any) -> Plant:
    return lambda monkeypatch: monkeypatch.setattr(f"adapterops.{path}", value)


def item(path: str, **values: Any) -> Plant:
    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        for key, value in values.items():
            monkeypatch.setitem(resolve_name(f"adapterops.{path}"), key, value)

    return plant


def renamed(old: str, new: str) -> Plant:
    def change(found: list[Candidate], *_: Any) -> list[Candidate]:
        return [
            each._replace(tensor=each.tensor.replace(old, new), start=each.start.replace(old, new)) for each in found
        ]

    return wrapped("adapterops.formats.models.naming.Names.candidates", change)


def other_bias(found: list[Candidate], names: Any, module: str) -> list[Candidate]:
    """Biases of query and value in each other's place."""
    if not module.endswith(".bias"):
        return found
    swap = {"q_proj": "v_proj", "v_proj": "q_proj"}
    (old,) = [each for each in swap if each in module]
    return [Candidate(each.tensor.replace(old, swap[old]), each.start.replace(old, swap[old])) for each in found]


def started(found: list[Candidate], *_: Any) -> list[Candidate]:
    return [Candidate(each.tensor, "model.other.weight", each.expert) for each in found]


def table(change: Callable[[dict[str, Edit]], dict[str, Edit]]) -> Plant:
    return wrapped(
        "adapterops.operations.fusion.resolve", lambda found, *_: Targets(change(dict(found.edits)), found.untied)
    )


def placed(change: Callable[[Target], Target | None]) -> Plant:
    """Each target as a function of what it is; None is left out."""

    def changed(edits: dict[str, Edit]) -> dict[str, Edit]:
        found = {name: [change(each) for each in edit.targets] for name, edit in edits.items()}
        return {
            name: replace(edit, targets=tuple(each for each in found[name] if each)) for name, edit in edits.items()
        }

    return table(changed)


def without_an_expert(target: Target) -> Target | None:
    return None if ".experts.1.w2" in target.source else target


def value_before_key(target: Target) -> Target:
    return replace(target, row={0: 0, 32: 48, 48: 32}[target.row])


def a_third_too_low(target: Target) -> Target:
    return replace(target, row=16 if target.row == 32 else target.row)


def more(edits: dict[str, Edit]) -> dict[str, Edit]:
    """An update in another tensor, too."""
    name = f"{LAYER}self_attn.q_proj.weight"
    other = name.replace("q_proj", "o_proj")
    targets = tuple(replace(each, tensor=other, module=f"{each.module}.too") for each in edits[name].targets)
    return {**edits, other: Edit(other, targets=targets)}


def fewer(edits: dict[str, Edit]) -> dict[str, Edit]:
    return {name: edit for name, edit in edits.items() if "v_proj" not in name}


def turned(edits: dict[str, Edit]) -> dict[str, Edit]:
    return {
        name: replace(edit, targets=tuple(replace(each, transposed=not each.transposed) for each in edit.targets))
        for name, edit in edits.items()
    }


def switched(one: str, other: str) -> Plant:
    """Full tensors in each other's place."""

    def change(edits: dict[str, Edit]) -> dict[str, Edit]:
        first, second = f"{LAYER}{one}.weight", f"{LAYER}{other}.weight"
        swap = {edits[first].full: edits[second].full, edits[second].full: edits[first].full}
        return {name: replace(edit, full=swap.get(edit.full, edit.full)) for name, edit in edits.items()}

    return table(change)


def product(change: Callable[[np.ndarray[Any, Any]], Any]) -> Plant:
    """Entries of B A after a fault."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        from adapterops.updates.lowrank import LowRank

        true = LowRank.rows

        def rows(self: Any, part: Any, out: Any) -> Any:
            found = true(self, part, out)
            found[...] = change(found.copy())
            return found

        monkeypatch.setattr(LowRank, "rows", rows)

    return plant


def without_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    from adapterops.updates.lowrank import LowRank

    monkeypatch.setattr(LowRank, "folded", lambda self, dtype="float32": self.B.astype(dtype))


def cut(dtype: str) -> Plant:
    """Rounding towards zero, or through another dtype."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        from adapterops.updates import survival

        def faulty(values: Any, to: str, memory: Any, **options: bool) -> Any:
            if dtype == "zero" and to == "BF16":
                kept = (values.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)
            else:
                kept = values.astype(np.float16).astype(np.float32) if values.ndim == 2 else values
            return narrowed(kept, to, memory, **options)

        monkeypatch.setattr(survival, "narrowed", faulty)
        monkeypatch.setattr(survival, "checked", faulty)

    return plant


def decoded(kind: str, change: Callable[[Tensor], Tensor]) -> Plant:
    return wrapped(f"adapterops.quant.{kind}.decode", lambda found, *_: change(found))


def other_codebook(monkeypatch: pytest.MonkeyPatch) -> None:
    values = list(codebook("nf4").values.tolist())
    values[3], values[12] = values[3] * 0.98, values[12] * 1.02
    wrong = type(codebook("nf4")).of(tuple(values))
    monkeypatch.setattr("adapterops.quant.tables.codebook", lambda kind: wrong)


def halves(found: tuple[int, Tensor, Tensor], *_: Any) -> tuple[int, Tensor, Tensor]:
    """The two codes of a byte in the wrong order."""
    first, codes, absmax = found
    return first, (codes >> 4) | ((codes & 15) << 4), absmax


def one_too_low(codes: Tensor, *_: Any) -> Tensor:
    return (codes & 0xF0) | ((codes & 15).int() - 1).clamp(min=0).to(torch.uint8)


def direction_alone(self: Any, part: Any, W: Any, out: Any) -> Any:
    return self.direction.rows(part, out)


def clipped(found: Any, self: Any, values: Tensor, begin: int) -> Any:
    parts, stored = found
    return {**parts, "weight": (parts["weight"].float() - 1).clamp(-127, 127).to(torch.int8)}, stored


def not_rounded(self: ao.Checkpoint, name: str) -> Any:
    stored = self.stored[name]
    return original(replace(stored, scheme=unrounded(stored.scheme)) if stored.scheme else stored)


def not_turned(self: Any) -> Any:
    square = self.shape[0] == self.shape[1]
    return self if square else replace(self, B=self.A.T, A=self.B.T)


def columns_swapped(edits: dict[str, Edit]) -> dict[str, Edit]:
    return {
        name: replace(edit, targets=tuple(replace(each, column=20 - each.column) for each in edit.targets))
        for name, edit in edits.items()
    }


def turned_square(tensor: str, base: Any) -> bool | None:
    """Square experts are taken for (in, out), and others for what they are."""
    _, height, width = base[tensor].shape
    return True if height == width else None


def reversed_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Expert 0 as expert 2, and 2 as 0."""

    def candidates(found: list[Candidate], *_: Any) -> list[Candidate]:
        return [each._replace(expert=None if each.expert is None else 2 - each.expert) for each in found]

    wrapped("adapterops.formats.models.naming.Names.candidates", candidates)(monkeypatch)


def by_W_alone(self: Any, part: Any, W: Any, out: Any) -> Any:
    self.direction.rows(part, out)
    length = np.linalg.norm(W, axis=1)
    return (out + W) * (self.magnitude[part[0]] / length)[:, None] - W


def as_sum(self: Any, part: Any, out: Any) -> Any:
    self.first.rows(part, out)
    return np.multiply(out + self.second.rows(part, np.empty_like(out)), self.scale, out=out)


def other_way_round(self: Any, part: Any, out: Any) -> Any:
    one, two = self.sides(out.dtype)
    np.copyto(out, np.kron(two, one)[part])
    return out
