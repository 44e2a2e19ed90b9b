"""Where the updates of an adapter belong in a base, found independently: by rules and tables of this room's own.

Two names mean one weight where they end alike once wrappers are taken away; of several that do, the shape decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.verification.addends import Addend, Wanted
from adapterops.verification.joined import experts_of, inside, split
from adapterops.verification.names import EMBEDDINGS, HEAD, INSIDE, Base, UnplacedError, key
from adapterops.verification.other_names import HEADS, alike, elsewhere, in_parts, letters
from adapterops.verification.vocabulary import (
    becomes_classifier,
    head_of,
    is_bias,
    is_input,
    is_label_head,
    kept_one,
    left_out,
    of_rows,
    of_words,
    one_weight,
    regrown,
    shared,
    untrained,
)

STORED_TRANSPOSED = {"gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp"}
TRANSPOSED_MODULES = {"c_attn", "c_proj", "c_fc", "q_attn"}
TRANSPOSED_PARAMETER = "text_projection"
"""Of OpenCLIP, whose Linear layer it stands for."""


def wanted(adapter: Adapter, base: Checkpoint, model: Checkpoint) -> tuple[dict[str, Wanted], dict[str, str]]:
    """What the tensors that an adapter changes should be; and the names of the adapter that have no place, and why."""
    if adapter.task_vector:
        return _of_task_vector(adapter, base)
    side = _side(adapter)
    there, found, lost = Base(base.layout, base.config or {}, side), dict[str, Wanted](), dict[str, str]()
    new = {key(name): name for name in model.layout if name not in base.layout}
    if becomes_classifier(adapter, there):  # which has no output embedding
        rest = {name: spec for name, spec in base.layout.items() if name not in left_out(there)}
        there = Base(rest, {**there.config, "tie_word_embeddings": False}, side)
        new = {each: name for each, name in new.items() if not is_label_head(name)}

    def own(name: str) -> str | None:
        """What the model has for a name, and the base has not."""
        if (tensor := new.get(key(name))) is not None:
            shape = model.layout[tensor].shape
            ends = {spec.shape for each, spec in there.layout.items() if of_words(each) and spec.shape[1:] == shape[1:]}
            before = next(iter(ends)) if of_words(tensor) and len(ends) == 1 else shape
            found.setdefault(tensor, Wanted(there.shared(tensor, before)))
        return tensor

    made = Base(model.layout, model.config or {})
    joint = one_weight(adapter, there) or kept_one(adapter, there, made)
    _place_all_full(adapter, there, joint, own, found, lost)
    shapes = {
        name: adapter.full[each.full].spec.shape for name, each in found.items() if each.full and each.part is None
    }
    grown = {name: spec._replace(shape=shapes.get(name, spec.shape)) for name, spec in there.layout.items()}
    there = Base(grown, there.config, side)
    for module, layout in adapter.layout.items():
        try:
            places = list(_places(module, layout.shape, there, adapter, own, found))
        except UnplacedError as problem:
            lost[module] = str(problem)
            continue
        for tensor, place in places:
            found.setdefault(tensor, Wanted(tensor)).places.append(place)
    for name, each in list(found.items()):
        if each.start not in (name, None) and each.places and each.full in adapter.config.unannounced:
            found.setdefault(each.start, Wanted(each.start, each.full))
    parted = [
        name for name, each in found.items() if (each.full or each.places or each.rows) and there.tied() and not joint
    ]
    embeddings = [name for name in parted if key(name)[-1] in EMBEDDINGS and key(name)[:-1] in INSIDE]
    for name in new.values():
        if name not in found:
            try:
                own(name)
                found[name].full = _below(found, found[name].start, adapter)
            except UnplacedError as problem:
                lost[name] = str(problem)
    untied = embeddings or made.stated_tied() is False
    single = [each for each in new.values() if not any(map(str.isdecimal, each.split(".")))]
    has_head = any(len(model.layout[name].shape) == 2 and not is_input(name) for name in single)
    if untied and there.tied() and not has_head and there.needs_head(_trained_as(adapter)):
        still = "still is, and has its update: PEFT adds that to the embedding alone"
        now = "is not any more, and is not kept as it was" if made.stated_tied() is False else still
        lost[HEAD] = f"was tied to the input embedding, {now}"
    return found, lost


def _trained_as(adapter: Adapter) -> str:
    """The class that an adapter says it was trained on, or how one is called that its task is of."""
    generates = adapter.config.fields.get("task_type") in ("CAUSAL_LM", "SEQ_2_SEQ_LM")
    return adapter.config.base_class or ("ForCausalLM" if generates else "")


def _side(adapter: Adapter) -> str:
    """The side of a model for text and images that an adapter was trained on by itself, by the name of the class."""
    stated = adapter.config.base_class or ""
    return next((side for side in ("text", "vision") if f"{side.capitalize()}Model" in stated), "")


def _of_task_vector(vector: Adapter, base: Checkpoint) -> tuple[dict[str, Wanted], dict[str, str]]:
    """Each tensor of the base gets what a task vector calls by its name, all of it."""
    found, lost = dict[str, Wanted](), dict[str, str]()
    for name, layout in vector.layout.items():
        if name not in base.layout or base.layout[name].matrix != layout.shape:
            lost[name] = f"is {list(layout.shape)}, and the base has no such tensor"
            continue
        rows, columns = layout.shape
        found[name] = Wanted(name, places=[Addend(name, range(rows), slice(0, columns))])
    return found, lost


def _below(found: dict[str, Wanted], start: str | None, adapter: Adapter) -> str | None:
    """The full tensor that what shared a tensor has been, too, before others of it were trained."""
    full = found[start].full if start in found else None
    return full if full in adapter.config.unannounced else None


def _place_all_full(
    adapter: Adapter, base: Base, joint: bool, own: Any, found: dict[str, Wanted], lost: dict[str, str]
) -> None:
    """Add what full tensors take the place of, also of what follows them in the number of words."""
    for full, stored in adapter.full.items():
        if full in adapter.config.tokens:
            continue
        try:
            follows = of_words(full) and (joint or (is_bias(full) and full in adapter.config.unannounced))
            name = None if follows else own(full)
            name = name or head_of(full, stored.spec.shape, base) or shared(full, base, joint)
            if name is None and (experts := experts_of(full, stored.spec.shape, base)):
                found |= {
                    tensor: Wanted(tensor, full, part=(row, base.layout[tensor].shape)) for tensor, row in experts
                }
                continue
            if name is None and is_label_head(full):
                found[full] = Wanted(None, full)
                continue
            if name is None:
                raise UnplacedError("is a full tensor, and the base has no such tensor")
            _place_full(full, name, found.setdefault(name, Wanted(name)))
        except UnplacedError as problem:
            lost[full] = str(problem)
    entire = {name: each for name, each in found.items() if each.part is None}
    whole = {name: (each.start, each.full) for name, each in entire.items() if each.full and each.start}
    grown, left = regrown(adapter, base, whole)
    found |= {name: Wanted(name, full) for name, full in grown.items()}
    found |= {name: Wanted(name, words=words) for name, words in untrained(adapter, base, whole).items()}
    lost |= left
    for rows in adapter.config.tokens.keys() & adapter.full.keys():
        try:
            _place_rows(rows, adapter, base, joint, own, found)
        except UnplacedError as problem:
            lost[rows] = str(problem)


def _place_rows(rows: str, adapter: Adapter, base: Base, joint: bool, own: Any, found: dict[str, Wanted]) -> None:
    """Add whose rows are replaced; those of an output that is the input are that's, too."""
    tensor = of_rows(rows)
    name = (None if joint else own(tensor)) or base.find(tensor) or shared(tensor, base, joint)
    if name is None:
        raise UnplacedError("are rows of a tensor that the base does not have")
    each = found.setdefault(name, Wanted(name))
    if each.rows is not None and not adapter.full[each.rows].same_bytes(adapter.full[rows]):
        raise UnplacedError(f"are other rows of {name} than {each.rows}")
    each.rows = rows


