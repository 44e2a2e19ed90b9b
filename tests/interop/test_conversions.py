"""Every cell of the table of conversions: what is written is loaded by the program that it is for, and is the same update."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import conversions
import gguf
import gguf_files
import numpy as np
import peft
import peft_models
import pytest
import torch
from conversions import BASE, NO, TABLE, TARGETS, YES
from peft_models import make
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from adapterops.cli.main import run

Deltas = Mapping[str, Tensor]
"""Module of a model, as transformers or diffusers calls it → ΔW."""

WIDTH = 32
ATTENTION = "transformer_blocks.0.attn"
Q = "model.layers.0.self_attn.q_proj"


def random(*shape: int) -> Tensor:
    return 0.1 * torch.randn(*shape)


def of_peft(folder: Path, **config: Any) -> Deltas:
    make(folder, 1, r=4, target_modules=["q_proj", "up_proj"], **config)
    return peft_models.deltas(peft_models.load(folder))


def of_peft_kind(folder: Path, config: peft.PeftConfig) -> Deltas:
    model = peft.get_peft_model(peft_models.base(), config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return changed(peft_models.base().state_dict(), model.merge_and_unload().state_dict())


def of_image(folder: Path, config: peft.PeftConfig) -> Deltas:
    model = peft.get_peft_model(flux(), config)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, 1.0 if "magnitude" in name else 0.0, std=0.1)
    model.save_pretrained(folder)
    return changed(flux().state_dict(), model.merge_and_unload().state_dict())


def of_flux(**config: Any) -> Callable[[Path], Deltas]:
    return lambda path: of_image(path, peft.LoraConfig(r=4, lora_alpha=6, target_modules=OF_FLUX, **config))


OF_FLUX = ["attn.to_q", "attn.to_out.0"]


def of_qalora(folder: Path) -> Deltas:
    """By the formula of PEFT's forward pass, which needs a weight of GPTQ: A sees means of 8 inputs, times their number."""
    folder.mkdir()
    A, B, start = random(4, 64 // 8), random(64, 4), f"base_model.model.{Q}"
    save_file({f"{start}.lora_A.weight": A, f"{start}.lora_B.weight": B}, folder / "adapter_model.safetensors")
    fields = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj"], "use_qalora": True, "qalora_group_size": 8}
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **fields}))
    means = torch.block_diag(*[torch.full((1, 8), 1 / 8)] * 8)
    return {Q: 6 / 4 * B @ A @ (8 * means)}


def with_full_tensors(folder: Path) -> Deltas:
    deltas = dict(of_peft(folder, modules_to_save=["lm_head"]))
    file, trained = folder / "adapter_model.safetensors", random(128, 64)
    tensors = load_file(file)
    tensors["base_model.model.lm_head.weight"] += trained
    save_file(tensors, file, {"format": "pt"})
    return {**deltas, "lm_head": trained}


def of_mlx(folder: Path) -> Deltas:
    folder.mkdir()
    a, b = random(64, 4), random(4, 64)
    save_file({f"{Q}.lora_a": a, f"{Q}.lora_b": b}, folder / "adapters.safetensors")
    fields = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": {"rank": 4, "scale": 20.0, "dropout": 0.0}}
    (folder / "adapter_config.json").write_text(json.dumps(fields))
    return {Q: 20 * (a @ b).T}


def of_llama_cpp(path: Path) -> Deltas:
    """Of ranks that differ, in llama.cpp's order of the rows of q: alpha is divided by the rank of each."""
    path.mkdir()
    writer = gguf.GGUFWriter(str(path / "adapter.gguf"), "llama")
    for field, value in (("general.type", "adapter"), ("adapter.type", "lora")):
        writer.add_string(field, value)
    writer.add_float32("adapter.lora.alpha", 6.0)
    deltas = {}
    for rank, (name, (module, heads)) in enumerate(ROWS.items(), 2):
        A, B = random(rank, 64), random(112 if module == UP else 64, rank)
        writer.add_tensor(f"{name}.weight.lora_a", A.numpy())
        writer.add_tensor(f"{name}.weight.lora_b", gguf_files.permuted(B.numpy(), heads).copy())
        deltas[module] = 6 / rank * B @ A
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return deltas


UP = "model.layers.0.mlp.up_proj"
ROWS = {"blk.0.attn_q": (Q, 4), "blk.0.ffn_up": (UP, 0)}
"""llama.cpp's name → that of transformers, and of how many heads its rows are, where they are in another order."""


