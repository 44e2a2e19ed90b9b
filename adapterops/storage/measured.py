"""What is measured over all inputs before the first file of an output can be made: once, for all processes that make it."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from adapterops.errors import InputError, NotFoundError
from adapterops.storage.journal import checked, line
from adapterops.storage.outputs import finalized
from adapterops.storage.shapes import Shape, fits
from adapterops.storage.strict import read_all


class Measured:
    """Values of JSON by what they depend on, each in a file of a hidden folder next to the output, `.OUT.measured`.

    Whoever asks first for a key measures, and the others wait for it; where the disk knows no locks, they measure, too.
    To measure one value, others may be asked for. A process that is killed lets the next one measure. A damaged file, or
    one of another shape, counts as none, and a value that the disk does not take is returned all the same.
    """

    def __init__(self, out: Path, sync: bool = True) -> None:
        self.out, self.folder, self._sync = out, folder_of(out), sync

    def __call__(self, key: str, shape: Shape, measure: Callable[[], Any]) -> Any:
        """The value of a key, a name of a file, or what `measure` returns, which has this shape.

        Raises:
            OutputExistsError: the output was finalized meanwhile.
        """
        path = self.folder / f"{key}.json"
        with suppress(OSError):
            self.folder.mkdir(exist_ok=True)
        with _locked(self.folder / f"{key}.lock"):
            with suppress(InputError, NotFoundError):
                if fits(found := checked(read_all(path)), {"value": shape}):
                    return found["value"]
            value = measure()
            try:
                self._keep(path, value)
            except FileNotFoundError:
                if os.path.lexists(self.out):
                    raise finalized(self.out) from None
            except OSError:
                pass  # whoever writes the output finds out
            return value

    def _keep(self, path: Path, value: Any) -> None:
        new = self.folder / f"{uuid.uuid4().hex}.new"
        with open(new, "xb") as file:
            file.write(line({"value": value}))
            file.flush()
            if self._sync:
                os.fsync(file.fileno())
        os.replace(new, path)


def folder_of(out: Path) -> Path:
    """Where that of an output is."""
    out = Path(os.path.realpath(out))
    return out.with_name(f".{out.name}.measured")


def forget(out: Path) -> None:
    """Remove it, once the output is there."""
    shutil.rmtree(folder_of(out), ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with ExitStack() as held:
        with suppress(OSError):
            fcntl.flock(held.enter_context(open(path, "ab")), fcntl.LOCK_EX)
        yield
