"""How the Hub is asked:
with timeouts, trying again where that helps, and with a message for everything it may answer.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from adapterops import __version__
from adapterops.errors import AdapterOpsError, NotFoundError, OptionError, ResourceError, printable

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Result = TypeVar("Result")

TIMEOUT = 60.0
"""Seconds without a byte after which the Hub is taken to be silent, where HF_HUB_DOWNLOAD_TIMEOUT does not say."""

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds between one try and the next."""

UNANSWERED = ("E-HUB-OFFLINE", "E-HUB-NETWORK", "E-HUB-TIMEOUT", "E-HUB-SERVER", "E-HUB-RATE")
"""Codes of errors that say nothing of what was asked for: the Hub was not reached, or did not answer."""

PLANNING_TIMEOUT = 3.0
"""Seconds that a plan waits for the Hub, once."""

LONGEST_WAIT = 300.0
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers after which the same question may be answered well."""

_CHANGED = "has changed in the meantime", "run it again: it compares with what is there then", "CHANGED"
ANSWERS = {
    403: (
        "the Hub forbids it",
        "the token needs the permission to read this repository, or to write to it",
        "FORBIDDEN",
    ),
    409: _CHANGED,
    412: _CHANGED,
}
"""Answers that mean one thing → what it is, what to do about it, and the code of that."""


def api() -> HfApi:
    """The client, which reads its token itself."""
    _prepare()
    from huggingface_hub import HfApi

    return HfApi(library_name="adapterops", library_version=__version__)


def timeout() -> float:
    """Seconds without a byte after which a request fails."""
    seconds = os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT", "")
    return float(seconds) if seconds.isdecimal() and int(seconds) else TIMEOUT


def offline() -> bool:
    """Whether HF_HUB_OFFLINE is set."""
    from huggingface_hub import is_offline_mode

    return bool(is_offline_mode())


@cache
def _prepare() -> None:
    """Give the client the timeout that it lacks, and let it print when it waits."""
    from huggingface_hub import get_session, set_client_factory
    from huggingface_hub.utils import disable_progress_bars

    default = get_session()  # its hooks keep offline mode
    create, hooks, follow = type(default), default.event_hooks, default.follow_redirects
    set_client_factory(lambda: create(event_hooks=hooks, follow_redirects=follow, timeout=timeout()))
    logger = logging.getLogger("huggingface_hub")
    logger.handlers = [_Retries()]
    logger.propagate = False
    if not sys.stderr.isatty():
        disable_progress_bars()


def _http() -> Any:
    """The library of the client's session: httpx, or httpx2 from huggingface_hub 2 on."""
    from huggingface_hub import get_session

    return import_module(type(get_session()).__module__.partition(".")[0])


class _Retries(logging.Handler):
    """Prints that the client tries again; what else it warns of, errors report."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "etry" in text or "resume" in text:
            say(f"the Hub: {_without_queries(text.splitlines()[-1])}")


def _without_queries(text: str) -> str:
    """A text without what may be secret in its URLs."""
    return " ".join(word.partition("?")[0] if "://" in word else word for word in text.split())


class _Notes(logging.Handler):
    """Prints what is logged to stderr, whatever that is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        print(printable(record.getMessage()), file=sys.stderr, flush=True)


NOTES = logging.getLogger("adapterops.hub")
"""What is noted while the Hub is asked; level WARNING turns it off."""

NOTES.setLevel(NOTES.level or logging.INFO)
NOTES.propagate = False
NOTES.addHandler(_Notes())


def say(text: str) -> None:
    """A note for whoever watches."""
    NOTES.info(text)


def ask(what: str, question: Callable[[], Result], waits: Sequence[float] | None = None) -> Result:
    """The answer to a question, which is asked again while the Hub cannot answer it.

    Args:
        what: the repository or file that it is about.
        question: must be safe to repeat.
        waits: seconds between one try and the next, `WAITS` by default.

    Raises:
        NotFoundError, OptionError, ResourceError: as `explained` says.
    """
    for wait in (*(WAITS if waits is None else waits), None):
        try:
            return question()
        except AdapterOpsError:
            raise
        except Exception as error:  # the client raises errors of five libraries; `explained` distinguishes them
            if wait is None or not passing(error):
                raise explained(error, what) from error
            pause(error, wait)
    raise AssertionError


def pause(error: Exception, wait: float) -> None:
    """Wait as long as the Hub asks for, or else `wait`, and say so."""
    answer = next((found for each in chain(error) if (found := _answer(each)) is not None), None)
    if answer is not None:
        wait = min(_asked(answer.headers) or wait, LONGEST_WAIT)
    what = f"is not reached ({type(error).__name__})" if answer is None else f"answers {answer.status_code}"
    say(f"the Hub {what}; trying again in {wait:g} s")
    time.sleep(wait)


def _asked(headers: Mapping[str, str]) -> float | None:
    """The seconds that an answer asks to wait for, and one more.

    >>> _asked({"Retry-After": "7"}), _asked({"RateLimit": '"api";r=0;t=55'}), _asked({"RateLimit": '"api";r=9;t=55'}), _asked({})
    (8.0, 56.0, None, None)
    """
    limit = re.search(r"\br=0\s*;\s*t=(\d+)", headers.get("RateLimit", ""))
    seconds = limit[1] if limit else headers.get("Retry-After", "")
    return float(seconds) + 1 if seconds.isdecimal() else None


