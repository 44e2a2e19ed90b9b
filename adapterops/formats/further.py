"""Files in the folder of an adapter that may hold trained weights of their own: no command on adapters reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adapterops.errors import InputError
from adapterops.storage.place import PICKLES, Place

NO_WEIGHTS = ("optimizer", "scheduler", "scaler", "rng_state", "training_args", "trainer_state", "random_states")
"""How the files begin that trainers save with an adapter and that hold no weights."""

SAME = ("adapter_model.bin", "adapter_model.pt")
"""What older versions of PEFT save the adapter itself to."""


def further_weights(place: Place, weights: Path) -> tuple[Path, ...]:
    """The files in the folder of an adapter that may hold trained weights, but for the adapter's own. By name alone.

    An adapter that is named by its file is that file and its config: then there are none.
    """
    if not place.folder:
        return ()
    return tuple(
        path
        for path in Place(weights.parent, place.remote).entries()
        if path.suffix in (".safetensors", *PICKLES)
        and path != weights
        and path.name not in SAME
        and not path.name.startswith((".", *NO_WEIGHTS))
    )


def check_none_left_out(place: Place, weights: Path, further: Sequence[Path]) -> None:
    """Raise InputError if there are further files of weights, which a result would lack."""
    if further:
        names = ", ".join(path.name for path in further)
        raise InputError(
            f"has files that may hold trained weights, which would be left out: {names}",
            path=place,
            hint=f"name {place.inner(weights)} to take the adapter without them",
            code="E-FURTHER",
        )
