"""Whatever makes a model makes it in parts, too: the bytes are those of one process. What makes an adapter says why not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Command
from corpus import factors, tree, write_adapter
from safetensors.torch import load_file, save_file
from tiny_models import write_base

from adapterops.checkpoints.saving import SavedCheckpoint
from adapterops.cli.main import run
from adapterops.engine.execution import Execution, Share
from adapterops.errors import InputError, NotFoundError, ResourceError
from adapterops.expressions.expression import parse
from adapterops.linalg import ranks
from adapterops.methods.entries import ModelEntries
from adapterops.operations import extraction
from adapterops.recipes.running import stored
from adapterops.requests import divided, parts
from adapterops.requests.fields import Input, Model, Output
from adapterops.requests.parts import do, finalize, spread, write_part
from adapterops.requests.request import Request
from adapterops.requests.running import Made, make, recipe_command, save
from adapterops.storage.measured import Measured
from adapterops.storage.strict import json_text

ADAPTED = [f"model.layers.{layer}.{name}" for layer in range(3) for name in ("q_proj", "v_proj")]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model `base` in four files, and two adapters of it, in the current folder."""
    write_base(tmp_path / "base", out=64, into=96)
    for name, seed in (("a", 1), ("b", 2)):
        small = {key: 0.2 * each for key, each in factors(ADAPTED, out=64, into=96, seed=seed).items()}
        write_adapter(tmp_path / name, small)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*arguments: str) -> int:
    return run(list(arguments))


def same_in_parts(arguments: list[str], of: int = 3) -> None:
    """Check that a command does the same in parts; files are hashed once, whoever reads them."""
    assert command(*arguments, "-o", "whole") == 0
    for number in range(of, 0, -1):
        assert command(*arguments, "-o", "out", "--part", f"{number}/{of}") == 0
    assert command("finalize", "out") == 0
    assert tree(Path("out")) == tree(Path("whole"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["fuse", "base", "a", "--max-shard-size", "10kB"],
        ["fuse", "base", "a", "--max-shard-size", "1GB"],
        ["fuse", "base", "a", "b", "-w", "0.7", "-w", "-0.2", "--dtype", "float32"],
        ["fuse", "base", "a", "b", "--ties", "--density", "0.2", "--convention", "paper"],
        ["fuse", "base", "a", "b", "--dare-ties", "--density", "0.5", "--seed", "3"],
        ["unfuse", "base", "a", "--precision", "float64"],
        ["fuse", "base", "a", "--quantize", "nf4", "--double-quant"],
        ["quantize", "base", "--to", "int8"],
        ["quantize", "base", "--to", "nf4", "--max-shard-size", "10kB"],
    ],
    ids=" ".join,
)
def test_parts_are_the_whole(place: Path, arguments: list[str]) -> None:
    same_in_parts(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["dequantize", "base-nf4"],
        ["fuse", "base-nf4", "a", "--rounding", "stochastic", "--seed", "3"],
        ["fuse", "base-nf4", "a", "--original", "base", "--accept-loss"],
    ],
    ids=" ".join,
)
def test_parts_of_what_is_quantized(place: Path, arguments: list[str]) -> None:
    assert run(["quantize", "base"]) == 0
    same_in_parts(arguments)