def authors(name: str, delta: Tensor) -> Deltas:
    """The update of a weight that the authors of Flux have, in diffusers' parts."""
    if name.endswith("qkv"):
        return dict(zip((f"{ATTENTION}.to_q", f"{ATTENTION}.to_k", f"{ATTENTION}.to_v"), delta.chunk(3), strict=True))
    return {"transformer_blocks.0.ff.net.0.proj": delta}


FLUX = {"double_blocks.0.img_attn.qkv": 3 * WIDTH, "double_blocks.0.img_mlp.0": 4 * WIDTH}


def of_authors(path: Path, write: Callable[[str, int, int], tuple[dict[str, Tensor], Tensor]]) -> Deltas:
    """A file of which every module has another rank."""
    tensors, deltas = {}, {}
    for rank, (name, height) in enumerate(FLUX.items(), 2):
        own, delta = write(name, height, rank)
        tensors |= own
        deltas |= authors(name, delta)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: each.contiguous() for name, each in tensors.items()}, path)
    return deltas


def underscored(name: str) -> str:
    return f"lora_unet_{name.replace('.', '_')}"


def kohya(name: str, height: int, rank: int) -> tuple[dict[str, Tensor], Tensor]:
    A, B, key = random(rank, WIDTH), random(height, rank), underscored(name)
    stored = {f"{key}.lora_down.weight": A, f"{key}.lora_up.weight": B, f"{key}.alpha": torch.tensor(1.5)}
    return stored, 1.5 / rank * B @ A


def loha(name: str, height: int, rank: int) -> tuple[dict[str, Tensor], Tensor]:
    factors = [random(height, rank), random(rank, WIDTH), random(height, rank), random(rank, WIDTH)]
    roles = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    stored = {f"{underscored(name)}.{role}": each for role, each in zip(roles, factors, strict=True)}
    delta = 3 / rank * (factors[0] @ factors[1]) * (factors[2] @ factors[3])
    return stored | {f"{underscored(name)}.alpha": torch.tensor(3.0)}, delta


