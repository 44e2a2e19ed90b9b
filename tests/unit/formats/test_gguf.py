"""llama.cpp's format against its own formula: ΔW = alpha / r · B A, with the rows of q and k in its order."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_files import LLAMA, factors, permuted, write, write_base
from safetensors.numpy import load_file

import adapterops as ao
from adapterops.cli.main import run
from adapterops.errors import AdapterWarning, IncompatibleError, InputError, UnsupportedError
from adapterops.formats.peft.config import AdapterConfig
from adapterops.updates.lowrank import LowRank


@pytest.mark.parametrize(("alpha", "scale"), [(8.0, 2.0), (0.0, 1.0), (None, 1.0), (-2.0, -0.5)])
def test_it_is_read_as_it_is_applied(alpha: float | None, scale: float, tmp_path: Path) -> None:
    adapter = ao.open_adapter(write(tmp_path / "a.gguf", alpha))
    assert {module: layout.shape for module, layout in adapter.layout.items()} == {
        module: shape for module, shape, _ in sorted(LLAMA.values())
    }
    named = ao.named_as(adapter, ao.open_checkpoint(write_base(tmp_path / "base")))
    for module, (A, B) in factors().items():
        np.testing.assert_allclose(named.updates[module].dense(), scale * B @ A, rtol=1e-5, atol=1e-5, err_msg=module)


def test_ranks_may_differ(tmp_path: Path) -> None:
    def more(writer: object) -> None:
        writer.add_tensor("blk.0.ffn_up.weight.lora_a", np.ones((2, 64), np.float32))
        writer.add_tensor("blk.0.ffn_up.weight.lora_b", np.ones((112, 2), np.float32))

    adapter = ao.open_adapter(write(tmp_path / "a.gguf", alpha=8.0, alter=more))
    assert adapter.scalings["model.layers.0.mlp.up_proj"].scale == 4
    assert adapter.scalings["model.layers.1.mlp.down_proj"].scale == 2


def test_constants_of_the_model_are_no_part_of_an_adapter(tmp_path: Path) -> None:
    """Which early versions of the converter wrote, and llama.cpp refuses."""

    def constant(writer: object) -> None:
        writer.add_tensor("rope_freqs.weight", np.ones(16, np.float32))

    path = write(tmp_path / "a.gguf", alter=constant)
    with pytest.warns(AdapterWarning, match="rope_freqs.weight is left out"):
        adapter = ao.open_adapter(path)
    assert adapter.layout.keys() == ao.open_adapter(write(tmp_path / "b.gguf")).layout.keys()
    with pytest.warns(AdapterWarning, match="is left out"):
        verdict = ao.check(path, ["llama.cpp"])["llama.cpp"]
    assert (verdict.ok, verdict.findings[0].fact.name) == (False, "constants")


def test_other_architectures_have_rows_in_order(tmp_path: Path) -> None:
    adapter = ao.open_adapter(write(tmp_path / "a.gguf", architecture="qwen2"))
    assert not adapter.interleaved
    ao.save_adapter(adapter, tmp_path / "out")


def test_phi3_has_joined_projections(tmp_path: Path) -> None:
    def joined(writer: object) -> None:
        for name, out in (("attn_qkv", 96), ("ffn_up", 224)):
            writer.add_tensor(f"blk.0.{name}.weight.lora_a", np.ones((2, 64), np.float32))
            writer.add_tensor(f"blk.0.{name}.weight.lora_b", np.ones((out, 2), np.float32))

    path = write(tmp_path / "a.gguf", architecture="phi3", tensors={}, alter=joined)
    adapter = ao.open_adapter(path)
    assert {module: layout.shape for module, layout in adapter.layout.items()} == {
        "model.layers.0.self_attn.qkv_proj": (96, 64),
        "model.layers.0.mlp.gate_up_proj": (224, 64),
    }
    assert not adapter.interleaved
    with pytest.raises(UnsupportedError, match="phi3"):  # it has no attn_q
        ao.open_adapter(write(tmp_path / "b.gguf", architecture="phi3"))


REFUSED = {
    "model": ({"kind": "model"}, "general.type is 'model'"),
    "architecture": ({"architecture": "falcon"}, "'falcon'"),
    "alora": ({"alter": lambda writer: writer.add_array("adapter.alora.invocation_tokens", [1, 2])}, "aLoRA"),
    "norm": (
        {"alter": lambda writer: writer.add_tensor("blk.0.attn_norm.weight", np.ones(64, np.float32))},
        "not the name of a LoRA of llama",
    ),
    "experts of an architecture without these": (
        {"alter": lambda writer: writer.add_tensor("blk.0.ffn_x_exps.weight.lora_a", np.ones((2, 2, 64), "float32"))},
        "not the name of a LoRA of llama",
    ),
    "experts whose rows are in another order": (
        {
            "architecture": "gpt-oss",
            "tensors": {},
            "alter": lambda w: w.add_tensor("blk.0.ffn_up_exps.weight.lora_a", np.ones((2, 2, 64), "float32")),
        },
        r"has the shape \[2, 2, 64\], and is no factor of a matrix",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_handled_is_refused_by_name(case: str, tmp_path: Path) -> None:
    options, message = REFUSED[case]
    with pytest.raises(UnsupportedError, match=message) as raised:
        ao.open_adapter(write(tmp_path / "a.gguf", **options))
    assert raised.value.path == str(tmp_path / "a.gguf")
    assert raised.value.hint


@pytest.mark.parametrize("name", ["blk.0.ffn_up", "token_embd"])
def test_half_a_module_is_refused(name: str, tmp_path: Path) -> None:
    def half(writer: object) -> None:
        writer.add_tensor(f"{name}.weight.lora_a", np.ones((2, 64), np.float32))

    with pytest.raises(InputError, match="no lora_B"):
        ao.open_adapter(write(tmp_path / "a.gguf", alter=half))


def test_an_alpha_that_is_no_number_is_refused(tmp_path: Path) -> None:
    for alter in (
        lambda writer: writer.add_string("adapter.lora.alpha", "16"),
        lambda writer: writer.add_float32("adapter.lora.alpha", float("nan")),
    ):
        with pytest.raises(InputError, match=r"adapter\.lora\.alpha"):
            ao.open_adapter(write(tmp_path / "a.gguf", None, alter=alter))


def test_it_is_written_as_the_converter_of_llama_cpp_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read by the library that owns the format: names, fields, the order of q and k, and every type of number."""
    monkeypatch.chdir(tmp_path)
    write(Path("a.gguf"), alpha=8.0)
    write_base(Path("base"))
    assert run(["convert", "a.gguf", "--to", "peft", "--base", "base", "-o", "peft"]) == 0
    for dtype, tolerance in ((None, 0.0), ("F16", 1e-3), ("BF16", 1e-2)):
        line = ["convert", "peft", "--to", "gguf", "--base", "base", *(["--dtype", dtype] if dtype else [])]
        assert run([*line, "-o", "out", "--force"]) == 0
        found = gguf.GGUFReader("out/adapter.gguf")
        fields = {name: field.contents() for name, field in found.fields.items() if not name.startswith("GGUF.")}
        assert fields == {
            "general.architecture": "llama",
            "general.type": "adapter",
            "adapter.type": "lora",
            "adapter.lora.alpha": 4.0,
        }
        tensors = {each.name: each for each in found.tensors}
        for name, (module, _, heads) in LLAMA.items():
            A, B = factors()[module]
            for role, wanted in (("lora_a", A), ("lora_b", permuted(2 * B, heads))):
                stored = tensors[f"{name}.weight.{role}"]
                assert stored.tensor_type.name == (dtype or "F32")
                values = gguf.dequantize(stored.data, stored.tensor_type).reshape(wanted.shape)
                np.testing.assert_allclose(values, wanted, rtol=tolerance, atol=tolerance, err_msg=name)
        assert run(["fuse", "base", "out", "-o", "fused", "--force"]) == 0
    assert run(["verify", "fused"]) == 0


