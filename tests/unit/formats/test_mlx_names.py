"""What MLX-LM calls modules, by its own source."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from adapterops.errors import UnsupportedError
from adapterops.formats.mlx_names import OUTER, check_named, in_mlx

LM = find_spec("mlx_lm")


@pytest.mark.skipif(LM is None, reason="MLX has wheels for Linux on x86 and for macOS")
def test_the_types_are_those_of_its_source() -> None:
    assert LM is not None
    folder = Path(str(LM.origin)).parent
    found = {
        path.stem
        for path in (folder / "models").glob("*.py")
        if (model := re.search(r"^class Model\(nn\.Module\):.*?(?=^class |\Z)", path.read_text(), re.S | re.M))
        and re.search(r"self\.language_model = ", model[0])
    }
    table = re.search(r"MODEL_REMAPPING = \{(.*?)\n\}", (folder / "utils.py").read_text(), re.S)
    assert table
    others = {name for name, other in re.findall(r'"(.+?)": "(.+?)"', table[1]) if other in found}
    assert {*found, *others} <= set(OUTER)
    assert set(OUTER) - found - others == {"qwen3_5_moe"}  # a class of its own, of that of qwen3_5


@pytest.mark.parametrize(
    "name", ["model.layers.0.q", "model.language_model.layers.0.q", "language_model.model.layers.0.q"]
)
def test_every_name_is_that_of_the_model(name: str) -> None:
    assert in_mlx(name, {"model_type": "gemma3"}) == "language_model.model.layers.0.q"
    assert in_mlx(name, {"model_type": "gemma3n"}) == "model.language_model.layers.0.q"
    assert in_mlx(name, {"model_type": "llama"}) == in_mlx(name, None) == name


def test_only_a_base_shows_which_it_is() -> None:
    check_named(["model.layers.0.q"], None)
    check_named(["model.language_model.layers.0.q"], {"model_type": "gemma3n"})
    with pytest.raises(UnsupportedError, match="sees or hears"):
        check_named(["model.language_model.layers.0.q"], None)
