"""The entry point: finds the command, and turns whatever happens into a message and an exit code."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import sys
import traceback
import warnings
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn, TextIO

import click

from adapterops import __version__
from adapterops.cli.process import tune
from adapterops.engine import local
from adapterops.errors import AdapterOpsError, AdapterWarning, InputError, OptionError, ResourceError, printable
from adapterops.provenance.manifest import SCHEMA

COMMANDS = {
    "show": "What is inside an adapter, or a model.",
    "compare": "How adapters relate, and what to do about it.",
    "report": "A page about adapters: figures, tables, and what they mean.",
    "merge": "One adapter of several.",
    "truncate": "A smaller adapter, the best of its size.",
    "calc": "An expression of adapters.",
    "run": "What a recipe asks for.",
    "fuse": "Adapters into a base model.",
    "unfuse": "An adapter out of a model again.",
    "extract": "The difference of two models, as an adapter.",
    "quantize": "A model in 4 or 8 bits.",
    "dequantize": "A quantized model in 16 or 32 bits.",
    "verify": "Whether a model is its base plus an adapter, and nothing else.",
    "pull": "An adapter or a model from the Hub.",
    "push": "An adapter or a model to the Hub.",
    "methods": "The methods of merge.",
}


MEANT = {
    "apply": "fuse",
    "bake": "fuse",
    "diff": "compare",
    "download": "pull",
    "info": "show",
    "inspect": "show",
    "list": "show",
    "ls": "show",
    "requantize": "quantize",
    "resize": "truncate",
    "subtract": "unfuse",
    "svd": "truncate",
    "ties": "merge",
    "unmerge": "unfuse",
    "upload": "push",
    "view": "show",
}
"""What other tools, and people, call our commands."""

SHORT = ResourceError("there is not enough memory", hint="use fewer --workers: each holds one module")
NO_MEMORY = (
    "can't allocate memory",
    "std::bad_alloc",
    "can't start new thread",
    "annot allocate memory",
    "failed to map segment",
)
"""How libraries say that there is no memory left."""


class Commands(click.Group):
    """Commands are modules of this package, imported when named."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"adapterops.cli.{name}").command
        return command

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = arguments[0]
        if name not in COMMANDS and not name.startswith("-"):
            meant = MEANT.get(name) or next(iter(get_close_matches(name, COMMANDS, n=1)), None)
            hint = f"did you mean adapterops {meant}?" if meant else f"one of {', '.join(COMMANDS)}"
            raise OptionError(f"there is no command {name!r}", hint=hint)
        return super().resolve_command(context, arguments)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="adapterops")
def cli() -> None:
    """Algebra and merging of LoRA adapters, on their files.

    \b
    adapterops show my-adapter
    adapterops merge a b --ties -o merged
    adapterops truncate my-adapter --rank 8

    Shell completion: eval "$(_ADAPTEROPS_COMPLETE=bash_source adapterops)", or zsh_source, fish_source.
    """


class Terminated(BaseException):
    """SIGINT or SIGTERM came; `signal` says which."""

    def __init__(self, number: int) -> None:
        self.signal = number


def main() -> NoReturn:
    """Run the command line, and exit."""
    tune()
    sys.stdout, sys.stderr = (
        sys.stdout or _nowhere(),
        sys.stderr or _nowhere(),
    )  # no file of ours may take their numbers
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows no σ, a name that is no text
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _terminate)
    code = run(sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)  # the work is done: what is left may wait for whoever reads the results
    code = _finish(code)
    os._exit(code)  # all is written and flushed: taking torch apart would cost a third of a second


def _nowhere() -> TextIO:
    return os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def run(arguments: list[str]) -> int:
    """The exit code of one command; its messages are printed."""
    as_json = "--json" in arguments
    if "--strict" in arguments:
        warnings.simplefilter("error", AdapterWarning)
    else:
        warnings.simplefilter("always", AdapterWarning)
    warnings.showwarning = _show_warning
    try:
        return cli.main(arguments, prog_name="adapterops", standalone_mode=False) or 0
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "adapterops"
        return _fail(OptionError(error.format_message().rstrip("."), hint=f"see {command} --help"), as_json)
    except AdapterWarning as warning:
        return _fail(InputError(f"{warning} (an error under --strict)", code="E-STRICT"), as_json)
    except AdapterOpsError as error:
        return _fail(error, as_json)
    except (Terminated, KeyboardInterrupt, click.Abort) as stop:
        number = stop.signal if isinstance(stop, Terminated) else signal.SIGINT
        notes = getattr(stop, "__notes__", ["nothing was written"])
        _say(f"stopped by {signal.Signals(number).name}; {'; '.join(notes)}")
        return 128 + number
    except MemoryError:
        return _fail(SHORT, as_json)
    except SystemExit:  # click's answer to a reader who is gone
        return _broken_stream(BrokenPipeError())
    except (RuntimeError, ImportError) as error:
        if not any(phrase in str(error) for phrase in NO_MEMORY):
            return _bug()
        return _fail(SHORT, as_json)
    except OSError as error:
        if error.errno == errno.ENOMEM or any(phrase in str(error) for phrase in NO_MEMORY):
            return _fail(SHORT, as_json)
        if error.filename is None and error.errno is None:
            return _bug()
        if error.filename is None:  # a stream of ours: it is dealt with when it is flushed
            return _broken_stream(error)
        return _fail(ResourceError(f"{error.strerror}", path=error.filename), as_json)
    except Exception:
        return _bug()


def _terminate(number: int, frame: FrameType | None) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _ignore)  # a second one must not interrupt the cleaning up, which waits for nobody
    local.STOPPING.set()
    raise Terminated(number)


def _ignore(number: int, frame: FrameType | None) -> None:
    """For signals of which one was enough. SIG_IGN would let Python complain of one that is on its way."""


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def _say(text: str) -> None:
    """Print to stderr, if anybody can read there."""
    with suppress(OSError, ValueError):
        print("\n".join(map(printable, text.split("\n"))), file=sys.stderr, flush=True)


def _fail(error: AdapterOpsError, as_json: bool) -> int:
    if as_json:
        _report(error.as_json())
    else:
        _say(f"error: {error}")
    return error.exit_code


def _report(error: dict[str, Any]) -> None:
    print(json.dumps({"schema": SCHEMA, "kind": "error", "ok": False, "error": error}, indent=2))


def _bug() -> int:
    _say(traceback.format_exc() + "error: this is a bug in adapterops")
    return 1


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if issubclass(category, AdapterWarning):
        _say(f"warning: {message}")


def _finish(code: int) -> int:
    """Flush stdout; what the command did is done even if nobody reads about it."""
    try:
        sys.stdout.flush()
    except OSError as error:
        code = code or _broken_stream(error)
    with suppress(OSError):
        sys.stderr.flush()
    return code


def _broken_stream(error: OSError) -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return 0
    _say(f"error: the results could not be printed: {error.strerror}")
    return ResourceError.exit_code
