"""Base models that are not what they should be:
each is refused with its name, a reason and a remedy, and nothing is written.
"""

import json
import os
import pickle

import pytest
import torch
from corpus import MODULES, config, entry, factors, file_bytes, tree, write_adapter
from safetensors.torch import load_file, save_file

from adapterops.cli.main import run

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX, PICKLE = "model.safetensors.index.json", "pytorch_model.bin"
NAMES = {module: f"model.{module}.weight" for module in MODULES}


def tensors(dtype=torch.float32):
    """A base for the adapters of the corpus, and tensors that they do not touch."""
    generator = torch.Generator().manual_seed(7)
    weights = {name: torch.randn(12, 8, generator=generator) for name in NAMES.values()}
    for name, shape in {"model.norm.weight": (8,), "model.embed_tokens.weight": (5, 8)}.items():
        weights[name] = torch.randn(shape, generator=generator)
    return {name: tensor.to(dtype) for name, tensor in weights.items()}


def shards():
    names = sorted(tensors())
    return {ONE: names[:2], TWO: names[2:]}


def write_index(folder, where, total=None):
    size = sum(tensor.nbytes for tensor in tensors().values()) if total is None else total
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": where}))


def where():
    return {name: shard for shard, names in shards().items() for name in names}


@pytest.fixture
def base(tmp_path):
    """A model in two shards."""
    folder = tmp_path / "base"
    folder.mkdir()
    weights = tensors()
    for shard, names in shards().items():
        save_file({name: weights[name] for name in names}, folder / shard, {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"model_type": "tiny", "tie_word_embeddings": False}))
    (folder / "tokenizer.json").write_text("{}")
    write_index(folder, where())
    return folder


@pytest.fixture
def adapter(tmp_path):
    return write_adapter(tmp_path / "adapter")


@pytest.fixture
def fails(refused, base, adapter):
    """`fuse` is refused, and so are `unfuse` and, unless only the numbers tell, the plan of it;
    the inputs do not change.
    """

    def check(exit_code, code, *phrases, options=(), tensor=None, planned=True):
        before = tree(base), tree(adapter)
        for arguments in (["fuse"], ["unfuse"], *([["fuse", "--dry-run"]] if planned else [])):
            refused([*arguments, base, adapter, *options], exit_code, code, *phrases, tensor=tensor)
        assert (tree(base), tree(adapter)) == before

    return check


def test_the_base_of_these_tests_is_good(base, adapter, tmp_path, capsys):
    before = tree(base)
    assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path / "out")]) == 0
    assert "3 modules changed" in capsys.readouterr().out
    assert tree(base) == before
    assert_fused(tmp_path / "out")


def assert_fused(out, weights=None):
    """W + ΔW in float64, to within float32, and all else as it was."""
    weights, found = tensors() if weights is None else weights, {}
    for path in out.glob("*.safetensors"):
        found |= load_file(path)
    assert found.keys() == weights.keys()
    update = factors()
    for name, tensor in weights.items():
        expected = tensor.double()
        for module in (module for module in MODULES if NAMES[module] == name):
            A, B = (update[f"base_model.model.{module}.lora_{role}.weight"].double() for role in "AB")
            expected = expected + 2 * B @ A  # alpha 4, rank 2
        torch.testing.assert_close(found[name].double(), expected, rtol=1e-6, atol=1e-5)


# B54


@pytest.mark.parametrize(
    "name",
    [
        "../outside.safetensors",
        "{outside}",
        "C:\\outside.safetensors",
        "..\\outside.safetensors",
        "outside.bin",
        "outside.safetensors.py",
    ],
)
def test_an_index_that_leads_out_of_its_folder(fails, base, tmp_path, name):
    for place in (tmp_path, base):
        for file in ("outside.safetensors", "outside.bin", "outside.safetensors.py"):
            save_file({shard: tensors()[shard] for shard in shards()[TWO]}, place / file)
    leading = name.format(outside=tmp_path / "outside.safetensors")
    write_index(base, {**where(), **dict.fromkeys(shards()[TWO], leading)})
    fails(3, "E-INDEX", base / INDEX, "names the file")


def test_a_shard_that_is_a_link_out_of_its_folder(fails, base, tmp_path):
    os.rename(base / TWO, tmp_path / "outside.safetensors")
    (base / TWO).symlink_to(tmp_path / "outside.safetensors")
    fails(3, "E-INDEX", base / TWO, "leads out of its folder", tmp_path / "outside.safetensors")


