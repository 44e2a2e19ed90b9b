"""What is said holds where accuracy was measured.

Four LoRAs of rank 8 of four text tasks on a MiniLM encoder (accuracy in %, standard error 0.6): the exact sum of all
four has 94.8, and one task fell from 95.7 to 85.7 although the updates are orthogonal; cut to rank 8 it has 92.4, at 87 %
of its energy; TIES has 95.4 and DARE-TIES 95.5 at 52 %, although signs agree as often as not; of one adapter rank 2
lost nothing, at 82 % of its energy where rank 7 keeps 99 %; two that began with one A merged as well as others.
"""

from __future__ import annotations

import json
import re
import shlex
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_spectra import SLOW, adapter, rules
from tiny_models import write_base, write_tuned

from adapterops import open_adapter, save_adapter, scale, select
from adapterops.cli.main import run
from adapterops.operations import merging

FOUR = [adapter(seed, SLOW) for seed in (1, 2, 3, 4)]
ONE_START = [adapter(1, SLOW), adapter(2, SLOW, start=1)]
PROMISES = re.compile(
    r"cannot|can keep|will|would do|nothing to agree|wants|best|disturb|suggest|lossless", re.IGNORECASE
)


@pytest.mark.parametrize("adapters", [FOUR, ONE_START, FOUR[:1]], ids=["four", "one start", "one"])
def test_no_sentence_promises_what_a_task_will_be_like(adapters: list) -> None:
    for text in rules(*adapters).values():
        assert not PROMISES.search(text), text


def test_orthogonal_updates_are_no_promise_of_a_merge() -> None:
    assert "That does not say whether a merge keeps their tasks" in rules(*FOUR)["separate"]


def test_signs_that_agree_as_often_as_not_speak_against_no_method() -> None:
    text = rules(*FOUR)["unrelated-signs"]
    assert "as unrelated updates have" in text
    assert "TIES" not in text


def test_a_rank_that_keeps_less_energy_is_to_be_tried() -> None:
    assert "Try both ranks: the lower one may lose no accuracy" in rules(*FOUR)["room"]


def test_the_bracket_begins_at_80_percent() -> None:
    text = rules(adapter(1, [1.0, 0.4, 0.2, 0.05, 0.02, 0.01, 0.01, 0.01]))["empty-tail"]
    assert "Try ranks 1 to 3 (adapterops truncate --rank 1)" in text


def test_one_a_is_a_fact() -> None:
    from adapterops.operations.comparing.comparison import compare
    from adapterops.reports.diagnosis import diagnose

    (found,) = [each for each in diagnose(compare(ONE_START)) if each.rule == "shared-start"]
    assert found.level == "note"


ENERGY = re.compile(r"energy kept: (100% \(exact\)|[\d.]+% of (the uncut merge|the adapter|the difference), lowest )")


