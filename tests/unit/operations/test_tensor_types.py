"""Which tensors of a GGUF model get another type."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from gguf_models import mixed, write
from turns import in_turn

import adapterops as ao
from adapterops.errors import IncompatibleError, OptionError
from adapterops.operations.tensor_types import TYPES, tensor_types, typed
from adapterops.quant.ggml_new import NEW, PLAIN

IN_GROUPS = set(NEW) - set(PLAIN)


def tensors(path: Path) -> dict[str, gguf.ReaderTensor]:
    return {each.name: each for each in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize(("kind", "architecture"), in_turn(TYPES, ["llama", "qwen2moe"]))
def test_those_that_are_named_are_written_as_gguf_does_and_nothing_else_changes(
    kind: str, architecture: str, tmp_path: Path
) -> None:
    """To nearest: nothing is added to them. Norms and routers keep their types."""
    path = write(tmp_path / "a.gguf", architecture, mixed)
    model = ao.rounding(ao.open_checkpoint(path), "stochastic", 0)
    ao.save_checkpoint(tensor_types(model, ["attn_q|ffn_down=F32", f"blk.1={kind.lower()}"]), tmp_path / "b.gguf")
    before, after = tensors(path), tensors(tmp_path / "b.gguf")
    for name, each in before.items():
        named = len(each.shape) > 1 and "ffn_gate_inp" not in name and name.endswith("weight")
        first = "attn_q" in name or "ffn_down" in name
        wanted = "F32" if first else kind
        if named and (first or "blk.1" in name):
            assert after[name].tensor_type.name == wanted
            numbers = gguf.dequantize(each.data, each.tensor_type)
            if wanted in IN_GROUPS:  # which gguf does not write
                found = gguf.dequantize(after[name].data, after[name].tensor_type)
                assert np.linalg.norm(found - numbers) < 0.35 * np.linalg.norm(numbers)
                continue
            expected = gguf.quantize(numbers, Type[wanted])
            assert (np.asarray(after[name].data) == expected).mean() > 0.9999
        else:
            assert after[name].tensor_type == each.tensor_type
            np.testing.assert_array_equal(after[name].data, each.data)


def test_what_is_asked_for_in_vain_is_said(tmp_path: Path) -> None:
    model = ao.open_checkpoint(write(tmp_path / "a.gguf", "llama", mixed))
    assert tensor_types(model, []) is model
    for given, said in {
        "attn_norm=Q8_0": "no tensor of more than one dimension",
        "Q8_0": r"no adapted tensor needs it(.|\n)*\^blk=Q8_0",
        "ffn_down=IQ3_S": "must be one of",
        "=": "must be one of",
        "(=Q8_0": "not a regular expression",
    }.items():
        with pytest.raises(OptionError, match=said):
            tensor_types(model, [given])
    with pytest.raises(IncompatibleError, match="is not a GGUF model"), pytest.warns(ao.AdapterWarning):
        tensor_types(ao.dequantize(model), ["Q8_0"])


def test_a_pattern_has_a_type() -> None:
    pattern, kind = typed(r"blk\.[01]\.ffn_down=q4_0")
    assert pattern
    assert pattern.pattern == r"blk\.[01]\.ffn_down"
    assert kind == "Q4_0"
    assert typed("bf16") == (None, "BF16")