def test_components_of_a_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of one name in several folders."""
    folder = tmp_path / "pipeline"
    for component in ("transformer", "text_encoder"):
        (folder / component).mkdir(parents=True)
        tensors = {f"blocks.{number}.to_q.weight": torch.randn(12, 8) for number in range(2)}
        save_file(tensors, folder / component / "model.safetensors", {"format": "pt"})
        (folder / component / "config.json").write_text('{"_class_name": "Toy"}')
    classes = {name: ["library", "Toy"] for name in ("transformer", "text_encoder")}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "Toy", **classes}))
    modules = [f"blocks.{number}.to_q" for number in range(2)]
    write_adapter(tmp_path / "a", factors(modules, out=12, into=8), modules=modules)
    monkeypatch.chdir(tmp_path)
    same_in_parts(["fuse", "pipeline", "a", "--component", "transformer"], of=2)


def test_a_loss_is_found_at_the_end_and_accepted_there(place: Path) -> None:
    """What is made is not made again for that."""
    faint = {key: 0.3 * each for key, each in factors(ADAPTED, out=64, into=96, seed=1).items()}
    write_adapter(place / "faint", {key: 0.1 * each for key, each in faint.items()})
    assert run(["quantize", "base"]) == 0
    fuse = ["fuse", "base-nf4", "faint", "--rounding", "nearest", "-o"]
    assert command(*fuse, "out", "--part", "1/1") == 0
    assert command("finalize", "out") == 8
    assert not Path("out").exists()
    assert command(*fuse, "out", "--part", "1/2", "--accept-loss") == 0
    assert command("finalize", "out", "--accept-loss") == 0
    assert command(*fuse, "whole", "--accept-loss") == 0
    changed = {name for name, hash_ in tree(Path("whole")).items() if tree(Path("out"))[name] != hash_}
    assert changed == {"adapterops.json"}, "which notes the command that was typed"


@pytest.mark.parametrize(
    "arguments",
    [
        ["extract", "tuned", "--base", "base", "--rank", "4"],
        ["extract", "tuned", "--base", "base", "--energy", "0.9", "--dtype", "float16"],
        ["extract", "tuned", "--base", "base", "--rank", "3", "--exact", "--rest", "drop", "--format", "mlx"],
        ["merge", "a", "b"],
        ["merge", "a", "b", "--ties", "--density", "0.3", "--rank", "5"],
        ["merge", "a", "b", "--ties", "--convention", "paper", "--dtype", "bfloat16"],
        ["merge", "a", "b", "--dare-linear", "--density", "0.5", "--seed", "3", "--rank", "8"],
    ],
    ids=" ".join,
)
def test_an_adapter_in_parts(place: Path, arguments: list[str]) -> None:
    assert run(["fuse", "base", "a", "b", "-o", "tuned"]) == 0
    tensors = load_file("tuned/model-00004-of-00004.safetensors")
    tensors["model.norm.weight"] += 1  # which goes along as it is
    save_file(tensors, "tuned/model-00004-of-00004.safetensors", {"format": "pt"})
    same_in_parts(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["calc", "0.7*a - ties(a, b, density=0.5)", "a=a", "b=b", "--rank", "3"],
        ["truncate", "a", "--energy", "0.9"],
        ["convert", "a", "--to", "mlx"],
        ["normalize", "a"],
        ["run", "adapter.yaml"],
        ["run", "model.yaml"],
        ["run", "whole/recipe.yaml"],
    ],
    ids=" ".join,
)
def test_whatever_writes_is_divided(place: Path, arguments: list[str]) -> None:
    """A recipe is in the output, with the hashes of all inputs; and is followed in parts itself."""
    adapter = "adapterops: 1\ninputs: {a: a, b: b}\nresult: a + 0.5*b\noutput: {rank: 4}\n"
    (place / "adapter.yaml").write_text(adapter)
    (place / "model.yaml").write_text(adapter.replace("{rank: 4}", "{max_shard_size: 20kB}") + "base: base\n")
    if arguments[-1] == "whole/recipe.yaml":
        assert command("run", "model.yaml", "-o", "first") == 0
        arguments = ["run", "first/recipe.yaml"]
    same_in_parts(arguments)


def test_a_recipe_that_pushes_is_not_followed_in_parts(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pushing = "adapterops: 1\ninputs: {a: a}\nresult: 2*a\npush: {repo: me/name}\n"
    (place / "recipe.yaml").write_text(pushing)
    assert run(["run", "recipe.yaml", "-o", "out", "--part", "1/2"]) == 2
    assert "push at the end" in capsys.readouterr().err
    assert not list(place.glob(".out*"))


@pytest.mark.parametrize("arguments", [["convert", "a", "--to", "peft"], ["calc", "a", "a=a"]], ids=" ".join)
def test_what_is_copied_is_not_divided(place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert command(*arguments, "-o", "out", "--part", "1/2") == 4
    assert "copied as they are" in capsys.readouterr().err
    assert not list(place.glob(".out*"))


def test_modules_of_rank_0_and_numbers_that_are_not_finite(place: Path) -> None:
    """What is noted of a module is noted to the last bit, and NaN is."""
    tensors = factors(ADAPTED, out=64, into=96, seed=5)
    tensors[f"base_model.model.{ADAPTED[0]}.lora_B.weight"][3, 1] = torch.nan
    tensors[f"base_model.model.{ADAPTED[1]}.lora_B.weight"][:] = 0
    write_adapter(place / "c", tensors)
    same_in_parts(["merge", "c", "--allow-nonfinite"])
    for name in ("out", "whole", "c"):
        shutil.rmtree(name)
    tensors[f"base_model.model.{ADAPTED[0]}.lora_B.weight"][3, 1] = 0
    write_adapter(place / "c", tensors)
    assert run(["fuse", "base", "c", "-o", "tuned"]) == 0
    same_in_parts(["extract", "tuned", "--base", "base", "--energy", "0.5"])


def counted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[Any]:
    """What a function is called with from now on."""
    real, calls = getattr(module, name), []

    def call(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, call)
    return calls


@pytest.mark.parametrize(
    ("arguments", "module", "name"),
    [
        (["merge", "a", "b", "--budget", "2k"], ranks, "by_budget"),
        (["merge", "a", "b", "--ties", "--density", "0.5", "--budget", "3kB"], ranks, "by_budget"),
        (["truncate", "a", "--budget", "1k", "--dtype", "F16"], ranks, "by_budget"),
        (["fuse", "base", "a", "b", "--ties", "--convention", "paper"], ModelEntries, "_cut"),
        (["fuse", "base", "a", "b", "--ties", "--convention", "paper"], ModelEntries, "_balance"),
        (["merge", "a", "b", "--ties", "--convention", "paper", "--rank", "3"], ModelEntries, "_balance"),
        (["merge", "a", "b", "--ties", "--convention", "paper", "--budget", "2k"], ModelEntries, "_cut"),
        (["extract", "tuned", "--base", "base", "--rank", "4"], extraction, "_differs"),
        (["extract", "tuned", "--base", "base", "--budget", "1k"], ranks, "by_budget"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_what_needs_every_module_first_is_measured_once_for_all_parts(
    place: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], module: Any, name: str
) -> None:
    assert run(["fuse", "base", "a", "-o", "tuned"]) == 0
    calls = counted(monkeypatch, module, name)
    assert command(*arguments, "-o", "whole") == 0
    once = len(calls)
    assert once
    for number in (2, 1, 3):
        assert command(*arguments, "-o", "out", "--part", f"{number}/3") == 0
    assert command("finalize", "out") == 0
    assert len(calls) == 2 * once
    assert tree(Path("out")) == tree(Path("whole"))
    assert not list(place.glob(".out*"))


def test_a_merge_of_a_merge_that_measures_first(place: Path) -> None:
    """The outer thresholds are those of the inner merge, whose thresholds come first: neither waits for the other."""
    paper = 'density=0.5, convention="paper"'
    arguments = ["calc", f"ties(ties(a, b, {paper}), c, {paper})", "a=a", "b=b", "c=a", "-o"]
    for number in (1, 2):
        assert Command([*arguments, "out", "--part", f"{number}/2"]).end().code == 0
    assert command("finalize", "out") == 0
    assert command(*arguments, "whole") == 0
    assert load_file("out/adapter_model.safetensors").keys() == load_file("whole/adapter_model.safetensors").keys()
    assert Path("out/adapter_model.safetensors").read_bytes() == Path("whole/adapter_model.safetensors").read_bytes()
    assert not list(place.glob(".out*"))


def test_a_verification_measures_once_for_all_parts(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["fuse", "base", "a", "b", "--ties", "--convention", "paper", "-o", "out"]) == 0
    calls = counted(monkeypatch, ModelEntries, "_cut")
    for number in (1, 2):
        assert command("verify", "out", "--part", f"{number}/2") == 0
    assert command("finalize", "out") == 0
    assert len(calls) == 2, "one for each adapter"
    assert not list(place.glob(".out*"))


def test_parts_that_are_given_up(place: Path) -> None:
    """What was measured for them goes when one process has made the output."""
    truncate = ["truncate", "a", "--budget", "1k", "-o", "out"]
    assert command(*truncate, "--part", "1/2") == 0
    (parts_of,) = place.glob(".out.parts-*")
    shutil.rmtree(parts_of)
    assert command(*truncate) == 0
    assert not list(place.glob(".out*"))


def test_what_an_adapter_measures_is_of_no_output_that_it_is_written_to(place: Path) -> None:
    request = Request({"a": Input("a"), "b": Input("b")}, parse('ties(a, b, convention="paper")', ["a", "b"]))
    made = make(request, Path("one"))
    write_part(made, Path("one"), Share(1, 2), how=Execution(once=Measured(Path("one"))))
    shutil.rmtree(next(place.glob(".one.parts-*")))
    save(made, Path("two"))
    assert not list(place.glob(".*"))


def test_another_budget_is_measured_anew(place: Path) -> None:
    assert command("truncate", "a", "--budget", "1k", "-o", "out", "--part", "1/2") == 0
    (parts_of,) = place.glob(".out.parts-*")
    shutil.rmtree(parts_of)
    same_in_parts(["truncate", "a", "--budget", "500"])


def merged() -> Made:
    return make(Request({"a": Input("a"), "b": Input("b")}, parse("a + b", ["a", "b"])), Path("out"))


def fused() -> Made:
    return make(Request({"a": Input("a")}, parse("a", ["a"]), base=Model("base")), Path("out"))


def test_jobs_are_text(place: Path) -> None:
    """What an engine is given has paths and names, and no number of any tensor; each text alone makes its file."""
    texts: list[str] = []

    def engine(function, items, *, memory, address, how):
        assert function is do
        assert memory > 0
        texts.extend(items)
        for item in reversed(items):
            yield function(item)

    saved = spread(fused(), Path("out"), engine)
    assert len(texts) == 4
    assert all(len(text) < 1000 for text in texts)
    assert sorted(json.loads(text)["file"] for text in texts) == sorted(
        path.name for path in Path("out").glob("*.safetensors")
    )
    assert isinstance(saved, SavedCheckpoint)
    assert saved.tensors == 12


def engine(function, items, *, memory, address, how):
    """One that does the jobs here."""
    yield from map(function, items)


def test_where_nothing_is_left_no_engine_has_to_be_there(place: Path) -> None:
    def gone(*arguments: Any, **options: Any) -> Iterator[str]:
        raise NotFoundError("there is no cluster")

    write_part(fused(), Path("out"), Share(1, 1))
    assert spread(fused(), Path("out"), gone).path == Path("out")


def test_the_largest_file_is_made_first(place: Path) -> None:
    """So that nobody waits at the end while another is at it."""
    files: list[str] = []

    def noting(function, items, **options):
        files.extend(json.loads(item)["file"] for item in items)
        yield from map(function, items)

    spread(fused(), Path("out"), noting)
    sizes = [Path("out", file).stat().st_size for file in files]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 1


def test_how_an_adapter_is_written_is_found_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not for each of its jobs, of which there are as many as modules."""
    found: list[object] = []
    arrangement = divided.arrangement
    monkeypatch.setattr(divided, "arrangement", lambda *given: found.append(given) or arrangement(*given))
    spread(merged(), Path("out"), engine)
    assert len(found) == 2, "by whoever divides, and by who does all jobs"


