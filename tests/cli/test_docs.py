"""Every block of README and of docs/ runs, in a folder with a small base and adapters that PEFT saved, and prints what is shown."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import conversions
import pytest
from conversions import with_conversions
from example_folder import make
from figures import MARKED, STORED, picture, with_figures
from pages import DOCS, PAGES, compared, renewed, run_page
from performance import curves, drawing, floor, page, written
from sphinx.cmd.build import main as sphinx

import adapterops
from adapterops.cli.commands import COMMANDS
from adapterops.cli.main import run
from adapterops.methods.registry import METHODS


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("docs")
    make(place)
    return place


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.filterwarnings("ignore")
def test_every_block_runs_and_prints_what_is_shown(
    page: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(models, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    run_page(page.read_text(encoding="utf-8"), compared)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert path.startswith("https://") or there.exists(), target
        assert not anchor or anchor in headings(there), target


def headings(page: Path) -> set[str]:
    """The headings of a page as GitHub links to them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in found}


TUTORIAL = {
    "even` with `auto": ("even", "auto"),
    "TSV-Merge": ("tsv", "auto"),
    "linear` with `auto": ("linear", "auto"),
    "TIES, density 0.2": ("ties", "auto"),
    "sum": ("linear", "sum"),
    "mean": ("linear", "mean"),
}
"""The merges of the table in tutorial-many.md, as quality.json has them."""


def test_the_accuracies_of_the_tutorial_are_those_of_the_last_run() -> None:
    runs = json.loads((STORED / "quality.json").read_text(encoding="utf-8"))["encoder"]
    rows = re.findall(
        r"^\| (.*) \| (\d+\.\d) \|$", (DOCS / "tutorial-many.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(rows) == len(TUTORIAL)
    for (what, shown), (name, (method, scale)) in zip(rows, TUTORIAL.items(), strict=True):
        assert name in what
        assert shown == f"{100 * fmean(run[method][scale][0] for run in runs):.1f}", what


def test_every_method_is_in_the_table_of_methods_and_says_what_it_costs_and_needs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = (DOCS / "merging.md").read_text(encoding="utf-8").partition("## The joint core")[0]
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]*)\|", table, re.MULTILINE))))
    assert named == {name for name, each in METHODS.items() if each.kernel.__module__.startswith("adapterops.")}
    for name in sorted(named):
        assert run(["methods", name]) == 0
        shown = capsys.readouterr().out
        assert all(each in shown for each in ("Cost: ", "Needs: ", "--space: ", "--scale: ")), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_figures_are_those_of_the_last_run(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert with_figures(text) == text, "python docs/pages.py"
    assert bool(MARKED.search(text)) == (page.name in ("README.md", "comparison.md"))
    assert (DOCS / "quality.svg").read_text(encoding="utf-8") == picture()


def test_the_page_of_performance_is_that_of_the_last_run() -> None:
    for path, text in written().items():
        assert path.read_text(encoding="utf-8") == text, "make bench-report"


def test_a_page_of_performance_says_what_missed_and_what_the_machine_needs() -> None:
    machine = {"cpu": "a processor", "cores": 2, "copying GB/s": 4.0, "GFLOP/s": 100.0, "numpy": "2"}
    runs = [{"seconds": 3.0, "mb": 50.0}, {"seconds": 2.0, "mb": 60.0}, {"seconds": 9.0, "mb": 55.0}]
    beside = {"value": 4.0, "unit": "x", "target": 5, "at_least": True, "holds": False, "ours": runs}
    curve = {"over": "workers", "at": [1, 2], "seconds": [4.0, 2.0], "mb": [1.0, 1.0]}
    figures = [
        {"what": "fuse: x / ours", **beside, "peer": [{"seconds": 12.0, "mb": 900.0}], "bytes": 8e9, "flops": 1e11},
        {"what": "a part: x / ours", **beside, "peer": [{"seconds": 1.0, "mb": 900.0}]},
        {"what": "two", "value": 2, "unit": "x", "target": None, "at_least": True, "holds": True, "curve": curve},
    ]
    parts = {"models": {"machine": machine, "repeats": 3, "figures": figures}}
    assert floor(figures[0], machine) == 2.0
    shown = page(parts)
    assert "| fuse: x / ours | 4 x | ≥ 5 x **missed** | 3 s, 55 MB | 12 s, 900 MB | 2 s |" in shown
    assert "a processor, 2 cores, 4 copying GB/s, 100 GFLOP/s; numpy 2; median of 3." in shown
    assert "scaling.svg" in shown
    assert "fuse: x / ours" in drawing(parts)
    assert "a part" not in drawing(parts), "its times are not those of the figure"
    assert curves(parts).count("<circle") == 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_conversions_are_those_that_are_tested(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert with_conversions(text) == text, "python docs/pages.py"
    assert bool(conversions.MARKED.search(text)) == (page.name == "formats.md")


def test_what_is_left_out_stays_left_out() -> None:
    assert renewed("", ["a", "...", "z"], ["1", "2", "3", "4"]) == ["1", "...", "4"]
    assert renewed("", ["..."], ["1", "2"]) == ["..."]
    with pytest.raises(AssertionError):
        compared("", ["wrote x: 3 tensors"], ["wrote y: 4 tensors"])
    assert compared("", ["wrote x: 3 tensors"], ["wrote x:  4 tensors"])


def test_every_command_is_described_as_its_help_does() -> None:
    described: dict[str, object] = {"__name__": "commands"}
    exec((DOCS / "commands.py").read_text(encoding="utf-8"), described)
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    without_outputs = re.sub(r"(?m)(^\$ adapterops .*\n)(?:(?!```|\$ ).*\n)+", r"\1?\n", text)
    assert without_outputs == described["commands"](), "python docs/pages.py"
    assert {*described["EXAMPLES"], *described["NOT_RUN"]} == set(COMMANDS)


def test_every_public_name_is_in_the_reference() -> None:
    named = re.findall(
        r"^\.\. auto\w+:: adapterops\.(\w+)$", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(named) == sorted(set(adapterops.__all__) - {"__version__"})


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\w[\w-]*\.md)\)", index)) == {page.name for page in DOCS.glob("*.md")} - {"index.md"}


def test_the_site_is_built_without_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = ["-q", "-W", "--keep-going", "-d", str(tmp_path / "trees"), str(DOCS), str(tmp_path / "site")]
    assert sphinx(site) == 0, capsys.readouterr().err
    page = (tmp_path / "site/api.html").read_text(encoding="utf-8")
    assert str(adapterops.open_adapter.__doc__).partition(".")[0] in page
    assert 'href="tutorial-qlora.html"' in page
    linked = re.findall(r'(?:src|href)="(https?://[^"]+\.(?:js|css)[^"]*)"', page)
    assert not linked, "a page that opens from a folder needs nothing from elsewhere"
    options = (tmp_path / "site/_static/documentation_options.js").read_text(encoding="utf-8")
    assert "SHOW_SEARCH_SUMMARY: false" in options, "nor may it fetch other pages, which browsers refuse there"


EXAMPLES = {
    "pipeline": ["base", "style", "domain", "out"],
    "style_and_domain": ["style", "domain", "out"],
    "rank_bracketing": ["style", "out"],
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_run(example: str, models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path / "work")
    script = DOCS.parent / f"examples/{example}.py"
    command = [sys.executable, str(script), *EXAMPLES[example]]
    done = subprocess.run(command, cwd=tmp_path / "work", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"pipeline": '"verified": true', "style_and_domain": "cosine", "rank_bracketing": "enough for"}[
        example
    ] in done.stdout
