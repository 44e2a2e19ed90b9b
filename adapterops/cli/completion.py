"""`adapterops --install-completion`: the shell completes commands, options, methods and paths."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from adapterops.errors import OptionError

NAME, VARIABLE = "adapterops", "_ADAPTEROPS_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
THIS = "this"
COMPINIT = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }\n"
"""A zsh without completion of its own has no `compdef`."""


def install(context: click.Context, option: click.Parameter, shell: str | None) -> None:
    """Write the script of a shell, have its start-up file read it, and end the command.

    Raises:
        OptionError: it is none of `SHELLS`.
    """
    if shell is None or context.resilient_parsing:
        return
    name = Path(os.environ.get("SHELL", "")).name if shell == THIS else shell
    found = get_completion_class(name)
    if found is None or name not in SHELLS:
        raise OptionError(
            f"the shell is {name!r}, and completion is for {', '.join(SHELLS)}",
            hint="name one of them: adapterops --install-completion bash",
        )
    script = _script(name)
    script.parent.mkdir(parents=True, exist_ok=True)
    source = found(context.command, {}, NAME, VARIABLE).source()
    script.write_text((COMPINIT if name == "zsh" else "") + source, encoding="utf-8")
    click.echo(f"wrote {script}")
    if (start := _start(name)) is not None and _added(start, f"source {shlex.quote(str(script))}"):
        click.echo(f"added a line to {start} that reads it")
    click.echo("it works in shells that are started from now on")
    context.exit()


def _script(shell: str) -> Path:
    """Where the script goes: fish finds it there by itself."""
    if shell == "fish":
        return _home("XDG_CONFIG_HOME", ".config") / "fish/completions" / f"{NAME}.fish"
    return _home("XDG_DATA_HOME", ".local/share") / NAME / f"completion.{shell}"


def _start(shell: str) -> Path | None:
    if shell == "zsh":
        return Path(os.environ.get("ZDOTDIR") or Path.home()) / ".zshrc"
    return Path.home() / ".bashrc" if shell == "bash" else None


def _home(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default)


def _added(start: Path, line: str) -> bool:
    """Add a line to a start-up file, unless it is there."""
    text = start.read_text(encoding="utf-8", errors="surrogateescape") if start.exists() else ""
    if line in text.splitlines():
        return False
    gap = "" if not text or text.endswith("\n") else "\n"
    with start.open("a", encoding="utf-8") as file:
        file.write(f"{gap}{line}\n")
    return True
