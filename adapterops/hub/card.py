"""The README of what is pushed, from its manifest:
what it is, what it was made of and how, what was kept, how to load it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from adapterops.errors import OptionError, printable
from adapterops.hub.loading import LoadingClass, loading_base, loading_model
from adapterops.hub.references import Reference, parse
from adapterops.methods.scaling import times
from adapterops.storage.outputs import MARK
from adapterops.templates import template

SHOWN = 5
"""Modules in the table of figures: those that lost most."""

VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes for --max-lora-rank."""

MODELS = {"fuse": 1, "unfuse": 1}
"""Operations on models, and how many of their inputs are models, where not all are."""


@dataclass(frozen=True)
class CardFacts:
    """What a card is written about.

    Attributes:
        repo: where it will be.
        manifest: adapterops.json, or {} for what something else made.
        adapter: adapter_config.json; None for a model.
        licenses: of each input, as its card says; None where that is not known.
        config: config.json of the model, or of an adapter's base where that is here; None where that is not known.
        labels: of a classifier that was trained with an adapter; 0 for none.
        file: of an adapter of an image or video model, the file that diffusers loads into a pipeline.
    """

    repo: str
    manifest: Mapping[str, Any] = field(default_factory=dict)
    adapter: Mapping[str, Any] | None = None
    licenses: Sequence[str | None] = ()
    config: Mapping[str, Any] | None = None
    labels: int = 0
    file: str = ""

    @property
    def loading(self) -> LoadingClass | None:
        """What it is loaded with: of an adapter, its base."""
        if self.file:
            return LoadingClass("diffusers", "DiffusionPipeline")
        if self.adapter is None:
            return loading_model(self.config)
        return loading_base(self.adapter, self.config, self.labels)

    @property
    def inputs(self) -> list[Mapping[str, Any]]:
        return list(self.manifest.get("inputs", ()))

    @property
    def operation(self) -> Mapping[str, Any]:
        """The outermost one; {} where nothing is known."""
        return dict(self.manifest.get("operation", {}))

    @property
    def operations(self) -> list[Mapping[str, Any]]:
        """All, the outermost first."""
        return list(_nodes(self.operation))

    def named(self, name: str) -> bool:
        return any(node.get("operation") == name for node in self.operations)

    @property
    def bases(self) -> list[str]:
        """The repositories on the Hub that it comes from, as its metadata names them: of an adapter its base."""
        if self.adapter is not None:
            base = str(self.adapter.get("base_model_name_or_path") or "")
            return [base] if _on_hub(base) else []
        chosen = _models(self.operation) if self.relation == "quantized" else range(len(self.inputs))
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


def render(made: CardFacts) -> str:
    """The text of README.md. What comes from files is escaped: it can add neither markup nor lines."""
    loading = made.loading
    served = loading is not None and loading.generates
    unserved, rank = _serving(made.adapter) if made.adapter is not None and served else (None, None)
    return template("adapterops.hub", "card.md.j2").render(
        made=made,
        metadata=_metadata(made),
        mark=MARK,
        title=made.repo.rpartition("/")[2].strip(".") or Path(made.file).stem or Path(made.repo).resolve().name,
        what="A LoRA adapter"
        if made.adapter is not None
        else "A quantized model"
        if made.relation == "quantized"
        else "A model",
        base_model=_base_model(made),
        command=_command(made),
        figures=_figures(made),
        loading=loading,
        served=served,
        base=made.bases[0] if made.bases else "BASE",
        unserved=unserved,
        lora_rank=rank,
        described=partial(_described, made),
    )


def render_delta(repo: str, bases: Sequence[str]) -> str:
    """The text of README.md of a delta: how the model is made, of these repositories."""
    from huggingface_hub import ModelCardData

    data = ModelCardData(base_model=bases[0] if len(bases) == 1 else list(bases), tags=["adapterops", "delta"])
    return template("adapterops.hub", "delta.md.j2").render(
        metadata=str(data.to_yaml()).strip(),
        mark=MARK,
        title=repo.rpartition("/")[2].strip("."),
        repo=repo,
        bases=[_link(base) for base in bases],
    )


def _metadata(made: CardFacts) -> str:
    from huggingface_hub import ModelCardData

    methods = sorted({str(node["method"]) for node in made.operations if "method" in node})
    tags = [
        "adapterops",
        *(["lora"] if made.adapter is not None else []),
        *(["diffusers"] if made.file else []),
        *(["merge"] if made.named("merge") or made.named("fuse") else []),
    ]
    data = ModelCardData(
        base_model=(made.bases[0] if len(made.bases) == 1 else made.bases) or None,
        license=made.license,
        library_name=_library(made),
        tags=[*tags, *(method for method in methods if len(_adapters(made)) > 1)],
        **({"base_model_relation": made.relation} if made.bases and made.relation else {}),
    )
    return str(data.to_yaml()).strip()


def _library(made: CardFacts) -> str:
    if made.adapter is not None and not made.file:
        return "peft"
    return made.loading.library if made.loading else "transformers"


def _adapters(made: CardFacts) -> list[int]:
    models = set(_models(made.operation))
    return [index for index in range(len(made.inputs)) if made.adapter is not None or index not in models]