def _place_full(full: str, name: str, each: Wanted) -> None:
    """Of several full tensors that are one of the base, that of the most like name is taken, and the others repeat it."""
    if each.full is None:
        each.full = full
    elif key(full) == key(name):
        each.copies.append(each.full)
        each.full = full
    else:
        each.copies.append(full)


def _places(
    module: str, shape: tuple[int, int], base: Base, adapter: Adapter, own: Any, found: dict[str, Wanted]
) -> Iterator[tuple[str, Addend]]:
    """The tensors that an update goes into, and where.

    Raises:
        UnplacedError: there is none.
    """
    if (end := own(module)) is not None:
        yield end, Addend(module, range(shape[0]), slice(0, shape[1]))
        return
    if (rows := base.part(module)) and module + ".weight" not in base.layout:
        yield _part(module, shape, *rows, base)
        return
    try:
        name = base.find(module, (shape, shape[::-1]))
    except UnplacedError:
        if (other := _renamed(module, shape, base)) is None:
            raise
        yield from other
        return
    loose = name is not None and key(name) != key(module) and not base.side and not base.find_ruled(module)
    if loose and (other := _elsewhere(module, shape, base)) is not None:
        yield from other
    elif name is not None and (len(base.layout[name].shape) == 2 or shape in (base.matrix(name), base.kernel(name))):
        yield name, _whole(module, shape, name, base)
    elif (parts := split(module, shape, base)) is not None:
        yield from parts
    elif (part := inside(module, shape, base, own, found)) is not None:
        yield part
    elif (other := _elsewhere(module, shape, base)) is not None:
        yield from other
    else:
        raise UnplacedError("has no tensor in the base")


def _part(module: str, shape: tuple[int, int], name: str, number: int, count: int, base: Base) -> tuple[str, Addend]:
    """Some rows of a tensor that has several weights of the model, one below the other."""
    if (shape[0] * count, shape[1]) != base.layout[name].shape:
        raise UnplacedError(f"is {list(shape)}, and a part of {name}, which is {list(base.layout[name].shape)}")
    return name, Addend(module, range(number * shape[0], (number + 1) * shape[0]), slice(0, shape[1]))


