"""`adapterops gram`"""

from __future__ import annotations

import os
from pathlib import Path

import click

from adapterops.checkpoints.opening import open_checkpoint
from adapterops.cli import options, values
from adapterops.cli.output import amount, line, print_json, progress, written
from adapterops.cli.sections import Sectioned
from adapterops.cli.terminal import quiet
from adapterops.errors import InputError, OptionError, count
from adapterops.storage.documents import check_documents, write_documents
from adapterops.storage.grams import MARK, grams_file
from adapterops.storage.place import Place
from adapterops.storage.strict import open_regular, reading

LIMIT = 512


@click.command("gram", cls=Sectioned)
@click.argument("model", type=values.SOURCE)
@click.argument("texts", type=values.LOCAL)
@click.option(
    "--adapter",
    type=values.SOURCE,
    metavar="SOURCE",
    help="The adapter that will be fused; it is active in the model.  [default: none, and all layers]",
)
@click.option("--limit", type=values.COUNT, default=LIMIT, show_default=True, help="Lines of TEXTS that are used.")
@options.alpha
@options.allow_pickle
@options.output("grams.safetensors", help="File to write.")
@click.option("--force", is_flag=True, help="Replace a file of adapterops, after the new one is complete.")
@options.quieted
@options.as_json
@options.strict
def command(
    model: Place,
    texts: Path,
    adapter: Place | None,
    limit: int,
    alpha: float | None,
    allow_pickle: bool,
    out: Path,
    force: bool,
    as_json: bool,
) -> None:
    """What the modules of a model take in over the lines of TEXTS, in UTF-8: for each the mean of x xᵀ over all tokens.

    The model is run by transformers, with its own tokenizer, and with --adapter by PEFT. A few hundred lines like those
    that the adapter is for are enough.

    \b
    adapterops gram base-nf4 lines.txt --adapter my-adapter -o grams.safetensors
    adapterops fuse base-nf4 my-adapter --rounding calibrated --grams grams.safetensors -o fused
    """
    from adapterops.adapters.opening import open_adapter
    from adapterops.live import grams as live
    from adapterops.provenance.history import key

    checkpoint = open_checkpoint(model, allow_pickle=allow_pickle)
    live.check_runnable(checkpoint, adapter is not None)
    there = None if adapter is None else open_adapter(adapter, alpha=alpha, allow_pickle=allow_pickle)
    check_documents({out: MARK}, [texts], force)
    lines = _lines(texts, limit)
    with progress("running") as report:
        found = live.grams(checkpoint, lines, there, report)
    data = grams_file(found.modules, found.tokens, None if there is None else key(there.history))
    write_documents({out: data}, force)
    document = {
        "path": str(out),
        "modules": len(found.modules),
        "tokens": found.tokens,
        "texts": found.texts,
        "bytes": len(data),
    }
    with written(out):
        if as_json:
            print_json("grams", document)
            return
        if quiet():
            return
        line(f"wrote {out}: inputs of {count(len(found.modules), 'module')}, {amount(len(data), 'B')}")
        line(f"  {count(found.tokens, 'token')} of {count(found.texts, 'text')}")


def _lines(texts: Path, limit: int) -> list[str]:
    """The first lines that are not empty."""
    try:
        with os.fdopen(open_regular(texts), encoding="utf-8") as file, reading(texts):
            found = [
                each.strip() for each, _ in zip((text for text in file if text.strip()), range(limit), strict=False)
            ]
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8", path=texts, hint="give a text file, one text a line") from error
    if not found:
        raise OptionError("has no line with text", path=texts, hint="give a text file, one text a line")
    return found
