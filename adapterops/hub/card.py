"""The README of what is pushed, from its manifest: what it is, what it was made of and how, what was kept, how to load it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapterops.errors import OptionError
from adapterops.hub.references import Reference, parse

MARK = "<!-- Written by adapterops from adapterops.json. Without this line, the next push keeps your text. -->"
SHOWN = 5
"""Modules in the table of figures: those that lost most."""

VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes for --max-lora-rank."""

AUTO = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "FEATURE_EXTRACTION": "AutoModel",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
}
"""What transformers loads for PEFT's task types."""

MODELS = {"fuse": 1, "unfuse": 1}
"""Operations on models, and how many of their inputs are models, where not all are."""


@dataclass(frozen=True)
class Made:
    """What a card is written about.

    Attributes:
        repo: where it will lie.
        manifest: adapterops.json, or {} for what something else made.
        adapter: adapter_config.json; None for a model.
        licenses: of each input, as its card says; None where that is not known.
    """

    repo: str
    manifest: Mapping[str, Any] = field(default_factory=dict)
    adapter: Mapping[str, Any] | None = None
    licenses: Sequence[str | None] = ()

    @property
    def inputs(self) -> list[Mapping[str, Any]]:
        return list(self.manifest.get("inputs", ()))

    @property
    def operations(self) -> list[Mapping[str, Any]]:
        """All, the outermost first."""
        return list(_nodes(self.manifest.get("operation", {})))

    def named(self, name: str) -> bool:
        return any(node.get("operation") == name for node in self.operations)

    @property
    def bases(self) -> list[str]:
        """The repositories on the Hub that it comes from, as its metadata names them: of an adapter its base."""
        if self.adapter is not None:
            base = str(self.adapter.get("base_model_name_or_path") or "")
            return [base] if _on_hub(base) else []
        chosen = _models(self.manifest.get("operation", {})) if self.relation == "quantized" else range(len(self.inputs))
        named = [str(self.inputs[index].get("reference", "")).partition(":")[0] for index in chosen]
        return list(dict.fromkeys(name for name in named if name))

    @property
    def relation(self) -> str | None:
        """To the bases, as the Hub calls it."""
        if self.adapter is not None:
            return "adapter"
        return "quantized" if self.named("quantize") else "merge" if self.named("fuse") else None

    @property
    def license(self) -> str | None:
        """That of all inputs; None if they differ, or if one is not known."""
        return self.licenses[0] if self.licenses and len(set(self.licenses)) == 1 else None


def render(made: Made) -> str:
    """The text of README.md."""
    title = made.repo.partition("/")[2]
    parts = [f"---\n{_metadata(made)}\n---\n{MARK}\n\n# {title}\n", _about(made), _making(made), _figures(made), _loading(made)]
    return "\n".join(part for part in parts if part)


def _metadata(made: Made) -> str:
    from huggingface_hub import ModelCardData

    methods = sorted({str(node["method"]) for node in made.operations if "method" in node})
    tags = [
        "adapterops",
        *(["lora"] if made.adapter is not None else []),
        *(["merge"] if made.named("merge") or made.named("fuse") else []),
    ]
    data = ModelCardData(
        base_model=(made.bases[0] if len(made.bases) == 1 else made.bases) or None,
        license=made.license,
        library_name="peft" if made.adapter is not None else "transformers",
        tags=[*tags, *(method for method in methods if len(_adapters(made)) > 1)],
        **({"base_model_relation": made.relation} if made.bases and made.relation else {}),
    )
    return str(data.to_yaml()).strip()


def _adapters(made: Made) -> list[int]:
    models = set(_models(made.manifest.get("operation", {})))
    return [index for index in range(len(made.inputs)) if made.adapter is not None or index not in models]


def _about(made: Made) -> str:
    what = "A LoRA adapter" if made.adapter is not None else "A quantized model" if made.relation == "quantized" else "A model"
    base = str((made.adapter or {}).get("base_model_name_or_path") or "")
    on = f" of {_link(base)}" if _on_hub(base) else f" of the model {Path(base).name}" if base else ""
    text = f"{what}{on}, made with adapterops.\n"
    if made.inputs and made.license is None:
        text += "\nIts license follows from those of what it was made of, which differ or are not all known.\n"
    return text


def _making(made: Made) -> str:
    if not made.manifest:
        return ""
    lines = ["## How it was made\n", *_tree(made, made.manifest.get("operation", {}), 0)]
    command = made.manifest.get("command") or []
    if len(command) > 1:
        lines += [
            "\nThe command, which gives the same bytes again:\n",
            "```",
            shlex.join(_pinned(made, str(each)) for each in command),
            "```",
        ]
    return "\n".join(lines) + "\n"


