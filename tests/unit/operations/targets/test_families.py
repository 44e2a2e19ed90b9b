"""Every rule of the tables, both ways, against its rows written out; and the second judge, which has rules of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from turns import in_turn

import adapterops as ao
from adapterops.errors import IncompatibleError
from adapterops.formats.diffusion import unet
from adapterops.formats.diffusion.families import JOINED
from adapterops.formats.diffusion.models import MODELS
from adapterops.formats.diffusion.table import Joined
from adapterops.operations.uniting import named_as
from adapterops.operations.verifying import verify

WIDTH = 8
ROWS = {0: 8, 1: 4, 2: 4, 3: 20}
"""Of q, k, v and mlp: grouped, where k and v may have fewer rows."""


def named(key: str) -> str:
    """A flat name, with a dot or two where some may be."""
    return key.replace("_#_", ".7.").replace("#", "7").replace("adaLN_modulation_1", "adaLN_modulation.1")


def weight(name: str) -> str:
    return name if name.endswith("_weight") else f"{name}.weight"


def changed(tmp_path: Path, base: dict[str, int], adapter: dict[str, int], prefix: str) -> dict[str, torch.Tensor]:
    """What fuse adds to each tensor, where every update is of rank one; both judges agree with it."""
    (tmp_path / "base").mkdir()
    save_file(
        {weight(name): torch.zeros(rows, WIDTH) for name, rows in base.items()}, tmp_path / "base/model.safetensors"
    )
    (tmp_path / "base/config.json").write_text(json.dumps({}))
    tensors = {}
    for seed, (name, rows) in enumerate(adapter.items()):
        tensors |= {f"{prefix}{name}.{role}.weight": each for role, each in factors(seed, rows).items()}
    save_file(tensors, tmp_path / "a.safetensors")
    opened = ao.open_checkpoint(tmp_path / "base"), ao.open_adapter(tmp_path / "a.safetensors")
    ao.save_checkpoint(ao.fuse(*opened), tmp_path / "out")
    assert verify(ao.open_checkpoint(tmp_path / "out"), *opened).problems == []
    return load_file(tmp_path / "out/model.safetensors")


def factors(seed: int, rows: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"lora_A": torch.randn(1, WIDTH, generator=generator), "lora_B": torch.randn(rows, 1, generator=generator)}


def delta(seed: int, rows: int) -> torch.Tensor:
    each = factors(seed, rows)
    return each["lora_B"] @ each["lora_A"]


def heights(joined: Joined) -> list[int]:
    if joined.swapped:
        return [joined.times * WIDTH or 12]
    if len(joined.parts) == 1:
        return [12]
    rows = [ROWS[0] if part in joined.square else ROWS[part] for part in range(len(joined.parts))]
    one, other = joined.equal
    return [rows[other] if part == one else each for part, each in enumerate(rows)]


@pytest.mark.parametrize(
    ("model", "back"), in_turn([name for name, model in MODELS.items() if model.renamed], [False, True])
)
def test_renamed(tmp_path: Path, model: str, back: bool) -> None:
    pairs = [pair[::-1] if back else pair for pair in MODELS[model].renamed.items()]
    names = {named(adapter): named(base) for adapter, base in pairs}
    found = changed(tmp_path, dict.fromkeys(names.values(), 12), dict.fromkeys(names, 12), "diffusion_model.")
    for seed, base in enumerate(names.values()):
        torch.testing.assert_close(found[weight(base)], delta(seed, 12))


def against(joined: Joined) -> dict[str, int]:
    """Rows of the weight whose columns show whether halves are swapped."""
    return {named(name): 4 for name in joined.against[:1]}


SHOWN = [joined for joined in JOINED if joined.times]


def shown(value: Any) -> str:
    return f"{value.whole} of {value.parts[0]}" if isinstance(value, Joined) else str(value)


@pytest.mark.parametrize("joined", SHOWN, ids=lambda each: each.whole)
@pytest.mark.parametrize("back", [False, True])
def test_halves_are_swapped_only_where_there_are_two(tmp_path: Path, joined: Joined, back: bool) -> None:
    """The names are those of other models, too, which have no gate, or six vectors of modulation."""
    one, other = named(joined.whole), named(joined.parts[0])
    adapter, base = ({one: 12}, {other: 12}) if back else ({other: 12}, {one: 12})
    found = changed(tmp_path, base | against(joined), adapter, "diffusion_model.")
    torch.testing.assert_close(found[weight(next(iter(base)))], delta(0, 12))


def test_halves_that_nothing_shows_are_refused(tmp_path: Path) -> None:
    (joined,) = [each for each in SHOWN if each.whole == "blocks_#_mlp_fc1"]
    with pytest.raises(IncompatibleError, match="has no blocks_7_mlp_fc2 or"):
        changed(tmp_path, {named(joined.parts[0]): 16}, {named(joined.whole): 16}, "diffusion_model.")


@pytest.mark.parametrize(("joined", "back"), in_turn(JOINED, [False, True]), ids=shown)
def test_joined(tmp_path: Path, joined: Joined, back: bool) -> None:
    rows = heights(joined)
    parts = {named(part): height for part, height in zip(joined.parts, rows, strict=True)}
    whole = {named(joined.whole): sum(rows)}
    adapter, base = (whole, parts) if back else (parts, whole)
    found = changed(tmp_path, base | against(joined), adapter, "diffusion_model.")
    wanted = torch.cat([delta(seed, height) for seed, height in enumerate(adapter.values())])
    wanted = wanted.roll(len(wanted) // 2, 0) if joined.swapped else wanted
    torch.testing.assert_close(torch.cat([found[weight(name)] for name in base]), wanted)


@pytest.mark.parametrize(("joined", "back"), in_turn(JOINED, [True, False]), ids=shown)
def test_joined_biases(tmp_path: Path, joined: Joined, back: bool) -> None:
    """A difference of a bias is where the rows of its weight are; both judges agree."""
    rows = heights(joined)
    parts = {named(part): height for part, height in zip(joined.parts, rows, strict=True)}
    whole = {named(joined.whole): sum(rows)}
    adapter, base = (whole, parts) if back else (parts, whole)
    biases = {name: f"{name[:-7]}_bias" if name.endswith("_weight") else f"{name}.bias" for name in base}
    zeros = {weight(name): torch.zeros(height, WIDTH) for name, height in base.items()}
    zeros |= {biases[name]: torch.zeros(height) for name, height in base.items()}
    zeros |= {weight(name): torch.zeros(height, WIDTH) for name, height in against(joined).items()}
    (tmp_path / "base").mkdir()
    save_file(zeros, tmp_path / "base/model.safetensors")
    (tmp_path / "base/config.json").write_text("{}")
    stored = {name: torch.rand(height) for name, height in adapter.items()}
    save_file({f"diffusion_model.{name}.diff_b": each for name, each in stored.items()}, tmp_path / "a.safetensors")
    opened = ao.open_checkpoint(tmp_path / "base"), ao.open_adapter(tmp_path / "a.safetensors")
    ao.save_checkpoint(ao.fuse(*opened), tmp_path / "out")
    assert verify(ao.open_checkpoint(tmp_path / "out"), *opened).problems == []
    found, wanted = load_file(tmp_path / "out/model.safetensors"), torch.cat(list(stored.values()))
    assert torch.equal(
        torch.cat([found[biases[name]] for name in base]), wanted.roll(len(wanted) // 2) if joined.swapped else wanted
    )
    assert not any(found[weight(name)].any() for name in base)
    united = named_as(opened[1], opened[0])
    assert {name: update.shape for name, update in united.updates.items()} == {
        each: (1, base[name]) for name, each in biases.items()
    }


def test_a_part_that_is_missing_is_zero(tmp_path: Path) -> None:
    joined = JOINED[0]
    whole, (first, _, third) = named(joined.whole), map(named, joined.parts)
    found = changed(tmp_path, {whole: 24}, {first: 8, third: 8}, "transformer.")[weight(whole)]
    torch.testing.assert_close(found, torch.cat([delta(0, 8), torch.zeros(8, WIDTH), delta(1, 8)]))


@pytest.mark.parametrize(("rows", "part"), [(7, 0), (25, 0), (25, 2)])
def test_rows_that_do_not_fit(tmp_path: Path, rows: int, part: int) -> None:
    with pytest.raises(IncompatibleError, match="they do not fit"):
        changed(tmp_path, {named(JOINED[0].whole): 24}, {named(JOINED[0].parts[part]): rows}, "transformer.")


@pytest.mark.parametrize(
    ("authors", "other"),
    [*unet.PAIRS[::3], *((f"{one}_proj_in", f"{other}_proj_in") for one, other in [*unet.ATTENTIONS.items()][::3])],
)
def test_a_unet_both_ways(tmp_path: Path, authors: str, other: str) -> None:
    for place, (adapter, base) in enumerate(((authors, other), (other, authors))):
        folder = tmp_path / str(place)
        folder.mkdir()
        found = changed(folder, {base: 12}, {f"lora_unet_{adapter}": 12}, "")
        torch.testing.assert_close(found[weight(base)], delta(0, 12))


HUNYUAN = {
    "authors": ("blocks.0.attn1.Wqkv", "mlp_t5.0"),
    "diffusers": ("blocks.0.attn1.to_out.0", "time_extra_emb.extra_embedder.linear_1"),
}
NORMS = ("blocks.0.norm2", "blocks.0.norm3")


@pytest.mark.parametrize("spelled", ["{}", "diffusion_model.{}", "lora_unet_{}"])
@pytest.mark.parametrize("mine", ["authors", "diffusers", ""])
@pytest.mark.parametrize("its", HUNYUAN)
def test_norms_that_two_namings_exchange(tmp_path: Path, its: str, mine: str, spelled: str) -> None:
    """HunyuanDiT's norm2 is diffusers' norm3: a difference of one is that of the base's where both are in the same names, and
    is refused where they are not, or where nothing in the adapter shows it."""
    (tmp_path / "base").mkdir()
    tensors = {f"{name}.weight": torch.zeros(WIDTH, WIDTH) for name in HUNYUAN[its]}
    tensors |= {f"{name}.{end}": torch.zeros(WIDTH) for name in NORMS for end in ("weight", "bias")}
    save_file(tensors, tmp_path / "base/model.safetensors")
    stored = {f"{name}.{end}": torch.rand(WIDTH) for name in NORMS for end in ("w_norm", "b_norm")}
    if mine:
        stored |= {f"{HUNYUAN[mine][0]}.{role}.weight": each for role, each in factors(0, WIDTH).items()}
    key = spelled.startswith("lora_unet")
    named_so = {
        spelled.format(module.replace(".", "_") if key else module) + f".{end}": each
        for name, each in stored.items()
        for module, end in [name.split(".lora_") if ".lora_" in name else name.rsplit(".", 1)]
        for end in [f"lora_{end}" if ".lora_" in name else end]
    }
    save_file(named_so, tmp_path / "a.safetensors")
    opened = ao.open_checkpoint(tmp_path / "base"), ao.open_adapter(tmp_path / "a.safetensors")
    if mine != its:
        with pytest.raises(IncompatibleError, match="in the names of HunyuanDiT by its authors"):
            ao.fuse(*opened)
        return
    ao.save_checkpoint(ao.fuse(*opened), tmp_path / "out")
    assert verify(ao.open_checkpoint(tmp_path / "out"), *opened).problems == []
    found = load_file(tmp_path / "out/model.safetensors")
    for name in NORMS:
        assert torch.equal(found[f"{name}.weight"], stored[f"{name}.w_norm"])
        assert torch.equal(found[f"{name}.bias"], stored[f"{name}.b_norm"])
