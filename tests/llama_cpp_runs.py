"""llama.cpp itself, through llama-cpp-python, where that is installed: what a model in GGUF computes, with an adapter or without."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

llama_cpp = pytest.importorskip(
    "llama_cpp", reason="llama-cpp-python is built from its source: pip install llama-cpp-python"
)
F32 = 0
"""ggml's number of the type."""

SAID: list[str] = []
"""What it wrote to its log."""


@llama_cpp.llama_log_callback
def _log(level: int, text: bytes, data: Any) -> None:
    SAID.append(text.decode(errors="replace"))


llama_cpp.llama_log_set(_log, None)


@contextmanager
def _model(path: Path) -> Iterator[Any]:
    options = llama_cpp.llama_model_default_params()
    options.n_gpu_layers, options.use_extra_bufts = 0, False
    SAID.clear()
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), options)
    assert model, "".join(SAID)
    try:
        yield model
    finally:
        llama_cpp.llama_model_free(model)


@contextmanager
def _context(model: Any, count: int) -> Iterator[Any]:
    """Of one thread, with keys and values in float32."""
    options = llama_cpp.llama_context_default_params()
    options.n_ctx = options.n_batch = options.n_ubatch = count
    options.n_threads = options.n_threads_batch = 1
    options.type_k = options.type_v = F32
    options.flash_attn_type = 0
    context = llama_cpp.llama_init_from_model(model, options)
    assert context, "".join(SAID)
    try:
        yield context
    finally:
        llama_cpp.llama_free(context)


def takes(model: Path, adapter: Path) -> bool:
    """Whether it loads an adapter for a model."""
    with _model(model) as loaded:
        return bool(llama_cpp.llama_adapter_lora_init(loaded, str(adapter).encode()))


def logits(path: Path, tokens: Sequence[int], adapter: Path | None = None) -> np.ndarray:
    """Those of every token: (tokens, words)."""
    with _model(path) as model, _context(model, 64) as context:
        if adapter is not None:
            lora = llama_cpp.llama_adapter_lora_init(model, str(adapter).encode())
            assert lora, "".join(SAID)
            loras = (type(lora) if isinstance(lora, ctypes._Pointer) else llama_cpp.llama_adapter_lora_p_ctypes) * 1
            assert llama_cpp.llama_set_adapters_lora(context, loras(lora), 1, (ctypes.c_float * 1)(1.0)) == 0
        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        try:
            batch.n_tokens = len(tokens)
            for place, token in enumerate(tokens):
                batch.token[place], batch.pos[place], batch.n_seq_id[place] = token, place, 1
                batch.seq_id[place][0], batch.logits[place] = 0, 1
            assert llama_cpp.llama_decode(context, batch) == 0, "".join(SAID)
            words = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
            found = llama_cpp.llama_get_logits(context)
            return np.ctypeslib.as_array(found, shape=(len(tokens) * words,)).reshape(len(tokens), words).copy()
        finally:
            llama_cpp.llama_batch_free(batch)
