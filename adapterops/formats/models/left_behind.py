"""Files of weights in the folder of a model that no index names: they stay behind when it is rewritten."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path

from adapterops.errors import AdapterWarning, listed
from adapterops.formats.further import DEPTH, held_files
from adapterops.regex import Regex
from adapterops.storage.place import Place

FORMS = {"original", "metal", "onnx", "openvino", "coreml", "gguf", "flax", "tensorrt"}
"""Folders that have the same model in the form of another program."""

OWN = Regex(r"(?:model|pytorch_model|diffusion_pytorch_model|consolidated|tf_model|flax_model|rust_model)[._-].+")
"""Files of the same model in other divisions, dtypes and forms."""


def left_behind(place: Place, taken: Collection[Path]) -> tuple[str, ...]:
    """The files of weights in a folder and the folders in it, but for those that are `taken`, the same model in another form,
    and whole models and adapters in folders of their own. By name alone.
    """
    found = [path.relative_to(place.path) for path in held_files(place, taken, DEPTH)]
    return tuple(
        path.as_posix()
        for path in found
        if FORMS.isdisjoint(path.parts) and not (len(path.parts) == 1 and OWN.fullmatch(path.name))
    )


def say_left_behind(model: Path, left: Collection[str]) -> None:
    """Warn of what is `left_behind` of a model that is rewritten."""
    if left:
        warnings.warn(
            f"{model}: has weights in its folder that no index names, and that are not taken along: {listed([*left], 3)}; "
            "copy them, if what loads the model needs them",
            AdapterWarning,
            stacklevel=4,
        )
