"""The tables of runtimes: every rule is about a known fact, every remedy is a command, and the page is printed from them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import adapterops
from adapterops.cli.commands import COMMANDS
from adapterops.formats.registry import FORMATS
from adapterops.formats.runtimes.rules import FACTS, FINE, SEVERITIES, STOPS, WRONG, Rule
from adapterops.formats.runtimes.table import RUNTIMES

DOCS = Path(adapterops.__file__).parent.parent / "docs"
RULES = [
    (runtime, fact, rule)
    for runtime, each in RUNTIMES.items()
    for fact, rule in [*each.rules.items(), *(("format", rule) for rule in each.formats.values())]
]
REMEDIES = sorted({*STOPS, *(rule.remedy for *_, rule in RULES), *(each.into for each in RUNTIMES.values())})
IDS = [f"{runtime} {fact}" for runtime, fact, _ in RULES]


@pytest.mark.parametrize(("runtime", "fact", "rule"), RULES, ids=IDS)
def test_a_rule_is_about_a_known_fact(runtime: str, fact: str, rule: Rule) -> None:
    assert fact in FACTS
    assert rule.severity in SEVERITIES
    assert rule.says
    assert rule.remedy or rule.severity != WRONG


@pytest.mark.parametrize("remedy", REMEDIES)
def test_a_remedy_is_a_command_or_a_sentence(remedy: str) -> None:
    line = remedy.format(source="a", names=" --base b", limit=16).partition(",")[0]
    if line.startswith("adapterops"):
        _, command, *options = shlex.split(line)
        assert command in COMMANDS
        help_ = (DOCS / "commands.md").read_text(encoding="utf-8").partition(f"## {command}\n")[2].partition("\n## ")[0]
        assert all(re.search(rf"(^|[ ,]){option}\b", help_, re.MULTILINE) for option in options if option[0] == "-")
    else:
        assert "{" not in line


def test_formats_are_ours() -> None:
    assert all(FORMATS.keys() >= runtime.formats.keys() for runtime in RUNTIMES.values())
    assert all(any(rule.severity == FINE for rule in runtime.formats.values()) for runtime in RUNTIMES.values())


def test_the_page_is_printed_from_the_rules() -> None:
    """docs/runtimes.md is what `python docs/runtimes.py` prints."""
    described: dict[str, object] = {"__name__": "runtimes"}
    exec((DOCS / "runtimes.py").read_text(encoding="utf-8"), described)
    assert (DOCS / "runtimes.md").read_text(encoding="utf-8") == described["page"]()
