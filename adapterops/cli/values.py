"""How the values of arguments and options are read."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from shlex import quote
from typing import Any, TypeAlias

import click
from click.shell_completion import CompletionItem

from adapterops.arrays.dtypes import ALIASES, FLOATS
from adapterops.cli.usage import meant
from adapterops.errors import OptionError
from adapterops.formats.registry import FORMATS
from adapterops.formats.registry import written as writable
from adapterops.hub.references import SCHEME as ON_HUB
from adapterops.hub.references import Reference, check_no_address, choose, parse
from adapterops.methods.registry import Parameter
from adapterops.quant.registry import SCHEMES, written
from adapterops.storage.place import Place

SHOWN = 80
"""Characters of a value that a message repeats."""


class DType(click.ParamType):  # type: ignore[type-arg]  # generic only in the newest click
    """A dtype, as safetensors or as torch spells it."""

    name = "dtype"

    def __init__(self, *blocks: str) -> None:
        """`blocks`: types of GGUF that may be asked for as well."""
        self.known = {**FLOATS, **{each: each.lower() for each in blocks}}
        self.choices = tuple(self.known.values())

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """
        >>> [DType().convert(each, None, None) for each in ("float32", "bf16", "fp16")]
        ['F32', 'BF16', 'F16']
        """
        if value.lower() in ALIASES:
            return ALIASES[value.lower()]
        found = [short for short, long in self.known.items() if value.lower() in (short.lower(), long)]
        return found[0] if found else self.fail(f"{value!r} is not one of {', '.join(self.choices)}", param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"[{'|'.join(self.choices)}]"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in self.choices if name.startswith(incomplete)]


class Number(click.ParamType):  # type: ignore[type-arg]  # generic only in the newest click
    """A number that a parameter may be."""

    def __init__(self, parameter: Parameter) -> None:
        self.parameter, self.name = parameter, "integer" if parameter.whole else "float"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """
        >>> Number(Parameter("", low=1, whole=True)).convert("8", None, None), Number(Parameter("")).convert("1e-3", None, None)
        (8, 0.001)
        """
        try:
            number = int(value) if self.parameter.whole else float(value)
        except ValueError:
            self.fail(f"{shortened(value)!r} is not a {'whole ' if self.parameter.whole else ''}number", param, ctx)
        if self.parameter.whole and number < self.parameter.low:
            self.fail(f"{shortened(value)} is less than {self.parameter.low:g}", param, ctx)
        found: float = self.parameter.check(max(param.opts, key=len) if param else "it", number)
        return found


REAL = Number(Parameter(""))
COUNT = Number(Parameter("", low=1, high=sys.maxsize, whole=True))


def shortened(value: object) -> str:
    """What was typed, as a message may repeat it."""
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


Weight: TypeAlias = float | dict[str, float]
"""One number for an adapter, or one for each pattern of modules."""


class Weights(click.ParamType):  # type: ignore[type-arg]  # generic only in the newest click
    """A number, or several with commas or spaces between them; or what blocks of one adapter get."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Weight, ...]:
        """
        >>> Weights().convert("0.5", None, None), Weights().convert("0.7,-0.2", None, None)
        ((0.5,), (0.7, -0.2))
        >>> Weights().convert("double_blocks.0-9=0.3,*=1", None, None)
        ({'double_blocks.0-9': 0.3, '*': 1.0},)
        """
        if isinstance(value, tuple):
            return value
        parts = value.replace(",", " ").split()
        try:
            pairs = [(pattern, float(number)) for pattern, _, number in (part.rpartition("=") for part in parts)]
        except ValueError:
            pairs = []
        if not pairs:
            self.fail(
                f"{shortened(value)!r} is not a number, nor several such as 0.7,0.3 or layers.0-11=0.3,*=1", param, ctx
            )
        found = {pattern: REAL.parameter.check("--weight", number) for pattern, number in pairs}
        if "=" not in value:
            return tuple(number for _, number in pairs)
        if len(found) < len(parts) or "" in found:
            self.fail(
                f"{shortened(value)!r} is not one number for each of several patterns, such as layers.0-11=0.3,*=1",
                param,
                ctx,
            )
        return (found,)


