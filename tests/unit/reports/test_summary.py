"""A comparison in short: three sentences with numbers, and a command that the command line takes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpus import MODULES as MODULES_WRITTEN
from corpus import write_adapter
from known_spectra import FALLING, FLAT, MODULES, SLOW, adapter
from safetensors.numpy import save_file

import adapterops as ao
from adapterops.cli.main import run
from adapterops.operations.comparing.comparison import Comparison, compare
from adapterops.reports.diagnosis import diagnose
from adapterops.reports.summary import Summary, summary
from adapterops.storage.lazy import Lazy


def short(comparison: Comparison) -> Summary:
    return summary(comparison, diagnose(comparison))


def stored(comparison: Comparison) -> Comparison:
    """The same, as if read from folders a, b, ..."""
    profiles = [replace(profile, source=name) for profile, name in zip(comparison.profiles, "abcd", strict=False)]
    return replace(comparison, profiles=profiles)


def elsewhere(given: ao.Adapter) -> ao.Adapter:
    """The same in other modules."""
    names = {f"{module}.other": module for module in given.layout}
    layout = {name: given.layout[module] for name, module in names.items()}
    updates = Lazy(layout, lambda name: given.updates[names[name]])
    return replace(given, layout=layout, updates=updates, scalings={})


ZERO = adapter(3, [0.0] * 8)


@pytest.mark.parametrize(
    ("adapters", "command"),
    [
        ([adapter(1, FALLING)], "adapterops truncate a --rank 2 -o a-r2"),
        ([adapter(1, SLOW)], "adapterops show a --spectrum"),
        ([ZERO], "adapterops show a --spectrum"),
        ([adapter(1, SLOW), adapter(2, FALLING)], "adapterops merge a b --rank 10 -o merged"),
        ([adapter(1, FLAT), adapter(2, FLAT)], "adapterops merge a b -o merged"),
        ([adapter(1, SLOW), adapter(1, SLOW)], "adapterops calc a - b a=a b=b -o difference"),
        ([adapter(1, SLOW), elsewhere(adapter(2, SLOW))], "adapterops calc a + b a=a b=b -o merged"),
        ([adapter(1, SLOW), ZERO], "adapterops show b --spectrum"),
    ],
)
def test_one_command_follows_from_the_numbers(adapters: list[ao.Adapter], command: str) -> None:
    found = short(stored(compare(adapters)))
    assert " ".join(found.command) == command
    assert found.why


def test_of_two_bases_a_merge_is_for_names_of_one_model() -> None:
    comparison = stored(compare([adapter(1, SLOW), adapter(2, SLOW)]))
    profiles = [replace(each, base_model=name) for each, name in zip(comparison.profiles, "xy", strict=True)]
    found = short(replace(comparison, profiles=profiles))
    assert " ".join(found.command) == "adapterops merge a b --allow-base-mismatch -o merged"
    assert found.why.startswith("Only if these names mean one model")


def test_a_base_that_is_known_is_named() -> None:
    comparison = stored(compare([adapter(1, SLOW)]))
    named = replace(comparison, profiles=[replace(comparison.profiles[0], base_model="owner/base")])
    assert short(named).command == ["adapterops", "fuse", "owner/base", "a", "-o", "a-fused"]


def test_what_was_never_stored_has_no_command() -> None:
    assert short(compare([adapter(1, SLOW)])).command == []


@pytest.mark.parametrize(
    "adapters",
    [[adapter(1, SLOW)], [ZERO], [adapter(1, SLOW), adapter(2, SLOW)], [ZERO, ZERO]],
    ids=["one", "zero", "two", "zeros"],
)
def test_three_sentences_and_four_facts(adapters: list[ao.Adapter]) -> None:
    found = short(compare(adapters))
    assert len(found.sentences) == 3
    assert len(found.facts) == 4
    for sentence in found.sentences:
        assert sentence[0].isupper() or sentence[0].isdigit()
        assert sentence.endswith(".")
        assert not re.search(r"nan|None|inf\b", sentence)


def test_the_numbers_in_them_are_measured() -> None:
    comparison = compare([adapter(1, SLOW), adapter(2, SLOW)])
    what, ranks, pairs = short(comparison).sentences
    assert "2 LoRAs of rank 8 on 24 modules" in what
    assert "each with 5.45 times fewer" in what  # 96 * 80 / (8 * (96 + 80))
    assert re.fullmatch(r"One adapter of rank 8 holds 9\d% of the energy of their sum, and 99% takes rank 1\d\.", ranks)
    assert "unrelated updates have 0.00 and 50%" in pairs
    one = compare([adapter(1, FALLING)])
    assert short(one).sentences[1] == "Rank 2 keeps at least 80% of the energy of its update, rank 4 at least 99%."
    weighed = replace(one, weights=dict.fromkeys(MODULES, 100.0))
    assert short(weighed).sentences[2].startswith("Its norm is 1.2% of that of the weights; ")


def test_of_one_kind_of_module_nothing_is_the_most(tmp_path: Path) -> None:
    module = "model.layers.0.q_proj"
    write_adapter(tmp_path / "a", modules=[module])
    assert run(["report", str(tmp_path / "a"), "-o", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "All of its energy is in q_proj, the only kind of module that it changes." in page
    assert "<summary>The module of a</summary>" in page


def test_a_command_is_one_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    adapters = [ao.open_adapter(write_adapter(Path(name), seed=seed)) for seed, name in enumerate(("a b", "c"))]
    for some in (adapters, adapters[:1]):
        base = tmp_path / "some/base"
        base.mkdir(parents=True, exist_ok=True)
        weights = {f"{module}.weight": np.ones((12, 8), np.float32) for module in MODULES_WRITTEN}
        save_file(weights, base / "model.safetensors")
        found = short(compare(some))
        assert found.command[0] == "adapterops"
        assert run([*found.command[1:], *(["--dry-run"] if found.command[1] != "show" else [])]) == 0
