"""Workers that are forks, of which the run of all tests is made: nothing is left out, whatever becomes of a worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def ran(folder: Path, **files: str) -> subprocess.CompletedProcess[str]:
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(f"import os, time\nfrom pathlib import Path\n{text}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "forks", "--workers", "2", "--rootdir", folder, folder]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


MEETS = """
def test_one():
    Path("{mine}").write_text(str(os.getpid()))
    while not Path("{other}").exists():
        time.sleep(0.01)

def test_two(capfd):
    print("of {mine}")
    assert capfd.readouterr().out == "of {mine}\\n"
    assert os.getpid() == int(Path("{mine}").read_text())
"""


def test_files_run_at_the_same_time_and_a_file_in_one_process(tmp_path: Path) -> None:
    fails = "def test_wrong():\n    print('shown')\n    assert 1 + 1 == 3"
    done = ran(tmp_path, a=MEETS.format(mine="a", other="b"), b=MEETS.format(mine="b", other="a"), c=fails)
    assert done.returncode == 1, done.stdout
    assert "1 failed, 4 passed" in done.stdout
    assert "assert (1 + 1) == 3" in done.stdout
    assert "shown" in done.stdout
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()


def test_a_worker_that_dies_is_no_success(tmp_path: Path) -> None:
    done = ran(tmp_path, a="def test_dies():\n    os._exit(0)", b="def test_fine():\n    pass")
    assert done.returncode == 1
    assert "tests were not run" in done.stdout
    done = ran(tmp_path, a="def test_dies():\n    os._exit(3)")
    assert "a worker ended with 3" in done.stdout
