"""The field's words only: what users read has none of the odd ones."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import adapterops
from adapterops.cli.commands import COMMANDS
from adapterops.cli.main import run

PACKAGE = Path(adapterops.__file__).parent
PROJECT = PACKAGE.parent
ODD = re.compile(
    r"\b(lies?|beside|apart|together|heavy|light|lightly|turned|coded|by chance|told|said"
    r"|whoever|meanwhile|somebody|has to know|is none|coin|(?<!at )least \d"
    r"|(?<!there )(is|and) no (name|folder|file|repository|reference|function|value)|(reads?|says?) nothing of"
    r"|all in all|(another|else|otherwise) than|has none of|which the \w+ has not|is error of|without a word"
    r"|was to be (public|private)|rows in turn|anew|mends?|mended|so manieth"
    r"|take out what it|other (sizes|division|signs) than|of other sizes|(?<!there )(is|are) no (linear|object|regular|finite|GGUF|"
    r"classifier|character|blocks|numbers|part|plain)|pays? for|begin anew|in a way that is not)\b",
    re.IGNORECASE,
)
ESTABLISHED = re.compile(r"training diverged|were trained on different", re.IGNORECASE)
"""Causes that no file shows."""

NOUNS = "adapter|byte|file|full tensor|layer|module|number|problem|tensor|weight"

ALLOWED: tuple[str, ...] = (
    "no more often than by chance",
    "cannot be told apart",
)
"""Phrases in which an odd word is the right one."""


def odd(text: str) -> list[str]:
    """Odd words, with what is around them."""
    flat = " ".join(text.split())
    for phrase in ALLOWED:
        flat = flat.replace(phrase, "")
    return [flat[max(0, found.start() - 40) : found.end() + 30] for found in ODD.finditer(flat)]


@cache
def nodes(path: Path) -> list[ast.AST]:
    """All of a module."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def messages(path: Path) -> str:
    """The string literals of what is raised, printed or warned, and of help."""
    found = []
    for node in nodes(path):
        is_call = isinstance(node, ast.Call) and re.search(
            r"(Error|Parameter|Problem|print|echo|warn|option|line|remark|say|fault)$", ast.unparse(node.func)
        )
        if is_call or isinstance(node, ast.Raise):
            found += [
                each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)
            ]
    return " | ".join(found)


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert not odd(capsys.readouterr().out)


def test_messages() -> None:
    """In plain words, and no cause is named that was not established; `errors.count` writes "1 file" and "2 files"."""
    for path in sorted(PACKAGE.rglob("*.py")):
        said = messages(path)
        assert not odd(said), path
        assert not ESTABLISHED.search(said), path
        assert not counted(path), path


REPORTS = sorted([*PACKAGE.glob("reports/*.py"), *PACKAGE.glob("*/templates/*.j2")])
CLUMSY = re.compile(
    r"\bin 1 files\b|\bleast \d|which is none\b|has to know it\b|differ as those\b|that does not say\.|comes from there"
    r"|\b(best|optimal|guarantee\w*|lossless|certainly)\b|\bcannot be (kept|merged)\b",
    re.IGNORECASE,
)
"""What takes a second reading, and what would promise more than was measured."""


def shown(path: Path) -> str:
    """All that a report may print: the string literals of a module but its docstrings, or the text of a template."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return re.sub(r"{#.*?#}|{%.*?%}|{{.*?}}|<[^>]*>", " ", text, flags=re.DOTALL)
    tree = ast.parse(text)
    docs = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    every = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in docs)
    return " | ".join(node.value for node in every if isinstance(node.value, str))


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_what_reports_and_cards_say(path: Path) -> None:
    assert not odd(shown(path))
    assert not CLUMSY.findall(shown(path))


def counted(path: Path) -> list[str]:
    """What is printed of the length of something, and is wrong for one: "1 files"."""
    return [
        ast.unparse(number) + text.value
        for node in nodes(path)
        if isinstance(node, ast.JoinedStr)
        for before, number, text in zip([None, *node.values], node.values, node.values[1:], strict=False)
        if isinstance(number, ast.FormattedValue)
        and ast.unparse(number.value).startswith("len(")
        and not (isinstance(before, ast.Constant) and str(before.value).endswith(" of "))  # 1 of 1 modules
        and isinstance(text, ast.Constant)
        and re.match(rf" ({NOUNS})s\b", str(text.value))
    ]


PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_pages(page: Path) -> None:
    assert not odd(page.read_text(encoding="utf-8"))


def test_names_in_commands_are_quoted() -> None:
    """A command in a message is pasted, and a name may have a space in it."""
    begun = re.compile(rf"adapterops ({'|'.join(COMMANDS)}) [^;:']*$")
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in (each for each in nodes(path) if isinstance(each, ast.JoinedStr)):
            text = ""
            for part in node.values:
                if isinstance(part, ast.Constant):
                    text += str(part.value)
                    continue
                assert isinstance(part, ast.FormattedValue)
                value = ast.unparse(part.value)
                bare = value.isupper() or "quote(" in value or value.split()[0] in NO_NAMES
                assert bare or not begun.search(text), f"{path}: {value} in {text}"
                text += "x"


NO_NAMES = ("expression", "few", "source", "sources", "first", "quoted")
"""What is quoted before, or is no name."""


def test_a_public_class_has_a_name_of_its_own() -> None:
    """In the whole package, so that a name says what it is wherever it is read."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(path.relative_to(PACKAGE).as_posix())
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


ODD_NAMES = re.compile(
    r"(lies?|beside|apart|together|alone|heavy|light|lightly|turned|coded|told|said|heard|anew)", re.IGNORECASE
)
PARTS = re.compile(r"_|(?<=[a-z])(?=[A-Z])")


def names(path: Path) -> set[str]:
    """What a module and all in it are called: classes, functions, arguments, attributes that are declared, and variables."""
    stored = (node.id for node in nodes(path) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    given = (getattr(node, own, None) for node in nodes(path) for own in ("name", "arg"))
    return {path.stem, *stored, *filter(None, given)}


def test_names() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        assert not [name for name in names(path) if any(map(ODD_NAMES.fullmatch, PARTS.split(name)))], path
