"""Progress over several files; what is published is tried in tests/interop/test_through_the_wire.py."""

from __future__ import annotations

from adapterops.requests.publishing import _Progress


def test_files_one_after_the_other_are_one_work() -> None:
    seen: list[tuple[int, int]] = []
    progress = _Progress(lambda done, total: seen.append((done, total)), 5)
    for size in (2, 3):
        for done in range(1, size + 2):  # the file that is hashed counts, too
            progress.of_next(done, size + 1)
        progress.done += size
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (5, 5)
