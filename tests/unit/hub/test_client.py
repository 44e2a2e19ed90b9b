"""How the Hub is asked: again where that helps, at once never, and with words for every answer."""

from __future__ import annotations

import errno
import json
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import errors, get_session

from adapterops.errors import InputError, NotFoundError, OptionError, ResourceError
from adapterops.hub import client


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr("time.sleep", found.append)
    return found


def answered(status: int, **headers: str) -> Exception:
    """An error that has an answer, as those of the client do."""
    error = RuntimeError(f"answer {status}")
    error.response = SimpleNamespace(status_code=status, headers=headers)  # as httpx's have
    error.server_message = None
    return error


def test_a_passing_failure_is_asked_again(waits: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    failures = iter([answered(503), answered(429, **{"Retry-After": "7"})])

    def question() -> int:
        for failure in failures:
            raise failure
        return 42

    assert client.ask("me/a", question) == 42
    assert waits == [1.0, 8.0]
    assert "the Hub answers 503; trying again in 1 s" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [b"<html>", b"\xff\xfe{", b"\0\0\0{\0"])
def test_an_answer_that_is_no_json_is_asked_for_again(answer: bytes, waits: list[float]) -> None:
    answers = iter([answer, b"42"])
    assert client.ask("me/a", lambda: json.loads(next(answers))) == 42
    assert waits == [1.0]


def test_it_gives_up(waits: list[float]) -> None:
    asked = []

    def question() -> None:
        asked.append(1)
        raise answered(500)

    with pytest.raises(NotFoundError, match="a failure of its own") as failed:
        client.ask("me/a", question)
    assert failed.value.code == "E-HUB-SERVER"
    assert len(asked) == len(client.WAITS) + 1
    assert waits == list(client.WAITS)


def test_no_wait_is_longer_than_five_minutes(waits: list[float]) -> None:
    client.pause(answered(429, **{"Retry-After": "86400"}), 1.0)
    assert waits == [client.LONGEST_WAIT]


@pytest.mark.parametrize("failure", [answered(404), ValueError("x"), InputError("ours")], ids=["404", "bug", "ours"])
def test_what_stays_is_not_asked_again(waits: list[float], failure: Exception) -> None:
    def question() -> None:
        raise failure

    with pytest.raises((NotFoundError, InputError)) as failed:
        client.ask("me/a", question)
    assert waits == []
    assert isinstance(failed.value, type(failure) if isinstance(failure, InputError) else NotFoundError)


REFUSALS = [
    (answered(403), NotFoundError, "E-HUB-FORBIDDEN"),
    (answered(404), NotFoundError, "E-HUB-MISSING"),
    (answered(412), NotFoundError, "E-HUB-CHANGED"),
    (answered(429), NotFoundError, "E-HUB-RATE"),
    (answered(401), NotFoundError, "E-HUB-PRIVATE"),
    (answered(401, **{"X-Error-Message": "Invalid credentials in Authorization header"}), NotFoundError, "E-HUB-TOKEN"),
    (answered(418), NotFoundError, "E-HUB"),
    (errors.OfflineModeIsEnabled(), NotFoundError, "E-HUB-OFFLINE"),
    (errors.HFValidationError("bad"), OptionError, "E-OPTION"),
    (OSError(errno.ENOSPC, "No space left"), ResourceError, "E-RESOURCE"),
    (OSError("Consistency check failed: file should be of size 3"), NotFoundError, "E-HUB-INCOMPLETE"),
]


@pytest.mark.parametrize(("error", "kind", "code"), REFUSALS, ids=lambda each: str(each)[:30])
def test_every_answer_has_its_code(
    error: Exception, kind: type[Exception], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    found = client.explained(error, "me/a")
    assert type(found) is kind
    assert (found.code, found.path) == (code, "me/a")
    assert "hf_secret" not in str(found)


def test_a_cache_that_may_not_be_written_to_needs_no_space() -> None:
    full, closed = (client.explained(OSError(each, "so"), "me/a").hint or "" for each in (errno.ENOSPC, errno.EROFS))
    assert "free some space" in full
    assert closed == "set HF_HOME to a folder that may be written to"


def test_addresses_are_shown_without_their_queries() -> None:
    found = client.explained(RuntimeError("GET https://hub/x?X-Amz-Signature=secret failed"), "me/a")
    assert "https://hub/x failed" in str(found)
    assert "secret" not in str(found)


@pytest.mark.parametrize(("value", "seconds"), [("", 60.0), ("300", 300.0), ("0", 60.0), ("soon", 60.0)])
def test_the_timeout(monkeypatch: pytest.MonkeyPatch, value: str, seconds: float) -> None:
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", value)
    assert client.timeout() == seconds


def test_the_session_has_a_timeout_and_keeps_offline_mode(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client.api()
    session = get_session()
    assert session.timeout.read == client.TIMEOUT
    assert session.follow_redirects
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert client.offline()
    with pytest.raises(errors.OfflineModeIsEnabled):
        session.get(f"{hub.url}/api/models/me/a")
    assert not hub.log