class RegisteredName(click.ParamType):  # type: ignore[type-arg]  # generic only in the newest click
    """A name in a registry; which ones there are is not asked before someone wants to know. Those that are `read` are
    known, and cannot be chosen.
    """

    def __init__(
        self, name: str, names: Callable[[], Collection[str]], read: Callable[[], Collection[str]] = tuple
    ) -> None:
        self.name, self.names, self.read = name, names, read

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        name = value.replace("-", "_").lower()
        if name in self.names():
            return name
        if name in self.read():
            self.fail(
                f"{name} can be read, and not made from a model in 16 bits; the {self.name}s that can are {', '.join(self.names())}",
                param,
                ctx,
            )
        close = meant(name, self.names())
        there = f"did you mean {close}? There" if close else "there"
        return self.fail(f"there is no {self.name} {value!r}; {there} are {', '.join(self.names())}", param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"[{'|'.join(self.names())}]"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in self.names() if name.startswith(incomplete)]


SCHEME, FORMAT = RegisteredName("scheme", written, lambda: SCHEMES), RegisteredName("format", writable, lambda: FORMATS)


class SourceType(click.ParamType):  # type: ignore[type-arg]  # generic only in the newest click
    """An adapter or a model: a path, or a reference to the Hub, which is asked what it stands for."""

    name = "source"

    def convert(self, value: str | Place, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        if isinstance(value, Place) or (ctx is not None and ctx.resilient_parsing):
            return Place.of(value)
        target = choose(value)
        if not isinstance(target, Reference):
            return Place.of(target)
        from adapterops.hub.snapshot import locate

        return locate(target, verify=verified(ctx))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]


class Text(SourceType):
    """The same, as a request has it: a path, or a reference with its scheme, which nobody is asked about yet."""

    def convert(self, value: str | Place, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if ctx is not None and ctx.resilient_parsing:
            return value
        return text(str(value))


def text(source: str) -> str:
    """A path, or a reference with its scheme."""
    target = choose(source)
    return target.uri if isinstance(target, Reference) else str(target)


class LocalPath(click.Path):
    """What is on this machine."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        check_no_address(str(value))
        if str(value).startswith(ON_HUB):
            message = "is on the Hub, and this takes what is on this machine"
            raise OptionError(f"{value}: {message}", hint=f"adapterops pull {quote(str(value))} first")
        return super().convert(value, param, ctx)


class OutputPath(click.Path):
    """A new file or folder; neither stdout nor the Hub is one."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "-":
            message = "nothing is written to stdout: a manifest comes with what is written, and bytes are read again"
            raise OptionError(f"-o -: {message}", hint="name a folder or a file; one that is called so is ./-")
        if re.match(rf"https?://|{ON_HUB}", str(value)):
            message = "an output is written on this machine"
            raise OptionError(
                f"-o {value}: {message}", hint="name a folder; adapterops push FOLDER owner/name sends it"
            )
        return super().convert(value, param, ctx)


LOCAL, OUTPUT = LocalPath(), OutputPath()


class Repository(click.ParamType):  # type: ignore[type-arg]  # generic only in the newest click
    """A reference to the Hub, whatever is at a path of that name."""

    name = "reference"

    def convert(self, value: str | Reference, param: click.Parameter | None, ctx: click.Context | None) -> Reference:
        check_no_address(str(value))
        found = value if isinstance(value, Reference) else parse(value)
        if not found and ctx and ctx.command.name == "push" and os.path.isdir(str(value)):
            self.fail(f"{value!r} is a folder here: name it first, and then the repository as owner/name", param, ctx)
        return found or self.fail(
            f"{value!r} is not a repository: write owner/name, or owner/name@revision", param, ctx
        )


SOURCE, TEXT, REPO = SourceType(), Text(), Repository()
VERIFY = f"{__name__}.verify"
"""Under this key a context knows of `--verify-inputs`."""


def verify_inputs(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[VERIFY] = value


def verified(context: click.Context | None = None) -> bool:
    """Whether `--verify-inputs` was given."""
    context = context or click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(VERIFY))
