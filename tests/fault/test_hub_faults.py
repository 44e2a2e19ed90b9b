"""Whatever befalls the Hub or the way there: tried again, said in words of its own, and one commit in the end."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from commands import Command
from corpus import tree, write_adapter
from hub_server import SECRET, Fault, Hub
from tiny_models import write_base, write_tuned

from adapterops.cli.main import run
from adapterops.hub import client

WEIGHTS = "adapter_model.safetensors"
READING = ["truncate", "me/a", "--rank", "1", "-o", "out"]
PUSHING = ["push", "new", "me/new"]


@pytest.fixture
def place(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an adapter `new`, as the current one; another is on the Hub as `me/a`; a token is set."""
    folder = tmp_path / "here"
    write_adapter(folder / "new", seed=3)
    hub.put("me/a", write_adapter(tmp_path / "a"))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    return folder


def pushed_once(hub: Hub, place: Path) -> bool:
    """Whether there is one commit beyond the first, and it has everything."""
    if len(hub.repos["me/new"].history()) != 2:
        return False
    files = hub.files("me/new")
    return (
        files[WEIGHTS] == (place / "new" / WEIGHTS).read_bytes()
        and {"adapter_config.json", "README.md"} <= files.keys()
    )


REQUESTS = ["GET /api/models/me/a", "HEAD /me/a/resolve", "GET /me/a/resolve/.*safetensors", "GET /me/a/resolve/.*json"]


@pytest.mark.parametrize("pattern", REQUESTS)
@pytest.mark.parametrize("action", [503, 500, 429, "drop", "lose"])
def test_reading_is_tried_again(
    hub: Hub, place: Path, capsys: pytest.CaptureFixture[str], pattern: str, action: int | str
) -> None:
    hub.faults = [Fault(pattern, action, count=2, headers={"Retry-After": "7"} if action == 429 else {})]
    assert run(READING) == 0, capsys.readouterr().err
    assert hub.faults[0].count == 0
    noted = capsys.readouterr().err
    if pattern != REQUESTS[1]:  # after which the client asks again at once, which it says only later
        assert "trying again in" in noted or "etry" in noted or "resume" in noted
    if action == 429:
        assert 8 in hub.waits, "as long as the Hub asks for, and a second"
    assert (place / "out" / WEIGHTS).exists()


