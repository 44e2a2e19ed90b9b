"""`adapterops card`"""

from __future__ import annotations

from pathlib import Path

import click

from adapterops.cli import options, output, values
from adapterops.cli.sections import Sectioned
from adapterops.hub.references import Reference
from adapterops.storage.place import Place


@click.command("card", cls=Sectioned)
@click.argument("folder", type=values.LOCAL, default=".")
@click.option("--repo", type=values.REPO, help="The repository that it is for.  [default: the folder itself]")
@click.option("--base", type=values.SOURCE, help="The model of an adapter: its config.json says what loads it.")
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path, readable=False),
    help="File to write; - prints it.  [default: -]",
)
@click.option("--force", is_flag=True, help="Replace a card of adapterops.")
@options.as_json
@options.strict
def command(
    folder: Path, repo: Reference | None, base: Place | None, out: Path | None, force: bool, as_json: bool
) -> None:
    """The card of what is in a folder, as push writes it: what it is, how it was made, what was kept, and how it is
    loaded. Nothing is sent.

    \b
    adapterops card merged
    adapterops card merged --repo owner/merged -o merged/README.md
    """
    from adapterops.requests.sending import card

    out = None if str(out) == "-" else out
    text = card(folder, repo=repo.repo if repo else None, base=base, out=out, force=force)
    with output.written(out or folder):
        if as_json:
            output.print_json("card", {"path": None if out is None else str(out), "text": text})
        elif out is None:
            output.text(text)
        else:
            output.line(f"wrote {out}: {output.amount(len(text.encode()), 'B')}")
