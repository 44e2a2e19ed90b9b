"""Environments with nothing but what is named: links to what is installed here, so that nothing is downloaded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# pip takes 0 for "no isolation": of an option that begins with no-, the variable is what it sets
OFFLINE = {
    "PIP_NO_INDEX": "1",
    "PIP_NO_BUILD_ISOLATION": "0",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_COMPILE": "1",
}


def done(*command: object, cwd: Path, code: int = 0, env: Mapping[str, str] | None = None) -> str:
    """What a command prints, on both streams."""
    result = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}
    )
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout + result.stderr


def required(names: list[str]) -> dict[str, Distribution]:
    """The installed distributions that these need, and what those need, without any extra."""
    found: dict[str, Distribution] = {}
    todo = [(Requirement(name), "") for name in names]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        there = found.setdefault(canonicalize_name(requirement.name), distribution(requirement.name))
        assert requirement.specifier.contains(there.version, prereleases=True), requirement
        new = [(Requirement(each), asked) for each in there.requires or () for asked in ("", *requirement.extras)]
        todo += [each for each in new if canonicalize_name(each[0].name) not in found]
    return found


def environment(place: Path, names: list[str], *, pip: bool = False) -> Path:
    """The scripts of a new environment with these distributions, and with pip or without."""
    place.mkdir(exist_ok=True)
    done(sys.executable, "-m", "venv", "--without-pip", place, cwd=place)
    (site,) = place.glob("lib/python*/site-packages")
    for each in required([*names, "pip"] if pip else names).values():
        for top in {file.parts[0] for file in each.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(each.locate_file(top))
    if pip:
        script = place / "bin/pip"
        script.write_text(
            f"#!{place}/bin/python\nfrom pip._internal.cli.main import main\n\nraise SystemExit(main())\n"
        )
        script.chmod(0o755)
    return place / "bin"


def path_of(scripts: Path) -> dict[str, str]:
    """The environment variables with which a shell finds these scripts, and installs offline."""
    return {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", **OFFLINE}
