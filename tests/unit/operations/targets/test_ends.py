from __future__ import annotations

import pytest

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import UnsupportedError
from adapterops.operations.targets.ends import check_in_no_scheme, kept_ends, new_ends
from adapterops.quant.registry import make
from adapterops.storage.tensors import Spec

EMBEDDING, TIED = "model.embed_tokens.weight", {"tie_word_embeddings": True}
BASE = {EMBEDDING: Spec("F32", (6, 4)), "model.norm.weight": Spec("F32", (4,))}


def test_a_head_that_is_adapted_begins_as_the_embedding() -> None:
    base = Checkpoint(BASE, {}, {}, config=TIED)
    assert new_ends(base, {"lm_head": (6, 4), "model.layers.0.q_proj": (4, 4)}) == {"lm_head.weight": BASE[EMBEDDING]}


def test_a_head_stays_where_its_embedding_alone_is_adapted() -> None:
    changed = {EMBEDDING: BASE[EMBEDDING]}
    assert kept_ends(changed, BASE, TIED) == {"lm_head.weight": EMBEDDING}
    assert kept_ends({**changed, "lm_head.weight": BASE[EMBEDDING]}, BASE, TIED) == {}
    assert kept_ends({"model.norm.weight": Spec("F32", (4,))}, BASE, TIED) == {}
    assert kept_ends(changed, BASE, {"tie_word_embeddings": False}) == {}
    shared = {"shared.weight": Spec("F32", (6, 4))}
    with pytest.raises(UnsupportedError, match="is tied to other tensors"):
        kept_ends(shared, shared, {**TIED, "is_encoder_decoder": True})


def test_of_what_several_share_all_others_stay() -> None:
    shared = {"model.shared.weight": Spec("F32", (6, 4))}
    bart = {"model_type": "bart", "architectures": ["BartForConditionalGeneration"], **TIED}
    ends = ["model.decoder.embed_tokens.weight", "model.encoder.embed_tokens.weight"]
    kept = kept_ends({"lm_head.weight": Spec("F32", (6, 4))}, shared, bart)
    assert kept == dict.fromkeys(ends, "model.shared.weight")


def test_rows_of_codes_are_not_replaced() -> None:
    base = Checkpoint(BASE, {}, {}, {EMBEDDING: make("nf4", "F32")})
    check_in_no_scheme(base, ["model.norm.weight"])
    with pytest.raises(UnsupportedError, match="is stored as nf4"):
        check_in_no_scheme(base, [EMBEDDING])
