"""Whether adapters call their modules alike. What one of them has in two spellings, the next program would load half of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from adapterops.errors import IncompatibleError, count
from adapterops.formats.diffusion.families import by_authors, forms, renamed, weight_of_first_rows, wholes
from adapterops.formats.diffusion.flat import Flat, flat
from adapterops.formats.models.architectures import WEIGHT
from adapterops.formats.models.divisions import wholes_of
from adapterops.formats.models.loading import memories
from adapterops.formats.models.naming import canonical, expert
from adapterops.formats.models.suffixes import moves, roots
from adapterops.regex import Regex

Modules: TypeAlias = Mapping[str, tuple[int, int]]
"""Module → the (out, in) of its update."""

NUMBER = Regex(r"\.\d+\.")

CODE = "E-SPELLING"
"""Of names that the next program would not load, or not all of."""

TWICE = "keep one of the two, the one that was trained"
HINT = "name the model that they are for with --base, whose names are taken then; in Python with named_as"


class SpelledTwice(NamedTuple):
    """One thing in two spellings: what tells them apart, how many modules that concerns, and the first of them in two
    adapters, by their numbers.
    """

    by: str
    modules: int
    first: tuple[str, int]
    second: tuple[str, int]


def check_spelled(adapters: Sequence[Modules], labels: Sequence[str]) -> None:
    """Raise IncompatibleError where modules of several adapters, or of one, may be one module under two names.

    Which of the names is right depends on the model, and cannot be seen in the adapters.
    """
    _refuse(difference(adapters), labels)


def check_once(modules: Iterable[str], label: str) -> None:
    """Raise IncompatibleError where one adapter, which stays as it is, has a module under two names of the same model."""
    _refuse(_synonyms([{module: canonical(module) for module in modules}]), [label])


def _refuse(found: SpelledTwice | None, labels: Sequence[str]) -> None:
    if found is None:
        return
    (one, first), (other, second) = found.first, found.second
    same = "one" if found.modules == 1 else "ones"
    raise IncompatibleError(
        f"{count(found.modules, 'module')} may be the same {same} under two names, which differ by {found.by}: "
        f"{one!r} in {labels[first]}, {other!r} in {labels[second]}",
        path=labels[second],
        hint=TWICE if first == second else HINT,
        code=CODE,
    )


def difference(adapters: Sequence[Modules]) -> SpelledTwice | None:
    """The first kind of difference that is found between the names of adapters, or within those of one.

    Those with the same modules are looked at once: the cost grows with the square of how many differ.
    """
    distinct: dict[frozenset[tuple[str, tuple[int, int]]], int] = {}
    for number, modules in enumerate(adapters):
        distinct.setdefault(frozenset(modules.items()), number)
    numbers = list(distinct.values())
    found = _difference([adapters[number] for number in numbers])
    if found is None:
        return None
    first, second = ((module, numbers[number]) for module, number in (found.first, found.second))
    return found._replace(first=first, second=second)


def _difference(adapters: Sequence[Modules]) -> SpelledTwice | None:
    names = [{module: canonical(module) for module in modules} for modules in adapters]
    return (
        _synonyms(names)
        or _flattened(adapters)
        or _prefixes(names)
        or _suffixes(adapters, names)
        or _divisions(names)
        or _versions(adapters)
        or _families(adapters)
    )


def _synonyms(adapters: Sequence[Mapping[str, str]]) -> SpelledTwice | None:
    """One canonical name under two names."""
    first: dict[str, tuple[str, int]] = {}
    found = []
    for number, names in enumerate(adapters):
        for module, name in names.items():
            other = first.setdefault(name, (module, number))
            if other[0] != module:
                found.append((other, (module, number)))
    return SpelledTwice("their prefixes, or by a name that has changed", len(found), *found[0]) if found else None


def _flattened(adapters: Sequence[Modules]) -> SpelledTwice | None:
    """One name with dots, and with underscores, or under the prefixes of two programs."""
    first: dict[str, list[tuple[Flat, str, int]]] = {}
    found = []
    for number, modules in enumerate(adapters):
        for module in modules:
            name = flat(module)
            for other, spelled, where in first.setdefault(name.key, []):
                if other.meets(name) and spelled != module:
                    found.append(((spelled, where), (module, number)))
            first[name.key].append((name, module, number))
    return SpelledTwice("dots and underscores, or their prefixes", len(found), *found[0]) if found else None


def _families(adapters: Sequence[Modules]) -> SpelledTwice | None:
    """A module of an image model under the names of two programs, or as one matrix and in parts, in one part of a pipeline."""
    first: dict[str, list[tuple[str, int]]] = {}
    for number, modules in enumerate(adapters):
        for module in modules:
            key = flat(module).key
            first.setdefault(by_authors(key) or weight_of_first_rows(key) or key, []).append((module, number))
    others = {key: [key, *renamed(key)] for key in first}
    third: dict[str, list[str]] = {}  # that neither of two programs has, and both rename in a block
    for key, names in others.items():
        for name in names[1:]:
            if any(block and not form.endswith("#") for form, block in forms(name)):
                third.setdefault(name, []).append(key)
    for key, names in others.items():
        names += [each for name in names[1:] for each in third.get(name, ())]
        names += [joined.whole.replace("#", block) for joined, _, block in wholes(key)]
    found = [
        (other, each)
        for key, alike in first.items()
        for name in dict.fromkeys(others[key])
        for other in first.get(name, ())
        for each in alike
        if flat(other[0]).key != flat(each[0]).key and not in_other_parts(other[0], each[0])
    ]
    return SpelledTwice("the programs that name them", len(found), *found[0]) if found else None


def _prefixes(adapters: Sequence[Mapping[str, str]]) -> SpelledTwice | None:
    """One root under different prefixes in two adapters that have no module in common there."""
    seen: list[dict[str, dict[str, list[str]]]] = []
    for number, names in enumerate(adapters):
        mine: dict[str, dict[str, list[str]]] = {}
        for module, name in names.items():
            parts = module.split(".")
            prefix = ".".join(parts[: len(parts) - name.count(".") - 1])
            mine.setdefault(name.partition(".")[0], {}).setdefault(prefix, []).append(module)
        for other, theirs in enumerate(seen):
            for root in mine.keys() & theirs.keys():
                if mine[root].keys().isdisjoint(theirs[root]):
                    modules = [module for each in mine[root].values() for module in each]
                    first = next(iter(theirs[root].values()))[0]
                    return SpelledTwice("their prefixes", len(modules), (first, other), (modules[0], number))
        seen.append(mine)
    return None


def _suffixes(adapters: Sequence[Modules], names: Sequence[Mapping[str, str]]) -> SpelledTwice | None:
    """The names of one adapter are ends of those of another."""
    indexes = [{name: module for module, name in each.items()} for each in names]
    for number, mine in enumerate(indexes):
        for other, theirs in enumerate(indexes):
            if mine.keys() & theirs.keys():
                continue
            for group in roots(list(mine), theirs, theirs.__contains__).values():
                for move, there in moves(group, theirs, theirs.__contains__).items():
                    pairs = [(theirs[move.of(name)], mine[name]) for name in there]
                    alike = [pair for pair in pairs if adapters[other][pair[0]] == adapters[number][pair[1]]]
                    alike = [pair for pair in alike if not in_other_parts(*pair)]
                    if alike and move.prefix:
                        (first, second), count = alike[0], len(alike)
                        return SpelledTwice(f"the prefix {move.prefix}", count, (first, other), (second, number))
    return None


def in_other_parts(one: str, other: str) -> bool:
    """Whether two names are of different parts of a pipeline (`text_encoder.`, `text_encoder_2.`).

    >>> in_other_parts("transformer.blocks.0.q", "transformer_2.blocks.0.q"), in_other_parts("blocks.0.q", "unet.blocks.0.q")
    (True, False)
    """
    return len({flat(one).part, flat(other).part} - {""}) == 2


def _versions(adapters: Sequence[Modules]) -> SpelledTwice | None:
    """What one adapter has under the name of files, and another under that of the model in memory."""
    layers: list[dict[str, list[str]]] = []
    for modules in adapters:
        layers.append({})
        for module in modules:
            layers[-1].setdefault(NUMBER.sub(".0.", canonical(module)), []).append(module)
    for number, mine in enumerate(layers):
        for other, theirs in enumerate(layers):
            found = []
            for name in sorted(mine.keys() - theirs.keys()):
                alike = [theirs[each][0] for each in sorted(_in_memory(name) & (theirs.keys() - mine.keys()))]
                alike = [each for each in alike if adapters[other][each] == adapters[number][mine[name][0]]]
                found += [(alike[0], module) for module in mine[name] if alike]
            if found:
                (first, second), by = found[0], "a name that transformers has changed"
                return SpelledTwice(by, len(found), (first, other), (second, number))
    return None


@lru_cache(1 << 12)
def _in_memory(name: str) -> frozenset[str]:
    """What a module that files call so is in memory, of models of any type: all rules are tried, so it is done once."""
    return frozenset(canonical(each.removesuffix(WEIGHT)) for each in memories(name + WEIGHT))


def _divisions(adapters: Sequence[Mapping[str, str]]) -> SpelledTwice | None:
    """A projection as one matrix, and in parts."""
    first = {name: (module, number) for number, names in enumerate(adapters) for module, name in names.items()}
    found = [
        (first[whole], each)
        for name, each in first.items()
        if not expert(name)
        for whole in wholes_of(name)
        if whole in first
    ]
    return SpelledTwice("being divided: one matrix, and in parts", len(found), *found[0]) if found else None
