"""`adapterops push`"""

from __future__ import annotations

from pathlib import Path

import click

from adapterops.cli import options, output, values
from adapterops.cli.sections import Sectioned
from adapterops.cli.terminal import quiet
from adapterops.hub.references import Reference


@click.command("push", cls=Sectioned)
@click.argument("folder", type=values.LOCAL)
@click.argument("repo", type=values.REPO)
@click.option(
    "--private/--public",
    default=None,
    help="Visibility that the repository must have.  [default: the one it has, or the Hub's for new ones]",
)
@click.option("--create-pr", is_flag=True, help="Open a pull request instead of committing.")
@click.option("-m", "--message", help="Message of the commit.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print what would be sent, and send nothing; waits for the Hub three seconds at most.",
)
@options.quieted
@options.as_json
@options.strict
def command(
    folder: Path,
    repo: Reference,
    private: bool | None,
    create_pr: bool,
    message: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """The output of a command, to a repository on the Hub: weights, config, tokenizer, manifest and a card, in one commit.

    The repository is made if it does not exist. What it has already is not sent again; where it has everything, nothing
    is committed. The token is HF_TOKEN, or that of `hf auth login`.

    \b
    adapterops push merged owner/merged --private
    adapterops push merged owner/merged --create-pr --message "TIES of a and b"
    """
    from adapterops.requests.sending import push

    done = push(folder, repo, private=private, create_pr=create_pr, message=message, dry_run=dry_run)
    with output.written(folder) if dry_run else output.written(Path(done.url or done.repo)):
        if as_json:
            output.print_json("push", {"dry_run": dry_run, **done.__dict__})
            return
        if quiet() and not dry_run:
            return
        verb = "would push" if dry_run else "pushed"
        if not done.files and not done.removed:
            output.line(f"nothing new in {folder}: {done.repo} has it all")
        else:
            removed = f", and remove {', '.join(done.removed)}" if done.removed else ""
            output.line(
                f"{verb} {folder} to {done.repo}: {', '.join(done.files)}{removed}; {output.amount(done.bytes, 'B')}"
            )
        if not done.compared:
            output.line(f"  {done.reason}: what the repository has, and whether you may write to it, was not checked")
        if done.left_out:
            output.line(f"  not sent: {', '.join(done.left_out)}")
        if done.pull_request or done.url:
            output.line(f"  {done.pull_request or done.url}")
