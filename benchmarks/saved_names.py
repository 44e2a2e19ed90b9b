"""Writes adapterops/verification/tables/names.txt: what transformers calls the tensors of a model in its files.

`python benchmarks/saved_names.py`: each class of the sweep is built tiny from random numbers and saved, and a tensor of
the file is the one of the model that holds the same numbers. So the names are measured, and not those of
benchmarks/renames.py, which reads the rules that transformers applies.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import architectures
from renames import block

from adapterops.storage.tensors import Spec
from adapterops.tables import ruled
from adapterops.verification.names import Base, Parts, UnplacedError, bare, fitted, followed

TABLE = Path(__file__).parent.parent / "adapterops" / "verification" / "tables" / "names.txt"
HEAD = """What transformers {version} calls the tensors of a model in its files, by model type: a table, and nothing else.

Written by benchmarks/saved_names.py. Lines of types, each followed by what holds for these, indented.

"""


def numbers(model: Any) -> Iterator[tuple[str, Any]]:
    """The tensors of a model under all their names, and single experts of those that are fused, by halves, too."""
    for name, tensor in model.state_dict().items():
        yield name, tensor
        above, _, last = name.rpartition(".")
        if tensor.ndim != 3 or not above.endswith("experts"):
            continue
        for number, expert in enumerate(tensor):
            for each in (expert, expert.T):
                yield f"{above}.{number}.{last}", each
                if last == "gate_up_proj":
                    gate, up = each.chunk(2)
                    yield f"{above}.{number}.gate_proj", gate
                    yield f"{above}.{number}.up_proj", up


def content(tensor: Any) -> tuple[tuple[int, ...], bytes]:
    return tuple(tensor.shape), tensor.detach().contiguous().float().numpy().tobytes()


class Saved(NamedTuple):
    """What a class saves: its type, name in the model → name in the file, of tied ones one name; what is in the file; and name
    in the model → name in the file and which of how many equal numbers of its rows.
    """

    type: str
    names: dict[str, str]
    layout: dict[str, Spec]
    parts: dict[str, tuple[str, str]]


def saved(model: Any) -> Saved:
    """A model as it was seen to save itself."""
    import torch
    from safetensors.torch import load_file

    with torch.no_grad():
        for tensor in model.state_dict(keep_vars=True).values():
            if tensor.is_floating_point():
                tensor.normal_()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        files = {
            each: tensor for path in Path(folder).glob("*.safetensors") for each, tensor in load_file(path).items()
        }
    of_content = defaultdict(list)
    for each, tensor in files.items():
        of_content[content(tensor)].append(each)
    found: dict[str, str] = {}
    for each, tensor in numbers(model):
        there = of_content.get(content(tensor), []) if tensor.is_floating_point() else []
        if len(there) == 1 and (there[0] not in found.values() or each == there[0]):
            found = {mine: file for mine, file in found.items() if file != there[0]} | {each: there[0]}
    left = {each: tensor for each, tensor in files.items() if tensor.ndim == 2 and each not in found.values()}
    rows = {
        content(chunk): (each, f"{number}/{count}")
        for each, tensor in left.items()
        for count in (2, 3, 4)
        if len(tensor) % count == 0
        for number, chunk in enumerate(tensor.chunk(count))
    }
    parts = {
        each: rows[content(tensor)]
        for each, tensor in model.state_dict().items()
        if each not in found and tensor.is_floating_point() and content(tensor) in rows
    }
    filled = defaultdict(set)
    for file, part in parts.values():
        filled[file].add(part)
    parts = {  # other rows than equal numbers of them are not the same in larger models
        mine: (file, part)
        for mine, (file, part) in parts.items()
        if filled[file] == {f"{number}/{len(filled[file])}" for number in range(len(filled[file]))}
    }
    layout = {each: Spec("F32", tuple(tensor.shape)) for each, tensor in files.items()}
    return Saved(model.config.model_type, found, layout, parts)


def rules(pairs: Mapping[Parts, Parts], found: set[Parts]) -> dict[Parts, Parts]:
    """The fewest beginnings of names that say all of `pairs`, where `found` need none.

    Args:
        pairs: a name in the model → the name in the file, with `#` for a number that both have.
    """
    result: dict[Parts, Parts] = {}
    files = set(pairs.values())

    def holds(each: Parts, rules: dict[Parts, Parts]) -> bool:
        there = followed(each, rules)
        return there == pairs[each] or (there not in files and each in found)

    for each in sorted(pairs, key=lambda each: (len(each), each)):
        if holds(each, result):
            continue
        right = [other for other in pairs if holds(other, result)]
        for begin, other in reversed(list(beginnings(each, pairs[each]))):
            tried = {**result, begin: other}
            if all(holds(one, tried) for one in right):
                result = tried
                break
    return result


def beginnings(model: Parts, file: Parts) -> Iterator[tuple[Parts, Parts]]:
    """Both names, without more and more of the end that they share."""
    yield model, file
    while model and file and model[-1] == file[-1]:
        model, file = model[:-1], file[:-1]
        yield model, file


def pattern(model: Parts, file: Parts) -> tuple[Parts, Parts]:
    """Both names with `#` for each number of the model, and for those of the file that are these, one after the other."""
    left = [part for part in model if part.isdecimal()]
    after = []
    for part in file:
        own = part.isdecimal() and bool(left) and part == left[0]
        after.append("#" if own else part)
        left = left[1:] if own else left
    return tuple("#" if part.isdecimal() else part for part in model), tuple(after)


def kept(found: Collection[str]) -> list[str]:
    """The types in the table that stands of which no class could be built: they keep what is said of them there."""
    gone = sorted({*ruled(TABLE, "SAVED"), *ruled(TABLE, "DIVIDED")} - set(found))
    if gone:
        print(f"not built, and kept as they are in the table: {', '.join(gone)}", file=sys.stderr)
    return gone


def alike(base: Base, mine: str, file: str) -> bool:
    """Whether a name is found by how it ends."""
    try:
        return base.find_alike(mine, (base.layout[file].shape,)) == file
    except UnplacedError:
        return False


def of_inner(names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The models in some classes, which save themselves otherwise than in these: class → lines that say what they are found by."""
    result: dict[str, tuple[str, ...]] = {}
    done = set()
    for name in names:
        try:
            model = architectures.build(name)
            inner = model.base_model
            if inner is model or type(inner).__name__ in done:
                continue
            model_type, found, files, _ = saved(inner)
        except Exception as error:  # of a class that cannot be built; it is named
            print(f"the model in {name} is left out: {str(error)[:80]}", file=sys.stderr)
            continue
        cls = type(inner).__name__
        done.add(cls)
        base = Base(files, {"model_type": model_type, "architectures": [cls]})
        if all(placed(base, mine) == file for mine, file in found.items()):
            continue
        pairs: dict[Parts, Parts] = {}
        for mine, file in found.items():
            own, there = pattern(bare(mine), bare(file))
            if there.count("#") == own.count("#"):
                pairs.setdefault(own, there)
        alone = Base(files, {})
        lost = {pattern(bare(mine), bare(file))[0] for mine, file in found.items() if not alike(alone, mine, file)}
        lines = rules(pairs, pairs.keys() - lost)
        told = tuple(f"{'.'.join(begin)} => {'.'.join(there)}".rstrip() for begin, there in sorted(lines.items()))
        if not {*told} <= {*ruled(TABLE, "SAVED").get(model_type, ())}:
            result[cls] = told
    return result


