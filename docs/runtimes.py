"""Prints runtimes.md from the rules themselves: `python docs/runtimes.py > docs/runtimes.md`."""

from __future__ import annotations

from adapterops.formats.runtimes.rules import FACTS, Runtime
from adapterops.formats.runtimes.table import RUNTIMES

INTRODUCTION = """# Runtimes

What programs that serve or load adapters do with what an adapter may have, as `adapterops check` says it, and the form
that all of them apply alike, which `adapterops normalize` writes.

```console
$ adapterops check style
$ adapterops normalize style -o served
$ adapterops check served --for vllm
$ adapterops check served --for vllm --max-rank 4  # exit code 8
$ adapterops check served --for ollama --base base  # exit code 8
```

`check` collects facts from headers and config alone, and judges them by the rules below. They were read in the source of
the versions that each section names, and measured only where it says so; no server was run. What holds for some versions
only says so, and counts: which version will load the adapter is not known. With `--for`, exit code 8 means that something
is refused or silently wrong, and each finding names the command that fixes it; a table of all programs ends with 0. For a
wrong scale the finding says by what factor, least and largest over the modules. `--base` compares names and shapes, too, and
tells what depends on the type of the model.

`normalize` writes the same updates in PEFT's format with one rank R (zeros fill up), every scale folded into B, r =
lora_alpha = R, no patterns and no rsLoRA: each of the rules for a scale that a program may have then gives 1. It refuses,
by name, what LoRA cannot hold: full tensors, biases, trained embeddings, and DoRA, of which `--base` makes the nearest LoRA. `fuse`
takes these.

## Table

An empty cell: does not concern the program, or is covered by its format.
"""


def page() -> str:
    parts = [INTRODUCTION, _table()]
    parts += [_section(name, runtime) for name, runtime in RUNTIMES.items()]
    return "\n".join(parts)


def _table() -> str:
    titles = [runtime.title for runtime in RUNTIMES.values()]
    lines = [f"| | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    lines.append(f"| formats | {' | '.join(', '.join(runtime.reads) for runtime in RUNTIMES.values())} |")
    for fact, called in FACTS.items():
        cells = [_cell(runtime, fact) for runtime in RUNTIMES.values()]
        if fact != "format" and any(cells):
            lines.append(f"| {called} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(runtime: Runtime, fact: str) -> str:
    if fact not in runtime.rules:
        return ""
    severity = runtime.rules[fact].severity
    return f"{severity} above {runtime.limit or 'the one that is set'}" if fact == "rank" else severity


def _section(name: str, runtime: Runtime) -> str:
    lines = [f"## {runtime.title}\n", f"`--for {name}`, as of {runtime.source}.\n"]
    lines += [f"- {form}: {rule.severity}: {rule.says}." for form, rule in runtime.formats.items()]
    for fact, rule in runtime.rules.items():
        remedy = rule.remedy.format(source="ADAPTER", names="", limit=runtime.limit or "R")
        lines.append(f"- {FACTS[fact]}: {rule.severity}: {rule.says}.{_shown(remedy)}")
    return "\n".join(lines) + "\n"


def _shown(remedy: str) -> str:
    command, comma, more = remedy.partition(", ")
    if not command.startswith("adapterops"):
        return f" ({remedy})" if remedy else ""
    return f" `{command}`{comma}{more}"


if __name__ == "__main__":
    print(page(), end="")