def test_the_cache_of_the_hub_is_links_and_the_output_is_files(base, adapter, tmp_path):
    blobs, snapshot = tmp_path / "models--some--base/blobs", tmp_path / "models--some--base/snapshots/0123abcd"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(base.iterdir())):
        os.rename(path, blobs / f"{number:040x}")
        (snapshot / path.name).symlink_to(f"../../blobs/{number:040x}")
    assert run(["fuse", str(snapshot), str(adapter), "-o", str(tmp_path / "out")]) == 0
    assert_fused(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in snapshot.iterdir()} | {
        "adapterops.json"
    }
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())


# B55


def test_a_missing_shard(fails, base):
    (base / TWO).unlink()
    fails(3, "E-INDEX", base, TWO, "missing", "download")


def test_a_tensor_that_is_not_where_the_index_says(fails, base):
    write_index(base, {**where(), "model.layers.9.q_proj.weight": ONE})
    fails(3, "E-INDEX", base / INDEX, ONE, tensor="model.layers.9.q_proj.weight")


def test_a_tensor_of_which_the_index_says_nothing_goes_along(base, adapter, tmp_path):
    save_file({**load_file(base / TWO), "extra.weight": torch.ones(2)}, base / TWO)
    assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path / "out")]) == 0
    assert torch.equal(load_file(tmp_path / "out" / TWO)["extra.weight"], torch.ones(2))
    assert json.loads((tmp_path / "out" / INDEX).read_text())["weight_map"]["extra.weight"] == TWO


def test_shards_without_their_index(fails, base):
    (base / INDEX).unlink()
    fails(3, "E-FOLDER", base, "index of the shards is missing")


@pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": {"model.norm.weight": 3}}', '{"weight_map": {}}'])
def test_an_index_that_is_none(fails, base, content):
    (base / INDEX).write_text(content)
    fails(3, "E-INDEX", base / INDEX, "weight_map")


def test_an_index_that_says_a_thing_twice(fails, base):
    (base / INDEX).write_text(
        '{"weight_map": {"model.norm.weight": "a.safetensors", "model.norm.weight": "b.safetensors"}}'
    )
    fails(3, "E-JSON", base / INDEX, "appears twice")


# B56


def test_a_wrong_total_size_is_a_warning(base, adapter, tmp_path, capsys, refused):
    write_index(base, where(), total=1)
    refused(["fuse", base, adapter, "--strict"], 3, "E-STRICT", "total_size is 1")
    assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path / "out")]) == 0
    assert "warning: " in (said := capsys.readouterr().err)
    assert f"{base / INDEX}: total_size is 1, the tensors take" in said
    assert_fused(tmp_path / "out")
    index = json.loads((tmp_path / "out" / INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors().values())


# B57


def test_a_tensor_in_two_shards(fails, base):
    twice = shards()[ONE][0]
    save_file({**load_file(base / TWO), twice: torch.zeros(5, 8)}, base / TWO)
    fails(3, "E-INDEX", base / INDEX, TWO, tensor=twice)


# B37 to B39, of a base


class Marker:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.fixture
def pickled(base):
    """The model as one pickle."""
    for path in base.iterdir():
        if path.suffix == ".safetensors" or path.name == INDEX:
            path.unlink()
    torch.save(tensors(), base / PICKLE)
    return base


def test_pickles_are_read_only_when_they_are_asked_for(fails, pickled, adapter, tmp_path):
    fails(3, "E-PICKLE", pickled, "only Python pickles", "--allow-pickle")
    assert run(["fuse", str(pickled), str(adapter), "--allow-pickle", "-o", str(tmp_path / "out")]) == 0
    assert_fused(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "adapterops.json",
    }


def test_a_pickle_gives_the_tensors_that_safetensors_give(pickled, adapter, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    save_file(tensors(), other / "model.safetensors")
    for source, out in ((pickled, "one"), (other, "two")):
        assert run(["fuse", str(source), str(adapter), "--allow-pickle", "-o", str(tmp_path / out)]) == 0
    one, two = (load_file(tmp_path / out / "model.safetensors") for out in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in tensors())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_pickle_with_a_scalar_in_another_dtype(pickled, adapter, tmp_path, dtype):
    torch.save(
        {**tensors(), "scale": torch.tensor(0.5, dtype=torch.float64), "none": torch.ones(0, 3)}, pickled / PICKLE
    )
    assert (
        run(["fuse", str(pickled), str(adapter), "--allow-pickle", "--dtype", dtype, "-o", str(tmp_path / "out")]) == 0
    )
    found = load_file(tmp_path / "out/model.safetensors")
    assert found["scale"].dtype == getattr(torch, dtype)
    assert found["scale"].item() == 0.5


def test_a_pickle_that_runs_code_does_not(fails, pickled, tmp_path):
    for content in (pickle.dumps(Marker(tmp_path / "marker")), None):
        if content is None:
            torch.save({**tensors(), "x": Marker(tmp_path / "marker")}, pickled / PICKLE)
        else:
            (pickled / PICKLE).write_bytes(content)
        fails(3, "E-PICKLE", pickled)
        fails(3, "E-PICKLE", pickled / PICKLE, options=["--allow-pickle"])
        assert not (tmp_path / "marker").exists()


def test_a_pickle_of_4_gigabytes_when_it_is_copied(fails, pickled):
    torch.save({**tensors(), "bomb.weight": torch.zeros(1).expand(10**9)}, pickled / PICKLE)
    assert (pickled / PICKLE).stat().st_size < 10_000
    fails(3, "E-PICKLE", pickled / PICKLE, "larger than its data", options=["--allow-pickle"], tensor="bomb.weight")


@pytest.mark.parametrize(
    "content", [[], {"state_dict": {"x": torch.ones(2)}}, {"x": torch.empty(3, device="meta")}], ids=str
)
def test_a_pickle_of_something_else(fails, pickled, content):
    torch.save(content, pickled / PICKLE)
    fails(3, "E-PICKLE", pickled / PICKLE, options=["--allow-pickle"])


# B58


@pytest.fixture
def coded(base):
    """The tensors of the base as one file, of which the first module's weight is in 4 bits;
    what of it is left out is for a test to say.
    """
    for path in base.glob("*.safetensors"):
        path.unlink()
    (base / INDEX).unlink()
    name = NAMES[MODULES[0]]
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [12, 8]}
    parts = {
        name: torch.zeros(48, 1, dtype=torch.uint8),
        f"{name}.absmax": torch.ones(2),
        f"{name}.quant_map": torch.zeros(16),
        f"{name}.quant_state.bitsandbytes__nf4": torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8),
    }

    def write(**changed):
        whole = {**tensors(torch.bfloat16), **parts, **{f"{name}.{role}": tensor for role, tensor in changed.items()}}
        save_file({key: tensor for key, tensor in whole.items() if tensor is not None}, base / "model.safetensors")
        return name

    return write


