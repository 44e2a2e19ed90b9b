"""Chromium without a window, where one is installed: pages as a person sees them. It is spoken to through two pipes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

PROGRAM = next(
    (
        name
        for name in ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
        if shutil.which(name)
    ),
    None,
)
START = 'exec 3<"/proc/self/fd/$1" 4>"/proc/self/fd/$2"; shift 2; exec "$@"'


@dataclass
class Browser:
    """A tab. `messages` are what it logged: refused scripts and styles, errors."""

    commands: BinaryIO
    answers: BinaryIO
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    session: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one command of the DevTools protocol."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.commands.write(json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == number:
                assert "error" not in found, found
                result: dict[str, Any] = found["result"]
                return result

    def _next(self) -> dict[str, Any]:
        """The next message; what is no answer is kept."""
        text = bytearray()
        while not text.endswith(b"\0"):
            byte = self.answers.read(1)
            assert byte, "the browser ended"
            text += byte
        found: dict[str, Any] = json.loads(text[:-1])
        if "id" not in found:
            self.events.append(found)
        return found

    def open(self, page: Path, width: int, dark: bool = False, script: bool = True) -> None:
        """Load a page in a window of this width."""
        scheme = "dark" if dark else "light"
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.ask("Emulation.setScriptExecutionDisabled", value=not script)
        self.events.clear()
        self.ask("Page.navigate", url=page.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._next()

    def value(self, expression: str) -> Any:
        """What JavaScript makes of an expression, by the debugger's leave and not the page's."""
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def settle(self) -> None:
        """Wait until what was done is drawn, and its events are handled."""
        drawn = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        self.ask("Runtime.evaluate", expression=drawn, awaitPromise=True)

    def press(self, key: str) -> None:
        """A key, as a keyboard gives it."""
        code = {"Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Escape": 27}[key]
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def point(self, x: float, y: float) -> None:
        """Move the mouse there."""
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    @property
    def messages(self) -> list[str]:
        logged = [
            event["params"] for event in self.events if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")
        ]
        return [json.dumps(each) for each in logged]


@contextmanager
def browser() -> Iterator[Browser]:
    """One that runs as long as the block."""
    here, there = os.pipe(), os.pipe()
    program = [str(PROGRAM), "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
    process = subprocess.Popen(
        ["sh", "-c", START, "sh", str(here[0]), str(there[1]), *program],
        pass_fds=(here[0], there[1]),
        stderr=subprocess.DEVNULL,
    )
    os.close(here[0])
    os.close(there[1])
    with os.fdopen(here[1], "wb", 0) as commands, os.fdopen(there[0], "rb") as answers:
        try:
            found = Browser(commands, answers)
            target = found.ask("Target.createTarget", url="about:blank")["targetId"]
            found.session = found.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Log", "Runtime"):
                found.ask(f"{domain}.enable")
            yield found
        finally:
            process.kill()
            process.wait()