@pytest.mark.parametrize(("rank", "types"), [(4, ("Q8_0", "F16")), (32, ("Q8_0", "Q8_0"))])
def test_it_is_written_in_blocks(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rank: int,
    types: tuple[str, str],
) -> None:
    """Where rows are whole blocks; one of the inputs is 112 = 3.5 blocks wide. The rest is F16, as llama.cpp has it."""
    monkeypatch.chdir(tmp_path)
    write(Path("a.gguf"), alpha=2.0 * rank, rank=rank)
    write_base(Path("base"))
    assert run(["convert", "a.gguf", "--to", "peft", "--base", "base", "-o", "peft"]) == 0
    line = ["convert", "peft", "--to", "gguf", "--base", "base", "--dtype", "q8_0"]
    assert run([*line, "-o", "out"]) == 0
    narrow = 1 + 4 * (types[1] == "F16")
    assert f"{narrow} of 8 tensors in float16: their rows are not whole blocks of 32 numbers" in capsys.readouterr().out
    assert run([*line, "-o", "parts", "--part", "1/1"]) == 0
    assert run(["finalize", "parts"]) == 0
    assert Path("parts/adapter.gguf").read_bytes() == Path("out/adapter.gguf").read_bytes()
    tensors = {each.name: each for each in gguf.GGUFReader("out/adapter.gguf").tensors}
    for name, (module, shape, heads) in LLAMA.items():
        A, B = factors(rank)[module]
        for role, type_, wanted in zip(("lora_a", "lora_b"), types, (A, permuted(2 * B, heads)), strict=True):
            stored = tensors[f"{name}.weight.{role}"]
            type_ = "F16" if role == "lora_a" and shape[1] % 32 else type_
            assert stored.tensor_type.name == type_, (name, role)
            values = gguf.quantize(wanted, gguf.GGMLQuantizationType[type_]).reshape(stored.data.shape)
            np.testing.assert_array_equal(stored.data, values)
    assert run(["fuse", "base", "out", "-o", "fused"]) == 0
    assert run(["verify", "fused"]) == 0


