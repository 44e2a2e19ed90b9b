"""Rounding onto the grid of a quantized base:
what erases an update, and whether an original is the model that was quantized.
"""

from __future__ import annotations

import warnings

from adapterops.arrays.scratch import Scratch
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import AdapterWarning, IncompatibleError, OptionError, UnsupportedError, at, count
from adapterops.formats.models.converted import EXPERT
from adapterops.quant.registry import has_codes, is_kept, is_written
from adapterops.quant.scheme import CALIBRATED

RELATIVE, ANOTHER = 0.03, 0.5
"""How far, as a fraction, what codes stand for may be from the model that was quantized:
beyond, a warning, and an error.
"""


def check_rounding(checkpoint: Checkpoint, instead: str = "") -> None:
    """Raise OptionError where an update would be rounded to nearest on the grid that the weight is on,
    unless that was asked for. `instead`: the way out of what does not fuse.
    """
    names = [name for name in checkpoint.changed if checkpoint.on_grid(name)] if checkpoint.rounding is None else []
    if names:
        scheme = checkpoint.schemes[names[0]]
        weights = f"{count(len(names), 'adapted weight')} of the base stored in {scheme.name}"
        if is_written(scheme):
            fact = f"{weights}: rounding to nearest on that grid erases most of an update"
            fusing = f"fuse into the 16-bit model, with --quantize {scheme.name}; or take its numbers, with --original"
            hint = (
                f"{instead or fusing}; or --rounding stochastic; or write 16 bits, with --dtype bfloat16"
                f"{'' if instead else '; or load base and adapter unmerged'}"
            )
        elif is_kept(scheme):
            fact = f"{weights}, whose grid is kept: rounding to nearest loses changes below half a step of it"
            hint = (
                "--rounding stochastic rounds to it at random, so that the mean is right; or write 16 bits, with "
                "--dtype bfloat16, or 4, with --quantize nf4"
            )
        else:
            fact = f"{weights}, which is read and not written"
            hint = "write 16 bits, with --dtype bfloat16, or 4, with --quantize nf4"
        path = checkpoint.files.path if checkpoint.files else None
        raise OptionError(fact, path=path, hint=hint, code="E-GRID")
    if checkpoint.rounding == CALIBRATED:
        _check_grams(checkpoint)


def _check_grams(checkpoint: Checkpoint) -> None:
    """Raise IncompatibleError where a weight that is rounded by its inputs has no Gram matrix of them."""
    names = [name for name in checkpoint.changed if checkpoint.on_grid(name)]
    for name in names:
        scheme, matrix = checkpoint.schemes[name], len(checkpoint.layout[name].shape) == 2
        if not (has_codes(scheme) and matrix):
            what = scheme.name if matrix else f"{scheme.name} in one tensor for all experts"
            raise UnsupportedError(
                f"is stored in {what}, and calibrated rounding does not choose codes of that kind",
                tensor=name,
                path=checkpoint.files.path if checkpoint.files else None,
                hint="use --rounding stochastic",
                code="E-GRID",
            )
    without = [name for name in names if name not in checkpoint.grams]
    if without:
        experts = any(EXPERT.search(name) for name in without)
        makes = "adapterops gram makes them, for all modules, or with --adapter for those that it adapts"
        makes = f"{makes}; for an expert only if a token of the texts reaches it" if experts else makes
        raise IncompatibleError(
            f"{count(len(without), 'adapted weight')} in codes without a Gram matrix of the inputs",
            tensor=without[0],
            path=checkpoint.files.path if checkpoint.files else None,
            hint=f"{makes}; or --rounding stochastic",
            code="E-NAMES",
        )


def check_views(checkpoint: Checkpoint) -> None:
    """Whether the model whose numbers are taken is the one that was quantized: quantized, the first of them are what is
    there.

    Raises:
        IncompatibleError: they are another model's. Those of a relative of it are a warning.
    """
    for name in [name for name in checkpoint.views if name in checkpoint.stored and name in checkpoint.edits][:1]:
        import numpy as np
        import torch

        begin, end = next(iter(checkpoint.blocks(name)))
        with at(tensor=name):
            stored, original = (
                each.rows(begin, end, Scratch()) for each in (checkpoint.stored[name], checkpoint.views[name])
            )
        scheme = checkpoint.stored[name].scheme
        written = scheme if scheme and is_written(scheme) else None
        if written:
            original = (
                written.encoder(checkpoint.stored[name].shape)
                .rows(torch.from_numpy(original), begin)[1]()
                .float()
                .numpy()
            )
        distance = float(np.linalg.norm(original - stored) / max(float(np.linalg.norm(stored)), 1e-30))
        if RELATIVE < distance <= ANOTHER and written:
            warnings.warn(
                f"{name}: the original, quantized, is {distance:.0%} away from the base: was the base made from it?",
                AdapterWarning,
                stacklevel=2,
            )
        if distance > ANOTHER:
            raise IncompatibleError(
                f"the original is {distance:.0%} away from what the base's codes stand for",
                path=checkpoint.files.path if checkpoint.files else None,
                tensor=name,
                hint="give the 16-bit model that this one was quantized from",
                code="E-NAMES",
            )