def test_a_base_of_4_bits_without_its_state(fails, coded):
    state = "quant_state.bitsandbytes__nf4"
    name = coded(**{state: None})
    fails(3, "E-QUANT", f"{name}.{state} or __fp4 is missing", tensor=name)


@pytest.mark.parametrize("missing", ["absmax", "quant_map"])
def test_a_base_of_4_bits_with_a_part_missing(fails, coded, missing):
    name = coded(**{missing: None})
    fails(
        3,
        "E-QUANT",
        f"stored as nf4, for which {name}.{missing} should be F32",
        "found nothing",
        "incomplete or damaged",
        tensor=name,
    )


def test_a_base_of_4_bits_with_a_part_that_does_not_fit(fails, coded):
    name = coded(absmax=torch.ones(3))
    fails(3, "E-QUANT", f"{name}.absmax should be F32 [2]; found F32 [3]", tensor=name)


def test_a_base_of_4_bits_whose_state_says_nothing(fails, coded):
    state = "quant_state.bitsandbytes__nf4"
    name = coded(**{state: torch.zeros(80, dtype=torch.uint8)})
    fails(3, "E-JSON", "is not JSON", tensor=f"{name}.{state}")


def test_a_base_of_4_bits_that_is_whole(fails, coded, base, adapter, tmp_path):
    """Which way an update is to be rounded is for whoever fuses it to say."""
    coded()
    for arguments in (["fuse"], ["fuse", "--dry-run"], ["unfuse"]):
        assert run([arguments[0], str(base), str(adapter), "-o", str(tmp_path / "out"), *arguments[1:]]) == 2
    assert run(["fuse", str(base), str(adapter), "--dtype", "bfloat16", "-o", str(tmp_path / "out")]) == 0
    assert load_file(tmp_path / "out/model.safetensors")[NAMES[MODULES[0]]].dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn], ids=str)
def test_a_base_of_8_bits(fails, base, dtype):
    name = NAMES[MODULES[0]]
    shard = base / where()[name]
    save_file({**load_file(shard), name: torch.zeros(12, 8).to(dtype)}, shard)
    write_index(
        base, where(), sum(tensor.nbytes for path in base.glob("*.safetensors") for tensor in load_file(path).values())
    )
    fails(3, "E-QUANT", "its codes cannot be decoded", "is missing", tensor=name)


