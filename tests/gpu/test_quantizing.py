"""On a GPU the bytes are those of the CPU, and transformers computes with them."""

from __future__ import annotations

from pathlib import Path

import bitsandbytes.functional as bnb
import pytest
import torch
from codes import DTYPES, encode, normal, reader, same, unpacked
from corpus import tree
from quantized_models import SCHEMES, TOKENS, load_quantized, write_lora, write_model, write_quantized
from torch import Tensor
from transformers import AutoModelForCausalLM

from adapterops.cli.main import run
from adapterops.quant.bitsandbytes import four_bit
from adapterops.quant.fourbit import FourBit
from adapterops.quant.int8 import Int8
from adapterops.quant.scheme import Writable
from adapterops.quant.transposed import Transposed

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU; `make test-gpu` looks for one"),
]

ENCODED: dict[str, Writable] = {
    "nf4": FourBit(),
    "nested nf4": FourBit(nested=True),
    "nf4 in large blocks": FourBit(block_size=256),
    "fp4": FourBit("fp4"),
    "int8": Int8(),
    "transposed nf4": Transposed(FourBit()),
}
ALL_DTYPES = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)


def weight(shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """With a block of zeros, a tiny one and a large one, that float16 holds."""
    W = 0.02 * normal(1, *shape)
    flat = W.view(-1)
    flat[64:128] = 0
    flat[128:192] *= 1e-6
    flat[192:256] *= 1e4
    flat[::97] *= 20
    return W.to(dtype)


def on_cpu(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    return {role: part.cpu() for role, part in parts.items()}


@ALL_DTYPES
@pytest.mark.parametrize("shape", [(512, 1024), (257, 333), (3, 96)], ids=str)
@pytest.mark.parametrize("scheme", ENCODED.values(), ids=ENCODED)
def test_codes_are_those_of_the_cpu(scheme: Writable, shape: tuple[int, int], dtype: torch.dtype) -> None:
    W = weight(shape, dtype)
    assert same(on_cpu(encode(scheme.encoder(shape), W.cuda())), encode(scheme.encoder(shape), W))


@pytest.mark.parametrize("scheme", ENCODED.values(), ids=ENCODED)
def test_what_codes_stand_for_is_the_same(scheme: Writable) -> None:
    W = weight((256, 320), torch.float32)
    here, there = (scheme.encoder(W.shape).rows(values, 0)[1]() for values in (W, W.cuda()))
    assert torch.equal(there.cpu(), here)


@pytest.mark.parametrize("scheme", ENCODED.values(), ids=ENCODED)
def test_stochastic_rounding_gives_the_same_bytes(scheme: Writable) -> None:
    W = weight((256, 320), torch.bfloat16)
    found = encode(scheme.encoder(W.shape), W)
    target = W.float() + 0.002 * normal(2, 256, 320)
    results = [encode(scheme.on_grid(W.shape, reader(found), "key"), values) for values in (target, target.cuda())]
    assert same(on_cpu(results[1]), results[0])


@ALL_DTYPES
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_codes_are_those_of_bitsandbytes(kind: str, dtype: torch.dtype) -> None:
    """Its kernels give a block of zeros another code of zero, have two FP4 thresholds one step off,
    and an inexact reciprocal.
    """
    W = weight((512, 1024), dtype)
    found = encode(FourBit(kind).encoder(W.shape), W)
    codes, state = bnb.quantize_4bit(W.cuda(), quant_type=kind)
    assert torch.equal(state.absmax.cpu(), found["weight.absmax"])
    theirs, ours = unpacked({"weight": codes.cpu().view(-1)}, W.numel()), unpacked(found, W.numel())
    numbers = state.code.cpu()
    different = (theirs != ours) & (numbers[theirs.long()] != numbers[ours.long()])
    different &= found["weight.absmax"].repeat_interleave(64) > 0
    allowed = 0 if kind == "nf4" and dtype != torch.float32 else 4e-6 * W.numel()
    assert int(different.sum()) <= allowed


@pytest.mark.parametrize("size", [32, 64, 128, 4096])
@pytest.mark.parametrize("seed", range(4))
def test_what_its_kernel_encodes_has_the_bytes_of_the_cpu(size: int, seed: int) -> None:
    """Of bfloat16; of ordinary blocks, so that nothing is left to our own kernels."""
    W = (0.02 * normal(seed, 2048, 4096)).bfloat16()
    found = four_bit(W.float().cuda().view(-1, size), "nf4")
    assert found is not None
    expected = encode(FourBit(block_size=size).encoder(W.shape), W)
    assert torch.equal(found[0].cpu(), expected["weight"])
    assert torch.equal(found[1].cpu(), expected["weight.absmax"])


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_model_is_quantized_to_the_same_bytes(tmp_path: Path, name: str, scheme: str) -> None:
    base = write_model(tmp_path / "base", name)
    adapter = write_lora(tmp_path / "adapter", base, name)
    for command in (["quantize", str(base), "--to"], ["fuse", str(base), str(adapter), "--quantize"]):
        for device in ("cpu", "cuda"):
            out = tmp_path / f"{command[0]} {device}"
            assert run([*command, *SCHEMES[scheme][0], "--device", device, "-o", str(out)]) == 0
        here, there = (tree(tmp_path / f"{command[0]} {device}") for device in ("cpu", "cuda"))
        assert {file for file in here if here[file] != there[file]} <= {"adapterops.json"}  # which may name the device


@pytest.mark.parametrize("scheme", ["nf4", "nested nf4", "int8"])
def test_an_update_is_rounded_stochastically_to_the_same_bytes(tmp_path: Path, scheme: str) -> None:
    base = write_model(tmp_path / "base", "llama")
    adapter, theirs = (
        write_lora(tmp_path / "adapter", base, "llama"),
        write_quantized(tmp_path / "theirs", base, scheme),
    )
    for device in ("cpu", "cuda"):
        command = ["fuse", str(theirs), str(adapter), "--rounding", "stochastic", "--device", device]
        assert run([*command, "-o", str(tmp_path / device)]) == 0
    here, there = (tree(tmp_path / device) for device in ("cpu", "cuda"))
    assert {file for file in here if here[file] != there[file]} <= {"adapterops.json"}


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "gpt2"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_transformers_computes_with_it(tmp_path: Path, name: str, scheme: str) -> None:
    base = write_model(tmp_path / "base", name)
    assert run(["quantize", str(base), "--to", *SCHEMES[scheme][0], "-o", str(tmp_path / "out")]) == 0
    ours, found = AutoModelForCausalLM.from_pretrained(tmp_path / "out", device_map="cuda", output_loading_info=True)
    assert not any(found.values()), found
    theirs = load_quantized(base, scheme, "cuda")
    whole = AutoModelForCausalLM.from_pretrained(base, device_map="cuda")
    with torch.no_grad():
        answers = [model(input_ids=TOKENS.cuda()).logits.float() for model in (ours, theirs, whole)]
    scale = float(answers[2].abs().max())
    assert float((answers[0] - answers[1]).abs().max()) < 0.02 * scale
    assert float((answers[0] - answers[2]).norm() / answers[2].norm()) < 0.5
