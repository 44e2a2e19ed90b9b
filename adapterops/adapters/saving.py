"""How an adapter becomes files: whole or absent."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from adapterops.adapters import proof
from adapterops.adapters.adapter import Adapter
from adapterops.adapters.copying import Verbatim, unchanged
from adapterops.adapters.factors import Factors, as_stored, factored
from adapterops.adapters.magnitudes import with_magnitudes
from adapterops.adapters.opening import open_adapter
from adapterops.adapters.planning import arrangement, in_file, stored_sizes, working_memory
from adapterops.adapters.saved import Saved, SavedModules, copied_whole, kept
from adapterops.engine import local
from adapterops.engine.execution import DEFAULT, Execution, check_device
from adapterops.errors import check_opened
from adapterops.formats.peft.selection import say_dropped, uncovered
from adapterops.formats.registry import Arrangement
from adapterops.provenance.history import Source, sources
from adapterops.provenance.manifest import (
    UNKNOWN,
    Origin,
    check_distinct,
    described,
    write_bytes,
    write_file,
    write_json,
    write_manifest,
)
from adapterops.provenance.reader import read_manifest
from adapterops.storage.gguf_writer import write_gguf
from adapterops.storage.outputs import check_output, named_file
from adapterops.storage.staging import staged
from adapterops.storage.writer import read_back, write_safetensors
from adapterops.updates.layout import magnitudes_of

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array


NOTHING: Mapping[str, Path] = {}

FEW = 1 << 29
"""Bytes of inputs that are hashed when all is written: opening that again leaves a processor idle. More are hashed among what
computes, from the beginning.
"""


def save_adapter(
    adapter: Adapter,
    out: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    exact: bool = False,
    format: str | None = None,
    force: bool = False,
    norms: bool = True,
    origin: Origin = UNKNOWN,
    how: Execution = DEFAULT,
) -> Saved:
    """Write an adapter as a folder that PEFT, or another program, loads: tensors, config, and the manifest. It is
    complete, or absent. Where `out` ends in .safetensors or .gguf, it is that file, with its manifest next to it, in a
    format that has no other files.

    DoRA is written as it was opened, where the format has a place for its lengths; what was made of it is not.

    An adapter to which nothing was done is copied, where its format would have the same tensors: with its scales, and
    all that its header and config say. So is one that cannot be written as factors, such as (IA)³ or full tensors alone.

    A dense update is saved as its best approximation of the rank in the layout; what that loses is in the result. The
    experts of one parameter all get the largest rank among them, with zeros: PEFT has one for all.

    Args:
        dtype: F64, F32, F16 or BF16; by default the widest of the inputs.
        exact: approximate dense updates by a full SVD and not by a randomized one.
        format: a name in `FORMATS`; by default that of the inputs, and PEFT's for MLX-LM's.
        force: replace an output of adapterops that is there.
        norms: measure ‖ΔW‖_F of every module, those too of which nothing is lost.
        origin: what the manifest says of how it was made.

    Raises:
        OutputExistsError, ResourceError: as `staged`, `check_output`, `check_device` and `plan_adapter` do.
        IncompatibleError: a number does not fit `dtype`.

    Cost: memory for the largest module per worker, and for the factors of all experts of one parameter.
    """
    check_opened(adapter, Adapter, "open_adapter")
    out = Path(out)
    form = format or adapter.config.format
    arranged = in_file(arrangement(adapter, dtype, format), out, form)
    inputs = sources(adapter.history)
    check_output(out, [path for source in inputs for path in source.paths], force)
    check_device(how)
    how = how.within(lambda workers: working_memory(adapter, dtype, workers, format, how.device))
    for source in inputs:
        source.fetch()
    opened, adapter = adapter, with_magnitudes(adapter)
    with staged(out, force=force, single=named_file(out), sync=how.sync) as folder:
        copies = unchanged(opened, arranged, form, dtype)
        if not copies:
            unnamed = [each for each in adapter.config.unnamed if each in adapter.layout]
            reported = (
                set(uncovered(adapter.config.targets, unnamed)) if adapter.config.targets else ()
            )  # by the format
            say_dropped([each for each in unnamed if each not in reported])
        modules = [] if isinstance(arranged, Verbatim) else list(chain(*arranged.groups.values()))
        compute = (
            as_stored(adapter, arranged, norms) if copies else factored(adapter, arranged, exact, norms, packed=True)
        )
        size = stored_sizes(adapter, arranged).__getitem__ if modules else None
        with closing(local.run(compute, modules, size=size, how=how)) as results:
            return complete_adapter(
                adapter,
                arranged,
                results,
                folder,
                out,
                exact=exact,
                origin=origin,
                copies=copies,
                how=replace(how, progress=None),
            )


def complete_adapter(
    adapter: Adapter,
    arranged: Arrangement,
    results: Iterable[Factors],
    folder: Path,
    out: Path,
    *,
    exact: bool,
    origin: Origin,
    copies: Mapping[str, Path] = NOTHING,
    how: Execution = DEFAULT,
) -> Saved:
    """The files of an adapter, in a folder that will be `out` when it is complete: tensors, documents, and the manifest.

    Args:
        results: the modules of the arrangement's groups, in their order.
        copies: the file that each file of the output is a copy of, where nothing is rewritten.
    """
    found = SavedModules(arranged)
    copied = ((name, stored.array()) for name, stored in arranged.full.items())
    tensors = chain(found.tensors(results), copied)
    inputs = sources(adapter.history)
    with _disk(how.sync) as disk, local.background(2) as background:
        few = sum(file.identity.size for source in inputs for file in source.tensors) <= FEW
        hashed, reading = None, None if few else background.submit(_described, inputs)
        if copies:
            deque(tensors, 0)
        else:
            hashed = _write(folder / arranged.file, arranged, tensors, found.ranks, disk.later)
        reading = reading or background.submit(_described, inputs)
        documents = {} if copies else arranged.documents(found.ranks)
        for document, fields in documents.items():
            write_json(folder / document, fields, disk.later)
        if isinstance(arranged, Verbatim):
            reading.result()  # no tensor was read: now all of a file of the Hub is here
        for file, path in copies.items():
            write_file(folder / file, path, disk.later)
        for file, data in origin.files.items():
            write_bytes(folder / file, data, disk.later)
        files = (*(copies or {arranged.file}), *documents, *origin.files)
        with read_back():
            again = with_magnitudes(
                open_adapter(folder / arranged.file if named_file(out) else folder, allow_nonfinite=True)
            )
        known = {arranged.file: hashed} if hashed else {}
        hashing = background.submit(lambda: {file: described(folder / file, known.get(file)) for file in files})
        proven = 0.0
        if not isinstance(arranged, Verbatim):
            proven = proof.prove(again, found.images, how)
            found.measured(proof.norms(again, found.images, found.unmeasured))
        outputs, read = hashing.result(), reading.result()
        disk.wait()
    size = (folder / arranged.file).stat().st_size
    saved = found.saved(out, size, magnitudes_of(adapter.layout), proven=proven, copied=bool(copies))
    if isinstance(arranged, Verbatim):
        saved = copied_whole(saved, adapter, again)
    for source in inputs:
        source.check_unchanged()
    check_distinct([each for each, source in zip(read, inputs, strict=True) if source.summed])
    write_manifest(
        folder, adapter.history, read, origin, kept(adapter, saved, exact), outputs, torch=False, sync=how.sync
    )
    with read_back():
        read_manifest(folder)
    return saved


def _described(inputs: Sequence[Source]) -> list[dict[str, Any]]:
    """What the manifest says of each input."""
    return [source.as_json() for source in inputs]


class _Disk(NamedTuple):
    """Files that are synced by a thread of its own, while what was written is read again."""

    files: ExitStack
    thread: ThreadPoolExecutor
    opened: dict[tuple[int, int], tuple[int, Future[None]]]
    syncing: list[Future[None]]
    wanted: bool

    def later(self, descriptor: int) -> None:
        """Sync a file, by the opening through which it was written: a failed write is told to that one for certain. What waits
        for its turn then is enough.
        """
        if not self.wanted:
            return
        found = os.fstat(descriptor)
        file = found.st_dev, found.st_ino
        if file in self.opened:
            same, last = self.opened[file]
            if not (last.running() or last.done()):
                return
        else:
            same = os.dup(descriptor)
            self.files.callback(os.close, same)
        self.opened[file] = same, self.thread.submit(os.fsync, same)
        self.syncing.append(self.opened[file][1])

    def wait(self) -> None:
        """Wait until the disk has all of them."""
        for each in self.syncing:
            each.result()


@contextmanager
def _disk(sync: bool) -> Iterator[_Disk]:
    with ExitStack() as files, local.background() as thread:
        yield _Disk(files, thread, {}, [], sync)


def _write(
    path: Path,
    arranged: Arrangement,
    tensors: Iterable[tuple[str, Array]],
    ranks: Mapping[str, int],
    sync: Callable[[int], object],
) -> str | None:
    """The file of tensors; its BLAKE3, where that is known now. `ranks`: of the groups, known when their tensors are."""
    if arranged.fields is not None:
        write_gguf(path, arranged.tensors, tensors, arranged.fields, sync)
        return None
    metadata = partial(arranged.metadata, ranks) if arranged.metadata else {"format": "pt"}
    return write_safetensors(path, arranged.tensors, tensors, metadata, arranged.room, sync)
