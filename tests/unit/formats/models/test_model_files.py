from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from adapterops.errors import AdapterOpsError, AdapterWarning, InputError
from adapterops.formats.models.model_files import NAME_A_MODEL, ModelFiles, read_model
from adapterops.formats.models.weight_files import INDEX, PICKLE, PICKLE_INDEX, SINGLE
from adapterops.storage.place import COLLECTION
from adapterops.storage.tensors import Stored

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
SPLIT = {ONE: ["a.weight", "b.weight"], TWO: ["c.weight", "norm.weight"]}
WHERE = {name: shard for shard, names in SPLIT.items() for name in names}
SMALL = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
    "modeling_own.py",
)


def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"a.weight": (4, 3), "b.weight": (2, 4), "c.weight": (3, 3), "norm.weight": (3,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def write_index(folder: Path, where: Any = WHERE, total: int | None = None, name: str = INDEX) -> Path:
    size = sum(tensor.nbytes for tensor in tensors().values()) if total is None else total
    (folder / name).write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": where}))
    return folder


def write_sharded(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for shard, names in SPLIT.items():
        save_file({name: tensors()[name] for name in names}, folder / shard, {"format": "pt"})
    (folder / "config.json").write_text('{"model_type": "tiny"}')
    return write_index(folder)


def write_single(folder: Path) -> Path:
    folder.mkdir(parents=True)
    save_file(tensors(), folder / SINGLE, {"format": "pt"})
    (folder / "config.json").write_text('{"model_type": "tiny"}')
    return folder


def write_pickled(folder: Path, content: Any = None) -> Path:
    folder.mkdir(parents=True)
    torch.save(tensors() if content is None else content, folder / PICKLE)
    return folder


def assert_holds_all(files: ModelFiles) -> None:
    found = {name: Stored(file, name).tensor() for file in files.shards.values() for name in file.entries}
    assert found.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert torch.equal(found[name], tensor)
        assert files.tensors()[name].spec.shape == tuple(tensor.shape)


def refused(source: Path, exit_code: int = 3, *, allow_pickle: bool = False) -> AdapterOpsError:
    with pytest.raises(AdapterOpsError) as caught:
        read_model(source, allow_pickle)
    assert caught.value.exit_code == exit_code
    return caught.value


@pytest.mark.parametrize("write", [write_single, write_sharded])
def test_one_file_or_shards_with_their_index(tmp_path: Path, write: Any) -> None:
    files = read_model(write(tmp_path / "base"))
    assert_holds_all(files)
    assert list(files.shards) == ([SINGLE] if write is write_single else [ONE, TWO])
    assert files.config == {"model_type": "tiny"}


def test_a_file_by_itself_has_the_config_beside_it(tmp_path: Path) -> None:
    files = read_model(write_single(tmp_path / "base") / SINGLE)
    assert_holds_all(files)
    assert files.config == {"model_type": "tiny"}


def test_a_folder_with_one_file_of_another_name(tmp_path: Path) -> None:
    os.rename(write_single(tmp_path / "base") / SINGLE, tmp_path / "base/weights.safetensors")
    assert_holds_all(read_model(tmp_path / "base"))


def test_a_model_without_a_config(tmp_path: Path) -> None:
    (write_single(tmp_path / "base") / "config.json").unlink()
    assert read_model(tmp_path / "base").config is None


def test_everything_but_weights_goes_along(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "base")
    left = (
        "adapter_config.json",
        "adapterops.json",
        "README.md",
        ".gitattributes",
        PICKLE,
        "tf_model.h5",
        "flax_model.msgpack",
    )
    for name in (*SMALL, *left, "consolidated.safetensors", "optimizer.pt", "q4.gguf", "model.onnx", PICKLE_INDEX):
        (folder / name).write_text("{}")
    (folder / "original").mkdir()
    assert {path.name for path in read_model(folder).others} == set(SMALL)


def test_folders_that_belong_to_a_model_go_along_whole(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "base")
    own = ("1_Pooling/config.json", "2_Dense/model.safetensors", "additional_chat_templates/tools.jinja")
    for name in (*own, "onnx/model.onnx"):
        (folder / name).parent.mkdir()
        (folder / name).write_text("{}")
    modules = [
        {"path": ""},
        {"path": "1_Pooling"},
        {"path": "2_Dense"},
        {"path": "3_Normalize"},
        {"path": "../out"},
        {},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    others = {path.relative_to(folder).as_posix() for path in read_model(folder).others}
    assert others == {"config.json", "modules.json", *own}
    (folder / "modules.json").write_text("{}")
    assert len(read_model(folder).others) == 3


def test_where_both_are_there_transformers_takes_the_single_file(tmp_path: Path) -> None:
    """Another choice would be another model than the one that runs; to refuse is as good."""
    folder = write_sharded(tmp_path / "base")
    save_file({name: tensor + 1 for name, tensor in tensors().items()}, folder / SINGLE)
    try:
        files = read_model(folder)
    except InputError:
        return
    assert list(files.shards) == [SINGLE]


def test_the_order_of_the_index_does_not_matter(tmp_path: Path) -> None:
    one, other = write_sharded(tmp_path / "one"), write_sharded(tmp_path / "other")
    write_index(other, dict(reversed(WHERE.items())))
    assert list(read_model(one).tensors()) == list(read_model(other).tensors())


def test_total_size_is_only_a_hint(tmp_path: Path) -> None:
    folder = write_index(write_sharded(tmp_path / "base"), total=17)
    with pytest.warns(AdapterWarning, match="total_size is 17, the tensors take 128 bytes"):
        assert_holds_all(read_model(folder))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("metadata", [{}, {"total_size": 128}, {"total_size": 128, "total_parameters": 32}])
def test_no_warning_where_nothing_is_wrong(tmp_path: Path, metadata: dict[str, int]) -> None:
    folder = write_sharded(tmp_path / "base")
    (folder / INDEX).write_text(json.dumps({"metadata": metadata, "weight_map": WHERE}))
    assert_holds_all(read_model(folder))
    (folder / INDEX).write_text(json.dumps({"weight_map": WHERE}))
    assert_holds_all(read_model(folder))


OUTSIDE = [
    "../outside.safetensors", "../../outside.safetensors", "sub/../../outside.safetensors", "{outside}", "C:\\outside.safetensors",
    "C:outside.safetensors", "..\\outside.safetensors", "\\\\server\\share\\outside.safetensors", "file:///outside.safetensors",
    "outside.bin", "outside.safetensors.py", "outside.py", "outside", "..", ".", "", ".safetensors", ".outside.safetensors",
    "out\0side.safetensors", "out\nside.safetensors", "out\u202eside.safetensors", "outside.SAFETENSORS",
]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_index_names_files_beside_it_and_no_others(tmp_path: Path, name: str) -> None:
    """What it leads to is there, and would be read by whoever follows it."""
    folder = write_sharded(tmp_path / "deep/base")
    for place in (tmp_path, tmp_path / "deep", folder):
        save_file(
            {"c.weight": tensors()["c.weight"], "norm.weight": tensors()["norm.weight"]}, place / "outside.safetensors"
        )
    name = name.format(outside=tmp_path / "outside.safetensors")
    write_index(folder, {**WHERE, "c.weight": name, "norm.weight": name})
    error = refused(folder)
    assert error.code == "E-INDEX"
    assert error.path == str(folder / INDEX)


@pytest.mark.parametrize(
    "content",
    [
        [], {}, {"weight_map": {}}, {"weight_map": []}, {"weight_map": None}, {"weight_map": {"a.weight": 1}},
        {"weight_map": {"a.weight": [ONE]}}, {"weight_map": {"a.weight": {"file": ONE}}},
    ],
)  # fmt: skip
def test_an_index_that_is_none(tmp_path: Path, content: Any) -> None:
    folder = write_sharded(tmp_path / "base")
    (folder / INDEX).write_text(json.dumps(content))
    assert refused(folder).code == "E-INDEX"


@pytest.mark.parametrize(
    "text", ["", "{", "\ufeff{}", '{"weight_map": {"a": "b", "a": "c"}}', '{"weight_map": NaN}', "[" * 100_000]
)
def test_an_index_that_is_not_strict_json(tmp_path: Path, text: str) -> None:
    folder = write_sharded(tmp_path / "base")
    (folder / INDEX).write_text(text)
    assert refused(folder).code == "E-JSON"


def test_a_metadata_that_is_none_says_nothing(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "base")
    for metadata in (None, [], "128"):
        (folder / INDEX).write_text(json.dumps({"metadata": metadata, "weight_map": WHERE}))
        assert_holds_all(read_model(folder))


def test_a_missing_shard(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "base")
    (folder / TWO).unlink()
    error = refused(folder)
    assert error.code == "E-INDEX"
    assert TWO in str(error)


def test_a_tensor_that_is_not_where_the_index_says(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "base")
    for where in ({**WHERE, "a.weight": TWO}, {**WHERE, "nowhere.weight": ONE}):
        error = refused(write_index(folder, where))
        assert error.code == "E-INDEX"
        assert error.tensor in ("a.weight", "nowhere.weight")


@pytest.mark.filterwarnings("error")
def test_a_tensor_of_which_the_index_says_nothing_is_read_with_its_shard(tmp_path: Path) -> None:
    """transformers opens every shard that the index names, and reads all that is in it."""
    some = {name: shard for name, shard in WHERE.items() if name != "b.weight"}
    assert_holds_all(read_model(write_index(write_sharded(tmp_path / "base"), some)))


def test_a_tensor_that_two_shards_have_and_the_index_does_not_name(tmp_path: Path) -> None:
    folder = write_index(write_sharded(tmp_path / "base"), {"a.weight": ONE, "c.weight": TWO}, total=160)
    save_file({name: tensors()[name] for name in ("b.weight", "c.weight", "norm.weight")}, folder / TWO)
    error = refused(folder)
    assert error.code == "E-INDEX"
    assert error.tensor == "b.weight"


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "base")
    save_file({name: tensors()[name] for name in ("a.weight", "c.weight", "norm.weight")}, folder / TWO)
    error = refused(folder)
    assert error.code == "E-INDEX"
    assert error.tensor == "a.weight"


def test_shards_without_their_index(tmp_path: Path) -> None:
    (write_sharded(tmp_path / "base") / INDEX).unlink()
    error = refused(tmp_path / "base")
    assert error.code == "E-FOLDER"
    assert "index of the shards is missing" in str(error)


def test_files_that_are_no_shards_may_be_models_themselves(tmp_path: Path) -> None:
    for name in ("b.safetensors", "a.safetensors"):
        save_file(tensors(), tmp_path / name)
    error = refused(tmp_path)
    assert error.code == "E-FOLDER"
    assert "index" not in str(error.hint)
    assert "name the file of the model itself, such as a.safetensors" in str(error)


def test_a_folder_without_a_model_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    assert "nothing" in str(refused(tmp_path / "base"))
    (tmp_path / "base/notes.txt").touch()
    assert "notes.txt" in str(refused(tmp_path / "base"))


@pytest.mark.parametrize("inner", ["snapshots/0123abc", "merged"])
def test_a_folder_with_a_model_further_in_names_it(tmp_path: Path, inner: str) -> None:
    (tmp_path / "models--owner--name" / inner).parent.mkdir(parents=True)
    write_sharded(tmp_path / "models--owner--name" / inner)
    error = refused(tmp_path / "models--owner--name")
    assert error.hint == f"name the folder of the model, such as {tmp_path / 'models--owner--name' / inner}"


def test_nothing_is_there(tmp_path: Path) -> None:
    write_single(tmp_path / "model-7b")
    assert "model-7b" in str(refused(tmp_path / "model-7", 5))


CLASSES = ["5", "true", '{"a": 1}', '"LlamaForCausalLM"', "[5]", "[null]", '[["x"]]']


@pytest.mark.parametrize("classes", CLASSES)
def test_classes_are_a_list_of_names(tmp_path: Path, classes: str) -> None:
    (write_single(tmp_path / "base") / "config.json").write_text(f'{{"architectures": {classes}}}')
    error = refused(tmp_path / "base")
    assert error.code == "E-CONFIG"
    assert "expected a list of names or null" in str(error)


CONFIGS = {"[]": "E-CONFIG", "null": "E-CONFIG", '{"a": NaN}': "E-JSON", '{"a": 1, "a": 2}': "E-JSON", "{": "E-JSON"}


@pytest.mark.parametrize(("text", "code"), CONFIGS.items())
def test_a_config_that_is_none(tmp_path: Path, text: str, code: str) -> None:
    (write_single(tmp_path / "base") / "config.json").write_text(text)
    error = refused(tmp_path / "base")
    assert error.code == code
    assert error.path == str(tmp_path / "base/config.json")


# Links


def link(path: Path, target: str | Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def test_a_shard_that_is_a_link_out_of_the_folder(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "base")
    outside = tmp_path / "outside.safetensors"
    os.rename(folder / TWO, outside)
    for target in (outside, "../outside.safetensors"):
        link(folder / TWO, target)
        error = refused(folder)
        assert error.code == "E-INDEX"
        assert error.path == str(folder / TWO)
        assert "leads out of its folder" in str(error)


def test_a_shard_that_is_a_link_by_way_of_another(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "base")
    os.rename(folder / TWO, tmp_path / "outside.safetensors")
    (folder / "inner").symlink_to(tmp_path)
    link(folder / TWO, "inner/outside.safetensors")
    assert "leads out of its folder" in str(refused(folder))


def test_a_link_within_the_folder(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "base")
    os.rename(folder / TWO, folder / "second.safetensors")
    link(folder / TWO, "second.safetensors")
    assert_holds_all(read_model(folder))


def test_a_folder_that_is_reached_by_a_link(tmp_path: Path) -> None:
    write_sharded(tmp_path / "elsewhere/base")
    (tmp_path / "base").symlink_to(tmp_path / "elsewhere/base")
    assert_holds_all(read_model(tmp_path / "base"))


@pytest.mark.parametrize("target", ["nowhere.safetensors", TWO])
def test_a_link_to_nothing_and_one_to_itself(tmp_path: Path, target: str) -> None:
    folder = write_sharded(tmp_path / "base")
    link(folder / TWO, target)
    assert TWO in str(refused(folder))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", INDEX, SINGLE])
def test_a_file_that_is_a_link_to_nothing_is_not_passed_over(tmp_path: Path, name: str) -> None:
    folder = write_sharded(tmp_path / "base") if name == INDEX else write_single(tmp_path / "base")
    link(folder / name, "../../blobs/gone")
    with pytest.raises(AdapterOpsError) as caught:
        read_model(folder)
    assert caught.value.exit_code in (3, 5)
    assert name in str(caught.value)


def hub_cache(folder: Path) -> Path:
    """The folder of a revision as huggingface_hub keeps it: everything in it is a link to ../../blobs."""
    made = write_sharded(folder / "made")
    (made / "tokenizer.json").write_text("{}")
    blobs, snapshot = folder / "models--some--base/blobs", folder / "models--some--base/snapshots/0123456789abcdef"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(made.iterdir())):
        os.rename(path, blobs / f"{number:064x}")
        (snapshot / path.name).symlink_to(f"../../blobs/{number:064x}")
    return snapshot


def test_the_cache_of_the_hub_is_all_links(tmp_path: Path) -> None:
    files = read_model(hub_cache(tmp_path))
    assert_holds_all(files)
    assert files.config == {"model_type": "tiny"}
    assert {path.name for path in files.others} == {"config.json", "tokenizer.json"}


def test_the_cache_of_the_hub_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "base").symlink_to(hub_cache(tmp_path))
    assert_holds_all(read_model(tmp_path / "base"))


def test_the_blobs_of_another_model(tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path)
    other = tmp_path / "models--other/blobs"
    other.mkdir(parents=True)
    os.rename(os.path.realpath(snapshot / TWO), other / "0")
    link(snapshot / TWO, "../../../models--other/blobs/0")
    assert "leads out of its folder" in str(refused(snapshot))


# Pickles


@pytest.mark.parametrize(
    ("others", "hint"),
    [((), "call it adapter_model.safetensors"), ((COLLECTION,), NAME_A_MODEL)],
    ids=["LoRA", "collection"],
)
def test_an_adapter_under_the_name_of_a_model(tmp_path: Path, others: tuple[str, ...], hint: str) -> None:
    save_file({"q.lora_A.weight": torch.ones(1, 2), "q.lora_B.weight": torch.ones(2, 1)}, tmp_path / SINGLE)
    for name in ("adapter_config.json", *others):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match="where a model is expected") as caught:
        read_model(tmp_path)
    assert hint in str(caught.value.hint)


