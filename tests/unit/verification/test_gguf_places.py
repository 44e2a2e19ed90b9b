"""What the tensors of a GGUF model are, found a second time: no false alarm, and every fault of the first reading is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf_models
import pytest
from mutations import put

from adapterops.checkpoints.opening import open_checkpoint
from adapterops.formats import llama_cpp
from adapterops.formats.models import gguf_models as reading
from adapterops.storage.gguf_rows import GgufRows
from adapterops.verification.gguf_places import gguf_doubts

WRITTEN = {
    "llama": {},
    "phi3": {},
    "gemma3": {},
    "qwen2moe": {},
    "qwen3moe": {"joined": True},
    "mixtral": {"joined": True, "split_max_tensors": 7},
}
SPANS = reading._spans


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    place = tmp_path_factory.mktemp("files")

    def folder(architecture: str) -> Path:
        found = place / architecture
        if not found.exists():
            found.mkdir()
            gguf_models.write(found / "m.gguf", architecture, **WRITTEN[architecture])
        return found

    return folder


@pytest.mark.parametrize("architecture", WRITTEN)
def test_what_is_read_right(files: Callable[[str], Path], architecture: str) -> None:
    assert not list(gguf_doubts(open_checkpoint(files(architecture))))


def exchanged(table: Any, one: str, other: str) -> Callable[[pytest.MonkeyPatch], None]:
    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        was = table[one], table[other]
        monkeypatch.setitem(table, one, was[1])
        monkeypatch.setitem(table, other, was[0])

    return plant


def turned(modules: Any) -> Callable[[pytest.MonkeyPatch], None]:
    name = "ffn_gate_up_exps"
    return lambda monkeypatch: monkeypatch.setitem(modules, name, modules[name][::-1])


def swapped(name: str, one: str, other: str) -> str:
    return name.replace(one, "?").replace(other, one).replace("?", other)


def next_expert(*given: Any) -> Any:
    return ((swapped(name, "experts.0.", "experts.1."), span) for name, span in SPANS(*given))


def other_layer(*given: Any) -> tuple[str, ...]:
    return tuple(swapped(name, "layers.0.", "layers.1.") for name in llama_cpp.named(*given))


def as_stored(file: GgufRows, name: str, begin: int = 0, end: int | None = None) -> bytearray:
    return file._stored(name, begin, file.entries[name].spec.bytes if end is None else end)


LLAMA = llama_cpp.ARCHITECTURES["llama"]
FAULTS: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None]]] = {
    "no rows in pairs": ("llama", put("formats.models.gguf_models.field_of_heads", lambda *_: None)),
    "rows in pairs where there are none": ("gemma3", put("formats.llama_cpp.INTERLEAVED", ("gemma3",))),
    "the heads of queries for keys": ("llama", lambda patch: patch.setitem(llama_cpp.HEADS, "attn_k", llama_cpp.QUERY)),
    "pairs as they are stored": ("llama", put("storage.gguf_rows.GgufRows.read", as_stored)),
    "keys for values": ("llama", exchanged(LLAMA, "attn_k", "attn_v")),
    "gate for up": ("llama", exchanged(LLAMA, "ffn_gate", "ffn_up")),
    "gate for up of a shared expert": ("qwen2moe", exchanged(llama_cpp.ARCHITECTURES["qwen2moe"], "ffn_gate_shexp", "ffn_up_shexp")),
    "gate for up of experts": ("qwen2moe", exchanged(llama_cpp.EXPERTS, "ffn_gate_exps", "ffn_up_exps")),
    "up before gate of all experts": ("qwen3moe", turned(llama_cpp.EXPERTS)),
    "w3 before w1 of all experts": ("mixtral", turned(llama_cpp.MIXTRAL)),
    "the next expert": ("qwen3moe", put("formats.models.gguf_models._spans", next_expert)),
    "the other layer": ("phi3", put("formats.models.gguf_models.named", other_layer)),
    "norms in each other's place": ("llama", exchanged(llama_cpp.BEFORE, "attn_norm", "ffn_norm")),
    "norms of queries for keys": ("gemma3", exchanged(llama_cpp.NORMS["gemma3"], "attn_q_norm", "attn_k_norm")),
    "the head for the embedding": ("phi3", exchanged(llama_cpp.ENDS, "token_embd", "output")),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(files: Callable[[str], Path], fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    architecture, plant = FAULTS[fault]
    folder = files(architecture)
    plant(monkeypatch)
    assert list(gguf_doubts(open_checkpoint(folder)))