# B59: what is handled is in tests/interop


def test_a_square_weight_of_a_model_with_conv1d_whose_type_nobody_says(refused, tmp_path):
    (tmp_path / "base").mkdir()
    weights = {"h.0.attn.c_attn.weight": torch.ones(8, 24), "h.0.attn.c_proj.weight": torch.ones(8, 8)}
    save_file(weights, tmp_path / "base/model.safetensors")
    names = {"transformer.h.0.attn.c_attn": 24, "transformer.h.0.attn.c_proj": 8}
    update = {}
    for name, out in names.items():
        update |= factors([name], out=out, into=8)
    adapter = write_adapter(tmp_path / "adapter", update)
    error = refused(
        ["fuse", tmp_path / "base", adapter], 4, "E-ORIENTATION", "model_type", tensor="transformer.h.0.attn.c_proj"
    )
    assert "config.json" in error["hint"]


# B60


INSIDE = ["base", "base/inner", "base/../base/inner", "adapter", "adapter/inner", "link/inner", "link", f"base/{ONE}"]


@pytest.mark.parametrize("out", INSIDE)
def test_an_output_that_is_an_input_or_lies_in_one(base, adapter, tmp_path, capsys, out):
    (tmp_path / "link").symlink_to(base)
    before = tree(tmp_path)
    for options in ([], ["--force"], ["--dry-run"]):
        assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path / out), *options]) in (2, 6)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert out.rpartition("/")[2] in said.err
        assert tree(tmp_path) == before


def test_an_output_that_would_replace_the_folder_of_its_inputs(base, adapter, tmp_path, capsys):
    (tmp_path / "adapterops.json").write_text("{}")
    before = tree(tmp_path)
    assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path), "--force"]) == 2
    assert "would replace the input" in capsys.readouterr().err
    assert tree(tmp_path) == before


# Other models, and none


def test_nothing_is_there(refused, base, adapter, tmp_path):
    refused(["fuse", tmp_path / "bas", adapter], 5, "E-NOT-FOUND", "does not exist", base)
    refused(["fuse", base, tmp_path / "adapte"], 5, "E-NOT-FOUND", "does not exist", adapter)


def test_base_and_adapter_in_the_wrong_order(refused, base, adapter):
    refused(["fuse", adapter, base], 3, "E-ADAPTER", adapter, "is an adapter")


def test_an_adapter_is_no_base(refused, adapter):
    refused(["fuse", adapter, adapter], 3, "E-ADAPTER", "is an adapter")


def test_a_folder_without_a_model(refused, adapter, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(["fuse", tmp_path / "empty", adapter], 3, "E-FOLDER", tmp_path / "empty", "nothing")


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"", "E-ST-EMPTY", "is empty"),
        (b"GGUF" + bytes(100), "E-ST-FOREIGN", "a GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "E-ST-FOREIGN", "git lfs pull"),
        (file_bytes({"model.norm.weight": entry([8], 0, 32)}, bytes(31)), "E-ST-TRUNCATED", "is cut off"),
        (file_bytes({"model.norm.weight": entry([8], 0, 32)}, bytes(33)), "E-ST-TRAILING", "after its last tensor"),
    ],
    ids=["empty", "GGUF", "Git LFS", "cut off", "more behind it"],
)
def test_a_shard_that_is_no_safetensors_file(fails, base, content, code, said):
    (base / TWO).write_bytes(content)
    fails(3, code, base / TWO, said)


def test_a_shard_that_is_a_pipe(fails, base):
    (base / TWO).unlink()
    os.mkfifo(base / TWO)
    before = tree(base.parent / "adapter")
    fails(3, "E-NOT-A-FILE", base / TWO, "not a regular file")
    assert tree(base.parent / "adapter") == before


CONFIGS = {
    "list": ("[]", "E-CONFIG"),
    "cut off": ("{", "E-JSON"),
    "twice": ('{"a": 1, "a": 2}', "E-JSON"),
    "large": (" " * 2**21, "E-JSON"),
}


@pytest.mark.parametrize(("text", "code"), CONFIGS.values(), ids=CONFIGS)
def test_a_config_that_is_none(fails, base, text, code):
    (base / "config.json").write_text(text)
    fails(3, code, base / "config.json")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite(fails, base, number):
    weights = load_file(base / TWO)
    weights[NAMES[MODULES[2]]][3, 2] = number
    save_file(weights, base / TWO)
    fails(
        3,
        "E-NONFINITE",
        base / TWO,
        "the base has numbers that are NaN or infinite",
        tensor=NAMES[MODULES[2]],
        planned=False,
    )


