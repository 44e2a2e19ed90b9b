"""Mistakes in a command line: what was meant, and where to read about it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

import click

from adapterops.errors import OptionError
from adapterops.regex import Regex

NEAR = 0.78
"""How near the name of an option is to one that is meant: --tise and --ties have 0.83, --lora and --floor 0.77."""

WEIGHT = ("-w", "--weight")
SHORT = Regex("(-[a-z])=(.+)", re.DOTALL)
NUMBER = Regex(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)

OPTIONS = {
    "--quantize --to": "--4bit --8bit --load-in-4bit --load-in-8bit --nf4",
    "--adapter": "--adapters",
    "--dtype": "--bf16 --fp16",
    "--to --quantize": "--bits",
    "--to": "--format",
    "--format --quantize": "--to",
    "--to --format": "--save-format --output-format --out-format",
    "--version": "-V -v --v",
    "--device": "--cuda --gpu",
    "--workers": "--jobs --threads -j",
    "--scale": "--lambda",
    "--alpha": "--lora-alpha",
    "--base": "--model",
    "--output": "--out --outdir --out-dir --output-dir",
    "--force": "--overwrite -f",
    "--dry-run": "--preview -n",
    "--rank": "--r -r",
    "--for": "--runtime --server",
    "--budget": "--size",
    "--energy": "--tau",
    "--for --to": "--target",
    "--density": "--trim",
}
"""Our options, those that a command may have in turn: what other tools, and people, call them."""

MEANT = {word: options.split() for options, words in OPTIONS.items() for word in words.split()}

WITHOUT = {
    **dict.fromkeys(
        ("--adapter", "--adapters", "--lora", "--lora-path", "--peft"), "adapters are named without an option"
    ),
    **dict.fromkeys(
        ("--tuned", "--finetuned"),
        "the tuned model of extract is named without an option; fuse BASE --tuned MODEL merges whole models",
    ),
    "--merge-and-unload": "fuse does that, without an option",
    "--normalize": "weights are taken as they are; --scale says what the result is multiplied by",
    "--t": "-w 0.7,0.3 says how near the result is to each",
    "--push": "send what is written: adapterops push FOLDER OWNER/NAME",
}
"""What is done here without an option of that name."""

SHOWN = 3
"""Commands that are named where an option is given to another."""

CHOICES = {
    "nf4": "4 4bit int4 q4",
    "int8": "8 8bit q8",
    "cuda": "gpu nvidia",
    "float64": "double",
    "float32": "fp32 float",
    "float16": "fp16 half",
    "linear": "add average lerp mean sum svd task_arithmetic weighted_average",
    "ties": "ties_merging ties_merge ties_svd",
    "karcher": "multislerp",
    "peft": "transformers safetensors lora hf huggingface vllm",
    "gguf": "ollama llama.cpp llamacpp llama_cpp",
    "llama.cpp": "llamacpp llama_cpp gguf lmstudio lm_studio",
    "comfyui": "comfy",
    "tensorrt-llm": "trt trtllm tensorrt",
    "kohya": "automatic1111 a1111",
}
"""What can be chosen: what other tools, and people, call it."""

VALUES: dict[str, list[str]] = {}
for _choice, _words in CHOICES.items():
    for _word in _words.split():
        VALUES.setdefault(_word, []).append(_choice)

OF_LLAMA_CPP = Regex(r"there is no scheme '(gguf|i?q\d_\w+)'", re.IGNORECASE)
GGUF = "llama.cpp makes that of a model in 16 bits: convert_hf_to_gguf.py MODEL, then llama-quantize; "


def listed(arguments: Sequence[str]) -> Iterator[str]:
    """The arguments with every number of a list an option of its own: -w 0.7 -0.3 is -w 0.7 -w -0.3. And -o=x is -o x.

    >>> list(listed(["a", "b", "--weight", "0.7", "-0.3", "--ties", "-o=x"]))
    ['a', 'b', '--weight', '0.7', '-w', '-0.3', '--ties', '-o', 'x']
    """
    value, number, ours = False, False, list(arguments)
    last = ours.index("--") if "--" in ours else len(ours)  # what follows are no options
    for argument in _split(ours[:last]):
        another = number and NUMBER.fullmatch(argument) is not None and not Path(argument).exists()
        if another:
            yield WEIGHT[0]
        yield argument
        number = value or another or argument.startswith("--weight=")
        value = argument in WEIGHT
    yield from ours[last:]


def _split(arguments: Sequence[str]) -> Iterator[str]:
    """The arguments, with -o=x as two of them; click takes =x for the value."""
    for argument in arguments:
        short = SHORT.fullmatch(argument)
        yield from short.groups() if short else (argument,)


MANY = "too many arguments"

PLAINLY = {
    r"^Option '(.*)' does not take a value$": r"\1 takes no value",
    r"^Got unexpected extra arguments? \((.*)\)$": rf"{MANY}: \1",
    r"^Option '(.*)' requires an argument$": r"\1 needs a value",
    r"is not in the range x>=(\S+)$": r"is less than \1",
    r"is not a valid integer( range)?$": "is not a whole number",
    r"is not a valid float( range)?$": "is not a number",
}
"""What click says, in other words."""


def explained(error: click.UsageError, command: str) -> OptionError:
    """A mistake in the arguments of a command as an error of ours: the fact, and the next step."""
    page = f"see {command.partition(' -')[0]} --help"
    if isinstance(error, click.NoSuchOption):
        hint = _instead(error.option_name, error.ctx)
        return OptionError(f"there is no option {error.option_name}", hint=f"{hint}{page}")
    if isinstance(error, click.MissingParameter) and error.ctx and error.param:
        name = error.param.make_metavar(error.ctx) if error.param.param_type_name == "argument" else error.param.opts[0]
        return OptionError(
            f"{name.strip('[].')} is missing", hint=f"{_one_of(error.param)}{_usage(error.ctx, error.param)}; {page}"
        )
    if isinstance(error, click.BadParameter) and error.ctx and error.param:
        opts = error.param.opts
        name = " / ".join(opts) if error.param.param_type_name == "option" else error.param.make_metavar(error.ctx)
        return OptionError(f"{name}: {_plain(error.message)}", hint=f"{_chosen(error)}{page}")
    usage = f"{_usage(error.ctx)}; " if type(error) is click.UsageError and error.ctx else ""
    fact = _plain(error.format_message())
    several = (
        "adapterops compare takes several; " if fact.startswith(MANY) and command.startswith("adapterops show") else ""
    )
    return OptionError(fact, hint=f"{several}{usage}{page}")


def _plain(message: str) -> str:
    message = message.rstrip(".")
    for odd, plain in PLAINLY.items():
        message = re.sub(odd, plain, message)
    return message


def _one_of(parameter: click.Parameter) -> str:
    """What may be given, where there is a list of it."""
    names = getattr(parameter.type, "names", None)
    return f"one of {', '.join(names())}; " if names else ""


def _chosen(error: click.BadParameter) -> str:
    """What was probably meant of several that may be chosen, or by a number."""
    if OF_LLAMA_CPP.match(error.message):
        return GGUF
    given = re.match(r"'(.*?)'", error.message)
    if given is None:
        return ""
    if percent := re.fullmatch(r"(\d+\.?\d*) ?%", given[1]):
        return f"{percent[1]} % is {float(percent[1]) / 100:g}; "
    value = meant(given[1], [str(each) for each in getattr(error.param and error.param.type, "choices", ())])
    return f"did you mean {value}? " if value else ""


def meant(value: str, choices: Collection[str]) -> str | None:
    """The choice that is called so elsewhere, or is spelled nearly so.

    >>> meant("GPU", ["cpu", "cuda"]), meant("tise", ["ties", "tsv"]), meant("x", ["ties"])
    ('cuda', 'ties', None)
    """
    known = VALUES.get(value.lower().replace("-", "_"), ())
    return next(
        iter([*(each for each in known if each in choices), *get_close_matches(value.lower(), choices, n=1)]), None
    )


def _usage(context: click.Context, missing: click.Parameter | None = None) -> str:
    """How the command is called, with the option that is missing."""
    option = missing is not None and missing.param_type_name == "option"
    needed = [missing.opts[0], missing.make_metavar(context)] if missing and option else []
    return " ".join(["usage:", context.command_path, *context.command.collect_usage_pieces(context), *needed])


def _instead(name: str, context: click.Context | None) -> str:
    """What is meant by an option that is called so elsewhere, or is spelled nearly so."""
    there = (
        [each for parameter in context.command.params for each in parameter.opts if each[0] == "-"] if context else []
    )
    if context and context.command.name == "calc" and not name.startswith("--"):
        return 'an expression that begins with a minus goes in parentheses, such as "(-a + b)"; '
    called = [each for each in MEANT.get(name, ()) if each in there]
    if not called and name in WITHOUT:
        return f"{WITHOUT[name]}; "
    called += get_close_matches(name, there, n=1, cutoff=NEAR)
    if called:
        return f"did you mean {called[0]}? "
    others = _with(name, context.find_root()) if context else []
    more = " and others" if len(others) > SHOWN else ""
    return f"it is an option of {', '.join(others[:SHOWN])}{more}; " if others else ""


def _with(option: str, root: click.Context) -> list[str]:
    """The commands that have an option."""
    group = root.command
    names = group.list_commands(root) if isinstance(group, click.Group) else []
    commands = {name: group.get_command(root, name) for name in names} if isinstance(group, click.Group) else {}
    return [name for name, each in commands.items() if each and any(option in p.opts for p in each.params)]