def test_the_hub_is_waited_for_as_long_as_it_says(hub: Hub, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.faults = [
        Fault("GET /api/models", 429, headers={"RateLimit": '"api";r=0;t=55'}),
        Fault("GET .*safetensors", 503),
    ]
    assert run(READING) == 0
    noted = capsys.readouterr().err
    assert "the Hub answers 429; trying again in 56 s" in noted
    assert "the Hub answers 503; trying again in 1 s" in noted


SENDING = [
    "GET /api/models/me/new",
    "POST /api/repos/create",
    "POST /api/validate-yaml",
    "POST .*/preupload/",
    "POST .*/objects/batch",
    "PUT /lfs/",
    "POST /lfs/verify",
    "POST .*/commit/",
]


@pytest.mark.parametrize("pattern", SENDING)
@pytest.mark.parametrize("action", [503, 500, 429, "drop", "lose"])
def test_pushing_is_tried_again(
    hub: Hub, place: Path, capsys: pytest.CaptureFixture[str], pattern: str, action: int | str
) -> None:
    hub.faults = [Fault(pattern, action, count=2 if isinstance(action, int) else 1)]
    assert run(PUSHING) == 0, capsys.readouterr().err
    assert hub.faults[0].count == 0
    assert pushed_once(hub, place)


@pytest.mark.parametrize("action", ["drop", "lose", 503])
def test_pushing_that_fails_at_the_nth_request_and_is_repeated(
    hub: Hub, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, action: str | int
) -> None:
    failed, nth = 0, 0
    while True:
        hub.repos.pop("me/new", None)
        hub.objects = {sha: data for sha, data in hub.objects.items() if data == hub.files("me/a")[WEIGHTS]}
        hub.faults = [Fault("", action, skip=nth, count=1)]
        with monkeypatch.context() as patch:
            patch.setattr(client, "WAITS", ())
            code = run(PUSHING)
        reached = hub.faults[0].count == 0
        hub.faults = []
        failed += code != 0
        assert code in (0, 5), capsys.readouterr().err
        assert "Traceback" not in capsys.readouterr().err
        assert run(PUSHING) == 0
        assert pushed_once(hub, place), f"request {nth}"
        if not reached:
            break
        nth += 1
    assert nth >= 9
    assert failed >= 4


def begun(hub: Hub, tmp_path: Path, command: list[str]) -> Command:
    """A command in a process of its own, which goes on to its first request when it is told to."""
    process = Command(command, setup=f"{hub.asking(tmp_path / 'home')}\npause()")
    assert process.paused()
    return process


@pytest.mark.parametrize("pattern", SENDING[1:])
def test_pushing_that_is_killed_and_repeated(hub: Hub, place: Path, pattern: str, tmp_path: Path) -> None:
    process = begun(hub, tmp_path, PUSHING)
    hub.faults = [Fault(pattern, partial(process.signal, signal.SIGKILL))]
    assert process.end().code == -signal.SIGKILL
    assert begun(hub, tmp_path, PUSHING).end().code == 0
    assert pushed_once(hub, place)


def test_pushing_that_is_stopped_says_what_to_do(hub: Hub, place: Path, tmp_path: Path) -> None:
    process = begun(hub, tmp_path, PUSHING)

    def interrupt() -> None:
        process.signal(signal.SIGINT)
        hub.silence.wait(10)

    hub.faults = [Fault("POST .*/commit/", interrupt)]
    ended = process.end()
    assert ended.code == 130
    assert "run it again: what is on the Hub already is not sent twice" in ended.err


@pytest.mark.parametrize("option", [[], ["--create-pr"]], ids=" ".join)
def test_a_lost_answer_to_a_pull_request_opens_no_second(
    hub: Hub, place: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    hub.put("me/new", {"config.txt": b""})
    hub.faults = [Fault("POST .*/commit/", "lose")]
    assert run([*PUSHING, *option]) == 0
    assert "the answer was lost; the commit is there" in capsys.readouterr().err
    assert len(hub.repos["me/new"].pulls) == len(option)
    assert len(hub.asked("POST .*/commit/")) == 1


def test_who_commits_meanwhile_is_not_overwritten(hub: Hub, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.put("me/new", {"config.txt": b""})
    hub.faults = [Fault("POST .*/commit/", lambda: hub.put("me/new", {WEIGHTS: b"another's"}))]
    assert run(PUSHING) == 5
    assert "me/new: was changed by someone else in the meantime" in capsys.readouterr().err
    assert hub.files("me/new")[WEIGHTS] == b"another's"
    assert run(PUSHING) == 0
    assert hub.files("me/new")[WEIGHTS] == (place / "new" / WEIGHTS).read_bytes()


def test_nothing_is_sent_where_more_would_see_it(hub: Hub, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.put("me/new", {"config.txt": b""})
    assert run([*PUSHING, "--private"]) == 6
    assert "me/new: is public, and private was asked for: nothing was sent" in capsys.readouterr().err
    assert not hub.asked("POST|PUT")


def silent(hub: Hub) -> None:
    hub.faults = [Fault("GET /api/models", "stall", count=9)]


def unreachable(hub: Hub) -> None:
    hub.faults = [Fault("", "drop", count=99)]


@pytest.mark.parametrize(
    ("arrange", "code", "said"),
    [
        (
            lambda hub: setattr(hub.repos["me/a"], "gated", True),
            "E-HUB-GATED",
            "is gated, and this account has not been let in",
        ),
        (lambda hub: hub.repos.pop("me/a"), "E-HUB-MISSING", "does not exist on the Hub, or not for this account"),
        (
            lambda hub: hub.faults.append(Fault("/api/models", 401, headers={"X-Error-Code": "RepoNotFound"})),
            "E-HUB-PRIVATE",
            "is private, or",
        ),
        (
            lambda hub: hub.faults.append(
                Fault("/api/models", 401, headers={"X-Error-Message": "Invalid credentials in Authorization header"})
            ),
            "E-HUB-TOKEN",
            "does not accept the token",
        ),
        (lambda hub: hub.faults.append(Fault("/api/models", 403)), "E-HUB-FORBIDDEN", "the Hub forbids it"),
        (
            lambda hub: hub.faults.append(Fault("/api/models", 400, headers={"X-Error-Message": "odd"})),
            "E-HUB",
            "the Hub answers 400: odd",
        ),
        (
            lambda hub: hub.faults.append(Fault("/api/models", 404, headers={"X-Error-Code": "RevisionNotFound"})),
            "E-HUB-REVISION",
            "no such revision",
        ),
        (
            lambda hub: hub.faults.append(Fault("safetensors", 404, headers={"X-Error-Code": "EntryNotFound"})),
            "E-HUB-FILE",
            "is not there in this",
        ),
        (
            lambda hub: hub.faults.append(Fault("", 429, count=99)),
            "E-HUB-RATE",
            "the Hub's limit of requests is reached",
        ),
        (
            lambda hub: hub.faults.append(Fault("", 502, count=99)),
            "E-HUB-SERVER",
            "the Hub has a failure of its own (502)",
        ),
        (unreachable, "E-HUB-NETWORK", "the Hub cannot be reached"),
        (unreachable, "E-HUB-NETWORK", "in the cache; there is no path me/a here either"),
        (silent, "E-HUB-TIMEOUT", "the Hub does not answer"),
        (
            lambda hub: hub.faults.append(Fault("safetensors", "whole")),
            "E-HUB-RANGE",
            "sends whole files where a part is asked for",
        ),
        (lambda hub: hub.faults.append(Fault("safetensors", 416, count=1)), "E-HUB", "the Hub answers 416"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("E-") else None,
)
def test_every_refusal_has_its_words(
    hub: Hub,
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arrange: Callable[[Hub], object],
    code: str,
    said: str,
) -> None:
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
    monkeypatch.setattr(client, "WAITS", (1.0,))
    arrange(hub)
    assert run(READING) == 5
    printed = capsys.readouterr().err
    assert said in printed
    assert "Traceback" not in printed
    assert SECRET not in printed
    assert run([*READING, "--json"]) in (0, 5)
    assert not (place / "out").exists() or hub.faults
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] or answer["error"]["code"].startswith("E-HUB")
    hub.faults.clear()


@pytest.mark.parametrize(
    ("pattern", "status", "headers", "said"),
    [
        ("POST /api/repos/create", 403, {}, "the Hub forbids it"),
        ("POST .*/commit/", 403, {}, "the Hub forbids it"),
        ("POST .*/commit/", 412, {}, "has changed in the meantime"),
        ("POST .*/commit/", 409, {}, "has changed in the meantime"),
        (
            "POST .*/preupload/",
            401,
            {"X-Error-Message": "Invalid credentials in Authorization header"},
            "does not accept the token",
        ),
        ("POST /api/validate-yaml", 400, {}, "the Hub rejects README.md"),
        ("PUT /lfs/", 400, {}, "the Hub answers 400"),
    ],
)
def test_every_refusal_to_take_something_has_its_words(
    hub: Hub,
    place: Path,
    capsys: pytest.CaptureFixture[str],
    pattern: str,
    status: int,
    headers: dict[str, str],
    said: str,
) -> None:
    before = tree(place)
    hub.faults = [Fault(pattern, status, count=9, headers=headers)]
    assert run(PUSHING) == 5
    printed = capsys.readouterr().err
    assert said in printed, printed
    assert SECRET not in printed
    assert tree(place) == before
    assert "me/new" not in hub.repos or len(hub.repos["me/new"].history()) == 1


def test_what_exists_and_is_not_seen(hub: Hub, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.put("me/new", {"config.txt": b""})
    hub.faults = [Fault("GET /api/models/me/new", 404, count=9, headers={"X-Error-Code": "RepoNotFound"})]
    assert run(PUSHING) == 5
    assert "me/new: cannot be seen by this account" in capsys.readouterr().err


def test_offline_nothing_is_pushed(
    hub: Hub, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert run(PUSHING) == 5
    assert "pushing needs the Hub, and HF_HUB_OFFLINE is set" in capsys.readouterr().err
    assert not hub.log


def test_without_a_token_nothing_is_tried(
    hub: Hub, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert run(PUSHING) == 5
    assert "pushing needs a token" in capsys.readouterr().err
    assert not hub.log


def test_a_body_that_is_cut_off_is_gone_on_with(hub: Hub, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.faults = [Fault("GET .*safetensors", "short", count=2, skip=1)]
    assert run(READING) == 0, capsys.readouterr().err
    assert run(["truncate", str(place.parent / "a"), "--rank", "1", "-o", "local"]) == 0
    assert tree(place / "out")[WEIGHTS] == tree(place / "local")[WEIGHTS]


@pytest.mark.parametrize("option", [[], ["--verify-inputs"]], ids=" ".join)
@pytest.mark.parametrize("pattern", ["GET .*safetensors", "GET .*adapter_config.json"])
def test_other_bytes_of_the_same_size_are_found(
    hub: Hub, place: Path, capsys: pytest.CaptureFixture[str], pattern: str, option: list[str]
) -> None:
    hub.faults = [Fault(pattern, "wrong", count=9, skip="safetensors" in pattern and not option)]
    assert run(["merge", "me/a", "-o", "out", *option]) == 3
    printed = capsys.readouterr().err
    assert (
        "is damaged: its hash is" in printed
        or "is not the file whose header the Hub sent" in printed
        or "not a safetensors file" in printed
    )
    assert not (place / "out").exists()


def test_a_base_that_stops_coming_leaves_nothing(
    hub: Hub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.put("me/base", write_base(tmp_path / "base"))
    tuned = str(write_tuned(tmp_path / "tuned"))
    hub.faults = [Fault("model-00003.*", 403, count=9, skip=1)]
    assert run(["fuse", "me/base", tuned, "-o", "out"]) == 5
    assert "model-00003-of-00004.safetensors" in capsys.readouterr().err
    assert {path.name for path in place.iterdir()} == {"new"}
    hub.faults.clear()
    hub.log.clear()
    assert run(["fuse", "me/base", tuned, "-o", "out"]) == 0
    assert not hub.asked("GET .*model-00001-of-00004.safetensors"), "what came is kept"


def test_the_hub_is_down_and_the_cache_is_enough(hub: Hub, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["truncate", "me/a", "--rank", "1", "-o", "one"]) == 0
    hub.faults = [Fault("", 503, count=99)]
    hub.waits.clear()
    assert run(READING) == 0
    assert hub.waits == [1.0], "for what is here nobody waits long"
    assert "as the cache has it; the Hub has a failure of its own (503)" in capsys.readouterr().err
    assert tree(place / "out") == tree(place / "one")


@pytest.mark.parametrize("pattern", ["xet-write-token", "POST .*/preupload/", "POST .*/commit/"])
@pytest.mark.parametrize("action", [503, "drop", "lose"])
def test_pushing_through_xet_is_tried_again(
    hub: Hub,
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
    action: int | str,
) -> None:
    if not hasattr(pytest.importorskip("hf_xet"), "XetSession"):
        pytest.skip("this hf_xet has no local store")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    hub.xet = tmp_path / "store"
    hub.xet.mkdir()
    hub.faults = [Fault(pattern, action)]
    assert run(PUSHING) == 0, capsys.readouterr().err
    assert hub.faults[0].count == 0
    assert not hub.asked("PUT /lfs")
    assert len(hub.repos["me/new"].history()) == 2
    assert run(PUSHING) == 0
    assert len(hub.repos["me/new"].history()) == 2


def test_a_fusion_that_stopped_goes_on(
    hub: Hub, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was finished from one download is known again from the cache."""
    hub.put("me/base", write_base(tmp_path / "base"))
    hub.put("me/tuned", write_tuned(tmp_path / "tuned"))
    command = ["fuse", "me/base", "me/tuned", "-o", "out", "--workers", "1", "--resume"]
    process = begun(hub, tmp_path, command)

    def kill() -> None:
        hub.silence.wait(2)
        process.signal(signal.SIGKILL)

    hub.faults = [Fault("GET .*model-00003-of-00004.safetensors$", kill, skip=1)]
    assert process.end().code == -signal.SIGKILL
    (left,) = place.glob(".out.adapterops-*")
    finished = [path.name for path in left.glob("model-0000[12]*")]
    ended = begun(hub, tmp_path, command).end()
    assert ended.code == 0, ended
    assert finished
    assert not list(place.glob(".out.adapterops-*"))
    assert run(["verify", "out", "--base", str(tmp_path / "base"), "--adapter", str(tmp_path / "tuned")]) == 0
