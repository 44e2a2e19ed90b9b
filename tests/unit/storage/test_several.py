"""Several files as one: each tensor is read from the file that has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from adapterops.storage.safetensors import SafetensorsFile
from adapterops.storage.several import SeveralFiles


def test_tensors_come_from_the_file_that_has_them(tmp_path: Path) -> None:
    arrays = {name: np.full((2, 3), number, np.float32) for number, name in enumerate("abc")}
    save_file({"a": arrays["a"]}, tmp_path / "1.safetensors", {"of": "the first"})
    save_file({"b": arrays["b"], "c": arrays["c"]}, tmp_path / "2.safetensors")
    files = [SafetensorsFile(tmp_path / f"{number}.safetensors") for number in (1, 2)]
    several = SeveralFiles(files)
    assert list(several.entries) == ["a", "b", "c"]
    assert (several.path, several.metadata) == (tmp_path / "1.safetensors", {"of": "the first"})
    for name, array in arrays.items():
        np.testing.assert_array_equal(several.array(name), array)
        np.testing.assert_array_equal(several.array(name, (1, 2)), array[1:])
        assert bytes(several.read(name, 4, 8)) == array.tobytes()[4:8]
        assert b"".join(map(bytes, several.chunks(name))) == array.tobytes()
    assert several.holder["c"] is files[1]
