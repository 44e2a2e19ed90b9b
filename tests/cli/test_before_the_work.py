"""What can be known before the work is said before it, and what was noted need not be said again."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from tiny_models import write_base, write_tuned

import adapterops as ao
from adapterops.checkpoints import checkpoint
from adapterops.cli import output
from adapterops.cli.main import run
from adapterops.operations import extraction, truncation
from adapterops.storage.safetensors import SafetensorsFile

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model `base`, adapters `a` and `b`, and the model fused with `a`, in the current folder."""
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a", seed=1)
    write_tuned(tmp_path / "b", seed=2)
    monkeypatch.chdir(tmp_path)
    assert run(["fuse", "base", "a", "-o", "model"]) == 0
    return tmp_path


def verified(*options: str, model: str = "model") -> int:
    return run(["verify", model, "--base", "base", "--adapter", "a", *options])


CUTS = [
    ["merge", "a", "b", "--rank", "1"],
    ["truncate", "a", "--rank", "1"],
    ["extract", "model", "--base", "base", "--rank", "1"],
]


@pytest.mark.parametrize("command", CUTS, ids=" ".join)
def test_an_output_that_is_there_is_found_before_the_work(
    place: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*arguments: Any, **named: Any) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr(truncation, "truncate", work)
    monkeypatch.setattr(extraction, "pair", work)
    (place / "there").mkdir()
    (place / "there/file").touch()
    assert run([*command, "-o", "there"]) == 6


WRONG = """
merge a b --budget 100 -o w --engine processes --address x
merge a b --budget 100 -o w.safetensors
merge a b --budget 100 -o w.safetensors --part 1/2
merge a b --budget 100 -o w.safetensors --format kohya --part 1/2
merge a b --budget 100 -o w.safetensors --format diffusers --engine processes
merge a b --budget 100 -o w --rank 1
merge a b --budget 100 -o w --density 0.5
merge a b --budget 100 -o w --seed 1
merge a b --budget 100 -o w --part 1/2 --engine processes
merge a b --budget 100 -o w --part 3/2
merge a b --budget 100 -o w --address x
merge a b --budget 100 -o w --engine processes --device cuda
merge a b --budget 100 -o w -w 1
calc a+b a=a b=b --budget 100 --engine processes --address x -o w
fuse base a b --budget 100 -o w --push me/x
fuse base a -o w.gguf
fuse base a -o w.gguf --part 1/2
fuse base a -o w --private
fuse base a -o w --as-delta
fuse base a --push me/x --part 1/2
fuse base a -o w --double-quant
fuse base a -o w --original base
fuse base a -o w --rounding calibrated
fuse base a -o w --grams a
quantize base --to int8 --double-quant -o w
verify model --base base --adapter a --part 1/2 --logits
verify model --base base --adapter a --engine processes --address x
verify model --base base --adapter a --made-by peft --dtype float32
""".strip().splitlines()


