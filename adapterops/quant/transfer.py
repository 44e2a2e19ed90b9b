"""Rows on their way to the device where they are encoded, and back."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from adapterops.arrays.scratch import Scratch

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.arrays.floats import Array


class Transfer:
    """A thread's way to a device. What comes back is good until something of the same role comes back again.

    On a GPU each thread has a stream and pinned memory of its own: while one waits for its copies and kernels, others
    read, add and write.
    """

    def __init__(self, device: str) -> None:
        import torch

        self._device = torch.device(device)
        self._stream = None if self._device.type == "cpu" else torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]  # it is not annotated
        self._memory = Scratch(pinned=True)

    @contextmanager
    def working(self) -> Iterator[None]:
        """What is computed on the device here follows what was sent."""
        import torch

        if self._stream is None:
            yield
        else:
            with torch.cuda.stream(self._stream):
                yield

    def there(self, values: Array) -> Tensor:
        """Values on the device, or soon."""
        import torch

        here = torch.from_numpy(values)
        if self._stream is None:
            return here
        return self._memory("there", here.shape, here.dtype).copy_(here).to(self._device, non_blocking=True)

    def back(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of the device, by role, when all that was to be done is done."""
        if self._stream is None:
            return dict(tensors)
        found = {
            role: self._memory(role, each.shape, each.dtype).copy_(each, non_blocking=True)
            for role, each in tensors.items()
        }
        self._stream.synchronize()
        return found


class _Own(threading.local):
    def __init__(self) -> None:
        self.transfers: dict[str, Transfer] = {}


_OWN = _Own()


def transfer(device: str) -> Transfer:
    """This thread's way to a device."""
    if device not in _OWN.transfers:
        _OWN.transfers[device] = Transfer(device)
    return _OWN.transfers[device]
