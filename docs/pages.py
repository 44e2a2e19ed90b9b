"""Runs the blocks of README and of the pages: `python docs/pages.py` writes commands.md and every output that is shown.

In a `console` block each command is a line that begins with `$ `, with `# exit code N` where it fails. Lines below a
command are what it prints, and `...` stands for those left out. A single `?` is an output to fill in. `python` blocks
are executed. All of a page runs in one folder, in order.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
PAGES = [README, *sorted(DOCS.glob("*.md"))]

BLOCK = re.compile(r"(?<=^```)(python|console)\n(.*?)(?=^ *```)", re.DOTALL | re.MULTILINE)
PROMPT = "$ adapterops "
LEFT_OUT = "..."

Show = Callable[[str, Sequence[str], Sequence[str]], Sequence[str]]
"""What a page shows below a command, of the command, what is there and what it printed."""


def run_page(text: str, show: Show) -> str:
    """The text of a page, every block of which was run in the current folder, with what `show` makes of the outputs.

    Raises:
        AssertionError: a command ended with another exit code than the page says.
    """
    return BLOCK.sub(lambda found: f"{found[1]}\n{_run_block(found[1], found[2], show)}", text)


def _run_block(language: str, code: str, show: Show) -> str:
    if language == "python":
        exec(code, {})
        return code
    parts: list[tuple[str, list[str]]] = []
    for line in code.splitlines():
        if line.startswith(PROMPT):
            parts.append((line, []))
        else:
            parts[-1][1].append(line)
    return "".join(f"{line}\n" for command, shown in parts for line in (command, *_run(command, shown, show)))


def _run(command: str, shown: Sequence[str], show: Show) -> Sequence[str]:
    from adapterops.cli.main import run

    line, _, comment = command.removeprefix(PROMPT).partition("  # exit code ")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = run(shlex.split(line))
    assert code == int(comment or 0), (command, printed.getvalue())
    return show(command, shown, printed.getvalue().splitlines()) if shown else shown


def renewed(command: str, shown: Sequence[str], printed: Sequence[str]) -> Sequence[str]:
    """What was printed, with as much left out as before."""
    if LEFT_OUT not in shown:
        return printed
    cut = shown.index(LEFT_OUT)
    after = len(shown) - cut - 1
    return [*printed[:cut], LEFT_OUT, *printed[len(printed) - after :]]


def compared(command: str, shown: Sequence[str], printed: Sequence[str]) -> Sequence[str]:
    """What is there, if it is what was printed but for numbers, which differ in their last digits between machines.

    Raises:
        AssertionError: it is not.
    """
    expected = renewed(command, shown, printed)
    assert plain(shown) == plain(expected), (command, "shown", shown, "printed", expected, "run python docs/pages.py")
    return shown


def plain(lines: Sequence[str]) -> list[str]:
    """
    >>> plain(["kept:  97.3 %,  1.2 kB"])
    ['kept: # %, # kB']
    """
    return [" ".join(re.sub(r"\b[0-9a-f]{12,}\b|[+-]?\d+(\.\d+)?|[▁-█]+", "#", line).split()) for line in lines]


def main() -> None:
    from commands import commands
    from conversions import with_conversions
    from example_folder import make
    from figures import picture, with_figures
    from performance import written

    (DOCS / "commands.md").write_text(commands(), encoding="utf-8")
    for path, text in {DOCS / "quality.svg": picture(), **written()}.items():
        path.write_text(text, encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        models = Path(name) / "models"
        make(models)
        for page in PAGES:
            print(page.name, file=sys.stderr)
            shutil.copytree(models, Path(name) / page.stem)
            os.chdir(Path(name) / page.stem)
            text = with_conversions(with_figures(page.read_text(encoding="utf-8")))
            page.write_text(run_page(text, renewed), encoding="utf-8")


if __name__ == "__main__":
    main()
