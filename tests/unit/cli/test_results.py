"""What is printed of a result: figures that say what they are a part of, and no more than was asked for."""

from __future__ import annotations

import json
import re
import shlex
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import write_base, write_tuned

from adapterops.cli.main import run
from adapterops.errors import AdapterWarning
from adapterops.operations.merging import Merging

Capture = pytest.CaptureFixture[str]
Shown = Callable[[str], str]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_base(tmp_path / "base")
    for seed, name in enumerate("ab"):
        write_tuned(tmp_path / name, seed=seed)
    return tmp_path


@pytest.fixture
def shown(place: Path, capsys: Capture) -> Shown:
    """What a command prints that succeeds."""

    def shown(command: str) -> str:
        assert run(shlex.split(command)) == 0
        return capsys.readouterr().out

    return shown


def test_what_a_sum_of_a_stated_scale_keeps_is_found_while_it_is_written(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its factors are read once, and what is printed is the same."""
    read, of = list[str](), Merging._updates
    monkeypatch.setattr(Merging, "_updates", lambda self, module: read.append(module) or of(self, module))
    text = shown("merge a b --linear --scale sum -o out")
    assert len(read) == len(set(read)) > 1
    table = text[text.index("adapter") : text.index("wrote")]
    assert table in shown("merge a b --linear --scale sum -o planned --dry-run")
    assert table not in shown("merge a b --linear -o other"), "at its own scale it keeps another part"


@pytest.mark.parametrize(
    ("command", "whole"),
    [
        ("merge a b --ties -o out", "the uncut merge"),
        ("merge a b --linear --rank 2 -o out", "the uncut merge"),
        ("truncate a --rank 1 -o out", "the adapter"),
        ("calc 'truncate(a, rank=1) - b' a=a b=b --rank 1 -o out", "the adapter"),
    ],
)
def test_energy_is_a_part_of_this_result_alone(shown: Shown, command: str, whole: str) -> None:
    assert f"% of {whole}, lowest " in shown(command)


def test_each_of_several_merges_says_which_it_is(shown: Shown) -> None:
    several = shown("calc 'ties(linear(a, b, weights=[1, 0.5]), a)' a=a b=b -o out")
    assert [line for line in several.splitlines() if line.endswith(":")] == [
        "ties, weights 1, 1, in 6 modules:",
        "linear, weights 1, 0.5, in 6 modules:",
    ]


def test_why_the_method_of_a_merge_is_the_default_is_printed_and_noted(shown: Shown) -> None:
    why = "the default for two adapters: the sum, a + b"
    for command, noted in (("merge a b", True), ("fuse base a b", True), ("merge a b --linear", False)):
        assert (f"  method linear, {why}" in shown(f"{command} --dry-run")) == noted
        assert (f"  method linear, {why}" in shown(f"{command} -o out --force")) == noted
    for place, option, noted in (("p", "", True), ("q", " --linear", False), ("r", " --method=linear", False)):
        shown(f"fuse base a b{option} -o {place} --part 1/1")
        assert (f"  method linear, {why}" in shown(f"finalize {place}")) == noted
    (scale,) = json.loads(shown("merge a b -o other --json"))["scales"]
    assert scale["why"].startswith(why)
    assert json.loads(Path("other/adapterops.json").read_text())["operation"]["why"] == scale["why"]
    assert "why" not in json.loads(shown("merge a b --ties --dry-run --json"))["scales"][0]


def test_of_nothing_no_share_is_kept(shown: Shown) -> None:
    found = shown("calc 'a - a' a=a -o none")
    assert "every module is zero" in found
    assert "energy kept" not in found


def test_what_is_noise_of_a_mask(shown: Shown) -> None:
    noise = "about 70% of the uncut merge's energy is noise of the random mask (density 0.3)"
    assert noise in shown("merge a b --dare-ties --density 0.3 -o one")
    assert noise in shown("merge a b --della-linear --density 0.3 -o two")
    assert "noise" not in shown("merge a b --ties --density 0.3 -o three")


@pytest.mark.parametrize(("n", "density"), [(1, 0.3), (2, 0.3), (4, 0.3), (2, 0.6)])
def test_the_noise_of_a_mask_is_one_minus_its_density(n: int, density: float) -> None:
    """1 - ‖E M‖² / E‖M‖² over masks, of the sum of unrelated updates."""
    import numpy as np

    generator = np.random.default_rng(n)
    updates = generator.standard_normal((n, 40, 5)) @ generator.standard_normal((n, 5, 30))
    masks = generator.random((300, n, 40, 30)) < density
    merges = (masks * updates / density).sum(axis=1)
    energy = (merges**2).sum(axis=(1, 2)).mean()
    noise = ((merges - updates.sum(axis=0)) ** 2).sum(axis=(1, 2)).mean()
    assert noise / energy == pytest.approx(1 - density, abs=0.05)


def test_a_plan_has_the_commands_for_the_other_scales(shown: Shown) -> None:
    plan = shown("merge a b --ties --dry-run -o out")
    assert re.search(r"^  scale auto: 0\.\d+ times in the median module \(0\.\d+ to [\d.]+\)$", plan, re.M)
    assert "    sum, 1 times: adapterops merge a b --ties -o out --scale sum\n" in plan
    assert "    mean, 0.5 times: adapterops merge a b --ties -o out --scale mean\n" in plan
    plan = shown("fuse base a b --scale mean --dry-run")
    assert "  scale mean: 0.5 times\n    auto: adapterops fuse base a b --scale auto\n    sum, 1 times: " in plan
    plan = shown("merge a b --scale=0.3 --dry-run")
    assert "  scale 0.3\n    auto: adapterops merge a b --scale auto\n" in plan


def test_a_plan_of_a_formula_has_the_arguments_for_the_other_scales(shown: Shown) -> None:
    plan = shown("calc '0.5*ties(a, b)' a=a b=b --dry-run")
    assert '    sum, 1 times: ties(..., scale="sum")\n    mean, 0.5 times: ties(..., scale="mean")\n' in plan
    plan = shown("""calc 'ties(a, b, scale="mean")' a=a b=b --dry-run""")
    assert '  scale mean: 0.5 times\n    auto: ties(..., scale="auto")\n' in plan


@pytest.mark.parametrize("options", ["--linear", "--ties", "--core-ties", "--dare-ties"])
@pytest.mark.parametrize("command", ["merge a b", "fuse base a b"])
def test_plan_result_and_manifest_have_the_same_factors(shown: Shown, command: str, options: str) -> None:
    plan = json.loads(shown(f"{command} {options} --dry-run --json"))
    (scale,) = plan["scales"]
    assert scale["commands"]["sum"] == f"adapterops {command} {options} --scale sum"
    assert len(scale["multipliers"]) == 6
    assert all(0 < each <= 1 for each in scale["multipliers"].values())
    result = json.loads(shown(f"{command} {options} -o out --json"))
    del scale["commands"]
    assert result["scales"] == [scale]
    operation = json.loads(Path("out/adapterops.json").read_text())["operation"]
    merge = operation if command.startswith("merge") else operation["inputs"][1]
    assert merge["multipliers"] == scale["multipliers"]


def test_what_takes_long_is_known_from_the_merge_alone(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("FEW", "SHORT", "SHARE"):
        monkeypatch.setattr(f"adapterops.operations.merging.{each}", 0)
    plan = shown("merge a b --ties --dry-run")
    assert "large, at most to the mean; the merge says by how much\n" in plan
    assert "  measured in 1 of 6 modules, spread evenly\n" in plan
    assert "is not known before all is merged" in shown("merge a b --ties --convention paper --dry-run")
    assert re.search(r"^  scale auto: 0\.\d+ times in", shown("merge a b --ties -o out"), re.M)
    assert "multipliers" not in Path("out/adapterops.json").read_text()
    assert re.search(r"^  scale auto: 0\.\d+ times in", shown("merge a b --linear --dry-run"), re.M)


@pytest.mark.parametrize("memory", ["", "--memory 1GB"])
def test_what_is_measured_is_merged_once(shown: Shown, monkeypatch: pytest.MonkeyPatch, memory: str) -> None:
    made, of = list[str](), Merging._made_of
    monkeypatch.setattr(Merging, "_made_of", lambda self, module, them: made.append(module) or of(self, module, them))
    shown(f"merge a b --ties -o out {memory}")
    assert made
    assert len(made) == len(set(made))


def test_parts_have_the_manifest_of_one_process_and_say_the_same(shown: Shown) -> None:
    said = shown("fuse base a b --ties -o one")
    shown("fuse base a b --ties -o parts --part 1/1")
    assert shown("finalize parts") == said.replace("wrote one", "wrote parts")
    one, parts = (json.loads(Path(f"{each}/adapterops.json").read_text()) for each in ("one", "parts"))
    assert one["operation"] == parts["operation"]
    assert one["operation"]["inputs"][1]["multipliers"]


def test_weights_are_the_scale(shown: Shown) -> None:
    assert "scale" not in shown("merge a b -w 0.5 0.3 --dry-run")
    assert "scale" not in shown("merge a --dry-run")
    assert "--scale" not in shown("calc 'linear(a, b)' a=a b=b --dry-run")


@pytest.mark.parametrize(
    ("command", "row"),
    [
        ("merge a b --ties -o out", "module rank norm kept error"),
        ("merge a b --dry-run", "model.layers.0.q_proj 12 x 8 4 F32"),
        ("fuse base a -o out", "module weight survived changed"),
        ("fuse base a --dry-run", "model.layers.0.q_proj.weight 12 x 8 BF16 changed"),
        ("show a", "model.layers.2.v_proj 12 x 8 2 2 F32"),
        ("show a --spectrum", "module shape rank scale dtype norm rank"),
        ("show base", "model.layers.2.v_proj.weight 12 x 8 BF16"),
        ("compare a b", "module shape rank norm rank for 99%"),
    ],
)
def test_verbose_has_every_module(shown: Shown, command: str, row: str) -> None:
    def lines(arguments: str) -> list[str]:
        return [" ".join(line.split()) for line in shown(arguments).splitlines()]

    assert row not in lines(command.replace("-o out", "-o other"))
    assert row in lines(f"{command} -v")


def test_quiet_is_silent_about_what_went_well(shown: Shown) -> None:
    for command in ("merge a b -o m", "fuse base a -o f", "verify f", "report a -o r.html"):
        assert shown(f"{command} --quiet") == ""
    assert "would write" in shown("merge a b --dry-run -q")
    assert "a: LoRA" in shown("show a -q")


def test_quiet_warns_all_the_same(place: Path, capsys: Capture) -> None:
    small = "0.00001*a"
    assert run(["calc", small, "a=a", "-o", "small", "-q"]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("always", AdapterWarning)
        assert run(["fuse", "base", "small", "-o", "out", "-q"]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "rounding erased" in printed.err
