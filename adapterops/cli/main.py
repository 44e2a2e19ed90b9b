"""The entry point: finds the command, and turns whatever happens into a message and an exit code.

What takes long to import is imported by functions, after signals are dealt with.
"""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import sys
import warnings
from contextlib import suppress
from functools import partial
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from adapterops.errors import (
    AdapterOpsError,
    AdapterWarning,
    InputError,
    NotFoundError,
    ResourceError,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHORT = ResourceError(
    "there is not enough memory", hint="use fewer --workers: each holds one module; --memory 4GB chooses how many"
)
NO_TORCH = NotFoundError(
    "this needs torch, which is not installed; only quantized weights, pickles, logits and --device do",
    hint="pip install 'adapterops[torch]'",
    code="E-NOT-INSTALLED",
)
"""Quantized weights, pickles and logits need torch; nothing else does."""

NO_MEMORY = (
    "can't allocate memory",
    "std::bad_alloc",
    "can't start new thread",
    "annot allocate memory",
    "failed to map segment",
)
"""How libraries say that there is no memory left."""


OF_PATHS = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.EISDIR)
"""Errors that say what is wrong with a path; all others are the machine's."""


AGAIN = 0.001
"""Seconds after which a signal that was lost comes again."""


class Terminated(BaseException):
    """One of `SIGNALS` came; `signal` says which."""

    def __init__(self, number: int) -> None:
        self.signal = number


def main() -> NoReturn:
    """Run the command line, and exit."""
    handled = [each for each in SIGNALS if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]  # nohup
    for number in handled:
        signal.signal(number, _leave_early)
    from adapterops.engine.process import tune

    tune()
    from adapterops.cli import commands, usage  # noqa: F401  # imported before signals are handled: `run` uses them

    # where they are closed, no file of ours may take their numbers
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows no σ, a name that is no text
    code = None
    try:
        for number in handled:
            signal.signal(number, _terminate)
        sys.unraisablehook = _send_again
        code = run(sys.argv[1:])
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in handled:
            signal.signal(number, _leave)  # the work is done: what is left may wait for whoever reads the results
    except Terminated as stop:  # between these lines
        code = _stopped(stop) if code is None else 128 + stop.signal
    code = _finish(code)
    os._exit(code)  # all is written and flushed: taking torch apart would cost a third of a second


def _nowhere() -> TextIO:
    return os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def run(arguments: list[str]) -> int:
    """The exit code of one command; its messages are printed."""
    import click

    from adapterops.cli.commands import cli
    from adapterops.cli.usage import explained
    from adapterops.storage.strict import check_path

    as_json = "--json" in arguments
    if "--strict" in arguments:
        warnings.simplefilter("error", AdapterWarning)
    else:
        warnings.simplefilter("always", AdapterWarning)
    warnings.showwarning = partial(_show_warning, {})
    try:
        _hush(bool({"-q", "--quiet"} & set(arguments)))
        for each in arguments:
            check_path(each)
        return cli.main(arguments or ["--help"], prog_name="adapterops", standalone_mode=False, obj=arguments) or 0
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.UsageError as error:
        return _fail(explained(error, " ".join(["adapterops", *arguments[:1]])), as_json)
    except AdapterWarning as warning:
        return _fail(InputError(f"{warning} (an error under --strict)", code="E-STRICT"), as_json)
    except AdapterOpsError as error:
        return _fail(error, as_json)
    except (Terminated, KeyboardInterrupt, click.Abort) as stop:
        return _stopped(stop)
    except MemoryError:
        return _fail(SHORT, as_json)
    except SystemExit:  # click's answer to a reader who is gone
        return _broken_stream(BrokenPipeError())
    except ModuleNotFoundError as error:
        return _fail(NO_TORCH, as_json) if error.name == "torch" else _not_imported(error, as_json)
    except (RuntimeError, ImportError) as error:
        if any(phrase in str(error) for phrase in NO_MEMORY):
            return _fail(SHORT, as_json)
        return _not_imported(error, as_json) if isinstance(error, ImportError) else _bug(as_json)
    except OSError as error:
        if error.errno == errno.ENOMEM or any(phrase in str(error) for phrase in NO_MEMORY):
            return _fail(SHORT, as_json)
        if error.filename is None and error.errno is None:
            return _bug(as_json)
        if error.filename is None:  # a stream of ours: it is dealt with when it is flushed
            return _broken_stream(error)
        kind = InputError if error.errno in OF_PATHS else ResourceError
        hint = "check the path and its permissions" if kind is InputError else "check the disk that it is on"
        return _fail(kind(f"{error.strerror}", path=error.filename, hint=hint), as_json)
    except Exception:
        return _bug(as_json)


def _terminate(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, _ignore)  # a second one must not interrupt the cleaning up, which waits for nobody
    if stopping := _stopping():
        stopping.set()
    raise Terminated(number)


