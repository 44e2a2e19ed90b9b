"""What diffusers calls the layers of its models: the table is what the models have."""

from __future__ import annotations

import pytest

from adapterops.formats.diffusion.layers import TABLE, layers, missing

pytest.importorskip("diffusers")


def test_the_table_is_written_by_its_program() -> None:
    import image_layers

    models = {each.__name__: each for each in image_layers.models()}
    assert layers().keys() == models.keys()
    for name in ("Flux2Transformer2DModel", "HiDreamImageTransformer2DModel", "WanTransformer3DModel"):
        assert image_layers.written(models[name]) in TABLE.read_text().splitlines()


def test_names_are_judged_by_the_models_that_have_most_of_them() -> None:
    assert missing(["transformer_blocks_0_attn_to_q", "transformer_blocks_59_img_mod_1"]) == set()
    assert missing(["transformer_blocks_0_img_mod_1", "single_transformer_blocks_0_proj_mlp"]) == set()
    assert missing(["one", "other", "proj_out"]) is None
    assert missing([]) == set()