def lokr(name: str, height: int, rank: int) -> tuple[dict[str, Tensor], Tensor]:
    w1, a, b = random(8, 4), random(height // 8, rank), random(rank, WIDTH // 4)
    stored = {"lokr_w1": w1, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(3.0)}
    return {f"{underscored(name)}.{role}": each for role, each in stored.items()}, torch.kron(w1, 3 / rank * a @ b)


def comfy(name: str, height: int, rank: int) -> tuple[dict[str, Tensor], Tensor]:
    A, B = random(rank, WIDTH), random(height, rank)
    key = f"diffusion_model.{name}"
    return {f"{key}.lora_A.weight": A, f"{key}.lora_B.weight": B}, B @ A


def of_diffusers(path: Path) -> Deltas:
    tensors, deltas = {}, {}
    for rank, name in enumerate((f"{ATTENTION}.to_q", f"{ATTENTION}.to_out.0"), 2):
        A, B = random(rank, WIDTH), random(WIDTH, rank)
        tensors |= {f"transformer.{name}.lora_A.weight": A, f"transformer.{name}.lora_B.weight": B}
        deltas[name] = B @ A
    save_file(tensors, path)
    return deltas


FUSED: dict[str, Callable[[], peft.PeftConfig]] = {
    "AdaLoRA": lambda: peft.AdaLoraConfig(init_r=4, target_r=2, total_step=9, target_modules=["q_proj"]),
    "PiSSA": lambda: peft.LoraConfig(r=4, init_lora_weights="pissa", target_modules=["q_proj"]),
    "OLoRA": lambda: peft.LoraConfig(r=4, init_lora_weights="olora", target_modules=["q_proj"]),
    "(IA)³": lambda: peft.IA3Config(target_modules=["q_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "OFT": lambda: peft.OFTConfig(r=0, oft_block_size=8, target_modules=["q_proj"], use_cayley_neumann=False),
    "BOFT": lambda: peft.BOFTConfig(boft_block_size=8, target_modules=["q_proj"]),
}


SOURCES: dict[str, Callable[[Path], Deltas]] = {
    "PEFT: LoRA": lambda path: of_peft(path, lora_alpha=6),
    "PEFT: rsLoRA, rank and alpha patterns": lambda path: of_peft(
        path, use_rslora=True, rank_pattern={"q_proj": 2}, alpha_pattern={"up_proj": 5}
    ),
    "PEFT: LoHa": lambda path: of_peft_kind(path, peft.LoHaConfig(r=2, alpha=3, target_modules=["q_proj"])),
    "PEFT: LoKr": lambda path: of_peft_kind(path, peft.LoKrConfig(r=2, alpha=3, target_modules=["q_proj"])),
    "PEFT: DoRA": lambda path: of_peft_kind(path, peft.LoraConfig(r=2, target_modules=["q_proj"], use_dora=True)),
    "PEFT: VeRA": lambda path: of_peft_kind(path, peft.VeraConfig(r=4, target_modules=["q_proj"])),
    "PEFT: QA-LoRA": of_qalora,
    "PEFT: (IA)³": lambda path: of_peft_kind(path, FUSED["(IA)³"]()),
    "PEFT: OFT": lambda path: of_peft_kind(path, FUSED["OFT"]()),
    "PEFT: full tensors (modules_to_save)": with_full_tensors,
    "MLX-LM: LoRA": of_mlx,
    "llama.cpp: LoRA": of_llama_cpp,
    "PEFT, image models: LoRA": of_flux(),
    "PEFT, image models: rsLoRA, rank and alpha patterns": of_flux(
        use_rslora=True, rank_pattern={"to_q": 2}, alpha_pattern={"to_out.0": 5}
    ),
    "PEFT, image models: LoHa": lambda path: of_image(path, peft.LoHaConfig(r=2, alpha=3, target_modules=OF_FLUX)),
    "PEFT, image models: LoKr": lambda path: of_image(path, peft.LoKrConfig(r=2, alpha=3, target_modules=OF_FLUX)),
    "PEFT, image models: DoRA": of_flux(use_dora=True),
    "kohya: LoRA": lambda path: of_authors(path, kohya),
    "LyCORIS: LoHa": lambda path: of_authors(path, loha),
    "LyCORIS: LoKr": lambda path: of_authors(path, lokr),
    "ComfyUI, ai-toolkit: LoRA": lambda path: of_authors(path, comfy),
    "diffusers: LoRA": of_diffusers,
}


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> Deltas:
    found = {name.removesuffix(".weight"): after[name] - before[name] for name in before if after[name].shape}
    return {module: delta for module, delta in found.items() if delta.any()}


def flux() -> Any:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    return diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=[4, 4, 8],
    )


def applied_by_peft(folder: Path, image: bool) -> Deltas:
    model = flux() if image else peft_models.base()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    loaded = peft.PeftModel.from_pretrained(model, folder)
    return changed(before, loaded.merge_and_unload().state_dict())


def applied_by_diffusers(folder: Path, image: bool) -> Deltas:
    model = flux()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    mixin = pytest.importorskip("diffusers").loaders.FluxLoraLoaderMixin
    (file,) = folder.glob("*.safetensors")
    state, alphas, *metadata = mixin.lora_state_dict(
        str(folder), weight_name=file.name, return_alphas=True, return_lora_metadata=True
    )
    mixin.load_lora_into_transformer(state, alphas, model, metadata=metadata[0])
    model.fuse_lora()
    model.unload_lora()
    return changed(before, model.state_dict())


def applied_by_mlx(folder: Path, image: bool) -> Deltas:
    mx = pytest.importorskip("mlx.core", reason="MLX has wheels for Linux on x86 and for macOS")
    from mlx.utils import tree_flatten
    from mlx_lm.models import llama
    from mlx_lm.tuner.utils import load_adapters

    config = peft_models.base().config.to_dict()
    names = llama.ModelArgs.__dataclass_fields__
    model = llama.Model(llama.ModelArgs(**{key: value for key, value in config.items() if key in names}))
    stored = {name: mx.array(each.numpy()) for name, each in peft_models.base().state_dict().items()}
    model.load_weights(
        [
            (name, each)
            for name, each in stored.items()
            if name != "lm_head.weight" or not model.args.tie_word_embeddings
        ]
    )
    model = load_adapters(model, str(folder))
    fused = [(name, module.fuse()) for name, module in model.named_modules() if hasattr(module, "fuse")]
    weights = {f"{name}.weight": torch.from_numpy(np.array(module.weight)) for name, module in fused}
    assert len(dict(tree_flatten(model.parameters()))) > len(weights)
    before = peft_models.base().state_dict()
    return changed({name: before[name] for name in weights}, weights)


def applied_by_llama_cpp(folder: Path, image: bool) -> Deltas:
    """By the library that owns the format, and by what test_llama_cpp.py sees llama.cpp compute where that is installed."""
    file = gguf.GGUFReader(folder / "adapter.gguf")
    tensors = {each.name: gguf.dequantize(each.data, each.tensor_type) for each in file.tensors}
    alpha = file.fields["adapter.lora.alpha"].contents()
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    deltas = {}
    for module, shape in {name: each.shape for name, each in peft_models.base().state_dict().items()}.items():
        start = f"{names.get_name(module, ('.weight',))}"
        if len(shape) < 2 or f"{start}.lora_a" not in tensors:
            continue
        A, B = (torch.from_numpy(tensors.pop(f"{start}.lora_{end}").copy()) for end in "ab")
        heads = {"attn_q": 4, "attn_k": 2}.get(start.split(".")[-2])
        B = B.reshape(heads, -1, 2, len(A)).swapaxes(1, 2).reshape(B.shape) if heads else B
        deltas[module.removesuffix(".weight")] = alpha / len(A) * B @ A
    assert not tensors
    return deltas


APPLIED = {
    "PEFT": applied_by_peft,
    "llama.cpp": applied_by_llama_cpp,
    "MLX-LM": applied_by_mlx,
    "diffusers": applied_by_diffusers,
}
CELLS = [(source, target) for source, cells in TABLE.items() for target in cells]


@pytest.mark.parametrize(("source", "target"), CELLS, ids=[f"{source} to {target}" for source, target in CELLS])
@pytest.mark.filterwarnings("ignore")
def test_a_conversion(tmp_path: Path, source: str, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    image, cell = "diffusers" in TABLE[source], TABLE[source][target]
    path = tmp_path / ("a.safetensors" if image and not source.startswith("PEFT") else "a")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = SOURCES[source](path)
    line = ["convert", str(path), "--to", target, "-o", str(tmp_path / "out")]
    if cell == BASE or (cell, target) == (NO, "gguf"):
        (flux() if image else peft_models.base()).save_pretrained(tmp_path / "base")
        line += ["--base", str(tmp_path / "base")]
    code, shown = run(line), capsys.readouterr()
    if cell == NO:
        assert code == 4
        assert "fuse" in shown.err
        return
    assert code == 0, shown.err
    (written,) = (each for end in ("safetensors", "gguf") for each in (tmp_path / "out").glob(f"*.{end}"))
    if source.startswith("ComfyUI") and target == "comfy":  # diffusers leaves such names of Flux out
        assert written.read_bytes() == path.read_bytes()
        return
    if (source, target) == ("llama.cpp: LoRA", "gguf"):  # that llama.cpp applies it is in test_llama_cpp.py
        assert written.read_bytes() == (path / "adapter.gguf").read_bytes()
        return
    found = APPLIED[TARGETS[target]](tmp_path / "out", image)
    assert found.keys() == expected.keys()
    for module, delta in expected.items():
        torch.testing.assert_close(
            found[module], delta, atol=2e-6, rtol=1e-4, msg=lambda m, name=module: f"{name}: {m}"
        )


@pytest.mark.parametrize("kind", conversions.FUSED)
@pytest.mark.filterwarnings("ignore")
def test_a_kind_that_is_fused(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    peft_models.base().save_pretrained(tmp_path / "base")
    model = peft.get_peft_model(peft_models.base(), FUSED[kind]())
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path / "a")
    assert run(["fuse", str(tmp_path / "base"), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 0
    found, wanted = load_file(tmp_path / "out/model.safetensors"), model.merge_and_unload().state_dict()
    before = load_file(tmp_path / "base/model.safetensors")
    for name, each in found.items():
        torch.testing.assert_close(each, wanted[name], atol=2e-5, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}")
    assert not torch.equal(found[f"{Q}.weight"], before[f"{Q}.weight"])


def test_the_row_of_the_readme_is_that_of_the_table() -> None:
    assert conversions.of_readme() in (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").splitlines()


def test_the_table_has_a_source_for_every_row_and_a_program_for_every_column() -> None:
    assert SOURCES.keys() == TABLE.keys()
    assert set(conversions.FUSED) == FUSED.keys()
    assert {cell for cells in TABLE.values() for cell in cells.values()} == {YES, BASE, NO}
    assert set(TARGETS.values()) == APPLIED.keys()