def _stopping() -> Event | None:
    """What tells threads to stop. Nothing is imported here: a signal may come inside an import."""
    return getattr(sys.modules.get("adapterops.engine.local"), "STOPPING", None)


def _send_again(lost: sys.UnraisableHookArgs) -> None:
    """Python lets no exception out of what it calls when an object is given up. A signal that came there comes again, by a
    clock and not by a thread, which would wait for locks of the code that was interrupted.
    """
    stop = lost.exc_value
    if not isinstance(stop, Terminated):
        sys.__unraisablehook__(lost)
        return
    if stopping := _stopping():
        stopping.clear()  # until then work goes on
    signal.signal(signal.SIGALRM, lambda _, frame: _terminate(stop.signal, frame))
    signal.setitimer(signal.ITIMER_REAL, AGAIN)


def _ignore(number: int, frame: FrameType | None) -> None:
    """For signals of which one was enough. SIG_IGN would let Python complain of one that is on its way."""


def _leave_early(number: int, frame: FrameType | None) -> None:
    """Before anything was begun there is nothing to undo."""
    _say(f"stopped by {signal.Signals(number).name}; nothing was written")
    os._exit(128 + number)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def _hush(quiet: bool) -> None:
    """Let notes about the Hub be printed, or not."""
    import logging

    of_hub, level = logging.getLogger("adapterops.hub"), logging.WARNING if quiet else logging.INFO
    if of_hub.level != level:  # setting it goes through all loggers there are
        of_hub.setLevel(level)


def _say(text: str, level: str | None = None) -> None:
    """Print to stderr, if anybody can read there; after the name of a level, in its colour."""
    begin = ""
    if level:  # a signal may come while this very module is imported
        from adapterops.cli.terminal import painted

        begin = painted(f"{level}:", level, sys.stderr) + " "
    with suppress(OSError, ValueError):
        print(begin + "\n".join(map(printable, text.split("\n"))), file=sys.stderr, flush=True)


def _fail(error: AdapterOpsError, as_json: bool) -> int:
    if as_json:
        _report(error.as_json())
    else:
        _say(str(error), "error")
    return error.exit_code


def _report(error: dict[str, Any]) -> None:
    from adapterops.provenance.manifest import SCHEMA

    print(json.dumps({"schema": SCHEMA, "kind": "error", "ok": False, "error": error}, indent=2))


def _stopped(stop: BaseException) -> int:
    number = stop.signal if isinstance(stop, Terminated) else signal.SIGINT
    notes = getattr(stop, "__notes__", ["nothing was written"])
    _say(f"stopped by {signal.Signals(number).name}; {'; '.join(notes)}")
    return 128 + number


def _bug(as_json: bool) -> int:
    """Say whose it is; unless a signal came inside of one of Python's locks, which then fails by itself."""
    error = behind = sys.exc_info()[1]
    while behind is not None:
        if isinstance(behind, Terminated):
            return _stopped(behind)
        behind = behind.__context__
    import traceback

    _say(traceback.format_exc().rstrip())
    package = _failing(traceback.walk_tb(error.__traceback__ if error else None))
    hint = f"report it with the command and the lines {'on stderr' if as_json else 'above'}"
    return _fail(AdapterOpsError(f"this is a bug in {package}", hint=hint, code="E-BUG"), as_json)


def _failing(frames: Iterable[tuple[FrameType, int]]) -> str:
    """The package that failed: the innermost of this one and those that add to it."""
    from importlib.metadata import entry_points

    own, points = __name__.partition(".")[0], entry_points()
    groups = [points.select(group=group) for group in points.groups if group.startswith(f"{own}.")]
    others = {point.module.partition(".")[0] for group in groups for point in group}
    names = [str(frame.f_globals.get("__name__", "")).partition(".")[0] for frame, _ in frames]
    return next((name for name in reversed(names) if name in {own, *others}), own)


def _not_imported(error: ImportError, as_json: bool) -> int:
    """A library that is missing, or that fails while it is imported, numpy without its C++ library for one."""
    frames = error.__traceback__
    while frames and frames.tb_next:
        frames = frames.tb_next
    failed = str(frames.tb_frame.f_globals.get("__name__", "")) if frames else ""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    library = (missing or failed).partition(".")[0]
    if library in ("", __package__.partition(".")[0]):
        return _bug(as_json)
    why = "is not installed" if missing else f"cannot be imported: {str(error).strip().splitlines()[-1]}"
    hint = f"install it again in this environment: pip install --force-reinstall {library}"
    return _fail(NotFoundError(f"the library {library} {why}", hint=hint, code="E-NOT-INSTALLED"), as_json)


def _show_warning(
    shown: dict[str, Warning | str],
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Once each: an engine may do its jobs in threads of this process, of which each warns again."""
    if issubclass(category, AdapterWarning) and shown.setdefault(str(message), message) is message:
        _say(str(message), "warning")


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
    _say(f"the results could not be printed: {error.strerror}", "error")
    return ResourceError.exit_code
