"""`--install-completion` writes the script of a shell once, and bash completes with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adapterops.cli.main import run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("shell", "script", "start"),
    [
        ("bash", ".local/share/adapterops/completion.bash", ".bashrc"),
        ("zsh", ".local/share/adapterops/completion.zsh", ".zshrc"),
        ("fish", ".config/fish/completions/adapterops.fish", None),
    ],
)
def test_the_script_is_read_once(
    home: Path, shell: str, script: str, start: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if start:
        (home / start).write_text("alias ll='ls -l'")
    for _ in range(2):
        assert run(["--install-completion", shell]) == 0
    assert f"wrote {home / script}" in capsys.readouterr().out
    assert "_ADAPTEROPS_COMPLETE" in (home / script).read_text()
    if start:
        assert (home / start).read_text() == f"alias ll='ls -l'\nsource {home / script}\n"


def test_the_shell_is_that_of_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert run(["--install-completion"]) == 0
    assert (home / ".config/fish/completions/adapterops.fish").exists()


def test_other_shells_have_none(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--install-completion", "tcsh"]) == 2
    assert "the shell is 'tcsh', and completion is for bash, zsh, fish" in capsys.readouterr().err
    assert list(home.iterdir()) == []


def shell(*command: str) -> str:
    """What a shell prints that finds `adapterops` first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "TERM": "xterm"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes(home: Path) -> None:
    assert run(["--install-completion", "bash"]) == 0
    asked = (
        "source ~/.bashrc; COMP_WORDS=(adapterops mer); COMP_CWORD=1; "
        'COMP_TYPE=9 _adapterops_completion adapterops; echo "${COMPREPLY[@]}"'
    )
    assert shell("bash", "--norc", "-c", asked).split() == ["merge"]


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [("adapterops mer", "merge"), ("adapterops merge a --dtype bf", "bfloat16"), ("adapterops merge a --ti", "--ties")],
)
def test_fish_completes(home: Path, typed: str, expected: str) -> None:
    assert run(["--install-completion", "fish"]) == 0
    assert [line.split("\t")[0] for line in shell("fish", "-c", f"complete -C '{typed}'").splitlines()] == [expected]


KEYS = """zmodload zsh/zpty
zpty -b it zsh -i
zpty -w it 'bindkey "^I" complete-word; PS1="ready> "'
zpty -r it seen '*ready> *ready> *'
zpty -n -w it $'adapterops merge a --dtype bf\t'
zpty -r it seen '*bfloat16*'
print -r -- $seen
zpty -d it
"""


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_completes(home: Path) -> None:
    """A zsh at a terminal, with no start-up file but ours."""
    assert run(["--install-completion", "zsh"]) == 0
    assert shell("zsh", "-i", "-c", "print -r -- $_comps[adapterops]").split() == ["_adapterops_completion"]
    assert "bfloat16" in shell("timeout", "120", "zsh", "-f", "-c", KEYS)
