"""Tiny models in bfloat16, in codes that transformers itself makes of them, and adapters for both."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    CLIPConfig,
    CLIPModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertForSequenceClassification,
    Gemma4ForCausalLM,
    Gemma4TextConfig,
    GlmMoeDsaConfig,
    GlmMoeDsaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Mamba2Config,
    Mamba2ForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    Phi3Config,
    Phi3ForCausalLM,
    Pop2PianoConfig,
    Pop2PianoForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from adapterops.arrays.dtypes import FLOATS

SIZES = {"hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 320}
ROPE = {"rope_type": "default", "mrope_section": [4, 6, 6]}
TEXT = {**SIZES, "intermediate_size": 192, "num_hidden_layers": 1, "rope_parameters": ROPE}
VISION = {"depth": 1, "embed_dim": 64, "hidden_size": 128, "num_heads": 2, "patch_size": 4}
LAYER = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 128, "num_hidden_layers": 1}
DISTILLED = {"vocab_size": 320, "dim": 128, "hidden_dim": 128, "n_layers": 1, "n_heads": 4}
LATENT = {
    **SIZES, "intermediate_size": 192, "moe_intermediate_size": 64, "num_key_value_heads": 4, "n_routed_experts": 4, "n_group": 1,
    "topk_group": 1, "num_experts_per_tok": 2, "q_lora_rank": 64, "kv_lora_rank": 64, "qk_rope_head_dim": 32, "v_head_dim": 32,
    "qk_nope_head_dim": 32, "index_n_heads": 64, "index_head_dim": 64, "index_topk": 16, "pad_token_id": 0,
}  # fmt: skip
PER_LAYER = {"vocab_size_per_layer_input": 256, "hidden_size_per_layer_input": 64}
WIDE = {
    "d_model": 128, "vocab_size": 320, "encoder_layers": 1, "encoder_attention_heads": 4, "encoder_ffn_dim": 128,
    "decoder_layers": 1, "decoder_attention_heads": 4, "decoder_ffn_dim": 128,
}  # fmt: skip
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
EXPERTS = {"moe_intermediate_size": 64, "num_experts": 4, "num_experts_per_tok": 2, "head_dim": 32}
MODELS: dict[str, Callable[[], nn.Module]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, intermediate_size=192, num_hidden_layers=2)),
    "small llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, intermediate_size=192, num_hidden_layers=1)),
    "uneven llama": lambda: LlamaForCausalLM(
        LlamaConfig(**{**SIZES, "hidden_size": 80}, intermediate_size=104, num_hidden_layers=1)
    ),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**SIZES, intermediate_size=192, num_hidden_layers=1, pad_token_id=0)),
    "mixtral": lambda: MixtralForCausalLM(
        MixtralConfig(**SIZES, intermediate_size=64, num_hidden_layers=1, num_local_experts=3)
    ),
    "mamba2": lambda: Mamba2ForCausalLM(
        Mamba2Config(
            hidden_size=64, num_hidden_layers=1, vocab_size=320, state_size=8, num_heads=8, head_dim=16, n_groups=1
        )
    ),
    "qwen2_vl": lambda: Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=TEXT, vision_config=VISION)),
    "gpt_oss": lambda: GptOssForCausalLM(
        GptOssConfig(
            **SIZES, intermediate_size=64, num_hidden_layers=1, num_local_experts=3, num_experts_per_tok=2, head_dim=32
        )
    ),
    "even qwen3_moe": lambda: Qwen3MoeForCausalLM(
        Qwen3MoeConfig(**SIZES, **EXPERTS, intermediate_size=192, num_hidden_layers=1)
    ),
    "qwen3_moe": lambda: Qwen3MoeForCausalLM(
        Qwen3MoeConfig(**SIZES, **EXPERTS, intermediate_size=192, num_hidden_layers=2)
    ),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=320, n_embd=128, n_layer=2, n_head=4, n_positions=64)),
    "whisper": lambda: WhisperForConditionalGeneration(
        WhisperConfig(**WIDE, **SPECIAL, num_mel_bins=8, max_source_positions=16, decoder_start_token_id=1)
    ),
    "modernbert": lambda: ModernBertForMaskedLM(
        ModernBertConfig(**LAYER, **SPECIAL, vocab_size=320, cls_token_id=1, sep_token_id=2, max_position_embeddings=64)
    ),
    "distilbert": lambda: DistilBertForMaskedLM(DistilBertConfig(**DISTILLED)),
    "distilbert classifier": lambda: DistilBertForSequenceClassification(DistilBertConfig(**DISTILLED)),
    "albert": lambda: AlbertForMaskedLM(AlbertConfig(**LAYER, vocab_size=320, embedding_size=64)),
    "gpt": lambda: OpenAIGPTLMHeadModel(
        OpenAIGPTConfig(vocab_size=320, n_embd=128, n_layer=1, n_head=4, n_positions=64)
    ),
    "clip": lambda: CLIPModel(
        CLIPConfig(
            text_config={**LAYER, "vocab_size": 320},
            vision_config={**LAYER, "image_size": 32, "patch_size": 16},
            projection_dim=64,
        )
    ),
    "pop2piano": lambda: Pop2PianoForConditionalGeneration(
        Pop2PianoConfig(
            vocab_size=320, composer_vocab_size=21, d_model=128, d_kv=32, d_ff=128, num_layers=1, num_heads=4
        )
    ),
    "glm_moe_dsa": lambda: GlmMoeDsaForCausalLM(GlmMoeDsaConfig(**LATENT, num_hidden_layers=2)),
    "gemma4": lambda: Gemma4ForCausalLM(
        Gemma4TextConfig(
            **SIZES, **PER_LAYER, intermediate_size=192, num_hidden_layers=1, head_dim=64, global_head_dim=64
        )
    ),
}
TARGETS = {
    "llama": ["q_proj", "down_proj"],
    "small llama": ["q_proj", "down_proj"],
    "qwen3_moe": ["q_proj", "o_proj"],
    "even qwen3_moe": ["q_proj", "o_proj"],
    "gpt_oss": ["q_proj", "o_proj"],
    "gpt2": ["c_attn", "c_fc"],
}
SCHEMES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "nf4": (["nf4"], {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}),
    "nested nf4": (
        ["nf4", "--double-quant"],
        {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    ),
    "fp4": (["fp4"], {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}),
    "int8": (["int8"], {"load_in_8bit": True}),
}
"""Arguments of ours, and what transformers calls the same."""

TOKENS = torch.arange(24).reshape(2, 12)


def write_model(folder: Path, name: str, **options: Any) -> Path:
    torch.manual_seed(list(MODELS).index(name))
    MODELS[name]().to(torch.bfloat16).save_pretrained(folder, **options)
    return folder


def load_quantized(base: Path, scheme: str, device: str = "cpu") -> Any:
    """A 16-bit model, which transformers quantizes as it loads it; on a GPU, if there is one, unless told otherwise."""
    four = {} if scheme == "int8" else {"bnb_4bit_compute_dtype": torch.bfloat16}
    config = BitsAndBytesConfig(**SCHEMES[scheme][1], **four)
    return auto(base).from_pretrained(base, quantization_config=config, dtype=torch.bfloat16, device_map=device).eval()


def auto(folder: Path) -> Any:
    """What loads it."""
    (name,) = json.loads((folder / "config.json").read_text())["architectures"]
    return getattr(transformers, name)


def write_quantized(folder: Path, base: Path, scheme: str, **options: Any) -> Path:
    """What transformers saves of that."""
    load_quantized(base, scheme).save_pretrained(folder, **options)
    return folder


def load(folder: Path) -> Any:
    """A model as transformers loads it, of which nothing is missing and nothing is left over."""
    model, found = auto(folder).from_pretrained(folder, device_map="cpu", output_loading_info=True)
    assert not any(found.values()), found
    return model.eval()


def logits(model: Any) -> Tensor:
    """The weights of a quantized model may be laid out anew by this: nothing may be read from them later."""
    with torch.no_grad():
        found: Tensor = model(input_ids=TOKENS).logits
    return found


def write_lora(folder: Path, base: Path, name: str, std: float = 0.05, seed: int = 0, **fields: Any) -> Path:
    """An adapter of PEFT's for a 16-bit model."""
    torch.manual_seed(seed)
    fields = {"r": 8, "target_modules": TARGETS[name], "fan_in_fan_out": name == "gpt2", **fields}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(
            AutoModelForCausalLM.from_pretrained(base), peft.LoraConfig(task_type="CAUSAL_LM", **fields)
        )
        for key, parameter in model.named_parameters():
            if "lora_B" in key:
                nn.init.normal_(parameter, std=std)
        model.save_pretrained(folder)
    return folder