@pytest.mark.parametrize(
    "command",
    [
        "show a",
        "show a --spectrum",
        "merge a b --linear",
        "merge a b --ties --density 0.2",
        "merge a b --dare-ties --density 0.2 --rank 1",
        "truncate a --rank 1",
        "extract fused --base base --rank 1",
        "fuse base a b --dare-ties --density 0.5",
        "fuse base a --quantize nf4",
    ],
)
def test_results_promise_nothing(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Energy is a part of one result: 52 % was the best of four merges, and 100 % the worst."""
    monkeypatch.chdir(tmp_path)
    write_base(tmp_path / "base")
    for seed, name in enumerate("ab"):
        write_tuned(tmp_path / name, seed=seed)
    assert run(["fuse", "base", "a", "-o", "fused"]) == 0
    capsys.readouterr()
    assert run([*shlex.split(command), *([] if command.startswith("show") else ["-o", "out"])]) == 0
    shown = capsys.readouterr().out
    assert not PROMISES.search(shown)
    for line in shown.splitlines():
        assert "energy kept" not in line or ENERGY.search(line), line
    if "--quantize" in command:
        assert "entries changed" not in shown


SMALL = 0.1
"""Of updates that are flattened: larger ones are added."""


def saved(folder: Path, times: float = 1.0) -> list[str]:
    for index, each in enumerate(FOUR[:3]):
        save_adapter(times * each, folder / f"runs-{index}")
    return [str(folder / f"runs-{index}") for index in range(3)]


def test_a_plan_that_is_followed_is_the_merge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sources, plan = [Path(each).name for each in saved(tmp_path)], Path("plans/plan.yaml")
    plan.parent.mkdir()
    assert run(["compare", *sources, "--advise", "--plan", str(plan)]) == 0
    shown = capsys.readouterr().out
    assert {"times", "sum"} <= set(shown.split())
    assert f"wrote {plan}" in shown
    assert "path: '../runs-0'" in plan.read_text()
    assert run(["run", str(plan), "-o", str(tmp_path / "planned")]) == 0
    assert run(["merge", *sources, "-o", str(tmp_path / "merged")]) == 0
    planned, merged = (open_adapter(tmp_path / name) for name in ("planned", "merged"))
    for module in merged.layout:
        np.testing.assert_allclose(
            planned.updates[module].dense(), merged.updates[module].dense(), rtol=1e-5, atol=1e-7
        )


def test_a_plan_is_edited(tmp_path: Path) -> None:
    sources, plan = saved(tmp_path), tmp_path / "plan.yaml"
    assert run(["compare", *sources, "--plan", str(plan)]) == 0
    text = plan.read_text()
    module = next(iter(FOUR[0].layout))
    plan.write_text(re.sub(rf'"{re.escape(module)}": .*,', f'"{module}": 0.5,', text).replace("[1, 1, 1]", "[1, 0, 0]"))
    assert run(["run", str(plan), "-o", str(tmp_path / "planned")]) == 0
    expected = 0.5 * open_adapter(sources[0]).updates[module].dense()
    found = open_adapter(tmp_path / "planned").updates[module].dense()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def opposing(folder: Path) -> list[str]:
    """Three adapters of which the last is against the first in one module."""
    first, second, third = FOUR[:3]
    module = next(iter(first.layout))
    third = third + scale(select(first, module), -2.0)
    for name, each in zip("abc", (first, second, third), strict=True):
        save_adapter(each, folder / name)
    return [str(folder / name) for name in "abc"]


def test_modules_in_which_the_merge_is_against_an_adapter_are_left_out_when_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources, module = opposing(tmp_path), next(iter(FOUR[0].layout))
    plans = [str(tmp_path / f"{name}.yaml") for name in ("all", "some", "json")]
    assert run(["compare", *sources, "--plan", plans[0]]) == 0
    assert f"against an adapter is {module}: the merge has -" in capsys.readouterr().out
    assert run(["compare", *sources, "--plan", plans[1], "--drop-opposed"]) == 0
    shown = capsys.readouterr().out
    assert f"left out {module}: the merge has -" in shown
    assert "not measured" in shown
    made = [tmp_path / "all-made", tmp_path / "some-made"]
    for plan, out in zip(plans, made, strict=False):
        assert run(["run", plan, "-o", str(out)]) == 0
    every, some = map(open_adapter, made)
    assert set(every.layout) - set(some.layout) == {module}
    for each in some.layout:
        np.testing.assert_array_equal(some.updates[each].dense(), every.updates[each].dense())
    assert "the merge has -" in (made[1] / "adapterops.json").read_text()
    capsys.readouterr()
    assert run(["compare", *sources, "--plan", plans[2], "--drop-opposed", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["dropped"] == [module]
    kept, *others = told["opposed"][module]
    assert kept < 0
    assert others == [None, None]


def test_nothing_is_left_out_of_no_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = saved(tmp_path)
    assert run(["compare", *sources, "--drop-opposed"]) == 2
    assert "--plan FILE" in capsys.readouterr().err
    assert run(["compare", *sources, "--plan", str(tmp_path / "plan.yaml"), "--drop-opposed"]) == 0
    assert "no module of the merge is against an adapter" in capsys.readouterr().out
    assert "drop(" not in (tmp_path / "plan.yaml").read_text()


def test_a_plan_of_no_module_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = FOUR[0]
    for name, each in zip("ab", (first, -2.0 * first), strict=True):
        save_adapter(each, tmp_path / name)
    plan = tmp_path / "plan.yaml"
    assert run(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--plan", str(plan), "--drop-opposed"]) == 2
    assert "every module of the merge would be left out" in capsys.readouterr().err
    assert not plan.exists()


def test_a_plan_replaces_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources, plan = saved(tmp_path), tmp_path / "plan.yaml"
    plan.write_text("mine")
    assert run(["compare", *sources, "--plan", str(plan)]) == 6
    told = capsys.readouterr().err
    assert "already exists" in told
    assert "name another place with --plan" in told
    assert "--force" not in told
    assert plan.read_text() == "mine"


@pytest.mark.parametrize("command", [["compare", "--plan", "PLAN"], ["merge", "--dry-run", "-o", "PLAN"]])
def test_factors_of_a_plan_are_found_by_several_workers(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two modules have to be at work at one time, or the barrier breaks."""
    matching, barrier, begun = merging.matching, threading.Barrier(2), []

    def together(*given: Any) -> float:
        begun.append(given)
        if len(begun) <= 2:
            barrier.wait(timeout=20)
        return matching(*given)

    monkeypatch.setattr(merging, "matching", together)
    name, *options = [str(tmp_path / "out") if each == "PLAN" else each for each in command]
    assert run([name, *saved(tmp_path, SMALL), *options, "--workers", "2"]) == 0
    assert len(begun) >= 2


def test_what_is_compared_is_shown_before_the_plan_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(merging, "matching", lambda *given: seen.append(capsys.readouterr().out) or 1.0)
    assert run(["compare", *saved(tmp_path, SMALL), "--advise", "--plan", str(tmp_path / "plan.yaml")]) == 0
    assert "sum" in "".join(seen).split()
