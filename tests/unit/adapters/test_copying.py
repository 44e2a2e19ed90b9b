"""What nothing was done to is copied: the same tensors, the same header, the same config."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import gguf_files
import numpy as np
import peft as library
import pytest
import torch
from corpus import config, factors, write_adapter
from safetensors.torch import load_file, save_file

import adapterops as ao
from adapterops.cli.main import run
from adapterops.storage.content import OnDisk

PEFT = ("adapter_model.safetensors", "adapter_config.json")
HEADER = {"ss_network_dim": "2", "sshs_model_hash": "0" * 64, "modelspec.title": "mine"}


def lone(path: Path, ends: str, module: str, alpha: bool = True, scale: bool = False) -> Path:
    torch.manual_seed(0)
    down, up = ends.split()
    tensors = {f"{module}.{down}.weight": torch.randn(2, 6), f"{module}.{up}.weight": torch.randn(5, 2)}
    save_file(
        tensors | ({f"{module}.alpha": torch.tensor(1.0)} if alpha else {}),
        path,
        HEADER | ({"lora_alpha": "1"} if scale else {}),
    )
    return path


FILES = {
    "kohya": ("lora_down lora_up", "lora_unet_blocks_0_attn_q", True),
    "kohya without alpha": ("lora_down lora_up", "lora_unet_blocks_0_attn_q", False),
    "comfy without alpha": ("lora_A lora_B", "diffusion_model.blocks.0.attn.q", False),
    "comfy": ("lora_A lora_B", "diffusion_model.blocks.0.attn.q", True),
    "diffusers": ("lora_A lora_B", "transformer.transformer_blocks.0.attn.to_q", False),
}


@pytest.mark.parametrize("format", FILES)
def test_a_file_in_its_own_format(tmp_path: Path, format: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = lone(tmp_path / "a.safetensors", *FILES[format])
    assert run(["convert", str(source), "--to", format.split()[0], "-o", str(tmp_path / "out")]) == 0
    assert "copied byte for byte" in capsys.readouterr().out
    assert next((tmp_path / "out").glob("*.safetensors")).read_bytes() == source.read_bytes()
    (module,) = ao.open_adapter(source).layout
    before, after = (ao.open_adapter(each).updates[module].dense() for each in (source, tmp_path / "out"))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("format", FILES)
def test_a_base_whose_names_the_file_has_changes_nothing(tmp_path: Path, format: str) -> None:
    """Names with underscores get dots in memory, and underscores again in kohya's files."""
    source = lone(tmp_path / "a.safetensors", *FILES[format])
    name = "transformer_blocks.0.attn.to_q" if format == "diffusers" else "blocks.0.attn.q"
    save_file({f"{name}.weight": torch.zeros(5, 6)}, tmp_path / "base.safetensors")
    line = ["convert", str(source), "--to", format.split()[0], "--base", str(tmp_path / "base.safetensors")]
    assert run([*line, "-o", str(tmp_path / "out")]) == 0
    assert next((tmp_path / "out").glob("*.safetensors")).read_bytes() == source.read_bytes()


def test_a_scale_that_only_the_header_says_is_written_where_every_program_reads_it(tmp_path: Path) -> None:
    source = lone(tmp_path / "a.safetensors", *FILES["comfy"][:2], alpha=False, scale=True)
    assert run(["convert", str(source), "--to", "comfy", "-o", str(tmp_path / "out")]) == 0
    assert float(load_file(tmp_path / "out/lora.safetensors")["diffusion_model.blocks.0.attn.q.alpha"]) == 2


@pytest.mark.parametrize("fields", [{}, {"use_rslora": True, "lora_dropout": 0.1}, {"alpha_pattern": {"q_proj": 5}}])
def test_a_folder_of_peft(tmp_path: Path, fields: dict[str, object]) -> None:
    a = write_adapter(tmp_path / "a", factors(), config(2, **fields))
    assert run(["convert", str(a), "--to", "peft", "-o", str(tmp_path / "out")]) == 0
    for name in PEFT:
        assert (tmp_path / "out" / name).read_bytes() == (a / name).read_bytes()


