"""A model as a grid: a row for each layer, a column for each kind of module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from adapterops.operations.comparing.kinds import located
from adapterops.reports.figures import Form, Heatmap

NO_LAYER = "-"
"""The row of what is in no layer."""


def places(modules: Iterable[str], kinds: Mapping[str, str]) -> dict[tuple[str, str], list[str]]:
    """Layer and kind → the modules there, in the order of the layers."""
    found: dict[tuple[str, str], list[str]] = {}
    rows = _rows(sorted(modules, key=_order))
    for module, row in rows.items():
        found.setdefault((row, kinds[module]), []).append(module)
    return found


def grid(
    name: str,
    title: str,
    caption: str,
    cells: Mapping[tuple[str, str], float | None],
    limits: tuple[float, float],
    form: Form,
    signed: bool = False,
) -> Heatmap:
    """The figure of a number for each row and column, both in the order in which they first appear."""
    rows, columns = (list(dict.fromkeys(place[side] for place in cells)) for side in (0, 1))
    values = [[cells.get((row, column)) for column in columns] for row in rows]
    return Heatmap(name, title, caption, rows, columns, values, limits, signed, form)


def _order(module: str) -> tuple[bool, str, int, str]:
    """By layer; what is in none comes last."""
    stack, number, kind = located(module)
    return number is None, stack, number or 0, kind


def _rows(modules: list[str]) -> dict[str, str]:
    """Module → what its row is called:
    the number of its layer, with what comes before it where there are several kinds of layers.
    """
    stacks = {located(module).stack for module in modules if located(module).layer is not None}
    found = {}
    for module in modules:
        stack, number, _ = located(module)
        found[module] = NO_LAYER if number is None else f"{stack}.{number}" if len(stacks) > 1 else str(number)
    return found