def test_pickles_are_refused_unless_they_are_asked_for(tmp_path: Path) -> None:
    folder = write_pickled(tmp_path / "base")
    error = refused(folder)
    assert error.code == "E-PICKLE"
    assert "--allow-pickle" in str(error)
    assert_holds_all(read_model(folder, allow_pickle=True))


def test_safetensors_come_before_pickles(tmp_path: Path) -> None:
    folder = write_single(tmp_path / "base")
    (folder / PICKLE).write_bytes(b"no pickle at all")
    for allow in (False, True):
        assert_holds_all(read_model(folder, allow))


def write_pickled_shards(folder: Path, names: tuple[str, str]) -> Path:
    folder.mkdir(parents=True)
    for name, owned in zip(names, SPLIT.values(), strict=True):
        torch.save({tensor: tensors()[tensor] for tensor in owned}, folder / name)
    where = {tensor: name for name, owned in zip(names, SPLIT.values(), strict=True) for tensor in owned}
    return write_index(folder, where, name=PICKLE_INDEX)


def test_shards_of_pickles_become_shards_of_safetensors(tmp_path: Path) -> None:
    folder = write_pickled_shards(
        tmp_path / "base", ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
    )
    assert refused(folder).code == "E-PICKLE"
    files = read_model(folder, allow_pickle=True)
    assert_holds_all(files)
    assert list(files.shards) == [ONE, TWO]