def test_blocks_are_of_this_format_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("a.gguf"))
    write_base(Path("base"))
    for form in ("peft", "mlx"):
        assert run(["convert", "a.gguf", "--to", form, "--base", "base", "--dtype", "q8_0", "-o", "out"]) == 2
        assert f"--dtype of the format {form} must be one of F64, F32, F16, BF16, got 'Q8_0'" in capsys.readouterr().err
    assert (
        run(["truncate", "a.gguf", "--base", "base", "--format", "gguf", "--dtype", "F64", "--rank", "2", "-o", "o"])
        == 2
    )
    assert (
        run(
            [
                "truncate",
                "a.gguf",
                "--base",
                "base",
                "--format",
                "gguf",
                "--dtype",
                "q8_0",
                "--budget",
                "2kB",
                "-o",
                "o",
            ]
        )
        == 0
    )


def test_ranks_that_differ_are_filled_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One alpha is divided by the rank of each tensor."""
    monkeypatch.chdir(tmp_path)
    write(Path("a.gguf"))
    base = ao.open_checkpoint(write_base(Path("base")))
    whole = ao.named_as(ao.open_adapter("a.gguf"), base)
    ao.save_adapter(ao.truncate(whole, budget=1200), "out", format="gguf")
    again = ao.named_as(ao.open_adapter("out"), base)
    assert {each.scale for each in again.scalings.values()} == {1.0}
    expected = ao.truncate(whole, budget=1200)
    assert len({each.rank for each in expected.layout.values()}) == 1 or again.layout.keys() == expected.layout.keys()
    for module in expected.layout:
        np.testing.assert_allclose(
            again.updates[module].dense(), expected.updates[module].dense(), atol=1e-4, err_msg=module
        )


NOT_WRITTEN = {
    "no base": ({}, None, "--base"),
    "another architecture": ({}, {"model_type": "falcon"}, "'falcon'"),
    "a module without a name": ({"model.layers.0.mlp.router": (4, 8)}, {"model_type": "qwen2"}, "router"),
    "a head that is tied": ({"lm_head": (4, 8)}, {"model_type": "qwen2", "tie_word_embeddings": True}, "lm_head"),
}


@pytest.mark.parametrize("case", NOT_WRITTEN)
def test_what_is_not_written(case: str, tmp_path: Path) -> None:
    modules, model, said = NOT_WRITTEN[case]
    shapes = modules or {"model.layers.0.mlp.up_proj": (4, 8)}
    updates = {module: LowRank(np.ones((out, 1)), np.ones((1, into))) for module, (out, into) in shapes.items()}
    adapter = ao.Adapter.of(updates, AdapterConfig(model=model))
    with pytest.raises(UnsupportedError) as raised:
        ao.save_adapter(adapter, tmp_path / "out", format="gguf")
    assert said in str(raised.value)


def test_heads_that_are_not_known(tmp_path: Path) -> None:
    update = {"model.layers.0.self_attn.q_proj": LowRank(np.ones((64, 1)), np.ones((1, 8)))}
    adapter = ao.Adapter.of(update, AdapterConfig(model={"model_type": "mistral"}))
    with pytest.raises(IncompatibleError, match="num_attention_heads"):
        ao.save_adapter(adapter, tmp_path / "out", format="gguf")


def test_commands_take_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("a.gguf"))
    write_base(Path("base"))
    assert run(["show", "a.gguf", "--spectrum"]) == 0
    assert run(["convert", "a.gguf", "--to", "peft", "-o", "out"]) == 4
    assert "--base" in capsys.readouterr().err
    for line in (
        ["convert", "a.gguf", "--to", "peft", "--base", "base", "-o", "peft"],
        ["truncate", "a.gguf", "--rank", "2", "--base", "base", "-o", "small"],
        ["merge", "a.gguf", "peft", "--ties", "--base", "base", "-o", "merged"],
        ["fuse", "base", "a.gguf", "-o", "fused"],
        ["verify", "fused"],
        ["fuse", "base", "a.gguf", "peft", "-w", "0.5", "-w", "0.5", "-o", "twice"],
        ["verify", "twice"],
        ["fuse", "base", "peft", "-o", "other"],
        ["compare", "a.gguf", "peft", "--base", "base"],
        ["report", "a.gguf", "--base", "base", "-o", "page.html"],
    ):
        assert run(line) == 0, (line, capsys.readouterr().err)
    assert run(["merge", "a.gguf", "peft", "--linear", "-o", "unknown"]) == 4
    assert run(["compare", "a.gguf", "peft"]) == 4
    assert Path("fused/model.safetensors").read_bytes() == Path("other/model.safetensors").read_bytes()
    twice, once = (load_file(f"{name}/model.safetensors") for name in ("twice", "fused"))
    for name, weight in once.items():
        np.testing.assert_allclose(twice[name], weight, rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_folder_of_one_says_which_file_to_name(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        ao.open_adapter(write(tmp_path / "a.gguf").parent)
    assert str(tmp_path / "a.gguf") in str(raised.value)