def test_a_sum_that_does_not_fit_float16(refused, base, tmp_path):
    weights = {name: tensor.half() for name, tensor in tensors().items()}
    weights[NAMES[MODULES[1]]][:] = 65504
    (tmp_path / "half").mkdir()
    save_file(weights, tmp_path / "half/model.safetensors")
    big = write_adapter(tmp_path / "big", {name: 10 * tensor for name, tensor in factors().items()})
    refused(
        ["fuse", tmp_path / "half", big],
        4,
        "E-OVERFLOW",
        "too large for float16",
        "--dtype float32",
        tensor=NAMES[MODULES[1]],
    )


def test_a_weight_that_is_not_adapted_and_does_not_fit_the_dtype_that_is_asked_for(fails, base):
    """Infinite weights are no model, whoever made them so."""
    weights = load_file(base / ONE)
    weights["model.embed_tokens.weight"][1, 1] = 1e30
    save_file(weights, base / ONE)
    fails(
        4,
        "E-OVERFLOW",
        base / ONE,
        "too large for",
        options=["--dtype", "float16"],
        tensor="model.embed_tokens.weight",
        planned=False,
    )


def test_an_adapter_of_another_model(refused, base, tmp_path):
    other = write_adapter(tmp_path / "other", factors(["encoder.block.0.q"]))
    refused(["fuse", base, other], 4, "E-NAMES", "0 of 1 modules", "encoder.block.0.q", "model.layers.0.q_proj.weight")
    larger = write_adapter(tmp_path / "larger", into=9)
    refused(["fuse", base, larger], 4, "E-NAMES", "[12, 9]", "[12, 8]")
    deeper = write_adapter(tmp_path / "deeper", modules=(*MODULES, "layers.5.q_proj"))
    refused(["fuse", base, deeper], 4, "E-NAMES", "1 of 4 modules", "layers.5.q_proj")


def test_an_update_that_rounding_erases(refused, base, tmp_path):
    tiny = write_adapter(tmp_path / "tiny", {name: 1e-10 * tensor for name, tensor in factors().items()})
    refused(["fuse", base, tiny], 8, "E-UNCHANGED", "rounding erased every update", "--dtype float32")
    zero = write_adapter(tmp_path / "zero", {name: 0 * tensor for name, tensor in factors().items()}, config())
    refused(["fuse", base, zero], 8, "E-UNCHANGED", "ever trained")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-shard-size", "0GB"], "--max-shard-size"),
        (["--max-shard-size", "many"], "500MB"),
        (["--precision", "float16"], "--precision"),
        (["--dtype", "int8"], "--dtype"),
        (["--density", "0.5"], "density"),
        (["-w", "1", "-w", "2"], "2 weights for 1 adapter"),
        (["-w", "nan"], "finite"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_use(refused, base, adapter, options, said, capsys):
    arguments = ["fuse", str(base), str(adapter), *options]
    assert run(arguments) == 2
    assert said in (shown := capsys.readouterr().err)
    assert "Traceback" not in shown
    assert sorted(path.name for path in base.parent.iterdir()) == ["adapter", "base"]


@pytest.mark.parametrize("command", ["show", "fuse", "quantize", "extract"])
def test_lora_that_was_saved_in_a_model(refused, tmp_path, command):
    """Its factors are no weights, and its weights lack the update."""
    model, layer = tmp_path / "model", "model.layers.0.self_attn.q_proj"
    model.mkdir()
    names = [f"{layer}.base_layer.weight", f"{layer}.lora_A.default.weight", f"{layer}.lora_B.default.weight"]
    save_file({name: torch.ones(64, 64) for name in names}, model / "model.safetensors")
    options = {
        "fuse": [write_adapter(tmp_path / "adapter")],
        "quantize": ["--to", "nf4"],
        "extract": ["--base", model, "--rank", "1"],
    }
    given = [command, model, *options.get(command, [])]
    refused(given, 3, "E-UNMERGED", model, "not merged", "3 such tensors", "save_pretrained", tensor=names[0])


def test_verify_of_a_model_with_lora_in_it(tmp_path, capsys):
    model = tmp_path / "model"
    model.mkdir()
    save_file(
        {"x.base_layer.weight": torch.ones(4, 4), "x.lora_A.default.weight": torch.ones(2, 4)},
        model / "model.safetensors",
    )
    assert run(["verify", str(model), "--base", str(model)]) == 8
    assert "not merged" in "".join(capsys.readouterr())