def test_a_folder_of_mlx(tmp_path: Path) -> None:
    ao.save_adapter(2 * ao.open_adapter(write_adapter(tmp_path / "a")), tmp_path / "mlx", format="mlx")
    config = tmp_path / "mlx/adapter_config.json"
    config.write_text(config.read_text().replace('"scale": 1.0', '"scale": 3.0'))
    assert run(["convert", str(tmp_path / "mlx"), "--to", "mlx", "-o", str(tmp_path / "out")]) == 0
    for name in ("adapters.safetensors", "adapter_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "mlx" / name).read_bytes()


@pytest.mark.parametrize(
    "options", [["--dtype", "bfloat16"], ["--rank", "1"], ["--to", "comfy"], ["--alpha", "2"]], ids=" ".join
)
def test_anything_else_is_written_anew(tmp_path: Path, options: list[str]) -> None:
    source = lone(tmp_path / "a.safetensors", "lora_A lora_B", "transformer.transformer_blocks.0.attn.to_q", False)
    stored = load_file(source)
    save_file(stored, source)
    line = ["convert", str(source), "--to", "diffusers", *options, "-o", str(tmp_path / "out")]
    assert run(line) == 0
    assert next((tmp_path / "out").glob("*.safetensors")).read_bytes() != source.read_bytes()


def test_a_pickle_is_written_anew(tmp_path: Path) -> None:
    a = write_adapter(tmp_path / "a", factors(), config(2))
    torch.save(load_file(a / PEFT[0]), a / "adapter_model.bin")
    (a / PEFT[0]).unlink()
    assert run(["convert", str(a), "--to", "peft", "--allow-pickle", "-o", str(tmp_path / "out")]) == 0
    assert load_file(tmp_path / "out" / PEFT[0])


def test_biases_of_lora_are_copied_and_merged(tmp_path: Path) -> None:
    """A bias is one row, and stored as it is."""
    own = factors()
    for name in [name for name in own if name.endswith("lora_B.weight")]:
        own[name.replace(".weight", ".bias")] = torch.randn(len(own[name]))
    a = write_adapter(tmp_path / "a", own, config(2, lora_bias=True))
    assert run(["convert", str(a), "--to", "peft", "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / PEFT[0]).read_bytes() == (a / PEFT[0]).read_bytes()
    assert run(["merge", str(a), str(a), "-w", "0.5", "-w", "0.5", "-o", str(tmp_path / "merged")]) == 0
    before, after = (ao.open_adapter(each).updates for each in (a, tmp_path / "merged"))
    for module in before:
        np.testing.assert_allclose(after[module].dense(), before[module].dense(), atol=1e-6)
    assert run(["convert", str(a), "--to", "mlx", "-o", str(tmp_path / "mlx")]) == 4


@pytest.mark.parametrize("form", ["kohya", "peft"])
def test_floats_in_8_bits_are_copied_and_written_in_float32_where_that_is_asked_for(tmp_path: Path, form: str) -> None:
    source = write_adapter(tmp_path / "a", factors(), config(2, lora_alpha=2))
    path = source / PEFT[0]
    if form == "kohya":
        source = path = lone(tmp_path / "a.safetensors", *FILES["kohya without alpha"])
    save_file({name: each.to(torch.float8_e4m3fn) for name, each in load_file(path).items()}, path)
    assert run(["convert", str(source), "--to", form, "-o", str(tmp_path / "same")]) == 0
    assert next((tmp_path / "same").glob("*.safetensors")).read_bytes() == path.read_bytes()
    assert run(["convert", str(source), "--to", form, "--dtype", "float32", "-o", str(tmp_path / "wide")]) == 0
    before, after = load_file(path), load_file(next((tmp_path / "wide").glob("*.safetensors")))
    for name, tensor in before.items():
        assert after[name].dtype == torch.float32
        torch.testing.assert_close(after[name], tensor.float(), atol=0, rtol=0)


def test_blocks_of_gguf_are_written_in_float32_where_that_is_asked_for(tmp_path: Path) -> None:
    base = gguf_files.write_base(tmp_path / "base")
    types = {f"{name}.weight.lora_a": gguf_files.Q8 for name in ("blk.0.attn_q", "blk.0.attn_k")}
    source = gguf_files.write(tmp_path / "a.gguf", stored=types)
    line = ["convert", str(source), "--base", str(base), "--to", "gguf"]
    assert run([*line, "--dtype", "float32", "-o", str(tmp_path / "out")]) == 0
    assert "Q8_0" not in {
        each.tensor_type.name for each in gguf.GGUFReader(next((tmp_path / "out").glob("*.gguf"))).tensors
    }
    assert run([*line, "-o", str(tmp_path / "same")]) == 0
    assert next((tmp_path / "same").glob("*.gguf")).read_bytes() == source.read_bytes()


def peft(folder: Path, dtype: torch.dtype = torch.float32, more: str = "", **fields: object) -> Path:
    own = factors(dtype=dtype)
    for name in [name for name in own if name.endswith("lora_B.weight") and more]:
        own[name.replace("lora_B.weight", more)] = torch.rand(len(own[name])).to(dtype)
    return write_adapter(folder, own, config(2, **fields))


def mlx(folder: Path, dtype: torch.dtype = torch.float32, kind: str = "lora", **fields: object) -> Path:
    folder.mkdir()
    tensors = {"layers.0.q_proj.lora_a": torch.randn(6, 2), "layers.0.q_proj.lora_b": torch.randn(2, 8)}
    tensors |= {"layers.0.q_proj.m": torch.rand(8)} if kind == "dora" else {}
    save_file({name: each.to(dtype) for name, each in tensors.items()}, folder / "adapters.safetensors", {"a": "b"})
    parameters = {"rank": 2, "scale": 20.0, "dropout": 0.0, **fields}
    document = {"fine_tune_type": kind, "num_layers": 2, "iters": 9, "lora_parameters": parameters}
    (folder / PEFT[1]).write_text(json.dumps(document, indent=3))
    return folder


def ggufs(folder: Path, type_: str = "F32", **options: Any) -> Path:
    folder.mkdir()
    types = {f"{name}.weight.lora_a": gguf.GGMLQuantizationType[type_] for name in ("blk.0.attn_q", "blk.0.attn_k")}
    return gguf_files.write(folder / "a.gguf", stored=types, **options)


ROWS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "rsLoRA": ("peft", lambda at: peft(at, use_rslora=True)),
    "patterns": ("peft", lambda at: peft(at, alpha_pattern={"layers.0.q_proj": 3}, lora_alpha=7)),
    "an expression": ("peft", lambda at: peft(at, target_modules=".*[qv]_proj", lora_dropout=0.1)),
    "DoRA": ("peft", lambda at: peft(at, more="lora_magnitude_vector", use_dora=True)),
    "biases": ("peft", lambda at: peft(at, more="lora_B.bias", lora_bias=True)),
    "BF16": ("peft", lambda at: peft(at, torch.bfloat16)),
    "MLX": ("mlx", mlx),
    "MLX, F16": ("mlx", lambda at: mlx(at, torch.float16)),
    "MLX, DoRA": ("mlx", lambda at: mlx(at, kind="dora")),
    "MLX, keys": ("mlx", lambda at: mlx(at, keys=["q_proj"])),
    "MLX, scale 1": ("mlx", lambda at: mlx(at, scale=1.0)),
    "GGUF": ("gguf", ggufs),
    "GGUF, F16": ("gguf", lambda at: ggufs(at, "F16")),
    "GGUF, BF16": ("gguf", lambda at: ggufs(at, "BF16")),
    "GGUF, Q8_0": ("gguf", lambda at: ggufs(at, "Q8_0")),
    "GGUF, no alpha": ("gguf", lambda at: ggufs(at, alpha=None)),
    "GGUF, alpha 0": ("gguf", lambda at: ggufs(at, alpha=0.0)),
}
"""Adapters of models of language → their format, and how one is made."""


@pytest.mark.parametrize("row", ROWS)
def test_nothing_is_done_to_an_adapter_in_its_own_format(tmp_path: Path, row: str) -> None:
    """Tensors, header and config are copied byte for byte; and again from there."""
    form, make = ROWS[row]
    torch.manual_seed(0)
    source = make(tmp_path / "a")
    base = ["--base", str(gguf_files.write_base(tmp_path / "base"))] if form == "gguf" else []
    before = {each.suffix: each.read_bytes() for each in ([source] if source.is_file() else source.iterdir())}
    for number in range(2):
        out = tmp_path / f"out-{number}"
        assert run(["convert", str(source), "--to", form, *base, "-o", str(out)]) == 0
        after = {each.suffix: each.read_bytes() for each in out.iterdir() if each.name != "adapterops.json"}
        assert before == {suffix: content for suffix, content in after.items() if suffix in before}
        source = out
    if form == "peft":
        assert run(["calc", "a", f"a={source}", "-o", str(tmp_path / "same")]) == 0
        assert all((tmp_path / "same" / name).read_bytes() == (source / name).read_bytes() for name in PEFT)


def _tiny() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.LayerNorm(16), torch.nn.Linear(16, 16))


OTHERS: dict[str, Callable[[], Any]] = {
    "(IA)³": lambda: library.IA3Config(target_modules=["0", "2"], feedforward_modules=["2"]),
    "OFT": lambda: library.OFTConfig(r=0, oft_block_size=8, target_modules=["0", "2"]),
    "BOFT": lambda: library.BOFTConfig(boft_block_size=4, target_modules=["0", "2"]),
    "VeRA": lambda: library.VeraConfig(r=4, target_modules=["0", "2"]),
    "QA-LoRA": lambda: library.LoraConfig(r=4, use_qalora=True, qalora_group_size=4, target_modules=["0", "2"]),
    "PiSSA": lambda: library.LoraConfig(r=4, init_lora_weights="pissa", target_modules=["0", "2"]),
    "2 full tensors": lambda: library.LNTuningConfig(target_modules=["1"]),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("line", ["convert {} --to peft", "calc a a={}"], ids=["convert", "calc"])
def test_what_is_no_lora_is_kept_where_nothing_is_to_be_computed(
    tmp_path: Path, kind: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without looking at the weight, and so by every byte: also its header, its names and its dtypes."""
    source = tmp_path / "a"
    library.get_peft_model(_tiny(), OTHERS[kind]()).save_pretrained(source)
    words = line.format(source).split()
    assert run([*words, "-o", str(tmp_path / "planned"), "--dry-run"]) == 0
    assert run([*words, "-o", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert kind in told
    assert "every byte is the same" in told
    assert "energy" not in told
    for name in PEFT:
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()
    manifest = json.loads((tmp_path / "out/adapterops.json").read_text())
    assert set(PEFT) <= manifest["outputs"].keys()


def test_a_bias_that_a_vector_multiplies_too_is_no_module_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library.get_peft_model(_tiny(), OTHERS["(IA)³"]()).save_pretrained(tmp_path / "a")
    assert run(["show", str(tmp_path / "a")]) == 0
    assert "2 modules, 32 parameters" in capsys.readouterr().out
    assert run(["convert", str(tmp_path / "a"), "--to", "peft", "-o", str(tmp_path / "out")]) == 0
    assert "2 modules, (IA)³" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["(IA)³", "OFT", "BOFT"])
def test_what_is_no_lora_is_refused_where_something_is_to_be_computed(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "a"
    library.get_peft_model(_tiny(), OTHERS[kind]()).save_pretrained(source)
    for line in ("convert {} --to kohya", "convert {} --to peft --dtype F16", "normalize {}", "calc 2*a a={}"):
        assert run([*line.format(source).split(), "-o", str(tmp_path / "out")]) == 4, line
    assert not (tmp_path / "out").exists()


def test_a_base_changes_nothing_of_what_is_no_lora(tmp_path: Path) -> None:
    """(IA)³ scales biases, too, which a base may lack."""
    source = tmp_path / "a"
    library.get_peft_model(_tiny(), OTHERS["(IA)³"]()).save_pretrained(source)
    weights = {f"{name}.weight": torch.zeros(16, 16) for name in ("0", "2")}
    save_file(weights, tmp_path / "base.safetensors")
    line = ["convert", str(source), "--to", "peft", "--base", str(tmp_path / "base.safetensors")]
    assert run([*line, "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / PEFT[0]).read_bytes() == (source / PEFT[0]).read_bytes()


def test_qalora_with_its_base_is_written_as_the_lora_that_it_is_there(tmp_path: Path) -> None:
    """The files have the names and shapes that LoRA would have, and mean something else."""
    source = tmp_path / "a"
    model = library.get_peft_model(_tiny(), OTHERS["QA-LoRA"]())
    for name, values in model.named_parameters():
        if "lora_" in name:
            values.data.normal_(generator=torch.Generator().manual_seed(1))
    model.save_pretrained(source)
    save_file({f"{name}.weight": torch.zeros(16, 16) for name in ("0", "2")}, tmp_path / "base.safetensors")
    line = ["convert", str(source), "--to", "peft", "--base", str(tmp_path / "base.safetensors")]
    assert run([*line, "-o", str(tmp_path / "out")]) == 0
    found = ao.open_adapter(tmp_path / "out")
    assert {each.kind for each in found.layout.values()} == {"LoRA"}
    x = torch.randn(3, 16)
    layer = model.base_model.model[0]
    expected = (layer(x) - layer.base_layer(x)).detach().numpy()
    np.testing.assert_allclose(x.numpy() @ found.updates["0"].dense().T, expected, rtol=1e-4, atol=1e-5)


def test_experts_of_mlx_are_kept(tmp_path: Path) -> None:
    """Which are not written for MLX anew."""
    (tmp_path / "a").mkdir()
    torch.manual_seed(0)
    module = "model.layers.0.mlp.switch_mlp.up_proj"
    tensors = {f"{module}.lora_a": torch.randn(4, 2, 6), f"{module}.lora_b": torch.randn(4, 8, 2)}
    save_file(tensors, tmp_path / "a/adapters.safetensors", {"format": "mlx"})
    fields = {"fine_tune_type": "lora", "num_layers": -1, "lora_parameters": {"rank": 2, "scale": 2.0, "dropout": 0.0}}
    (tmp_path / "a/adapter_config.json").write_text(json.dumps(fields))
    assert run(["convert", str(tmp_path / "a"), "--to", "mlx", "-o", str(tmp_path / "out")]) == 0
    for name in ("adapters.safetensors", "adapter_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()


@pytest.mark.parametrize("kind", [*FILES, *OTHERS])
@pytest.mark.filterwarnings("ignore")
def test_the_file_is_opened_once_and_its_copy_once(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is copied is the file that was read, and no other that has taken its name since."""
    source = lone(tmp_path / "a.safetensors", *FILES[kind]) if kind in FILES else tmp_path / "a"
    if kind not in FILES:
        library.get_peft_model(_tiny(), OTHERS[kind]()).save_pretrained(source)
    opened: list[str] = []
    init = OnDisk.__init__

    def noted(self: OnDisk, path: Path) -> None:
        opened.append(path.name)
        init(self, path)

    monkeypatch.setattr(OnDisk, "__init__", noted)
    form = kind.split()[0] if kind in FILES else "peft"
    assert run(["convert", str(source), "--to", form, "-o", str(tmp_path / "out")]) == 0
    assert len([name for name in opened if name.endswith(".safetensors")]) == 2
