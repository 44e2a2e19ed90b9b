"""Files in the folder of an adapter that may hold trained weights of their own: no command on adapters reads them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from adapterops.errors import InputError
from adapterops.formats.adapter_files import CONFIG, WEIGHTS
from adapterops.regex import Regex
from adapterops.storage.place import PICKLES, Place

HELD = (".safetensors", *PICKLES, ".ckpt", ".pkl", ".npz", ".h5", ".msgpack")
"""How files end that may hold weights."""

NO_WEIGHTS = Regex(
    r"(?:optimizer|scheduler|scaler|rng_state|random_states|training_args|trainer_state|recipe_state)(?:_states?)?(?:[._-]\d+)*\.\w+"
)
"""What trainers save with an adapter and that holds no weights."""

SAME = ("adapter_model.bin", "adapter_model.pt")
"""What older versions of PEFT save the adapter itself to."""

EARLIER = Regex(r"\d+_adapters\.safetensors|adapters\.npz")
"""What MLX-LM keeps of earlier steps, and what older versions of it save the adapter itself to."""

STEPS = Regex(r"(?:tmp-)?(?:checkpoint|global_step|epoch|step|iter)s?[-_]?\d*")
"""The folder of an earlier step of the training."""

WHOLE = ("generation_config.json", "tokenizer_config.json")
"""What a model has that is used by itself, and no part of one: the adapter merged into its base, mostly."""

DEPTH = 3
"""Folders in folders that are looked into."""

PART = Regex(r"adapter_model-0*([1-9]\d*)-of-0*([2-9]|[1-9]\d+)\.(?:safetensors|bin)")
"""The name of one file of an adapter in several."""


IN_PARTS = {
    r".*\.distcp|pytorch_model_fsdp_\d+": "torch's distributed checkpoint, which accelerate merge-weights FOLDER OUT makes one file of",
    r"(?:\w+_)?mp_rank_\d+_model_states\.pt|zero_to_fp32\.py": "DeepSpeed's checkpoint, which its zero_to_fp32.py makes one file of",
    r"model_world_size_\d+_rank_\d+\.pt": "a checkpoint of verl, which python -m verl.model_merger merge makes a model of",
}
"""Names of what a training on several processors leaves → what that is, and what puts it together."""


def of_training(names: Iterable[str]) -> str | None:
    """What to do about files that are the parts of a training's state; None where there are none.

    >>> of_training(["latest", "zero_to_fp32.py"])
    "these are parts of DeepSpeed's checkpoint, which its zero_to_fp32.py makes one file of"
    """
    found = (by for name in names for pattern, by in IN_PARTS.items() if re.fullmatch(pattern, name))
    by = next(found, None)
    return by and f"these are parts of {by}"


def further_weights(place: Place, weights: Path) -> tuple[str, ...]:
    """The files in the folder of an adapter that may hold trained weights, but for the adapter's own. By name alone.

    An adapter that is named by its file is that file and its config: then there are none.
    """
    if not place.folder:
        return ()
    found = held_files(replace(place, path=weights.parent), [weights], DEPTH)
    return tuple(path.relative_to(weights.parent).as_posix() for path in found)


def inner_adapters(folder: Path) -> list[Path]:
    """The adapters in folders of a model's, as verl has one next to the base that it was trained on."""
    return sorted(path.parent for path in folder.glob(f"*/{WEIGHTS}"))


def check_whole(place: Place) -> None:
    """Raise InputError for one file of an adapter that is in several, or a folder with nothing but these: no program loads
    them, and one alone is a part of the update.
    """
    names = [path.name for path in place.entries()] if place.folder else [place.path.name]
    part = next(filter(None, map(PART.fullmatch, names)), None)
    if part is None or WEIGHTS in names:
        return
    first, count = map(int, part.groups())
    raise InputError(
        f"is an adapter in {count} files, such as {part[0]}"
        if place.folder
        else f"is file {first} of {count} of an adapter",
        path=place,
        hint=f"PEFT loads adapters of one file: put the tensors of all {count} into {WEIGHTS}, next to {CONFIG}",
        code="E-FOLDER",
    )


def held_files(folder: Place, taken: Collection[Path], depth: int) -> Iterator[Path]:
    """The files in a folder that may hold weights, but for those that are `taken`, and after them those in its folders."""
    inside = [path for path in folder.entries() if not path.name.startswith(".")]
    for path in inside:
        own = path in taken or path.name in SAME or EARLIER.fullmatch(path.name)
        if path.suffix in HELD and not own and not NO_WEIGHTS.fullmatch(path.name):
            yield path
    for path in inside if depth else ():
        inner = replace(folder, path=path)
        if not STEPS.fullmatch(path.name) and inner.folder and not _is_by_itself(inner):
            yield from held_files(inner, taken, depth - 1)


def _is_by_itself(folder: Place) -> bool:
    """Whether a folder in that of an adapter is another adapter, or a whole model."""
    return any(folder.has(folder.path / name) for name in (CONFIG, WEIGHTS, *SAME, *WHOLE))


def check_none_left_out(place: Place, weights: Path, further: Sequence[str]) -> None:
    """Raise InputError if there are further files of weights, which a result would lack."""
    if further:
        raise InputError(
            f"has files that may hold trained weights, which would be left out: {', '.join(further)}",
            path=place,
            hint=f"name {place.inner(weights)} to take the adapter without them",
            code="E-FURTHER",
        )