def test_shards_of_pickles_under_other_names(tmp_path: Path) -> None:
    """What is written holds safetensors, and must not be called .bin."""
    files = read_model(write_pickled_shards(tmp_path / "base", ("first.bin", "second.bin")), allow_pickle=True)
    assert_holds_all(files)
    assert all(name.endswith(".safetensors") for name in files.shards)


@pytest.mark.parametrize("name", ["../outside.bin", "outside.safetensors", "outside.pkl", "/outside.bin"])
def test_the_index_of_pickles_is_as_strict(tmp_path: Path, name: str) -> None:
    folder = write_pickled_shards(
        tmp_path / "base", ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
    )
    torch.save(tensors(), tmp_path / "outside.bin")
    write_index(folder, dict.fromkeys(tensors(), name), name=PICKLE_INDEX)
    assert refused(folder, allow_pickle=True).code == "E-INDEX"


class Marker:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.path, "w"))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "pickle alone"])
def test_a_pickle_that_runs_code_does_not(tmp_path: Path, zipped: bool) -> None:
    folder, marker = write_pickled(tmp_path / "base"), tmp_path / "marker"
    content = {**tensors(), "x": Marker(marker)}
    if zipped:
        torch.save(content, folder / PICKLE)
    else:
        (folder / PICKLE).write_bytes(pickle.dumps(Marker(marker)))
    for allow in (False, True):
        assert refused(folder, allow_pickle=allow).code == "E-PICKLE"
    assert not marker.exists()