def _base_model(made: CardFacts) -> str:
    """What the card calls the base of an adapter; empty where its config names none."""
    base = str((made.adapter or {}).get("base_model_name_or_path") or "")
    return _link(base) if _on_hub(base) else f"the model {Path(base).name}" if base else ""


def _command(made: CardFacts) -> str:
    """The command line with commits for the names of revisions, on one line; empty where the manifest has none."""
    arguments = made.manifest.get("command") or []
    return printable(shlex.join(_pinned(made, str(each)) for each in arguments)) if len(arguments) > 1 else ""


def _described(made: CardFacts, node: Mapping[str, Any]) -> str:
    """A line about one operation or input of the manifest."""
    if "operation" not in node:
        return _input(made.inputs[node["input"]])
    parameters = {
        name: value
        for name, value in node.items()
        if name not in ("operation", "inputs", "method", "why", "multipliers", "summed", "held", "held_in", "condition")
        and value not in (None, False)
    }
    method = f" ({node['method']})" if "method" in node else ""
    shown = ", ".join(f"{name.replace('_', ' ')} {_value(value)}" for name, value in parameters.items())
    multiplied = [each for each in node.get("multipliers", {}).values() if each is not None]
    shown += f", {times(multiplied)}" if multiplied else ""
    return f"**{node['operation']}**{method} {shown}".strip()


def _input(given: Mapping[str, Any]) -> str:
    if "reference" in given:
        repo, _, inner = given["reference"].partition(":")
        return f"{_link(repo)}{f', {inner},' if inner else ''} at `{given['revision']}`"
    hashes = [each["blake3"] for each in given.get("files", {}).values()]
    return f"`{Path(given.get('path', '')).name}`" + (f", BLAKE3 `{hashes[0]}`" if hashes else "")


def _pinned(made: CardFacts, argument: str) -> str:
    """An argument of the command, with the commit for the name of a revision."""
    try:
        reference = parse(argument)
    except OptionError:
        return argument
    for given in made.inputs:
        if reference is not None and given.get("reference") == reference.place:
            return str(Reference(reference.repo, given["revision"], reference.inner))
    return argument


def _figures(made: CardFacts) -> list[tuple[str, str]]:
    """What was kept, in total and where the least was."""
    modules: Mapping[str, Any] = made.manifest.get("modules", {})
    if "energy_kept" in made.manifest:
        key, rows = "energy_kept", [("energy of the update that was kept", percent(made.manifest["energy_kept"]))]
    elif survival := made.manifest.get("survival"):
        key, rows = (
            "gain",
            [
                ("the update, of the weights it changes", percent(survival["relative"])),
                ("of the update, what survived rounding", percent(survival["gain"])),
                *(
                    [
                        (
                            "distance of the quantized base from its original, in the directions that the adapter reads, times the update",
                            f"{survival['original']:.2g}",
                        )
                    ]
                    if "original" in survival
                    else []
                ),
                *([("quantization error, of the weights", percent(survival["noise"]))] if "noise" in survival else []),
            ],
        )
    else:
        return []
    known = [module for module in modules if modules[module][key] is not None]
    worst = sorted(known, key=lambda module: (modules[module][key], module))[:SHOWN]
    return rows + [(f"in {module}", percent(modules[module][key])) for module in worst if modules[module][key] < 1]


def _serving(adapter: Mapping[str, Any]) -> tuple[str | None, int | None]:
    """What of an adapter vLLM does not serve, or the --max-lora-rank that it takes."""
    ranks = [adapter.get("r"), *dict(adapter.get("rank_pattern") or {}).values()]
    rank = max((each for each in ranks if isinstance(each, int)), default=0)
    served = next((each for each in VLLM_RANKS if each >= rank), None)
    if served is None:
        return f"the rank {rank}", None
    return ("modules_to_save", None) if adapter.get("modules_to_save") else (None, served)


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for inner in node.get("inputs", ()):
        yield from _nodes(inner)


def _models(node: Mapping[str, Any]) -> list[int]:
    """The inputs that are models, of an operation that makes a model."""
    if "input" in node:
        return [node["input"]]
    inner = list(node.get("inputs", ()))
    return [index for each in inner[: MODELS.get(node.get("operation", ""), len(inner))] for index in _models(each)]


def _on_hub(name: str) -> bool:
    """Whether a name is one on the Hub, and not a path here."""
    reference = parse(name)
    return reference is not None and str(reference) == name == reference.repo and not Path(name).exists()


def _link(repo: str) -> str:
    return f"[{repo}](https://huggingface.co/{repo})"


def _value(value: Any) -> str:
    return (
        ", ".join(map(_value, value))
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def percent(fraction: float | None) -> str:
    """
    >>> percent(1.0), percent(0.99999999), percent(0.8259), percent(None)
    ('100 %', '99.9999 %', '82.59 %', 'unknown')
    """
    if fraction is None:
        return "unknown"
    if fraction >= 1:
        return f"{100 * fraction:.0f} %"
    return f"{100 * fraction:.2f} %" if fraction < 0.99995 else f"{min(100 * fraction, 99.9999):.4f} %"
