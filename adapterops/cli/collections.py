"""What `show` prints of a collection."""

from __future__ import annotations

import math

from adapterops.cli.output import amount, line, print_json, print_table
from adapterops.cli.terminal import verbose
from adapterops.errors import count
from adapterops.operations.collections import CollectionInspection, inspect_collection
from adapterops.storage.place import Place

TINY = 1e-9
"""What an error may be above a round number and still be shown as that: less than float64 holds of it."""


def show_collection(source: Place, as_json: bool) -> None:
    """Its adapters, and the error of each: of all its modules, and of the worst. With --verbose its modules, too."""
    found = inspect_collection(source)
    if as_json:
        print_json("collection", found.as_json())
        return
    each = amount(found.size / len(found.members), "B")
    members = count(len(found.members), "adapter")
    line(
        f"{found.path}: a collection of {members}, {amount(found.size, 'B')}, {each} each; asked for an error of {found.error:g}"
    )
    rows = []
    for name, member in found.members.items():
        worst = max(member.modules, key=member.modules.__getitem__)
        row = [name, str(len(member.modules)), at_most(member.error), at_most(member.modules[worst]), worst]
        rows.append([*row, member.base_model or "unknown"])
    print_table(["adapter", "modules", "error", "worst", "in", "base"], rows)
    if verbose():
        _print_modules(found)


def _print_modules(found: CollectionInspection) -> None:
    rows = []
    for module, updates in found.modules.items():
        left, right = found.shared[module]
        rows.append([module, str(updates), str(left), str(right)])
    print_table(["module", "updates stored", "shared directions of outputs", "of inputs"], rows)


def at_most(error: float) -> str:
    """An error in percent, to two digits, rounded up.

    >>> at_most(0.00991), at_most(0.0), at_most(0.0001)
    ('1.00%', '0%', '0.010%')
    """
    if not error:
        return "0%"
    digits = max(0, 1 - math.floor(math.log10(100 * error)))
    return f"{math.ceil(100 * error * 10**digits - TINY) / 10**digits:.{digits}f}%"