BAD = {
    "a tensor": lambda: torch.ones(3),
    "a list": lambda: [torch.ones(3)],
    "a dict of dicts": lambda: {"state_dict": {"a.weight": torch.ones(3)}},
    "a number": lambda: {"a.weight": torch.ones(3), "epoch": 3},
    "a name that is none": lambda: {1: torch.ones(3)},
    "sparse": lambda: {"a.weight": torch.eye(3).to_sparse()},
    "complex": lambda: {"a.weight": torch.ones(3, dtype=torch.complex64)},
    "quantized": lambda: {"a.weight": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)},
    "of 4 GB when it is copied": lambda: {"a.weight": torch.zeros(1).expand(10**9)},
    "of rows that are one": lambda: {"a.weight": torch.ones(3).expand(1000, 3)},
    "without data": lambda: {"a.weight": torch.empty(3, device="meta")},
    "nothing": dict,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_pickles_of_something_else(tmp_path: Path, content: Any) -> None:
    error = refused(write_pickled(tmp_path / "base", content()), allow_pickle=True)
    assert error.code in ("E-PICKLE", "E-ST-EMPTY")
    assert error.path == str(tmp_path / "base" / PICKLE)


@pytest.mark.parametrize("name", ["../x", "a\0b", "", "a" * 10_000, "/etc/passwd"])
def test_the_names_in_pickles_are_as_safe_as_those_in_safetensors(tmp_path: Path, name: str) -> None:
    refused(write_pickled(tmp_path / "base", {name: torch.ones(3)}), allow_pickle=True)


def test_a_pickle_that_is_cut_off(tmp_path: Path) -> None:
    folder = write_pickled(tmp_path / "base")
    content = (folder / PICKLE).read_bytes()
    for size in (0, 7, len(content) // 2, len(content) - 30):
        (folder / PICKLE).write_bytes(content[:size])
        assert isinstance(refused(folder, allow_pickle=True), InputError)


def test_views_in_pickles_are_what_they_show(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    shared = {
        "a.weight": whole,
        "b.weight": whole[1:],
        "c.weight": whole.T,
        "d": torch.tensor(2.0),
        "e": torch.ones(0, 3),
    }
    (file,) = read_model(write_pickled(tmp_path / "base", shared), allow_pickle=True).shards.values()
    for name, tensor in shared.items():
        assert torch.equal(Stored(file, name).tensor(), tensor)
        assert b"".join(file.chunks(name)) == tensor.contiguous().numpy().tobytes()
    assert torch.equal(Stored(file, "c.weight").tensor((1, 3)), whole.T[1:3])
    assert torch.equal(Stored(file, "d").tensor((0, 1)).reshape(()), shared["d"])
    assert Stored(file, "e").tensor((0, 0)).numel() == 0
