"""What is known of a checkpoint before its tensors are read, by roles: in this a scheme finds its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from adapterops.quant.scheme import LONG_NAMES, Part, Scheme

WEIGHT = ".weight"
CONFIG = "quantization_config"


class Claim(NamedTuple):
    """A quantized weight that a scheme has found:
    the shape it has when used, and the parts that have to be there, by role.
    """

    scheme: Scheme
    shape: tuple[int, ...]
    parts: Mapping[str, Part]


@dataclass(frozen=True)
class Header:
    """The header of a checkpoint, and its config.

    Attributes:
        entries: tensor → dtype and shape.
        config: config.json.
        bytes_of: the bytes of a tensor by its name; none but small ones are asked for.
        json_of: the same, parsed as JSON.
    """

    entries: Mapping[str, Part]
    config: Mapping[str, Any]
    bytes_of: Callable[[str], bytes]
    json_of: Callable[[str], Any]

    @property
    def section(self) -> Mapping[str, Any]:
        """What config.json says of quantization; it may be stale."""
        section = self.config.get(CONFIG)
        return section if isinstance(section, dict) else {}

    @property
    def used_as(self) -> str:
        """The dtype that weights are used in, by config.json."""
        dtype = self.config.get("dtype") or self.config.get("torch_dtype")
        return {long: short for short, long in LONG_NAMES.items()}.get(str(dtype), "BF16")

    @cached_property
    def ends(self) -> frozenset[str]:
        """The last words of all names."""
        return frozenset(name.rpartition(".")[2] for name in self.entries)

    def weights(self, role: str) -> Iterator[str]:
        """The weights that have a part of this role."""
        end, rest = (role, "") if role.startswith("_") else (f".{role}", WEIGHT)
        return (name.removesuffix(end) + rest for name in self.entries if name.endswith(end))

    def part(self, tensor: str, role: str) -> Part | None:
        return self.entries.get(key(tensor, role))

    def roles(self, tensor: str, roles: tuple[str, ...]) -> list[str]:
        """Those of some roles that a weight has parts of."""
        return [role for role in roles if key(tensor, role) in self.entries]


def key(tensor: str, role: str) -> str:
    """The name of a part; one that is all there is has the role "".

    >>> key("model.fc.weight", "weight.absmax"), key("model.fc.weight", "SCB"), key("experts.down_proj", "_blocks")
    ('model.fc.weight.absmax', 'model.fc.SCB', 'experts.down_proj_blocks')
    """
    if not role:
        return tensor
    return tensor + role if role.startswith("_") else f"{tensor.removesuffix(WEIGHT)}.{role}"


def shown(part: Part | None) -> str:
    """A dtype and a shape, as messages have them.

    >>> shown(Part("F32", (3, 4))), shown(None)
    ('F32 [3, 4]', 'nothing')
    """
    return "nothing" if part is None else f"{part.dtype} {list(part.shape)}"
