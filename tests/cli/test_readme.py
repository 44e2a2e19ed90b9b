"""README: short, with targets of make that are there; what the demo and the example of quantizing show is true."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """What an example prints, and the commands that it runs."""

    def of(example: str) -> str:
        monkeypatch.chdir(tmp_path)
        runpy.run_path(str(ROOT / f"examples/{example}.py"), run_name="__main__")
        return capfd.readouterr().out

    return of


def losses(text: str) -> dict[str, list[float]]:
    """The numbers at the end of each line that has a name and nothing else."""
    found = re.findall(r"^([a-z0-9+\- ]+?)((?: +\d+\.\d+)+)$", text, re.MULTILINE)
    return {name.strip(): list(map(float, numbers.split())) for name, numbers in found}


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 90


def test_make_has_the_targets_named() -> None:
    makefile = (ROOT / "Makefile").read_text()
    pages = [README, *((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("comparison.md", "index.md"))]
    for target in re.findall(r"(?:`|^)make ([\w-]+)", "\n".join(pages), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_demo_shows_adapters_that_do_their_tasks(shown: Callable[[str], str]) -> None:
    found = losses(shown("demo"))
    assert found["ones"][0] < 0.1 < found["base"][0]
    assert found["threes"][1] < 0.1 < found["base"][1]
    assert max(found["sum"]) < min(found["base"])


def test_the_example_of_quantizing_keeps_the_fine_tune_in_every_right_way(shown: Callable[[str], str]) -> None:
    loss = {name: numbers[0] for name, numbers in losses(shown("qlora_to_nf4")).items()}
    base, adapted = loss["base-nf4"], loss["base-nf4 + adapter"]
    assert adapted < 0.3 * base
    for right in ("from-16-bit", "by-chance", "in-16-bit"):
        assert loss[right] - adapted < 0.15 * (base - adapted)
    assert loss["nearest"] - adapted > 0.3 * (base - adapted)
    assert loss["in-16-bit"] < loss["other-base"], "docs/bases.md says that the base of the training is the better one"
    page = (ROOT / "docs/tutorial-qlora.md").read_text(encoding="utf-8")
    written = sorted(float(each) for each in re.findall(r"^\| .* \| (\d+\.\d+) \|$", page, re.MULTILINE))
    assert written == pytest.approx(sorted(loss.values()), abs=0.1), "another processor may train a little otherwise"
