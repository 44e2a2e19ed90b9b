"""Folders of runs that live, and of runs that were killed."""

from __future__ import annotations

import os
from pathlib import Path

from adapterops.storage.hidden import ASIDE, adopt, create, remove, remove_if_dead, remove_stale
from adapterops.storage.journal import Journal


def test_what_is_locked_is_left_alone(tmp_path: Path) -> None:
    folder, lock = create(tmp_path / "out")
    remove_stale(tmp_path / "out")
    remove_if_dead(folder)
    assert folder.exists()
    os.close(lock)
    remove_stale(tmp_path / "out")
    assert not folder.exists()


def test_an_old_output_that_was_aside_goes_back(tmp_path: Path) -> None:
    (tmp_path / f".out.adapterops-0123456789ab{ASIDE}").mkdir()
    remove_stale(tmp_path / "out")
    assert (tmp_path / "out").is_dir()


def test_a_folder_that_nobody_may_write_to_is_removed(tmp_path: Path) -> None:
    """As an old output may be that was protected."""
    for name in ("out/inner", "elsewhere/inner"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    (tmp_path / "out/link").symlink_to(tmp_path / "elsewhere")
    for name in ("out/inner", "out", "elsewhere/inner", "elsewhere"):
        (tmp_path / name).chmod(0o555)
    remove(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o555
    assert (tmp_path / "elsewhere/inner/file").exists()


def test_work_of_the_same_plan_is_taken_over(tmp_path: Path) -> None:
    folder, lock = create(tmp_path / "out")
    Journal(folder, "plan")
    assert adopt(tmp_path / "out", "plan") is None  # its maker lives
    os.close(lock)
    assert adopt(tmp_path / "out", "other") is None
    adopted = adopt(tmp_path / "out", "plan")
    assert adopted
    assert adopted[0] == folder
    os.close(adopted[1])