def placed(base: Base, name: str) -> str | None:
    """The tensor that a name is found to mean."""
    try:
        return base.find(name)
    except UnplacedError:
        return None


def main() -> None:
    import transformers

    warnings.simplefilter("ignore")
    logging.disable()
    transformers.utils.logging.disable_progress_bar()
    pairs: dict[str, dict[Parts, Parts]] = defaultdict(dict)
    lost: dict[str, set[Parts]] = defaultdict(set)
    divided: dict[str, set[str]] = defaultdict(set)
    for _, _, name in (*architectures.classes(), *architectures.seeing_and_hearing(), *architectures.heads()):
        try:
            model_type, found, files, parts = saved(architectures.build(name))
        except Exception as error:  # of a class that cannot be built; it is named
            print(f"{name} is left out: {str(error)[:80]}", file=sys.stderr)
            continue
        for mine, (file, part) in parts.items():
            names, there = pattern(bare(mine), bare(file))
            divided[model_type].add(f"{'.'.join(names)} => {'.'.join(there)} {part}")
        base = Base(files, {})
        every = {bare(mine): bare(file) for mine, file in found.items()}
        for mine, file in found.items():
            names, there = pattern(bare(mine), bare(file))
            if there.count("#") != names.count("#"):  # another numbering, which one file does not show
                continue
            known = pairs[model_type].get(names)
            if known is None or not all(
                fitted(known, one) == other for one, other in every.items() if pattern(one, other)[0] == names
            ):
                pairs[model_type][names] = there
            if not alike(base, mine, file):
                lost[model_type].add(names)
    table: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for model_type, each in pairs.items():
        found_rules = rules(each, each.keys() - lost[model_type])
        lines = tuple(
            f"{'.'.join(begin)} => {'.'.join(there)}".rstrip() for begin, there in sorted(found_rules.items())
        )
        table[lines].add(model_type)
    rows: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for model_type, lines in divided.items():
        rows[tuple(sorted(lines))].add(model_type)
    for model_type in kept(pairs.keys()):
        table[ruled(TABLE, "SAVED").get(model_type, ())].add(model_type)
        rows[ruled(TABLE, "DIVIDED").get(model_type, ())].add(model_type)
    known = ruled(TABLE, "SAVED")
    for cls, lines in of_inner([name for _, each, name in architectures.classes() if each in known]).items():
        table[lines].add(cls)
    what = (
        "What a name in the model begins with, and what the name in the file begins with instead, the longest counts: by type, or "
        "by class, which counts first."
    )
    parted = (
        "The name of a matrix in the model, that in the file, and which of how many equal numbers of its rows it is."
    )
    text = block("SAVED", table, what) + block("DIVIDED", rows, parted)
    TABLE.write_text(HEAD.format(version=transformers.__version__) + text.rstrip("\n") + "\n")


if __name__ == "__main__":
    main()
