"""Names that another class of the same model has: one prefix for all modules of a root, or none."""

from __future__ import annotations

from adapterops.formats.models.suffixes import Move, moved, moves, roots

NAMES = ["encoder.layer.0.query", "encoder.layer.1.query", "pooler.dense", "norm"]


def found(names: list[str], base: list[str], fits: bool = True) -> dict[str, str]:
    index = dict.fromkeys(base)
    return moved(names, index, index.__contains__, lambda name, there: fits)


def test_a_prefix_is_added_or_taken_away() -> None:
    base = [f"bert.{name}" for name in NAMES]
    assert found(NAMES, base) == dict(zip(NAMES, base, strict=True))
    assert found(base, NAMES) == dict(zip(base, NAMES, strict=True))


def test_a_root_that_is_there_does_not_move() -> None:
    """A layer that the language model lacks is not the one of another tower."""
    base = ["layers.0.q", "layers.1.q", *(f"vision_tower.layers.{n}.q" for n in range(9))]
    assert found(["layers.0.q", "layers.7.q"], base) == {}
    assert found(["layers.7.q"], base) == {}


def test_what_is_not_all_there_does_not_move_and_is_counted() -> None:
    base = dict.fromkeys(["bert.encoder.layer.0.query", "bert.pooler.dense"])
    assert found(NAMES[:2], list(base)) == {}
    assert moves(NAMES[:2], base, base.__contains__) == {Move(prefix="bert."): NAMES[:1]}
    assert roots(NAMES, base, base.__contains__) == {"encoder": NAMES[:2], "pooler": NAMES[2:3]}


def test_two_prefixes_decide_by_shape_or_not_at_all() -> None:
    base = [f"{tower}.{name}" for tower in ("question", "context") for name in NAMES[:2]]
    assert found(NAMES[:2], base) == {}
    index = dict.fromkeys(base)
    by_shape = moved(NAMES[:2], index, index.__contains__, lambda name, there: there.startswith("context"))
    assert by_shape == {name: f"context.{name}" for name in NAMES[:2]}


def test_a_name_without_a_root_follows_the_others_only() -> None:
    assert found(["norm"], ["bert.norm"]) == {}
    assert found(["norm", "encoder.q"], ["bert.norm", "bert.encoder.q"])["norm"] == "bert.norm"


def test_what_holds_a_model_is_taken_away_however_deep() -> None:
    names = ["my.own.wrapper.model.layers.0.q", "my.own.wrapper.lm_head"]
    assert found(names, ["layers.0.q", "lm_head"]) == dict(zip(names, ["layers.0.q", "lm_head"], strict=True))


def test_the_prefix_of_a_family_takes_the_place_of_a_wrapper_and_of_no_other_family() -> None:
    base = [f"bert.{name}" for name in NAMES]
    held = [f"backbone.{name}" for name in NAMES]
    assert found(held, base) == dict(zip(held, base, strict=True))
    assert found([f"roberta.{name}" for name in NAMES], base) == {}
    twice = [f"bert.{name}" for name in base]
    assert found(twice, base) == dict(zip(twice, base, strict=True))


def test_the_part_of_a_model_is_not_another_part() -> None:
    assert found(["encoder.layers.0.q"], ["decoder.layers.0.q"]) == {}
    assert found(["audio_tower.layers.0.q"], ["vision_tower.layers.0.q"]) == {}


def test_layers_stay_in_their_half_of_a_model_unless_that_is_the_base() -> None:
    names, base = ["decoder.layers.0.q"], dict.fromkeys(["layers.0.q"])

    def place(coder: str | None, names: list[str], base: dict[str, None]) -> dict[str, str]:
        return moved(names, base, base.__contains__, lambda name, there: True, coder=coder)

    assert place("", names, base) == place("encoder", names, base) == place("", list(base), dict.fromkeys(names)) == {}
    assert place("decoder", names, base) == place(None, names, base) == {"decoder.layers.0.q": "layers.0.q"}
