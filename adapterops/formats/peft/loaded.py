"""Which modules of an adapter PEFT would leave out by their names, as far as files and config show it: it only warns."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from adapterops.errors import listed
from adapterops.formats.adapter_files import AdapterFiles
from adapterops.formats.diffusion.spellings import LANGUAGE
from adapterops.formats.models.loading import loading
from adapterops.formats.models.naming import last
from adapterops.formats.models.wrappers import held
from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.peft.keys import PREFIX
from adapterops.formats.peft.parts import SHARED
from adapterops.formats.stacks import is_plain
from adapterops.regex import Regex

SHOWN = 4
"""Modules that a warning lists."""

BARE = Regex(r"(layers|h|decoder\.layers)\.")
"""What the names in a bare model begin with that makes no words by itself."""

BARE_PAIR = Regex(r"(encoder|decoder)\.layers\.\d+\.(self_attn|encoder_attn|fc1|fc2)\b")
"""The same of BART and its kin, which have an encoder and a decoder: the class that makes words has them in `model`. Others have
an encoder of sounds there, with layers of other names.
"""


def misnamed(modules: Collection[str], config: AdapterConfig) -> list[str]:
    """Modules with names of a bare model where the config tells of one that makes words, around it, and with those of what a
    trainer held such a model in.
    """
    mapped, stated, task = config.fields.get("auto_mapping") or {}, config.base_class, config.fields.get("task_type")
    causal = task == "CAUSAL_LM" or str(stated).endswith("ForCausalLM")
    known = str(mapped.get("parent_library")).startswith("transformers.")
    of_words = task in LANGUAGE or known
    bare = BARE if causal else BARE_PAIR if known and str(stated).endswith("ForConditionalGeneration") else None
    return [module for module in modules if (bare and bare.match(module)) or (of_words and held(module))]


def taken_for_experts(modules: Collection[str], config: AdapterConfig) -> list[str]:
    """Modules that are no experts, and that PEFT takes for some in a model of the type that the config tells: it makes LoRA on
    the parameters of all experts of it, and none for the modules.
    """
    names = loading({"model_type": config.base_type}).taken if config.base_type else ()
    return [each for each in modules if last(each) in names and is_plain(each, config.experts)]


def left_out(files: AdapterFiles) -> list[str]:
    """The modules of an adapter that PEFT would leave out when it loads the files as they are: it finds no tensor of these by
    its own name for them, or the model has no such module, or the config does not name it.
    """
    modules = [name for name in files.modules if not name.endswith(".bias")]
    plain = [name for name in modules if is_plain(name, files.config.experts)]
    wrong = {*misnamed(modules, files.config), *files.config.unnamed}
    return [name for name in modules if name in wrong or (name in plain and not _named(name, files))]


def begun_otherwise(files: AdapterFiles) -> dict[str, list[str]]:
    """The modules whose names in the file are not those of the model in memory with PEFT's prefix, where there are any: those
    that lack the prefix alone, those of a bare model in one that makes words, and those with something else before or in them.
    """
    modules = [name for name in files.modules if not name.endswith(".bias") and is_plain(name, files.config.experts)]
    others = misnamed(modules, files.config)
    bare = [name for name in others if not held(name)]
    short = [name for name in modules if name not in others and _all_begin("", name, files)]
    begun = {*bare, *short, *(name for name in modules if name not in others and _all_begin(PREFIX, name, files))}
    found = {"unprefixed": short, "bare": bare, "wrapped": [name for name in modules if name not in begun]}
    return {fact: those for fact, those in found.items() if those}


def _all_begin(prefix: str, module: str, files: AdapterFiles) -> bool:
    return all(name.startswith(f"{prefix}{module}.") for name in _own(module, files))


def _own(module: str, files: AdapterFiles) -> list[str]:
    """The tensors of a module; what all modules share is none of it."""
    return [name for role, name in files.modules[module].tensors.items() if role not in SHARED]


def _named(module: str, files: AdapterFiles) -> bool:
    """Whether the tensors of a module have the names that PEFT gives them; the name of an adapter in them is that of the only
    one then.
    """
    begin = f"{PREFIX}{module}."
    return all(
        name.startswith(begin) and name.removeprefix(begin).replace(".default.", ".").count(".") < 2
        for name in _own(module, files)
    )


def left_out_of(modules: Sequence[str], count: int) -> str:
    """What is said of modules that PEFT would leave out.

    >>> left_out_of(["h.0.attn.c_attn"], 3)
    'PEFT would leave out 1 of 3 modules when it loads this adapter, by the names of its tensors or by what the config names: \
h.0.attn.c_attn. --base BASE of merge, truncate and normalize writes the names of the model'
    """
    every = "every module" if len(modules) == count else f"{len(modules)} of {count} modules"
    return (
        f"PEFT would leave out {every} when it loads this adapter, by the names of its tensors or by what the config names: "
        f"{listed(modules, SHOWN)}. --base BASE of merge, truncate and normalize writes the names of the model"
    )