def deltas(adapter: Path) -> dict[str, Tensor]:
    """Module → ΔW, by the definition, in float64."""
    fields, tensors = (
        json.loads((adapter / "adapter_config.json").read_text()),
        load_file(adapter / "adapter_model.safetensors"),
    )
    found = {}
    for key, A in tensors.items():
        if "lora_A" in key:
            B = tensors[key.replace("lora_A", "lora_B")]
            found[key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")] = (
                fields["lora_alpha"] / fields["r"] * B.double() @ A.double()
            )
    return found


def files_of(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder; no name may come twice."""
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        new = load_file(path)
        assert not found.keys() & new.keys()
        found |= new
    return found


def stands_for(tensors: dict[str, Tensor], name: str) -> Tensor:
    """The numbers of a weight that is stored in codes, entry by entry, as they are used."""
    if f"{name.removesuffix('.weight')}.SCB" in tensors:
        codes, scales = tensors[name], tensors[f"{name.removesuffix('.weight')}.SCB"]
        return codes.float() * (scales.view(-1, 1) * 7.874015718698502e-3)
    state = next(json.loads(bytes(tensor)) for key, tensor in tensors.items() if key.startswith(f"{name}.quant_state"))
    packed = tensors[name].view(torch.uint8).reshape(-1)
    codes = torch.stack([packed // 16, packed % 16], dim=1).view(-1).long()
    absmax = tensors[f"{name}.absmax"]
    if "nested_offset" in state:
        block = torch.arange(len(absmax)) // state["nested_blocksize"]
        absmax = tensors[f"{name}.nested_quant_map"][absmax.long()] * tensors[f"{name}.nested_absmax"][block]
        absmax = absmax + torch.tensor(state["nested_offset"])
    values = tensors[f"{name}.quant_map"][codes] * absmax[torch.arange(len(codes)) // state["blocksize"]]
    return values[: torch.Size(state["shape"]).numel()].view(state["shape"]).to(getattr(torch, state["dtype"]))


def coded(tensors: dict[str, Tensor]) -> list[str]:
    """The weights that are stored in codes."""
    dtypes = {getattr(torch, name) for name in FLOATS.values()}
    return sorted(name for name, tensor in tensors.items() if name.endswith(".weight") and tensor.dtype not in dtypes)