def test_what_an_engine_made_is_not_read_again_and_what_was_there_is(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is hashed as it is written, and a second pass would be one machine's, over what many have made."""
    write_part(fused(), Path("out"), Share(1, 4))
    compared: list[str] = []
    real = parts.whole
    monkeypatch.setattr(parts, "whole", lambda folder, name, *more: compared.append(name) or real(folder, name, *more))
    spread(fused(), Path("out"), engine)
    assert compared == ["model-00001-of-00004.safetensors"]


def test_what_other_machines_made_is_read_here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(function, items, **options):
        for item in items:
            monkeypatch.setattr(parts, "_machine", lambda: "another")
            made = function(item)
            monkeypatch.undo()
            yield made
        (file,) = place.glob(".out.parts-*/files/model-00002-*")
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)

    with pytest.raises(InputError, match="changed since it was written"):
        spread(fused(), Path("out"), elsewhere)


def test_what_an_engine_made_and_is_cut_by_the_end_is_found(place: Path) -> None:
    def cutting(function, items, **options):
        yield from engine(function, items, **options)
        (file,) = place.glob(".out.parts-*/files/model-00002-*")
        os.truncate(file, 100)

    with pytest.raises(InputError, match="changed since it was written"):
        spread(fused(), Path("out"), cutting)
    assert not Path("out").exists()


