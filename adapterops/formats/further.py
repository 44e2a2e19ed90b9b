"""Files in the folder of an adapter that may hold trained weights of their own: no command on adapters reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from adapterops.errors import InputError
from adapterops.storage.place import PICKLES, Place

HELD = (".safetensors", *PICKLES, ".ckpt", ".pkl", ".npz", ".h5", ".msgpack")
"""How files end that may hold weights."""

NO_WEIGHTS = re.compile(
    r"(?:optimizer|scheduler|scaler|rng_state|random_states|training_args|trainer_state)(?:_states?)?(?:[._-]\d+)*\.\w+"
)
"""What trainers save with an adapter and that holds no weights."""

SAME = ("adapter_model.bin", "adapter_model.pt")
"""What older versions of PEFT save the adapter itself to."""

EARLIER = re.compile(r"\d+_adapters\.safetensors|adapters\.npz")
"""What MLX-LM keeps of earlier steps, and what older versions of it save the adapter itself to."""

STAGE = re.compile(r"\d+_[A-Z]\w*")
"""The folder of what sentence-transformers puts after a model: `2_Dense` is trained with the adapter."""


def further_weights(place: Place, weights: Path) -> tuple[str, ...]:
    """The files in the folder of an adapter that may hold trained weights, but for the adapter's own. By name alone.

    An adapter that is named by its file is that file and its config: then there are none.
    """
    if not place.folder:
        return ()
    folder = replace(place, path=weights.parent)
    found = [*_held(folder, weights)]
    for inner in folder.entries():
        if STAGE.fullmatch(inner.name) and (stage := replace(place, path=inner)).folder:
            found += _held(stage, weights)
    return tuple(path.relative_to(weights.parent).as_posix() for path in found)


def _held(folder: Place, weights: Path) -> Iterator[Path]:
    for path in folder.entries():
        own = path == weights or path.name in SAME or EARLIER.fullmatch(path.name)
        if path.suffix in HELD and not own and not path.name.startswith(".") and not NO_WEIGHTS.fullmatch(path.name):
            yield path


def check_none_left_out(place: Place, weights: Path, further: Sequence[str]) -> None:
    """Raise InputError if there are further files of weights, which a result would lack."""
    if further:
        raise InputError(
            f"has files that may hold trained weights, which would be left out: {', '.join(further)}",
            path=place,
            hint=f"name {place.inner(weights)} to take the adapter without them",
            code="E-FURTHER",
        )