def _tree(made: Made, node: Mapping[str, Any], depth: int) -> Iterator[str]:
    indent = "  " * depth + "- "
    if "operation" not in node:
        yield indent + _input(made.inputs[node["input"]])
        return
    said = {name: value for name, value in node.items() if name not in ("operation", "of", "method") and value not in (None, False)}
    parameters = ", ".join(f"{name.replace('_', ' ')} {_value(value)}" for name, value in said.items())
    yield indent + " ".join([f"**{node['operation']}**", *([f"({node['method']})"] if "method" in node else []), parameters]).strip()
    for inner in node.get("of", ()):
        yield from _tree(made, inner, depth + 1)


def _input(given: Mapping[str, Any]) -> str:
    if "reference" in given:
        repo, _, inner = given["reference"].partition(":")
        return f"{_link(repo)}{f', {inner},' if inner else ''} at `{given['revision']}`"
    hashes = [each["blake3"] for each in given.get("files", {}).values()]
    return f"`{Path(given.get('path', '')).name}`" + (f", BLAKE3 `{hashes[0]}`" if hashes else "")


def _pinned(made: Made, argument: str) -> str:
    """An argument of the command, with the commit for the name of a revision."""
    try:
        reference = parse(argument)
    except OptionError:
        return argument
    for given in made.inputs:
        if reference is not None and given.get("reference") == reference.place:
            return str(Reference(reference.repo, given["revision"], reference.inner))
    return argument


def _figures(made: Made) -> str:
    modules: Mapping[str, Any] = made.manifest.get("modules", {})
    rows: list[tuple[str, str]] = []
    if "energy_kept" in made.manifest:
        rows.append(("energy of the update that was kept", percent(made.manifest["energy_kept"])))
        key = "energy_kept"
    elif survival := made.manifest.get("survival"):
        rows.append(("the update, of the weights it changes", percent(survival["relative"])))
        rows.append(("of the update, what survived rounding", percent(survival["gain"])))
        rows += [("error of coding, of the weights", percent(survival["noise"]))] if "noise" in survival else []
        key = "gain"
    else:
        return ""
    worst = sorted(modules, key=lambda module: (modules[module][key], module))[:SHOWN]
    rows += [(f"in {module}", percent(modules[module][key])) for module in worst if modules[module][key] < 1]
    return "\n".join(["## What was kept\n", "| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows)]) + "\n"


def _loading(made: Made) -> str:
    if made.adapter is None:
        load = f'from transformers import AutoModelForCausalLM\n\nmodel = AutoModelForCausalLM.from_pretrained("{made.repo}")'
        return f"## How to load it\n\n```python\n{load}\n```\n\n```\nvllm serve {made.repo}\n```\n"
    base, task = made.bases[0] if made.bases else "BASE", made.adapter.get("task_type")
    auto = AUTO.get(str(task), AUTO["CAUSAL_LM"])
    text = f"""## How to load it

```python
from peft import PeftModel
from transformers import {auto}

base = {auto}.from_pretrained("{base}")
model = PeftModel.from_pretrained(base, "{made.repo}")
```
"""
    if made.bases:
        text += f"""
Where PEFT is installed, transformers finds the base by itself:

```python
from transformers import {auto}

model = {auto}.from_pretrained("{made.repo}")
```
"""
    return text + _serving(made, base) if auto == AUTO["CAUSAL_LM"] else text


def _serving(made: Made, base: str) -> str:
    adapter = made.adapter or {}
    ranks = [adapter.get("r"), *dict(adapter.get("rank_pattern") or {}).values()]
    rank = max((each for each in ranks if isinstance(each, int)), default=0)
    served = next((each for each in VLLM_RANKS if each >= rank), None)
    if served is None or adapter.get("modules_to_save"):
        why = "modules_to_save" if served else f"the rank {rank}"
        return f"\nvLLM does not serve {why}: fuse it into its base, and serve that.\n"
    name = made.repo.partition("/")[2]
    return f"\n```\nvllm serve {base} --enable-lora --max-lora-rank {served} --lora-modules {name}={made.repo}\n```\n"


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for inner in node.get("of", ()):
        yield from _nodes(inner)


def _models(node: Mapping[str, Any]) -> list[int]:
    """The inputs that are models, of an operation that makes a model."""
    if "input" in node:
        return [node["input"]]
    inner = list(node.get("of", ()))
    return [index for each in inner[: MODELS.get(node.get("operation", ""), len(inner))] for index in _models(each)]


def _on_hub(name: str) -> bool:
    """Whether a name is one of the Hub, and no path here."""
    reference = parse(name)
    return reference is not None and str(reference) == name == reference.repo and not Path(name).exists()


def _link(repo: str) -> str:
    return f"[{repo}](https://huggingface.co/{repo})"


def _value(value: Any) -> str:
    return ", ".join(map(_value, value)) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)


def percent(fraction: float) -> str:
    """
    >>> percent(1.0), percent(0.99999999), percent(0.8259)
    ('100 %', '99.9999 %', '82.59 %')
    """
    if fraction >= 1:
        return f"{100 * fraction:.0f} %"
    return f"{100 * fraction:.2f} %" if fraction < 0.99995 else f"{min(100 * fraction, 99.9999):.4f} %"