def test_as_many_processes_at_once_as_memory_allows(place: Path) -> None:
    seen: list[tuple[int, int]] = []

    def watched(function, items, *, memory, address, how):
        seen.append((memory, how.threads))
        yield from map(function, items)

    spread(fused(), Path("one"), watched, how=Execution(4))
    one, _ = seen[0]
    spread(fused(), Path("two"), watched, how=Execution(4, memory=2 * one + 1))
    assert seen == [(one, 4), (one, 2)]
    with pytest.raises(ResourceError, match="one worker takes"):
        spread(fused(), Path("three"), watched, how=Execution(4, memory=one - 1))
    assert not Path("three").exists()


def test_a_job_reads_the_record_of_its_own_file_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them would be the square of their number."""
    asked: list[object] = []
    entries = parts.PartsFolder.entries

    def counted(self: parts.PartsFolder, names: Iterable[str] | None = None) -> list[dict[str, Any]]:
        names = None if names is None else list(names)
        asked.append(names)
        return entries(self, names)

    def watched(function, items, **options):
        monkeypatch.setattr(parts.PartsFolder, "entries", counted)
        yield from engine(function, items, **options)
        monkeypatch.setattr(parts.PartsFolder, "entries", entries)

    spread(fused(), Path("out"), watched)
    assert asked == [[f"model-0000{number}-of-00004.safetensors"] for number in (1, 2, 3, 4)]


@pytest.mark.parametrize("made", [lambda: fused(), lambda: merged()], ids=["model", "adapter"])
def test_nothing_waits_for_the_disk_where_nobody_asks_for_that(
    place: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[[], Made]
) -> None:
    def parted(sync: bool) -> list[int]:
        waited: list[int] = []
        monkeypatch.setattr(os, "fsync", waited.append)
        write_part(made(), Path(f"out-{sync}"), Share(1, 1), how=Execution(sync=sync))
        return waited

    assert (bool(parted(True)), parted(False)) == (True, [])


def test_a_machine_without_the_disk(place: Path) -> None:
    made = fused()
    request, name = made.seen_from(place / "out").as_json(), "model-00001-of-00004.safetensors"
    job = {"request": request, "proves": False, "out": str(place / "out"), "plan": "0", "sync": True, "file": name}
    with pytest.raises(NotFoundError, match="is not on this machine"):
        do(json_text(job).decode())


def test_a_machine_without_the_disk_measures_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch, ranks, "by_budget")
    cut = Request({"a": Input("../a")}, parse("a", ["a"]), output=Output(budget="1k"))
    job = {"request": cut.as_json(), "proves": False, "out": str(place / "out"), "plan": "0", "sync": True, "file": "a"}
    with pytest.raises(NotFoundError, match="is not on this machine"):
        do(json_text(job).decode())
    assert not calls
    assert not list(place.glob(".out*"))


def test_input_files_are_hashed_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base's by who reads them, and not again at the end: a model of 800 GB is not read for its manifest."""
    out = Path("out")
    for number in (1, 2):
        write_part(fused(), out, Share(number, 2), command=recipe_command(Path("out")), how=Execution(1))

    def again(file: object, *algorithms: str) -> None:
        raise AssertionError("a file was hashed again")

    monkeypatch.setattr("adapterops.storage.identity.Identity.hash_as_read", again)
    assert finalize(out, files=stored)
    assert "blake3" in Path("out/recipe.yaml").read_text()
    assert finalize(out, files=stored) is None


def test_a_share() -> None:
    assert str(Share.read("2/3")) == "2/3"
    assert parts.SCHEMA == 1