@pytest.mark.parametrize("command", WRONG)
def test_options_that_do_not_go_together_are_refused_before_a_tensor_is_read(
    place: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is left behind that would be in the way of the right ones."""

    def read(*arguments: Any) -> None:
        raise AssertionError("a tensor was read")

    monkeypatch.setattr(SafetensorsFile, "_fill", read)
    before = sorted(place.iterdir())
    assert run(command.split()) == 2
    assert sorted(place.iterdir()) == before


def test_a_plan_that_cannot_be_kept_is_an_error_in_json_too(
    place: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 10**6 - 1000, 1000))
    for how in ([], ["--json"]):
        capsys.readouterr()
        assert run(["fuse", "base", "a", "-o", "out", "--dry-run", *how]) == 7
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "E-DISK"


def test_the_manifest_tells_the_dtype_and_the_precision(place: Path, capsys: Capture) -> None:
    assert run(["fuse", "base", "a", "--dtype", "float32", "--precision", "float64", "-o", "wide"]) == 0
    assert verified(model="wide") == 0
    assert verified("--precision", "float32", model="wide") in (0, 8)
    assert verified("--dtype", "float16", model="wide") == 8


def test_a_method_is_that_of_the_manifest_and_another_is_told(place: Path, capsys: Capture) -> None:
    assert run(["fuse", "base", "a", "b", "--ties", "--density", "0.5", "-o", "merged"]) == 0
    assert run(["verify", "merged", "--base", "base", "--adapter", "a", "--adapter", "b"]) == 0
    assert run(["verify", "merged", "--base", "base", "--adapter", "a", "--adapter", "b", "--linear"]) == 8
    shown = capsys.readouterr().err
    assert "the manifest says that the adapters were merged with" in shown
    assert "ties" in shown


def test_a_library_verifies_what_it_widened(place: Path) -> None:
    base, adapter = ao.open_checkpoint("base"), ao.open_adapter("a")
    ao.save_checkpoint(ao.fuse(base, adapter, dtype="F32"), "wide")
    model = ao.open_checkpoint("wide")
    assert {model.layout[name].dtype for name in model.layout if name.endswith("proj.weight")} == {"F32"}
    assert ao.verify(model, base, adapter, dtype="F32").ok
    assert not ao.verify(model, base, adapter).ok


@pytest.mark.parametrize(
    "name", ["adapter_config.json", "other.safetensors", "pytorch_model.bin", "chat_template.jinja"]
)
def test_a_file_that_nobody_wrote_is_found(place: Path, name: str, capsys: Capture) -> None:
    (place / "model/.gitattributes").write_text("")
    (place / "model/README.md").write_text("# mine")
    assert verified() == 0
    (place / "model" / name).write_bytes((place / "a/adapter_model.safetensors").read_bytes())
    assert verified() == 8
    assert f"{name}: is not of this output" in capsys.readouterr().out


def test_without_a_manifest_config_and_other_weights_are_looked_at(place: Path, capsys: Capture) -> None:
    (place / "model/adapterops.json").unlink()
    (place / "model/notes.txt").write_text("mine")
    assert verified() == 0
    config = json.loads((place / "model/config.json").read_text())
    (place / "model/config.json").write_text(json.dumps({**config, "model_type": "other", "_name_or_path": "x"}))
    assert verified() == 8
    assert "config.json: model_type is 'other', expected 'tiny'" in capsys.readouterr().out
    (place / "model/config.json").write_text(json.dumps(config))
    shutil.copy("a/adapter_config.json", "model")
    assert verified() == 8
    assert "adapter_config.json: does not belong to this model" in capsys.readouterr().out


def test_a_manifest_names_no_place_of_this_machine(place: Path) -> None:
    assert run(["fuse", f"{place}/base", f"{place}/a", "--dtype=float32", "--strict", "-o", "out"]) == 0
    noted = (place / "out/adapterops.json").read_text()
    assert str(place) not in noted
    assert json.loads(noted)["command"] == ["adapterops", "fuse", "base", "a", "--dtype=float32"]


def test_what_a_terminal_would_obey_is_not_printed(place: Path, capsys: Capture) -> None:
    for name, at in (("a", "\x1b[31mx"), ("b", "\x1b]0;y\x07")):
        path = place / name / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": at}))
    capsys.readouterr()
    assert run(["show", "a"]) == 0
    assert run(["merge", "a", "b", "-o", "out"]) == 4
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert "\ufffd[31mx" in shown.out
    assert "\ufffd[31mx" in shown.err


def test_each_part_of_the_work_has_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    bars = []

    class Bar:
        def __init__(self, length: int, **named: Any) -> None:
            self.length, self.done, self.finished = length, 0, False
            bars.append(self)

        def update(self, steps: int) -> None:
            self.done += steps

        def render_finish(self) -> None:
            self.finished = True

    monkeypatch.setattr(output.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(output, "QUIET_SECONDS", -1)
    monkeypatch.setattr(output.click, "progressbar", Bar)
    with output.progress("measuring") as report:
        assert report
        for total in (3, 2):
            for done in range(total):
                report(done + 1, total)
    assert [(bar.length, bar.done, bar.finished) for bar in bars] == [(3, 3, True), (2, 2, True)]


def test_verifying_reads_each_adapted_weight_of_the_base_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    rows = checkpoint.StoredTensor.rows

    def counted(stored: checkpoint.StoredTensor, begin: int, end: int, memory: Any) -> Any:
        seen.append(stored.parts[""].name)
        return rows(stored, begin, end, memory)

    base, model, adapter = ao.open_checkpoint("base"), ao.open_checkpoint("model"), ao.open_adapter("a")
    monkeypatch.setattr(checkpoint.StoredTensor, "rows", counted)
    assert ao.verify(model, base, adapter).ok
    assert len(seen) == len(set(seen)) == 6