def passing(error: BaseException) -> bool:
    """Whether the same question may be answered well later: the network, the time, or the Hub's state."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    for each in chain(error):
        if isinstance(
            each, OfflineModeIsEnabled | LocalEntryNotFoundError
        ):  # before the latter the client has tried again itself
            return False
        answer = _answer(each)
        if answer is not None:
            return answer.status_code in PASSING
        if isinstance(each, _http().TransportError | json.JSONDecodeError | UnicodeDecodeError):
            return True  # the latter two for an answer that is no JSON, such as a page of a gateway that is down
    return False


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what caused it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _answer(error: BaseException) -> Any:
    response = getattr(error, "response", None)
    return response if hasattr(response, "status_code") else None


def explained(error: Exception, what: str) -> AdapterOpsError:
    """What a failure of the client means, and what to do about it."""
    from huggingface_hub import errors

    fault = partial(_fault, what)
    for cause in chain(error):
        if isinstance(cause, AdapterOpsError):
            return cause
        if isinstance(cause, errors.HFValidationError):
            return OptionError(f"is not a name on the Hub: {cause}", path=what, hint="write owner/name")
        if isinstance(cause, errors.OfflineModeIsEnabled):
            return fault(
                "is not in the cache, and HF_HUB_OFFLINE is set",
                "unset HF_HUB_OFFLINE, and run it once",
                "OFFLINE",
            )
        if _answer(cause) is not None:
            return _answered(cause, what)
        if isinstance(cause, _http().TimeoutException):
            return fault(
                "the Hub does not answer",
                "try again later, or wait longer: HF_HUB_DOWNLOAD_TIMEOUT=300",
                "TIMEOUT",
            )
        if isinstance(cause, _http().TransportError):
            hint = f"is the network up, and HF_ENDPOINT right? HF_HUB_OFFLINE=1 takes what is in the cache{_nor(what)}"
            return fault(f"the Hub cannot be reached: {type(cause).__name__}", hint, "NETWORK")
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            full = cause.errno in (errno.ENOSPC, errno.EDQUOT)
            hint = "free some space, or set HF_HOME to a folder on another disk"
            hint = hint if full else "set HF_HOME to a folder that may be written to"
            return ResourceError(f"the Hub's cache cannot be written: {cause.strerror}", path=what, hint=hint)
        if "Consistency check failed" in str(cause):
            return fault("came incomplete from the Hub", "run it again", "INCOMPLETE")
    shown = _without_queries(str(error).splitlines()[0] if str(error) else "")[:200]
    return fault(f"the transfer failed: {type(error).__name__}: {shown}", "run it again")


def _fault(what: str, message: str, hint: str, code: str = "") -> NotFoundError:
    return NotFoundError(message, path=what, hint=hint, code=f"E-HUB-{code}" if code else "E-HUB")


def _nor(what: str) -> str:
    """That no path here was meant: whoever mistypes one may be told of the Hub."""
    return "" if os.path.lexists(what) else f"; there is no path {what} here either"


def _answered(error: Any, what: str) -> AdapterOpsError:
    """What an answer of the Hub means."""
    from huggingface_hub import errors, get_token

    status, reason = error.response.status_code, str(error.response.headers.get("X-Error-Message") or "")
    page = f"{api().endpoint}/{what.partition('@')[0].partition(':')[0]}"
    anonymous = get_token() is None
    login = "set HF_TOKEN, or run `hf auth login`" if anonymous else "use the token of an account that may see it"

    fault = partial(_fault, what)
    if isinstance(error, errors.GatedRepoError):
        return fault(
            "is gated, and this account has not been let in", f"ask for access at {page}; then {login}", "GATED"
        )
    if isinstance(error, errors.DisabledRepoError):
        return fault("is disabled on the Hub", f"see {page}", "DISABLED")
    if isinstance(error, errors.RevisionNotFoundError):
        return fault("has no such revision", f"its branches and tags are at {page}/tree/main", "REVISION")
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return fault("is not there in this revision", f"its files are at {page}/tree/main", "FILE")
    if status == 401 and "Invalid credentials" in reason:
        return fault("the Hub does not accept the token that is set", "make a new one, and set HF_TOKEN to it", "TOKEN")
    if status == 401:
        return fault(
            "is private, or does not exist: the Hub does not say which",
            f"check the name, or {login}{_nor(what)}",
            "PRIVATE",
        )
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        return fault(
            "does not exist on the Hub, or not for this account",
            f"check the name; if it is private, {login}{_nor(what)}",
            "MISSING",
        )
    if status in ANSWERS:
        return fault(*ANSWERS[status])
    if status == 429:
        return fault(
            "the Hub's limit of requests is reached",
            "wait some minutes" + "; a token has a higher limit" * anonymous,
            "RATE",
        )
    if status >= 500:
        return fault(
            f"the Hub has a failure of its own ({status})",
            "try again later; see https://status.huggingface.co",
            "SERVER",
        )
    reason = reason or error.server_message or "without a reason"
    return NotFoundError(f"the Hub answers {status}: {reason}"[:500], path=what, code="E-HUB")