def _whole(module: str, shape: tuple[int, int], name: str, base: Base) -> Addend:
    stored = base.matrix(name)
    if base.kernel(name) == shape != stored:
        return _all(module, shape, name, base)
    own = not base.types.isdisjoint(STORED_TRANSPOSED) and key(module)[-1] in TRANSPOSED_MODULES
    own = own or name.endswith(TRANSPOSED_PARAMETER)
    if sorted(stored) != sorted(shape):
        raise UnplacedError(f"is {list(shape)}, and {name} is {list(stored)}")
    transposed = own if stored[0] == stored[1] else stored != shape
    return Addend(module, range(stored[0]), slice(0, stored[1]), transposed=transposed)


def _all(module: str, shape: tuple[int, int], name: str, base: Base) -> Addend:
    """All of a tensor, which may be the kernel of a convolution in one dimension."""
    return Addend(module, range(shape[0]), slice(0, shape[1]), seen=None if base.matrix(name) == shape else shape)


def _bias_elsewhere(module: str, size: int, base: Base) -> list[tuple[str, Addend]]:
    """Where the rows of a weight are, of its bias, as a column; nothing where another program has both by one name."""
    weight, every, columns = module.removesuffix(".bias"), slice(0, 1), _columns(module, base)

    def place(name: str, row: int, height: int, first: int) -> tuple[str, Addend]:
        (total,) = base.layout[name].shape
        start = row % total if row < 0 else row
        return name, Addend(module, range(start, start + height), every, first, transposed=True, seen=(total, 1))

    for way, rows in enumerate(elsewhere(weight, (size, 0), columns)):
        bias, above = (
            base.ending(f"{rows[0].name.removesuffix('_weight')}_bias", module),
            base.ending(rows[0].name, module),
        )
        if bias is None or above is None:
            continue
        rows = list(elsewhere(weight, (size, base.matrix(above)[1]), columns))[way]
        if len(rows) == 1 and base.layout[bias].shape == (size,):
            return []
        return [place(bias, each.row, each.height, each.first) for each in rows]
    for names in in_parts(weight):
        parts = [base.ending(f"{name.removesuffix('_weight')}_bias", module) for name in names]
        heights = [base.layout[name].shape[0] for name in parts if name]
        if len(heights) == len(names) and sum(heights) == size:
            firsts = [sum(heights[:index]) for index in range(len(heights))]
            return [place(name, 0, *each) for name, *each in zip(parts, heights, firsts, strict=True) if name]
    return []


def _columns(module: str, base: Base) -> Callable[[str], int | None]:
    def columns(end: str) -> int | None:
        found = base.ending(end, module)
        return base.matrix(found)[1] if found else None

    return columns


def _renamed(module: str, shape: tuple[int, int], base: Base) -> list[tuple[str, Addend]] | None:
    """Where a weight is by the name that a table has for it, or rows of it."""
    for rows in elsewhere(module, shape, _columns(module, base)):
        found = base.ending(rows[0].name, module)
        if found is None or base.matrix(found)[1] != shape[1]:
            continue
        height = base.matrix(found)[0]
        starts = [each.row % height if each.row < 0 else each.row for each in rows]
        pairs = zip(rows, starts, strict=True)
        return [
            (found, Addend(module, range(row, row + each.height), slice(0, shape[1]), each.first))
            for each, row in pairs
        ]
    return None


def _elsewhere(module: str, shape: tuple[int, int], base: Base) -> list[tuple[str, Addend]] | None:
    """Where a weight of an image or video model is, by the name that another program has for it."""
    every = slice(0, shape[1])
    for name in alike(module, base.layout):
        if name.endswith(TRANSPOSED_PARAMETER) and shape[::-1] == base.matrix(name):
            return [(name, Addend(module, range(shape[1]), slice(0, shape[0]), transposed=True))]
    same = [name for name in alike(module, base.layout) if shape in (base.matrix(name), base.kernel(name))]
    wanted = letters(HEADS.sub("", module))
    if len(same) == 1 and letters(HEADS.sub("", same[0])) == wanted:
        return [(same[0], _all(module, shape, same[0], base))]
    if shape[0] == 1 and module.endswith(".bias") and (of_bias := _bias_elsewhere(module, shape[1], base)):
        return of_bias
    if (renamed := _renamed(module, shape, base)) is not None:
        return renamed
    for names in in_parts(module):
        tensors = [base.ending(name, module) for name in names]
        heights = [base.matrix(name)[0] for name in tensors if name]
        if len(heights) == len(names) and sum(heights) == shape[0]:
            firsts = [sum(heights[:index]) for index in range(len(heights))]
            return [
                (name, Addend(module, range(height), every, first))
                for name, height, first in zip(tensors, heights, firsts, strict=True)
                if name
            ]
    return [(same[0], _all(module, shape, same[0], base))] if len(same) == 1 else None
